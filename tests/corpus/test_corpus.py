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
def results(tmp_path_factory: pytest.TempPathFactory) -> Sequence[quality.Result]:
    """What ocrd and the bare engine made of each document."""
    folder = str(tmp_path_factory.mktemp("quality"))
    return quality.compare(quality.cases_of(CORPUS), folder, ocrmypdf="", config="")


def test_no_class_or_set_of_documents_is_read_worse_than_by_the_bare_engine(
    results: Sequence[quality.Result],
) -> None:
    quality.report(results)
    assert quality.by_class(results).keys() >= {"Cyrillic", "Latin", "receipts"}
    assert quality.losses(results) == []


def test_no_document_that_the_bare_engine_reads_is_lost(results: Sequence[quality.Result]) -> None:
    lost = [
        result.case.name
        for result in results
        if result.scores[quality.OURS].catastrophic and not result.scores[quality.BARE].catastrophic
    ]
    assert lost == []


GOALS = {"tables, forms, invoices": 0.07, "several columns": 0.01}
"""Wrong characters that a document may have at most."""


def test_invoices_forms_and_columns_are_read_by_the_same_engine_in_one_run(
    results: Sequence[quality.Result],
) -> None:
    """Of pictures whose truth is in the order of a reader."""
    judged = [
        (name, result.case.name, result.scores[quality.OURS].cer)
        for name, group in quality.by_class(results).items()
        for result in group
        if name in GOALS and result.case.is_ordered and not result.case.is_born_digital
    ]
    assert judged
    assert [one for one in judged if one[2] > GOALS[one[0]]] == []
