from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.swapping import Costs, Decision, History, Queues, Side, Why, decide, round_trip

STEP_S = 5.0
"""How often the server asks while it waits."""
NOTHING = Queues(primary=0, parked=0, parked_wait_s=0, oldest_parked_s=0, in_flight=0, inbox_quiet_s=1000)
PARKED = replace(NOTHING, parked=1, parked_wait_s=300, oldest_parked_s=300)
COSTS = Costs(round_trip_s=300)
NEVER = History()

SECONDS = st.floats(0, 1e6)
COUNTS = st.integers(0, 1000)


@st.composite
def queues(draw: st.DrawFn) -> Queues:
    parked = draw(COUNTS)
    oldest = draw(SECONDS) if parked else 0.0
    return Queues(
        primary=draw(COUNTS),
        parked=parked,
        parked_wait_s=draw(st.floats(oldest, oldest * parked)) if parked else 0.0,
        oldest_parked_s=oldest,
        in_flight=draw(st.integers(0, 3)),
        inbox_quiet_s=draw(SECONDS),
        flush=draw(st.booleans()),
    )


COST = st.builds(
    Costs,
    round_trip_s=st.floats(0, 2000),
    overhead=st.one_of(st.just(0.0), st.floats(0.01, 1)),
    max_wait_s=st.one_of(st.none(), st.just(inf), st.floats(0, 5000)),
    settle_s=st.floats(0, 100),
)
HISTORY = st.builds(History, setup_s=SECONDS, busy_s=SECONDS)
SIDES = st.sampled_from(Side)


@given(SIDES, queues(), COST, HISTORY)
def test_it_is_never_swapped_with_pages_in_flight_and_drained_only_for_a_swap(
    side: Side, now: Queues, costs: Costs, history: History
) -> None:
    busy = decide(side, replace(now, in_flight=1), costs, history)
    idle = decide(side, replace(now, in_flight=0), costs, history)
    assert busy.side is side
    assert busy.drain == (idle.side is not side)
    assert not idle.drain
    assert busy.why is idle.why


@given(SIDES, queues(), COST, HISTORY)
def test_the_same_question_has_the_same_answer(
    side: Side, now: Queues, costs: Costs, history: History
) -> None:
    first = decide(side, now, costs, history)
    assert first == decide(side, now, costs, history)
    assert first.reason


@given(SIDES, queues(), COST, HISTORY)
def test_without_parked_pages_the_main_model_serves_as_soon_as_it_has_work(
    side: Side, now: Queues, costs: Costs, history: History
) -> None:
    now = replace(now, parked=0, parked_wait_s=0, oldest_parked_s=0, in_flight=0)
    wanted = decide(side, now, costs, history).side
    assert wanted is (Side.MAIN if now.primary else side)


@given(queues(), COST, HISTORY)
def test_the_fallback_model_reads_all_parked_pages_before_it_leaves(
    now: Queues, costs: Costs, history: History
) -> None:
    decision = decide(Side.FALLBACK, replace(now, parked=max(1, now.parked)), costs, history)
    assert decision.side is Side.FALLBACK
    assert not decision.drain


@given(queues(), COST, HISTORY, SECONDS)
def test_more_waiting_never_calls_a_swap_off(
    now: Queues, costs: Costs, history: History, more_s: float
) -> None:
    now = replace(now, in_flight=0)
    later = replace(
        now,
        parked_wait_s=now.parked_wait_s + more_s * now.parked,
        oldest_parked_s=now.oldest_parked_s + more_s * bool(now.parked),
        inbox_quiet_s=now.inbox_quiet_s + more_s,
    )
    if decide(Side.MAIN, now, costs, history).side is Side.FALLBACK:
        assert decide(Side.MAIN, later, costs, history).side is Side.FALLBACK


@pytest.mark.parametrize(
    ("now", "history", "why"),
    [
        (NOTHING, NEVER, Why.NOTHING_PARKED),
        (replace(NOTHING, flush=True), NEVER, Why.NOTHING_PARKED),
        (replace(PARKED, parked_wait_s=299), NEVER, Why.NOT_WORTH_IT),
        (PARKED, NEVER, Why.IDLE),
        (replace(PARKED, inbox_quiet_s=1), NEVER, Why.DEBT),
        (replace(PARKED, inbox_quiet_s=1), History(setup_s=300, busy_s=2999), Why.OVERHEAD),
        (PARKED, History(setup_s=300, busy_s=0), Why.IDLE),
        (replace(PARKED, primary=1), NEVER, Why.NOT_WORTH_IT),
        (replace(PARKED, primary=1, parked_wait_s=600), NEVER, Why.DEBT),
        (replace(PARKED, primary=1, parked_wait_s=600), History(setup_s=300, busy_s=2999), Why.OVERHEAD),
        (replace(PARKED, primary=1, parked_wait_s=600), History(setup_s=300, busy_s=3001), Why.DEBT),
        (replace(PARKED, primary=99, oldest_parked_s=3000), History(setup_s=300, busy_s=0), Why.AGE),
        (replace(PARKED, primary=99, parked_wait_s=1, flush=True), History(setup_s=300, busy_s=0), Why.ASKED),
    ],
)
def test_the_rules_one_by_one(now: Queues, history: History, why: Why) -> None:
    decision = decide(Side.MAIN, now, COSTS, history)
    assert decision.why is why
    stays = {Why.NOTHING_PARKED, Why.NOT_WORTH_IT, Why.OVERHEAD}
    assert decision.side is (Side.MAIN if why in stays else Side.FALLBACK)


def test_the_reason_has_the_numbers_that_decided() -> None:
    assert decide(Side.MAIN, replace(PARKED, primary=4), COSTS, NEVER).reason == (
        "1 page parked, waiting 300 s in sum; a swap costs 300 s for each of 5"
    )
    assert decide(Side.MAIN, replace(PARKED, in_flight=2), COSTS, NEVER) == Decision(
        Side.MAIN,
        Why.IDLE,
        "1 page parked, waiting 300 s in sum, and nothing to do for the main model; first 2 pages in flight must end",
        drain=True,
    )


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_the_mean_round_trip_lies_between_the_measured_ones(measured: list[float]) -> None:
    mean = None
    for one in measured:
        mean = round_trip(mean, one)
    assert mean is not None
    assert min(measured) - 1e-6 <= mean <= max(measured) + 1e-6
    assert round_trip(None, measured[0]) == measured[0]


# ---- a server driven by the rule ----


@dataclass(frozen=True)
class Page:
    """What comes in: when, how long each model takes, and whether the main one fails on it."""

    comes_s: float
    main_s: float
    fallback_s: float
    fails: bool


@dataclass
class Server:
    """One GPU with so many seats. Pages are put into it one by one; a swap lasts as long as it says."""

    costs: Costs
    there_s: float
    back_s: float
    seats: int = 1
    now: float = 0.0
    side: Side = Side.MAIN
    busy_s: float = 0.0
    setup_s: float = 0.0
    swaps: Counter[Why] = field(default_factory=Counter)
    log: list[tuple[float, Decision]] = field(default_factory=list)
    longest_until_swap_s: float = 0.0
    waited_s: float = 0.0
    served: int = 0
    history: History = NEVER
    primary: list[Page] = field(default_factory=list)
    parked: list[tuple[float, Page]] = field(default_factory=list)
    running: list[tuple[float, Page]] = field(default_factory=list)

    def run(self, pages: list[Page], flushes: frozenset[int] = frozenset()) -> None:
        """Until every page is read. Seats work side by side; the GPU is busy while any of them is."""
        coming = sorted(pages, key=lambda page: page.comes_s)
        last_came = -inf
        for step in range(100_000):
            while coming and coming[0].comes_s <= self.now:
                last_came = coming[0].comes_s
                self.primary.append(coming.pop(0))
            if not (coming or self.primary or self.parked or self.running):
                return
            self._decide(self.now - last_came, flush=step in flushes)
            ends = [end for end, _ in self.running]
            comes = [page.comes_s for page in coming[:1]]
            soon = [self.now + STEP_S] if self.parked else []
            target = max(self.now, min([*ends, *comes, *soon], default=self.now))
            self._work_until(target)
        raise AssertionError("it never ends")

    def _decide(self, quiet_s: float, *, flush: bool) -> None:
        waits = [self.now - since for since, _ in self.parked]
        queues = Queues(
            primary=len(self.primary),
            parked=len(waits),
            parked_wait_s=sum(waits),
            oldest_parked_s=max(waits, default=0.0),
            in_flight=len(self.running),
            inbox_quiet_s=quiet_s,
            flush=flush,
        )
        decision = decide(self.side, queues, self.costs, self.history)
        self.log.append((self.now, decision))
        if decision.side is not self.side:
            assert not self.running
            self._swap(decision, waits)
        elif not decision.drain:
            self._fill()

    def _swap(self, decision: Decision, waits: list[float]) -> None:
        takes = self.there_s if decision.side is Side.FALLBACK else self.back_s
        if decision.side is Side.FALLBACK:
            self.swaps[decision.why] += 1
            self.longest_until_swap_s = max(self.longest_until_swap_s, *waits)
            self.waited_s += sum(waits)
            self.history = History(setup_s=takes)
        else:
            self.history = replace(self.history, setup_s=self.history.setup_s + takes)
        self.side = decision.side
        self.setup_s += takes
        self.now += takes

    def _fill(self) -> None:
        while len(self.running) < self.seats:
            if self.side is Side.MAIN and self.primary:
                page = self.primary.pop(0)
                self.running.append((self.now + page.main_s, page))
            elif self.side is Side.FALLBACK and self.parked:
                page = self.parked.pop(0)[1]
                self.running.append((self.now + page.fallback_s, page))
            else:
                return

    def _work_until(self, target: float) -> None:
        if self.running:
            self.busy_s += target - self.now
            self.history = replace(self.history, busy_s=self.history.busy_s + target - self.now)
        self.now = target
        for end, page in [one for one in self.running if one[0] <= target]:
            self.running.remove((end, page))
            if self.side is Side.MAIN and page.fails:
                self.parked.append((self.now, page))
            else:
                self.served += 1


FEW_PAGES = st.lists(
    st.builds(
        Page,
        comes_s=st.floats(0, 4000).map(round),
        main_s=st.sampled_from((1.0, 6.0, 40.0)),
        fallback_s=st.sampled_from((1.0, 8.0, 60.0)),
        fails=st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def _day(seed: int, count: int, every_s: float, share: float) -> list[Page]:
    """Many pages, so that the rule is at work again and again."""
    chance = random.Random(seed)
    comes_s = 0.0
    pages = []
    for _ in range(count):
        comes_s += chance.expovariate(1 / every_s)
        pages.append(Page(comes_s, chance.uniform(1, 10), chance.uniform(1, 10), chance.random() < share))
    return pages


DAYS = st.builds(
    _day,
    seed=st.integers(0, 1000),
    count=st.integers(100, 400),
    every_s=st.sampled_from((1.0, 6.0, 20.0)),
    share=st.sampled_from((0.06, 0.3, 1.0)),
)
PAGES = st.one_of(FEW_PAGES, DAYS)


@given(
    PAGES,
    st.integers(1, 100),
    st.integers(1, 100),
    st.integers(1, 4),
    st.sampled_from((0.05, 0.1, 0.5)),
    st.sampled_from((None, 0.0, 200.0, 1e5)),
    st.frozensets(st.integers(0, 200), max_size=3),
)
def test_the_limits_hold_for_every_sequence_of_pages(
    pages: list[Page],
    there_s: int,
    back_s: int,
    seats: int,
    overhead: float,
    max_wait_s: float | None,
    flushes: frozenset[int],
) -> None:
    trip = there_s + back_s
    server = Server(
        Costs(round_trip_s=trip, overhead=overhead, max_wait_s=max_wait_s), there_s, back_s, seats
    )
    server.run(pages, flushes)

    assert server.served == len(pages)
    free = server.swaps[Why.AGE] + server.swaps[Why.IDLE] + server.swaps[Why.ASKED]
    assert server.setup_s <= overhead * server.busy_s + trip + trip * free + 1e-6
    # The oldest page waits for the limit, until the next question, and until the seats are empty.
    longest_page = max(page.main_s for page in pages)
    assert server.longest_until_swap_s <= server.costs.longest_wait_s + STEP_S + longest_page + 1e-6


@given(PAGES, st.integers(1, 300), st.sampled_from((0.05, 0.1, 0.5)))
def test_in_a_backlog_swaps_by_the_usual_age_keep_the_overhead_limit_too(
    pages: list[Page], trip: int, overhead: float
) -> None:
    server = Server(Costs(round_trip_s=trip, overhead=overhead), trip / 2, trip / 2)
    server.run([replace(page, comes_s=0) for page in pages])
    assert server.setup_s <= overhead * server.busy_s + trip + trip * server.swaps[Why.IDLE] + 1e-6


@pytest.mark.parametrize(
    ("costs", "seconds"),
    [
        (Costs(round_trip_s=10), 1800),
        (Costs(round_trip_s=180), 1800),
        (Costs(round_trip_s=300), 3000),
        (Costs(round_trip_s=300, max_wait_s=60), 60),
        (Costs(round_trip_s=300, max_wait_s=inf), inf),
        (Costs(round_trip_s=300, overhead=0), inf),
    ],
)
def test_the_usual_age_limit_grows_with_slow_swaps_and_the_users_holds(costs: Costs, seconds: float) -> None:
    assert costs.longest_wait_s == pytest.approx(seconds)


@given(PAGES, st.integers(1, 300), st.integers(1, 4))
def test_without_an_age_limit_and_demands_the_same_and_it_ends(
    pages: list[Page], trip: int, seats: int
) -> None:
    servers = []
    for _ in range(2):
        server = Server(Costs(round_trip_s=trip, max_wait_s=inf), trip / 2, trip / 2, seats)
        server.run(pages)
        servers.append(server)
    assert servers[0] == servers[1]
    assert servers[0].served == len(pages)
    assert servers[0].setup_s <= 0.1 * servers[0].busy_s + trip + trip * servers[0].swaps[Why.IDLE] + 1e-6


@given(FEW_PAGES, st.integers(1, 300))
def test_with_an_idle_main_model_waiting_until_swaps_and_set_up_are_at_most_twice_the_least(
    pages: list[Page], trip: int
) -> None:
    """Nothing is read by the main model for long, so each parked page is an arrival of the ski-rental problem."""
    pages = [replace(page, main_s=1e-9, fallback_s=1e-9, fails=True) for page in pages]
    costs = Costs(round_trip_s=trip, max_wait_s=inf, settle_s=0, overhead=1e9)
    server = Server(costs, 1e-9, 1e-9)
    server.run(pages)
    cost = server.waited_s + trip * server.swaps.total()
    # A question every few seconds comes at most that much late for each parked page.
    assert cost <= 2 * _least_cost(sorted(page.comes_s for page in pages), trip) + len(pages) * STEP_S + 1e-3


def _least_cost(times: list[float], trip: float) -> float:
    """Of waiting and swaps, for one who knows what comes: a swap serves pages that came one after the other, at the
    moment the last of them comes."""
    best = [0.0]
    for end in range(1, len(times) + 1):
        groups = (times[start:end] for start in range(end))
        best.append(min(best[end - len(one)] + trip + sum(one[-1] - time for time in one) for one in groups))
    return best[-1]
