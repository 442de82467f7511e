from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocrd.host.clock import LEAST_SLEEP_S, SleepWatch, slept_s


def test_a_laptop_that_was_closed_has_slept() -> None:
    assert slept_s(3600.5, 3600.5, 0.5) == 3600


def test_a_virtual_machine_that_was_stopped_has_slept_when_its_clock_is_set_right() -> None:
    assert slept_s(3600.5, 0.5, 0.5) == 3600


@given(st.floats(0, 1e6), st.floats(-1e9, 0))
def test_a_clock_that_is_set_back_is_no_sleep(elapsed: float, jump: float) -> None:
    assert slept_s(elapsed + jump, elapsed, elapsed) == 0


@given(st.floats(0, 1e6), st.floats(0, LEAST_SLEEP_S / 2))
def test_a_busy_machine_has_not_slept(elapsed: float, drift: float) -> None:
    assert slept_s(elapsed + drift, elapsed + drift, elapsed) == 0


def test_this_machine_does_not_sleep_between_two_questions() -> None:
    watch = SleepWatch()
    assert watch.slept_s() == 0
