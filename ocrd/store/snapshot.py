"""The store, read quickly: for `ocrd status`, `jobs` and `show`, which must answer at once.

Plain sqlite3, because importing SQLAlchemy alone costs 0.3 s. Each call opens, reads and closes; nothing is
counted row by row, so a million documents cost what ten do.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from ocrd.domain.errors import StoreError

FILE_NAME = "ocrd.db"
SQLITE_VERSION = sqlite3.sqlite_version_info
Connection = sqlite3.Connection
_RATE_WINDOW_S = 600.0
EXPORT_COLUMNS = (
    *("id", "path", "name", "inbox", "current", "state", "reason_code", "reason", "pages", "pages_done"),
    *(
        "media_type",
        "size",
        "sha256",
        "revision",
        "priority",
        "created_at",
        "started_at",
        "finished_at",
        "seconds",
    ),
)
_EXPORT_BATCH = 500
MOVED = "moved from {} to "
"""How the event of a document that was moved away begins; its old name stands nowhere else."""
_JOB_COLUMNS = (
    "id, name, path, state, pages, pages_done, reason_code, reason, media_type, revision, priority, "
    "created_at, started_at, finished_at, seconds"
)


def has_full_text_search() -> bool:
    """Whether this build of SQLite has FTS5, without which no store can be made."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return bool(connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0])


@contextmanager
def opened(folder: str) -> Iterator[sqlite3.Connection | None]:
    """A read-only connection; None if there is no store yet. Raises StoreError for one that cannot be read."""
    path = os.path.join(folder, FILE_NAME)
    if not os.path.exists(path):
        yield None
        return
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        with closing(sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            # A daemon that starts for the first time makes the file first and all its tables at once after that.
            made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'counts'").fetchone()
            yield connection if made else None
    except sqlite3.DatabaseError as err:
        raise StoreError(f"the store {path} cannot be read: {err}", hint="ocrd db check") from err


def counts(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """`document` and `page` by state, `verdict` of done pages: as the triggers keep them."""
    found: dict[str, dict[str, int]] = {"document": {}, "page": {}, "verdict": {}}
    for kind, value, number in connection.execute("SELECT kind, value, n FROM counts WHERE n > 0"):
        found[kind][value] = number
    return found


def fact(connection: sqlite3.Connection, key: str) -> tuple[Any, float] | None:
    """What the daemon last said under a key, and when (seconds since 1970)."""
    row = connection.execute("SELECT value, at FROM daemon WHERE key = ?", (key,)).fetchone()
    return None if row is None else (json.loads(row["value"]), row["at"])


def pages_per_minute(connection: sqlite3.Connection, now: float) -> float:
    """Pages finished a minute, over the time in which the last ones were (at most ten minutes)."""
    first, number = connection.execute(
        "SELECT min(finished_at), count(*) FROM pages WHERE finished_at > ? AND state <> 'cancelled'",
        (now - _RATE_WINDOW_S,),
    ).fetchone()
    if number < 2:
        return 0.0
    return float(number / max(now - first, 1.0) * 60.0)


def oldest_queued(connection: sqlite3.Connection) -> float | None:
    """When the document at the head of the queue was taken in (seconds since 1970)."""
    row = connection.execute(
        "SELECT created_at FROM documents WHERE state = 'queued' ORDER BY id LIMIT 1"
    ).fetchone()
    return None if row is None else row[0]


def last_errors(connection: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """The newest documents that did not end well, newest first."""
    found: list[dict[str, Any]] = []
    for state in ("failed", "partial", "rejected"):
        found += _jobs(connection, "WHERE state = ? ORDER BY id DESC LIMIT ?", (state, limit))
    return sorted(found, key=lambda job: job["finished_at"] or 0.0, reverse=True)[:limit]


def jobs(connection: sqlite3.Connection, *, state: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest documents, newest first; of one state if given. `limit` 0 means all."""
    where, values = ("WHERE state = ? ", [state]) if state else ("", [])
    return _jobs(connection, f"{where}ORDER BY id DESC LIMIT ?", (*values, limit or -1))


def every_job(folder: str, *, only: str | None) -> Iterator[dict[str, Any]]:
    """All documents with the EXPORT_COLUMNS, oldest first; of one state if given. A batch at a time, so that a slow
    reader of them holds nothing up."""
    last = 0
    query = (
        f"SELECT {', '.join(EXPORT_COLUMNS)} FROM documents WHERE id > ? AND state = coalesce(?, state) "  # noqa: S608  # our own words
        f"ORDER BY id LIMIT {_EXPORT_BATCH}"
    )
    while True:
        with opened(folder) as connection:
            batch = [] if connection is None else connection.execute(query, (last, only)).fetchall()
        for row in batch:
            yield _job(row) | {"current": bool(row["current"])}
        if len(batch) < _EXPORT_BATCH:
            return
        last = batch[-1]["id"]


def jobs_below(connection: sqlite3.Connection, inboxes: list[str]) -> list[dict[str, Any]]:
    """The current documents of these inboxes."""
    found: list[dict[str, Any]] = []
    for inbox in inboxes:
        found += _jobs(connection, "WHERE current AND inbox = ?", (inbox,))
    return found


def first_line(connection: sqlite3.Connection, document_id: int) -> str:
    """The first line of a document's text; '' if it has none."""
    for _, _, _, text in page_texts(connection, document_id):
        for line in text.splitlines():
            if line.strip():
                return line.strip()
    return ""


def job(connection: sqlite3.Connection, document_id: int) -> dict[str, Any] | None:
    """One document by number."""
    return next(iter(_jobs(connection, "WHERE id = ?", (document_id,))), None)


def job_of_path(connection: sqlite3.Connection, path: bytes) -> dict[str, Any] | None:
    """The newest revision at a path."""
    return next(iter(_jobs(connection, "WHERE path = ? ORDER BY revision DESC LIMIT 1", (path,))), None)


def job_of_output(connection: sqlite3.Connection, path: bytes) -> dict[str, Any] | None:
    """The document of which this is an output."""
    row = connection.execute("SELECT document_id FROM outputs WHERE path = ?", (path,)).fetchone()
    return None if row is None else job(connection, row["document_id"])


def job_moved_from(connection: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """The document that was moved away from this path, as it is written for people, last. No index helps: all
    events are looked through, so this is asked last."""
    begins = MOVED.format(name)
    row = connection.execute(
        "SELECT document_id FROM events WHERE page IS NULL AND old = new AND substr(why, 1, ?) = ? "
        "ORDER BY id DESC LIMIT 1",
        (len(begins), begins),
    ).fetchone()
    return None if row is None else job(connection, row["document_id"])


def _jobs(connection: sqlite3.Connection, tail: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    rows = connection.execute(f"SELECT {_JOB_COLUMNS} FROM documents {tail}", values)  # noqa: S608  # our own words
    return [_job(row) for row in rows]


def _job(row: sqlite3.Row) -> dict[str, Any]:
    data = dict(row)
    data["path"] = os.fsdecode(data.pop("path"))
    data["seconds"] = round(data["seconds"], 2)
    return data


def pages(connection: sqlite3.Connection, document_id: int) -> list[dict[str, Any]]:
    """The pages of a document with their attempts, without texts."""
    found = [
        dict(row)
        for row in connection.execute(
            "SELECT id, number, state, verdict, reason_code, reason, claims, finished_at FROM pages "
            "WHERE document_id = ? ORDER BY number",
            (document_id,),
        )
    ]
    tries: dict[int, list[dict[str, Any]]] = {page["id"]: [] for page in found}
    for row in connection.execute(
        "SELECT page_id, attempts.number, engine, model_revision, prompt_mode, sampling, dpi, tokens, seconds, "
        "attempts.verdict, attempts.reason_code, attempts.reason, ended_at FROM attempts "
        "JOIN pages ON pages.id = page_id WHERE document_id = ? ORDER BY page_id, attempts.number",
        (document_id,),
    ):
        attempt = {**dict(row), "sampling": json.loads(row["sampling"])}
        tries[attempt.pop("page_id")].append(attempt)
    for page in found:
        page["attempts"] = tries[page.pop("id")]
    return found


def remarks(connection: sqlite3.Connection, document_id: int) -> dict[int, dict[str, Any]]:
    """By page, what was noted while its text was made (`notes`), and what the second reader said (`testimony`)."""
    return {
        number: {"notes": body.get("notes", []), "testimony": body.get("testimony")}
        for number, _, _, body in _results(connection, document_id)
    }


def outputs(connection: sqlite3.Connection, document_id: int) -> list[dict[str, str]]:
    """Format and path of what was written for a document."""
    rows = connection.execute(
        "SELECT format, path FROM outputs WHERE document_id = ? AND sha256 <> '' ORDER BY format",
        (document_id,),
    )
    return [{"format": row["format"], "path": os.fsdecode(row["path"])} for row in rows]


def page_texts(connection: sqlite3.Connection, document_id: int) -> Iterator[tuple[int, str, str, str]]:
    """Number, state, reason and text of each page, one in memory at a time."""
    for number, state, reason, body in _results(connection, document_id):
        yield number, state, reason, body.get("text", "")


def _results(
    connection: sqlite3.Connection, document_id: int
) -> Iterator[tuple[int, str, str, Mapping[str, Any]]]:
    """Number, state, reason and stored result of each page, {} without one."""
    for row in connection.execute(
        "SELECT number, state, reason, body FROM pages LEFT JOIN results ON results.id = result_id "
        "WHERE document_id = ? ORDER BY number",
        (document_id,),
    ):
        body: Mapping[str, Any] = json.loads(zlib.decompress(row["body"])) if row["body"] else {}
        yield row["number"], row["state"], row["reason"], body
