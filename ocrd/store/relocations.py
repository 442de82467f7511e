"""Originals that are to be moved: wanted with the commit that ends a document, planned, and arrived.

A plan names every file's old and new place before the first one is touched, so that a killed daemon's successor can
finish what was begun. A document with a plan is not claimed: nobody reads what is being moved.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, delete, func, insert, select, update

from ocrd.domain.documents import FileIdentity
from ocrd.domain.jobs import FINAL_DOCUMENTS, DocumentState
from ocrd.domain.ports import Clock
from ocrd.store import moves, snapshot
from ocrd.store.engine import Database, written
from ocrd.store.tables import documents, outputs, relocations

Move = tuple[bytes, bytes]
"""Where a file stands, and where it is to stand."""


class RelocationStore:
    """Every statement about originals that move."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def waiting(self) -> list[int]:
        """The documents that are to be moved, oldest wish first."""
        with self._database.read() as tx:
            query = select(relocations.c.document_id, func.min(relocations.c.id).label("first"))
            rows = tx.execute(query.group_by(relocations.c.document_id).order_by("first"))
            return [row.document_id for row in rows]

    def planned(self, document_id: int) -> list[Move]:
        """Every file's old and new place, in the order in which they move; empty if nothing is planned yet."""
        with self._database.read() as tx:
            query = select(relocations.c.source, relocations.c.target).where(
                relocations.c.document_id == document_id, relocations.c.target.is_not(None)
            )
            return [(row.source, row.target) for row in tx.execute(query.order_by(relocations.c.id))]

    def outputs_of(self, document_id: int) -> list[bytes]:
        """What was written for a document, or was about to be."""
        with self._database.read() as tx:
            query = select(outputs.c.path).where(outputs.c.document_id == document_id)
            return list(tx.execute(query.order_by(outputs.c.path)).scalars())

    @written
    def plan(self, document_id: int, planned: Sequence[Move]) -> bool:
        """Record where the files go; False, and the wish is dropped, if the document is at work again or replaced."""
        with self._database.write() as tx:
            row = tx.execute(select(documents).where(documents.c.id == document_id)).one()
            tx.execute(delete(relocations).where(relocations.c.document_id == document_id))
            if not (row.current and DocumentState(row.state) in FINAL_DOCUMENTS):
                return False
            rows = [{"document_id": document_id, "source": one, "target": two} for one, two in planned]
            tx.execute(insert(relocations), rows)
            return True

    @written
    def arrive(
        self, document_id: int, moved: Sequence[Move], *, name: str = "", identity: FileIdentity | None = None
    ) -> None:
        """The files in `moved` stand at their new places: the document is known there from now on.

        `name` and `identity` are the original's, if it is one of them. What was known of another document at the
        same place is the past: its file is not there any more.
        """
        with self._database.write() as tx:
            row = tx.execute(select(documents).where(documents.c.id == document_id)).one()
            for source, target in moved:
                if source == row.path and identity is not None:
                    at_target = documents.c.path == target
                    tx.execute(update(documents).where(at_target, documents.c.current).values(current=False))
                    newest = tx.execute(select(func.max(documents.c.revision)).where(at_target)).scalar_one()
                    tx.execute(
                        update(documents)
                        .where(documents.c.id == document_id)
                        .values(
                            path=target,
                            name=name,
                            revision=(newest or 0) + 1,
                            size=identity.size,
                            mtime_ns=identity.mtime_ns,
                        )
                    )
                    state = DocumentState(row.state)
                    moves.record_document(
                        tx, self._now(), document_id, state, state, f"{snapshot.MOVED.format(row.name)}{name}"
                    )
                else:
                    other = and_(outputs.c.path == target, outputs.c.document_id != document_id)
                    tx.execute(delete(outputs).where(other))
                    tx.execute(update(outputs).where(outputs.c.path == source).values(path=target))
            tx.execute(delete(relocations).where(relocations.c.document_id == document_id))

    @written
    def drop(self, document_id: int) -> None:
        """The document stays where it is."""
        with self._database.write() as tx:
            tx.execute(delete(relocations).where(relocations.c.document_id == document_id))

    def _now(self) -> float:
        return self._clock.now().timestamp()
