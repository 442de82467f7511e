"""The feeder: claims documents and pages, has pages rendered, and lines them up for the engine."""

from __future__ import annotations

import contextlib
import os
from threading import Event, Lock
from time import monotonic

from ocrd.daemon.admission import Admission
from ocrd.daemon.desk import Desk, OpenDocument, RenderedPage
from ocrd.daemon.engines import Engines
from ocrd.daemon.landing import Landing, fault_attempt
from ocrd.domain import ink, retry
from ocrd.domain.documents import PageImage, Recognition
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, SourceChanged
from ocrd.domain.jobs import PageState, Verdict
from ocrd.domain.swapping import Side
from ocrd.host import files
from ocrd.host.commands import ChildStopped
from ocrd.pipeline.rasterizer import MAX_HUNG, Rasterizer, is_timeout, not_tried
from ocrd.store.documents import DocumentStore, Job
from ocrd.store.pages import Attempt, Claimed, PageStore
from ocrd.telemetry.lean import bound_contextvars
from ocrd.telemetry.logs import get_logger

log = get_logger()

NO_ENGINE = "none"
"""Reads the pages that are blank."""


class Feeder:
    """`feed` runs in several threads at once; claiming is one at a time."""

    def __init__(
        self,
        desk: Desk,
        landing: Landing,
        *,
        documents: DocumentStore,
        pages: PageStore,
        admission: Admission,
        rasterizer: Rasterizer,
        engines: Engines,
        folder: str,
        abort: Event,
    ) -> None:
        self._desk = desk
        self._landing = landing
        self._engines = engines
        self._documents = documents
        self._pages = pages
        self._admission = admission
        self._rasterizer = rasterizer
        self._folder = folder
        self._abort = abort
        self._claiming = Lock()

    def feed(self) -> None:
        """A thread's life, until the desk stops."""
        while (offer := self._desk.wait_for_room()) is not None:
            room, mark = offer
            if not room:
                continue
            window = self._next_window(room)
            self._desk.rendered(room - (len(window[1]) if window else 0))
            if window is None:
                self._desk.wait_for_news(mark)
            else:
                self._render_window(*window)

    # --- claiming -------------------------------------------------------------------------------------------

    def _next_window(self, room: int) -> tuple[OpenDocument, list[Claimed]] | None:
        """The next pages of the oldest open document that has any, else of a newly claimed one. Parked pages have
        their turn while the fallback model is there, or when there will be none."""
        with self._claiming:
            if self._desk.side is Side.FALLBACK or not self._engines.may_park:
                window = self._next_parked(room)
                if window is not None or self._desk.side is Side.FALLBACK:
                    return window
            while True:
                document = self._desk.oldest_with_pages() or self._open_next()
                if document is None:
                    return None
                claimed = self._pages.claim(document.job.id, room)
                self._desk.claimed(document, wanted=room, got=len(claimed))
                if claimed:
                    return document, claimed

    def _next_parked(self, room: int) -> tuple[OpenDocument, list[Claimed]] | None:
        while (document := self._desk.oldest_with_parked()) is not None:
            claimed = self._pages.claim(document.job.id, room, parked=True)
            self._desk.claimed_parked(document, [page.number for page in claimed])
            if claimed:
                return document, claimed
        return None

    def _open_next(self) -> OpenDocument | None:
        """Claim documents until one has pages to read; those without are finished on the way."""
        # Looked at before each: one that cannot be finished, on a full disk, is released and would be claimed again.
        while self._desk.may_begin and (job := self._documents.claim()) is not None:
            with bound_contextvars(document=job.id, file=job.name):
                document = self._open(job)
            if document is not None:
                return document
        return None

    def _open(self, job: Job) -> OpenDocument | None:
        document = OpenDocument(job, files.stat_regular(job.path), monotonic(), job.open_pages)
        document.languages = self._admission.languages_of(job.path)
        document.engine = self._admission.engine_of(job.path)
        document.parked.update(dict.fromkeys(self._pages.parked(job.id), monotonic()))
        self._desk.open(document)
        if document.identity is not None and job.pages == 0:
            self._admit_again(document)
        else:
            document.ending = self._landing.source_problem(document)
        if not document.finishing:
            self._landing.finish_if_settled(document)
        return None if document.finishing else document

    def _admit_again(self, document: OpenDocument) -> None:
        """A document without pages was rejected, or the daemon died while it was: look into it again."""
        job = document.job
        try:
            arrival = self._admission.admit(job.inbox, job.path)
        except SourceChanged as err:
            document.ending = (err.code, str(err))
            return
        if arrival is None:
            document.ending = (ReasonCode.SUPERSEDED, "the file is no document any more")
        elif arrival.rejected is not None:
            self._landing.reject(document, *arrival.rejected)
        else:
            document.job = self._documents.complete(job.id, arrival)
            document.unfinished = len(arrival.pages)

    # --- rendering ------------------------------------------------------------------------------------------

    def _render_window(self, document: OpenDocument, claimed: list[Claimed]) -> None:
        """Render claimed pages; each one ends up lined up, landed or given back."""
        with bound_contextvars(document=document.job.id, file=document.job.name):
            usable = self._without_hopeless(document, self._fail_worn_out(document, claimed))
            careful = any(page.claims > retry.CAREFUL_CLAIMS for page in usable)
            for window in [[page] for page in usable] if careful else [usable]:
                if window:
                    self._render(document, window)

    def _fail_worn_out(self, document: OpenDocument, claimed: list[Claimed]) -> list[Claimed]:
        """Pages that were in hand at too many deaths of the daemon are not touched again."""
        for page in claimed:
            if page.claims > retry.MAX_CLAIMS:
                reason = f"ocrd died {page.claims - 1} times with this page in hand; it may be the cause"
                self._fail(document, page.number, PageFault(ReasonCode.CLAIMED_TOO_OFTEN, reason), 0.0)
        return [page for page in claimed if page.claims <= retry.MAX_CLAIMS]

    def _without_hopeless(self, document: OpenDocument, claimed: list[Claimed]) -> list[Claimed]:
        """Pages of a document that only hangs, or takes for ever, are failed; `ocrd retry` tries them again."""
        limit_s = self._rasterizer.policy.document_timeout_s
        overdue = document.worked_s > limit_s
        if document.hung < MAX_HUNG and not overdue:
            return claimed
        for page in claimed:
            fault = _too_late(page.number, limit_s) if overdue else not_tried(page.number)
            self._fail(document, page.number, fault, 0.0)
        return []

    def _render(self, document: OpenDocument, claimed: list[Claimed]) -> None:
        job, identity = document.job, document.identity
        numbers = [page.number for page in claimed]
        assert identity is not None, "a document whose file is gone is ended, not rendered"
        source = (job.path, identity, job.media_type)
        try:
            with self._engines.promises.made(f"rendering {job.name}", self._rasterizer.limit_s(len(numbers))):
                layers = self._rasterizer.read_layers(*source, numbers, folder=self._folder, stop=self._abort)
                bare = [number for number in numbers if not isinstance(layers.get(number), Recognition)]
                began = monotonic()
                rendered = self._rasterizer.render(*source, bare, folder=self._folder, stop=self._abort)
        except (SourceChanged, ServerFault, ChildStopped) as err:
            if isinstance(err, SourceChanged):
                self._desk.end(document, (err.code, str(err)))
            elif isinstance(err, ServerFault):
                self._landing.rest(str(err))
            self._desk.rendered(len(numbers))
            self._landing.give_back(document, numbers)
            return
        each_s = (monotonic() - began) / max(1, len(bare))
        for page in claimed:
            layer = layers.get(page.number)
            if isinstance(layer, Recognition):
                self._land_layer(document, page.number, layer)
                continue
            if layer:
                log.debug("text_layer_refused", page=page.number, reason=layer)
            document.hung = document.hung + 1 if is_timeout(rendered[page.number]) else 0
            self._line_up(document, page, rendered[page.number], each_s)

    def _land_layer(self, document: OpenDocument, number: int, layer: Recognition) -> None:
        """A page that the PDF itself has the text of needs no engine."""
        self._desk.rendered(1)
        attempt = Attempt(engine=layer.engine, seconds=layer.seconds, verdict=Verdict.OK, recognition=layer)
        self._landing.land(document, number, PageState.DONE, attempt)

    def _line_up(
        self, document: OpenDocument, claimed: Claimed, page: PageImage | PageFault, seconds: float
    ) -> None:
        if isinstance(page, PageFault):
            self._fail(document, claimed.number, page, seconds)
        elif ink.is_blank(page):
            with contextlib.suppress(OSError):  # the work folder is emptied at the next start
                os.unlink(page.path)
            self._desk.rendered(1)
            attempt = Attempt(
                engine=NO_ENGINE,
                seconds=seconds,
                verdict=Verdict.BLANK,
                reason="no ink on the page",
                recognition=_nothing_on(page, seconds),
            )
            self._landing.land(document, claimed.number, PageState.BLANK, attempt)
        else:
            # First lined up, then not being rendered any more: never more than allowed is under way.
            taken = self._rasterizer.policy.bytes_of(page.width * page.height)
            self._desk.line_up(RenderedPage(document, page, taken, tried=claimed.attempts > 0))
            self._desk.rendered(1)

    def _fail(self, document: OpenDocument, number: int, fault: PageFault, seconds: float) -> None:
        self._desk.rendered(1)
        self._landing.land_fault(document, number, fault, fault_attempt(fault, seconds, "rasterizer"))


def _nothing_on(page: PageImage, seconds: float) -> Recognition:
    """What is read on a blank page: how large it is."""
    return Recognition(
        text="",
        blocks=(),
        finish="stop",
        engine=NO_ENGINE,
        model_revision="",
        prompt_mode="",
        dpi=page.dpi,
        tokens=0,
        seconds=seconds,
        width=page.width,
        height=page.height,
    )


def _too_late(number: int, limit_s: float) -> PageFault:
    reason = f"page {number} was not begun: the document took more than the {limit_s:g} s of work allowed"
    return PageFault(ReasonCode.DOCUMENT_TIMEOUT, reason)
