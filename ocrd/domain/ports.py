"""The seams: what the daemon needs of the world, as Protocols."""

from __future__ import annotations

from datetime import datetime
from threading import Event
from typing import Protocol

from ocrd.domain.documents import PageImage, Recognition, Request


class Recognizer(Protocol):
    """Reads one page. Thread-safe: called from up to `slots` threads at once."""

    @property
    def slots(self) -> int:
        """How many pages it reads at the same time."""

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        """Read the page. Raises PageFault (this page) or ServerFault (the engine), and nothing else."""

    def close(self) -> None:
        """Release processes and memory; pages in hand may fail with ServerFault."""


class Clock(Protocol):
    """Time, so that tests can own it. Durations and waiting never use the wall clock."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC: for records only."""

    def monotonic(self) -> float:
        """Seconds that never jump."""

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Wait until the event is set or the time is over; whether it was set."""
