"""kill -9 at every fault point that a mixed inbox comes by: the next run makes everything right."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import paper
from support.crashes import (
    BEFORE_RECOVERY,
    COMMITS,
    EVERY_FORMAT,
    OUTPUT_POINTS,
    POINTS,
    RECOVERY_POINTS,
    UNFINISHED,
    Harm,
    calm_run,
    copy_unread,
    doubled_pages,
    every_format,
    harm,
    lost_pages,
    originals,
    strike,
)
from support.running import Ocrd, wait_until

TIMES = (1, 3)
OTHER_DISK = Path("/dev/shm")
PLUGIN = Path(__file__).parents[1] / "fakes" / "plugin"

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Ocrd:
    """The same inbox, worked off without a fault."""
    return calm_run(tmp_path_factory.mktemp("calm"))


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"{OTHER_DISK} is no other disk here; it is one on any usual Linux")
    folder = OTHER_DISK / f"ocrd-test-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def struck(calm: Ocrd, tmp_path: Path) -> Ocrd:
    """The inbox before its work."""
    return copy_unread(calm, tmp_path)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_there_is_made_right_by_the_next_run(point: str, times: int, calm: Ocrd, struck: Ocrd) -> None:
    before = originals(struck.inbox)
    killed = strike(struck, f"{point}:kill:{times}")
    assert killed or times > 1, f"the run did not come by {point}"
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()


@pytest.mark.parametrize("point", RECOVERY_POINTS)
def test_a_kill_while_a_kill_is_being_made_right(point: str, calm: Ocrd, struck: Ocrd) -> None:
    before = originals(struck.inbox)
    for fault in (BEFORE_RECOVERY, f"{point}:kill"):
        assert strike(struck, fault)
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before, kills=2) == Harm()


@pytest.mark.parametrize("what", ["enospc:1-2", "erofs:1-2"])
@pytest.mark.parametrize("name", COMMITS)
def test_a_store_that_cannot_be_written_for_a_while_loses_nothing(
    name: str, what: str, calm: Ocrd, struck: Ocrd
) -> None:
    before = originals(struck.inbox)
    struck.env["OCRD_FAULT"] = f"{name}.commit:{what}"
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()


@pytest.mark.parametrize("moment", ["commit", "committed"])
@pytest.mark.parametrize("name", ["command.send", "document.retry", "command.answer"])
def test_a_kill_of_a_command_leaves_the_order_given_or_not(
    name: str, moment: str, calm: Ocrd, struck: Ocrd
) -> None:
    before = originals(struck.inbox)
    assert struck.run_once().returncode == UNFINISHED
    struck.env["OCRD_FAULT"] = f"{name}.{moment}:kill"
    assert struck.command("retry", str(struck.inbox / "image.png")).returncode == -signal.SIGKILL
    del struck.env["OCRD_FAULT"]
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()
    assert struck.command("retry", str(struck.inbox / "image.png")).returncode == 0
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()


@pytest.mark.parametrize(
    "point", ["file.replace", "file.exchange", "file.replaced", "document.register.committed"]
)
def test_a_kill_while_an_older_text_is_replaced(point: str, struck: Ocrd) -> None:
    for path in struck.inbox.iterdir():
        path.unlink()
    paper.write_png(struck.inbox / "image.png", "The first version")
    assert struck.run_once().returncode == 0
    assert struck.text("image.png").strip() == "The first version"
    paper.write_png(struck.inbox / "image.png", "Another version")
    assert strike(struck, f"{point}:kill")
    assert struck.text("image.png").strip() in {"The first version", "Another version"}
    assert struck.run_once().returncode == 0
    assert struck.text("image.png").strip() == "Another version"
    assert struck.leftovers() == []
    assert doubled_pages(struck.state) == lost_pages(struck.state) == 0


@pytest.fixture(scope="module")
def calm_in_every_format(tmp_path_factory: pytest.TempPathFactory) -> Ocrd:
    """A PDF and a picture, read without a fault into everything that ocrd writes."""
    calm = Ocrd(tmp_path_factory.mktemp("formats"))
    calm.env["OCRD_OUTPUT__FORMATS"] = ",".join(EVERY_FORMAT)
    paper.write_pdf(calm.inbox / "scan.pdf", "Scan sheet one", "Scan sheet two")
    paper.write_png(calm.inbox / "image.png", "An image of the set")
    assert calm.run_once().returncode == 0
    assert len(every_format(calm.inbox)) == 2 * len(EVERY_FORMAT)
    return calm


@pytest.mark.parametrize("point", OUTPUT_POINTS)
def test_a_kill_while_every_format_is_written(point: str, calm_in_every_format: Ocrd, ocrd: Ocrd) -> None:
    for name in ("scan.pdf", "image.png"):
        shutil.copy2(calm_in_every_format.inbox / name, ocrd.inbox)
    ocrd.env |= {"OCRD_OUTPUT__FORMATS": ",".join(EVERY_FORMAT), "OCRD_INBOX__QUIET_S": "0"}
    nth = 8 if point.startswith("file.") else 2  # of the second document
    assert strike(ocrd, f"{point}:kill:{nth}")
    assert ocrd.run_once().returncode == 0
    assert every_format(ocrd.inbox) == every_format(calm_in_every_format.inbox)
    assert ocrd.leftovers() == []
    assert doubled_pages(ocrd.state) == lost_pages(ocrd.state) == 0


@pytest.mark.parametrize("moment", ["commit", "committed"])
def test_a_kill_while_work_is_given_back_at_the_end(moment: str, ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "scan.pdf", "Scan sheet one", "Scan sheet two")
    ocrd.env |= {
        "PYTHONPATH": str(PLUGIN),
        "OCRD_DAEMON__STOP_TIMEOUT_S": "0",
        "OCRD_FAULT": f"document.release.{moment}:kill",
    }
    ocrd.start("--engine", "hanging")
    wait_until(lambda: ocrd.status()["engine"]["reading"], "pages are being read")
    assert ocrd.stop() == -signal.SIGKILL
    del ocrd.env["OCRD_FAULT"]
    assert ocrd.run_once("--engine", "embedded").returncode == 0
    assert ocrd.text("scan.pdf").split() == ["Scan", "sheet", "one", "Scan", "sheet", "two"]
    assert doubled_pages(ocrd.state) == lost_pages(ocrd.state) == 0


def order_of(ocrd: Ocrd, *wanted: str) -> str:
    """The places that one run comes by, of those whose names begin so, in their order: what stands before something is
    durable before it, so that power may go at any moment."""
    ocrd.env |= {"OCRD_FAULT": "*:trace", "OCRD_OUTPUT__FORMATS": "txt"}
    done = ocrd.run_once()
    del ocrd.env["OCRD_FAULT"]
    places = re.findall(r"came by (\S+)", done.stderr)
    return " ".join(place for place in places if place.startswith(wanted))


WRITING = ("file.", "folder.", "output.", "document.finish")
MOVING = (*WRITING, "move.", "relocation.")
PLANNED = "file.sync file.synced output.plan.commit output.plan.committed "
ENDED = "folder.sync folder.synced document.finish.commit document.finish.committed"
TAKEN_AWAY = "move.unlink file.aside file.put_aside move.unlinked folder.sync folder.synced "


@pytest.fixture
def single(ocrd: Ocrd) -> Ocrd:
    ocrd.env["OCRD_INBOX__QUIET_S"] = "0"
    paper.write_png(ocrd.inbox / "image.png", "The first version")
    return ocrd


def test_texts_are_durable_before_the_store_says_that_they_are_written(single: Ocrd) -> None:
    assert order_of(single, *WRITING).endswith(PLANNED + "file.name file.named " + ENDED)


def test_a_text_is_durable_before_it_takes_the_place_of_an_older_one(single: Ocrd) -> None:
    assert single.run_once().returncode == 0
    paper.write_png(single.inbox / "image.png", "Another version")
    assert order_of(single, *WRITING).endswith(PLANNED + "file.replace file.exchange file.replaced " + ENDED)


def test_a_reason_is_durable_before_the_store_says_that_it_is_written(single: Ocrd) -> None:
    (single.inbox / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    single.env["OCRD_INBOX__SETTLE_S"] = "0"
    assert order_of(single, *WRITING).endswith(PLANNED + "file.name file.named " + ENDED)


def test_a_reason_is_gone_for_good_before_the_store_forgets_it(single: Ocrd) -> None:
    single.env |= {"OCRD_INBOX__SETTLE_S": "0", "OCRD_OUTPUT__FORMATS": "txt"}
    (single.inbox / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert single.run_once().returncode == UNFINISHED
    paper.write_png(single.inbox / "image.png", "The first version")
    assert order_of(single, *WRITING).endswith(
        "file.name file.named folder.sync folder.synced "
        "file.aside file.put_aside folder.sync folder.synced output.forget.commit output.forget.committed "
        "document.finish.commit document.finish.committed"
    )


@pytest.mark.parametrize("across", [False, True], ids=["same disk", "another disk"])
def test_a_moved_file_is_durable_before_its_old_name_goes(
    single: Ocrd, other_disk: Path, across: bool
) -> None:
    target = other_disk if across else "done"
    single.env["OCRD_AFTER__DONE"] = f"move:{target}"
    order = order_of(single, *MOVING)
    copied = "file.sync file.synced move.copied file.name file.named " if across else ""
    one = f"move.name {copied}move.named folder.sync folder.synced {TAKEN_AWAY}"
    assert order.endswith(
        f"relocation.plan.committed move.planned {one * 2}"
        "move.arrived relocation.arrive.commit relocation.arrive.committed"
    )


@pytest.mark.parametrize("across", [False, True], ids=["same disk", "another disk"])
@pytest.mark.parametrize("point", ["move.named", "move.unlink", "file.put_aside"])
def test_a_move_that_a_kill_interrupted_is_durable_before_the_old_name_goes(
    single: Ocrd, other_disk: Path, across: bool, point: str
) -> None:
    target = other_disk if across else single.inbox / "done"
    single.env |= {
        "OCRD_AFTER__DONE": f"move:{other_disk if across else 'done'}",
        "OCRD_OUTPUT__FORMATS": "txt",
    }
    content = (single.inbox / "image.png").read_bytes()
    assert strike(single, f"{point}:kill")
    order = order_of(single, *MOVING)
    if point != "file.put_aside":
        finished = f"file.sync file.synced folder.sync folder.synced {TAKEN_AWAY}"
        assert order.startswith(f"move.planned {finished}move.name ")
    assert (target / "image.png").read_bytes() == content
    assert sorted(path.name for path in single.inbox.iterdir() if path.is_file()) == []
    assert single.leftovers() == []
