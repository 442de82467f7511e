"""The full-text index of the pages: brought up to date a few pages at a time, and asked.

Plain sqlite3, as in `snapshot.py`. Triggers on `pages` note in `searched` what is to be put in, so that landing a page
costs next to nothing more. The words are put in by the daemon between its other duties, and by `ocrd search`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from ocrd.domain import words
from ocrd.domain.errors import StoreError
from ocrd.domain.words import Part, Term
from ocrd.store.schema import FILE_NAME

_BATCH = 20
"""Pages a transaction: their stems are made before it, and it lasts some milliseconds."""
_WAITING = "SELECT count(*) FROM searched WHERE NOT done"
_NEXT = (
    "SELECT searched.id, body FROM searched JOIN results ON results.id = result_id WHERE NOT done "
    "ORDER BY searched.id LIMIT ?"
)
_INDEXED = "SELECT searched.id, body FROM searched JOIN results ON results.id = result_id WHERE result_id = ? AND done"
_PLACES = (
    "SELECT documents.id, path, number, body FROM searched JOIN pages ON pages.result_id = searched.result_id "
    "JOIN documents ON documents.id = document_id JOIN results ON results.id = searched.result_id "
    "WHERE searched.id = ? AND current AND pages.state = 'done' ORDER BY documents.id, number"
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A page on which everything was found that was looked for; a lower `rank` is a better one (bm25)."""

    document_id: int
    path: str
    page: int
    rank: float
    snippet: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is put into the index for one result."""

    number: int
    stems: str


def check_schema(connection: sqlite3.Connection, folder: str) -> None:
    """Raises StoreError for a store of a version that had no search."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'search_words'").fetchone() is None:
        raise StoreError(
            f"the store {os.path.join(folder, FILE_NAME)} is of an older ocrd and has no search index yet",
            hint="start the daemon anew (it brings the store up to date), or: ocrd db upgrade",
        )


def waiting(connection: sqlite3.Connection) -> int:
    """How many texts of pages are not in the index yet."""
    return int(connection.execute(_WAITING).fetchone()[0])


def find(connection: sqlite3.Connection, terms: Sequence[Term], *, width: int) -> Iterator[Hit]:
    """The pages that have all terms, the best first; only those of documents that were not replaced by newer ones."""
    rows = connection.execute(
        "SELECT rowid, rank FROM search_words WHERE search_words MATCH ? ORDER BY rank",
        (words.to_match(terms),),
    )
    for number, rank in rows:
        parts: tuple[Part, ...] | None = None
        for document_id, path, page, body in connection.execute(_PLACES, (number,)):
            if parts is None:
                parts = words.snippet(_text_of(body), terms, width=width)
            yield Hit(document_id, os.fsdecode(path), page, rank, parts)


def gather(connection: sqlite3.Connection) -> list[Entry]:
    """The next texts for the index, as many as one transaction should take; empty when all are there."""
    return [
        Entry(number, words.to_index(_text_of(body)))
        for number, body in connection.execute(_NEXT, (_BATCH,)).fetchall()
    ]


def put(connection: sqlite3.Connection, batch: Sequence[Entry]) -> None:
    """Put them in. Those that somebody else has put in meanwhile are left."""
    for entry in batch:
        taken = connection.execute("UPDATE searched SET done = 1 WHERE id = ? AND NOT done", (entry.number,))
        if taken.rowcount:
            connection.execute(
                "INSERT INTO search_words (rowid, stems) VALUES (?, ?)", (entry.number, entry.stems)
            )


def indexed(connection: sqlite3.Connection, results: Iterable[int]) -> dict[int, Entry]:
    """What is in the index of these results, by their numbers."""
    found = {}
    for result in results:
        row = connection.execute(_INDEXED, (result,)).fetchone()
        if row is not None:
            found[result] = Entry(row[0], words.to_index(_text_of(row[1])))
    return found


def take_out(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Take words out of the index again: FTS5 keeps no text here, so it has to be told which they are."""
    connection.executemany(
        "INSERT INTO search_words (search_words, rowid, stems) VALUES ('delete', ?, ?)",
        [(entry.number, entry.stems) for entry in entries],
    )


def _text_of(body: bytes) -> str:
    """'' of a body that is damaged: that one page cannot be found is no reason to find none, or to die of it."""
    try:
        return str(json.loads(zlib.decompress(body)).get("text", ""))
    except (zlib.error, ValueError, AttributeError):
        return ""


def catch_up(folder: str, seconds: float, *, patience_s: float = 0.1) -> Iterator[int]:
    """Put texts into the index for about so long, or until none is left; after each batch, how many are left. Ends
    where the store cannot be written, or another writes to it for longer than the patience lasts: who searches is
    content with what is there."""
    until = time.monotonic() + seconds
    path = os.path.join(folder, FILE_NAME)
    try:
        with closing(sqlite3.connect(path, timeout=patience_s, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys=ON")
            while (batch := gather(connection)) and time.monotonic() < until:
                connection.execute("BEGIN IMMEDIATE")
                put(connection, batch)
                connection.execute("COMMIT")
                yield waiting(connection)
    except sqlite3.OperationalError:  # read-only, full, busy
        return
