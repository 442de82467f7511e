from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.clock import FakeClock
from support.stores import INBOX, Stores, arrival, attempt, rejected

from ocrd.domain.documents import MediaType
from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import DocumentState, IllegalMove, PageState

# --- taking in ---------------------------------------------------------------------------------------------


def test_a_new_file_is_queued_with_its_pages_pending(stores: Stores) -> None:
    registered = stores.documents.register(arrival())
    assert (registered.new, registered.state) == (True, DocumentState.QUEUED)
    assert stores.page_states(registered.document_id) == ["pending"] * 3


def test_the_same_content_at_the_same_path_is_the_same_document(stores: Stores) -> None:
    first = stores.register()
    stores.begin()
    stores.read_all(first)
    again = stores.documents.register(arrival(mtime_ns=5))
    assert (again.document_id, again.new, again.state) == (first, False, DocumentState.DONE)
    assert list(stores.documents.known_files(INBOX)) == [(b"/inbox/scan.pdf", 4, 5)]
    assert stores.documents.claim() is None


def test_changed_content_is_a_new_revision_and_a_queued_old_one_is_cancelled(stores: Stores) -> None:
    old = stores.register(content="first")
    registered = stores.documents.register(arrival(content="second"))
    assert (registered.new, registered.superseded) == (True, None)
    assert stores.document_state(old) is DocumentState.CANCELLED
    assert stores.one("SELECT reason_code FROM documents WHERE id = ?", old) == "superseded"
    assert stores.rows("SELECT revision, current FROM documents ORDER BY id") == [(1, 0), (2, 1)]
    assert stores.begin().id == registered.document_id


def test_a_running_document_that_is_superseded_is_named_and_left_to_its_worker(stores: Stores) -> None:
    old = stores.register(content="first")
    stores.begin()
    assert stores.documents.register(arrival(content="second")).superseded == old
    assert stores.document_state(old) is DocumentState.RUNNING


def test_a_finished_revision_stays_as_it_ended(stores: Stores) -> None:
    old = stores.register(content="first")
    stores.begin()
    stores.read_all(old)
    assert stores.documents.register(arrival(content="second")).superseded is None
    assert stores.document_state(old) is DocumentState.DONE


def test_content_that_returns_to_a_path_takes_over_the_pages_of_its_old_revision(stores: Stores) -> None:
    stores.register(content="first")
    stores.read_all(stores.begin().id)
    stores.register(content="second")
    stores.read_all(stores.begin().id)
    returned = stores.documents.register(arrival(content="first"))
    assert returned.new
    assert stores.begin().open_pages == 0
    assert stores.one("SELECT revision FROM documents WHERE id = ?", returned.document_id) == 3


def test_a_file_that_was_gone_and_is_back_is_queued_again_with_the_pages_it_has(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    stores.pages.claim(document, 1)
    stores.land(document, 1)
    stores.documents.finish(document, DocumentState.CANCELLED, code=ReasonCode.FILE_GONE, reason="gone")
    assert list(stores.documents.known_files(INBOX)) == []
    back = stores.documents.register(arrival())
    assert (back.document_id, back.new, back.state) == (document, False, DocumentState.QUEUED)
    assert stores.page_states(document) == ["done", "pending", "pending"]


def test_a_document_that_the_user_cancelled_stays_cancelled_when_it_is_seen_again(stores: Stores) -> None:
    document = stores.register()
    stores.documents.cancel(document)
    assert stores.documents.register(arrival()).state is DocumentState.CANCELLED


def test_a_rejected_file_runs_until_its_error_file_is_written(stores: Stores) -> None:
    registered = stores.documents.register(rejected(sha256=""))
    assert (registered.new, registered.state) == (True, DocumentState.RUNNING)
    stores.documents.finish(registered.document_id, DocumentState.REJECTED, code=ReasonCode.DAMAGED)
    seen_again = stores.documents.register(rejected(sha256=""))
    assert (seen_again.new, seen_again.state) == (False, DocumentState.REJECTED)


def test_an_unread_file_counts_as_changed_when_its_size_or_time_did(stores: Stores) -> None:
    stores.documents.register(rejected(sha256=""))
    assert stores.documents.register(arrival(mtime_ns=6)).new


def test_a_path_may_be_any_bytes(stores: Stores) -> None:
    stores.register(path=b"/inbox/\xff\n.pdf")
    assert stores.begin().path == b"/inbox/\xff\n.pdf"
    assert stores.documents.find_path(b"/inbox/\xff\n.pdf") is not None
    assert stores.documents.find_path(b"/inbox/other") is None


# --- claiming ----------------------------------------------------------------------------------------------


def test_documents_are_claimed_by_priority_and_then_by_age(stores: Stores) -> None:
    ids = [stores.register(f"{number}.pdf", content=str(number)) for number in range(3)]
    with stores.database.write() as tx:
        tx.exec_driver_sql("UPDATE documents SET priority = 1 WHERE id = ?", (ids[2],))
    assert [stores.begin().id for _ in ids] == [ids[2], ids[0], ids[1]]
    assert stores.documents.claim() is None


def test_a_claimed_document_comes_with_what_its_worker_needs(stores: Stores) -> None:
    document = stores.register()
    job = stores.begin()
    assert (job.id, job.inbox, job.path, job.pages) == (document, INBOX, b"/inbox/scan.pdf", 3)
    assert (job.media_type, job.open_pages, job.overwrite) == (MediaType.PDF, 3, False)


def test_a_twin_waits_while_its_content_is_being_read_and_then_takes_over_every_page(stores: Stores) -> None:
    first, twin = stores.register("a.pdf"), stores.register("b.pdf")
    assert stores.begin().id == first
    assert stores.documents.claim() is None
    stores.read_all(first)
    job = stores.begin()
    assert (job.id, job.open_pages) == (twin, 0)
    assert stores.documents.outcome(twin) is DocumentState.DONE
    texts = [page.recognition for page in stores.pages.transcript(twin)]
    assert texts == [page.recognition for page in stores.pages.transcript(first)]
    assert stores.one("SELECT pages_done FROM documents WHERE id = ?", twin) == 3


def test_a_twin_takes_over_the_pages_that_were_read_and_reads_the_others_itself(stores: Stores) -> None:
    first, twin = stores.register("a.pdf"), stores.register("b.pdf")
    stores.begin()
    stores.read_all(first, failed=(2,))
    assert stores.document_state(first) is DocumentState.PARTIAL
    assert stores.begin().open_pages == 1
    assert stores.page_states(twin) == ["done", "pending", "done"]
    assert [claimed.number for claimed in stores.pages.claim(twin, 10)] == [2]


def test_another_document_goes_ahead_of_a_twin_that_waits(stores: Stores) -> None:
    stores.register("a.pdf")
    stores.register("b.pdf")
    other = stores.register("c.pdf", content="other")
    stores.begin()
    assert stores.begin().id == other


def test_with_other_settings_the_same_content_is_read_anew(stores: Stores) -> None:
    stores.register("a.pdf")
    stores.register("b.pdf", fingerprint="another")
    stores.read_all(stores.begin().id)
    assert stores.begin().open_pages == 3


# --- giving back -------------------------------------------------------------------------------------------


def test_a_released_document_is_queued_and_its_claims_do_not_count(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    stores.pages.claim(document, 2)
    stores.land(document, 1)
    stores.documents.release(document)
    assert stores.document_state(document) is DocumentState.QUEUED
    assert stores.rows("SELECT state, claims FROM pages ORDER BY number") == [
        ("done", 1),
        ("pending", 0),
        ("pending", 0),
    ]


def test_after_a_crash_everything_is_queued_again_and_the_claims_count(stores: Stores) -> None:
    document = stores.register()
    stores.register("done.pdf", content="other")
    stores.begin()
    stores.pages.claim(document, 2)
    assert [job.id for job in stores.documents.recover()] == [document]
    assert stores.rows("SELECT claims FROM pages WHERE document_id = ? ORDER BY number", document) == [
        (1,),
        (1,),
        (0,),
    ]
    assert stores.page_states(document) == ["pending"] * 3
    assert stores.documents.recover() == []


# --- ending ------------------------------------------------------------------------------------------------


def test_a_finished_document_knows_when_and_how_long_its_pages_took(stores: Stores, clock: FakeClock) -> None:
    document = stores.register(pages=2)
    stores.begin()
    stores.pages.claim(document, 1)
    clock.advance(3600)  # somebody paused the queue
    stores.pages.note_attempt(document, 1, replace(attempt(PageState.DONE), seconds=10.0))
    stores.pages.land(document, 1, PageState.DONE, replace(attempt(PageState.DONE), seconds=2.5))
    stores.read_all(document)
    finished_at, seconds = stores.rows("SELECT finished_at, seconds FROM documents")[0]
    assert (finished_at, seconds) == (
        clock.now().timestamp(),
        pytest.approx(12.5 + attempt(PageState.DONE).seconds),
    )


def test_a_document_that_is_not_running_cannot_be_finished(stores: Stores) -> None:
    document = stores.register()
    with pytest.raises(IllegalMove, match="0 rows were in the old state"):
        stores.documents.finish(document, DocumentState.DONE)
    assert stores.rows("SELECT * FROM events") == []


def test_cancelling_ends_a_queued_document_with_all_its_pages(stores: Stores) -> None:
    document = stores.register()
    assert stores.documents.cancel(document) is DocumentState.CANCELLED
    assert stores.document_state(document) is DocumentState.CANCELLED
    assert stores.page_states(document) == ["cancelled"] * 3


def test_cancelling_only_reports_a_document_that_runs_or_is_over(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    assert stores.documents.cancel(document) is DocumentState.RUNNING
    stores.read_all(document)
    assert stores.documents.cancel(document) is DocumentState.DONE
    assert stores.document_state(document) is DocumentState.DONE


def test_a_document_cancelled_while_it_runs_keeps_the_pages_that_were_read(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    stores.pages.claim(document, 2)
    stores.land(document, 1)
    stores.documents.finish(document, DocumentState.CANCELLED, code=ReasonCode.CANCELLED)
    assert stores.page_states(document) == ["done", "cancelled", "cancelled"]


# --- trying again ------------------------------------------------------------------------------------------


def test_a_retry_opens_the_failed_pages_only(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    stores.read_all(document, failed=(3,))
    assert stores.documents.retry(document, overwrite=True)
    job = stores.begin()
    assert (job.open_pages, job.overwrite) == (1, True)
    assert stores.rows("SELECT state, claims, reason FROM pages WHERE number = 3") == [("pending", 0, "")]
    stores.read_all(document)
    assert stores.document_state(document) is DocumentState.DONE
    assert stores.one("SELECT overwrite FROM documents") == 0


def test_a_retry_from_the_start_opens_every_page(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    stores.read_all(document)
    assert stores.documents.retry(document, reread_as="f")
    assert stores.page_states(document) == ["pending"] * 3
    assert stores.one("SELECT pages_done FROM documents") == 0
    assert stores.begin().open_pages == 3


def test_a_document_that_is_not_over_cannot_be_retried(stores: Stores) -> None:
    document = stores.register()
    assert not stores.documents.retry(document)
    stores.begin()
    assert not stores.documents.retry(document)


def test_a_rejected_document_that_became_readable_gets_its_pages(stores: Stores) -> None:
    document = stores.documents.register(rejected()).document_id
    stores.documents.finish(document, DocumentState.REJECTED, code=ReasonCode.DAMAGED)
    stores.documents.retry(document)
    assert stores.begin().pages == 0
    job = stores.documents.complete(document, arrival(pages=2))
    assert (job.pages, job.open_pages) == (2, 2)
    stores.read_all(document)
    assert stores.document_state(document) is DocumentState.DONE


def test_the_states_are_asked_of_current_revisions_only(stores: Stores) -> None:
    stores.register(content="first")
    second = stores.register(content="second")
    stores.documents.cancel(second)
    assert stores.documents.ids_in_states([DocumentState.CANCELLED]) == [second]
    assert stores.documents.unfinished() == 0


def test_the_outcome_waits_for_the_last_page(stores: Stores) -> None:
    document = stores.register()
    stores.begin()
    stores.pages.claim(document, 3)
    for number in (1, 2):
        stores.land(document, number, PageState.BLANK)
        assert stores.documents.outcome(document) is None
    stores.land(document, 3, PageState.FAILED)
    assert stores.documents.outcome(document) is DocumentState.PARTIAL
