"""An open store with everything in it, and short ways to fill it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from ocrd.domain.documents import Block, MediaType, Recognition
from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.domain.ports import Clock
from ocrd.store.commands import CommandStore
from ocrd.store.documents import Arrival, DocumentStore, Job
from ocrd.store.engine import Database
from ocrd.store.outputs import OutputStore
from ocrd.store.pages import Attempt, PageStore
from ocrd.store.relocations import RelocationStore

INBOX = "/inbox"
FINGERPRINT = "f" * 16

_UNDO_TO_0002 = (
    "DROP TRIGGER search_page_insert",
    "DROP TRIGGER search_page_update",
    "DROP TABLE searched",
    "DROP TABLE search_words",
    "DROP TABLE relocations",
    "DROP INDEX ix_attempts_result_id",
    "UPDATE alembic_version SET version_num = '0002'",
)


def take_back(store: Path) -> None:
    """The newest schema taken back to what migration 0002 made, with its rows."""
    with closing(sqlite3.connect(store)) as connection, connection:
        for statement in _UNDO_TO_0002:
            connection.execute(statement)


class Stores:
    """All the stores on one database, and the tables as plain rows."""

    def __init__(self, folder: str, clock: Clock) -> None:
        self.folder = folder
        self.database = Database(folder)
        self.documents = DocumentStore(self.database, clock)
        self.pages = PageStore(self.database, clock)
        self.outputs = OutputStore(self.database, clock)
        self.commands = CommandStore(self.database, clock)
        self.relocations = RelocationStore(self.database, clock)

    def close(self) -> None:
        self.database.close()

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds."""
        with self.database.read() as tx:
            return [tuple(row) for row in tx.exec_driver_sql(query, values)]

    def one(self, query: str, *values: Any) -> Any:
        """The single value that a query finds."""
        ((value,),) = self.rows(query, *values)
        return value

    def register(self, name: str = "scan.pdf", content: str = "scan", **changes: Any) -> int:
        """Take a file in; its document's number."""
        return self.documents.register(arrival(name, content, **changes)).document_id

    def begin(self) -> Job:
        """Claim the next document, which must be there."""
        job = self.documents.claim()
        assert job is not None
        return job

    def land(self, document_id: int, number: int, state: PageState = PageState.DONE) -> bool:
        """Land one page that was claimed."""
        return self.pages.land(document_id, number, state, attempt(state, f"page {number}"))

    def read_all(self, document_id: int, *, failed: tuple[int, ...] = ()) -> None:
        """Claim and land every open page, and finish the document as its pages say."""
        for claimed in self.pages.claim(document_id, 1000):
            state = PageState.FAILED if claimed.number in failed else PageState.DONE
            self.land(document_id, claimed.number, state)
        outcome = self.documents.outcome(document_id)
        assert outcome is not None
        self.documents.finish(document_id, outcome)

    def document_state(self, document_id: int) -> DocumentState:
        """The state of one document."""
        return DocumentState(self.one("SELECT state FROM documents WHERE id = ?", document_id))

    def page_states(self, document_id: int) -> list[str]:
        """The states of its pages, from the first to the last."""
        query = "SELECT state FROM pages WHERE document_id = ? ORDER BY number"
        return [row[0] for row in self.rows(query, document_id)]


def arrival(name: str = "scan.pdf", content: str = "scan", *, pages: int = 3, **changes: Any) -> Arrival:
    """A file as intake sees it: a PDF of so many pages, all to be read, unless told otherwise."""
    values: dict[str, Any] = {
        "inbox": INBOX,
        "path": f"{INBOX}/{name}".encode(),
        "name": name,
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "fingerprint": FINGERPRINT,
        "media_type": MediaType.PDF,
        "size": len(content),
        "mtime_ns": 1_700_000_000_000_000_000,
        "pages": range(1, pages + 1),
    }
    return Arrival(**{**values, **changes})


def rejected(name: str = "scan.pdf", code: ReasonCode = ReasonCode.DAMAGED, **changes: Any) -> Arrival:
    """A file that cannot be worked on."""
    return arrival(name, pages=0, rejected=(code, "it is damaged", "scan it again"), **changes)


def recognition(text: str = "text") -> Recognition:
    """What an engine read, in one block."""
    block = Block(category="Text", box=(1, 2, 30, 40), text=text)
    return Recognition(
        text=text,
        blocks=(block,),
        finish="stop",
        engine="fake",
        model_revision="1",
        prompt_mode="plain",
        dpi=200.0,
        tokens=7,
        seconds=0.25,
    )


def attempt(state: PageState, text: str = "text") -> Attempt:
    """The last try at a page that ends in this state."""
    match state:
        case PageState.DONE:
            return Attempt(engine="fake", seconds=0.25, verdict=Verdict.OK, recognition=recognition(text))
        case PageState.BLANK:
            return Attempt(engine="", seconds=0.0, verdict=Verdict.BLANK, reason="no ink")
        case _:
            return Attempt(
                engine="fake",
                seconds=0.25,
                verdict=Verdict.FAULT,
                reason_code=ReasonCode.ENGINE_CRASHED,
                reason="the engine crashed",
            )
