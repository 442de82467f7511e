"""The climber: has one page read, judges each answer, asks again another way where that may help, keeps the best.

Which way comes next is decided by `domain/retry.py`, what to think of an answer by `domain/quality.py` and
`domain/witness.py`; this module only carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from ocrd.store.pages import Attempt, StoredTry
from ocrd.telemetry.logs import get_logger

log = get_logger()

Note = Callable[[Attempt], int | None]
"""Stores a try that does not settle the page; the number of its stored result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of a page. `stored` is the number of the result if an earlier try, noted already, was the best.
    PARKED: it waits for the fallback model, its tries are noted, and it climbs on from there."""

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

    def climb(
        self,
        page: PageImage,
        stop: Event,
        note: Note,
        *,
        before: Sequence[StoredTry] = (),
        without_first: bool = False,
        fallback_now: bool = False,
        languages: tuple[str, ...] | None = None,
    ) -> Reading:
        """Read a page, from where the tries `before` ended. `fallback_now` says that the fallback model is being
        served, and not the first; `languages` are those of the document, if it has its own. Raises ServerFault and
        Stopped: the page is to be given back."""
        engines = self._engines if languages is None else self._engines.reading(languages)
        if without_first:
            return _Climb(engines, page, stop, note, None, before).run_second()
        seen = engines.witnesses.call(page, languages) if engines.witnesses is not None else None
        try:
            return _Climb(engines, page, stop, note, seen, before).run(fallback_now=fallback_now)
        finally:
            if seen is not None:
                seen.dismiss()


class _Climb:
    """One page's way up the ladder."""

    def __init__(
        self,
        engines: Engines,
        page: PageImage,
        stop: Event,
        note: Note,
        seen: Witness | None,
        before: Sequence[StoredTry],
    ) -> None:
        self._engines = engines
        self._page = page
        self._stop = stop
        self._note = note
        self._witness = seen
        self._tried: list[Tried] = []
        self._candidates: list[_Candidate] = []
        self._last: Attempt | None = None
        self._last_noted = True
        for one in before:
            self._remember(one)

    def _remember(self, one: StoredTry) -> None:
        """A try of an earlier turn, as if it had just been made."""
        rung = retry.rung_named(one.attempt.rung)
        if rung is None:
            return
        recognition = one.attempt.recognition
        cause = Cause(one.attempt.cause) if one.attempt.cause else Cause.NONE
        rotation = recognition.rotation if recognition is not None else 0
        self._tried.append(Tried(rung, one.attempt.verdict, cause, rotation))
        self._last = one.attempt
        if recognition is not None:
            judgement = Judgement(one.attempt.verdict, one.attempt.reason, cause)
            self._candidates.append(_Candidate(recognition, judgement, one.result_id))

    def run(self, *, fallback_now: bool) -> Reading:
        while (rung := retry.next_rung(self._tried, self._engines.means)) is not None:
            if not self._last_noted:
                self._note_last(rung)
            if rung.engine is Engine.FALLBACK and not fallback_now:
                assert self._last is not None, "no page begins with the fallback model"
                return Reading(state=PageState.PARKED, attempt=self._last)
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
            cause=self._last.cause or None,
            reason=self._last.reason
            if self._last.verdict is Verdict.FAULT
            else None,  # others quote the page
            rung=following.name,
        )
        stored = self._note(self._last)
        self._last_noted = True
        if self._last.recognition is not None:
            self._candidates[-1] = replace(self._candidates[-1], stored=stored)

    def _try(self, rung: Rung) -> None:
        began = monotonic()
        try:
            recognition = self._ask(rung)
        except PageFault as fault:
            self._last = fault_attempt(fault, monotonic() - began, self._engine_name(rung), rung=rung.name)
            self._tried.append(Tried(rung, Verdict.FAULT, Cause.NONE))
        else:
            self._take(rung, recognition)
        self._last_noted = False

    def _take(self, rung: Rung, recognition: Recognition) -> None:
        judgement = quality.judge(self._page, recognition, self._engines.request.languages)
        if rung.engine is not Engine.SECOND and self._witness is not None:
            recognition, judgement = self._hear_witness(recognition, judgement)
        self._candidates.append(_Candidate(recognition, judgement))
        self._tried.append(Tried(rung, judgement.verdict, judgement.cause, recognition.rotation))
        self._last = Attempt(
            engine=recognition.engine,
            seconds=recognition.seconds,
            verdict=judgement.verdict,
            rung=rung.name,
            cause=judgement.cause,
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
            if rung.engine is Engine.SECOND:
                return self._ask_second()
            engine = engines.first if rung.engine is Engine.FIRST else engines.fallback
            assert engine is not None, "the ladder has this rung only with a fallback model"
            return engine.recognize(self._page, rung.apply(engines.request), self._stop)
        except (PageFault, ServerFault, Stopped):
            raise
        except Exception as err:  # a plug-in engine may raise anything; one page must not end the daemon
            log.exception("engine_failed", page=self._page.number)
            reason = f"the engine failed: {type(err).__name__}: {err}"
            raise PageFault(ReasonCode.ENGINE_FAILED, reason, transient=True) from err

    def _ask_second(self) -> Recognition:
        """What the second engine reads, or has read already as the witness. Its own faults are the page's: the
        queue goes on without it."""
        if self._engines.second is None:
            reason = "the page brought the engine down again and again, and there is no other one"
            raise PageFault(ReasonCode.ENGINE_CRASHED, reason)
        assert self._engines.second_request is not None, "comes with the engine"
        reading = self._witness.reading() if self._witness is not None else None
        if reading is not None:
            return reading
        try:
            return self._engines.second.recognize(self._page, self._engines.second_request, self._stop)
        except ServerFault as err:
            raise PageFault(ReasonCode.ENGINE_UNAVAILABLE, str(err)) from err

    def _engine_name(self, rung: Rung) -> str:
        return "embedded" if rung.engine is Engine.SECOND else self._engines.name

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
            if not self._last_noted:
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
