"""What a crash may not change: the state of a store and of an inbox, to be compared with that of a calm run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from support.running import Ocrd


def outputs(inbox: Path) -> dict[str, bytes]:
    """Every file that ocrd wrote below an inbox."""
    suffixes = (".txt", ".md")
    return {
        str(path.relative_to(inbox)): path.read_bytes()
        for path in inbox.rglob("*")
        if path.name.endswith(suffixes)
    }


def originals(inbox: Path) -> dict[str, bytes]:
    """Every other file."""
    wrote = outputs(inbox)
    files = (path for path in inbox.rglob("*") if path.is_file())
    return {name: path.read_bytes() for path in files if (name := str(path.relative_to(inbox))) not in wrote}


def states(ocrd: Ocrd) -> dict[str, tuple[str, str, int]]:
    """How each document ended."""
    return {name: (job["state"], job["reason_code"], job["pages_done"]) for name, job in ocrd.jobs().items()}


def assert_each_page_has_one_result(ocrd: Ocrd) -> None:
    with closing(sqlite3.connect(ocrd.state / "ocrd.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        doubled = "SELECT count(*) FROM (SELECT page_id FROM attempts GROUP BY page_id HAVING count(*) > 1)"
        assert store.execute(doubled).fetchone() == (0,)
        orphans = "SELECT count(*) FROM results WHERE id NOT IN (SELECT result_id FROM attempts WHERE result_id NOT NULL)"
        assert store.execute(orphans).fetchone() == (0,)
        lost = "SELECT count(*) FROM pages WHERE state = 'done' AND result_id IS NULL"
        assert store.execute(lost).fetchone() == (0,)
