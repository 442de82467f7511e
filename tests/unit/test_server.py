"""The keeper of the container, against an engine within this process whose containers are real HTTP servers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import pytest
from fakes.container_runtime import Behaviour, FakeRuntime, Notes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.running import wait_until

from ocrd.domain import lifecycle
from ocrd.domain.errors import ServerFault, Stopped
from ocrd.domain.serving import ContainerSpec, Diagnosis, Failure, ServerState
from ocrd.serving.keeper import Patience
from ocrd.serving.orders import Refusal, StartOrder
from ocrd.serving.running import Endpoint
from ocrd.serving.server import ModelServer
from ocrd.serving.startup import StartupLog

DOTS, QWEN = "dots", "qwen"
QUICK = Patience(start_s=20, stall_s=20, drain_s=5, stop_s=1, settle_s=0.5, refused_s=0.2)
OOM = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 160.00 MiB.\n"
UNSUPPORTED = b"ValueError: Model architectures ['X'] are not supported for now.\n"
NO_GPU = Diagnosis(failure=Failure.NO_GPU, message="no GPU", hint="ocrd doctor")


@dataclass
class Plans:
    """A planner whose plans shrink as often as it is allowed to."""

    smaller: int = 0
    refuse: Refusal | None = None
    size: int = 0
    memory: list[int] = field(default_factory=list)
    """What is free at each look; the last stays."""
    worked_with: list[int] = field(default_factory=list)

    def order(self, model: str) -> StartOrder:
        if self.refuse is not None:
            raise self.refuse
        spec = ContainerSpec(image="sha256:1", model=model, command=(str(self.size),))
        return StartOrder(model=model, image_id="sha256:1", spec=spec)

    def recall(self, model: str, spec: str) -> StartOrder | None:
        order = self.order(model)
        return order if order.spec.hash == spec else None

    def step_down(self, model: str, diagnosis: Diagnosis) -> bool:
        if self.size >= self.smaller or diagnosis.failure not in lifecycle.STEPS_DOWN:
            return False
        self.size += 1
        return True

    def worked(self, order: StartOrder, seen: StartupLog, *, taken_mib: int | None) -> Mapping[str, Any]:
        self.worked_with.append(int(order.spec.command[0]))
        return {"taken_mib": taken_mib}

    def free_mib(self) -> int | None:
        if not self.memory:
            return None
        return self.memory.pop(0) if len(self.memory) > 1 else self.memory[0]

    def forgive(self) -> None:
        pass


class Canary:
    """Puts no page to anyone, but says what it is told to."""

    def __init__(self) -> None:
        self.fault: ServerFault | None = None
        self.asked: list[Endpoint] = []

    def __call__(self, endpoint: Endpoint) -> None:
        self.asked.append(endpoint)
        if self.fault is not None:
            raise self.fault


class Rig:
    """A server with everything around it."""

    def __init__(
        self,
        *behaviours: Behaviour,
        plans: Plans | None = None,
        patience: Patience = QUICK,
        yield_below_mib: int = 0,
        sleep_mode: bool = False,
    ) -> None:
        self.runtime = FakeRuntime(*behaviours)
        self.plans = plans or Plans()
        self.canary = Canary()
        self.notes = Notes()
        self.patience = patience
        self.yield_below_mib = yield_below_mib
        self.sleep_mode = sleep_mode
        self.server = self.make()

    def make(self) -> ModelServer:
        """Another daemon's server on the same engine."""
        return ModelServer(
            self.runtime,
            self.plans,
            check=self.canary,
            patience=self.patience,
            yield_below_mib=self.yield_below_mib,
            sleep_mode=self.sleep_mode,
        )

    def start(self) -> None:
        """Begin."""
        self.server.start(self.notes, "i" * 8)

    def restart(self, *, keep: bool = True) -> None:
        """The daemon ends and another one begins."""
        self.server.close(keep=keep)
        self.server = self.make()
        self.start()

    def await_state(self, *states: ServerState) -> None:
        wait_until(lambda: self.server.state in states, f"the server is {states}", 15)

    def lease(
        self, model: str = DOTS, patience_s: float = 15.0
    ) -> contextlib.AbstractContextManager[Endpoint]:
        return self.server.lease(model, Event(), patience_s=patience_s)


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*behaviours: Behaviour, **more: Any) -> Rig:
        rig = Rig(*behaviours, **more)
        made.append(rig)
        rig.start()
        return rig

    yield make
    for rig in made:
        rig.server.close(keep=False)
        rig.runtime.close_all()


Rigs = Callable[..., Rig]


def test_a_wanted_model_is_started_checked_and_kept_warm(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    with rig.lease() as endpoint:
        assert endpoint.model == DOTS
        assert endpoint.base_url == f"http://127.0.0.1:{rig.runtime.running[0].host_port}/v1"
    with rig.lease() as again:
        assert again == endpoint
    assert len(rig.canary.asked) == 1
    assert [start["failure"] for start in rig.notes.kept] == [""]


def test_nobody_gets_a_server_that_is_not_wanted(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    with pytest.raises(ServerFault, match="dots is being served, not qwen"), rig.lease(QWEN):
        pass


def test_a_swap_waits_for_the_requests_in_hand_and_runs_one_container_at_a_time(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    with rig.lease():
        rig.server.want(QWEN)
        rig.await_state(ServerState.DRAINING)
        assert rig.runtime.running[0].labels["ocrd.model"] == DOTS
    with rig.lease(QWEN) as endpoint:
        assert endpoint.model == QWEN
    assert rig.runtime.most_at_once == 1


def test_the_next_model_waits_until_the_memory_of_the_last_is_back(rigs: Rigs) -> None:
    rig = rigs(patience=Patience(stop_s=1, settle_s=10))
    rig.plans.memory = [10_000]
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.plans.memory = [3000, 3100, 9950]
    rig.server.want(QWEN)
    with rig.lease(QWEN):
        assert rig.plans.memory == [9950]


def test_memory_that_someone_else_has_taken_is_not_waited_for_for_ever(rigs: Rigs) -> None:
    rig = rigs(patience=Patience(stop_s=1, settle_s=60))
    rig.plans.memory = [10_000]
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.plans.memory = [4000]
    rig.server.want(QWEN)
    with rig.lease(QWEN) as endpoint:
        assert endpoint.model == QWEN


def test_what_a_start_took_of_the_memory_is_remembered(rigs: Rigs) -> None:
    rig = rigs()
    rig.plans.memory = [10_000, 2_400]
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    assert rig.notes.kept[-1]["details"]["taken_mib"] == 7_600


def test_the_gpu_is_given_to_another_program_and_taken_again_when_it_is_done(rigs: Rigs) -> None:
    rig = rigs(patience=replace(QUICK, look_s=0.05, refused_s=60), yield_below_mib=500)
    rig.plans.memory = [10_000, 2_000]
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.plans.refuse = Refusal(Diagnosis(failure=Failure.VRAM_BUSY, message="no room"))
    rig.plans.memory = [300]
    rig.await_state(ServerState.REFUSED)
    assert "300 MiB were free" in rig.server.facts()["problem"]
    assert rig.runtime.running == []
    rig.plans.memory = [10_000]
    rig.plans.refuse = None
    rig.server.look_again()
    rig.await_state(ServerState.READY)


def test_giving_the_gpu_back_leaves_no_container(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.server.want(None)
    rig.await_state(ServerState.ABSENT)
    assert not rig.runtime.known


@pytest.mark.parametrize(
    ("code", "oom_killed", "failure"),
    [(0, False, Failure.ENGINE_DIED), (137, True, Failure.OUT_OF_RAM), (137, False, Failure.KILLED)],
)
def test_an_end_that_nobody_asked_for_is_named_at_once_and_the_server_comes_back(
    rigs: Rigs, code: int, oom_killed: bool, failure: Failure
) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    began = time.monotonic()
    rig.runtime.end(code, oom_killed=oom_killed)
    rig.await_state(ServerState.FAILED)
    assert time.monotonic() - began < 2
    assert rig.server.facts()["failure"] == failure
    with pytest.raises(ServerFault) as caught, rig.lease():
        pass
    assert not caught.value.lasting, "it comes back"
    rig.server.look_again()
    with rig.lease() as endpoint:
        assert endpoint.serial == 2


def test_memory_that_does_not_suffice_leads_to_a_smaller_plan_at_once(rigs: Rigs) -> None:
    rig = rigs(Behaviour(exits=1, log=OOM), Behaviour(exits=1, log=OOM), plans=Plans(smaller=2))
    rig.server.want(DOTS)
    with rig.lease():
        assert rig.plans.worked_with == [2]
    assert [start["failure"] for start in rig.notes.kept] == ["cuda_oom", "cuda_oom", ""]


def test_a_model_that_can_never_start_is_not_tried_again_until_someone_asks(rigs: Rigs) -> None:
    rig = rigs(Behaviour(exits=1, log=UNSUPPORTED))
    rig.server.want(DOTS)
    rig.await_state(ServerState.BLOCKED)
    with pytest.raises(ServerFault) as caught, rig.lease():
        pass
    assert caught.value.lasting
    assert rig.runtime.calls.count("create") == 1
    rig.server.look_again()
    rig.await_state(ServerState.READY)


def test_another_model_may_start_while_one_is_blocked(rigs: Rigs) -> None:
    rig = rigs(Behaviour(exits=1, log=UNSUPPORTED))
    rig.server.want(DOTS)
    rig.await_state(ServerState.BLOCKED)
    rig.server.want(QWEN)
    with rig.lease(QWEN) as endpoint:
        assert endpoint.model == QWEN


def test_a_plan_that_is_refused_is_looked_at_again(rigs: Rigs) -> None:
    refusal = Refusal(Diagnosis(failure=Failure.VRAM_BUSY, message="only 3 GiB are free"))
    rig = rigs(plans=Plans(refuse=refusal))
    rig.server.want(DOTS)
    rig.await_state(ServerState.REFUSED)
    with pytest.raises(ServerFault, match="only 3 GiB are free"), rig.lease():
        pass
    rig.plans.refuse = None
    rig.await_state(ServerState.READY)


def test_an_engine_without_a_gpu_is_told_as_what_it_is_and_leaves_nothing_behind(rigs: Rigs) -> None:
    rig = rigs(Behaviour(fault=NO_GPU))
    rig.server.want(DOTS)
    rig.await_state(ServerState.REFUSED)
    assert rig.server.facts()["hint"] == "ocrd doctor"
    assert not rig.runtime.known


def test_a_server_that_answers_wrongly_is_not_used(rigs: Rigs) -> None:
    rig = rigs()
    rig.canary.fault = ServerFault("the chat template is not the model's", lasting=True)
    rig.server.want(DOTS)
    rig.await_state(ServerState.BLOCKED)
    assert not rig.runtime.known


def test_a_server_that_does_not_answer_any_more_is_started_anew(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    with rig.lease() as endpoint:
        rig.canary.fault = ServerFault("no answer within 120 s")
        rig.server.doubt(endpoint, ServerFault("no answer"))
    rig.await_state(ServerState.FAILED)
    assert not rig.runtime.known
    rig.canary.fault = None
    rig.server.look_again()
    with rig.lease() as again:
        assert again.serial == 2


def test_a_server_that_has_failed_the_known_page_already_is_not_asked_once_more(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    with rig.lease() as endpoint:
        rig.server.doubt(endpoint, ServerFault("no answer within 120 s", in_hand=True))
    rig.await_state(ServerState.FAILED)
    assert len(rig.canary.asked) == 1
    assert rig.server.facts()["failure"] == Failure.ENGINE_DIED


def test_what_a_killed_daemon_left_behind_is_cleared_away(rigs: Rigs) -> None:
    rig = rigs()
    left = ContainerSpec(image="sha256:1", model="old", command=())
    for name in ("made", "started"):
        number = rig.runtime.create(left, name=name, instance="i" * 8)
        if name == "started":
            rig.runtime.start(number)
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    assert [one.labels["ocrd.model"] for one in rig.runtime.managed()] == [DOTS]


def test_a_server_that_is_doubted_is_checked_before_anyone_gets_it_again(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    with rig.lease() as endpoint:
        rig.server.doubt(endpoint, ServerFault("no answer"))
    with rig.lease() as again:
        assert again == endpoint
    assert len(rig.canary.asked) == 2


def test_a_start_without_progress_is_given_up(rigs: Rigs) -> None:
    rig = rigs(Behaviour(healthy=False), patience=Patience(stall_s=0.3, stop_s=1, settle_s=0.5))
    rig.server.want(DOTS)
    rig.await_state(ServerState.FAILED)
    assert rig.server.facts()["failure"] == Failure.STALLED


def test_progress_keeps_a_slow_start_alive_up_to_the_hard_limit(rigs: Rigs) -> None:
    rig = rigs(Behaviour(healthy=False), patience=Patience(stall_s=0.5, start_s=2.0, stop_s=1, settle_s=0.5))
    rig.server.want(DOTS)
    rig.await_state(ServerState.STARTING)
    began = time.monotonic()
    while rig.server.state is ServerState.STARTING and time.monotonic() - began < 10:
        percent = round((time.monotonic() - began) * 30)
        rig.runtime.say(b"Loading safetensors checkpoint shards: %d%% Completed\n" % percent)
        threading.Event().wait(0.05)
    rig.await_state(ServerState.FAILED)
    assert rig.server.facts()["failure"] == Failure.START_TIMEOUT
    assert time.monotonic() - began >= 1.5


def test_whoever_waits_is_turned_away_at_a_stop_and_the_server_is_left_to_the_next(rigs: Rigs) -> None:
    rig = rigs(Behaviour(healthy=False))
    rig.server.want(DOTS)
    rig.await_state(ServerState.STARTING)
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            with rig.lease():
                pass
        except (ServerFault, Stopped) as err:
            seen.append(err)

    waiter = threading.Thread(target=wait)
    waiter.start()
    rig.server.turn_away()
    waiter.join(5)
    assert [type(one) for one in seen] == [Stopped]
    rig.server.close(keep=True)
    assert len(rig.runtime.running) == 1


def test_idleness_gives_the_gpu_back_and_the_next_page_takes_it_again(rigs: Rigs) -> None:
    rig = rigs(patience=Patience(idle_stop_s=0.3, stop_s=1, settle_s=0.5))
    rig.server.want(DOTS)
    with rig.lease():
        pass
    rig.await_state(ServerState.ABSENT)
    assert rig.server.facts()["asleep"]
    assert not rig.runtime.known
    with rig.lease() as endpoint:
        assert endpoint.serial == 2


def test_a_sleeping_server_whose_engine_goes_away_is_cleared_away_and_wakes_up(rigs: Rigs) -> None:
    rig = rigs(patience=Patience(idle_stop_s=0.5, stop_s=1, settle_s=0.5))
    rig.server.want(DOTS)
    with rig.lease():
        rig.runtime.set_down(down=True)
    rig.await_state(ServerState.FAILED)
    rig.runtime.set_down(down=False)
    rig.server.look_again()
    wait_until(lambda: not rig.runtime.running, "the container is cleared away")
    rig.await_state(ServerState.ABSENT)
    with rig.lease() as endpoint:
        assert endpoint.model == DOTS


def test_a_server_that_is_not_wanted_any_more_while_it_steps_down_is_gone(rigs: Rigs) -> None:
    rig = rigs(Behaviour(exits=1, log=OOM), plans=Plans(smaller=1))
    step_down = rig.plans.step_down

    def want_nothing(model: str, diagnosis: Diagnosis) -> bool:
        rig.server.want(None)
        return step_down(model, diagnosis)

    rig.plans.step_down = want_nothing  # type: ignore[method-assign]
    rig.server.want(DOTS)
    wait_until(lambda: rig.server.is_down, "nothing is wanted, and nothing is there")
    assert not rig.runtime.running


# --- sleep mode ---------------------------------------------------------------------------------------------


def swap(rig: Rig, *models: str) -> None:
    """One after the other is wanted, and reads a page."""
    for model in models:
        rig.server.want(model)
        with rig.lease(model):
            pass


def test_models_that_take_turns_sleep_and_wake_up(rigs: Rigs) -> None:
    rig = rigs(sleep_mode=True)
    swap(rig, DOTS, QWEN, DOTS, QWEN)
    assert rig.runtime.calls.count("create") == 2
    assert rig.runtime.most_at_once == 1
    assert len(rig.runtime.running) == 2
    assert rig.server.facts()["sleeping"] == [DOTS]
    assert len(rig.notes.kept) == 2, "to wake up is no start"
    rig.server.want(None)
    wait_until(lambda: rig.server.is_down, "the GPU is given back")
    assert not rig.runtime.running


@pytest.mark.parametrize(
    ("sleep", "starts", "tries"), [("unknown", 4, 1), ("restless", 4, 1), ("dead", 3, 2)]
)
def test_a_model_that_does_not_sleep_well_is_stopped_and_started(
    rigs: Rigs, sleep: str, starts: int, tries: int
) -> None:
    rig = rigs(Behaviour(sleep=sleep), sleep_mode=True)
    swap(rig, DOTS, QWEN, DOTS, QWEN)
    assert rig.runtime.most_at_once == 1
    assert len(rig.runtime.running) == 1
    assert rig.runtime.calls.count("create") == starts
    assert rig.runtime.calls.count("/sleep?level=1") == tries, "nobody is laid down after the first bad sleep"


def test_a_model_that_keeps_the_gpu_in_its_sleep_is_stopped(rigs: Rigs) -> None:
    rig = rigs(sleep_mode=True)
    rig.plans.memory = [10_000, 2_000]
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.plans.memory = [6_000, 10_000]
    swap(rig, QWEN)
    assert len(rig.runtime.running) == 1


def test_a_model_that_does_not_start_beside_a_sleeping_one_gets_the_whole_gpu(rigs: Rigs) -> None:
    rig = rigs(Behaviour(), Behaviour(exits=1, log=OOM), sleep_mode=True)
    swap(rig, DOTS, QWEN)
    assert rig.plans.worked_with == [0, 0], "with the plan that it was to have"
    assert len(rig.runtime.running) == 1


def test_a_plan_that_does_not_fit_beside_a_sleeping_model_is_made_without_it(rigs: Rigs) -> None:
    rig = rigs(sleep_mode=True)
    swap(rig, DOTS)
    order, asked = rig.plans.order, []

    def order_when_alone(model: str) -> StartOrder:
        asked.append(model)
        if len(rig.runtime.running) > 0:
            raise Refusal(Diagnosis(failure=Failure.VRAM_BUSY, message="no room"))
        return order(model)

    rig.plans.order = order_when_alone  # type: ignore[method-assign]
    swap(rig, QWEN)
    assert asked == [QWEN, QWEN]


def test_the_next_daemon_wakes_what_it_takes_over_and_clears_the_sleepers_away(rigs: Rigs) -> None:
    rig = rigs(sleep_mode=True)
    swap(rig, DOTS, QWEN)
    rig.restart(keep=True)
    assert len(rig.runtime.running) == 1, "nobody leaves a sleeper behind"
    rig.runtime.known[rig.runtime.running[0].id].asleep = True
    swap(rig, QWEN)
    assert rig.runtime.calls.count("create") == 2
    assert "/wake_up" in rig.runtime.calls


# --- the next daemon ----------------------------------------------------------------------------------------


def test_the_next_daemon_adopts_a_server_that_is_still_what_is_wanted(rigs: Rigs) -> None:
    rig = rigs()
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    container = rig.runtime.running[0].id
    rig.restart()
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    assert [one.id for one in rig.runtime.running] == [container]
    assert rig.runtime.calls.count("create") == 1


def test_a_container_of_other_settings_is_replaced(rigs: Rigs) -> None:
    rig = rigs(plans=Plans(smaller=9))
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.plans.size = 1
    rig.restart()
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    assert rig.runtime.calls.count("create") == 2
    assert rig.runtime.most_at_once == 1


def test_another_stores_container_is_left_alone(rigs: Rigs) -> None:
    rig = rigs()
    spec = ContainerSpec(image="sha256:1", model=DOTS, command=())
    other = rig.runtime.create(spec, name="other", instance="someone else")
    rig.runtime.start(other)
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    assert other in {one.id for one in rig.runtime.running}


# --- the container engine comes and goes --------------------------------------------------------------------


def test_an_engine_that_goes_takes_no_server_along_that_answers(rigs: Rigs) -> None:
    rig = rigs(patience=Patience(idle_stop_s=0.0, stop_s=1, settle_s=0.5))
    rig.server.want(DOTS)
    rig.await_state(ServerState.READY)
    rig.runtime.set_down(down=True)
    with rig.lease() as endpoint:
        assert endpoint.model == DOTS
    rig.runtime.set_down(down=False)
    assert rig.runtime.calls.count("create") == 1


def test_an_engine_that_is_away_at_the_start_is_waited_for(rigs: Rigs) -> None:
    rig = rigs()
    rig.runtime.set_down(down=True)
    rig.server.want(DOTS)
    rig.await_state(ServerState.FAILED)
    assert rig.server.facts()["failure"] == Failure.ENGINE_UNAVAILABLE
    assert 0 < rig.server.facts()["retry_in_s"] <= lifecycle.FIRST_PAUSE_S
    with pytest.raises(ServerFault) as caught, rig.lease():
        pass
    assert caught.value.lasting, "it may not be installed at all"
    rig.runtime.set_down(down=False)
    rig.server.look_again()
    rig.await_state(ServerState.READY)


# --- whatever happens ---------------------------------------------------------------------------------------

EVENTS = st.sampled_from(
    ["want dots", "want qwen", "want none", "crash", "exit 0", "down", "up", "unhealthy", "doubt", "look"]
)
STARTS = st.sampled_from(
    [
        Behaviour(),
        Behaviour(),
        Behaviour(sleep="restless"),
        Behaviour(sleep="dead"),
        Behaviour(exits=1, log=OOM),
        Behaviour(exits=1, log=UNSUPPORTED),
        Behaviour(exits=0),
        Behaviour(fault=NO_GPU),
    ]
)


@given(events=st.lists(EVENTS, max_size=12), starts=st.lists(STARTS, max_size=8), sleep_mode=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_events_leaves_two_containers_or_a_waiter_asleep(
    events: list[str], starts: list[Behaviour], sleep_mode: bool
) -> None:
    rig = Rig(*starts, plans=Plans(smaller=1), sleep_mode=sleep_mode)
    rig.start()
    waiters = [threading.Thread(target=_use, args=(rig, model), daemon=True) for model in (DOTS, QWEN) * 2]
    try:
        for waiter in waiters:
            waiter.start()
        for event in events:
            _happen(rig, event)
        rig.runtime.set_down(down=False)
        for waiter in waiters:
            waiter.join(10)
        assert not any(waiter.is_alive() for waiter in waiters)
        assert rig.runtime.most_at_once <= 1
        rig.server.want(QWEN)
        rig.runtime.behaviours.clear()
        wait_until(lambda: _comes(rig), "the server comes in the end", 10)
        assert len(rig.runtime.running) == 1 + len(rig.server.facts()["sleeping"])
        rig.server.want(None)
        wait_until(lambda: rig.server.is_down, "the GPU is given back", 10)
        assert not rig.runtime.running
    finally:
        rig.server.close(keep=False)
        rig.runtime.close_all()
    assert not rig.runtime.running


def _comes(rig: Rig) -> bool:
    if rig.server.serves(QWEN):
        return True
    if rig.server.state in {ServerState.FAILED, ServerState.REFUSED, ServerState.BLOCKED}:
        rig.server.look_again()
    return False


def _use(rig: Rig, model: str) -> None:
    with contextlib.suppress(ServerFault, Stopped), rig.lease(model, patience_s=0.5):
        threading.Event().wait(0.002)


def _happen(rig: Rig, event: str) -> None:
    match event.split():
        case ["want", model]:
            rig.server.want(None if model == "none" else model)
        case ["crash"]:
            rig.runtime.end(137)
        case ["exit", _]:
            rig.runtime.end(0)
        case ["down" | "up" as way]:
            rig.runtime.set_down(down=way == "down")
        case ["unhealthy"]:
            rig.runtime.set_health(healthy=False)
            rig.runtime.end(1)
        case ["doubt"]:
            if rig.canary.asked:
                rig.server.doubt(rig.canary.asked[-1], ServerFault("no answer"))
        case ["look"]:
            rig.server.look_again()
