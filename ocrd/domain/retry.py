"""The attempt ladder: what to do with a page after an attempt failed. Pure; the worker carries it out."""

from __future__ import annotations

from enum import StrEnum

from ocrd.domain.errors import PageFault, ReasonCode

MAX_CLAIMS = 8
"""A page that was in hand at this many deaths of the daemon is not touched again: it may be their cause."""

CAREFUL_CLAIMS = 2
"""From this many claims on, a page is rendered alone, so that its neighbours are not blamed for it."""


class Step(StrEnum):
    """The next thing to do with a page."""

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
    """Decide after `fault` struck for the `strikes`-th time (from 1) on the same page."""
    if not fault.transient:
        return Step.GIVE_UP
    return Step.AGAIN if strikes < MAX_ATTEMPTS.get(fault.code, 1) else Step.GIVE_UP


def outage_pause_s(strikes: int) -> float:
    """How long the queue rests after the engine or the disk failed for the `strikes`-th time in a row."""
    return float(min(5 * 2 ** (strikes - 1), 300))
