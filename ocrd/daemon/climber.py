"""The climber: has one page read, judges each answer, asks again another way where that may help, keeps the best.

Which way comes next is decided by `domain/retry.py`, what to think of an answer by `domain/quality.py` and
`domain/witness.py`; this module only carries it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from time import monotonic

from ocrd.daemon.engines import Engines
from ocrd.daemon.landing import fault_attempt
from ocrd.daemon.witnessing import Witness
from ocrd.domain import quality, retry, witness
from ocrd.domain.documents import PageImage, Recognition
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, Stopped
from ocrd.domain.jobs import PageState, Verdict
from ocrd.domain.quality import Cause, Judgement
from ocrd.domain.retry import Engine, Rung, Tried
from ocrd.store.pages import Attempt
from ocrd.telemetry.logs import get_logger

log = get_logger()

Note = Callable[[Attempt], int | None]
"""Stores a try that does not settle the page; the number of its stored result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of a page. `stored` is the number of the result if an earlier try, noted already, was the best."""

    state: PageState
    attempt: Attempt
    stored: int | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An answer with its judgement; `stored` once it was noted."""

    recognition: Recognition
    judgement: Judgement
    stored: int | None = None

    @property
    def score(self) -> tuple[float, bool, float, float]:
        return quality.score(self.judgement, self.recognition)


class Climber:
    """`climb` is called from as many threads as the first engine has slots."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    @property
    def has_second(self) -> bool:
        """Whether pages can be read without the first engine."""
        return self._engines.second is not None

    def climb(self, page: PageImage, stop: Event, note: Note, *, without_first: bool = False) -> Reading:
        """Read a page. Raises ServerFault and Stopped: the page is to be given back."""
        if without_first:
            return _Climb(self._engines, page, stop, note, None).run_second()
        seen = self._engines.witnesses.call(page) if self._engines.witnesses is not None else None
        try:
            return _Climb(self._engines, page, stop, note, seen).run()
        finally:
            if seen is not None:
                seen.dismiss()


class _Climb:
    """One page's way up the ladder."""

    def __init__(
        self, engines: Engines, page: PageImage, stop: Event, note: Note, seen: Witness | None
    ) -> None:
        self._engines = engines
        self._page = page
        self._stop = stop
        self._note = note
        self._witness = seen
        self._tried: list[Tried] = []
        self._candidates: list[_Candidate] = []
        self._last: Attempt | None = None

    def run(self) -> Reading:
        while (rung := retry.next_rung(self._tried, self._engines.means)) is not None:
            if self._last is not None:
                self._note_last(rung)
            self._try(rung)
        return self._settle()

    def run_second(self) -> Reading:
        self._try(retry.SECOND_RUNG)
        return self._settle()

    def _note_last(self, following: Rung) -> None:
        """The last try did not settle the page: store it, and say so."""
        assert self._last is not None, "called after a try"
        log.warning(
            "page_again",
            page=self._page.number,
            verdict=self._last.verdict,
            reason=self._last.reason,
            rung=following.name,
        )
        stored = self._note(self._last)
        if self._last.recognition is not None:
            self._candidates[-1] = replace(self._candidates[-1], stored=stored)

    def _try(self, rung: Rung) -> None:
        began = monotonic()
        try:
            recognition = self._ask(rung)
        except PageFault as fault:
            self._last = fault_attempt(fault, monotonic() - began, self._engine_name(rung))
            self._tried.append(Tried(rung, Verdict.FAULT, Cause.NONE))
            return
        self._take(rung, recognition)

    def _take(self, rung: Rung, recognition: Recognition) -> None:
        judgement = quality.judge(self._page, recognition, self._engines.request.languages)
        if rung.engine is Engine.FIRST and self._witness is not None:
            recognition, judgement = self._hear_witness(recognition, judgement)
        self._candidates.append(_Candidate(recognition, judgement))
        self._tried.append(Tried(rung, judgement.verdict, judgement.cause, recognition.rotation))
        self._last = Attempt(
            engine=recognition.engine,
            seconds=recognition.seconds,
            verdict=judgement.verdict,
            reason_code="" if recognition.text.strip() else ReasonCode.NO_TEXT_FOUND,
            reason=judgement.reason,
            recognition=recognition,
        )

    def _hear_witness(self, recognition: Recognition, judgement: Judgement) -> tuple[Recognition, Judgement]:
        """The answer with what the second reader says to it, and what to think of it then."""
        assert self._witness is not None, "asked only where there is one"
        reading = self._witness.reading()
        if reading is None:
            return recognition, judgement
        words = tuple(word for block in reading.blocks for word in block.words or ())
        testimony = witness.compare(recognition.text, words)
        doubt = witness.verdict(testimony)
        if doubt and judgement.verdict in {Verdict.OK, Verdict.BLANK}:
            judgement = Judgement(Verdict.SUSPECT, doubt, Cause.WITNESS)
        return replace(recognition, testimony=testimony.to_json()), judgement

    # --- asking ---------------------------------------------------------------------------------------------

    def _ask(self, rung: Rung) -> Recognition:
        """One answer on this rung; a fault that may pass is tried again."""
        faults: list[ReasonCode] = []
        while True:
            began = monotonic()
            try:
                return self._ask_engine(rung)
            except PageFault as fault:
                faults.append(fault.code)
                strikes = faults.count(fault.code)
                if retry.next_step(fault, strikes) is retry.Step.GIVE_UP:
                    raise
                log.warning(
                    "page_again",
                    page=self._page.number,
                    reason_code=fault.code,
                    reason=str(fault),
                    strikes=strikes,
                )
                self._note(fault_attempt(fault, monotonic() - began, self._engine_name(rung)))

    def _ask_engine(self, rung: Rung) -> Recognition:
        engines = self._engines
        try:
            if rung.engine is Engine.FIRST:
                return engines.first.recognize(self._page, rung.apply(engines.request), self._stop)
            return self._ask_second()
        except (PageFault, ServerFault, Stopped):
            raise
        except Exception as err:  # a plug-in engine may raise anything; one page must not end the daemon
            log.exception("engine_failed", page=self._page.number)
            reason = f"the engine failed: {type(err).__name__}: {err}"
            raise PageFault(ReasonCode.ENGINE_FAILED, reason, transient=True) from err

    def _ask_second(self) -> Recognition:
        """What the second engine reads, or has read already as the witness. Its own faults are the page's: the
        queue goes on without it."""
        assert self._engines.second is not None, "the ladder has this rung only with a second engine"
        assert self._engines.second_request is not None, "comes with the engine"
        reading = self._witness.reading() if self._witness is not None else None
        if reading is not None:
            return reading
        try:
            return self._engines.second.recognize(self._page, self._engines.second_request, self._stop)
        except ServerFault as err:
            raise PageFault(ReasonCode.ENGINE_UNAVAILABLE, str(err)) from err

    def _engine_name(self, rung: Rung) -> str:
        return self._engines.name if rung.engine is Engine.FIRST else "embedded"

    # --- settling -------------------------------------------------------------------------------------------

    def _settle(self) -> Reading:
        """The best candidate, or the last fault."""
        assert self._last is not None, "a ladder has at least one rung"
        best = max(self._candidates, key=lambda one: one.score, default=None)
        if best is None:
            return Reading(state=PageState.FAILED, attempt=self._last)
        judgement = best.judgement
        attempt = replace(self._last, verdict=judgement.verdict, reason=judgement.reason)
        if best.stored is not None:  # then the last try is noted too, as what it was
            self._note(self._last)
            attempt = replace(
                attempt,
                engine=best.recognition.engine,
                seconds=best.recognition.seconds,
                recognition=best.recognition,
            )
        if judgement.verdict is Verdict.BLANK:
            return Reading(state=PageState.BLANK, attempt=attempt, stored=best.stored)
        if judgement.verdict is Verdict.REFUSED:
            attempt = replace(attempt, reason_code=ReasonCode.ENGINE_REFUSED)
            return Reading(state=PageState.FAILED, attempt=attempt, stored=best.stored)
        code = "" if best.recognition.text.strip() else ReasonCode.NO_TEXT_FOUND
        return Reading(state=PageState.DONE, attempt=replace(attempt, reason_code=code), stored=best.stored)
