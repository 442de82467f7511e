from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.stores import Stores

from ocrd.daemon.finisher import CANNOT_WRITE, Ending, Finisher
from ocrd.daemon.publisher import Publisher
from ocrd.domain.errors import ReasonCode, ServerFault
from ocrd.domain.jobs import DocumentState
from ocrd.host import faults
from ocrd.store.documents import Job


class Desk:
    """A document that is read, and to be written by a finisher."""

    def __init__(self, stores: Stores, inbox: Path) -> None:
        self.inbox = inbox
        scan = inbox / "scan.pdf"
        scan.write_bytes(b"a scan")
        status = scan.stat()
        stores.register(path=os.fsencode(scan), size=status.st_size, mtime_ns=status.st_mtime_ns, pages=1)
        publisher = Publisher(stores.outputs, formats=("txt",), error_file=True)
        self.absent: list[bytes] = []
        self.finisher = Finisher(stores.documents, stores.pages, publisher, on_absent=self.absent.append)
        self.job: Job = stores.begin()
        for page in stores.pages.claim(self.job.id, 1):
            stores.land(self.job.id, page.number)

    def finish(self) -> Ending:
        return self.finisher.finish(self.job)

    def reject(self) -> Ending:
        return self.finisher.reject(self.job.id, self.job.path, ReasonCode.DAMAGED, "it is damaged", "")


@pytest.fixture
def desk(stores: Stores, tmp_path: Path) -> Desk:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return Desk(stores, inbox)


def break_disk(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(faults, "point", faults.Points(faults.parse(f"file.sync:{what}:1-1000")).come_by)


@pytest.mark.parametrize(
    ("what", "words"),
    [("enospc", "no space left"), ("erofs", "its disk is read-only"), ("eio", "Input/output error")],
)
@pytest.mark.parametrize("end", [Desk.finish, Desk.reject])
def test_a_disk_that_takes_nothing_is_waited_for(
    desk: Desk, what: str, words: str, end: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(end)
    break_disk(monkeypatch, what)
    for _ in range(4):
        with pytest.raises(ServerFault, match=f"^{CANNOT_WRITE}.*{words}"):
            end(desk)
    assert os.listdir(desk.inbox) == ["scan.pdf"]
    monkeypatch.undo()
    ending = end(desk)
    assert ending.state in {DocumentState.DONE, DocumentState.REJECTED}
    assert len(ending.written) == 1


def test_a_disk_that_fails_again_and_again_does_not_stop_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_disk(monkeypatch, "eio")
    for _ in range(4):
        with pytest.raises(ServerFault):
            desk.finish()
    ending = desk.finish()
    assert (ending.state, ending.code) == (DocumentState.FAILED, ReasonCode.OUTPUT_FAILED)
    assert os.strerror(errno.EIO) in ending.reason


def test_a_document_whose_folder_goes_while_it_is_written_ends_as_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = desk.inbox.parent / "outside"
    outside.mkdir()

    def swap(name: str) -> None:
        if name == "file.sync":
            desk.inbox.rename(desk.inbox.parent / "aside")
            desk.inbox.symlink_to(outside)
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    monkeypatch.setattr(faults, "point", swap)
    assert desk.finish().code == ReasonCode.FILE_GONE
    assert os.listdir(outside) == []


def test_the_file_of_a_document_that_ends_as_gone_is_to_be_looked_at_once_more(desk: Desk) -> None:
    (desk.inbox / "scan.pdf").unlink()
    assert desk.finish().code == ReasonCode.FILE_GONE
    assert desk.absent == [desk.job.path]


def test_a_file_whose_new_content_is_known_needs_no_look(desk: Desk, stores: Stores) -> None:
    stores.register(path=desk.job.path, sha256="1" * 64, pages=1)
    assert desk.finish().code == ReasonCode.SUPERSEDED
    assert desk.absent == []
