"""Real documents: what ocrd reads is never worse than plain Tesseract, and nothing hostile stops it.

They lie in the folder that OCRD_TEST_CORPUS names, with `quality/` and `robustness/` in it; without one the project's
samples and what the benchmarks make on the spot have to do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import quality
import robustness

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(1000)]

CORPUS = os.environ.get("OCRD_TEST_CORPUS")
MANY_PAGES = ("pages_1200.pdf",)
"""What it shows is tested with a fake recognizer; reading it would take longer than all the others."""


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Sequence[quality.Group]:
    """Scores of ocrd and of the bare engine, by set."""
    compared = quality.compare(quality.cases_of(CORPUS), str(tmp_path_factory.mktemp("quality")))
    quality.report(compared)
    return compared


def test_no_set_of_documents_is_read_worse_than_by_the_bare_engine(groups: Sequence[quality.Group]) -> None:
    assert groups
    assert {group.name: group.losses() for group in groups if group.losses()} == {}


def test_no_document_that_the_bare_engine_reads_is_lost(groups: Sequence[quality.Group]) -> None:
    lost = [
        result.case.name
        for group in groups
        for result in group.results
        if result.ours.catastrophic and not result.bare.catastrophic
    ]
    assert lost == []


def test_hostile_names_links_and_pipes_harm_nothing(tmp_path: Path) -> None:
    outcome = robustness.run([], str(tmp_path), deadline_s=120)
    robustness.report(outcome, verbose=True)
    assert outcome.problems == []
    assert {(job["state"], job["reason_code"]) for job in outcome.jobs} == {
        ("done", ""),
        ("rejected", "name_too_long"),
    }


@pytest.mark.skipif(
    not CORPUS or not Path(CORPUS, "robustness").is_dir(),
    reason="set OCRD_TEST_CORPUS to a folder with quality/ and robustness/",
)
def test_every_hostile_document_ends_and_the_next_good_one_is_read_at_once(tmp_path: Path) -> None:
    assert CORPUS
    documents = [
        path for path in robustness.corpus_documents(CORPUS) if not Path(path).name.startswith(MANY_PAGES)
    ]
    outcome = robustness.run(documents, str(tmp_path), deadline_s=600)
    robustness.report(outcome, verbose=True)
    assert outcome.problems == []
