"""One model after the other: inspected, started in the real container, asked, stopped, and the memory seen given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Event
from typing import Any

from ocrd.daemon.acceptance.questions import Readings, ask_everything
from ocrd.daemon.managed import Managed
from ocrd.domain.errors import ServerFault
from ocrd.domain.serving import Diagnosis, ServerState
from ocrd.serving.hf_cache.cached_model import CachedModel, CacheState

_POLL_S = 0.2
_STOP_PATIENCE_S = 90.0
_GIVEN_BACK_MIB = 256
"""What may be missing of the memory afterwards: other programs use the GPU too."""

Say = Callable[[str, str], None]
"""Told of progress: the model, and what is happening to it."""


class Verdict(StrEnum):
    """What came of a model."""

    WORKS = "works"
    READS_BADLY = "reads_badly"
    """It is served and answers, but half of the bundled pages or more were not read."""
    FAILED = "failed"
    """It was started and did not become ready."""
    REFUSED = "refused"
    """It was not started: the plan does not fit, or something is missing."""
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    UNSERVABLE = "unservable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Everything that was seen of one model. Memory in MiB, times in seconds."""

    model: str
    verdict: Verdict
    weight_bytes: int = 0
    cause: str = ""
    """The failure by its code; the same as in docs/errors.md."""
    reason: str = ""
    hint: str = ""
    start_s: float | None = None
    phases: dict[str, float] | None = None
    image: str = ""
    version: str = ""
    plan: dict[str, Any] | None = None
    vram_before_mib: int | None = None
    vram_peak_mib: int | None = None
    readings: Readings | None = None
    stop_s: float | None = None
    vram_given_back: bool | None = None


_NOT_STARTED = {
    CacheState.INCOMPLETE: Verdict.INCOMPLETE,
    CacheState.DAMAGED: Verdict.DAMAGED,
    CacheState.UNSERVABLE: Verdict.UNSERVABLE,
}


def try_models(
    managed: Managed, cached: Sequence[CachedModel], *, languages: Sequence[str], say: Say, stop: Event
) -> list[Trial]:
    """Try each model in turn; no model's failure keeps the next from its turn. Ends early when `stop` is set."""
    trials = []
    for one in cached:
        if stop.is_set():
            break
        trials.append(_try(managed, one, languages, say))
    return trials


def _try(managed: Managed, cached: CachedModel, languages: Sequence[str], say: Say) -> Trial:
    if cached.state in _NOT_STARTED:
        say(cached.model, cached.reason)
        return Trial(
            model=cached.model,
            verdict=_NOT_STARTED[cached.state],
            weight_bytes=cached.weight_bytes,
            cause=cached.state.value,
            reason=cached.reason,
            hint=cached.hint,
        )
    return _Turn(managed, cached, languages, say).take()


class _Turn:
    """One model's turn on the GPU."""

    def __init__(self, managed: Managed, cached: CachedModel, languages: Sequence[str], say: Say) -> None:
        self._server = managed.server
        self._managed = managed
        self._cached = cached
        self._languages = languages
        self._tell = say
        self._before = managed.planner.free_mib()
        self._least = self._before
        self._said = ""
        self._facts: dict[str, Any] = managed.server.facts()

    def take(self) -> Trial:
        """Start, ask, stop."""
        model = self._cached.model
        began = time.monotonic()
        self._server.want(model)
        problem = self._await_ready(model)
        start_s = time.monotonic() - began
        facts = self._server.facts()
        self._facts = facts
        readings, crashed = (None, None) if problem else self._ask(model)
        stop_s = self._stop()
        if problem is not None:
            refused = facts["state"] == ServerState.REFUSED
            return self._failed(problem, Verdict.REFUSED if refused else Verdict.FAILED, start_s)
        if readings is None:
            assert crashed is not None, "one of the two"
            return self._failed(crashed, Verdict.FAILED, start_s)
        bad = sum(page.catastrophic for page in readings.pages)
        works = bad * 2 < len(readings.pages)
        return Trial(
            model=model,
            verdict=Verdict.WORKS if works else Verdict.READS_BADLY,
            weight_bytes=self._cached.weight_bytes,
            reason="" if works else f"{bad} of {len(readings.pages)} pages were not read",
            start_s=round(start_s, 1),
            phases=facts["phases"],
            **self._start(),
            vram_before_mib=self._before,
            vram_peak_mib=self._peak(),
            readings=readings,
            stop_s=stop_s,
            vram_given_back=self._given_back(),
        )

    def _start(self) -> dict[str, Any]:
        """What was started."""
        facts = self._facts
        return {"image": facts["image"] or "", "version": facts["version"] or "", "plan": facts["plan"]}

    def _failed(self, problem: Diagnosis, verdict: Verdict, seconds: float) -> Trial:
        return Trial(
            model=self._cached.model,
            verdict=verdict,
            weight_bytes=self._cached.weight_bytes,
            cause=problem.failure.value,
            reason=problem.message,
            hint=problem.hint,
            start_s=round(seconds, 1),
            **self._start(),
            vram_before_mib=self._before,
            vram_peak_mib=self._peak(),
            vram_given_back=self._given_back(),
        )

    def _await_ready(self, model: str) -> Diagnosis | None:
        """None when it is ready; why not, once that is known."""
        while not self._server.serves(model):
            self._look_at_memory()
            problem = self._server.problem_of(model)
            if problem is not None:
                self._say(problem.message)
                return problem
            facts = self._server.facts()
            if facts["state"] != ServerState.ABSENT:
                self._say(": ".join(part for part in (facts["state"], facts["phase"]) if part))
            time.sleep(_POLL_S)
        return None

    def _ask(self, model: str) -> tuple[Readings | None, Diagnosis | None]:
        self._say("is being asked")
        try:
            with self._server.lease(model, Event(), patience_s=60.0) as endpoint:
                recognizer = self._managed.clients.of(endpoint)
                readings = ask_everything(recognizer, endpoint, self._languages)
                self._look_at_memory()
        except ServerFault:
            return None, self._server.problem_of(model)
        problem = self._server.problem_of(model)
        return (None, problem) if problem is not None else (readings, None)

    def _stop(self) -> float:
        began = time.monotonic()
        self._server.want(None)
        while not self._server.is_down and time.monotonic() - began < _STOP_PATIENCE_S:
            time.sleep(_POLL_S)
        return round(time.monotonic() - began, 1)

    def _look_at_memory(self) -> None:
        free = self._managed.planner.free_mib()
        if free is not None and self._least is not None:
            self._least = min(self._least, free)

    def _peak(self) -> int | None:
        """What it took of the GPU, at most, as far as was seen."""
        return None if self._before is None or self._least is None else self._before - self._least

    def _given_back(self) -> bool | None:
        free = self._managed.planner.free_mib()
        return None if free is None or self._before is None else free >= self._before - _GIVEN_BACK_MIB

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self._tell(self._cached.model, what)
