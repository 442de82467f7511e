"""The real clock; tests own another one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from threading import Event


class SystemClock:
    """Implements `ocrd.domain.ports.Clock`."""

    def now(self) -> datetime:
        """The wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment; never jumps."""
        return time.monotonic()

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Wait for the event; whether it was set."""
        return event.wait(timeout_s)
