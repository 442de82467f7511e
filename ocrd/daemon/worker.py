"""The worker: joins the store and the stages, from a queued document to the text beside its input.

Two kinds of threads. Feeders claim pages and render them, a bounded number ahead of the engine. Readers, one a
slot of the engine, take rendered pages, have them read, judge the answer and store it. Whoever settles the last
page of a document finishes it. All that they share stands behind one condition.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from dataclasses import dataclass, field
from threading import Condition, Event, Lock, Thread
from time import monotonic

from structlog.contextvars import bound_contextvars

from ocrd.daemon.admission import Admission
from ocrd.daemon.finisher import Ending, Finisher, source_problem
from ocrd.domain import quality, retry
from ocrd.domain.documents import FileIdentity, PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, SourceChanged
from ocrd.domain.jobs import PageState, Verdict
from ocrd.domain.ports import Recognizer
from ocrd.domain.scheduling import pages_to_render
from ocrd.host import files
from ocrd.host.commands import ChildStopped
from ocrd.pipeline import writer
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.store.documents import DocumentStore, Job
from ocrd.store.pages import Attempt, Claimed, PageStore
from ocrd.telemetry.logs import get_logger

log = get_logger()

_IDLE_WAIT_S = 5.0


@dataclass(eq=False, slots=True)
class OpenDocument:
    """A document that is being worked on. Changed only behind the worker's condition."""

    job: Job
    identity: FileIdentity | None
    started: float
    unfinished: int
    in_hand: int = 0
    exhausted: bool = False
    ending: tuple[ReasonCode, str] | None = None
    finishing: bool = False


@dataclass(slots=True)
class RenderedPage:
    """A page that waits for a slot of the engine."""

    document: OpenDocument
    image: PageImage


@dataclass(slots=True)
class Outage:
    """Why the queue rests, and until when (monotonic)."""

    reason: str
    strikes: int
    until: float


@dataclass(slots=True)
class Shared:
    """What feeders and readers share, behind `Worker._changed`."""

    open: dict[int, OpenDocument] = field(default_factory=dict)
    ready: deque[RenderedPage] = field(default_factory=deque)
    rendering: int = 0
    reading: int = 0
    paused: bool = False
    stopping: bool = False
    outage: Outage | None = None
    news: int = 0
    """Counts what may have made work available, so that no feeder sleeps through it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Everything the worker joins."""

    documents: DocumentStore
    pages: PageStore
    finisher: Finisher
    admission: Admission
    rasterizer: Rasterizer
    recognizer: Recognizer
    request: Request
    folder: str
    """Where rendered pages lie until they are read; emptied at the start."""
    window: int
    feeders: int


class Worker:
    """Runs until `stop`. A thread that dies is reported by `dead_thread`; the supervisor then ends the daemon."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._shared = Shared()
        self._changed = Condition()
        self._claiming = Lock()
        self._abort = Event()
        feeders = [Thread(target=self._feed, name=f"feeder-{n}", daemon=True) for n in range(parts.feeders)]
        readers = [
            Thread(target=self._read, name=f"reader-{n}", daemon=True) for n in range(parts.recognizer.slots)
        ]
        self._threads = [*feeders, *readers]

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Queue again what a killed daemon had in hand, clean up behind it, and begin."""
        for job in self._parts.documents.recover():
            writer.sweep(job.path, job.id)
            log.info("document_recovered", document=job.id, file=job.name)
        shutil.rmtree(self._parts.folder, ignore_errors=True)
        os.makedirs(self._parts.folder, mode=0o700)
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Let the pages in hand finish for so long, then give them back. Every document left is queued again."""
        deadline = monotonic() + timeout_s
        with self._changed:
            self._shared.stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._shared.reading, timeout=timeout_s)
        self._abort.set()
        for thread in self._threads:
            thread.join(max(deadline + 10 - monotonic(), 0.1))
        for document in list(self._shared.open.values()):
            self._parts.documents.release(document.job.id)
        shutil.rmtree(self._parts.folder, ignore_errors=True)

    @property
    def dead_thread(self) -> str | None:
        """The name of a thread that ended although nobody stopped it."""
        if self._shared.stopping:
            return None
        return next((thread.name for thread in self._threads if not thread.is_alive()), None)

    @property
    def outage(self) -> Outage | None:
        """Why the queue rests, if it does."""
        return self._shared.outage

    @property
    def reading(self) -> int:
        """Pages in the engine's hands."""
        return self._shared.reading

    def notify(self) -> None:
        """There may be work: a document was queued, the queue was resumed."""
        with self._changed:
            self._shared.news += 1
            self._changed.notify_all()

    def pause(self, *, paused: bool) -> None:
        """Begin no further page, or go on. Pages in hand are finished."""
        with self._changed:
            self._shared.paused = paused
        self.notify()

    def end(self, document_id: int, code: ReasonCode, reason: str) -> bool:
        """Cancel a document that is being worked on; whether it was."""
        with self._changed:
            document = self._shared.open.get(document_id)
            if document is None:
                return False
            document.ending = document.ending or (code, reason)
        self._finish_if_settled(document)
        return True

    # --- feeding --------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._shared.stopping or self._room() > 0, timeout=_IDLE_WAIT_S
                )
                if self._shared.stopping:
                    return
                room = self._room()
                self._shared.rendering += room
                news = self._shared.news
            claimed = 0
            try:
                window = self._next_window(room) if room else None
                claimed = len(window[1]) if window else 0
            finally:
                self._adjust(rendering=claimed - room)
            if window:
                self._render_window(*window)
            elif room:
                self._wait_for_news(news)

    def _room(self) -> int:
        shared = self._shared
        if shared.paused or (shared.outage is not None and monotonic() < shared.outage.until):
            return 0
        waiting = len(shared.ready) + shared.rendering
        return pages_to_render(waiting=waiting, slots=self._parts.recognizer.slots, window=self._parts.window)

    def _adjust(self, *, rendering: int = 0, reading: int = 0) -> None:
        with self._changed:
            self._shared.rendering += rendering
            self._shared.reading += reading
            self._changed.notify_all()

    def _wait_for_news(self, seen: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._shared.stopping or self._shared.news != seen, timeout=_IDLE_WAIT_S
            )

    def _next_window(self, room: int) -> tuple[OpenDocument, list[Claimed]] | None:
        """The next pages of the oldest open document that has any, else of a newly claimed one."""
        with self._claiming:
            while True:
                document = self._document_with_pages() or self._open_next()
                if document is None:
                    return None
                claimed = self._parts.pages.claim(document.job.id, room)
                with self._changed:
                    document.exhausted = len(claimed) < room
                    document.in_hand += len(claimed)
                if claimed:
                    return document, claimed

    def _document_with_pages(self) -> OpenDocument | None:
        with self._changed:
            return next(
                (one for one in self._shared.open.values() if not one.exhausted and one.ending is None), None
            )

    def _open_next(self) -> OpenDocument | None:
        """Claim documents until one has pages to read; those without are finished on the way."""
        while (job := self._parts.documents.claim()) is not None:
            with bound_contextvars(document=job.id, file=job.name):
                document = self._open(job)
            if document is not None:
                return document
        return None

    def _open(self, job: Job) -> OpenDocument | None:
        document = OpenDocument(job, files.stat_regular(job.path), monotonic(), job.open_pages)
        with self._changed:
            self._shared.open[job.id] = document
        if document.identity is not None and job.pages == 0:
            self._admit_again(document)
        else:
            document.ending = source_problem(job)
        self._finish_if_settled(document)
        return None if document.finishing else document

    def _admit_again(self, document: OpenDocument) -> None:
        """A document without pages was rejected, or the daemon died while it was: look into it again."""
        job = document.job
        try:
            arrival = self._parts.admission.admit(job.inbox, job.path)
        except SourceChanged as err:
            document.ending = (err.code, str(err))
            return
        if arrival is None:
            document.ending = (ReasonCode.SUPERSEDED, "the file is no document any more")
        elif arrival.rejected is not None:
            document.finishing = True
            self._closed(document, self._parts.finisher.reject(job.id, job.path, *arrival.rejected))
        else:
            document.job = self._parts.documents.complete(job.id, arrival)
            document.unfinished = arrival.pages

    def _render_window(self, document: OpenDocument, claimed: list[Claimed]) -> None:
        """Render claimed pages and line them up; each one ends up ready, landed or given back."""
        job = document.job
        with bound_contextvars(document=job.id, file=job.name):
            usable = self._fail_worn_out(document, claimed)
            careful = any(page.claims > retry.CAREFUL_CLAIMS for page in usable)
            numbers = [page.number for page in usable]
            windows = [[number] for number in numbers] if careful else [numbers]
            for window in windows:
                if window:
                    self._render(document, window)

    def _fail_worn_out(self, document: OpenDocument, claimed: list[Claimed]) -> list[Claimed]:
        """Pages that were in hand at too many deaths of the daemon are not touched again."""
        usable = [page for page in claimed if page.claims <= retry.MAX_CLAIMS]
        for page in claimed:
            if page.claims > retry.MAX_CLAIMS:
                reason = f"ocrd died {page.claims - 1} times with this page in hand; it may be the cause"
                self._adjust(rendering=-1)
                self._land_fault(document, page.number, PageFault(ReasonCode.CLAIMED_TOO_OFTEN, reason), 0.0)
        return usable

    def _render(self, document: OpenDocument, numbers: list[int]) -> None:
        job, identity = document.job, document.identity
        assert identity is not None, "a document whose file is gone is ended, not rendered"
        began = monotonic()
        try:
            rendered = self._parts.rasterizer.render(
                job.path,
                identity,
                job.media_type,
                numbers,
                folder=self._parts.folder,
                stop=self._abort,
            )
        except SourceChanged as err:
            self._give_back(document, numbers, rendering=True)
            self.end(job.id, err.code, str(err))
            return
        except ChildStopped:
            self._give_back(document, numbers, rendering=True)
            return
        except ServerFault as err:
            self._note_outage(str(err))
            self._give_back(document, numbers, rendering=True)
            return
        each_s = (monotonic() - began) / len(numbers)
        for number in numbers:
            self._line_up(document, number, rendered[number], each_s)

    def _line_up(
        self, document: OpenDocument, number: int, page: PageImage | PageFault, seconds: float
    ) -> None:
        if isinstance(page, PageFault):
            self._adjust(rendering=-1)
            self._land_fault(document, number, page, seconds, engine="rasterizer")
        elif quality.is_blank(page):
            self._adjust(rendering=-1)
            _remove(page.path)
            attempt = Attempt(
                engine="none", seconds=seconds, verdict=Verdict.BLANK, reason="no ink on the page"
            )
            self._land(document, number, PageState.BLANK, attempt)
        else:
            with self._changed:
                self._shared.rendering -= 1
                self._shared.ready.append(RenderedPage(document, page))
                self._changed.notify_all()

    # --- reading --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while (rendered := self._next_ready()) is not None:
            job = rendered.document.job
            try:
                with bound_contextvars(document=job.id, file=job.name, page=rendered.image.number):
                    self._read_page(rendered)
            finally:
                self._adjust(reading=-1)

    def _next_ready(self) -> RenderedPage | None:
        with self._changed:
            self._changed.wait_for(lambda: self._shared.stopping or self._may_read())
            if self._shared.stopping:
                self._drop_ready()
                return None
            self._shared.reading += 1
            return self._shared.ready.popleft()

    def _may_read(self) -> bool:
        return bool(self._shared.ready) and not self._shared.paused

    def _drop_ready(self) -> None:
        """On a stop: rendered pages go back to the queue, together with their documents (see `stop`)."""
        self._shared.ready.clear()

    def _read_page(self, rendered: RenderedPage) -> None:
        document, image = rendered.document, rendered.image
        if document.ending is not None:
            _remove(image.path)
            self._give_back(document, [image.number])
            return
        began = monotonic()
        try:
            recognition = self._recognize(image)
        except PageFault as fault:
            self._after_fault(rendered, fault, monotonic() - began)
        except ServerFault as err:
            _remove(image.path)
            self._note_outage(str(err))
            self._give_back(document, [image.number])
        except ChildStopped:
            _remove(image.path)
            self._give_back(document, [image.number])
        else:
            _remove(image.path)
            self._land_recognition(document, image, recognition)

    def _recognize(self, image: PageImage) -> Recognition:
        try:
            return self._parts.recognizer.recognize(image, self._parts.request, self._abort)
        except (PageFault, ServerFault, ChildStopped):
            raise
        except Exception as err:  # a plug-in engine may raise anything; one page must not end the daemon
            log.exception("engine_failed")
            raise PageFault(
                ReasonCode.ENGINE_FAILED, f"the engine failed: {type(err).__name__}: {err}", transient=True
            ) from err

    def _after_fault(self, rendered: RenderedPage, fault: PageFault, seconds: float) -> None:
        """Try again or give up, as the ladder says."""
        document, image = rendered.document, rendered.image
        strikes = 1 + self._parts.pages.strikes(document.job.id, image.number, fault)
        if retry.next_step(fault, strikes) is retry.Step.GIVE_UP:
            _remove(image.path)
            self._land_fault(document, image.number, fault, seconds)
            return
        log.warning("page_again", reason_code=fault.code, reason=str(fault), strikes=strikes)
        attempt = _fault_attempt(fault, seconds, self._engine_name)
        self._parts.pages.note_attempt(document.job.id, image.number, attempt)
        with self._changed:
            self._shared.ready.appendleft(rendered)
            self._changed.notify_all()

    @property
    def _engine_name(self) -> str:
        return type(self._parts.recognizer).__name__.removesuffix("Recognizer").lower()

    def _land_recognition(self, document: OpenDocument, image: PageImage, recognition: Recognition) -> None:
        judgement = quality.judge(image, recognition)
        state = PageState.BLANK if judgement.verdict is Verdict.BLANK else PageState.DONE
        attempt = Attempt(
            engine=recognition.engine,
            seconds=recognition.seconds,
            verdict=judgement.verdict,
            reason_code=ReasonCode.NO_TEXT_FOUND if not recognition.text.strip() else "",
            reason=judgement.reason,
            recognition=recognition,
        )
        self._shared.outage = None
        self._land(document, image.number, state, attempt)

    def _land_fault(
        self, document: OpenDocument, number: int, fault: PageFault, seconds: float, engine: str = ""
    ) -> None:
        attempt = _fault_attempt(fault, seconds, engine or self._engine_name)
        self._land(document, number, PageState.FAILED, attempt)

    def _land(self, document: OpenDocument, number: int, state: PageState, attempt: Attempt) -> None:
        """Store a settled page, log its one line, and finish the document if it was the last."""
        self._parts.pages.land(document.job.id, number, state, attempt)
        log.info(
            "page_settled",
            page=number,
            state=state,
            verdict=attempt.verdict,
            engine=attempt.engine,
            seconds=round(attempt.seconds, 3),
            reason_code=attempt.reason_code or None,
            reason=attempt.reason or None,
        )
        with self._changed:
            document.unfinished -= 1
            document.in_hand -= 1
        self._finish_if_settled(document)

    def _give_back(self, document: OpenDocument, numbers: list[int], *, rendering: bool = False) -> None:
        self._parts.pages.give_back(document.job.id, numbers)
        with self._changed:
            document.in_hand -= len(numbers)
            document.exhausted = False
            if rendering:
                self._shared.rendering -= len(numbers)
            self._shared.news += 1
            self._changed.notify_all()
        self._finish_if_settled(document)

    def _note_outage(self, reason: str) -> None:
        """The engine or the disk is out of order: rest, longer each time it happens again."""
        with self._changed:
            last = self._shared.outage
            if last is not None and monotonic() < last.until:
                return
            strikes = 1 if last is None else last.strikes + 1
            pause_s = retry.outage_pause_s(strikes)
            self._shared.outage = Outage(reason, strikes, monotonic() + pause_s)
        log.error("queue_rests", reason=reason, strikes=strikes, seconds=pause_s)

    # --- finishing ------------------------------------------------------------------------------------------

    def _finish_if_settled(self, document: OpenDocument) -> None:
        with self._changed:
            settled = document.in_hand == 0 and (document.unfinished == 0 or document.ending is not None)
            if not settled or document.finishing or (self._shared.stopping and document.unfinished):
                return
            document.finishing = True
        with bound_contextvars(document=document.job.id, file=document.job.name):
            self._finish(document)

    def _finish(self, document: OpenDocument) -> None:
        try:
            if document.ending is not None:
                ending = self._parts.finisher.cancel(document.job, *document.ending)
            else:
                ending = self._parts.finisher.finish(document.job)
        except ServerFault as err:
            self._note_outage(str(err))
            self._parts.documents.release(document.job.id)
            self._forget(document)
        else:
            self._closed(document, ending)

    def _closed(self, document: OpenDocument, ending: Ending) -> None:
        """Log the one line of a document that was ended."""
        log.info(
            "document_finished",
            state=ending.state,
            pages=document.job.pages,
            seconds=round(monotonic() - document.started, 3),
            reason_code=ending.code or None,
            reason=ending.reason or None,
        )
        self._forget(document)

    def _forget(self, document: OpenDocument) -> None:
        with self._changed:
            self._shared.open.pop(document.job.id, None)
        self.notify()


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # the work folder is emptied at the next start
        os.unlink(path)


def _fault_attempt(fault: PageFault, seconds: float, engine: str) -> Attempt:
    return Attempt(
        engine=engine, seconds=seconds, verdict=Verdict.FAULT, reason_code=fault.code, reason=str(fault)
    )
