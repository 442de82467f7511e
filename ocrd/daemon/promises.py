"""What the threads that work promise: to be done with this within so many seconds.

Every wait of the page work has a deadline of its own. A promise is what stands behind it: if one is broken, a thread
hangs in a way that nobody thought of, and the supervisor stops telling systemd that the daemon lives. Waiting for a
model to start promises nothing, so it may take as long as it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event, Lock

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.ports import Clock, Recognizer
from ocrd.host.clock import SystemClock

GRACE_S = 120.0


class Promises:
    """Thread-safe. A promise is broken `grace_s` after its time."""

    def __init__(self, *, grace_s: float = GRACE_S, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._lock = Lock()
        self._numbers = count()
        self._made: dict[int, tuple[str, float]] = {}

    @contextmanager
    def made(self, what: str, within_s: float) -> Iterator[None]:
        """Promise to leave this block within so many seconds."""
        number = next(self._numbers)
        with self._lock:
            self._made[number] = (what, self._clock.monotonic() + within_s + self._grace_s)
        try:
            yield
        finally:
            with self._lock:
                del self._made[number]

    def broken(self) -> tuple[str, ...]:
        """What should be over by now and is not."""
        now = self._clock.monotonic()
        with self._lock:
            return tuple(what for what, due in self._made.values() if due < now)


class PromisingRecognizer:
    """A recognizer that is held to the deadline it was given."""

    def __init__(self, inner: Recognizer, promises: Promises) -> None:
        self._inner = inner
        self._promises = promises

    @property
    def slots(self) -> int:
        """How many pages it reads at the same time."""
        return self._inner.slots

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        """Read a page. Raises what the recognizer raises."""
        # Once for the page, and once for a look at who is to blame that it was not read.
        with self._promises.made(f"reading page {page.number}", 2 * request.timeout_s):
            return self._inner.recognize(page, request, stop)

    def close(self) -> None:
        """End it."""
        self._inner.close()
