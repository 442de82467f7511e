"""The second reader: the embedded engine reads each page too, on the processor, while the model reads on the GPU.

It never slows the model down: a page for which no place is free at once is read without a witness.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace
from threading import BoundedSemaphore, Event

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ServerFault, Stopped
from ocrd.domain.ports import Recognizer
from ocrd.telemetry.logs import get_logger

log = get_logger()

_AHEAD = 2
"""Pages that may wait for the second reader, for each that it reads."""


class Witnesses:
    """Reads pages in threads of its own. Thread-safe."""

    def __init__(self, engine: Recognizer, request: Request) -> None:
        self._engine = engine
        self._request = request
        self._places = BoundedSemaphore(engine.slots * _AHEAD)
        self._pool = ThreadPoolExecutor(engine.slots, thread_name_prefix="witness")

    def call(self, page: PageImage, languages: tuple[str, ...] | None = None) -> Witness | None:
        """Have a page read, in the languages of its document if it has its own; None if too many wait already."""
        if not self._places.acquire(blocking=False):
            return None
        stop = Event()
        request = self._request if languages is None else replace(self._request, languages=languages)
        future = self._pool.submit(self._read, page, request, stop)
        future.add_done_callback(lambda _: self._places.release())
        return Witness(future, stop, self._request.timeout_s)

    def _read(self, page: PageImage, request: Request, stop: Event) -> Recognition | None:
        try:
            return self._engine.recognize(page, request, stop)
        except (PageFault, ServerFault, Stopped):
            return None
        except Exception:  # a witness that breaks must not end the daemon
            log.exception("witness_failed", page=page.number)
            return None

    def close(self) -> None:
        """Read no further page."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Witness:
    """A page in the second reader's hands."""

    def __init__(self, future: Future[Recognition | None], stop: Event, patience_s: float) -> None:
        self._future = future
        self._stop = stop
        self._patience_s = patience_s

    def reading(self) -> Recognition | None:
        """What it read; None if it could not, or not in time."""
        with contextlib.suppress(NotInTime):
            return self._future.result(self._patience_s)
        return None

    def dismiss(self) -> None:
        """Its page is about to be removed: it stops reading, and is waited for."""
        self._stop.set()
        if not self._future.cancel():
            with contextlib.suppress(NotInTime):
                self._future.exception(self._patience_s)
