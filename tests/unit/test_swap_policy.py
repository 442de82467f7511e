"""The simulation of benchmarks/swap_policy.py: what it checks, with fewer days, and whether nothing beats its optimum."""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import swap_policy
from swap_policy import HEAVY_SLOW, LEAST, POLICIES, REGIMES, Document, Gpu, Regime

SLOW = Regime("slow", swap_policy.backlog, 240, 55)
QUICK = Regime("quick", swap_policy.backlog, 3, 2)
BACKLOGS = st.lists(
    st.builds(
        Document, comes_s=st.just(0.0), fails=st.lists(st.booleans(), min_size=1, max_size=5).map(tuple)
    ),
    min_size=2,
    max_size=5,
).filter(lambda documents: sum(len(one.fails) for one in documents) <= 8)
DAYS = st.builds(
    lambda regime, seed: (regime, regime.arrivals(random.Random(seed))),
    st.sampled_from(REGIMES),
    st.integers(),
)


def finished(documents: list[Document], regime: Regime, policy: swap_policy.Policy) -> list[float]:
    gpu = Gpu(regime, documents)
    gpu.run(policy)
    return gpu.done_s


def test_ours_is_near_the_best_in_every_regime_and_far_better_than_at_once_under_load() -> None:
    results = {one.regime: one for one in swap_policy.checks(swap_policy.measure(seeds=5))}
    assert results.keys() == {regime.name for regime in REGIMES}
    for one in results.values():
        assert one.of_the_best <= 1.1, one
        assert one.is_met, one
    assert results[HEAVY_SLOW].better_than_at_once >= 2.5


def test_a_check_that_is_missed_is_told() -> None:
    assert not swap_policy.Check(HEAVY_SLOW, "every 10 pages", 1.0, 2.4).is_met
    assert not swap_policy.Check("60/55 heavy", "every 10 pages", 1.11, 3.0).is_met
    assert swap_policy.Check("60/55 heavy", "every 10 pages", 1.1, 1.0).is_met


def test_the_same_seeds_give_the_same_figures() -> None:
    first, second = (swap_policy.measure(seeds=1, first=7) for _ in range(2))
    assert first == second
    assert first != swap_policy.measure(seeds=1, first=8)
    assert {name for _, name in first} == {*POLICIES, LEAST}


@settings(max_examples=15)
@given(DAYS, st.sampled_from(sorted(POLICIES)))
def test_no_policy_beats_the_bounds(day: tuple[Regime, list[Document]], name: str) -> None:
    regime, documents = day
    done_s = finished(documents, regime, POLICIES[name])
    latencies = [done - one.comes_s for one, done in zip(documents, done_s, strict=True)]
    assert min(latencies) > 0
    assert max(done_s) >= swap_policy.least_makespan_s(documents, regime) - 1e-6
    assert fmean(latencies) >= swap_policy.least_mean_latency_s(documents, regime) - 1e-6


@given(BACKLOGS, st.sampled_from((SLOW, QUICK)))
def test_the_optimum_of_a_backlog_is_that_of_all_choices_of_instants(
    documents: list[Document], regime: Regime
) -> None:
    pages = sum(len(one.fails) for one in documents)
    tried = []
    for instants in itertools.product((False, True), repeat=pages - 1):

        def wants(
            queues: swap_policy.Queues, *_: object, chosen: tuple[bool, ...] = (*instants, True)
        ) -> bool:
            return chosen[pages - queues.primary - 1]

        tried.append(finished(documents, regime, wants))
    assert swap_policy.best_backlog_mean_s(documents, regime) == pytest.approx(min(map(fmean, tried)))
    assert swap_policy.least_makespan_s(documents, regime) == pytest.approx(min(map(max, tried)))


def test_the_shortest_document_goes_first_in_the_bound_without_swaps() -> None:
    free = Regime("free", swap_policy.backlog, 0, 0)
    long, short = Document(0.0, (False,) * 10), Document(6.0, (False,) * 2)
    assert swap_policy.least_mean_latency_s([long, short], free) == pytest.approx((72 + 12) / 2)
