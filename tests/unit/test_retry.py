from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.retry import CAREFUL_CLAIMS, MAX_ATTEMPTS, MAX_CLAIMS, Step, next_step, outage_pause_s


def fault(code: ReasonCode, *, transient: bool = True) -> PageFault:
    return PageFault(code, "it went wrong", transient=transient)


@given(st.sampled_from(ReasonCode), st.integers(1, 100))
def test_a_fault_that_will_come_again_ends_the_page_at_once(code: ReasonCode, strikes: int) -> None:
    assert next_step(fault(code, transient=False), strikes) is Step.GIVE_UP


@given(st.sampled_from(ReasonCode))
def test_every_transient_fault_is_given_up_after_a_few_tries(code: ReasonCode) -> None:
    steps = [next_step(fault(code), strikes) for strikes in range(1, 10)]
    assert steps == sorted(steps)
    assert steps.count(Step.AGAIN) == MAX_ATTEMPTS.get(code, 1) - 1


@pytest.mark.parametrize(
    ("code", "strikes", "step"),
    [
        (ReasonCode.ENGINE_CRASHED, 1, Step.AGAIN),
        (ReasonCode.ENGINE_CRASHED, 2, Step.GIVE_UP),
        (ReasonCode.ENGINE_TIMEOUT, 1, Step.GIVE_UP),
        (ReasonCode.RENDER_FAILED, 1, Step.GIVE_UP),
    ],
)
def test_a_crash_gets_a_second_try_and_a_timeout_does_not(code: ReasonCode, strikes: int, step: Step) -> None:
    assert next_step(fault(code), strikes) is step


def test_a_page_is_handled_with_care_before_it_is_given_up() -> None:
    assert 1 < CAREFUL_CLAIMS < MAX_CLAIMS


@given(st.integers(1, 10_000))
def test_the_pause_never_shrinks_and_never_exceeds_five_minutes(strikes: int) -> None:
    assert 5 <= outage_pause_s(strikes) <= outage_pause_s(strikes + 1) <= 300


def test_the_pause_doubles_from_five_seconds() -> None:
    assert [outage_pause_s(strikes) for strikes in range(1, 9)] == [5, 10, 20, 40, 80, 160, 300, 300]
