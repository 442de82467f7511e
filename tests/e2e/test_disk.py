"""A disk that is full, or that nobody may write to: the queue rests, says why, and goes on by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support import paper
from support.running import FINAL, Ocrd, wait_until

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system; run as root, as CI does")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_writes_to_a_full_store_are_made_up_for(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_FAULT"] = "page.land.commit:enospc:2-3"
    paper.write_pdf(ocrd.inbox / "three.pdf", "First", "Second", "Third")
    ocrd.start()
    ocrd.await_state("three.pdf", "done")
    assert len(ocrd.events("store_full")) == 1
    pages = ocrd.show("three.pdf")["page_list"]
    assert [len(page["attempts"]) for page in pages] == [1, 1, 1]
    assert ocrd.stop() == 0


def test_a_store_that_stays_full_lets_the_daemon_stop_and_nothing_is_lost(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_FAULT"] = "page.land.commit:enospc:1-100000"
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.start()
    wait_until(lambda: ocrd.events("store_full"), "the store is full")
    assert ocrd.stop() == 0
    del ocrd.env["OCRD_FAULT"]
    ocrd.start()
    ocrd.await_state("one.png", "done")


def test_a_text_that_has_no_room_beside_its_document_is_written_later(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_FAULT"] = "file.sync:enospc:1-2"
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.start()
    wait_until(lambda: ocrd.events("queue_rests"), "the queue rests")
    wait_until(lambda: "no space left" in ocrd.status()["engine"]["problem"], "status says why")
    ocrd.await_state("one.png", "done")
    wait_until(lambda: ocrd.status()["engine"]["problem"] == "", "all is well again")
    assert 1 <= len(ocrd.events("queue_rests")) <= 2
    assert ocrd.leftovers() == []
    assert ocrd.stop() == 0


@pytest.mark.parametrize(
    ("what", "words"), [("erofs", "its disk is read-only"), ("eio", "Input/output error")]
)
@pytest.mark.parametrize("name", ["one.png", "torn.pdf"])
def test_what_a_disk_refuses_for_a_moment_is_written_later(
    ocrd: Ocrd, what: str, words: str, name: str
) -> None:
    ocrd.env["OCRD_FAULT"] = f"file.sync:{what}:1-2"
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    (ocrd.inbox / "torn.pdf").write_bytes(b"%PDF-1.4\nnothing more\n")
    for other in {"one.png", "torn.pdf"} - {name}:
        (ocrd.inbox / other).unlink()
    ocrd.start()
    wait_until(lambda: ocrd.events("queue_rests"), "the queue rests")
    assert words in ocrd.events("queue_rests")[0]["reason"]
    ocrd.await_state(name, "done", "rejected")
    assert (ocrd.inbox / f"{name}.{'txt' if name == 'one.png' else 'ocrd-error.txt'}").exists()
    assert ocrd.leftovers() == []
    assert ocrd.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_an_inbox_on_a_disk_that_takes_nothing_is_gone_on_with_when_it_does(
    ocrd: Ocrd, small_disk: Path, trouble: str
) -> None:
    ocrd.inbox = small_disk / "inbox"
    ocrd.inbox.mkdir()
    ocrd.start()
    ocrd.command("pause")
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    wait_until(lambda: "one.png" in ocrd.jobs(), "it is taken in")
    filler = small_disk / "filler"
    if trouble == "full":
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ocrd.command("resume")
    wait_until(lambda: "nothing can be written" in ocrd.status()["engine"]["problem"], "status says why")
    assert ocrd.jobs()["one.png"]["state"] not in FINAL
    if trouble == "full":
        filler.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert ocrd.await_state("one.png")["state"] == "done"
    assert "Hello" in ocrd.text("one.png")
    assert ocrd.leftovers() == []
    assert ocrd.stop() == 0


def test_the_reason_that_has_no_room_beside_its_document_is_written_later(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_FAULT"] = "file.sync:enospc:1-2"
    (ocrd.inbox / "torn.pdf").write_bytes(b"%PDF-1.4\nnothing more\n")
    ocrd.start()
    ocrd.await_state("torn.pdf", "rejected")
    assert "damaged" in (ocrd.inbox / "torn.pdf.ocrd-error.txt").read_text()
    assert ocrd.leftovers() == []
    assert ocrd.stop() == 0


def test_pages_that_wait_to_be_read_keep_to_their_space(ocrd: Ocrd) -> None:
    """Twelve pages of 8 MB, of which without the limit ten wait for a slow engine at once."""
    budget_mib = 30
    ocrd.env["OCRD_LIMITS__TEMP_MIB"] = str(budget_mib)
    ocrd.env["OCRD_LIMITS__PAGE_MEGAPIXELS"] = "9"
    pages = [Image.new("L", (2400, 3400), 255) for _ in range(12)]
    for number, page in enumerate(pages):
        page.paste(paper.draw(f"Page {number}"), (100, 300))
    pages[0].save(ocrd.inbox / "large.tif", save_all=True, append_images=pages[1:])
    most = 0
    ocrd.start()

    def is_finished() -> bool:
        nonlocal most
        most = max(most, folder_bytes(ocrd.state / "work"))
        return bool(ocrd.events("document_finished"))

    wait_until(is_finished, "all pages are settled", deadline_s=120)
    assert 8 * MIB < most <= budget_mib * MIB
    assert ocrd.stop() == 0


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take, as far as they are there while they are counted."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total


def test_a_run_once_on_a_full_store_ends_with_a_reason(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_FAULT"] = "page.land.commit:enospc:1-100000"
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    done = ocrd.run_once()
    assert done.returncode == 1
    assert "cannot be written: No space left on device" in done.stderr


@pytest.mark.slow
def test_a_full_disk_pauses_the_queue_and_free_space_wakes_it(ocrd: Ocrd, small_disk: Path) -> None:
    ocrd.state = small_disk / "state"
    ocrd.env["OCRD_LIMITS__MIN_FREE_MIB"] = "16"
    filler = small_disk / "filler"
    ocrd.start()
    filler.write_bytes(b"\0" * 36 * MIB)
    wait_until(lambda: "MiB free" in ocrd.status()["engine"]["problem"], "status tells that space is short")
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.await_state("one.png", "queued")
    assert "ONLY" in ocrd.command("status").stdout
    filler.unlink()
    ocrd.await_state("one.png", "done")
    assert ocrd.status()["engine"]["problem"] == ""
    assert ocrd.stop() == 0


@pytest.mark.slow
def test_a_run_once_gives_up_where_space_is_short(ocrd: Ocrd, small_disk: Path) -> None:
    ocrd.state = small_disk / "state"
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.env["OCRD_LIMITS__MIN_FREE_MIB"] = "1000"
    done = ocrd.run_once()
    assert done.returncode == 1
    assert "1000 are kept in reserve" in done.stderr
    assert "min_free_mib" in done.stderr


@pytest.mark.slow
def test_a_disk_that_fills_up_to_the_last_byte_stops_nothing_for_good(ocrd: Ocrd, small_disk: Path) -> None:
    ocrd.state = small_disk / "state"
    ocrd.env["OCRD_LIMITS__MIN_FREE_MIB"] = "0"
    ocrd.start()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * MIB)
    for number in range(12):
        paper.write_png(ocrd.inbox / f"{number}.png", f"Hello {number}")
    wait_until(
        lambda: ocrd.events("store_full") or ocrd.events("queue_rests") or ocrd.events("intake_failed"),
        "something could not be written",
    )
    assert ocrd.process is not None
    assert ocrd.process.poll() is None, "the daemon lives on"
    filler.unlink()
    for number in range(12):
        ocrd.await_state(f"{number}.png", "done")
    assert ocrd.command("db", "check").returncode == 0
    assert ocrd.stop() == 0


@pytest.mark.slow
def test_a_start_on_a_full_disk_waits_for_room(ocrd: Ocrd, small_disk: Path) -> None:
    ocrd.state = small_disk / "state"
    ocrd.env["OCRD_LIMITS__MIN_FREE_MIB"] = "32"
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * 20 * MIB)
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.events("space_short"), "it says what it waits for")
    filler.unlink()
    ocrd.await_state("one.png", "done")
    ocrd.send_signal(signal.SIGTERM)
    assert ocrd.process is not None
    assert ocrd.process.wait(30) == 0
