from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest
from fakes.clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from ocrd.daemon.space import LOOK_S, Space, is_short
from ocrd.domain.errors import StoreFull
from ocrd.host import files


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_what_is_short_stays_so_until_there_is_a_little_more(free: int, reserve: int) -> None:
    assert is_short(free, reserve, was_short=False) == (free < reserve)
    if is_short(free, reserve, was_short=False):
        assert is_short(free, reserve, was_short=True)
    if free >= 2 * reserve:
        assert not is_short(free, reserve, was_short=True)


def space(folder: Path, clock: FakeClock, *, reserve_mib: int, patience_s: float = float("inf")) -> Space:
    return Space(
        str(folder),
        reserve_mib=reserve_mib,
        patience_s=patience_s,
        clock=clock,
        while_waiting=lambda problem: False,
    )


def test_too_little_room_is_told_with_its_figures(tmp_path: Path) -> None:
    problem = space(tmp_path, FakeClock(), reserve_mib=1 << 40).look()
    assert problem.startswith("only ")
    assert f"MiB free in {tmp_path}; {1 << 40} are kept in reserve" in problem


def test_no_reserve_is_never_too_little(tmp_path: Path) -> None:
    assert space(tmp_path, FakeClock(), reserve_mib=0).look() == ""


def test_a_folder_that_went_away_is_no_reason_to_fail(tmp_path: Path) -> None:
    clock = FakeClock()
    looking = space(tmp_path / "gone", clock, reserve_mib=1)
    clock.advance(LOOK_S)
    assert looking.look() == ""


def test_the_main_thread_asks_whether_to_go_on_waiting(tmp_path: Path) -> None:
    assert space(tmp_path, FakeClock(), reserve_mib=0).wait(StoreFull("full")) is False


def test_other_threads_wait_until_it_is_closed(tmp_path: Path) -> None:
    waiting = space(tmp_path, FakeClock(), reserve_mib=0)
    answers: list[bool] = []
    thread = Thread(target=lambda: answers.append(waiting.wait(StoreFull("full"))))
    waiting.close()
    thread.start()
    thread.join(30)
    assert answers == [False]


def test_patience_has_an_end_where_one_is_set(tmp_path: Path) -> None:
    clock = FakeClock()
    waiting = space(tmp_path, clock, reserve_mib=0, patience_s=10)
    answers: list[bool] = []

    def wait_twice() -> None:
        answers.append(waiting.wait(StoreFull("full")))
        clock.advance(11)
        answers.append(waiting.wait(StoreFull("full")))

    thread = Thread(target=wait_twice)
    thread.start()
    thread.join(30)
    assert answers == [True, False]


def test_free_space_is_what_the_system_says(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = files.free_mib(str(tmp_path))
    assert free is not None
    assert free == pytest.approx(status.f_bavail * status.f_frsize / 2**20, rel=0.05)
    assert files.free_mib(str(tmp_path / "gone")) is None
