from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.scheduling import pages_to_render

SLOTS = st.integers(1, 64)
WINDOWS = st.integers(1, 64)


@given(st.integers(0, 200), SLOTS, WINDOWS)
def test_a_window_never_lets_more_pages_wait_than_slots_and_one_window(
    waiting: int, slots: int, window: int
) -> None:
    pages = pages_to_render(waiting=waiting, slots=slots, window=window)
    assert 0 <= pages <= window
    assert pages == 0 or waiting + pages <= slots + window


@given(SLOTS, WINDOWS)
def test_an_idle_engine_always_gets_pages_but_no_more_than_it_can_take(slots: int, window: int) -> None:
    assert 1 <= pages_to_render(waiting=0, slots=slots, window=window) <= slots


@given(SLOTS, WINDOWS)
def test_rendering_rests_while_every_slot_has_a_page_waiting(slots: int, window: int) -> None:
    assert pages_to_render(waiting=slots, slots=slots, window=window) > 0
    assert pages_to_render(waiting=slots + 1, slots=slots, window=window) == 0
