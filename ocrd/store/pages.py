"""Pages in the store: claimed for work, their attempts and results landed, read back in order."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, literal, select, update

from ocrd.domain.documents import PageText, Raster, Recognition
from ocrd.domain.jobs import FINAL_PAGES, PageState, Verdict
from ocrd.domain.ports import Clock
from ocrd.store import moves
from ocrd.store.engine import Database, written
from ocrd.store.tables import attempts, counts, pages, results

_READ_BATCH = 32

# Made once: SQLAlchemy takes longer to put them together than SQLite to run them.
_FREE = {
    state: select(pages.c.id)
    .where(
        pages.c.document_id == bindparam("document"),
        pages.c.state == literal(state, literal_execute=True),
    )
    .order_by(pages.c.number)
    .limit(bindparam("limit"))
    for state in (PageState.PENDING, PageState.PARKED)
}
_TAKE = (
    update(pages)
    .where(pages.c.id.in_(bindparam("ids", expanding=True)), pages.c.state == bindparam("old"))
    .values(state=PageState.RUNNING, claims=pages.c.claims + 1)
    .returning(pages.c.number, pages.c.claims, pages.c.attempts)
)
_PARKED = select(pages.c.number).where(
    pages.c.document_id == bindparam("document"),
    pages.c.state == literal(PageState.PARKED, literal_execute=True),
)
_FAILURES = (
    select(pages.c.number, pages.c.reason_code, pages.c.reason)
    .where(pages.c.document_id == bindparam("document"), pages.c.state == PageState.FAILED)
    .order_by(pages.c.number)
)
_KEEP = insert(results).returning(results.c.id)
_COUNT_ATTEMPT = (
    update(pages)
    .where(pages.c.document_id == bindparam("document"), pages.c.number == bindparam("page"))
    .values(attempts=pages.c.attempts + 1)
    .returning(pages.c.id, pages.c.attempts)
)
_ADD_ATTEMPT = insert(attempts)
_READ = (
    select(
        pages.c.number,
        pages.c.state,
        pages.c.verdict,
        pages.c.reason_code,
        pages.c.reason,
        results.c.body,
    )
    .select_from(pages.outerjoin(results, results.c.id == pages.c.result_id))
    .where(pages.c.document_id == bindparam("document"), pages.c.number > bindparam("after"))
    .order_by(pages.c.number)
    .limit(_READ_BATCH)
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A page in hand; `claims` counts this claim too, `attempts` the tries before it."""

    document_id: int
    number: int
    claims: int
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a page: what came of it, with the recognition if there was one. `rung` is its place on the ladder,
    '' if the same rung was tried again."""

    engine: str
    seconds: float
    verdict: Verdict
    rung: str = ""
    cause: str = ""
    reason_code: str = ""
    reason: str = ""
    recognition: Recognition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTry:
    """A try of a page that is not settled yet, as the store has it."""

    attempt: Attempt
    result_id: int | None


class PageStore:
    """Every statement about pages. All methods are one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @written
    def claim(self, document_id: int, limit: int, *, parked: bool = False) -> list[Claimed]:
        """Take the next pending (or parked) pages of a document in hand, counted before anything is done with them."""
        state = PageState.PARKED if parked else PageState.PENDING
        with self._database.write() as tx:
            found = {"document": document_id, "limit": limit}
            ids = tx.execute(_FREE[state], found).scalars().all()
            rows = tx.execute(_TAKE, {"ids": ids, "old": state}).all()
            moves.record_claims(tx, self._now(), document_id, state, [row.number for row in rows])
        return sorted(
            (Claimed(document_id, row.number, row.claims, row.attempts) for row in rows),
            key=lambda claimed: claimed.number,
        )

    @written
    def park(self, document_id: int, number: int, why: str) -> bool:
        """A page in hand waits for the fallback model; the claim does not count. False if it was taken out of our
        hands (cancelled) meanwhile."""
        with self._database.write() as tx:
            moved = moves.move_pages(
                tx,
                self._now(),
                document_id,
                PageState.RUNNING,
                PageState.PARKED,
                why=storable(why),
                numbers=[number],
                values={"claims": pages.c.claims - 1},
            )
            return moved == 1

    def parked(self, document_id: int) -> list[int]:
        """The numbers of the document's parked pages."""
        with self._database.read() as tx:
            return sorted(tx.execute(_PARKED, {"document": document_id}).scalars())

    def history(self, document_id: int, number: int) -> list[StoredTry]:
        """What was tried on a page since it was queued (or queued again), in order, with what each rung gave."""
        query = (
            select(attempts, results.c.body)
            .select_from(
                pages.join(attempts, attempts.c.page_id == pages.c.id).outerjoin(
                    results, results.c.id == attempts.c.result_id
                )
            )
            .where(
                pages.c.document_id == document_id,
                pages.c.number == number,
                attempts.c.number > pages.c.ladder_from,
                attempts.c.rung != "",
            )
            .order_by(attempts.c.number)
        )
        with self._database.read() as tx:
            rows = tx.execute(query).all()
        return [
            StoredTry(
                attempt=Attempt(
                    engine=row.engine,
                    seconds=row.seconds,
                    verdict=Verdict(row.verdict),
                    rung=row.rung,
                    cause=row.cause,
                    reason_code=row.reason_code,
                    reason=row.reason,
                    recognition=None if row.body is None else decode_result(row.body),
                ),
                result_id=row.result_id,
            )
            for row in rows
        ]

    @written
    def give_back(self, document_id: int, numbers: Sequence[int]) -> None:
        """Pages that were claimed and not done, for no fault of theirs: the claim does not count."""
        with self._database.write() as tx:
            moves.move_pages(
                tx,
                self._now(),
                document_id,
                PageState.RUNNING,
                PageState.PENDING,
                why="given back",
                numbers=numbers,
                values={"claims": pages.c.claims - 1},
            )

    @written
    def note_attempt(self, document_id: int, number: int, attempt: Attempt) -> int | None:
        """Store a try that does not settle the page; the number of its result, if it has one."""
        with self._database.write() as tx:
            return self._add_attempt(tx, document_id, number, attempt)

    @written
    def land(
        self, document_id: int, number: int, state: PageState, attempt: Attempt, *, stored: int | None = None
    ) -> bool:
        """Store a page's last try and its final state at once. False if the page was taken out of our hands
        (cancelled) meanwhile; the try is kept all the same. `stored` names the result of an earlier try that was
        the best: then `attempt` only says what to think of it."""
        with self._database.write() as tx:
            result_id = stored if stored is not None else self._add_attempt(tx, document_id, number, attempt)
            moved = moves.move_pages(
                tx,
                self._now(),
                document_id,
                PageState.RUNNING,
                state,
                why=storable(attempt.reason) or attempt.verdict,
                numbers=[number],
                values={
                    "result_id": result_id,
                    "verdict": attempt.verdict if state is PageState.DONE else "",
                    "reason_code": attempt.reason_code,
                    "reason": storable(attempt.reason),
                },
            )
            return moved == 1

    def _add_attempt(self, tx: Connection, document_id: int, number: int, attempt: Attempt) -> int | None:
        result_id = None
        recognition = attempt.recognition
        if recognition is not None:
            body = zlib.compress(
                json.dumps(recognition.to_json(), ensure_ascii=False).encode("utf-8", "replace"), 1
            )
            result_id = tx.execute(_KEEP, {"body": body}).scalar_one()
        page_id, tries = tx.execute(_COUNT_ATTEMPT, {"document": document_id, "page": number}).one()
        details: dict[str, Any] = {}
        if recognition is not None:
            details = {
                "model_revision": recognition.model_revision,
                "prompt_mode": recognition.prompt_mode,
                "sampling": json.dumps(recognition.sampling),
                "dpi": recognition.dpi,
                "tokens": recognition.tokens,
            }
        tried = {
            "page_id": page_id,
            "number": tries,
            "engine": attempt.engine,
            "seconds": attempt.seconds,
            "rung": attempt.rung,
            "cause": attempt.cause,
            "verdict": attempt.verdict,
            "reason_code": attempt.reason_code,
            "reason": storable(attempt.reason),
            "ended_at": self._now(),
            "result_id": result_id,
        }
        tx.execute(_ADD_ATTEMPT, {**tried, **details})
        return result_id

    def transcript(self, document_id: int) -> Iterator[PageText]:
        """The pages from first to last, a batch in memory at a time."""
        last = 0
        while batch := self._read_batch(document_id, last):
            yield from batch
            if len(batch) < _READ_BATCH:
                return
            last = batch[-1].number

    def _read_batch(self, document_id: int, after: int) -> list[PageText]:
        with self._database.read() as tx:
            rows = tx.execute(_READ, {"document": document_id, "after": after}).all()
        return [_to_text(row) for row in rows]

    def progress(self) -> tuple[int, int]:
        """How many pages are settled, and how many there are."""
        with self._database.read() as tx:
            rows = tx.execute(select(counts.c.value, counts.c.n).where(counts.c.kind == "page")).all()
        known = {PageState(value): number for value, number in rows}
        return sum(number for state, number in known.items() if state in FINAL_PAGES), sum(known.values())

    def pending(self) -> int:
        """How many pages wait to be read for the first time."""
        query = select(counts.c.n).where(counts.c.kind == "page", counts.c.value == PageState.PENDING)
        with self._database.read() as tx:
            return int(tx.execute(query).scalar() or 0)

    def failures(self, document_id: int) -> list[tuple[int, str, str]]:
        """Number, code and reason of the pages without text."""
        with self._database.read() as tx:
            rows = tx.execute(_FAILURES, {"document": document_id})
            return [(row.number, row.reason_code, row.reason) for row in rows]

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _to_text(row: Any) -> PageText:
    """A page without text may have a result all the same: how large it was."""
    read = None if row.body is None else decode_result(row.body)
    is_done = row.state == PageState.DONE
    return PageText(
        number=row.number,
        recognition=read if is_done else None,
        raster=None if is_done or read is None else Raster.of(read),
        blank=row.state == PageState.BLANK,
        verdict=row.verdict,
        reason_code=row.reason_code,
        reason=row.reason,
    )


def storable(text: str) -> str:
    """A text of whatever origin as SQLite takes it: lone surrogates (bytes that were no UTF-8) become '?'."""
    return text.encode("utf-8", "replace").decode()


def decode_result(body: bytes) -> Recognition:
    """A stored result as it was."""
    return Recognition.from_json(json.loads(zlib.decompress(body)))
