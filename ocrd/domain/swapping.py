"""When one GPU leaves the main model for the fallback model, and when it goes back. Pure; the server carries it out.

Pages that the main model failed on are parked, and every second that they wait is a debt. A swap costs a round trip
and delays every page that waits for the main model. So it is made when the debt has reached what it costs:

    parked waiting ≥ round trip × (1 + pages waiting for the main model)

With nothing else to do this is the break-even rule of ski rental: waiting and set-up together are at most twice the
least possible. The factor keeps it from swapping again and again under load. On the fallback model all parked pages
are read; it stays there until the main model has work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

WEIGHT_OF_THE_LATEST = 0.3
"""Of a measured round trip in the running mean: three of them outweigh a first guess."""

USUAL_MAX_WAIT_S = 1800.0


class Side(StrEnum):
    """Which model the GPU serves."""

    MAIN = "main"
    FALLBACK = "fallback"


class Why(StrEnum):
    """What decided."""

    NOTHING_PARKED = "nothing_parked"
    PAGES_PARKED = "pages_parked"
    """On the fallback model, and not done."""
    NOT_WORTH_IT = "not_worth_it"
    """The pages have not waited for as long as the swap would take."""
    OVERHEAD = "overhead"
    """They have, but the last swap is not yet made up for by work."""
    NO_WORK = "no_work"
    """Neither model has any."""
    DEBT = "debt"
    """They have waited for so long, and work has made up for the last swap."""
    IDLE = "idle"
    """They have, and there is nothing to do for the main model."""
    AGE = "age"
    """One of them has waited for as long as any may."""
    ASKED = "asked"
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """What waits, now."""

    primary: int
    """Pages that wait for the main model, without those in flight."""
    parked: int
    """Pages that wait for the fallback model."""
    parked_wait_s: float
    """The sum of their waiting times."""
    oldest_parked_s: float
    in_flight: int
    """Pages that the server reads at the moment."""
    inbox_quiet_s: float
    """Since something last came in."""
    flush: bool = False
    """The user asked not to wait any longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a swap costs, and what it may cost."""

    round_trip_s: float
    """To the fallback model and back, with the start of both until they answer: see `round_trip`."""
    overhead: float = 0.10
    """Largest share of set-up in the time of work, but for swaps by age, on demand, or with nothing else to do."""
    max_wait_s: float | None = None
    """No page waits longer for a swap to begin, however much there is to do. Infinite: no limit. None: half an hour,
    or longer if swaps every half an hour would break the limit of set-up."""
    settle_s: float = 20.0
    """The inbox is at rest if nothing came for so long: a document often comes with others."""

    @property
    def longest_wait_s(self) -> float:
        """The maximum age. Swaps by age are at least that far apart."""
        if self.max_wait_s is not None:
            return self.max_wait_s
        return max(USUAL_MAX_WAIT_S, self.round_trip_s / self.overhead) if self.overhead else inf


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The last swap to the fallback model; zeros before the first."""

    setup_s: float = 0.0
    """What it took, there and back."""
    busy_s: float = 0.0
    """Time of work on either model since it began, without set-up and idleness."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the GPU should be."""

    side: Side
    """Never another than the present one while pages are in flight."""
    why: Why
    reason: str
    """One sentence, for log and status."""
    drain: bool = False
    """A swap is due as soon as nothing is in flight: hand out no more pages."""


def decide(side: Side, queues: Queues, costs: Costs, history: History) -> Decision:
    """Stay or swap. Ask whenever a page ends, a document comes, and every few seconds."""
    if side is Side.FALLBACK:
        return _from_fallback(queues)
    why = _from_main(queues, costs, history)
    reason = _reason(why, queues, costs, history)
    if why in {Why.NOTHING_PARKED, Why.NOT_WORTH_IT, Why.OVERHEAD}:
        return Decision(Side.MAIN, why, reason)
    return _swap(Side.MAIN, Side.FALLBACK, why, reason, queues.in_flight)


def round_trip(previous: float | None, measured: float, weight: float = WEIGHT_OF_THE_LATEST) -> float:
    """The running mean of measured round trips, in seconds; None: this is the first one."""
    return measured if previous is None else previous + weight * (measured - previous)


def _from_main(queues: Queues, costs: Costs, history: History) -> Why:
    if not queues.parked:
        return Why.NOTHING_PARKED
    if queues.flush:
        return Why.ASKED
    is_due = queues.parked_wait_s >= _worth(queues, costs)
    if is_due and not queues.primary and queues.inbox_quiet_s >= costs.settle_s:
        return Why.IDLE
    is_made_up = history.setup_s <= costs.overhead * history.busy_s
    if is_due and is_made_up:
        return Why.DEBT
    if queues.oldest_parked_s >= costs.longest_wait_s:
        return Why.AGE
    return Why.OVERHEAD if is_due else Why.NOT_WORTH_IT


def _from_fallback(queues: Queues) -> Decision:
    """All parked pages first; back when the main model has work, not before: the next page may be parked again."""
    if queues.parked:
        waiting = _pages(queues.parked)
        return Decision(Side.FALLBACK, Why.PAGES_PARKED, f"{waiting} left for the fallback model")
    if not queues.primary:
        return Decision(
            Side.FALLBACK, Why.NO_WORK, "no page waits; the main model comes back with the next one"
        )
    reason = f"{_pages(queues.primary)} for the main model, none for the fallback model"
    return _swap(Side.FALLBACK, Side.MAIN, Why.BACK, reason, queues.in_flight)


def _swap(here: Side, there: Side, why: Why, reason: str, in_flight: int) -> Decision:
    if in_flight:
        return Decision(here, why, f"{reason}; first {_pages(in_flight)} in flight must end", drain=True)
    return Decision(there, why, reason)


def _worth(queues: Queues, costs: Costs) -> float:
    """Seconds of waiting that a swap causes: of the parked pages themselves, and of each that waits for MAIN."""
    return costs.round_trip_s * (1 + queues.primary)


def _reason(why: Why, queues: Queues, costs: Costs, history: History) -> str:
    parked = _pages(queues.parked)
    waited = f"{parked} parked, waiting {queues.parked_wait_s:.0f} s in sum"
    swap = f"a swap costs {costs.round_trip_s:.0f} s for each of {1 + queues.primary}"
    made_up = f"{history.busy_s:.0f} s of work since the last swap of {history.setup_s:.0f} s"
    return {
        Why.NOTHING_PARKED: "no page is parked",
        Why.ASKED: f"{parked} parked, and the user asked for them",
        Why.AGE: f"{parked} parked, the oldest for {queues.oldest_parked_s:.0f} s (limit {costs.longest_wait_s:.0f} s)",
        Why.NOT_WORTH_IT: f"{waited}; {swap}",
        Why.OVERHEAD: f"{waited}, but only {made_up} (limit {costs.overhead:.0%} set-up)",
        Why.IDLE: f"{waited}, and nothing to do for the main model",
        Why.DEBT: f"{waited}; {swap}",
    }[why]


def _pages(count: int) -> str:
    return f"{count} page" if count == 1 else f"{count} pages"
