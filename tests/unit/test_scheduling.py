from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.scheduling import pages_to_render, pages_with_room

SLOTS = st.integers(1, 64)
WINDOWS = st.integers(1, 64)


@given(st.integers(0, 200), SLOTS, WINDOWS)
def test_a_window_never_lets_more_pages_wait_than_slots_and_one_window(
    waiting: int, slots: int, window: int
) -> None:
    pages = pages_to_render(waiting=waiting, slots=slots, window=window, with_room=1000)
    assert 0 <= pages <= window
    assert pages == 0 or waiting + pages <= slots + window


@given(SLOTS, WINDOWS)
def test_an_idle_engine_always_gets_pages_but_no_more_than_it_can_take(slots: int, window: int) -> None:
    assert 1 <= pages_to_render(waiting=0, slots=slots, window=window, with_room=1000) <= slots


@given(SLOTS, WINDOWS)
def test_rendering_rests_while_every_slot_has_a_page_waiting(slots: int, window: int) -> None:
    assert pages_to_render(waiting=slots, slots=slots, window=window, with_room=1000) > 0
    assert pages_to_render(waiting=slots + 1, slots=slots, window=window, with_room=1000) == 0


@given(st.integers(0, 200), SLOTS, WINDOWS, st.integers(0, 100))
def test_no_page_is_begun_that_there_is_no_room_for(
    waiting: int, slots: int, window: int, with_room: int
) -> None:
    assert pages_to_render(waiting=waiting, slots=slots, window=window, with_room=with_room) <= with_room


@given(st.integers(1, 4 << 30), st.integers(1, 150 << 20), st.lists(st.integers(1, 100), max_size=60))
def test_temporary_space_is_never_over_its_budget_and_work_never_stands_still(
    budget: int, page: int, sizes: list[int]
) -> None:
    """Pages are rendered as there is room, each becomes some per cent of the largest; read in their order."""
    held: list[int] = []
    left = list(sizes)
    while left:
        begun = min(pages_with_room(budget=budget, held=sum(held), rendering=0, page=page), len(left))
        assert sum(held) + begun * page <= max(budget, page), "even if all become as large as can be"
        assert pages_with_room(
            budget=budget, held=sum(held), rendering=begun, page=page
        ) == 0 or begun == len(left)
        held += [page * left.pop() // 100 for _ in range(begun)]
        assert held, "with nothing in hand a page is always begun"
        held.pop(0)
