from __future__ import annotations

from fakes.clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from ocrd.daemon.promises import Promises


def test_a_promise_that_is_kept_is_forgotten() -> None:
    clock = FakeClock()
    promises = Promises(grace_s=0, clock=clock)
    with promises.made("reading page 1", 10):
        clock.advance(9)
        assert promises.broken() == ()
    clock.advance(100)
    assert promises.broken() == ()


def test_one_that_is_broken_is_named_until_it_is_over() -> None:
    clock = FakeClock()
    promises = Promises(grace_s=5, clock=clock)
    with promises.made("reading page 1", 10):
        clock.advance(15.5)
        assert promises.broken() == ("reading page 1",)
    assert promises.broken() == ()


@given(st.lists(st.floats(0, 1000), max_size=8), st.floats(0, 2000), st.floats(0, 100))
def test_broken_are_those_whose_time_and_grace_are_over(
    limits: list[float], elapsed: float, grace: float
) -> None:
    clock = FakeClock()
    promises = Promises(grace_s=grace, clock=clock)
    made = [promises.made(str(n), limit) for n, limit in enumerate(limits)]
    start = clock.monotonic()
    for one in made:
        one.__enter__()
    clock.advance(elapsed)
    late = tuple(str(n) for n, limit in enumerate(limits) if start + limit + grace < clock.monotonic())
    assert promises.broken() == late
    for one in made:
        one.__exit__(None, None, None)
    assert promises.broken() == ()
