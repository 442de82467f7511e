"""The starts of the model server, as they were planned and as they went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, insert, select

from ocrd.domain.ports import Clock
from ocrd.store.engine import Database, written
from ocrd.store.tables import daemon, server_starts

_KEPT_S = 90 * 86400.0
_PINNED = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start. `failure` is empty if the server became ready; `details` holds plan, phases and measures."""

    model: str
    image_id: str
    spec: str
    started_at: float
    seconds: float
    failure: str
    message: str
    details: Mapping[str, Any]


class ServerStore:
    """Every statement about starts. All methods are one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @written
    def note_start(self, **start: Any) -> None:
        """Remember a start: the fields of `Start`."""
        values = {**start, "details": json.dumps(dict(start["details"]), ensure_ascii=False)}
        with self._database.write() as tx:
            oldest = self._clock.now().timestamp() - _KEPT_S
            tx.execute(delete(server_starts).where(server_starts.c.started_at < oldest))
            tx.execute(insert(server_starts).values(values))

    def last_start(self, model: str, image_id: str, *, good: bool | None = None) -> Start | None:
        """The newest start of a model from an image; with `good` the newest that became ready, or that did not."""
        query = select(server_starts).where(
            server_starts.c.model == model, server_starts.c.image_id == image_id
        )
        if good is not None:
            failed = server_starts.c.failure
            query = query.where(failed == "" if good else failed != "")
        return self._newest(query)

    def pinned_image(self) -> str | None:
        """The id of the image that was chosen; None if none was."""
        with self._database.read() as tx:
            value = tx.execute(select(daemon.c.value).where(daemon.c.key == _PINNED)).scalar_one_or_none()
        return None if value is None else str(json.loads(value))

    @written
    def pin_image(self, image_id: str) -> None:
        """Stay with this image, whatever its tags come to mean."""
        now = self._clock.now().timestamp()
        with self._database.write() as tx:
            tx.execute(delete(daemon).where(daemon.c.key == _PINNED))
            tx.execute(insert(daemon).values(key=_PINNED, value=json.dumps(image_id), at=now))

    def last_failure(self) -> Start | None:
        """The newest start that did not become ready."""
        return self._newest(select(server_starts).where(server_starts.c.failure != ""))

    def _newest(self, query: Select[Any]) -> Start | None:
        with self._database.read() as tx:
            row = tx.execute(query.order_by(server_starts.c.id.desc()).limit(1)).mappings().one_or_none()
        if row is None:
            return None
        fields = {key: value for key, value in row.items() if key not in {"id", "details"}}
        return Start(**fields, details=json.loads(row["details"]))
