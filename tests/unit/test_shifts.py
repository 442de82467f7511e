"""Two models that take turns: a real desk, a server and a queue that the test moves by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from support.stores import Stores

from ocrd.daemon.desk import Desk, OpenDocument
from ocrd.daemon.shifts import Shifts
from ocrd.domain.serving import Diagnosis, Failure
from ocrd.domain.swapping import Costs, Side

MAIN, OTHER = "dots", "qwen"


@dataclass
class Server:
    """Says which model is wanted and served."""

    wanted: str | None = MAIN
    ready: str | None = MAIN
    problems: dict[str, Diagnosis] = field(default_factory=dict)
    wishes: list[str | None] = field(default_factory=list)

    def want(self, model: str | None) -> None:
        self.wanted = model
        self.wishes.append(model)

    def serves(self, model: str) -> bool:
        return self.ready == model

    def problem_of(self, model: str) -> Diagnosis | None:
        return self.problems.get(model)


@dataclass
class Fallback:
    """The other model."""

    model: str = OTHER
    is_usable: bool = True

    def give_up(self) -> None:
        self.is_usable = False


@dataclass
class Rig:
    """A desk with one open document, and the shifts over it."""

    desk: Desk
    document: OpenDocument
    server: Server
    fallback: Fallback
    shifts: Shifts
    queue: list[int]

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.shifts.tick()


def rig(state: Path, *, once: bool = True, pending: int = 0) -> Rig:
    stores = Stores(str(state), FakeClock())
    stores.register()
    desk = Desk(slots=2, window=2, budget=1 << 30, largest_page=1 << 20)
    document = OpenDocument(stores.begin(), None, 0.0, 3)
    stores.close()
    desk.open(document)
    server, fallback, queue = Server(), Fallback(), [pending]
    shifts = Shifts(
        desk,
        server,  # type: ignore[arg-type]  # what the shifts use of it
        main=MAIN,
        fallback=fallback,  # type: ignore[arg-type]
        costs=Costs(round_trip_s=0.0, max_wait_s=10.0),
        pending=lambda: queue[0],
        once=once,
    )
    return Rig(desk, document, server, fallback, shifts, queue)


def park(one: Rig, *numbers: int) -> None:
    one.desk.claimed(one.document, wanted=len(numbers), got=len(numbers))
    one.desk.was_parked(one.document, numbers, in_hand=True)


def test_nothing_is_exchanged_while_no_page_waits(state: Path) -> None:
    one = rig(state)
    one.tick(5)
    assert not one.server.wishes


def test_parked_pages_get_their_turn_and_the_first_model_comes_back_with_its_next_page(state: Path) -> None:
    one = rig(state)
    park(one, 2)
    one.tick(2)
    assert one.server.wishes == [OTHER]
    assert one.desk.side is Side.MAIN, "not before it is there"
    one.server.ready = OTHER
    one.tick()
    assert one.desk.side is Side.FALLBACK
    one.desk.claimed_parked(one.document, [2])
    one.desk.settled(one.document)
    one.tick(3)
    assert one.server.wishes == [OTHER], "nothing to go back for"
    one.queue[0] = 1
    one.tick(2)
    assert one.server.wishes == [OTHER, MAIN]
    one.server.ready = MAIN
    one.tick()
    assert one.desk.side is Side.MAIN


def test_no_page_is_begun_while_the_models_are_exchanged(state: Path) -> None:
    one = rig(state)
    park(one, 2)
    one.tick(2)
    one.desk.stopping = True  # so that the wait ends at once
    assert one.desk.wait_for_room() is None
    assert one.desk._room() == 0
    one.desk.stopping = False
    one.server.ready = OTHER
    one.tick()
    assert one.desk._room() > 0


def test_pages_in_hand_are_finished_first(state: Path) -> None:
    one = rig(state, once=False)
    park(one, 2)
    offer = one.desk.wait_for_room()
    assert offer is not None
    one.tick(5)
    assert not one.server.wishes
    one.desk.rendered(offer[0])
    one.tick(3)
    assert one.server.wishes == [OTHER]


def test_a_model_that_does_not_come_is_given_up_and_the_first_one_comes_back(state: Path) -> None:
    one = rig(state)
    park(one, 2)
    one.tick(2)
    one.server.problems[OTHER] = Diagnosis(failure=Failure.UNSUPPORTED_MODEL, message="not known")
    one.tick()
    assert not one.fallback.is_usable
    assert one.server.wishes == [OTHER, MAIN]
    one.tick()
    assert one.desk.side is Side.MAIN
    assert one.desk._room() > 0
    one.tick(5)
    assert one.server.wishes == [OTHER, MAIN], "it is not tried again"


@pytest.mark.parametrize("wanted", [None, "another"])
def test_a_server_that_is_off_or_lent_is_left_alone(state: Path, wanted: str | None) -> None:
    one = rig(state)
    one.server.wanted = wanted
    park(one, 2)
    one.tick(5)
    assert not one.server.wishes


def test_a_server_that_is_switched_off_in_the_midst_leaves_the_desk_as_it_should_be(state: Path) -> None:
    one = rig(state)
    park(one, 2)
    one.tick(2)
    one.server.wanted = None
    one.tick()
    assert one.desk.side is Side.MAIN
    assert one.desk._room() > 0


def test_a_paused_queue_exchanges_nothing(state: Path) -> None:
    one = rig(state)
    park(one, 2)
    one.desk.pause(paused=True)
    one.tick(5)
    assert not one.server.wishes
