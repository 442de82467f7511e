"""Documents in the store: taken in, claimed, moved from state to state, finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from ocrd.domain.documents import MediaType
from ocrd.domain.errors import NOT_THERE, ReasonCode
from ocrd.domain.jobs import (
    FINAL_DOCUMENTS,
    FINAL_PAGES,
    READ_PAGES,
    DocumentState,
    PageState,
    check_document_move,
    document_outcome,
)
from ocrd.domain.ports import Clock
from ocrd.store import moves
from ocrd.store.engine import Database, written
from ocrd.store.tables import attempts, counts, documents, outputs, pages, relocations

FINGERPRINT_LENGTH = 16

_NEXT_IN_TURN = text(
    # Left alone, SQLite takes the index on the state and sorts all that is queued; SQLAlchemy writes no such hint.
    "SELECT id FROM documents INDEXED BY ix_documents_claim WHERE state = 'queued' AND NOT EXISTS ("
    "SELECT 1 FROM documents AS twin WHERE twin.state = 'running' "
    "AND twin.sha256 = documents.sha256 AND twin.fingerprint = documents.fingerprint"
    ") AND NOT EXISTS ("
    "SELECT 1 FROM relocations WHERE relocations.document_id = documents.id AND relocations.target IS NOT NULL"
    ") ORDER BY priority DESC, id LIMIT 1"
)

# Made once: SQLAlchemy takes longer to put them together than SQLite to run them.
_CLAIM = (
    update(documents)
    .where(
        documents.c.id == _NEXT_IN_TURN.columns(documents.c.id).scalar_subquery(),
        documents.c.state == DocumentState.QUEUED,
    )
    .values(state=DocumentState.RUNNING, started_at=bindparam("now"))
    .returning(documents)
)
_UNREAD_PAGES = select(pages.c.number, pages.c.state).where(
    pages.c.document_id == bindparam("document"),
    pages.c.state.in_((PageState.PENDING, PageState.PARKED)),
)
_CURRENT_AT = select(documents).where(documents.c.path == bindparam("there"), documents.c.current)
_NEWEST_AT = select(func.max(documents.c.revision)).where(documents.c.path == bindparam("there"))
_ADD = insert(documents).returning(documents.c.id)
_ADD_PAGES = insert(pages)
_ONE = select(documents).where(documents.c.id == bindparam("document"))
_ONE_CURRENT = _ONE.where(documents.c.current)
_PAGES_BY_STATE = (
    select(pages.c.state, func.count())
    .where(pages.c.document_id == bindparam("document"))
    .group_by(pages.c.state)
)
_WRITTEN = (
    update(outputs)
    .where(outputs.c.path.in_(bindparam("targets", expanding=True)))
    .values(sha256=outputs.c.planned_sha256)
)
_MOVE = update(documents).where(
    documents.c.id == bindparam("document"), documents.c.state == bindparam("old")
)
_END = _MOVE.values(
    # What its attempts took together: of those that read side by side each counts, and no waiting does.
    seconds=select(func.coalesce(func.sum(attempts.c.seconds), 0.0))
    .select_from(attempts.join(pages))
    .where(pages.c.document_id == bindparam("document"))
    .scalar_subquery()
)
_twin = documents.alias("twin")
_READ_OF_TWINS = (
    select(pages.c.number, pages.c.state, pages.c.verdict, pages.c.reason, pages.c.result_id)
    .join(_twin, _twin.c.id == pages.c.document_id)
    .where(
        _twin.c.sha256 == bindparam("sha256"),
        _twin.c.fingerprint == bindparam("fingerprint"),
        _twin.c.id != bindparam("document"),
        pages.c.state.in_(READ_PAGES),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A file as intake saw it. There are no `pages`, and `sha256` may be empty, if it was rejected."""

    inbox: str
    path: bytes
    name: str
    sha256: str
    fingerprint: str
    media_type: MediaType | None
    size: int
    mtime_ns: int
    pages: Sequence[int] = ()
    """The numbers of those that are to be read, counted from 1."""
    priority: int = 0
    """Documents with a higher one are claimed first."""
    rejected: tuple[ReasonCode, str, str] | None = None
    """Code, reason and hint, if it cannot be worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A document that was claimed for work."""

    id: int
    inbox: str
    path: bytes
    name: str
    sha256: str
    media_type: MediaType
    size: int
    mtime_ns: int
    pages: int
    open_pages: int
    """Pages that are not read yet, parked ones too; the others were read before, here or at another path."""
    overwrite: bool


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of an arrival: the document's row, and whether that is a new one."""

    document_id: int
    new: bool
    state: DocumentState
    superseded: int | None = None
    """A running document whose content this one replaces; its work has to be ended."""


class DocumentStore:
    """Every statement about documents. All methods are one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @written
    def register(self, arrival: Arrival) -> Registered:
        """Take a file in. The same content at the same path is the same document, changed content a new revision.

        A rejected one starts as running: its error file is still to be written, and `finish` ends it. A kill
        between the two leaves it to `recover`, and the worker rejects it again.
        """
        with self._database.write() as tx:
            current = tx.execute(_CURRENT_AT, {"there": arrival.path}).one_or_none()
            if current is not None and _is_same(current, arrival):
                return self._seen_again(tx, current, arrival)
            superseded = None if current is None else self._supersede(tx, current)
            # Not the current one's alone: the document that stood here may have been moved away.
            revision = (tx.execute(_NEWEST_AT, {"there": arrival.path}).scalar_one() or 0) + 1
            state = DocumentState.QUEUED if arrival.rejected is None else DocumentState.RUNNING
            document_id = self._insert(tx, arrival, revision, state)
            return Registered(document_id, new=True, state=state, superseded=superseded)

    def _seen_again(self, tx: Connection, current: Row[Any], arrival: Arrival) -> Registered:
        tx.execute(
            update(documents)
            .where(documents.c.id == current.id)
            .values(size=arrival.size, mtime_ns=arrival.mtime_ns, inbox=arrival.inbox)
        )
        state = DocumentState(current.state)
        if state is DocumentState.CANCELLED and current.reason_code in NOT_THERE:
            self._requeue(tx, current.id, state, why="the content is back")
            state = DocumentState.QUEUED
        return Registered(current.id, new=False, state=state)

    def _supersede(self, tx: Connection, current: Row[Any]) -> int | None:
        """The old revision makes place; a running one is named, because its pages are in hand."""
        tx.execute(update(documents).where(documents.c.id == current.id).values(current=False))
        if current.state == DocumentState.QUEUED:
            self._cancel_queued(
                tx, current.id, ReasonCode.SUPERSEDED, "the file was changed before its turn came"
            )
        return current.id if current.state == DocumentState.RUNNING else None

    def _insert(self, tx: Connection, arrival: Arrival, revision: int, state: DocumentState) -> int:
        row = {
            "inbox": arrival.inbox,
            "path": arrival.path,
            "name": arrival.name,
            "revision": revision,
            "current": True,
            "sha256": arrival.sha256,
            "fingerprint": arrival.fingerprint,
            "media_type": arrival.media_type or "",
            "size": arrival.size,
            "mtime_ns": arrival.mtime_ns,
            "state": state,
            "pages": len(arrival.pages),
            "priority": arrival.priority,
            "created_at": self._now(),
        }
        document_id = int(tx.execute(_ADD, row).scalar_one())
        self._insert_pages(tx, document_id, arrival.pages)
        return document_id

    @written
    def claim(self) -> Job | None:
        """Start the next queued document, the oldest of the highest priority; None when there is none.

        One whose content is being worked on at another path waits, so that it can take over the pages.
        """
        with self._database.write() as tx:
            row = tx.execute(_CLAIM, {"now": self._now()}).one_or_none()
            if row is None:
                return None
            moves.record_document(
                tx, self._now(), row.id, DocumentState.QUEUED, DocumentState.RUNNING, "claimed"
            )
            open_pages = self._reuse_pages(tx, row)
            return _job(row, open_pages)

    def _reuse_pages(self, tx: Connection, row: Row[Any]) -> int:
        """Take over what was already read of the same content, with the same settings; how many pages remain."""
        numbers: dict[str, set[int]] = {PageState.PENDING: set(), PageState.PARKED: set()}
        for number, state in tx.execute(_UNREAD_PAGES, {"document": row.id}):
            numbers[state].add(number)
        wanted = numbers[PageState.PENDING]
        twins = {"document": row.id, "sha256": row.sha256, "fingerprint": row.fingerprint}
        found = tx.execute(_READ_OF_TWINS, twins).mappings()
        known = {page["number"]: dict(page) for page in found if page["number"] in wanted and not row.reread}
        moves.adopt_pages(tx, self._now(), row.id, list(known.values()), "read before, the same content")
        return len(wanted) - len(known) + len(numbers[PageState.PARKED])

    @written
    def release(self, document_id: int) -> None:
        """Give a running document back to the queue, with the pages it has; claims in hand do not count."""
        with self._database.write() as tx:
            self._release(tx, document_id, "given back", {"claims": pages.c.claims - 1})

    def _release(self, tx: Connection, document_id: int, why: str, values: dict[str, Any]) -> None:
        moves.move_pages(
            tx, self._now(), document_id, PageState.RUNNING, PageState.PENDING, why=why, values=values
        )
        self._move(tx, document_id, DocumentState.RUNNING, DocumentState.QUEUED, why=why)

    @written
    def recover(self) -> list[Job]:
        """After a crash: whatever was running is queued again; the documents it touched, to clean up behind them."""
        with self._database.write() as tx:
            rows = tx.execute(select(documents).where(documents.c.state == DocumentState.RUNNING)).all()
            for row in rows:
                self._release(tx, row.id, "the daemon ended while this was in hand", {})
            return [_job(row) for row in rows]

    @written
    def finish(
        self,
        document_id: int,
        state: DocumentState,
        *,
        code: ReasonCode | str = "",
        reason: str = "",
        written: Sequence[bytes] = (),
        move: bool = False,
    ) -> None:
        """End a running document; the planned outputs in `written` are now known to be there. With `move` its
        original is to be moved."""
        with self._database.write() as tx:
            if written:
                done = {"targets": written, "planned_sha256": "", "written_at": self._now()}
                tx.execute(_WRITTEN, done)
            if state is DocumentState.CANCELLED:
                self._cancel_pages(tx, document_id, str(code))
            self._move(tx, document_id, DocumentState.RUNNING, state, code=code, reason=reason)
            if move:
                path = select(documents.c.id, documents.c.path).where(documents.c.id == document_id)
                tx.execute(insert(relocations).from_select(["document_id", "source"], path))

    def outcome(self, document_id: int) -> DocumentState | None:
        """The final state that the pages amount to; None while some are not final."""
        with self._database.read() as tx:
            rows = tx.execute(_PAGES_BY_STATE, {"document": document_id}).all()
        return document_outcome({PageState(state): number for state, number in rows})

    @written
    def cancel(self, document_id: int) -> DocumentState:
        """Cancel a queued document at once; a running one is only reported, the worker has its pages in hand."""
        with self._database.write() as tx:
            state = self._state(tx, document_id)
            if state is DocumentState.QUEUED:
                self._cancel_queued(tx, document_id, ReasonCode.CANCELLED, "cancelled by the user")
                return DocumentState.CANCELLED
            return state

    def _cancel_queued(self, tx: Connection, document_id: int, code: ReasonCode, reason: str) -> None:
        self._cancel_pages(tx, document_id, str(code))
        self._move(tx, document_id, DocumentState.QUEUED, DocumentState.CANCELLED, code=code, reason=reason)

    def _cancel_pages(self, tx: Connection, document_id: int, why: str) -> None:
        for state in (PageState.PENDING, PageState.RUNNING, PageState.PARKED):
            moves.move_pages(
                tx, self._now(), document_id, state, PageState.CANCELLED, why=why, values={"reason_code": why}
            )

    @written
    def retry(self, document_id: int, *, overwrite: bool = False, reread_as: str | None = None) -> bool:
        """Queue a finished document again: its failed and cancelled pages, or all of them if `reread_as` gives the
        fingerprint of the settings to read them with. Whether it was finished."""
        with self._database.write() as tx:
            state = self._state(tx, document_id)
            if state not in FINAL_DOCUMENTS:
                return False
            self._requeue(tx, document_id, state, why="retry", again=reread_as is not None)
            values: dict[str, Any] = {"overwrite": overwrite}
            if reread_as is not None:
                values |= {"reread": True, "fingerprint": reread_as}
            tx.execute(update(documents).where(documents.c.id == document_id).values(values))
            return True

    def _requeue(
        self, tx: Connection, document_id: int, old: DocumentState, *, why: str, again: bool = False
    ) -> None:
        fresh = {
            "claims": 0,
            "reason_code": "",
            "reason": "",
            "verdict": "",
            "result_id": None,
            "finished_at": None,
            "ladder_from": pages.c.attempts,
        }
        for state in FINAL_PAGES if again else FINAL_PAGES - READ_PAGES:
            moves.move_pages(tx, self._now(), document_id, state, PageState.PENDING, why=why, values=fresh)
        self._move(tx, document_id, old, DocumentState.QUEUED, why=why)

    @written
    def complete(self, document_id: int, arrival: Arrival) -> Job:
        """A document that was rejected once turned out to be readable on a retry: it gets its pages."""
        with self._database.write() as tx:
            row = tx.execute(
                update(documents)
                .where(documents.c.id == document_id)
                .values(
                    sha256=arrival.sha256,
                    fingerprint=arrival.fingerprint,
                    media_type=arrival.media_type or "",
                    size=arrival.size,
                    mtime_ns=arrival.mtime_ns,
                    pages=len(arrival.pages),
                )
                .returning(documents)
            ).one()
            self._insert_pages(tx, document_id, arrival.pages)
            return _job(row, len(arrival.pages))

    def _insert_pages(self, tx: Connection, document_id: int, numbers: Iterable[int]) -> None:
        rows = [
            {"document_id": document_id, "number": number, "state": PageState.PENDING} for number in numbers
        ]
        if rows:
            tx.execute(_ADD_PAGES, rows)

    def ids_read_otherwise(self, fingerprint_of: Callable[[bytes], str]) -> list[int]:
        """The finished current documents that were read with other settings than those of their path, oldest first."""
        with self._database.read() as tx:
            query = select(documents.c.id, documents.c.path, documents.c.fingerprint).where(
                documents.c.current,
                documents.c.state.in_((DocumentState.DONE, DocumentState.PARTIAL, DocumentState.FAILED)),
            )
            rows = tx.execute(query.order_by(documents.c.id))
            return [row.id for row in rows if row.fingerprint != fingerprint_of(row.path)]

    def ids_in_states(self, states: Sequence[DocumentState]) -> list[int]:
        """The current documents in these states, oldest first."""
        with self._database.read() as tx:
            query = select(documents.c.id).where(documents.c.state.in_(states), documents.c.current)
            return list(tx.execute(query.order_by(documents.c.id)).scalars())

    def ended_as(self, document_id: int) -> tuple[DocumentState, str] | None:
        """State and reason code of a document that is finished and current; None for any other."""
        with self._database.read() as tx:
            query = select(documents.c.state, documents.c.reason_code).where(
                documents.c.id == document_id, documents.c.current, documents.c.state.in_(FINAL_DOCUMENTS)
            )
            row = tx.execute(query).one_or_none()
        return None if row is None else (DocumentState(row.state), row.reason_code)

    def find(self, document_id: int) -> Job | None:
        """One document by its number."""
        return self._one(_ONE, document=document_id)

    def find_current(self, document_id: int) -> Job | None:
        """One document by its number, as it is known now; None if a newer revision took its place."""
        return self._one(_ONE_CURRENT, document=document_id)

    def find_path(self, path: bytes) -> Job | None:
        """The current document of a path."""
        return self._one(_CURRENT_AT, there=path)

    def _one(self, query: Select[Any], **wanted: object) -> Job | None:
        with self._database.read() as tx:
            row = tx.execute(query, wanted).one_or_none()
        return None if row is None else _job(row)

    def known_files(self, inbox: str) -> Iterator[tuple[bytes, int, int]]:
        """Path, size and modification time of every current document of an inbox, as it was taken in."""
        with self._database.read() as tx:
            query = select(documents.c.path, documents.c.size, documents.c.mtime_ns, documents.c.reason_code)
            for row in tx.execute(query.where(documents.c.current, documents.c.inbox == inbox)):
                if row.reason_code not in NOT_THERE:
                    yield row.path, row.size, row.mtime_ns

    def counts(self) -> dict[str, dict[str, int]]:
        """`document` and `page` by state: as the triggers keep them."""
        found: dict[str, dict[str, int]] = {"document": {}, "page": {}}
        with self._database.read() as tx:
            for row in tx.execute(select(counts.c.kind, counts.c.value, counts.c.n)):
                found.setdefault(row.kind, {})[row.value] = row.n
        return found

    def unfinished(self) -> int:
        """How many documents are queued or running."""
        with self._database.read() as tx:
            states = (DocumentState.QUEUED, DocumentState.RUNNING)
            query = select(func.coalesce(func.sum(counts.c.n), 0))
            return int(
                tx.execute(query.where(counts.c.kind == "document", counts.c.value.in_(states))).scalar_one()
            )

    def _state(self, tx: Connection, document_id: int) -> DocumentState:
        return DocumentState(
            tx.execute(select(documents.c.state).where(documents.c.id == document_id)).scalar_one()
        )

    def _move(
        self,
        tx: Connection,
        document_id: int,
        old: DocumentState,
        new: DocumentState,
        *,
        code: ReasonCode | str = "",
        reason: str = "",
        why: str = "",
    ) -> None:
        check_document_move(old, new)
        now = self._now()
        values: dict[str, Any] = {"state": new, "reason_code": code, "reason": reason}
        if new in FINAL_DOCUMENTS:
            values |= {"finished_at": now, "overwrite": False, "reread": False}
        else:
            values |= {"started_at": None, "finished_at": None}
        move = _END if new in FINAL_DOCUMENTS else _MOVE
        moved = tx.execute(move, {"document": document_id, "old": old, **values})
        moves.expect_one(moved, f"document {document_id}: {old} → {new}")
        moves.record_document(tx, now, document_id, old, new, why or reason)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _is_same(current: Row[Any], arrival: Arrival) -> bool:
    if current.sha256 and arrival.sha256:
        return bool(current.sha256 == arrival.sha256)
    return (current.size, current.mtime_ns) == (arrival.size, arrival.mtime_ns)


def _job(row: Row[Any], open_pages: int = 0) -> Job:
    return Job(
        id=row.id,
        inbox=row.inbox,
        path=row.path,
        name=row.name,
        sha256=row.sha256,
        media_type=MediaType(row.media_type) if row.media_type else MediaType.PDF,
        size=row.size,
        mtime_ns=row.mtime_ns,
        pages=row.pages,
        open_pages=open_pages,
        overwrite=row.overwrite,
    )
