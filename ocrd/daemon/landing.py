"""What becomes of a page in hand: it lands in the store or is given back; the last one ends its document."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ocrd.daemon.desk import Desk, OpenDocument
from ocrd.daemon.finisher import CANNOT_WRITE, Ending, Finisher
from ocrd.domain.errors import NOT_THERE, PageFault, ReasonCode, ServerFault
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.domain.quality import Cause
from ocrd.pipeline import writer
from ocrd.store.documents import DocumentStore
from ocrd.store.pages import Attempt, PageStore
from ocrd.telemetry.lean import bound_contextvars
from ocrd.telemetry.logs import get_logger

log = get_logger()

_OUTPUT_CODES = frozenset({ReasonCode.OUTPUT_EXISTS, ReasonCode.OUTPUT_FAILED})

OnPage = Callable[[str, str, float], None]
"""Engine, verdict and seconds of a page that settled: for metrics."""


class Landing:
    """Used by feeders and readers alike. Thread-safe."""

    def __init__(
        self,
        desk: Desk,
        documents: DocumentStore,
        pages: PageStore,
        finisher: Finisher,
        *,
        on_page: OnPage | None = None,
    ) -> None:
        self._desk = desk
        self._on_page = on_page
        self._documents = documents
        self._pages = pages
        self._finisher = finisher

    def land(
        self,
        document: OpenDocument,
        number: int,
        state: PageState,
        attempt: Attempt,
        *,
        stored: int | None = None,
    ) -> None:
        """Store a settled page, log its one line, and finish the document if it was the last."""
        self._pages.land(document.job.id, number, state, attempt, stored=stored)
        if self._on_page is not None:
            self._on_page(attempt.engine, attempt.verdict, attempt.seconds)
        _log_page(number, state, attempt)
        self._desk.settled(document, attempt.seconds)
        self.finish_if_settled(document)

    def land_fault(self, document: OpenDocument, number: int, fault: PageFault, attempt: Attempt) -> None:
        """A page that is given up."""
        del fault  # the attempt tells it
        self.land(document, number, PageState.FAILED, attempt)

    def give_back(self, document: OpenDocument, numbers: list[int]) -> None:
        """Pages that could not be worked on, for no fault of theirs."""
        self._pages.give_back(document.job.id, numbers)
        self._desk.gave_back(document, len(numbers))
        self.finish_if_settled(document)

    def park(self, document: OpenDocument, number: int, why: str) -> None:
        """A page waits for the fallback model."""
        if self._pages.park(document.job.id, number, why):
            log.info("page_parked", page=number)  # `page_again` said why
            self._desk.was_parked(document, [number], in_hand=True)
        else:
            self._desk.settled(document)
        self.finish_if_settled(document)

    def end(self, document: OpenDocument, code: ReasonCode, reason: str) -> None:
        """End a document early; at once, or when its last page in hand has landed."""
        self._desk.end(document, (code, reason))
        self.finish_if_settled(document)

    def rest(self, reason: str) -> None:
        """The engine or the disk is out of order."""
        outage = self._desk.note_outage(reason)
        if outage is not None:
            log.error(
                "queue_rests", reason=reason, strikes=outage.strikes, seconds=outage.until - monotonic()
            )

    def finish_if_settled(self, document: OpenDocument) -> None:
        """End the document if nothing of it is left to do."""
        if self._desk.begin_finishing(document):
            with bound_contextvars(document=document.job.id, file=document.job.name):
                self._finish(document)

    def source_problem(self, document: OpenDocument) -> tuple[ReasonCode, str] | None:
        """Why the file is not the one that was taken in; None if it is."""
        return self._finisher.source_problem(document.job.id)

    def reject(self, document: OpenDocument, code: ReasonCode, reason: str, hint: str) -> None:
        """End a document that can never work."""
        document.finishing = True
        self._close(
            document, lambda: self._finisher.reject(document.job.id, document.job.path, code, reason, hint)
        )

    def _finish(self, document: OpenDocument) -> None:
        ending = document.ending
        if ending is not None and ending[0] in NOT_THERE and self.source_problem(document) is None:
            self._release(document)  # touched, or away for a moment: the same content is there again
            return
        if ending is not None:
            self._close(document, lambda: self._finisher.cancel(document.job, *ending))
        else:
            self._close(document, lambda: self._finisher.finish(document.job))

    def _close(self, document: OpenDocument, finish: Callable[[], Ending]) -> None:
        """End it, or leave it for later where the disk takes nothing now."""
        try:
            ended = finish()
        except ServerFault as err:
            self.rest(str(err))
            self._release(document)
        else:
            self._closed(document, ended)
            outage = self._desk.outage
            if outage is not None and outage.reason.startswith(CANNOT_WRITE):
                self._desk.clear_outage()

    def _release(self, document: OpenDocument) -> None:
        self._documents.release(document.job.id)
        self._desk.close(document)

    def _closed(self, document: OpenDocument, ending: Ending) -> None:
        log.info(
            "document_finished",
            state=ending.state,
            pages=document.job.pages,
            seconds=round(monotonic() - document.started, 3),
            formats=[writer.format_of(path) for path in ending.written] or None,
            reason_code=ending.code or None,
            reason=_own_words(ending) or None,
        )
        self._desk.close(document)


def _log_page(number: int, state: PageState, attempt: Attempt) -> None:
    """The one line of a settled page; that of a page without text is a warning. What is thought of a text is told by
    `cause`: the reason in words may quote the page, and the log may not."""
    read = attempt.recognition
    tell = log.warning if state is PageState.FAILED else log.info
    tell(
        "page_settled",
        page=number,
        state=state,
        verdict=attempt.verdict,
        engine=attempt.engine,
        seconds=round(attempt.seconds, 3),
        rung=attempt.rung or None,
        cause=attempt.cause if attempt.cause not in {"", Cause.NONE} else None,
        dpi=None if read is None else round(read.dpi),
        tokens=(None if read is None else read.tokens) or None,
        reason_code=attempt.reason_code or None,
        reason=attempt.reason if attempt.verdict is Verdict.FAULT else None,
    )


def _own_words(ending: Ending) -> str:
    """Why a document ended so, unless that repeats the reasons of its pages, which may quote them."""
    of_pages = ending.state in {DocumentState.PARTIAL, DocumentState.FAILED}
    return "" if of_pages and ending.code not in _OUTPUT_CODES else ending.reason


def fault_attempt(fault: PageFault, seconds: float, engine: str, *, rung: str = "") -> Attempt:
    """The record of a try that failed; with its `rung` if that is not tried again."""
    return Attempt(
        engine=engine,
        seconds=seconds,
        verdict=Verdict.FAULT,
        rung=rung,
        reason_code=fault.code,
        reason=str(fault),
    )
