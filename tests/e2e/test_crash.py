"""kill -9, again and again: every document ends right, no page result is lost or doubled, outputs are the same."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from support import paper
from support.crashes import doubled_pages, lost_pages, originals, outputs, states
from support.running import Ocrd, wait_until

KILLS = 20
DOCUMENTS = 60
SEED = 20261123

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def fill(inbox: Path) -> None:
    """A mixed inbox: images, PDFs and TIFFs of several pages, twins, an empty page, a bad page, damaged files."""
    for number in range(30):
        paper.write_png(inbox / f"image-{number:02}.png", f"Image {number} of the set")
    for number in range(10):
        paper.write_pdf(
            inbox / "pdf" / f"scan-{number}.pdf", *[f"Scan {number} sheet {page}" for page in range(1, 31)]
        )
    for number in range(7):
        paper.write_tiff(inbox / f"fax-{number}.tif", f"Fax {number} first", f"Fax {number} last")
    for number in range(5):
        shutil.copy(inbox / f"image-{number:02}.png", inbox / "pdf" / f"twin-{number}.png")
    for number in range(3):
        paper.write_pdf_with_bad_page(inbox / f"partial-{number}.pdf", f"Partial {number}")
        whole = paper.write_pdf(inbox / f"damaged-{number}.pdf", f"Damaged {number}").read_bytes()
        (inbox / f"damaged-{number}.pdf").write_bytes(whole[:200])
    paper.write_pdf(inbox / "with-blank.pdf", "Before", "", "After")
    (inbox / "empty.png").touch()


def test_a_daemon_that_is_killed_at_random_moments_loses_nothing_and_does_nothing_twice(
    tmp_path: Path,
) -> None:
    calm = Ocrd(_folder(tmp_path / "calm"))
    fill(calm.inbox)
    assert len(originals(calm.inbox)) == DOCUMENTS
    assert calm.run_once().returncode == 1

    killed = Ocrd(_folder(tmp_path / "killed"), OCRD_INBOX__QUIET_S="0")
    shutil.copytree(
        calm.inbox, killed.inbox, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.txt", "*.md")
    )
    before = originals(killed.inbox)
    moments = random.Random(SEED)
    killed_at_work = 0
    for _ in range(KILLS):
        killed.start("--once", ready=False)
        assert killed.process is not None
        _wait_for_end(killed, moments.uniform(0.3, 1.3))
        killed_at_work += killed.process.poll() is None
        killed.stop(signal.SIGKILL)
        check = killed.command("db", "check")
        assert check.returncode == 0 or "no store" in check.stderr, check.stdout
    assert killed.run_once().returncode == 1
    assert killed_at_work >= KILLS * 3 // 4, "too few kills met a working daemon"

    assert states(killed) == states(calm)
    assert outputs(killed.inbox) == outputs(calm.inbox)
    assert originals(killed.inbox) == before
    assert killed.leftovers() == []
    assert not (killed.state / "work").exists()
    assert doubled_pages(killed.state) == lost_pages(killed.state) == 0


def _wait_for_end(ocrd: Ocrd, deadline_s: float) -> None:
    """Wait until the moment has come, or the run is over."""
    assert ocrd.process is not None
    end = time.monotonic() + deadline_s
    process = ocrd.process
    wait_until(lambda: time.monotonic() >= end or process.poll() is not None, "the moment to kill")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
