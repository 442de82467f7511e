"""Originals that are moved when their work is done: by the real daemon, also when it is killed meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import paper
from support.crashes import strike
from support.running import Ocrd, wait_until

OTHER_DISK = Path("/dev/shm")
POINTS = (
    "document.finish.commit",
    "document.finish.committed",
    "relocation.plan.commit",
    "relocation.plan.committed",
    "move.planned",
    "move.name",
    "move.copied",
    "move.named",
    "move.unlink",
    "file.aside",
    "file.put_aside",
    "move.unlinked",
    "move.arrived",
    "relocation.arrive.commit",
    "relocation.arrive.committed",
)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"{OTHER_DISK} is no other disk here; it is one on any usual Linux")
    folder = OTHER_DISK / f"ocrd-test-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def everything(*folders: Path) -> dict[str, bytes]:
    """All files below the folders, by their path."""
    return {
        str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    }


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def with_texts(*scans: str) -> set[str]:
    return {f"{scan}{suffix}" for scan in scans for suffix in ("", ".txt", ".md")}


def test_a_document_that_is_done_moves_with_its_texts_and_is_found_there(ocrd: Ocrd) -> None:
    ocrd.env |= {
        "OCRD_AFTER__DONE": "move:done",
        "OCRD_AFTER__FAILED": "move:bad",
        "OCRD_INBOX__SETTLE_S": "0",
    }
    (ocrd.inbox / "sub").mkdir()
    paper.write_png(ocrd.inbox / "sub" / "scan.png", "Moved away")
    (ocrd.inbox / "damaged.pdf").write_bytes(b"%PDF-1.4\n")
    paper.write_png(ocrd.inbox / "taken.png", "No place for this")
    (ocrd.inbox / "taken.png.txt").write_text("somebody else's")
    ocrd.run_once()
    assert names(ocrd.inbox) == {
        *("done/" + name for name in with_texts("sub/scan.png")),
        *("bad/damaged.pdf", "bad/damaged.pdf.ocrd-error.txt"),
        *with_texts("taken.png"),
    }
    shown = ocrd.show("done/sub/scan.png")
    assert shown["state"] == "done"
    assert {output["path"] for output in shown["outputs"]} == {
        str(ocrd.inbox / f"done/sub/scan.png.{suffix}") for suffix in ("txt", "md")
    }
    assert ocrd.show("done/sub/scan.png.txt")["id"] == shown["id"], "the name of an output will do"
    assert ocrd.show("sub/scan.png")["moved_from"] == str(ocrd.inbox / "sub" / "scan.png")
    old = ocrd.command("show", str(ocrd.inbox / "sub" / "scan.png")).stdout
    assert f"{ocrd.inbox}/done/sub/scan.png\nmoved      from {ocrd.inbox}/sub/scan.png\n" in old
    before = everything(ocrd.inbox)
    ocrd.run_once()
    assert everything(ocrd.inbox) == before
    assert len(ocrd.jobs()) == 3, "what was moved is not taken in again"
    assert ocrd.command("db", "check").returncode == 0


def test_the_same_name_again_gets_a_number(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    for words in ("First", "Second", "First"):
        paper.write_png(ocrd.inbox / "scan.png", words)
        assert ocrd.run_once().returncode == 0
    assert names(ocrd.inbox / "done") == with_texts("scan.png", "scan (2).png", "scan (3).png")
    texts = [
        (ocrd.inbox / "done" / f"{name}.png.txt").read_text() for name in ("scan", "scan (2)", "scan (3)")
    ]
    assert ["First" in text for text in texts] == [True, False, True]
    # Its owner takes the first away, and the next one has its name: the old document is history.
    for name in with_texts("scan.png"):
        (ocrd.inbox / "done" / name).unlink()
    paper.write_png(ocrd.inbox / "scan.png", "Fourth")
    assert ocrd.run_once().returncode == 0
    assert "Fourth" in (ocrd.inbox / "done" / "scan.png.txt").read_text()
    assert ocrd.show("done/scan.png")["revision"] == 2


def test_a_moved_document_can_be_read_again_where_it_is(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    paper.write_png(ocrd.inbox / "scan.png", "Again")
    ocrd.start()
    done = ocrd.inbox / "done" / "scan.png"
    wait_until(lambda: "done/scan.png" in ocrd.jobs(), "it is moved")
    Path(f"{done}.txt").unlink()
    assert ocrd.command("retry", str(done)).returncode == 0
    wait_until(lambda: Path(f"{done}.txt").exists(), "its text is written again")
    assert ocrd.await_state("done/scan.png")["state"] == "done"
    assert names(ocrd.inbox) == {"done/" + name for name in with_texts("scan.png")}
    assert ocrd.stop() == 0


def test_where_the_folder_is_missing_the_original_waits(ocrd: Ocrd) -> None:
    archive = ocrd.folder / "drive" / "archive"
    ocrd.env["OCRD_AFTER__DONE"] = f"move:{archive}"
    paper.write_png(ocrd.inbox / "scan.png", "Waiting")
    done = ocrd.run_once()
    assert done.returncode == 0
    assert names(ocrd.inbox) == with_texts("scan.png")
    assert "archive is not there" in done.stderr
    archive.mkdir(parents=True)
    assert ocrd.run_once().returncode == 0
    assert names(ocrd.inbox) == set()
    assert names(archive) == with_texts("scan.png")


def test_an_inbox_in_the_folder_is_refused(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = f"move:{ocrd.folder}"
    done = ocrd.run_once()
    assert done.returncode == 78
    assert "in which the inbox" in done.stderr


def test_an_original_that_was_changed_meanwhile_is_not_moved(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    scan = ocrd.inbox / "scan.png"
    paper.write_png(scan, "Old")
    assert strike(ocrd, "document.finish.committed:kill")
    paper.write_png(scan, "Newer words")
    os.utime(scan, (2_000_000_000, 2_000_000_000))  # not complete yet, so that nobody looks into it
    ocrd.env["OCRD_INBOX__QUIET_S"] = "3600"
    ocrd.start()
    wait_until(lambda: ocrd.events("move_postponed"), "it was looked at")
    assert ocrd.stop() == 0
    assert scan.exists()
    assert not (ocrd.inbox / "done" / "scan.png").exists()


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("across", [False, True], ids=["same disk", "another disk"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_there_loses_no_file_and_the_next_run_moves_it(
    ocrd: Ocrd, other_disk: Path, point: str, times: int, across: bool
) -> None:
    target = other_disk if across else ocrd.inbox / "done"
    ocrd.env |= {"OCRD_AFTER__DONE": f"move:{other_disk if across else 'done'}", "OCRD_INBOX__QUIET_S": "0"}
    scans = {}
    for number in range(2):
        scan = ocrd.inbox / f"scan{number}.png"
        paper.write_png(scan, f"Scan number {number}")
        scans[scan.name] = scan.read_bytes()
    killed = strike(ocrd, f"{point}:kill:{times}")
    assert killed or times > 1 or (point == "move.copied" and not across)
    standing = everything(ocrd.inbox, other_disk)
    for content in scans.values():
        assert content in standing.values(), "it stands in one place or in both"
    assert ocrd.run_once().returncode == 0
    assert names(ocrd.inbox) == (set() if across else {f"done/{name}" for name in with_texts(*scans)})
    assert names(target) == with_texts(*scans)
    assert {name: (target / name).read_bytes() for name in scans} == scans
    jobs = ocrd.json("jobs", "--limit", "0")["jobs"]
    assert sorted(job["path"] for job in jobs) == sorted(str(target / name) for name in scans)
    assert ocrd.command("db", "check").returncode == 0


def test_what_was_moved_away_can_be_forgotten(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    ocrd.env["OCRD_INBOX__PATHS"] = str(ocrd.inbox)
    paper.write_png(ocrd.inbox / "scan.png", "Forgettable")
    assert ocrd.run_once().returncode == 0
    asked = ocrd.command("db", "prune")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert "nothing to forget" in ocrd.command("db", "prune", "--older-than", "1", "--yes").stdout
    assert ocrd.command("db", "prune", "--yes").stdout == "forgot 1 document\n"
    assert ocrd.jobs() == {}
    assert names(ocrd.inbox / "done") == with_texts("scan.png")
    assert ocrd.run_once().returncode == 0
    assert ocrd.jobs() == {}, "it lies where nothing is looked for"
