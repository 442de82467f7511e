"""The reader: has a rendered page read, judges the answer, and climbs the ladder when it fails."""

from __future__ import annotations

import contextlib
import os
from threading import Event
from time import monotonic

from structlog.contextvars import bound_contextvars

from ocrd.daemon.desk import Desk, RenderedPage
from ocrd.daemon.landing import Landing, fault_attempt
from ocrd.domain import quality, retry
from ocrd.domain.documents import Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault
from ocrd.domain.jobs import PageState, Verdict
from ocrd.domain.ports import Recognizer
from ocrd.host.commands import ChildStopped
from ocrd.store.pages import Attempt, PageStore
from ocrd.telemetry.logs import get_logger

log = get_logger()


class Reader:
    """`read` runs in as many threads as the engine has slots."""

    def __init__(
        self,
        desk: Desk,
        landing: Landing,
        *,
        pages: PageStore,
        recognizer: Recognizer,
        engine: str,
        request: Request,
        abort: Event,
    ) -> None:
        self._desk = desk
        self._landing = landing
        self._pages = pages
        self._recognizer = recognizer
        self._engine = engine
        self._request = request
        self._abort = abort

    def read(self) -> None:
        """A thread's life, until the desk stops."""
        while (page := self._desk.next_page()) is not None:
            job = page.document.job
            try:
                with bound_contextvars(document=job.id, file=job.name):
                    self._read_page(page)
            finally:
                self._desk.was_read()

    def _read_page(self, page: RenderedPage) -> None:
        """Every way out lands the page, gives it back or lines it up again."""
        if page.document.ending is not None:
            self._give_back(page)
            return
        began = monotonic()
        try:
            recognition = self._recognize(page)
        except PageFault as fault:
            self._after_fault(page, fault, monotonic() - began)
        except ServerFault as err:
            self._landing.rest(str(err))
            self._give_back(page)
        except ChildStopped:
            self._give_back(page)
        else:
            self._desk.clear_outage()
            self._land(page, recognition)

    def _recognize(self, page: RenderedPage) -> Recognition:
        try:
            return self._recognizer.recognize(page.image, self._request, self._abort)
        except (PageFault, ServerFault, ChildStopped):
            raise
        except Exception as err:  # a plug-in engine may raise anything; one page must not end the daemon
            log.exception("engine_failed", page=page.image.number)
            reason = f"the engine failed: {type(err).__name__}: {err}"
            raise PageFault(ReasonCode.ENGINE_FAILED, reason, transient=True) from err

    def _land(self, page: RenderedPage, recognition: Recognition) -> None:
        _remove_image(page)
        judgement = quality.judge(page.image, recognition)
        attempt = Attempt(
            engine=recognition.engine,
            seconds=recognition.seconds,
            verdict=judgement.verdict,
            reason_code="" if recognition.text.strip() else ReasonCode.NO_TEXT_FOUND,
            reason=judgement.reason,
            recognition=recognition,
        )
        state = PageState.BLANK if judgement.verdict is Verdict.BLANK else PageState.DONE
        self._landing.land(page.document, page.image.number, state, attempt)

    def _after_fault(self, page: RenderedPage, fault: PageFault, seconds: float) -> None:
        """Try again or give up, as the ladder says."""
        document_id, number = page.document.job.id, page.image.number
        page.faults.append(fault.code)
        strikes = page.faults.count(fault.code)
        attempt = fault_attempt(fault, seconds, self._engine)
        if retry.next_step(fault, strikes) is retry.Step.GIVE_UP:
            _remove_image(page)
            self._landing.land_fault(page.document, number, fault, attempt)
            return
        log.warning("page_again", page=number, reason_code=fault.code, reason=str(fault), strikes=strikes)
        self._pages.note_attempt(document_id, number, attempt)
        self._desk.line_up(page, first=True)

    def _give_back(self, page: RenderedPage) -> None:
        _remove_image(page)
        self._landing.give_back(page.document, [page.image.number])


def _remove_image(page: RenderedPage) -> None:
    with contextlib.suppress(OSError):  # the work folder is emptied at the next start
        os.unlink(page.image.path)
