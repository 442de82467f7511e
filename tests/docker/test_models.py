"""`ocrd models test` on a real engine: one model after the other, and a report that tells which work."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.containers import settings_for
from support.hf_caches import SHARDS, make
from support.running import Ocrd, wait_until

DOTS, QWEN, MOON, HALF = (
    "rednote-hilab/dots.ocr",
    "Qwen/Qwen2-VL-2B-Instruct",
    "vikhyatk/moondream2",
    "deepseek-ai/deepseek-ocr",
)
UNSUPPORTED = "ValueError: Model architectures ['HfMoondream'] are not supported for now. Supported: []"


@pytest.fixture
def ocrd(tmp_path: Path, engine: str, client: docker.APIClient, image: str) -> Iterator[Ocrd]:
    """A cache with two models that start, one of which no page can be read by, one that cannot start, and a half."""
    hub = tmp_path / "hf" / "hub"
    for model in (DOTS, QWEN, MOON):
        make(hub, model=model)
    make(hub, model=HALF).remove(SHARDS[1])
    one = Ocrd(tmp_path)
    play = {MOON: {"end_in": "importing", "text": UNSUPPORTED}}
    one.env |= settings_for(engine, hub, models=play)
    yield one
    if one.process is not None:
        one.stop(signal.SIGKILL)
    for row in client.containers(all=True):
        client.remove_container(row["Id"], force=True, v=True)


def test_every_model_of_the_cache_gets_its_row_with_the_true_cause(
    ocrd: Ocrd, client: docker.APIClient, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    done = ocrd.command("models", "test", "--cached", "--report", str(report))
    assert not client.containers(all=True), "nothing is left behind"
    [path] = report.glob("model_test_*.json")
    rows = {row["model"]: row for row in json.loads(path.read_text())["models"]}
    assert set(rows) == {DOTS, QWEN, MOON, HALF}, done.stdout + done.stderr
    assert (rows[MOON]["verdict"], rows[MOON]["cause"]) == ("failed", "unsupported_model")
    assert "HfMoondream" in rows[MOON]["reason"]
    assert rows[HALF]["verdict"] == "incomplete"
    assert SHARDS[1] in rows[HALF]["reason"]
    for model in (DOTS, QWEN):
        row = rows[model]
        assert row["readings"] is not None, row
        assert {page["page"] for page in row["readings"]["pages"]} == {"cyrillic", "latin", "digits", "table"}
        assert row["start_s"] > 0
        assert row["stop_s"] < 10
    cache = {
        row["model"]: row["state"]
        for row in json.loads((report / "cache_inspection.json").read_text())["models"]
    }
    assert cache[HALF] == "incomplete"
    working = json.loads((report / "working_models.json").read_text())["models"]
    assert [row["model"] for row in working] == [
        model for model in (DOTS, QWEN) if rows[model]["verdict"] == "works"
    ]
    assert done.returncode == (0 if working else 1)
    [text] = report.glob("*.md")
    assert MOON in text.read_text()
    assert f"{MOON}: " in done.stdout


def test_the_report_speaks_the_users_language(ocrd: Ocrd, tmp_path: Path) -> None:
    ocrd.env["LC_ALL"] = "ru_RU.UTF-8"
    ocrd.command("models", "test", HALF, "--report", str(tmp_path / "report"))
    [text] = (tmp_path / "report").glob("*.md")
    assert "Проверка зрительных моделей" in text.read_text()


def test_a_daemon_lends_its_server_and_takes_it_back(
    ocrd: Ocrd, client: docker.APIClient, tmp_path: Path
) -> None:
    ocrd.start("--engine", "vllm")
    wait_until(lambda: ocrd.status()["server"]["state"] == "ready", "the daemon's server is ready")
    [before] = client.containers()
    done = ocrd.command("models", "test", QWEN, "--report", str(tmp_path / "report"))
    assert QWEN in done.stdout, done.stderr

    def is_back() -> bool:
        server = ocrd.status()["server"]
        return bool(server["state"] == "ready" and server["model"] == DOTS)

    wait_until(is_back, "the daemon has its server again")
    [after] = client.containers()
    assert after["Id"] != before["Id"]
