"""Inboxes on drives without events: a FUSE file system stands in for a Windows drive under WSL2."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support import paper
from support.fuse import Drive, needs_fuse
from support.running import Ocrd, wait_until

from ocrd.host import files

pytestmark = pytest.mark.systemd


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    needs_fuse()
    drive = Drive(tmp_path / "back", tmp_path / "inbox")
    drive.plug_in()
    yield drive
    drive.unplug()


@pytest.fixture
def ocrd(tmp_path: Path, drive: Drive) -> Iterator[Ocrd]:
    """Its inbox is the drive."""
    ocrd = Ocrd(tmp_path, OCRD_INBOX__SCAN_INTERVAL_S="0.5", OCRD_OUTPUT__FORMATS="txt")
    assert ocrd.inbox == drive.mount
    yield ocrd
    if ocrd.process is not None:
        assert ocrd.stop() == 0


def watched(ocrd: Ocrd, number: int = 0) -> dict[str, Any]:
    inbox: dict[str, Any] = ocrd.status()["daemon"]["inboxes"][number]
    return inbox


# --- how it is watched -------------------------------------------------------------------------------------


def test_a_drive_without_events_is_polled_and_another_inbox_is_not(ocrd: Ocrd, drive: Drive) -> None:
    local = ocrd.folder / "local"
    local.mkdir()
    ocrd.start("--inbox", str(local))
    found = ocrd.status()["daemon"]["inboxes"]
    modes = {Path(inbox["path"]).name: (inbox["mode"], inbox["file_system"]) for inbox in found}
    assert modes["inbox"] == ("polling", "fuse")
    assert modes["local"][0] == "events"
    paper.write_png(drive.back / "page.png", "Written by Windows")
    ocrd.await_state("page.png", "done")
    assert "Written by Windows" in (drive.back / "page.png.txt").read_text()


def test_the_store_is_refused_on_such_a_drive(ocrd: Ocrd, drive: Drive) -> None:
    ocrd.state = drive.mount / "state"
    refused = ocrd.run_once()
    assert refused.returncode == 78
    assert "fuse" in refused.stderr


# --- nothing is missed -------------------------------------------------------------------------------------

MANY = 5000


@pytest.mark.slow
def test_of_5000_files_dropped_renamed_and_rewritten_behind_the_mount_none_is_missed(
    ocrd: Ocrd, drive: Drive
) -> None:
    ocrd.start()
    assert ocrd.command("pause").returncode == 0  # this is about what is taken in
    chance = random.Random(4739)
    there: dict[str, str] = {}
    """What stands in the folder: name and checksum."""
    ever: set[tuple[str, str]] = set()
    for number in range(50):
        (drive.back / str(number)).mkdir()
    for number in range(MANY):
        drop(drive.back, f"{number % 50}/{number}.png", tiny_png(number), there, ever)
        if chance.random() < 0.2:
            old = chance.choice(list(there))
            new = f"{chance.randrange(50)}/renamed-{number}.png"
            (drive.back / old).rename(drive.back / new)
            there[new] = there.pop(old)
            ever.add((new, there[new]))
        if chance.random() < 0.2:
            drop(drive.back, chance.choice(list(there)), tiny_png(MANY + number), there, ever)
        if number % 250 == 0:  # the rest happens while the daemon is in the midst of it
            wait_until(lambda n=number: len(current(ocrd)) >= n // 2, "it keeps up by half")

    wait_until(lambda: current(ocrd).items() >= there.items(), "every file is taken in", 240)
    wait_until(lambda: watched(ocrd)["waiting"] == 0, "nothing is waited for")
    registered = store_rows(ocrd, "SELECT path, sha256 FROM documents")
    assert len(registered) == len(set(registered)), "nothing is taken in twice"
    assert {(below(ocrd, path), digest) for path, digest in registered} <= ever
    assert watched(ocrd)["mode"] == "polling"


def drop(root: Path, name: str, content: bytes, there: dict[str, str], ever: set[tuple[str, str]]) -> None:
    """Every third file is written in two halves, as a copy over a slow line; the others appear by a rename."""
    path = root / name
    digest = hashlib.sha256(content).hexdigest()
    if content[-20] % 3:
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.rename(path)
    else:
        with path.open("wb") as file:
            file.write(content[:50])
            file.flush()
            file.write(content[50:])
    there[name] = digest
    ever.add((name, digest))


def tiny_png(number: int) -> bytes:
    """A valid image whose content nothing else has."""
    data = io.BytesIO()
    Image.frombytes("RGB", (8, 8), number.to_bytes(192, "big")).save(data, "PNG")
    return data.getvalue()


def store_rows(ocrd: Ocrd, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{ocrd.state}/ocrd.db?mode=ro", uri=True)) as store:
        return list(store.execute(query))


def current(ocrd: Ocrd) -> dict[str, str]:
    rows = store_rows(ocrd, "SELECT path, sha256 FROM documents WHERE current")
    return {below(ocrd, path): digest for path, digest in rows}


def below(ocrd: Ocrd, path: bytes) -> str:
    return os.path.relpath(os.fsdecode(path), ocrd.inbox)


# --- it goes and comes back --------------------------------------------------------------------------------


def test_a_drive_that_is_unplugged_and_comes_back_loses_nothing(ocrd: Ocrd, drive: Drive) -> None:
    ocrd.start()
    paper.write_png(drive.back / "before.png", "Before")
    ocrd.await_state("before.png", "done")
    ocrd.command("pause")
    paper.write_png(drive.back / "queued.png", "Queued")
    ocrd.await_state("queued.png", "queued")

    drive.unplug()
    wait_until(lambda: watched(ocrd)["file_system"] != "fuse", "the folder below is seen")
    ocrd.command("resume")
    assert ocrd.await_state("queued.png", "cancelled")["reason_code"] == "file_gone"
    assert ocrd.jobs()["before.png"]["state"] == "done"

    drive.plug_in()
    wait_until(lambda: watched(ocrd)["mode"] == "polling", "the drive is polled again")
    ocrd.await_state("queued.png", "done")
    paper.write_png(drive.back / "after.png", "After")
    ocrd.await_state("after.png", "done")
    assert [job["revision"] for job in ocrd.jobs().values()] == [1, 1, 1]
    assert sorted(path.name for path in drive.back.iterdir() if path.suffix == ".txt") == [
        "after.png.txt",
        "before.png.txt",
        "queued.png.txt",
    ]


def test_a_drive_that_does_not_answer_any_more_is_missed_until_it_is_mounted_anew(
    ocrd: Ocrd, drive: Drive
) -> None:
    ocrd.start()
    ocrd.command("pause")
    paper.write_png(drive.back / "queued.png", "Queued")
    ocrd.await_state("queued.png", "queued")
    drive.die()
    wait_until(lambda: watched(ocrd)["missing"], "the drive is missed")
    ocrd.command("resume")
    ocrd.await_state("queued.png", "cancelled")
    drive.unplug()
    paper.write_png(drive.back / "page.png", "Anew")
    drive.plug_in()
    ocrd.await_state("page.png", "done")
    ocrd.await_state("queued.png", "done")
    wait_until(lambda: not watched(ocrd)["missing"], "the heartbeat tells it")
    assert watched(ocrd)["mode"] == "polling"


@pytest.mark.parametrize("how", ["unplug", "die"])
def test_a_document_that_is_in_the_works_when_its_drive_goes_is_finished_when_it_is_back(
    ocrd: Ocrd, drive: Drive, how: str
) -> None:
    ocrd.start()
    texts = [f"Page number {number}" for number in range(1, 41)]
    paper.write_pdf(drive.back / "long.pdf", *texts)
    wait_until(lambda: (ocrd.jobs().get("long.pdf") or {}).get("pages_done"), "a page is done")
    getattr(drive, how)()
    ocrd.await_state("long.pdf", "cancelled")
    drive.unplug()
    drive.plug_in()
    ocrd.await_state("long.pdf", "done")
    assert ocrd.text("long.pdf").count("Page number") == len(texts)


def test_the_lock_of_an_inbox_follows_the_drive(drive: Drive) -> None:
    path = os.fsencode(drive.mount)
    with contextlib.closing(files.FolderLocks()) as locks:
        assert locks.take(path)
        assert files.try_lock_folder(path) is None
        drive.die()
        with pytest.raises(OSError, match="not connected"):
            locks.take(path)
        drive.unplug()
        assert locks.take(path), "the folder below"
        drive.plug_in()
        assert locks.take(path)
        assert files.try_lock_folder(path) is None
        locks.release(path)
        drive.unplug()  # nobody is in its way


# --- what Windows refuses ----------------------------------------------------------------------------------


def names(drive: Drive) -> list[str]:
    return sorted(path.name for path in drive.back.iterdir())


def test_text_is_copied_where_names_cannot_be_given(ocrd: Ocrd, drive: Drive) -> None:
    drive.quirks("no-rename", "no-link", "no-chmod", "no-fsync")
    paper.write_png(drive.back / "page.png", "Copied")
    assert ocrd.run_once().returncode == 0
    assert "Copied" in (drive.back / "page.png.txt").read_text()
    assert names(drive) == ["page.png", "page.png.txt"]


def test_a_copy_that_cannot_be_finished_leaves_nothing_under_the_final_name(drive: Drive) -> None:
    draft, target = os.fsencode(drive.mount / ".draft"), os.fsencode(drive.mount / "page.png.txt")
    Path(os.fsdecode(draft)).write_text("text")
    drive.quirks("no-rename", "no-link", "full")
    with pytest.raises(OSError, match="No space left"):
        files.publish_new(draft, target)
    assert names(drive) == [".draft"]
    drive.quirks("no-rename", "no-link")
    (drive.back / "page.png.txt").write_text("the user's")
    with pytest.raises(FileExistsError):
        files.publish_new(draft, target)
    assert (drive.back / "page.png.txt").read_text() == "the user's"


def test_a_rename_that_is_refused_for_a_moment_is_tried_again(ocrd: Ocrd, drive: Drive) -> None:
    drive.quirks("no-rename", "no-link")
    ocrd.start()
    paper.write_png(drive.back / "page.png", "A moment")
    draft = wait_until(lambda: list(drive.back.glob(".ocrd-*-txt.tmp")), "a draft is written")[0]
    inode = draft.stat().st_ino
    drive.quirks()
    ocrd.await_state("page.png", "done")
    assert (drive.back / "page.png.txt").stat().st_ino == inode, "renamed, not copied"
    assert names(drive) == ["page.png", "page.png.txt"]


def test_an_output_that_another_program_has_open_is_told_and_can_be_written_later(
    ocrd: Ocrd, drive: Drive
) -> None:
    ocrd.start()
    paper.write_png(drive.back / "page.png", "The first")
    ocrd.await_state("page.png", "done")
    drive.quirks("no-rename", "no-link")
    paper.write_png(drive.back / "page.png", "The second one")
    job = ocrd.await_state("page.png", "failed")
    assert job["reason_code"] == "output_failed"
    assert "close it in other programs, then `ocrd retry`" in job["reason"]
    assert "The first" in (drive.back / "page.png.txt").read_text()
    drive.quirks()
    assert ocrd.command("retry", str(ocrd.inbox / "page.png")).returncode == 0
    ocrd.await_state("page.png", "done")
    assert "The second one" in (drive.back / "page.png.txt").read_text()
    assert names(drive) == ["page.png", "page.png.txt"]


def test_a_foreign_file_of_the_outputs_name_in_other_case_is_left_alone(ocrd: Ocrd, drive: Drive) -> None:
    drive.quirks("fold")
    paper.write_png(drive.back / "page.png", "In small letters")
    (drive.back / "PAGE.PNG.TXT").write_text("the user's")
    ocrd.run_once()
    assert ocrd.jobs()["page.png"]["reason_code"] == "output_exists"
    assert (drive.back / "PAGE.PNG.TXT").read_text() == "the user's"
    assert names(drive) == ["PAGE.PNG.TXT", "page.png"]


@pytest.mark.parametrize("name", ["a: b?.png", "CON.png", "trailing .png", "dot..png", 'q"u|o<t>e*.png'])
def test_names_that_windows_forbids_get_their_text(ocrd: Ocrd, drive: Drive, name: str) -> None:
    paper.write_png(drive.back / name, "Forbidden there")
    assert ocrd.run_once().returncode == 0
    assert names(drive) == sorted([name, f"{name}.txt"])


# --- the daemon's start, its end and its locks -------------------------------------------------------------


def test_a_daemon_that_is_killed_while_it_copies_finishes_the_copy_at_its_next_start(
    ocrd: Ocrd, drive: Drive
) -> None:
    drive.quirks("no-rename", "no-link", "stuck")
    ocrd.start()
    paper.write_png(drive.back / "page.png", "Cut short")
    text = drive.back / "page.png.txt"
    wait_until(lambda: text.exists() and text.stat().st_size == 1, "the first byte is copied")
    ocrd.send_signal(signal.SIGKILL)
    drive.quirks()  # a process that waits for such a drive ends when it answers
    ocrd.stop()
    assert text.read_text() == "C"
    ocrd.start()
    ocrd.await_state("page.png", "done")
    assert text.read_text() == "Cut short\n"
    assert names(drive) == ["page.png", "page.png.txt"]


def test_a_drive_that_is_not_there_at_the_start_is_waited_for(ocrd: Ocrd, drive: Drive) -> None:
    drive.unplug()
    drive.mount.rmdir()
    assert ocrd.run_once().returncode == 78
    local = ocrd.folder / "local"
    local.mkdir()
    ocrd.start("--inbox", str(local))
    assert ocrd.events("inbox_missing")
    drive.mount.mkdir()
    drive.plug_in()
    paper.write_png(drive.back / "page.png", "Plugged in")
    ocrd.await_state("page.png", "done")


def test_a_drive_that_comes_back_belongs_to_the_daemon_that_is_first(
    ocrd: Ocrd, drive: Drive, tmp_path: Path
) -> None:
    ocrd.start()
    drive.unplug()
    drive.mount.rename(tmp_path / "away")
    wait_until(lambda: watched(ocrd)["missing"], "the drive is missed")
    drive.mount.mkdir()
    drive.plug_in()
    wait_until(lambda: watched(ocrd)["mode"] == "polling", "the drive is polled")
    assert files.try_lock_folder(os.fsencode(drive.mount)) is None
    drive.unplug()
    drive.mount.rename(tmp_path / "far-away")
    wait_until(lambda: watched(ocrd)["missing"], "the drive is missed again")
    drive.mount.mkdir()
    drive.plug_in()
    other = files.try_lock_folder(os.fsencode(drive.mount))
    if other is not None:  # we were quicker than its look, once in five seconds
        wait_until(lambda: watched(ocrd)["mode"] == "taken", "it tells that the folder is taken")
        os.close(other)
        wait_until(lambda: watched(ocrd)["mode"] == "polling", "it takes it when it is free")
