from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from fakes.clock import FakeClock
from support.stores import Stores, attempt, recognition

from ocrd.domain.documents import Raster
from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import DocumentState, IllegalMove, PageState
from ocrd.store.pages import Claimed


@pytest.fixture
def document(stores: Stores) -> int:
    """A running document of three pages."""
    stores.register()
    return stores.begin().id


def test_pages_are_claimed_in_order_and_each_claim_is_counted(stores: Stores, document: int) -> None:
    assert stores.pages.claim(document, 2) == [Claimed(document, 1, 1), Claimed(document, 2, 1)]
    assert stores.pages.claim(document, 2) == [Claimed(document, 3, 1)]
    assert stores.pages.claim(document, 2) == []


def test_pages_that_are_given_back_are_claimed_again_as_if_for_the_first_time(
    stores: Stores, document: int
) -> None:
    stores.pages.claim(document, 3)
    stores.pages.give_back(document, [2])
    assert stores.pages.claim(document, 3) == [Claimed(document, 2, 1)]


def test_after_a_crash_a_page_remembers_that_it_was_in_hand(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    stores.documents.recover()
    stores.begin()
    assert stores.pages.claim(document, 1) == [Claimed(document, 1, 2)]


def test_a_landed_page_has_its_text_and_its_attempt(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    assert stores.pages.land(document, 1, PageState.DONE, attempt(PageState.DONE, "Ёлки"))
    page = next(stores.pages.transcript(document))
    assert (page.number, page.verdict, page.recognition) == (1, "ok", recognition("Ёлки"))
    assert stores.rows("SELECT number, engine, model_revision, dpi, tokens, verdict FROM attempts") == [
        (1, "fake", "1", 200.0, 7, "ok")
    ]


def test_a_failed_page_has_its_reason_and_no_text(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    stores.land(document, 1, PageState.FAILED)
    page = next(stores.pages.transcript(document))
    assert (page.recognition, page.blank, page.verdict) == (None, False, "")
    assert page.reason == "the engine crashed"
    assert stores.pages.failures(document) == [(1, ReasonCode.ENGINE_CRASHED, "the engine crashed")]


def test_a_blank_page_is_known_for_blank(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    stores.land(document, 1, PageState.BLANK)
    page = next(stores.pages.transcript(document))
    assert (page.blank, page.recognition, page.raster) == (True, None, None)


def test_a_blank_page_keeps_its_size(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    empty = replace(recognition(""), blocks=(), width=1654, height=2339)
    stores.pages.land(document, 1, PageState.BLANK, replace(attempt(PageState.BLANK), recognition=empty))
    page = next(stores.pages.transcript(document))
    assert (page.blank, page.recognition) == (True, None)
    assert page.raster == Raster(width=1654, height=2339, dpi=200.0)


def test_the_text_of_a_try_that_was_not_the_last_is_kept(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    stores.pages.note_attempt(document, 1, attempt(PageState.DONE, "first"))
    stores.land(document, 1)
    assert stores.rows("SELECT number, result_id FROM attempts") == [(1, 1), (2, 2)]
    assert stores.rows("SELECT attempts, result_id FROM pages WHERE number = 1") == [(2, 2)]


def test_a_page_that_was_cancelled_meanwhile_does_not_land_but_its_try_is_kept(
    stores: Stores, document: int
) -> None:
    stores.pages.claim(document, 1)
    stores.documents.finish(document, DocumentState.CANCELLED)
    assert not stores.land(document, 1)
    assert stores.page_states(document) == ["cancelled"] * 3
    assert stores.one("SELECT count(*) FROM attempts") == 1
    assert stores.one("SELECT pages_done FROM documents") == 0


def test_a_page_lands_once(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    assert stores.land(document, 1)
    assert not stores.land(document, 1, PageState.FAILED)
    assert stores.page_states(document)[0] == "done"
    assert stores.one("SELECT pages_done FROM documents") == 1


def test_a_running_page_cannot_land_as_running(stores: Stores, document: int) -> None:
    stores.pages.claim(document, 1)
    with pytest.raises(IllegalMove):
        stores.land(document, 1, PageState.RUNNING)
    assert stores.one("SELECT count(*) FROM attempts") == 0


def test_a_long_transcript_comes_complete_and_in_order(stores: Stores) -> None:
    document = stores.register(pages=100)
    stores.begin()
    stores.read_all(document, failed=(32, 33))
    pages = list(stores.pages.transcript(document))
    assert [page.number for page in pages] == list(range(1, 101))
    assert [page.number for page in pages if page.recognition is None] == [32, 33]


def test_progress_counts_settled_and_all_pages(stores: Stores, document: int) -> None:
    assert stores.pages.progress() == (0, 3)
    stores.pages.claim(document, 3)
    stores.land(document, 1)
    stores.land(document, 2, PageState.FAILED)
    assert stores.pages.progress() == (2, 3)


def test_eight_threads_that_claim_at_once_never_get_the_same_page(stores: Stores) -> None:
    document = stores.register(pages=200)
    stores.begin()
    start = Barrier(8)

    def claim_all() -> list[int]:
        start.wait(10)
        numbers: list[int] = []
        while claimed := stores.pages.claim(document, 3):
            numbers += [one.number for one in claimed]
        return numbers

    with ThreadPoolExecutor(8) as pool:
        taken = [task.result() for task in [pool.submit(claim_all) for _ in range(8)]]
    assert sorted(number for numbers in taken for number in numbers) == list(range(1, 201))
    assert stores.one("SELECT max(claims) FROM pages") == 1


def test_two_open_stores_on_one_file_never_claim_the_same_document(stores: Stores) -> None:
    ids = [stores.register(f"{number}.pdf", content=str(number)) for number in range(20)]
    other = Stores(stores.folder, FakeClock())
    start = Barrier(2)

    def claim_all(own: Stores) -> list[int]:
        start.wait(10)
        numbers = []
        while (job := own.documents.claim()) is not None:
            numbers.append(job.id)
        return numbers

    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(claim_all, [stores, other]))
    other.close()
    assert sorted(taken[0] + taken[1]) == ids
