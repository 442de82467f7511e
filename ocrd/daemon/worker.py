"""The worker: the threads that take a queued document to the text beside its input.

Feeders claim pages and render them, a bounded number ahead of the engine; readers, one a slot of the engine, have
them read. Whoever settles the last page of a document finishes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from ocrd.daemon.admission import Admission
from ocrd.daemon.climber import Climber
from ocrd.daemon.desk import Desk, Outage
from ocrd.daemon.engines import Engines
from ocrd.daemon.feeder import Feeder
from ocrd.daemon.finisher import Finisher
from ocrd.daemon.landing import Landing, OnPage
from ocrd.daemon.reader import Reader
from ocrd.domain.errors import ReasonCode, StoreFull
from ocrd.domain.swapping import Costs
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.store.documents import DocumentStore
from ocrd.store.pages import PageStore
from ocrd.telemetry.logs import get_logger

if TYPE_CHECKING:  # only with a model server of our own
    from ocrd.daemon.shifts import Shifts

log = get_logger()

_JOIN_S = 10.0
"""For a thread to notice that its page was aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """How far the worker goes."""

    server_wait_s: float
    costs: Costs
    window: int
    temp_bytes: int
    """What the images of pages that wait or are being read may take."""
    feeders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Everything the worker joins."""

    documents: DocumentStore
    pages: PageStore
    finisher: Finisher
    admission: Admission
    rasterizer: Rasterizer
    engines: Engines
    once: bool
    on_page: OnPage | None
    folder: str
    """Where rendered pages lie until they are read; emptied at the start."""
    limits: WorkerLimits


class Worker:
    """Runs until `stop`. A thread that dies is reported by `dead_thread`; the supervisor then ends the daemon."""

    def __init__(self, parts: WorkerParts) -> None:
        self._documents = parts.documents
        self._folder = parts.folder
        self._abort = Event()
        self._desk = Desk(
            slots=parts.engines.first.slots,
            window=parts.limits.window,
            budget=parts.limits.temp_bytes,
            largest_page=parts.rasterizer.policy.image_bytes,
        )
        self._finisher = parts.finisher
        self._landing = Landing(
            self._desk, parts.documents, parts.pages, parts.finisher, on_page=parts.on_page
        )
        self.shifts = self._make_shifts(parts)
        feeder = Feeder(
            self._desk,
            self._landing,
            documents=parts.documents,
            pages=parts.pages,
            admission=parts.admission,
            rasterizer=parts.rasterizer,
            engines=parts.engines,
            folder=parts.folder,
            abort=self._abort,
        )
        reader = Reader(
            self._desk,
            self._landing,
            pages=parts.pages,
            climber=Climber(parts.engines),
            server_wait_s=parts.limits.server_wait_s,
            abort=self._abort,
        )
        feeders = [self._thread(feeder.feed, f"feeder-{n}") for n in range(parts.limits.feeders)]
        # One more than slots: while one lands a page in the store, the slot it left reads the next.
        number = parts.engines.first.slots + 1
        readers = [self._thread(reader.read, f"reader-{n}") for n in range(number)]
        self._threads = [*feeders, *readers]

    def _thread(self, life: Callable[[], None], name: str) -> Thread:
        def live() -> None:
            try:
                life()
            except StoreFull as full:  # nobody waits for space any more; the next daemon does it again
                log.error("given_up", reason=str(full), next=full.hint)  # noqa: TRY400  # its trace says nothing

        return Thread(target=live, name=name, daemon=True)

    def _make_shifts(self, parts: WorkerParts) -> Shifts | None:
        """Who lets two models take turns, where there are two."""
        managed = parts.engines.managed
        if managed is None or managed.fallback is None:
            return None
        from ocrd.daemon.shifts import Shifts

        return Shifts(
            self._desk,
            managed.server,
            main=managed.main.model,
            fallback=managed.fallback,
            costs=parts.limits.costs,
            pending=parts.pages.pending,
            once=parts.once,
        )

    def start(self) -> None:
        """Queue again what a killed daemon had in hand, clean up behind it, and begin."""
        for job in self._documents.recover():
            self._finisher.sweep(job)
            log.info("document_recovered", document=job.id, file=job.name)
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder, mode=0o700)
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Let the pages in hand finish for so long, then give them back. Every document left is queued again."""
        self._desk.stop(timeout_s)
        self._abort.set()
        deadline = monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(deadline - monotonic(), 0.1))
        with contextlib.suppress(StoreFull):  # then `recover` does it at the next start
            for document in self._desk.documents():
                self._documents.release(document.job.id)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def dead_thread(self) -> str | None:
        """The name of a thread that ended although nobody stopped it."""
        if self._desk.stopping:
            return None
        return next((thread.name for thread in self._threads if not thread.is_alive()), None)

    @property
    def outage(self) -> Outage | None:
        """Why the queue rests, if it does."""
        return self._desk.outage

    @property
    def paused(self) -> bool:
        """Whether the user has stopped the queue."""
        return self._desk.paused

    @property
    def problem(self) -> str:
        """The same in words, or what else keeps pages from being begun; '' if nothing does."""
        return self._desk.problem

    def starve(self, problem: str) -> None:
        """Begin no page while there is this problem with the machine; '' when it is over."""
        self._desk.starve(problem)

    @property
    def reading(self) -> int:
        """Pages in the engine's hands."""
        return self._desk.reading

    @property
    def busy(self) -> bool:
        """Whether any page is in hand."""
        return self._desk.busy

    def wait_until_idle(self, timeout_s: float) -> None:
        """Wait until no page is in hand, or for so long."""
        self._desk.wait_until_idle(timeout_s)

    def notify(self) -> None:
        """There may be work."""
        self._desk.notify()

    def pause(self, *, paused: bool) -> None:
        """Begin no further page, or go on. Pages in hand are finished."""
        self._desk.pause(paused=paused)

    def end(self, document_id: int, code: ReasonCode, reason: str) -> bool:
        """Cancel a document that is being worked on; whether it was."""
        document = self._desk.find(document_id)
        if document is None:
            return False
        self._landing.end(document, code, reason)
        return True
