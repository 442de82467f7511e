"""A plan becomes a container: offline, read-only, sized, and the user's own words last."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import ConfigError
from ocrd.domain.serving import ContainerSpec, Image, Mount
from ocrd.serving.spec import (
    CACHE_TARGETS,
    ServedModel,
    ServeOptions,
    build_spec,
    cache_folder,
    parse_environment,
    parse_mount,
)
from ocrd.serving.versions import VllmVersion

IMAGE = Image(id="sha256:" + "a" * 64, tags=("vllm/vllm-openai:v0.32.0",), created="2026-11-01T00:00:00Z")
NEW, OLD = VllmVersion(0, 32), VllmVersion(0, 11, 2)
DOTS = ServedModel(
    model="rednote-hilab/dots.ocr",
    snapshot_revision="c0ffee",
    trust_remote_code=True,
    content_format="string",
)
OPTIONS = ServeOptions(hf_hub="/home/me/.cache/huggingface/hub", cache_volume="ocrd-vllm-cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan as the planner makes one."""

    max_model_len: int = 10240
    max_num_seqs: int = 4
    max_pixels: int = 4_000_000
    gpu_memory_utilization: float = 0.7
    kv_cache_mib: int = 1300
    eager: bool = False


def built(
    served: ServedModel = DOTS,
    plan: Plan | None = Plan(),  # frozen
    version: VllmVersion | None = NEW,
    options: ServeOptions = OPTIONS,
) -> ContainerSpec:
    return build_spec(served, plan, IMAGE, version, options)


def value(spec: ContainerSpec, flag: str) -> str:
    """What follows a flag that must be there exactly once."""
    assert spec.command.count(flag) == 1, flag
    return spec.command[spec.command.index(flag) + 1]


def test_the_whole_command_line() -> None:
    assert built().command == (
        "rednote-hilab/dots.ocr",
        "--served-model-name", "rednote-hilab/dots.ocr",
        "--host", "0.0.0.0",
        "--port", "8000",
        "--revision", "c0ffee",
        "--trust-remote-code",
        "--chat-template-content-format", "string",
        "--limit-mm-per-prompt", '{"image":1,"video":0}',
        "--mm-processor-cache-gb", "0",
        "--max-model-len", "10240",
        "--max-num-seqs", "4",
        "--kv-cache-memory-bytes", str(1300 * 1024 * 1024),
        "--gpu-memory-utilization", "0.700",
        "--mm-processor-kwargs", '{"max_pixels":4000000}',
    )  # fmt: skip


def test_without_a_plan_vllm_sizes_itself() -> None:
    command = built(ServedModel(model="org/name"), None).command
    assert command == (
        "org/name",
        "--served-model-name", "org/name",
        "--host", "0.0.0.0",
        "--port", "8000",
        "--limit-mm-per-prompt", '{"image":1,"video":0}',
        "--mm-processor-cache-gb", "0",
    )  # fmt: skip


def test_zero_leaves_a_size_to_vllm() -> None:
    nothing = Plan(max_model_len=0, max_num_seqs=0, max_pixels=0, gpu_memory_utilization=0.0, kv_cache_mib=0)
    assert built(plan=nothing).command == built(plan=None).command
    assert built(plan=replace(nothing, eager=True)).command == (*built(plan=None).command, "--enforce-eager")


@pytest.mark.parametrize("version", [OLD, None])
def test_images_that_may_not_know_a_positional_model_get_the_option(version: VllmVersion | None) -> None:
    assert built(version=version).command[:2] == ("--model", "rednote-hilab/dots.ocr")


@pytest.mark.parametrize(("version", "strategy"), [(NEW, "prefetch"), (OLD, "eager"), (None, "eager")])
def test_a_slow_cache_is_read_from_end_to_end(version: VllmVersion | None, strategy: str) -> None:
    spec = built(version=version, options=replace(OPTIONS, slow_cache=True))
    assert value(spec, "--safetensors-load-strategy") == strategy


def test_the_users_arguments_are_the_last_words() -> None:
    spec = built(options=replace(OPTIONS, extra_arguments=("--max-num-seqs", "1")))
    assert spec.command[-2:] == ("--max-num-seqs", "1")


def test_nothing_is_fetched_and_nothing_reported() -> None:
    environment = built().environment
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["TRANSFORMERS_OFFLINE"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


def test_the_whole_model_folder_is_mounted_read_only_so_that_links_to_blobs_resolve() -> None:
    assert built().mounts == (
        Mount(
            source="/home/me/.cache/huggingface/hub/models--rednote-hilab--dots.ocr",
            target="/hf/hub/models--rednote-hilab--dots.ocr",
            read_only=True,
        ),
        Mount(source="ocrd-vllm-cache", target="/cache", read_only=False),
    )
    assert built().environment["HF_HUB_CACHE"] == "/hf/hub"


def test_everything_that_is_written_has_a_writable_place() -> None:
    for options, place in ((OPTIONS, "/cache/"), (replace(OPTIONS, cache_volume=""), "/tmp/cache/")):
        environment = built(options=options).environment
        assert all(environment[name].startswith(place) for name in CACHE_TARGETS)
        assert environment["HF_MODULES_CACHE"].startswith("/tmp/")
        assert environment["HOME"] == "/tmp"


def test_standard_hardening_leaves_the_containers_own_files_writable() -> None:
    assert built().read_only_root
    spec = built(options=replace(OPTIONS, hardening="standard"))
    assert not spec.read_only_root
    assert "HOME" not in spec.environment


def test_wsl_gets_its_switch_and_the_user_may_take_it_back() -> None:
    wsl = replace(OPTIONS, is_wsl=True)
    version = VllmVersion(0, 26)
    assert built(version=version, options=wsl).environment["VLLM_WSL2_ENABLE_PIN_MEMORY"] == "1"
    taken_back = replace(wsl, extra_environment=("VLLM_WSL2_ENABLE_PIN_MEMORY=0",))
    assert built(version=version, options=taken_back).environment["VLLM_WSL2_ENABLE_PIN_MEMORY"] == "0"


def test_the_rest_comes_from_the_options() -> None:
    spec = built(options=replace(OPTIONS, gpus=(), memory_mib=6000))
    assert (spec.image, spec.model, spec.port) == (IMAGE.id, "rednote-hilab/dots.ocr", 8000)
    assert (spec.gpus, spec.memory_mib, spec.tmpfs) == ((), 6000, ("/tmp",))


def test_a_mount_of_the_user_replaces_ours_at_the_same_place() -> None:
    spec = built(options=replace(OPTIONS, extra_mounts=("/fast:/cache:rw", "/opt/x:/opt/x")))
    assert Mount(source="/fast", target="/cache", read_only=False) in spec.mounts
    assert Mount(source="/opt/x", target="/opt/x", read_only=True) in spec.mounts
    assert len(spec.mounts) == 3


def test_every_setting_changes_the_hash_and_nothing_else_does() -> None:
    specs = [
        built(),
        built(plan=Plan(max_num_seqs=3)),
        built(options=replace(OPTIONS, extra_environment=("A=b",))),
        built(options=replace(OPTIONS, memory_mib=1)),
        built(options=replace(OPTIONS, hardening="standard")),
        built(replace(DOTS, snapshot_revision="beef")),
    ]
    assert len({spec.hash for spec in specs}) == len(specs)
    assert built().hash == built().hash


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", Mount(source="/a", target="/b", read_only=True)),
        ("/a b:/c:ro", Mount(source="/a b", target="/c", read_only=True)),
        ("/a:/b/:rw", Mount(source="/a", target="/b", read_only=False)),
        ("my-volume:/b:rw", Mount(source="my-volume", target="/b", read_only=False)),
    ],
)
def test_mounts_are_read(text: str, mount: Mount) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "/a",
        "/a:b",
        "a/b:/c",
        "~/x:/c",
        "/a:/b:rx",
        "/a:/b:ro:ro",
        ":/b",
        "/a:",
        "/a:/",
        "/a:/b/../c",
        "C:\\x:/b",
    ],
)
def test_a_mount_that_makes_no_sense_is_told_with_the_right_form(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mount(text)
    assert f"'{text}'" in str(caught.value)
    assert "SOURCE:TARGET:ro" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "pair"), [("A=b", ("A", "b")), ("A_1=", ("A_1", "")), ("a=b=c", ("a", "b=c"))]
)
def test_variables_are_read(text: str, pair: tuple[str, str]) -> None:
    assert parse_environment(text) == pair


@pytest.mark.parametrize("text", ["", "A", "=b", "1A=b", "A-B=c", "A B=c", "A=\0"])
def test_a_variable_that_makes_no_sense_is_told_with_the_right_form(text: str) -> None:
    with pytest.raises(ConfigError, match="makes no sense") as caught:
        parse_environment(text)
    assert "NAME=VALUE" in caught.value.hint


def test_a_secret_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_environment("MY KEY=hf_secret")
    assert "hf_secret" not in str(caught.value)


@given(text=st.text(max_size=40))
def test_any_text_is_a_mount_or_an_error(text: str) -> None:
    try:
        mount = parse_mount(text)
    except ConfigError:
        return
    assert mount.target.startswith("/")
    assert parse_mount(f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}") == mount


@pytest.mark.parametrize("options", [("/a:/x", "/b:/x"), ("/a:/x", "/b:/x/")])
def test_two_mounts_at_one_place_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="same place"):
        built(options=replace(OPTIONS, extra_mounts=options))


def test_a_relative_cache_is_refused() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        built(options=replace(OPTIONS, hf_hub="cache/hub"))


@pytest.mark.parametrize("model", ["", "/etc", "../x", "a/b/c", "a--b/c", "org/..", "-flag", "a b"])
def test_what_is_no_model_id_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="no model id"):
        cache_folder(model)


@given(
    plan=st.builds(
        Plan,
        max_model_len=st.integers(0, 200_000),
        max_num_seqs=st.integers(0, 64),
        max_pixels=st.integers(0, 20_000_000),
        gpu_memory_utilization=st.floats(0, 1),
        kv_cache_mib=st.integers(0, 24_000),
        eager=st.booleans(),
    ),
    minor=st.one_of(st.none(), st.integers(11, 40)),
    slow=st.booleans(),
)
def test_every_command_line_is_words_and_its_json_is_valid(plan: Plan, minor: int | None, slow: bool) -> None:
    version = None if minor is None else VllmVersion(0, minor)
    spec = built(plan=plan, version=version, options=replace(OPTIONS, slow_cache=slow))
    assert all(isinstance(word, str) and word for word in spec.command)
    flags = [word for word in spec.command if word.startswith("--")]
    assert len(flags) == len(set(flags))
    for word in spec.command:
        if word.startswith("{"):
            assert json.loads(word)
    assert spec.mounts[0].read_only
