"""The attempt ladder: what to do with a page after an attempt. Pure; the climber carries it out.

A page is asked again only where the cause of the failure says that another way of asking may help, and never in
the same way twice. Faults of the server are no attempts: they are not seen here.

    loop, truncated            → another sampling → region by region → strips
    text in a picture, no text → plain OCR → turned → strips
    refused, invented          → another sampling → plain OCR → turned
    a fault, or nothing helped → the fallback model → the second engine
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum

from ocrd.domain.documents import Request
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.jobs import Verdict
from ocrd.domain.models import PromptMode, Sampling
from ocrd.domain.quality import Cause

MAX_CLAIMS = 8
"""A page that was in hand at this many deaths of the daemon is not touched again: it may be their cause."""

CAREFUL_CLAIMS = 2
"""From this many claims on, a page is rendered alone, so that its neighbours are not blamed for it."""

MAX_MODEL_ATTEMPTS = 5
"""How often a page may be put to the model: the longest ladder without the second engine."""

CHANGED_SAMPLING = Sampling(temperature=0.3, top_p=0.9, repetition_penalty=1.05)
"""For a page that looped. Penalties cure loops and empty tables alike (dots.ocr issue 99: 'quality drops a lot,
many tables become empty'), so they are small, and never part of the first attempt."""


class Step(StrEnum):
    """The next thing to do with a page that an engine without prompts failed on."""

    AGAIN = "again"
    GIVE_UP = "give_up"


MAX_ATTEMPTS = {
    ReasonCode.ENGINE_CRASHED: 2,
    ReasonCode.ENGINE_TIMEOUT: 1,
    ReasonCode.ENGINE_FAILED: 2,
}
"""How often each cause may strike before the page is given up. A crash may have come from outside (the OOM
killer takes the largest process), so it gets a second try; a page that was too slow will be too slow again."""


def next_step(fault: PageFault, strikes: int) -> Step:
    """Decide after `fault` struck for the `strikes`-th time (from 1) on the same page and the same rung."""
    if not fault.transient:
        return Step.GIVE_UP
    return Step.AGAIN if strikes < MAX_ATTEMPTS.get(fault.code, 1) else Step.GIVE_UP


class Engine(StrEnum):
    """Who is asked on a rung."""

    FIRST = "first"
    FALLBACK = "fallback"
    """Another model on the same GPU; the page waits, parked, until its turn."""
    SECOND = "second"
    """The embedded engine."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of asking for a page: a change of the plain request, and who is asked."""

    name: str
    engine: Engine = Engine.FIRST
    prompt_mode: PromptMode | None = None
    sampling: Sampling | None = None
    rotation: int = 0
    strips: bool = False

    def apply(self, request: Request) -> Request:
        """The request of this rung."""
        return replace(
            request,
            prompt_mode=self.prompt_mode,
            sampling=self.sampling,
            rotation=self.rotation,
            strips=self.strips,
        )


@dataclass(frozen=True, slots=True)
class Tried:
    """A rung, and what came of it. `rotation` is how far the second engine had to turn the page to read it."""

    rung: Rung
    verdict: Verdict
    cause: Cause
    rotation: int = 0


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to climb with: the prompts of the first engine (none: it has only one way of reading), and
    whether there are a fallback model and a second engine."""

    modes: AbstractSet[PromptMode] = frozenset()
    has_second: bool = False
    has_fallback: bool = False


FIRST_RUNG = Rung("first")
_SAMPLING = Rung("sampling", sampling=CHANGED_SAMPLING)
_REGIONS = Rung("regions", prompt_mode=PromptMode.REGIONS)
_OCR = Rung("ocr", prompt_mode=PromptMode.OCR)
_STRIPS = Rung("strips", strips=True)
FALLBACK_RUNG = Rung("fallback", engine=Engine.FALLBACK)
SECOND_RUNG = Rung("second", engine=Engine.SECOND)
_TURNS = tuple(Rung(f"turned_{turn}", rotation=turn) for turn in (180, 90, 270))
_BY_NAME = {
    rung.name: rung
    for rung in (FIRST_RUNG, _SAMPLING, _REGIONS, _OCR, _STRIPS, FALLBACK_RUNG, SECOND_RUNG, *_TURNS)
}

_LADDERS = {
    Cause.LOOP: (_SAMPLING, _REGIONS, _STRIPS),
    Cause.TRUNCATED: (_STRIPS, _SAMPLING, _REGIONS),
    Cause.PICTURE_ONLY: (_OCR, _STRIPS),
    Cause.NO_TEXT: (_OCR, SECOND_RUNG, _STRIPS),
    Cause.REFUSED: (_SAMPLING, _OCR, SECOND_RUNG),
    Cause.HALLUCINATED: (_SAMPLING, _OCR, SECOND_RUNG),
    Cause.SCRIPTS: (_SAMPLING, _OCR, SECOND_RUNG),
    Cause.DENSITY: (_SAMPLING, _REGIONS, SECOND_RUNG),
    Cause.WITNESS: (_SAMPLING, _OCR, _STRIPS),
    Cause.ILLEGIBLE: (_SAMPLING, _OCR, SECOND_RUNG),
}
"""By the cause of the last failure. `SECOND_RUNG` before the end looks which way up the page is: the second engine
finds out, and the model is asked again with the page turned; without one, it is turned all ways."""


def next_rung(tried: Sequence[Tried], means: Means) -> Rung | None:
    """The next way of asking, or None: there is none left, or the page is well read."""
    if not tried:
        return FIRST_RUNG
    if any(_is_settled(one) for one in tried if one.rung.engine is not Engine.SECOND):
        return None
    done = {one.rung for one in tried}
    # The second engine's text is good enough if need be; a model's is better.
    settled = any(_is_settled(one) for one in tried)
    rung = None if FALLBACK_RUNG in done else _rung_of_first(tried, means, turned_only=settled)
    if rung is not None:
        return rung
    if means.has_fallback and FALLBACK_RUNG not in done:
        return FALLBACK_RUNG
    return SECOND_RUNG if means.has_second and SECOND_RUNG not in done and not settled else None


def _rung_of_first(tried: Sequence[Tried], means: Means, *, turned_only: bool) -> Rung | None:
    """The next way of asking the first engine, by what was wrong with its last answer."""
    asked = [one for one in tried if one.rung.engine is Engine.FIRST]
    done = {one.rung for one in tried}
    if not asked or not means.modes or len(asked) >= MAX_MODEL_ATTEMPTS:
        return None
    turned = _turned(tried)
    if turned is not None and turned not in done:
        return turned
    if turned_only:
        return None
    ladder = _ladder(asked[-1].cause, means)
    return next((rung for rung in ladder if rung not in done and _is_possible(rung, means)), None)


def _ladder(cause: Cause, means: Means) -> Iterator[Rung]:
    """Without a second engine that tells which way up the page is, the model is shown it all ways up."""
    for rung in _LADDERS.get(cause, ()):
        if rung == SECOND_RUNG and not means.has_second:
            yield from _TURNS
        else:
            yield rung


def rung_named(name: str) -> Rung | None:
    """The rung of a stored try; None for a name that this version does not know."""
    return _BY_NAME.get(name)


def _is_settled(one: Tried) -> bool:
    """Whether nothing better is to be had: well read, or doubtful for a reason that lies in the page itself."""
    return one.verdict in {Verdict.OK, Verdict.BLANK} or (
        one.verdict is Verdict.SUSPECT and one.cause is Cause.NONE
    )


def _turned(tried: Sequence[Tried]) -> Rung | None:
    """The page turned as the second engine had to turn it, once that is known."""
    turn = next((one.rotation for one in tried if one.rung.engine is Engine.SECOND), 0)
    return _BY_NAME[f"turned_{turn}"] if turn else None


def _is_possible(rung: Rung, means: Means) -> bool:
    if rung.engine is Engine.SECOND:
        return means.has_second
    if rung.prompt_mode is PromptMode.REGIONS:
        return {PromptMode.LAYOUT_ONLY, PromptMode.OCR} <= means.modes
    if rung.prompt_mode is PromptMode.OCR:  # a model without another mode was asked for it first
        return PromptMode.OCR in means.modes and len(means.modes) > 1
    return True


_DEATHS_UNTIL_ALONE = 2


def runs_alone(deaths: int) -> bool:
    """Whether a page that was in hand at so many deaths of the engine is read with no other beside it, so that
    it shows whether it is the cause."""
    return deaths == _DEATHS_UNTIL_ALONE


def leaves_engine(deaths: int) -> bool:
    """Whether it has shown that, and is not put to that engine again."""
    return deaths > _DEATHS_UNTIL_ALONE


OUTAGE_PAUSE_MAX_S = 60.0
"""A model takes minutes to start; when it is there, the queue goes on within this time."""


def outage_pause_s(strikes: int) -> float:
    """How long the queue rests after the engine or the disk failed for the `strikes`-th time in a row."""
    return min(5.0 * 2.0 ** min(strikes - 1, 10), OUTAGE_PAUSE_MAX_S)
