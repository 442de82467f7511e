"""The one way a row changes its state: checked against the table of moves, guarded by the old state, recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, bindparam, insert, literal, select, update

from ocrd.domain.jobs import FINAL_PAGES, READ_PAGES, DocumentState, IllegalMove, PageState, check_page_move
from ocrd.store.tables import documents, events, pages

# Made once: SQLAlchemy takes longer to put them together than SQLite to run them.
_EVENT = insert(events)
_COUNT_DONE = (
    update(documents)
    .where(documents.c.id == bindparam("document"))
    .values(pages_done=documents.c.pages_done + bindparam("step"))
)


def _pages_in(old: PageState, *, chosen: bool) -> list[ColumnElement[bool]]:
    # The state is written into the statement, so that SQLite sees that the partial index serves.
    found = [
        pages.c.document_id == bindparam("document"),
        pages.c.state == literal(old, literal_execute=True),
    ]
    return [*found, pages.c.number.in_(bindparam("numbers", expanding=True))] if chosen else found


_MOVE = {
    (old, chosen): update(pages).where(*_pages_in(old, chosen=chosen))
    for old in PageState
    for chosen in (False, True)
}
_RECORD_MOVES = {
    (old, chosen): insert(events).from_select(
        ["at", "document_id", "page", "old", "new", "why"],
        select(
            bindparam("at"),
            pages.c.document_id,
            pages.c.number,
            bindparam("old"),
            bindparam("new"),
            bindparam("why"),
        ).where(*_pages_in(old, chosen=chosen)),
    )
    for old, chosen in _MOVE
}


def record_document(
    tx: Connection, at: float, document_id: int, old: DocumentState, new: DocumentState, why: str
) -> None:
    """Leave the event row of a document's move."""
    event = {"at": at, "document_id": document_id, "page": None, "old": old, "new": new, "why": why}
    tx.execute(_EVENT, event)


def record_claims(
    tx: Connection, at: float, document_id: int, old: PageState, numbers: Sequence[int]
) -> None:
    """Leave the event rows of pages that were claimed."""
    check_page_move(old, PageState.RUNNING)
    _record_pages(tx, at, document_id, [(number, old, PageState.RUNNING) for number in numbers], "claimed")


def _record_pages(
    tx: Connection,
    at: float,
    document_id: int,
    moved: Sequence[tuple[int, PageState, PageState]],
    why: str,
) -> None:
    if moved:
        same = {"at": at, "document_id": document_id, "why": why}
        rows = [{**same, "page": number, "old": old, "new": new} for number, old, new in moved]
        tx.execute(_EVENT, rows)


def expect_one(result: CursorResult[Any], what: str) -> None:
    """A guarded update must have met exactly one row; otherwise two hands moved the same thing."""
    if result.rowcount != 1:
        raise IllegalMove(f"{what}: {result.rowcount} rows were in the old state")


def move_pages(
    tx: Connection,
    at: float,
    document_id: int,
    old: PageState,
    new: PageState,
    *,
    why: str,
    numbers: Sequence[int] | None = None,
    values: Mapping[str, Any] | None = None,
) -> int:
    """Move every page of a document that is in `old` (of `numbers`, if given); how many were moved.

    The document's `pages_done` is kept right, and each page leaves its event.
    """
    check_page_move(old, new)
    chosen = numbers is not None
    there: dict[str, Any] = {"document": document_id}
    if numbers is not None:
        there["numbers"] = numbers
    tx.execute(_RECORD_MOVES[old, chosen], {**there, "at": at, "old": old, "new": new, "why": why})
    changes: dict[str, Any] = {"state": new, **(values or {})}
    if new in FINAL_PAGES:
        changes.setdefault("finished_at", at)
    computed = {name: value for name, value in changes.items() if isinstance(value, ColumnElement)}
    move = _MOVE[old, chosen].values(computed) if computed else _MOVE[old, chosen]
    plain = {name: value for name, value in changes.items() if name not in computed}
    moved = tx.execute(move, {**there, **plain}).rowcount
    _count_done(tx, document_id, moved * ((new in READ_PAGES) - (old in READ_PAGES)))
    return moved


def adopt_pages(
    tx: Connection, at: float, document_id: int, known: Sequence[Mapping[str, Any]], why: str
) -> None:
    """Give pending pages the results of other ones: rows with number, state, verdict, reason, result_id."""
    if not known:
        return
    rows = [{f"new_{key}": value for key, value in row.items()} for row in known]
    for row in rows:
        check_page_move(PageState.PENDING, PageState(row["new_state"]))
    tx.execute(
        update(pages)
        .where(
            pages.c.document_id == document_id,
            pages.c.number == bindparam("new_number"),
            pages.c.state == PageState.PENDING,
        )
        .values(
            state=bindparam("new_state"),
            verdict=bindparam("new_verdict"),
            reason=bindparam("new_reason"),
            result_id=bindparam("new_result_id"),
            finished_at=at,
        ),
        rows,
    )
    moved = [(row["new_number"], PageState.PENDING, PageState(row["new_state"])) for row in rows]
    _record_pages(tx, at, document_id, moved, why)
    _count_done(tx, document_id, len(known))


def _count_done(tx: Connection, document_id: int, step: int) -> None:
    if step:
        tx.execute(_COUNT_DONE, {"document": document_id, "step": step})
