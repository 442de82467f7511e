from __future__ import annotations

from fakes.clock import FakeClock
from support.stores import Stores

from ocrd.store.commands import Command


def test_requests_wait_in_the_order_in_which_they_came(stores: Stores) -> None:
    first = stores.commands.send("pause", {})
    second = stores.commands.send("retry", {"path": "/папка/\udcff.pdf"})
    assert stores.commands.waiting() == [
        Command(first, "pause", {}),
        Command(second, "retry", {"path": "/папка/\udcff.pdf"}),
    ]


def test_an_answered_request_waits_no_longer_and_keeps_its_answer(stores: Stores) -> None:
    request = stores.commands.send("pause", {})
    assert stores.commands.answer_of(request) is None
    stores.commands.answer(request, {"ok": True, "message": "пауза"})
    assert stores.commands.answer_of(request) == {"ok": True, "message": "пауза"}
    assert stores.commands.waiting() == []


def test_a_fact_is_what_was_said_last_and_when(stores: Stores, clock: FakeClock) -> None:
    stores.commands.set_fact("paused", "once")
    clock.advance(60)
    stores.commands.set_fact("paused", ["twice"])
    assert stores.commands.fact("paused") == ["twice"]
    assert stores.rows("SELECT at FROM daemon") == [(clock.now().timestamp(),)]
    stores.commands.drop_fact("paused")
    assert stores.commands.fact("paused") is None


def test_an_order_shows_in_the_file_and_nothing_else_does(stores: Stores, clock: FakeClock) -> None:
    command = Stores(stores.folder, clock)
    stores.commands.waiting()
    assert stores.commands.may_be_waiting(), "nobody looked yet"
    assert not stores.commands.may_be_waiting()
    command.commands.send("pause", {})
    assert stores.commands.may_be_waiting()
    assert [one.verb for one in stores.commands.waiting()] == ["pause"]
    command.close()
