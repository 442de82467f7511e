"""Documents that are forgotten: their rows, pages, tries, events and texts in the store. Never a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, select, union

from ocrd.domain.jobs import FINAL_DOCUMENTS
from ocrd.store import search
from ocrd.store.engine import Database, plain, written
from ocrd.store.tables import attempts, documents, pages, relocations, results


@dataclass(frozen=True, slots=True)
class Old:
    """A document that ended long ago. `current`: no newer revision of its file is known."""

    id: int
    inbox: str
    path: bytes
    current: bool


class PruneStore:
    """Every statement that forgets documents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ended_before(self, moment: float, *, after: int, limit: int) -> list[Old]:
        """Documents that ended before a moment (seconds since 1970), by number, from the one after `after`; none that
        is to be moved."""
        query = (
            select(documents.c.id, documents.c.inbox, documents.c.path, documents.c.current)
            .where(
                documents.c.id > after,
                documents.c.state.in_(FINAL_DOCUMENTS),
                func.coalesce(documents.c.finished_at, documents.c.created_at) <= moment,
                documents.c.id.not_in(select(relocations.c.document_id)),
            )
            .order_by(documents.c.id)
            .limit(limit)
        )
        with self._database.read() as tx:
            return [Old(row.id, row.inbox, row.path, row.current) for row in tx.execute(query)]

    @written
    def forget(self, ids: Sequence[int]) -> int:
        """Forget those of the documents that are still finished, with the texts that no other document shares; how
        many there were."""
        with self._database.read() as tx:  # what takes time, before the store is locked
            words = search.indexed(plain(tx), tx.execute(_texts_of(ids)).scalars().all())
        with self._database.write() as tx:
            query = select(documents.c.id).where(
                documents.c.id.in_(ids),
                documents.c.state.in_(FINAL_DOCUMENTS),
                documents.c.id.not_in(select(relocations.c.document_id)),
            )
            going = list(tx.execute(query).scalars())
            texts = tx.execute(_texts_of(going)).scalars().all()
            tx.execute(delete(documents).where(documents.c.id.in_(going)))
            for start in range(0, len(texts), _AT_ONCE):
                unused = (
                    results.c.id.in_(texts[start : start + _AT_ONCE]),
                    ~select(pages.c.id).where(pages.c.result_id == results.c.id).exists(),
                    ~select(attempts.c.id).where(attempts.c.result_id == results.c.id).exists(),
                )
                doomed = tx.execute(select(results.c.id).where(*unused)).scalars().all()
                words |= search.indexed(plain(tx), [one for one in doomed if one not in words])
                search.take_out(plain(tx), [words[one] for one in doomed if one in words])
                tx.execute(delete(results).where(results.c.id.in_(doomed)))
            return len(going)


def _texts_of(ids: Sequence[int]) -> Select[Any]:
    """The results of these documents' pages and tries."""
    own_pages = select(pages.c.id).where(pages.c.document_id.in_(ids))
    read = union(
        select(pages.c.result_id).where(pages.c.document_id.in_(ids)),
        select(attempts.c.result_id).where(attempts.c.page_id.in_(own_pages)),
    ).subquery()
    return select(read.c.result_id).where(read.c.result_id.is_not(None))


_AT_ONCE = 500
"""Values of one statement; SQLite has a limit."""
