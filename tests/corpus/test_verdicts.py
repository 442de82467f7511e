"""The texts of real documents are neither loops nor talk nor in strange letters."""

from __future__ import annotations

import json
import os
from pathlib import Path

import processes
import pytest
import quality

from ocrd.domain.documents import Block, PageImage, Recognition
from ocrd.domain.jobs import Verdict
from ocrd.domain.quality import judge
from ocrd.domain.repetition import Loop, LoopWatch, find_loop
from ocrd.domain.scripts import script_report, unexpected

pytestmark = pytest.mark.corpus

CORPUS = os.environ.get("OCRD_TEST_CORPUS")
ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("rus", "eng")
PAGE = PageImage(path="/page.png", number=1, width=1654, height=2339, dpi=200, ink=0.1)


def texts() -> list[Path]:
    """The ground truth of the corpus; without one, of the samples."""
    if CORPUS:
        return sorted(Path(CORPUS, "quality").rglob("*.gt.txt"))
    return sorted(Path(ROOT, "samples", "expected").rglob("*.txt"))


def watched(raw: str, size: int = 5) -> Loop | None:
    """What a watch says of a stream."""
    watch = LoopWatch()
    seen = (watch.feed(raw[at : at + size]) for at in range(0, len(raw), size))
    return next((loop for loop in seen if loop is not None), None)


def as_cells(text: str) -> list[Block]:
    """A block for each line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [
        Block(category="Text", box=(100, 20 * n % 2300, 1500, 20 * n % 2300 + 18), text=line)
        for n, line in enumerate(lines)
    ]


def as_json(blocks: list[Block], *, ascii_only: bool) -> str:
    """What dots.ocr would have written."""
    return json.dumps(
        [{"bbox": block.box, "category": block.category, "text": block.text} for block in blocks],
        ensure_ascii=ascii_only,
    )


def answer(text: str) -> Recognition:
    return Recognition(
        text=text,
        blocks=tuple(as_cells(text)),
        finish="stop",
        engine="vllm",
        model_revision="m",
        prompt_mode="layout",
        dpi=200.0,
        tokens=1,
        seconds=1.0,
    )


def test_no_text_of_a_real_document_raises_an_alarm() -> None:
    alarms = []
    for path in texts():
        text = path.read_text(encoding="utf-8", errors="replace")
        found = find_loop(text) or watched(text)
        strange = unexpected(script_report(text), LANGUAGES)
        if found is not None or strange:
            alarms.append((path.name, found, strange))
    assert texts()
    assert alarms == []


@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_answer_of_a_good_model_is_stopped(ascii_only: bool) -> None:
    stopped = []
    for path in texts():
        text = path.read_text(encoding="utf-8", errors="replace")
        whole = [Block(category="Text", box=(100, 100, 1500, 2200), text=text)]
        for blocks in (as_cells(text), whole):
            loop = watched(as_json(blocks, ascii_only=ascii_only))
            if loop is not None:
                stopped.append((path.name, loop))
    assert stopped == []


def test_each_page_of_a_real_document_is_ok() -> None:
    doubted = []
    for path in texts():
        for page in path.read_text(encoding="utf-8", errors="replace").split("\f"):
            judgement = judge(PAGE, answer(page), LANGUAGES)
            if page.strip() and judgement.verdict is not Verdict.OK:
                doubted.append((path.name, judgement))
    assert doubted == []


HARD_KINDS = {"handwriting", "receipt", "fax"}
"""Those whose pages are read least surely."""


@pytest.mark.timeout(600)
def test_of_the_pages_that_the_embedded_engine_reads_only_handwriting_is_doubted(tmp_path: Path) -> None:
    cases = [case for case in quality.cases_of(CORPUS) if case.kind in HARD_KINDS]
    inbox = tmp_path / "inbox"
    processes.fill(str(inbox), ((case.path, case.name) for case in cases))
    command = processes.ocrd_command(
        "run", "--once", "--inbox", str(inbox), "--state", str(tmp_path / "state")
    )
    environment = processes.private_environment(str(tmp_path), {"OCRD_OUTPUT__FORMATS": "json"})
    assert processes.measure(command, environment, log=str(tmp_path / "log")).code == 0
    verdicts = {
        case: {page["verdict"] for page in json.loads((inbox / f"{case.name}.json").read_bytes())["pages"]}
        for case in cases
    }
    assert cases
    assert [(case.name, found) for case, found in verdicts.items() if found != expected(case)] == []


def expected(case: quality.Case) -> set[str]:
    """The verdicts of its pages."""
    return {"suspect"} if case.kind == "handwriting" else {"ok"}
