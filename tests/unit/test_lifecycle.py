from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain import lifecycle
from ocrd.domain.jobs import IllegalMove
from ocrd.domain.serving import Failure, ServerState

FAILURES = st.sampled_from(Failure)


def test_every_state_has_its_moves_and_can_be_reached() -> None:
    assert set(lifecycle.SERVER_MOVES) == set(ServerState)
    reached = {ServerState.ABSENT}
    while more := {new for old in reached for new in lifecycle.SERVER_MOVES[old]} - reached:
        reached |= more
    assert reached == set(ServerState)


def test_from_every_state_there_is_a_way_to_ready_and_to_absent() -> None:
    for goal in (ServerState.READY, ServerState.ABSENT):
        there = {goal}
        while more := {old for old, new in lifecycle.SERVER_MOVES.items() if new & there} - there:
            there |= more
        assert there == set(ServerState)


def test_a_move_that_the_table_does_not_have_is_refused() -> None:
    lifecycle.check_server_move(ServerState.ABSENT, ServerState.PLANNING)
    with pytest.raises(IllegalMove, match="absent → ready"):
        lifecycle.check_server_move(ServerState.ABSENT, ServerState.READY)


def test_a_failure_has_one_kind_of_consequence() -> None:
    kinds = (lifecycle.PERMANENT, lifecycle.STEPS_DOWN, lifecycle.UNMET, lifecycle.UNCOUNTED)
    assert sum(map(len, kinds)) == len(frozenset[Failure]().union(*kinds))


@given(st.integers(1, 1000))
def test_the_pause_grows_and_ends_at_half_an_hour(strikes: int) -> None:
    pause = lifecycle.pause_s(strikes)
    assert lifecycle.FIRST_PAUSE_S <= pause <= lifecycle.pause_s(strikes + 1) <= lifecycle.BREAKER_PAUSE_S


def test_the_pauses() -> None:
    assert [lifecycle.pause_s(strikes) for strikes in range(1, 8)] == [10, 20, 40, 80, 160, 1800, 1800]


@given(FAILURES, st.integers(0, 50), st.booleans())
def test_every_failure_leads_somewhere(failure: Failure, strikes: int, smaller_plan: bool) -> None:
    after = lifecycle.after_failure(failure, strikes=strikes, smaller_plan=smaller_plan)
    match after.state:
        case ServerState.PLANNING:
            assert failure in lifecycle.STEPS_DOWN
            assert smaller_plan
        case ServerState.BLOCKED:
            assert failure in lifecycle.PERMANENT
        case ServerState.REFUSED:
            assert failure in lifecycle.UNMET
        case state:
            assert state is ServerState.FAILED
            assert after.pause_s >= lifecycle.FIRST_PAUSE_S


def test_a_server_that_was_ready_is_not_given_up_for_half_an_hour() -> None:
    died = lifecycle.after_failure(Failure.ENGINE_DIED, strikes=9, smaller_plan=False, was_ready=True)
    assert died.pause_s == lifecycle.LONGEST_PAUSE_S
    never = lifecycle.after_failure(Failure.ENGINE_DIED, strikes=9, smaller_plan=False)
    assert never.pause_s == lifecycle.BREAKER_PAUSE_S
