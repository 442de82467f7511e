"""Which rule for swapping models finishes soonest? One GPU, a main model, and a fallback model for the pages it fails on.

A simulation on seeded arrivals; no model and no GPU is needed, and none is measured: seconds for a page and for a swap
are assumptions. Documents of about 20 pages come for eight hours; 6 % of their pages are parked for the fallback
model after the main one has tried; 6 and 8 s a page. All policies read pages in the order in which they come, read all
parked pages once they have swapped, and go back when the main model has work: they differ in when they swap.

`least` is what no policy can beat. For a backlog that is there from the start it is exact: the best instants for a
swap, found by dynamic programming. Elsewhere it is a lower bound that a scheduler who knows the future may not reach
either. Ends with 1 if our rule takes more than 1.1 times the makespan of the best other policy in any regime, or is
less than 2.5 times better than swapping at once under heavy load with slow swaps.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles

from processes import print_table

from ocrd.domain.swapping import Costs, History, Queues, Side, decide

HOURS = 8
MAIN_PAGE_S = 6.0
FALLBACK_PAGE_S = 8.0
FALLBACK_SHARE = 0.06
PAGES_A_DOCUMENT = 20
WORK_A_DOCUMENT_S = PAGES_A_DOCUMENT * (MAIN_PAGE_S + FALLBACK_SHARE * FALLBACK_PAGE_S)
TICK_S = 5.0
"""How often a policy is asked while the GPU has nothing to do."""
MOST_OF_THE_BEST = 1.1
LEAST_BETTER_THAN_AT_ONCE = 2.5
OURS = "ours: weighted debt"
AT_ONCE = "at once"
LEAST = "least"
HEAVY_SLOW = "240/55 heavy"


# ---- what comes ----


@dataclass(frozen=True)
class Document:
    """When it comes, and for each of its pages whether the main model fails on it."""

    comes_s: float
    fails: tuple[bool, ...]

    @property
    def work_s(self) -> float:
        """On both models, without swaps."""
        return len(self.fails) * MAIN_PAGE_S + sum(self.fails) * FALLBACK_PAGE_S


def _document(chance: random.Random, comes_s: float) -> Document:
    pages = chance.randint(1, 2 * PAGES_A_DOCUMENT - 1)
    return Document(comes_s, tuple(chance.random() < FALLBACK_SHARE for _ in range(pages)))


def steady(load: float) -> Callable[[random.Random], list[Document]]:
    """Documents at random for eight hours that keep the GPU busy for such a share of them, without swaps."""

    def arrivals(chance: random.Random) -> list[Document]:
        documents = []
        now = chance.expovariate(load / WORK_A_DOCUMENT_S)
        while now < HOURS * 3600:
            documents.append(_document(chance, now))
            now += chance.expovariate(load / WORK_A_DOCUMENT_S)
        return documents

    return arrivals


def backlog(chance: random.Random) -> list[Document]:
    """150 documents at once, then nothing: about five and a half hours of work."""
    return [_document(chance, 0.0) for _ in range(150)]


def night(chance: random.Random) -> list[Document]:
    """60 documents within ten minutes of the evening, a single one at night, 60 in the morning after seven hours."""
    times = [chance.uniform(0, 600) for _ in range(60)] + [chance.uniform(4 * 3600, 5 * 3600)]
    times += [chance.uniform(7 * 3600, 7 * 3600 + 600) for _ in range(60)]
    return [_document(chance, comes_s) for comes_s in sorted(times)]


@dataclass(frozen=True)
class Regime:
    """What comes, and what a swap costs: to the fallback model, and back."""

    name: str
    arrivals: Callable[[random.Random], list[Document]]
    there_s: float
    back_s: float

    @property
    def round_trip_s(self) -> float:
        return self.there_s + self.back_s


REGIMES = (
    Regime("240/55 light", steady(0.4), 240, 55),
    Regime(HEAVY_SLOW, steady(0.75), 240, 55),
    Regime("60/55 heavy", steady(0.75), 60, 55),
    Regime("sleep 5/5 heavy", steady(0.75), 5, 5),
    Regime("240/55 backlog", backlog, 240, 55),
    Regime("240/55 night", night, 240, 55),
)


# ---- policies: whether to leave the main model, when pages are parked and none is in flight ----

Policy = Callable[[Queues, Regime, History], bool]


def ours(queues: Queues, regime: Regime, history: History) -> bool:
    """The rule of the daemon, with its defaults."""
    return decide(Side.MAIN, queues, Costs(round_trip_s=regime.round_trip_s), history).side is Side.FALLBACK


def at_once(queues: Queues, regime: Regime, history: History) -> bool:  # noqa: ARG001
    """As soon as a page is parked: what a proxy does that takes requests as they come."""
    return True


def every(count: int) -> Policy:
    """When so many pages are parked, or the main model has nothing to do and they waited for a round trip."""
    return lambda queues, regime, _: queues.parked >= count or _is_idle_for(queues, regime)


def age(seconds: float) -> Policy:
    """When the oldest parked page has waited for so long, or as in `every`."""
    return lambda queues, regime, _: queues.oldest_parked_s >= seconds or _is_idle_for(queues, regime)


def ski_rental(queues: Queues, regime: Regime, history: History) -> bool:  # noqa: ARG001
    """When parked pages have waited for a round trip in sum, whatever else waits."""
    return queues.parked_wait_s >= regime.round_trip_s


def drain_main(queues: Queues, regime: Regime, history: History) -> bool:  # noqa: ARG001
    """When the main model has nothing to do."""
    return queues.primary == 0


def _is_idle_for(queues: Queues, regime: Regime) -> bool:
    return queues.primary == 0 and queues.parked_wait_s >= regime.round_trip_s


POLICIES: dict[str, Policy] = {
    OURS: ours,
    AT_ONCE: at_once,
    "every 10 pages": every(10),
    "age 15 min": age(900),
    "plain ski rental": ski_rental,
    "drain main first": drain_main,
}


# ---- the GPU ----


@dataclass
class Gpu:
    """One page at a time, in the order in which they came."""

    regime: Regime
    documents: Sequence[Document]
    now: float = 0.0
    side: Side = Side.MAIN
    came: int = 0
    last_came_s: float = 0.0
    primary: deque[tuple[int, bool]] = field(default_factory=deque)
    parked: deque[tuple[int, float]] = field(default_factory=deque)
    parked_since_sum: float = 0.0
    history: History = History()  # noqa: RUF009  # it is frozen
    swaps: int = 0
    left: list[int] = field(default_factory=list)
    done_s: list[float] = field(default_factory=list)

    def run(self, wants: Policy) -> None:
        """Until every page of every document is read."""
        self.left = [len(document.fails) for document in self.documents]
        self.done_s = [0.0] * len(self.documents)
        while self._take_in() or self.primary or self.parked:
            if self.side is Side.FALLBACK:
                if self.parked:
                    self._read_parked()
                elif self.primary:
                    self._swap(Side.MAIN)
                else:
                    self._wait()
            elif self.parked and wants(self._queues(), self.regime, self.history):
                self._swap(Side.FALLBACK)
            elif self.primary:
                self._read()
            else:
                self._wait()

    def _take_in(self) -> bool:
        """What has come; whether anything is still to come."""
        while self.came < len(self.documents) and self.documents[self.came].comes_s <= self.now:
            document = self.documents[self.came]
            self.primary.extend((self.came, fails) for fails in document.fails)
            self.last_came_s = document.comes_s
            self.came += 1
        return self.came < len(self.documents)

    def _queues(self) -> Queues:
        return Queues(
            primary=len(self.primary),
            parked=len(self.parked),
            parked_wait_s=len(self.parked) * self.now - self.parked_since_sum,
            oldest_parked_s=self.now - self.parked[0][1],
            in_flight=0,
            inbox_quiet_s=self.now - self.last_came_s,
        )

    def _wait(self) -> None:
        comes_s = self.documents[self.came].comes_s if self.came < len(self.documents) else float("inf")
        self.now = min(comes_s, self.now + TICK_S) if self.parked else comes_s

    def _read(self) -> None:
        number, fails = self.primary.popleft()
        self._work(MAIN_PAGE_S)
        if fails:
            self.parked.append((number, self.now))
            self.parked_since_sum += self.now
        else:
            self._finish(number)

    def _read_parked(self) -> None:
        number, since = self.parked.popleft()
        self.parked_since_sum -= since
        self._work(FALLBACK_PAGE_S)
        self._finish(number)

    def _work(self, seconds: float) -> None:
        self.now += seconds
        self.history = History(setup_s=self.history.setup_s, busy_s=self.history.busy_s + seconds)

    def _finish(self, number: int) -> None:
        self.left[number] -= 1
        if not self.left[number]:
            self.done_s[number] = self.now

    def _swap(self, side: Side) -> None:
        if side is Side.FALLBACK:
            self.now += self.regime.there_s
            self.history = History(setup_s=self.regime.there_s)
            self.swaps += 1
        else:
            self.now += self.regime.back_s
            self.history = History(setup_s=self.regime.round_trip_s, busy_s=self.history.busy_s)
        self.side = side


# ---- what cannot be beaten ----


def least_makespan_s(documents: Sequence[Document], regime: Regime) -> float:
    """Nobody is done sooner. Of the documents that come from some moment on, all work lies after it; and if one of
    them has a page for the fallback model, then so does a swap, as that page is read after the main model tried it.
    A backlog reaches it: all pages, one swap, all parked pages."""
    least = work_s = swap_s = 0.0
    for document in reversed(documents):
        work_s += document.work_s
        swap_s = regime.there_s if any(document.fails) else swap_s
        least = max(least, document.comes_s + work_s + swap_s)
    return least


def least_mean_latency_s(documents: Sequence[Document], regime: Regime) -> float:
    """Nobody has a lower mean. The larger of two bounds: without swaps, the document with the least work left first,
    which is optimal on one machine; without other documents, each for itself."""
    alone = sum(document.work_s + (regime.there_s if any(document.fails) else 0.0) for document in documents)
    return max(alone, _shortest_first_s(documents)) / len(documents)


def _shortest_first_s(documents: Sequence[Document]) -> float:
    """The sum of latencies if the document with the least work left is always read, and swaps cost nothing."""
    waiting: list[tuple[float, float]] = []
    now = total = 0.0
    ends = [*(document.comes_s for document in documents[1:]), float("inf")]
    for document, until in zip(documents, ends, strict=True):
        now = max(now, document.comes_s)
        heapq.heappush(waiting, (document.work_s, document.comes_s))
        while waiting and now < until:
            left_s, comes_s = heapq.heappop(waiting)
            if now + left_s > until:
                heapq.heappush(waiting, (left_s - (until - now), comes_s))
                now = until
            else:
                now += left_s
                total += now - comes_s
    return total


def best_backlog_mean_s(documents: Sequence[Document], regime: Regime) -> float:
    """The least mean latency of a backlog, for any choice of the instants to swap at, pages being read in order.

    A swap pays right after a page that failed or at the end of a document: a little earlier or later changes nothing
    but to hold documents up. `best[n]` is the least sum of latencies still to come when the first n pages are read by
    both models: seconds until the next n, times the documents that are not done then, and so on.
    """
    pages = [
        (fails, place == len(one.fails) - 1) for one in documents for place, fails in enumerate(one.fails)
    ]
    last_fails = _last_fails(documents)
    instants = [0, *(n for n, (fails, is_last) in enumerate(pages, 1) if fails or is_last)]
    best = {len(pages): 0.0}
    for start in reversed(instants[:-1]):
        best[start] = _best_from(start, pages, last_fails, regime, best)
    return best[0] / len(documents)


def _last_fails(documents: Sequence[Document]) -> list[int]:
    """By document, how many pages are read by the main model when its last parked page is parked; 0: none is."""
    counts = []
    before = 0
    for document in documents:
        fails = [place for place, fails in enumerate(document.fails, before + 1) if fails]
        counts.append(fails[-1] if fails else 0)
        before += len(document.fails)
    return counts


def _best_from(
    start: int,
    pages: Sequence[tuple[bool, bool]],
    last_fails: Sequence[int],
    regime: Regime,
    best: dict[int, float],
) -> float:
    """The least sum from `start` on, over all n at which to swap next."""
    ended = sum(is_last for _, is_last in pages[:start])
    back_s = regime.back_s if start else 0.0
    done_s = 0.0  # of documents that end on the main model, from `start`
    ranks: dict[int, int] = {}  # of the pages parked since `start`
    waiting = waiting_ranks = (
        0  # documents whose last page is read, with parked ones, and the rank of the last of those
    )
    least = float("inf")
    for n, (fails, is_last) in enumerate(pages[start:], start + 1):
        main_s = back_s + (n - start) * MAIN_PAGE_S
        if fails:
            ranks[n] = len(ranks) + 1
        if is_last:
            rank = ranks.get(last_fails[ended])
            ended += 1
            if rank is None:
                done_s += main_s
            else:
                waiting += 1
                waiting_ranks += rank
        if n not in best or not (ranks or n == len(pages)):
            continue
        swapped_s = main_s + (regime.there_s if ranks else 0.0)
        parked_s = waiting * swapped_s + waiting_ranks * FALLBACK_PAGE_S
        whole_s = swapped_s + len(ranks) * FALLBACK_PAGE_S
        least = min(least, done_s + parked_s + (len(last_fails) - ended) * whole_s + best[n])
    return least


# ---- measuring ----


@dataclass
class Tally:
    """What a policy came to in a regime: a figure for each seed."""

    makespans_h: list[float] = field(default_factory=list)
    means_min: list[float] = field(default_factory=list)
    p95s_min: list[float] = field(default_factory=list)

    @property
    def makespan_h(self) -> float:
        """The mean."""
        return fmean(self.makespans_h)

    def add(self, documents: Sequence[Document], done_s: Sequence[float]) -> None:
        latencies = [done - one.comes_s for one, done in zip(documents, done_s, strict=True)]
        self.makespans_h.append(max(done_s) / 3600)
        self.means_min.append(fmean(latencies) / 60)
        self.p95s_min.append(quantiles(latencies, n=20)[-1] / 60)

    def add_least(self, documents: Sequence[Document], regime: Regime) -> None:
        is_backlog = not any(one.comes_s for one in documents)
        mean_s = (best_backlog_mean_s if is_backlog else least_mean_latency_s)(documents, regime)
        self.makespans_h.append(least_makespan_s(documents, regime) / 3600)
        self.means_min.append(mean_s / 60)

    def __str__(self) -> str:
        p95 = f"{fmean(self.p95s_min):.1f}" if self.p95s_min else "-"
        return f"{self.makespan_h:.2f} / {fmean(self.means_min):.1f} / {p95}"


def measure(seeds: int, first: int = 1) -> dict[tuple[str, str], Tally]:
    """By (regime, policy). All policies see the same documents."""
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for regime in REGIMES:
        for seed in range(first, first + seeds):
            documents = regime.arrivals(random.Random(f"{seed} {regime.name}"))
            for name, policy in POLICIES.items():
                gpu = Gpu(regime, documents)
                gpu.run(policy)
                tallies[regime.name, name].add(documents, gpu.done_s)
            tallies[regime.name, LEAST].add_least(documents, regime)
    return tallies


@dataclass(frozen=True)
class Check:
    """Our makespan in a regime against the others'."""

    regime: str
    best: str
    of_the_best: float
    better_than_at_once: float

    @property
    def is_met(self) -> bool:
        slow = self.regime != HEAVY_SLOW or self.better_than_at_once >= LEAST_BETTER_THAN_AT_ONCE
        return self.of_the_best <= MOST_OF_THE_BEST and slow


def checks(tallies: dict[tuple[str, str], Tally]) -> list[Check]:
    """One for each regime."""
    results = []
    for regime in REGIMES:
        hours = {name: tallies[regime.name, name].makespan_h for name in POLICIES}
        mine = hours.pop(OURS)
        best = min(hours, key=hours.__getitem__)
        results.append(Check(regime.name, best, mine / hours[best], hours[AT_ONCE] / mine))
    return results


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=12, metavar="N", help="days of arrivals in each regime")
    parser.add_argument("--seed", type=int, default=1, help="the first of them")
    options = parser.parse_args()
    tallies = measure(options.seeds, options.seed)
    print("makespan h / mean latency of a document min / p95 min\n")
    print_table(
        ("policy", *(regime.name for regime in REGIMES)),
        [(name, *(tallies[regime.name, name] for regime in REGIMES)) for name in (*POLICIES, LEAST)],
    )
    print()
    results = checks(tallies)
    print_table(
        ("regime", "best other", "ours / best", "at once / ours", "met"),
        [
            (
                one.regime,
                one.best,
                f"{one.of_the_best:.3f}",
                f"{one.better_than_at_once:.2f}",
                "yes" if one.is_met else "NO",
            )
            for one in results
        ],
    )
    print(
        f"\ngoals: ours at most {MOST_OF_THE_BEST} times the best other policy's makespan; "
        f"at once at least {LEAST_BETTER_THAN_AT_ONCE} times ours in '{HEAVY_SLOW}'"
    )
    return 0 if all(one.is_met for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
