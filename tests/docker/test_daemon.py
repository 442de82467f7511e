"""The daemon that keeps a model in a container of a real Docker engine: the fake of vLLM inside, no GPU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support.containers import ROOT
from support.kept import DOTS, QWEN, Kept
from support.marked import page_lines, write_pdf
from support.running import wait_until

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 160.00 MiB."
UNSUPPORTED = (
    "ValueError: Model architectures ['MoondreamForCausalLM'] are not supported for now. Supported: []"
)


def test_files_are_read_by_a_model_that_ocrd_starts_itself(kept: Kept) -> None:
    write_pdf(kept.ocrd.inbox / "scan.pdf", [1, 2])
    kept.ocrd.start("--engine", "vllm")
    kept.ocrd.await_state("scan.pdf", "done")
    assert kept.lines("scan.pdf") == [*page_lines(1), *page_lines(2)]
    server = kept.await_server("ready")
    assert server["container"] == kept.container()[:12]
    assert {"importing", "loading"} <= set(server["phases"])
    assert kept.ocrd.status()["engine"]["kind"] == "vllm"


def test_the_next_daemon_takes_the_warm_server_over(kept: Kept) -> None:
    kept.ocrd.start("--engine", "vllm")
    kept.await_server("ready")
    before = kept.container()
    for number in (signal.SIGTERM, signal.SIGKILL):
        kept.ocrd.stop(number)
        assert kept.container() == before, "it stays warm"
        kept.ocrd.start("--engine", "vllm")
        kept.await_server("ready")
        assert kept.container() == before
    write_pdf(kept.ocrd.inbox / "scan.pdf", [7])
    kept.ocrd.await_state("scan.pdf", "done")


def test_other_settings_make_another_container_and_never_two(kept: Kept) -> None:
    kept.ocrd.start("--engine", "vllm")
    kept.await_server("ready")
    before = kept.container()
    kept.ocrd.stop()
    kept.ocrd.env["OCRD_SERVER__ARGUMENTS"] = '["--max-model-len", "8192"]'
    kept.ocrd.start("--engine", "vllm")
    wait_until(lambda: kept.containers() and kept.container() != before, "it was replaced")
    assert len(kept.containers()) == 1


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_server_that_ends_is_started_anew_and_no_page_is_lost(kept: Kept, how: str) -> None:
    kept.play(server={"decode-tps": 400})
    kept.ocrd.start("--engine", "vllm")
    kept.await_server("ready")
    before = kept.container()
    write_pdf(kept.ocrd.inbox / "scan.pdf", range(1, 9))
    wait_until(lambda: kept.ocrd.status()["engine"]["reading"], "pages are being read")
    if how == "kill":
        kept.client.kill(before)
    else:
        kept.client.stop(before, timeout=5)
    kept.ocrd.await_state("scan.pdf", "done")
    assert kept.lines("scan.pdf") == [line for page in range(1, 9) for line in page_lines(page)]
    assert kept.container() != before
    [failed] = kept.ocrd.events("model_failed")
    assert failed["failure"] in {"killed", "engine_died"}


def test_a_server_that_hangs_is_found_out_and_started_anew(kept: Kept) -> None:
    kept.ocrd.env["OCRD_VLLM__PAGE_TIMEOUT_S"] = "5"
    kept.ocrd.start("--engine", "vllm")
    url = kept.await_server("ready")["url"]
    before = kept.container()
    order = urllib.request.Request(
        url.removesuffix("/v1") + "/fake/control",
        json.dumps({"default": ["hang"], "unmarked": ["hang"]}).encode(),
    )
    with urllib.request.urlopen(order) as answer:
        assert answer.status == 200
    write_pdf(kept.ocrd.inbox / "scan.pdf", [5])
    kept.ocrd.await_state("scan.pdf", "done")
    assert kept.lines("scan.pdf") == page_lines(5)
    assert kept.container() != before
    assert kept.ocrd.events("model_failed")[0]["failure"] == "engine_died"


def test_an_engine_that_is_stopped_and_started_again_gets_its_container_again(
    kept: Kept, engine: str
) -> None:
    folder = Path(engine.removeprefix("unix://")).parent
    if not (folder / ".made-by-script-docker").exists():
        pytest.skip("needs an engine that script/docker has started: this one is not ours to stop")
    kept.ocrd.start("--engine", "vllm")
    kept.await_server("ready")
    pid = int((folder / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the engine has ended")
    kept.await_server("failed")
    assert kept.server()["failure"] == "engine_unavailable"
    subprocess.run([ROOT / "script" / "docker", folder], check=True, timeout=60)
    kept.await_server("ready")
    assert len(kept.containers()) == 1
    write_pdf(kept.ocrd.inbox / "scan.pdf", [5])
    kept.ocrd.await_state("scan.pdf", "done")


def test_a_model_that_can_never_start_is_said_to_be_so_and_the_embedded_engine_reads(kept: Kept) -> None:
    kept.play(end_in="importing", text=UNSUPPORTED)
    write_pdf(kept.ocrd.inbox / "scan.pdf", [3])
    kept.ocrd.start()
    job = kept.ocrd.await_state("scan.pdf", "done")
    assert job["pages_done"] == 1
    [page] = kept.ocrd.show("scan.pdf")["page_list"]
    assert page["attempts"][-1]["engine"] == "tesseract"
    server = kept.await_server("blocked")
    assert server["failure"] == "unsupported_model"
    assert "MoondreamForCausalLM" in server["problem"]
    assert not kept.containers()


def test_auto_waits_for_a_server_that_is_on_its_way(kept: Kept) -> None:
    kept.play(phase_s=2.5)
    write_pdf(kept.ocrd.inbox / "scan.pdf", [3])
    kept.ocrd.start()
    wait_until(lambda: kept.server()["phase"] == "loading", "it is loading")
    kept.ocrd.await_state("scan.pdf", "done")
    [page] = kept.ocrd.show("scan.pdf")["page_list"]
    assert [attempt["engine"] for attempt in page["attempts"]] == ["vllm"]


def test_auto_goes_on_without_the_server_and_back_to_it(kept: Kept) -> None:
    """Read by the embedded engine while the start takes longer than one waits; by the model when it is there; by the
    embedded engine again while the server is away."""
    kept.ocrd.env["OCRD_ENGINE__SERVER_WAIT_S"] = "1"
    kept.play(phase_s=2.0)
    kept.ocrd.start()

    def engine_of(name: str, number: int) -> str:
        write_pdf(kept.ocrd.inbox / name, [number])
        kept.ocrd.await_state(name, "done")
        [page] = kept.ocrd.show(name)["page_list"]
        return str(page["attempts"][-1]["engine"])

    assert engine_of("early.pdf", 1) == "tesseract"
    kept.await_server("ready")
    assert engine_of("later.pdf", 2) == "vllm"
    kept.client.kill(kept.container())
    assert engine_of("lost.pdf", 3) == "tesseract"
    kept.await_server("ready")
    assert engine_of("last.pdf", 4) == "vllm"


def test_stop_and_start_by_command(kept: Kept) -> None:
    kept.ocrd.start("--engine", "vllm")
    kept.await_server("ready")
    assert kept.ocrd.command("models", "stop").returncode == 0
    wait_until(lambda: not kept.containers(), "it is stopped")
    assert kept.ocrd.command("models", "start").returncode == 0
    kept.await_server("ready")


def test_without_a_daemon_the_command_starts_it_and_the_daemon_takes_it_over(kept: Kept) -> None:
    done = kept.ocrd.command("models", "start")
    assert done.returncode == 0, done.stderr
    assert "is ready at http://127.0.0.1:" in done.stdout
    before = kept.container()
    kept.ocrd.start("--engine", "vllm")
    kept.await_server("ready")
    assert kept.container() == before
    kept.ocrd.stop()
    assert "stopped: ocrd-" in kept.ocrd.command("models", "stop").stdout
    assert not kept.containers()


def test_a_start_that_fails_is_told_with_its_cause_and_its_log(kept: Kept) -> None:
    kept.play(end_in="importing", text=UNSUPPORTED)
    done = kept.ocrd.command("models", "start")
    assert done.returncode == 69
    assert "MoondreamForCausalLM" in done.stderr
    assert "MoondreamForCausalLM" in kept.ocrd.command("models", "log").stdout


def test_pages_wait_for_the_fallback_model_and_get_their_turn(kept: Kept) -> None:
    """Page 2 is refused by the first model and read by the other; the models swap, and swap back."""
    kept.refuse_page(2)
    write_pdf(kept.ocrd.inbox / "scan.pdf", [1, 2, 3])
    done = kept.ocrd.run_once("--engine", "vllm")
    assert done.returncode == 0, done.stderr
    assert kept.lines("scan.pdf") == [line for page in (1, 2, 3) for line in page_lines(page)]
    pages = {page["number"]: page for page in kept.ocrd.show("scan.pdf")["page_list"]}
    assert QWEN in pages[2]["attempts"][-1]["model_revision"]
    assert all(DOTS in attempt["model_revision"] for attempt in pages[1]["attempts"])


def test_a_page_that_waits_climbs_on_after_a_kill(kept: Kept) -> None:
    kept.refuse_page(2)
    write_pdf(kept.ocrd.inbox / "scan.pdf", [1, 2, 3])
    kept.ocrd.start("--engine", "vllm")
    wait_until(lambda: kept.ocrd.status()["pages"]["parked"], "a page waits")
    wait_until(lambda: kept.ocrd.status()["pages"]["done"] == 2, "the others are read")
    before = {page["number"]: len(page["attempts"]) for page in kept.ocrd.show("scan.pdf")["page_list"]}
    kept.ocrd.stop(signal.SIGKILL)
    assert kept.ocrd.run_once("--engine", "vllm").returncode == 0
    pages = {page["number"]: page["attempts"] for page in kept.ocrd.show("scan.pdf")["page_list"]}
    assert [len(pages[number]) for number in (1, 3)] == [before[1], before[3]]
    assert [QWEN in attempt["model_revision"] for attempt in pages[2][before[2] :]] == [True]
    assert kept.lines("scan.pdf") == [line for page in (1, 2, 3) for line in page_lines(page)]


def test_without_the_fallback_model_in_the_cache_no_page_waits_for_it(kept: Kept) -> None:
    shutil.rmtree(kept.ocrd.folder / "hf" / "hub" / f"models--{QWEN.replace('/', '--')}")
    scenario = kept.ocrd.folder / "scenario.json"
    scenario.write_text(json.dumps({"2": ["refusal"]}))
    mounts = json.loads(kept.ocrd.env["OCRD_SERVER__MOUNTS"])
    kept.play(server={"scenario": str(scenario)})
    kept.ocrd.env["OCRD_SERVER__MOUNTS"] = json.dumps([*mounts, f"{scenario}:{scenario}:ro"])
    write_pdf(kept.ocrd.inbox / "scan.pdf", [2])
    done = kept.ocrd.run_once("--engine", "vllm")
    assert done.returncode == 0, done.stderr
    [page] = kept.ocrd.show("scan.pdf")["page_list"]
    assert page["attempts"][-1]["engine"] == "tesseract"
    assert "models_swap" not in done.stderr


def test_an_image_that_is_missing_is_named_with_the_command_that_fetches_it(kept: Kept) -> None:
    kept.ocrd.env["OCRD_SERVER__IMAGE"] = "vllm/vllm-openai:v9.9.9"
    kept.ocrd.start("--engine", "vllm")
    server = kept.await_server("refused")
    assert server["failure"] == "image_missing"
    assert server["hint"] == "docker pull vllm/vllm-openai:v9.9.9"
