from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ocrd.daemon.acceptance.questions import PageResult, QuestionResult, Readings
from ocrd.daemon.acceptance.report import CACHE, WORKING, Circumstances, write_report
from ocrd.daemon.acceptance.trial import Trial, Verdict
from ocrd.daemon.managed import chosen_models
from ocrd.settings import Settings

HERE = Circumstances(
    at=datetime(2026, 3, 1, tzinfo=UTC), version="1", gpu="", gpu_mib=None, image="", vllm="", hub="/hub"
)


PAGE = PageResult(page="cyrillic", cer=0.01, catastrophic=False, seconds=1.0, tokens=50, text="")
RIGHT = QuestionResult(right=True, answer="17", seconds=0.1)
READINGS = Readings(pages=(PAGE,), pages_per_min=10.0, tokens_per_s=50.0, vision=RIGHT, text=RIGHT)


def trial(model: str, verdict: Verdict) -> Trial:
    if verdict is not Verdict.WORKS:
        return Trial(model=model, verdict=verdict)
    return Trial(
        model=model, verdict=verdict, readings=READINGS, start_s=40.0, stop_s=2.0, vram_peak_mib=9000
    )


def report(folder: Path, *trials: Trial, whole: bool) -> list[str]:
    paths = write_report(str(folder), HERE, trials, [], language="en", whole=whole)
    return sorted(Path(path).name for path in paths)


def working(folder: Path) -> list[str]:
    return [row["model"] for row in json.loads((folder / WORKING).read_text())["models"]]


def test_a_run_over_all_models_makes_the_list_anew(tmp_path: Path) -> None:
    report(
        tmp_path,
        trial("a", Verdict.WORKS),
        trial("b", Verdict.FAILED),
        whole=True,
    )
    assert working(tmp_path) == ["a"]
    report(tmp_path, trial("b", Verdict.WORKS), whole=True)
    assert working(tmp_path) == ["b"]


@pytest.mark.parametrize("verdict", [Verdict.WORKS, Verdict.FAILED])
def test_a_run_over_some_leaves_the_list_that_a_daemon_uses(tmp_path: Path, verdict: Verdict) -> None:
    report(tmp_path, trial("a", Verdict.WORKS), whole=True)
    assert WORKING not in report(tmp_path, trial("b", verdict), whole=False)
    settings = Settings().with_value("server", "working_models", str(tmp_path / WORKING), "test")
    assert chosen_models(settings) == ("a", "")


def test_the_first_run_writes_all_of_it(tmp_path: Path) -> None:
    names = report(tmp_path / "new", trial("a", Verdict.WORKS), whole=False)
    assert names == sorted(
        [WORKING, CACHE, "model_test_20260301_000000.json", "model_test_20260301_000000.md"]
    )
