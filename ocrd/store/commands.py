"""What the command line asks of the daemon, and what the daemon says of itself: both through the store."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from ocrd.domain.ports import Clock
from ocrd.store.engine import Database, written
from ocrd.store.tables import commands, daemon

_INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class Command:
    """A request: a verb and its arguments."""

    id: int
    verb: str
    arguments: dict[str, Any]


class CommandStore:
    """The mailbox, and the small facts about the daemon."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen = (-1, -1)

    @written
    def send(self, verb: str, arguments: dict[str, Any]) -> int:
        """Leave a request; its number."""
        with self._database.write() as tx:
            row = tx.execute(
                insert(commands)
                .values(verb=verb, arguments=json.dumps(arguments), created_at=self._now())
                .returning(commands.c.id)
            )
            return int(row.scalar_one())

    def may_be_waiting(self) -> bool:
        """Whether anything was written since the last question. A write within the clock tick of the last look is
        missed; the heartbeat's next write shows it."""
        now = self._database.state_of_file()
        before, self._seen = self._seen, now
        return now != before

    def waiting(self) -> list[Command]:
        """The requests that nobody answered yet, oldest first."""
        with self._database.read() as tx:
            rows = tx.execute(
                select(commands).where(literal_column("done_at IS NULL")).order_by(commands.c.id)
            ).all()
        return [Command(row.id, row.verb, json.loads(row.arguments)) for row in rows]

    @written
    def answer(self, command_id: int, answer: dict[str, Any]) -> None:
        """Mark a request as done, with what came of it."""
        with self._database.write() as tx:
            tx.execute(
                update(commands)
                .where(commands.c.id == command_id)
                .values(done_at=self._now(), answer=json.dumps(answer))
            )

    def answer_of(self, command_id: int) -> dict[str, Any] | None:
        """The answer, or None while there is none."""
        with self._database.read() as tx:
            row = tx.execute(
                select(commands.c.done_at, commands.c.answer).where(commands.c.id == command_id)
            ).one()
        answer: dict[str, Any] | None = json.loads(row.answer) if row.done_at is not None else None
        return answer

    @written
    def prune_answered(self, *, older_than_s: float) -> None:
        """Forget the requests that were answered so long ago."""
        with self._database.write() as tx:
            tx.execute(delete(commands).where(commands.c.done_at < self._now() - older_than_s))

    @written
    def set_fact(self, key: str, value: Any) -> None:
        """Say something about the daemon, as JSON."""
        text = json.dumps(value, ensure_ascii=False)
        statement = upsert(daemon).values(key=key, value=text, at=self._now())
        with self._database.write() as tx:
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["key"], set_={"value": text, "at": statement.excluded.at}
                )
            )

    def fact(self, key: str) -> Any:
        """What was said; None if nothing was."""
        with self._database.read() as tx:
            text = tx.execute(select(daemon.c.value).where(daemon.c.key == key)).scalar_one_or_none()
        return None if text is None else json.loads(text)

    def instance(self) -> str:
        """The name of this store among others, for as long as it lives."""
        known = self.fact(_INSTANCE)
        if known is None:
            known = uuid.uuid4().hex
            self.set_fact(_INSTANCE, known)
        return str(known)

    @written
    def drop_fact(self, key: str) -> None:
        """Take it back."""
        with self._database.write() as tx:
            tx.execute(delete(daemon).where(daemon.c.key == key))

    def _now(self) -> float:
        return self._clock.now().timestamp()
