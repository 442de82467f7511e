from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from support.stores import INBOX, Stores, attempt, rejected

from ocrd.domain.errors import ReasonCode, StoreError
from ocrd.domain.jobs import DocumentState, PageState
from ocrd.store import snapshot
from ocrd.store.outputs import Planned


@pytest.fixture
def filled(stores: Stores, clock: FakeClock) -> Stores:
    """Five documents: done, partial, rejected, running with one page in hand, queued."""
    stores.register("done.pdf", content="1")
    stores.read_all(stores.begin().id)
    clock.advance(60)
    stores.register("partial.pdf", content="2")
    stores.read_all(stores.begin().id, failed=(2,))
    clock.advance(60)
    document = stores.documents.register(rejected("rejected.pdf")).document_id
    stores.documents.finish(document, DocumentState.REJECTED, code=ReasonCode.DAMAGED, reason="it is damaged")
    clock.advance(60)
    stores.register("running.pdf", content="4")
    stores.pages.claim(stores.begin().id, 1)
    stores.register("queued.pdf", content="5", path=b"/inbox/\xff.pdf")
    return stores


@pytest.fixture
def connection(filled: Stores) -> Iterator[sqlite3.Connection]:
    with snapshot.opened(filled.folder) as opened:
        assert opened is not None
        yield opened


def test_there_is_nothing_to_read_before_there_is_a_store(tmp_path: Path) -> None:
    with snapshot.opened(str(tmp_path)) as connection:
        assert connection is None


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / snapshot.FILE_NAME).write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="cannot be read") as caught, snapshot.opened(str(tmp_path)):
        pass
    assert caught.value.hint == "ocrd db check"


def test_reading_changes_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM documents")


def test_the_counts_are_by_state_and_by_verdict(connection: sqlite3.Connection) -> None:
    counts = snapshot.counts(connection)
    assert counts["document"] == {"done": 1, "partial": 1, "rejected": 1, "running": 1, "queued": 1}
    assert counts["page"] == {"done": 5, "failed": 1, "running": 1, "pending": 5}
    assert counts["verdict"]["ok"] == 5


def test_the_newest_documents_come_first(connection: sqlite3.Connection) -> None:
    assert [job["id"] for job in snapshot.jobs(connection, state=None, limit=0)] == [5, 4, 3, 2, 1]
    assert [job["id"] for job in snapshot.jobs(connection, state=None, limit=2)] == [5, 4]
    assert [job["id"] for job in snapshot.jobs(connection, state="done", limit=0)] == [1]


def test_a_document_is_found_by_its_number_and_by_its_path(connection: sqlite3.Connection) -> None:
    job = snapshot.job(connection, 2)
    assert job is not None
    assert (job["state"], job["pages"], job["pages_done"]) == ("partial", 3, 2)
    assert snapshot.job_of_path(connection, b"/inbox/partial.pdf") == job
    assert snapshot.job(connection, 99) is None
    assert snapshot.job_of_path(connection, b"/nowhere") is None


def test_of_a_path_the_newest_revision_counts(filled: Stores) -> None:
    changed = filled.register("done.pdf", content="changed")
    with snapshot.opened(filled.folder) as connection:
        assert connection is not None
        job = snapshot.job_of_path(connection, b"/inbox/done.pdf")
        assert job is not None
        assert job["id"] == changed
        assert 1 not in [one["id"] for one in snapshot.jobs_below(connection, [INBOX])]


def test_a_path_of_any_bytes_is_readable(connection: sqlite3.Connection) -> None:
    job = snapshot.job(connection, 5)
    assert job is not None
    assert job["path"] == "/inbox/\udcff.pdf"


def test_only_the_documents_of_the_asked_inboxes_are_listed(connection: sqlite3.Connection) -> None:
    assert len(snapshot.jobs_below(connection, [INBOX])) == 5
    assert snapshot.jobs_below(connection, ["/other"]) == []


def test_the_last_errors_come_newest_first(connection: sqlite3.Connection) -> None:
    assert [job["name"] for job in snapshot.last_errors(connection, 10)] == ["rejected.pdf", "partial.pdf"]
    assert [job["name"] for job in snapshot.last_errors(connection, 1)] == ["rejected.pdf"]


def test_the_head_of_the_queue_tells_since_when_it_waits(
    connection: sqlite3.Connection, clock: FakeClock
) -> None:
    assert snapshot.oldest_queued(connection) == clock.now().timestamp()


def test_the_rate_is_of_the_last_ten_minutes(connection: sqlite3.Connection, clock: FakeClock) -> None:
    now = clock.now().timestamp()
    assert snapshot.pages_per_minute(connection, now) == pytest.approx(6 / 3)
    assert snapshot.pages_per_minute(connection, now + 3600) == 0


def test_pages_that_were_cancelled_were_not_read(stores: Stores, clock: FakeClock) -> None:
    stores.documents.cancel(stores.register(pages=100))
    with snapshot.opened(stores.folder) as connection:
        assert connection is not None
        assert snapshot.pages_per_minute(connection, clock.now().timestamp()) == 0


def test_what_the_daemon_said_is_read_with_its_time(filled: Stores, clock: FakeClock) -> None:
    filled.commands.set_fact("heartbeat", {"pid": 7})
    with snapshot.opened(filled.folder) as connection:
        assert connection is not None
        assert snapshot.fact(connection, "heartbeat") == ({"pid": 7}, clock.now().timestamp())
        assert snapshot.fact(connection, "paused") is None


def test_the_pages_are_shown_with_their_attempts(connection: sqlite3.Connection) -> None:
    pages = snapshot.pages(connection, 2)
    assert [page["state"] for page in pages] == ["done", "failed", "done"]
    assert [len(page["attempts"]) for page in pages] == [1, 1, 1]
    assert pages[1]["attempts"][0]["reason_code"] == "engine_crashed"


def test_the_texts_are_read_page_by_page(connection: sqlite3.Connection) -> None:
    assert list(snapshot.page_texts(connection, 2)) == [
        (1, "done", "", "page 1"),
        (2, "failed", "the engine crashed", ""),
        (3, "done", "", "page 3"),
    ]
    assert snapshot.first_line(connection, 2) == "page 1"
    assert snapshot.first_line(connection, 5) == ""


def test_the_first_line_is_the_first_that_says_something(stores: Stores) -> None:
    document = stores.register(pages=2)
    stores.begin()
    stores.pages.claim(document, 2)
    stores.pages.land(document, 1, PageState.DONE, attempt(PageState.DONE, "\n \n"))
    stores.pages.land(document, 2, PageState.DONE, attempt(PageState.DONE, "\n  Title \nmore"))
    with snapshot.opened(stores.folder) as connection:
        assert connection is not None
        assert snapshot.first_line(connection, document) == "Title"


def test_only_outputs_that_were_written_are_shown(filled: Stores) -> None:
    planned = [Planned(b"/inbox/done.pdf.txt", "txt", "1"), Planned(b"/inbox/done.pdf.md", "md", "2")]
    filled.outputs.plan(4, planned)
    filled.documents.finish(4, DocumentState.CANCELLED, written=[planned[0].path])
    with snapshot.opened(filled.folder) as connection:
        assert connection is not None
        assert snapshot.outputs(connection, 4) == [{"format": "txt", "path": "/inbox/done.pdf.txt"}]
