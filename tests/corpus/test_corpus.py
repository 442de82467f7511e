"""Real documents: what ocrd reads is never worse than plain Tesseract.

They lie in the folder that OCRD_TEST_CORPUS names, with `quality/` in it; without one the project's
samples and what the benchmarks make on the spot have to do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import quality

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(1000)]

CORPUS = os.environ.get("OCRD_TEST_CORPUS")


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
