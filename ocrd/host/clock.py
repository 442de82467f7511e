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


LEAST_SLEEP_S = 10.0
"""Less is a machine under load, or a clock that is set right."""


def slept_s(wall_s: float, boot_s: float, monotonic_s: float) -> float:
    """For how long the machine slept, from what three clocks went on by; 0 if it did not.

    CLOCK_BOOTTIME goes on while Linux sleeps and CLOCK_MONOTONIC does not (clock_gettime(2)). When Windows stops the
    machine of WSL2, both stand still, and only the wall clock is set right afterwards (microsoft/WSL #8204).
    """
    asleep = max(boot_s, wall_s) - monotonic_s
    return asleep if asleep >= LEAST_SLEEP_S else 0.0


class SleepWatch:
    """Tells when the machine has slept: asked now and then, from one thread."""

    def __init__(self) -> None:
        self._last = _clocks()

    def slept_s(self) -> float:
        """For how long the machine slept since the last question; 0 if it did not."""
        before, self._last = self._last, _clocks()
        wall, boot, monotonic = (now - then for now, then in zip(self._last, before, strict=True))
        return slept_s(wall, boot, monotonic)


def _clocks() -> tuple[float, float, float]:
    return time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
