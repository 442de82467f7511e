"""Which files beside the inputs are ours: a path and the checksum of what we wrote there.

A checksum is recorded as planned before the file gets its name, and as written after, so that a daemon that
was killed between the two still knows the file for its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from ocrd.domain.ports import Clock
from ocrd.store.engine import Database, written
from ocrd.store.tables import outputs

# Made once: SQLAlchemy takes longer to put them together than SQLite to run them.
_CHECKSUMS = select(outputs.c.sha256, outputs.c.planned_sha256).where(outputs.c.path == bindparam("there"))
_NEW = insert(outputs)
_PLAN = _NEW.on_conflict_do_update(
    index_elements=["path"],
    set_={name: _NEW.excluded[name] for name in ("document_id", "format", "planned_sha256")},
)
_PLAN_OVER_OURS = _NEW.on_conflict_do_update(
    index_elements=["path"],
    set_={name: _NEW.excluded[name] for name in ("document_id", "format", "planned_sha256", "sha256")},
)


@dataclass(frozen=True, slots=True)
class Planned:
    """An output that is about to get its name."""

    path: bytes
    format: str
    sha256: str
    standing: str = ""
    """Checksum of the file of ours that stands there now, if one does: it stays known until the new one does."""


class OutputStore:
    """Every statement about outputs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def checksums(self, path: bytes) -> frozenset[str]:
        """What we may have written at a path; empty if the path was never ours."""
        with self._database.read() as tx:
            row = tx.execute(_CHECKSUMS, {"there": path}).one_or_none()
        return frozenset(row) - {""} if row is not None else frozenset()

    @written
    def plan(self, document_id: int, planned: Sequence[Planned]) -> None:
        """Record what is about to be published; what stood there before stays known until it is."""
        with self._database.write() as tx:
            for output in planned:
                row = {
                    "path": output.path,
                    "document_id": document_id,
                    "format": output.format,
                    "sha256": output.standing,
                    "planned_sha256": output.sha256,
                    "written_at": self._clock.now().timestamp(),
                }
                tx.execute(_PLAN_OVER_OURS if output.standing else _PLAN, row)

    @written
    def withdraw(self, path: bytes) -> None:
        """A planned file did not get its name: what stands there now is somebody else's."""
        with self._database.write() as tx:
            tx.execute(delete(outputs).where(outputs.c.path == path, outputs.c.sha256 == ""))
            tx.execute(update(outputs).where(outputs.c.path == path).values(planned_sha256=""))

    @written
    def forget(self, path: bytes) -> None:
        """A file of ours was removed."""
        with self._database.write() as tx:
            tx.execute(delete(outputs).where(outputs.c.path == path))

    def is_ours(self, path: bytes) -> bool:
        """Whether we ever wrote at this path, so that it is not taken for an input."""
        return bool(self.checksums(path))
