"""The texts of real documents are neither loops nor in strange letters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocrd.domain.repetition import LoopWatch, find_loop
from ocrd.domain.scripts import script_report, unexpected

pytestmark = pytest.mark.corpus

CORPUS = os.environ.get("OCRD_TEST_CORPUS")
ROOT = Path(__file__).resolve().parents[2]


def texts() -> list[Path]:
    """The ground truth of the corpus; without one, of the samples."""
    if CORPUS:
        return sorted(Path(CORPUS, "quality").rglob("*.gt.txt"))
    return sorted(Path(ROOT, "samples", "expected").rglob("*.txt"))


def test_no_text_of_a_real_document_raises_an_alarm() -> None:
    alarms = []
    for path in texts():
        text = path.read_text(encoding="utf-8", errors="replace")
        watch = LoopWatch()
        seen = [watch.feed(text[at : at + 5]) for at in range(0, len(text), 5)]
        found = find_loop(text) or next((loop for loop in seen if loop is not None), None)
        strange = unexpected(script_report(text), ("rus", "eng"))
        if found is not None or strange:
            alarms.append((path.name, found, strange))
    assert texts()
    assert alarms == []
