"""What a crash may not change: the state of a store and of an inbox, to be compared with that of a calm run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ocrd.settings import Settings
from support import paper
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
POINTS = (*(f"{name}.{moment}" for name in COMMITS for moment in ("commit", "committed")), *FILES)
"""Fault points that a run over the mixed inbox comes by."""
RECOVERY_POINTS = ("document.recover.commit", "document.recover.committed")
"""Those that a run comes by which makes a kill right."""
BEFORE_RECOVERY = "page.land.committed:kill:2"
EVERY_FORMAT = ("txt", "md", "json", "hocr", "alto", "pdf")
EVERY_SUFFIX = (".txt", ".md", ".json", ".hocr", ".xml")
OUTPUT_POINTS = (
    *(*FILES[:4], "output.plan.commit", "output.plan.committed"),
    *("document.finish.commit", "document.finish.committed"),
)
"""Those between the last page of a document and its end."""
_SECONDS = re.compile(rb'"seconds": [0-9.e-]+')
_PDF_DATES = re.compile(rb"<meta[^>]*Date[^>]*>")
FOREIGN = ("taken.png.txt", "somebody else's\n")
UNFINISHED = 1
"""Exit code of a run in which not everything could be read."""


def fill_mixed(inbox: Path) -> None:
    """A PDF, a picture and its twin, a fax, a bad page, a blank one, a damaged file, a text of somebody else's."""
    paper.write_pdf(inbox / "scan.pdf", "Scan sheet one", "", "Scan sheet three")
    paper.write_png(inbox / "image.png", "An image of the set")
    shutil.copy(inbox / "image.png", inbox / "twin.png")
    paper.write_tiff(inbox / "fax.tif", "Fax first", "Fax last")
    paper.write_pdf_with_bad_page(inbox / "partial.pdf", "Partial")
    (inbox / "damaged.pdf").write_bytes((inbox / "scan.pdf").read_bytes()[:200])
    paper.write_png(inbox / "taken.png", "This text has no place")
    (inbox / FOREIGN[0]).write_text(FOREIGN[1])


def calm_run(folder: Path) -> Ocrd:
    """The mixed inbox, worked off without a fault."""
    calm = Ocrd(folder)
    fill_mixed(calm.inbox)
    done = calm.run_once()
    assert done.returncode == UNFINISHED, done.stderr
    assert (calm.inbox / FOREIGN[0]).read_text() == FOREIGN[1]
    return calm


def copy_unread(calm: Ocrd, folder: Path) -> Ocrd:
    """The inbox of a calm run as it was before its work."""
    fresh = Ocrd(folder)
    fresh.env["OCRD_INBOX__QUIET_S"] = "0"
    wrote = set(outputs(calm.inbox)) - {FOREIGN[0]}
    shutil.copytree(
        calm.inbox, fresh.inbox, dirs_exist_ok=True, ignore=lambda _, names: wrote.intersection(names)
    )
    return fresh


def strike(ocrd: Ocrd, fault: str, *more: str) -> bool:
    """One run with a fault (OCRD_FAULT) and more arguments; whether it was killed."""
    ocrd.env["OCRD_FAULT"] = fault
    code = ocrd.run_once(*more).returncode
    del ocrd.env["OCRD_FAULT"]
    return code == -signal.SIGKILL


def outputs(inbox: Path) -> dict[str, bytes]:
    """Every file that ocrd wrote below an inbox."""
    suffixes = (".txt", ".md")
    return {
        str(path.relative_to(inbox)): path.read_bytes()
        for path in inbox.rglob("*")
        if path.name.endswith(suffixes)
    }


def every_format(inbox: Path) -> dict[str, bytes]:
    """Every output below an inbox as far as two runs can agree: without times, PDFs by the places of their words."""
    found = {}
    for path in inbox.rglob("*"):
        if path.name.endswith(EVERY_SUFFIX):
            found[path.name] = _SECONDS.sub(b"", path.read_bytes())
        elif path.name.endswith(".ocr.pdf"):
            argv = ["pdftotext", "-bbox", path, "-"]
            words = subprocess.run(argv, capture_output=True, check=True).stdout
            found[path.name] = _PDF_DATES.sub(b"", words)
    return found


def originals(inbox: Path) -> dict[str, bytes]:
    """Every other file."""
    wrote = outputs(inbox)
    files = (path for path in inbox.rglob("*") if path.is_file())
    return {name: path.read_bytes() for path in files if (name := str(path.relative_to(inbox))) not in wrote}


def states(ocrd: Ocrd) -> dict[str, tuple[str, str, int]]:
    """How each document ended."""
    return {name: (job["state"], job["reason_code"], job["pages_done"]) for name, job in ocrd.jobs().items()}


def doubled_pages(state: Path) -> int:
    """Pages with more than one attempt, and results that belong to none."""
    with closing(sqlite3.connect(state / "ocrd.db")) as store:
        twice = "SELECT count(*) FROM (SELECT page_id FROM attempts GROUP BY page_id HAVING count(*) > 1)"
        orphans = "SELECT count(*) FROM results WHERE id NOT IN (SELECT result_id FROM attempts WHERE result_id NOT NULL)"
        return int(store.execute(twice).fetchone()[0]) + int(store.execute(orphans).fetchone()[0])


def lost_pages(state: Path) -> int:
    """Pages that count as read and have no result."""
    with closing(sqlite3.connect(state / "ocrd.db")) as store:
        lost = "SELECT count(*) FROM pages WHERE state = 'done' AND result_id IS NULL"
        return int(store.execute(lost).fetchone()[0])


def repeated_claims(state: Path) -> int:
    """How often pages were taken in hand again."""
    with closing(sqlite3.connect(state / "ocrd.db")) as store:
        return int(store.execute("SELECT coalesce(sum(max(claims - 1, 0)), 0) FROM pages").fetchone()[0])


def most_in_hand() -> int:
    """Pages that a kill may find in hand: those being read, and those rendered ahead of them."""
    slots = len(os.sched_getaffinity(0)) + 1
    return slots + Settings().raster.window_pages


@dataclass(frozen=True, slots=True)
class Harm:
    """What a crash did that the next run did not make right. Names of files; `repeated` counts pages that were taken in
    hand again beyond those that a kill may cost; `store` is what `db check` said."""

    doubled: int = 0
    lost: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()
    repeated: int = 0
    store: str = ""


def harm(ocrd: Ocrd, calm: Ocrd, before: dict[str, bytes], *, kills: int = 1) -> Harm:
    """Compare with a calm run over the same files; `before` are the originals as they were dropped."""
    ended, wrote = states(ocrd), outputs(ocrd.inbox)
    right, expected = states(calm), outputs(calm.inbox)
    lost = {name for name in right if ended.get(name) != right[name]}
    lost |= {name for name in expected if wrote.get(name) != expected[name]}
    new = (wrote.keys() - expected.keys()) | (ended.keys() - right.keys())
    now = originals(ocrd.inbox)
    checked = ocrd.command("db", "check")
    work = ["state/work"] if (ocrd.state / "work").exists() else []
    return Harm(
        doubled=doubled_pages(ocrd.state),
        lost=(*sorted(lost), *["a page"] * lost_pages(ocrd.state)),
        changed=tuple(
            sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        ),
        repeated=max(0, repeated_claims(ocrd.state) - kills * most_in_hand()),
        temporary=(*ocrd.leftovers(), *work, *sorted(new)),
        store="" if checked.returncode == 0 else checked.stdout + checked.stderr,
    )
