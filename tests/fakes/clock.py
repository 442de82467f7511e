"""A clock that moves only when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event


class FakeClock:
    """Implements `ocrd.domain.ports.Clock`; waiting takes no time, it moves the clock."""

    def __init__(self) -> None:
        self._start = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._passed_s = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        return self._passed_s

    def wait(self, event: Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed_s += seconds
