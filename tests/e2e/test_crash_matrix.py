"""kill -9 at every fault point that a mixed inbox comes by: the next run makes everything right."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest
from support import paper
from support.crashes import assert_each_page_has_one_result, originals, outputs, states
from support.running import Ocrd

COMMITS = (
    "document.register",
    "document.claim",
    "document.finish",
    "page.claim",
    "page.land",
    "output.plan",
    "command.set_fact",
)
FILES = ("file.name", "file.named", "file.sync", "file.synced", "folder.sync", "folder.synced")
POINTS = [f"{name}.{moment}" for name in COMMITS for moment in ("commit", "committed")] + list(FILES)
TIMES = (1, 3)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def fill(inbox: Path) -> None:
    """A PDF, a picture and its twin, a fax, a bad page, a blank one, a damaged file, a text of somebody else's."""
    paper.write_pdf(inbox / "scan.pdf", "Scan sheet one", "", "Scan sheet three")
    paper.write_png(inbox / "image.png", "An image of the set")
    shutil.copy(inbox / "image.png", inbox / "twin.png")
    paper.write_tiff(inbox / "fax.tif", "Fax first", "Fax last")
    paper.write_pdf_with_bad_page(inbox / "partial.pdf", "Partial")
    (inbox / "damaged.pdf").write_bytes((inbox / "scan.pdf").read_bytes()[:200])
    paper.write_png(inbox / "taken.png", "This text has no place")
    (inbox / "taken.png.txt").write_text("somebody else's\n")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Ocrd:
    """The same inbox, worked off without a fault."""
    ocrd = Ocrd(tmp_path_factory.mktemp("calm"))
    fill(ocrd.inbox)
    assert ocrd.run_once().returncode == 1
    return ocrd


@pytest.fixture
def struck(calm: Ocrd, tmp_path: Path) -> Ocrd:
    """The inbox before its work."""
    ocrd = Ocrd(tmp_path)
    ocrd.env["OCRD_INBOX__QUIET_S"] = "0"
    wrote = set(outputs(calm.inbox)) - {"taken.png.txt"}
    shutil.copytree(
        calm.inbox, ocrd.inbox, dirs_exist_ok=True, ignore=lambda _, names: wrote.intersection(names)
    )
    return ocrd


def assert_made_right(ocrd: Ocrd, calm: Ocrd, before: dict[str, bytes]) -> None:
    """As if nothing had happened."""
    assert states(ocrd) == states(calm)
    assert outputs(ocrd.inbox) == outputs(calm.inbox)
    assert (ocrd.inbox / "taken.png.txt").read_text() == "somebody else's\n"
    assert {name: before[name] for name in originals(ocrd.inbox)} == originals(ocrd.inbox)
    assert ocrd.leftovers() == []
    assert not (ocrd.state / "work").exists()
    assert_each_page_has_one_result(ocrd)
    assert ocrd.command("db", "check").returncode == 0


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_there_is_made_right_by_the_next_run(point: str, times: int, calm: Ocrd, struck: Ocrd) -> None:
    before = originals(struck.inbox) | outputs(struck.inbox)
    struck.env["OCRD_FAULT"] = f"{point}:kill:{times}"
    killed = struck.run_once().returncode == -signal.SIGKILL
    assert killed or times > 1, f"the run did not come by {point}"
    del struck.env["OCRD_FAULT"]
    assert struck.run_once().returncode == 1
    assert_made_right(struck, calm, before)


@pytest.mark.parametrize("point", ["document.recover.commit", "document.recover.committed"])
def test_a_kill_while_a_kill_is_being_made_right(point: str, calm: Ocrd, struck: Ocrd) -> None:
    before = originals(struck.inbox) | outputs(struck.inbox)
    for fault in ("page.land.committed:kill:2", f"{point}:kill"):
        struck.env["OCRD_FAULT"] = fault
        assert struck.run_once().returncode == -signal.SIGKILL
    del struck.env["OCRD_FAULT"]
    assert struck.run_once().returncode == 1
    assert_made_right(struck, calm, before)


@pytest.mark.parametrize("what", ["enospc:1-2", "erofs:1-2"])
@pytest.mark.parametrize("name", COMMITS)
def test_a_store_that_cannot_be_written_for_a_while_loses_nothing(
    name: str, what: str, calm: Ocrd, struck: Ocrd
) -> None:
    before = originals(struck.inbox) | outputs(struck.inbox)
    struck.env["OCRD_FAULT"] = f"{name}.commit:{what}"
    assert struck.run_once().returncode == 1
    assert_made_right(struck, calm, before)


def test_texts_are_durable_before_the_store_says_that_they_are_written(struck: Ocrd) -> None:
    for path in struck.inbox.iterdir():
        if path.name != "image.png":
            path.unlink()
    struck.env |= {"OCRD_FAULT": "*:trace", "OCRD_OUTPUT__FORMATS": "txt"}
    done = struck.run_once()
    assert done.returncode == 0
    order = " ".join(re.findall(r"came by ((?:file|folder|output|document\.finish)\S*)", done.stderr))
    assert order.endswith(
        "file.sync file.synced output.plan.commit output.plan.committed file.name file.named "
        "folder.sync folder.synced document.finish.commit document.finish.committed"
    )
