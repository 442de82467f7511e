"""The helpers that render pages: as few as will do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from ocrd.host.commands import ChildStopped
from ocrd.pipeline.rasterizer_pool import WORTH_A_START_S, Pool, Worker

NEVER = Event()


@contextlib.contextmanager
def warm_pool(places: int) -> Iterator[Pool]:
    """A pool with one child."""
    pool = Pool(places)
    pool.warm()
    with contextlib.closing(pool):
        yield pool


def taken_by_another(pool: Pool) -> tuple[Thread, list[Worker]]:
    """A thread that takes a worker, and which one it got."""
    got: list[Worker] = []

    def take() -> None:
        with pool.worker(NEVER) as worker:
            got.append(worker)

    thread = Thread(target=take)
    thread.start()
    return thread, got


def test_requests_that_come_one_after_the_other_share_a_child() -> None:
    with warm_pool(3) as pool:
        with pool.worker(NEVER) as first:
            assert first.is_warm
        with pool.worker(NEVER) as second:
            assert second is first


def test_a_request_waits_a_moment_for_a_warm_child_rather_than_start_another() -> None:
    with warm_pool(3) as pool:
        with pool.worker(NEVER) as first:
            thread, got = taken_by_another(pool)
        thread.join(10)
        assert got == [first]


def test_another_child_is_started_where_the_warm_one_hangs() -> None:
    with warm_pool(3) as pool, pool.worker(NEVER) as first:
        thread, got = taken_by_another(pool)
        thread.join(WORTH_A_START_S + 10)
        assert len(got) == 1
        assert got[0] is not first


def test_where_no_child_is_warm_nobody_waits() -> None:
    pool = Pool(2)
    with pool.worker(NEVER) as first:
        assert not first.is_warm
    pool.close()


def test_who_waits_is_told_when_there_is_no_more_to_do() -> None:
    with warm_pool(1) as pool, pool.worker(NEVER):
        over = Event()
        over.set()
        with pytest.raises(ChildStopped), pool.worker(over):
            raise AssertionError("the only worker is taken")
