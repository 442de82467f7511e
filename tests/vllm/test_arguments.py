"""Every argument that we hand to a server is one that real vLLM versions know: the installed one's own parser, and
the definitions of the oldest one that we support. No server is started."""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ocrd.domain.serving import Image
from ocrd.serving.spec import ServedModel, ServeOptions, build_spec
from ocrd.serving.versions import MINIMUM, VllmVersion

pytestmark = pytest.mark.vllm

HERE = Path(__file__).parent
IMAGE = Image(id="sha256:" + "0" * 64, tags=(), created="2026-01-01T00:00:00Z")
OPTIONS = ServeOptions(hf_hub="/hub", cache_volume="cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes as a plan has them."""

    max_model_len: int = 10240
    max_num_seqs: int = 4
    max_pixels: int = 4_000_000
    gpu_memory_utilization: float = 0.704
    kv_cache_mib: int = 1234
    eager: bool = True


PLANS = (
    None,
    Plan(),
    Plan(eager=False, max_pixels=0, kv_cache_mib=0),
    Plan(max_model_len=1024, max_num_seqs=1, gpu_memory_utilization=0.0),
)
MODELS = (
    ServedModel(
        model="rednote-hilab/dots.ocr",
        snapshot_revision="a" * 40,
        trust_remote_code=True,
        content_format="string",
    ),
    ServedModel(model="Qwen/Qwen2-VL-2B-Instruct", content_format="openai"),
    ServedModel(model="Qwen/Qwen3-VL-2B-Instruct", content_format="auto"),
    ServedModel(model="org/name", trust_remote_code=True),
)


def combinations(version: VllmVersion | None) -> Iterator[tuple[str, ...]]:
    """Every command line that the catalogue's models, plans and caches can lead to."""
    for served, plan, slow, sleeps in itertools.product(MODELS, PLANS, (False, True), (False, True)):
        options = replace(OPTIONS, slow_cache=slow, sleep_mode=sleeps)
        yield build_spec(served, plan, IMAGE, version, options).command


def flags(command: tuple[str, ...]) -> set[str]:
    """The options of a command line."""
    return {word for word in command if word.startswith("--")}


@pytest.fixture(scope="module")
def installed(vllm_python: Path) -> VllmVersion:
    """The version that `script/vllm` has installed."""
    code = "import importlib.metadata as m; print(m.version('vllm'))"
    done = subprocess.run([vllm_python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    version = VllmVersion.parse(done.stdout)
    assert version is not None, done.stdout
    return version


@pytest.fixture(scope="module")
def answers(vllm_python: Path, installed: VllmVersion) -> list[tuple[tuple[str, ...], dict[str, object]]]:
    """What the installed version's parser makes of every command line, and of one that is wrong."""
    commands = [*combinations(installed), *combinations(None), ("org/name", "--no-such-flag", "1")]
    done = subprocess.run(
        [vllm_python, HERE / "parse_arguments.py"],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return list(zip(commands, json.loads(done.stdout), strict=True))


def test_the_installed_versions_parser_takes_every_command_line(
    answers: list[tuple[tuple[str, ...], dict[str, object]]],
) -> None:
    *ours, (_, wrong) = answers
    assert "unrecognized arguments: --no-such-flag" in str(wrong.get("error")), "the parser refuses nothing"
    assert len(ours) == 2 * len(MODELS) * len(PLANS) * 4, (
        "two versions; with and without a slow cache and sleep"
    )
    for command, answer in ours:
        assert "error" not in answer, f"{' '.join(command)}\n{answer['error']}"


def test_the_installed_version_understands_what_was_meant(
    answers: list[tuple[tuple[str, ...], dict[str, object]]],
) -> None:
    full = [
        answer
        for command, answer in answers
        if "--kv-cache-memory-bytes" in command and MODELS[0].model in command
    ]
    assert full
    for answer in full:
        values = answer["values"]
        assert isinstance(values, dict)
        assert values["model_tag"] == MODELS[0].model
        assert values["port"] == 8000
        assert values["revision"] == "a" * 40
        assert values["trust_remote_code"] is True
        assert values["limit_mm_per_prompt"] == {"image": 1, "video": 0}
        assert values["mm_processor_cache_gb"] == 0
        assert values["kv_cache_memory_bytes"] == 1234 * 1024 * 1024
        assert values["chat_template_content_format"] == "string"


@pytest.fixture(scope="module")
def oldest(vllm_python: Path) -> Path:
    """The sources of the oldest version that we support."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("second_version", HERE / "second_version.py")
    assert spec is not None
    assert spec.loader is not None
    second = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(second)
    assert VllmVersion.parse(second.VERSION) == MINIMUM
    try:
        found: Path = second.fetch(vllm_python.parent.parent, vllm_python)
    except second.Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(f"{error}; runs where pip can fetch that wheel")
    return found


def defined_flags(source: Path) -> set[str]:
    """The options that a version defines: the words of `add_argument`, and the fields of its front end's arguments."""
    found: set[str] = set()
    for path in (source / "vllm/engine/arg_utils.py", source / "vllm/entrypoints/openai/cli_args.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "add_argument"
            ):
                words = [word.value for word in node.args if isinstance(word, ast.Constant)]
                found |= {word for word in words if isinstance(word, str) and word.startswith("--")}
            if isinstance(node, ast.ClassDef) and node.name == "FrontendArgs":
                names = [field.target for field in node.body if isinstance(field, ast.AnnAssign)]
                found |= {"--" + name.id.replace("_", "-") for name in names if isinstance(name, ast.Name)}
    return found


def literals(path: Path) -> set[str]:
    """Every text within a `Literal[…]` of a source file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == "Literal"
        ):
            found |= {word.value for word in ast.walk(node.slice) if isinstance(word, ast.Constant)}
    return found


def test_the_oldest_version_defines_every_option(oldest: Path) -> None:
    known = defined_flags(oldest)
    assert {"--model", "--host", "--max-model-len"} <= known, "the definitions were not found"
    assert "--no-such-flag" not in known
    for version in (MINIMUM, None):
        used = set().union(*(flags(command) for command in combinations(version)))
        assert used <= known, used - known


def test_the_oldest_version_knows_the_values(oldest: Path) -> None:
    formats = {served.content_format for served in MODELS} - {""}
    assert formats <= literals(oldest / "vllm/entrypoints/chat_utils.py")
    strategies = {
        command[command.index("--safetensors-load-strategy") + 1]
        for command in combinations(MINIMUM)
        if "--safetensors-load-strategy" in command
    }
    documented = (oldest / "vllm/config/load.py").read_text("utf-8")
    assert strategies
    assert all(f'- "{strategy}"' in documented for strategy in strategies), strategies
    assert '- "prefetch"' not in documented


def test_the_oldest_version_takes_the_model_as_an_option(oldest: Path) -> None:
    # Its image starts api_server.py, which ignores a positional model: see ocrd/serving/versions.py.
    assert "model_tag" not in (oldest / "vllm/entrypoints/openai/api_server.py").read_text("utf-8")
    assert all(command[0] == "--model" for command in combinations(MINIMUM))
