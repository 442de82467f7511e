"""The whole way with a real vLLM in a container of a real Docker engine: tiny checkpoints, the CPU build, no GPU.

A file is dropped; the server is started, probed and asked; a page that the first model cannot read waits for the
other; the models are exchanged, and exchanged back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.containers import engine_address, host_mounts, make_image
from support.marked import write_pdf
from support.running import Ocrd, wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
DOTS, QWEN, ODD = "rednote-hilab/dots.ocr", "Qwen/Qwen2-VL-2B-Instruct", "somebody/unknown-vlm"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
START_S = 300.0


@pytest.fixture
def client() -> Iterator[docker.APIClient]:
    address = engine_address()
    if address is None:
        reason = "there is no Docker engine for the tests; start it with: script/docker"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    client = docker.APIClient(address)
    yield client
    for row in client.containers(all=True):
        client.remove_container(row["Id"], force=True, v=True)
    client.close()


def put(hub: Path, model: str, checkpoint: Path) -> Path:
    """A checkpoint as a snapshot of the cache."""
    folder = hub / f"models--{model.replace('/', '--')}"
    shutil.copytree(checkpoint, folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return folder / "snapshots" / COMMIT


@pytest.fixture
def ocrd(tmp_path: Path, client: docker.APIClient, vllm_python: Path, tiny_models: Path) -> Iterator[Ocrd]:
    hub = tmp_path / "hf" / "hub"
    put(hub, DOTS, tiny_models / "tiny-dots.ocr")
    put(hub, QWEN, tiny_models / "tiny-qwen2-vl")
    tag = "vllm/vllm-openai:v0.32.0"
    make_image(client, tag, [str(vllm_python.parent / "vllm"), "serve"], VLLM_CPU_KVCACHE_SPACE="1")
    own = vllm_python.parent.parent
    one = Ocrd(tmp_path)
    one.env |= {
        "OCRD_ENGINE__LANGUAGES": "rus,eng",
        "OCRD_SERVER__DOCKER_HOST": engine_address() or "",
        "OCRD_SERVER__HF_HOME": str(hub.parent),
        "OCRD_SERVER__GPUS": "none",
        "OCRD_SERVER__MOUNTS": json.dumps(host_mounts(own)),
        "OCRD_SERVER__ARGUMENTS": '["--max-model-len", "16384", "--enforce-eager", "--max-num-seqs", "4"]',
    }
    yield one
    if one.process is not None:
        one.stop(signal.SIGKILL)


def test_a_file_a_start_a_page_that_waits_a_swap_and_a_swap_back(
    ocrd: Ocrd, client: docker.APIClient
) -> None:
    """The tiny models give each page the same answer, which the witness does not find on it: so every page is doubted,
    goes up the ladder, waits for the other model, and gets its text from the best of all who read it."""
    write_pdf(ocrd.inbox / "scan.pdf", [1], dpi=100)
    ocrd.start("--engine", "vllm")
    wait_until(lambda: ocrd.status()["server"]["state"] == "ready", "dots.ocr is ready", START_S)
    wait_until(lambda: ocrd.events("page_parked"), "the page waits", START_S)
    assert ocrd.stop() == 0
    done = ocrd.run_once("--engine", "vllm", timeout_s=600)
    assert done.returncode == 0, done.stderr
    [page] = ocrd.show("scan.pdf")["page_list"]
    revisions = [attempt["model_revision"] for attempt in page["attempts"]]
    assert sum(DOTS in revision for revision in revisions) >= 2, "the ladder was climbed once, not anew"
    assert any(QWEN in revision for revision in revisions)
    assert page["state"] == "done"
    assert ocrd.text("scan.pdf").strip()
    # What comes next is the first model's again.
    write_pdf(ocrd.inbox / "next.pdf", [2], dpi=100)
    ocrd.start("--engine", "vllm")

    def is_back() -> bool:
        server = ocrd.status()["server"]
        return bool(server["state"] == "ready" and server["model"] == DOTS)

    wait_until(is_back, "dots.ocr is ready again", START_S)
    wait_until(lambda: len(ocrd.events("page_parked")) >= 2, "the next page was asked of it", START_S)
    assert len(client.containers()) == 1


def test_every_checkpoint_of_the_cache_gets_its_verdict(
    ocrd: Ocrd, client: docker.APIClient, tmp_path: Path, tiny_models: Path
) -> None:
    hub = tmp_path / "hf" / "hub"
    odd = put(hub, ODD, tiny_models / "tiny-qwen2-vl")
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(config | {"architectures": ["OddForConditionalGeneration"]}))
    half = put(hub, "deepseek-ai/deepseek-ocr", tiny_models / "tiny-qwen2-vl")
    (half / "model.safetensors").unlink()
    report = tmp_path / "report"
    done = ocrd.command("models", "test", "--cached", "--report", str(report), timeout_s=800)
    [path] = report.glob("model_test_*.json")
    rows = {row["model"]: row for row in json.loads(path.read_text())["models"]}
    assert (rows[ODD]["verdict"], rows[ODD]["cause"]) == ("failed", "unsupported_model"), rows[ODD]
    assert rows["deepseek-ai/deepseek-ocr"]["verdict"] == "incomplete"
    for model in (DOTS, QWEN):
        # Their answer is the same for every page: the plumbing works, and the report says that they do not read.
        assert rows[model]["verdict"] == "reads_badly", rows[model]
        assert rows[model]["phases"]["loading"] >= 0
        assert rows[model]["readings"]["pages"][0]["tokens"] > 0
    assert done.returncode == 1
    assert not client.containers(all=True)
