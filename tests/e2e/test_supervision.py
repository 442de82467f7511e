"""The daemon as its service manager meets it."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing

from support import paper
from support.running import Ocrd, wait_until


def test_a_dead_thread_ends_the_daemon_with_an_error(ocrd: Ocrd) -> None:
    ocrd.start()
    with closing(sqlite3.connect(ocrd.state / "ocrd.db", timeout=30)) as store:
        store.execute("ALTER TABLE documents RENAME TO taken_away")
    assert ocrd.process is not None
    assert ocrd.process.wait(30) == 1
    assert ocrd.events("thread_died") != [] or "documents" in ocrd.log.read_text()


def test_systemd_hears_that_the_daemon_is_ready_lives_and_stops(ocrd: Ocrd) -> None:
    address = str(ocrd.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        ocrd.env["NOTIFY_SOCKET"] = address
        ocrd.start(ready=False)
        assert manager.recv(4096) == b"READY=1"
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert ocrd.stop() == 0
        wait_until(lambda: manager.recv(4096) == b"STOPPING=1", "the message that it stops")


def test_a_page_and_a_document_leave_one_line_each_in_the_log(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "two.pdf", "First", "Second")
    ocrd.start()
    ocrd.await_state("two.pdf", "done")
    ocrd.stop()
    assert sorted(event["page"] for event in ocrd.events("page_settled")) == [1, 2]
    (finished,) = ocrd.events("document_finished")
    assert (finished["state"], finished["pages"]) == ("done", 2)
    assert finished["file"].endswith("two.pdf")
    assert "First" not in ocrd.log.read_text(), "page text does not belong into logs"
