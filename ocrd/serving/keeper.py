"""The thread that owns the one warm container: everything that happens until a wanted model is there, and after."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from threading import Thread

from ocrd.domain import lifecycle
from ocrd.domain.errors import ServerFault
from ocrd.domain.ports import ContainerRuntime
from ocrd.domain.serving import (
    MODEL_LABEL,
    SPEC_LABEL,
    ContainerFault,
    Diagnosis,
    Failure,
    ServerState,
)
from ocrd.serving.orders import Planner, Records, Refusal, StartOrder
from ocrd.serving.running import WATCH_S, Containers, Endpoint, Running, is_healthy
from ocrd.serving.sleeping import Sleepers, rouse
from ocrd.serving.standing import FAILED, Standing
from ocrd.serving.startup import StartupLog
from ocrd.telemetry.logs import get_logger

log = get_logger()

_STEP_S = 0.2
_LOG_KEPT = 60_000
"""Characters of a failed start's log that are remembered."""
_SEE_LOG = "see its log: docker logs, or a longer [server] start_timeout_s"
_YIELDED = "close that program, or set [server] yield_below_mib to 0; ocrd looks again every minute"
_CROWDED_LOOKS = 2
"""In a row, five seconds apart: a program that starts may take more for a moment."""
_PLATEAU = 10
"""Looks in a row, each half a second after the other, that find the same: nothing more will come back."""
_SETTLED_MIB = 128
"""Memory that other programs may have taken meanwhile."""


Check = Callable[[Endpoint], None]
"""Puts a known page to a server. Raises ServerFault that says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each thing may take, in seconds."""

    start_s: float = 1800.0
    """Until ready, whatever progress there is."""
    stall_s: float = 300.0
    """Without any progress while it starts."""
    drain_s: float = 330.0
    """For the requests in hand before a stop."""
    stop_s: float = 30.0
    """From SIGTERM to SIGKILL: less leaves GPU memory behind under WSL2 (vLLM issue 55510)."""
    settle_s: float = 20.0
    """For the GPU's memory to be given back."""
    refused_s: float = 60.0
    """Until a plan that was refused is looked at again."""
    look_s: float = WATCH_S
    """Between two looks at a server that is ready."""
    idle_stop_s: float = 0.0
    """Without a request until the GPU is given back; 0: never."""
    good_s: float = 600.0
    """A server that was ready for so long has paid for its earlier failures."""


class Keeper:
    """Made by `ModelServer`, which tells what it is for; only its own thread touches the container."""

    def __init__(
        self,
        standing: Standing,
        runtime: ContainerRuntime,
        planner: Planner,
        *,
        check: Check,
        patience: Patience,
        yield_below_mib: int,
        sleep_mode: bool,
    ) -> None:
        self._standing = standing
        self._runtime = runtime
        self._planner = planner
        self._check = check
        self._patience = patience
        self._yield_below_mib = yield_below_mib
        self._sleepers = Sleepers(enabled=sleep_mode)
        self._containers = Containers(runtime, "", standing.changed)
        self._records: Records | None = None
        self._crowded = 0
        self._unclean = False
        self._blocked: str | None = None
        self._thread = Thread(target=self._own, name="model-server", daemon=True)

    def start(self, records: Records, instance: str) -> None:
        """Begin with the containers of this store's daemon."""
        self._records = records
        self._containers = Containers(self._runtime, instance, self._standing.changed)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, which it does once `standing.closing` is set."""
        if self._thread.is_alive():
            self._thread.join(self._patience.stop_s + self._patience.settle_s + 15.0)

    @property
    def sleeping(self) -> list[str]:
        """The models whose servers sleep."""
        return self._sleepers.models

    # --- the owner thread -----------------------------------------------------------------------------------

    def _own(self) -> None:
        while True:
            try:
                if not self._step():
                    return
            except ContainerFault as fault:
                self._lose(fault.diagnosis)
            except Exception as err:  # the owner must outlive everything, or all waiters would sleep
                log.exception("model_server_failed")
                self._lose(
                    Diagnosis(failure=Failure.EXITED, message=f"the model server's keeper failed: {err!r}")
                )

    def _step(self) -> bool:
        """One thing to do; False when there will be nothing more."""
        running = self._standing.running
        if self._standing.closing:
            if running is not None and not self._standing.keep:
                self._end_running()
            self._sleepers.dismiss(stop_s=self._patience.stop_s)
            return False
        if running is None:
            model = self._due()
            if model is not None:
                self._bring_up(model)
            elif self._standing.target is None:
                self._send_all_away()
        elif (
            self._standing.wanted != running.endpoint.model
            or self._standing.state is not ServerState.READY
            or self._is_idle()
        ):
            self._end_running()  # also a start that was called off, even if it is wanted again by now
        else:
            self._watch(running)
        return True

    def _send_all_away(self) -> None:
        """Nothing is wanted: nothing of ours stays on the GPU."""
        self._sleepers.dismiss(stop_s=self._patience.stop_s)
        if self._unclean:
            self._containers.clear_away(keep=(), timeout_s=self._patience.stop_s)
            self._unclean = False

    def _due(self) -> str | None:
        """The model to start now; waits for a change, or for the time of the next try, if there is none."""
        with self._standing.changed:
            model = self._standing.target
            if model is None and not self._unclean and not self._sleepers.models:
                self._settle_down()
                self._standing.changed.wait_for(
                    lambda: self._standing.closing or self._standing.target is not None
                )
                return None
            blocked = self._standing.state is ServerState.BLOCKED and model == self._blocked
            pause_s = 0.0 if self._standing.retry_at is None else self._standing.retry_at - time.monotonic()
            if not blocked and pause_s <= 0:
                return model
            state = self._standing.state
            self._standing.changed.wait_for(
                lambda: (
                    self._standing.closing
                    or self._standing.target != model
                    or self._standing.state is not state
                ),
                None if blocked else pause_s,
            )
            return None

    def _settle_down(self) -> None:
        if self._standing.state in FAILED or self._standing.state is ServerState.PLANNING:
            self._standing.diagnosis = None
            self._standing.move(ServerState.ABSENT)

    def _is_idle(self) -> bool:
        limit = self._patience.idle_stop_s
        with self._standing.changed:
            idle = not self._standing.leases and time.monotonic() - self._standing.last_lease > limit
            self._standing.asleep = bool(limit) and idle and self._standing.state is ServerState.READY
            return self._standing.asleep

    # --- starting -------------------------------------------------------------------------------------------

    def _bring_up(self, model: str) -> None:
        began, started_at = time.monotonic(), datetime.now(UTC).timestamp()
        if self._standing.state is not ServerState.PLANNING:
            self._standing.move(ServerState.PLANNING)
        if self._wake_up(model):
            return
        try:
            order = self._start(model)
            diagnosis = self._wait_until_ready(order)
        except Refusal as refusal:
            self._put_off(refusal)
            return
        except ContainerFault as fault:
            diagnosis = fault.diagnosis
        seconds = time.monotonic() - began
        if diagnosis is not None:
            if self._standing.order is not None:
                self._note(self._standing.order, started_at, seconds, diagnosis)
            self._fail(diagnosis)

    def _wake_up(self, model: str) -> bool:
        """Whether a server of the model slept, and was put to the test."""
        began = time.monotonic()
        sleeper = self._sleepers.wake(model, stop_s=self._patience.stop_s)
        if sleeper is None:
            return False
        self._begin(sleeper.order)
        self._standing.running = sleeper.running
        self._standing.move(ServerState.CANARY)
        diagnosis = self._examine(sleeper.running)
        if diagnosis is not None and not self._standing.closing:
            self._sleepers.give_up(f"{model} does not read any more after it has slept")
            self._fail(diagnosis)
        elif not self._standing.closing:
            self._make_ready(sleeper.running)
            log.info("model_woke_up", model=model, seconds=round(time.monotonic() - began, 1))
        return True

    def _start(self, model: str) -> StartOrder:
        """Take over what runs, or start anew; then `_running` is set. Raises Refusal and ContainerFault."""
        self._standing.order = None
        order = self._adopt(model)
        if order is not None:
            self._unclean = False
            return order
        cleared = self._containers.clear_away(keep=self._sleepers.ids, timeout_s=self._patience.stop_s)
        self._unclean = False
        if cleared:
            self._settle(None)
        order = self._plan(model)
        self._begin(order)
        free_before = self._planner.free_mib()
        container_id = self._containers.make(order.spec)
        self._standing.move(ServerState.STARTING)
        self._standing.running = self._containers.start(container_id, model)
        self._standing.running.free_before = free_before
        log.info("container_started", container=container_id[:12], model=model, image=order.image_id)
        return order

    def _plan(self, model: str) -> StartOrder:
        """Raises Refusal. What keeps the memory may be a model that sleeps."""
        try:
            return self._planner.order(model)
        except Refusal:
            if not self._wake_nobody("there is no room beside a model that sleeps"):
                raise
            self._settle(None)
            return self._planner.order(model)

    def _wake_nobody(self, why: str) -> bool:
        """Whether models slept, which are stopped now, as they will be from now on."""
        if not self._sleepers.dismiss(stop_s=self._patience.stop_s):
            return False
        self._sleepers.give_up(why)
        return True

    def _adopt(self, model: str) -> StartOrder | None:
        """A container of ours that runs and is what is wanted; all others are cleared away then."""
        for container in self._containers.ours():
            labels = container.labels
            if not container.is_running or labels.get(MODEL_LABEL) != model:
                continue
            order = self._planner.recall(model, labels.get(SPEC_LABEL, ""))
            if order is not None and container.host_port is not None:
                self._containers.clear_away(keep=(container.id,), timeout_s=self._patience.stop_s)
                self._begin(order)
                self._standing.running = self._containers.adopt(container, model)
                if self._sleepers.enabled:
                    rouse(self._standing.running)
                log.info("container_adopted", container=container.id[:12], model=model)
                self._standing.move(ServerState.STARTING)
                return order
        return None

    def _begin(self, order: StartOrder) -> None:
        with self._standing.changed:
            self._standing.order = order
            self._standing.startup = StartupLog(time.monotonic())

    def _put_off(self, refusal: Refusal) -> None:
        with self._standing.changed:
            self._standing.diagnosis = refusal.diagnosis
            self._standing.retry_at = time.monotonic() + self._patience.refused_s
        log.error("model_refused", reason=str(refusal), hint=refusal.hint)
        self._standing.move(ServerState.REFUSED)

    def _note(
        self, order: StartOrder, started_at: float, seconds: float, diagnosis: Diagnosis | None
    ) -> None:
        details = dict(order.details)
        if self._standing.startup is not None:
            details["phases"] = self._standing.phases()
            if diagnosis is not None:
                details["log"] = self._standing.startup.text[-_LOG_KEPT:]
            measured = asdict(self._standing.startup.measured)
            details["measured"] = {name: value for name, value in measured.items() if value is not None}
        assert self._records is not None, "given at the start"
        self._records.note_start(
            model=order.model,
            image_id=order.image_id,
            spec=order.spec.hash,
            started_at=started_at,
            seconds=seconds,
            failure="" if diagnosis is None else diagnosis.failure.value,
            message="" if diagnosis is None else diagnosis.message,
            details=details,
        )

    def _wait_until_ready(self, order: StartOrder) -> Diagnosis | None:
        """Follow the start; None when it is ready, or was called off."""
        running, startup = self._standing.running, self._standing.startup
        assert running is not None, "just started"
        assert startup is not None, "made with the order"
        began, started_at = time.monotonic(), datetime.now(UTC).timestamp()
        with running.followed(startup):
            while not running.answers():
                if self._standing.closing or self._standing.wanted != order.model:
                    return None
                diagnosis = self._trouble(running, startup, began)
                if diagnosis is not None:
                    return diagnosis
                with self._standing.changed:
                    self._standing.changed.wait_for(
                        lambda: running.has_ended or self._standing.closing, _STEP_S
                    )
        self._standing.move(ServerState.CANARY)
        diagnosis = self._examine(running)
        if diagnosis is not None or self._standing.closing:
            return None if self._standing.closing else diagnosis
        seconds = time.monotonic() - began
        learned = self._planner.worked(order, startup, taken_mib=self._taken_mib(running))
        self._note(replace(order, details={**order.details, **learned}), started_at, seconds, None)
        self._make_ready(running)
        log.info("model_ready", model=order.model, seconds=round(seconds, 1))
        return None

    def _taken_mib(self, running: Running) -> int | None:
        free = None if running.free_before is None else self._planner.free_mib()
        return None if free is None or running.free_before is None else max(0, running.free_before - free)

    def _trouble(self, running: Running, startup: StartupLog, began: float) -> Diagnosis | None:
        if running.has_ended:
            return running.diagnose()
        now, patience = time.monotonic(), self._patience
        if now - max(began, startup.last_progress) > patience.stall_s:
            message = f"no progress for {patience.stall_s:g} s while {startup.phase.value}"
            return Diagnosis(failure=Failure.STALLED, message=message, hint=_SEE_LOG)
        if now - began > patience.start_s:
            message = f"not ready after {patience.start_s:g} s, still {startup.phase.value}"
            return Diagnosis(failure=Failure.START_TIMEOUT, message=message, hint=_SEE_LOG)
        return None

    def _examine(self, running: Running) -> Diagnosis | None:
        """Put the known page to it; None if that came back."""
        try:
            self._check(running.endpoint)
        except ServerFault as fault:
            return self._judge(running, fault)
        return None

    def _judge(self, running: Running, fault: ServerFault) -> Diagnosis:
        """Why the known page did not come back."""
        if running.has_ended or not running.is_alive():
            return running.diagnose()
        failure = Failure.CANARY_FAILED if fault.lasting else Failure.ENGINE_DIED
        return Diagnosis(failure=failure, message=str(fault), hint=fault.hint)

    def _make_ready(self, running: Running) -> None:
        with self._standing.changed:
            self._standing.has_served = True
            running.ready_since = running.ready_since or time.monotonic()
            self._standing.doubt = None
            self._standing.diagnosis = None
            self._standing.last_lease = time.monotonic()
        self._standing.move(ServerState.READY)

    # --- while it runs --------------------------------------------------------------------------------------

    def _watch(self, running: Running) -> None:
        """Wait until something is to be done about a server that is ready."""
        with self._standing.changed:
            self._standing.changed.wait_for(
                lambda: (
                    self._standing.closing
                    or self._standing.doubt is not None
                    or running.has_ended
                    or self._standing.wanted != running.endpoint.model
                ),
                min(self._patience.look_s, self._patience.idle_stop_s or self._patience.look_s),
            )
            doubt = self._standing.doubt
            if time.monotonic() - running.ready_since > self._patience.good_s:
                self._standing.strikes = 0
        if running.has_ended:
            self._fail(running.diagnose())
        elif doubt is not None:
            self._standing.move(ServerState.CANARY)
            diagnosis = self._judge(running, doubt) if doubt.in_hand else self._examine(running)
            if self._standing.closing:
                return  # the check was broken off; the next daemon makes its own
            if diagnosis is not None:
                self._fail(diagnosis)
            else:
                self._make_ready(running)
        else:
            self._look_at(running)
            self._yield_if_crowded()

    def _yield_if_crowded(self) -> None:
        """Give the GPU to another program that has filled it, and look from time to time whether there is room again."""
        free = self._planner.free_mib() if self._yield_below_mib else None
        crowded = free is not None and free < self._yield_below_mib
        self._crowded = self._crowded + 1 if crowded else 0
        if self._crowded < _CROWDED_LOOKS or self._standing.closing:
            return
        self._crowded = 0
        self._end_running()
        message = f"another program needs the GPU: {free} MiB were free, [server] yield_below_mib is {self._yield_below_mib}"
        self._standing.move(ServerState.PLANNING)
        self._put_off(Refusal(Diagnosis(failure=Failure.VRAM_BUSY, message=message, hint=_YIELDED)))

    def _look_at(self, running: Running) -> None:
        """Without the container engine a server may well go on; what counts is whether it answers."""
        try:
            running.is_alive()
        except ContainerFault:
            if not is_healthy(running.endpoint.base_url):
                raise

    # --- failing --------------------------------------------------------------------------------------------

    def _fail(self, diagnosis: Diagnosis) -> None:
        """Clear away what is left of the container, and decide what comes next."""
        running, self._standing.running = self._standing.running, None
        model = self._standing.wanted
        if running is not None:
            model = running.endpoint.model
            try:
                running.remove(self._patience.stop_s)
            except ContainerFault:
                self._unclean = (
                    True  # then it is cleared away before the next start, or when nothing is wanted
                )
        if diagnosis.failure not in lifecycle.UNCOUNTED:
            self._standing.strikes += 1
        smaller = model is not None and self._step_down(model, diagnosis)
        verdict = lifecycle.after_failure(
            diagnosis.failure,
            strikes=self._standing.strikes,
            smaller_plan=smaller,
            was_ready=running is not None and running.ready_since > 0,
        )
        with self._standing.changed:
            self._standing.diagnosis = diagnosis
            self._standing.doubt = None
            blocked = verdict.state is ServerState.BLOCKED
            self._blocked = model if blocked else None
            self._standing.retry_at = None if blocked else time.monotonic() + verdict.pause_s
        log.error(
            "model_failed",
            model=model,
            failure=diagnosis.failure,
            reason=diagnosis.message,
            hint=diagnosis.hint or None,
            retry_in_s=None if blocked else verdict.pause_s,
        )
        self._standing.move(verdict.state)

    def _step_down(self, model: str, diagnosis: Diagnosis) -> bool:
        """Whether another start may go better: with the memory of models that sleep, or with a smaller plan."""
        crowded = diagnosis.failure in lifecycle.STEPS_DOWN
        if crowded and self._wake_nobody("a model did not start beside one that sleeps"):
            return True
        return self._planner.step_down(model, diagnosis)

    def _lose(self, diagnosis: Diagnosis) -> None:
        """The container engine does not answer: what runs is looked for again when it does."""
        running, self._standing.running = self._standing.running, None
        if running is not None:
            running.release()
        self._sleepers.forget()
        self._unclean = True
        with self._standing.changed:
            repeated = (
                self._standing.diagnosis is not None and self._standing.diagnosis.message == diagnosis.message
            )
            self._standing.diagnosis = diagnosis
            self._standing.doubt = None
            self._standing.retry_at = time.monotonic() + lifecycle.FIRST_PAUSE_S
            self._standing.down_since = self._standing.down_since or time.monotonic()
            self._standing.state = ServerState.FAILED  # from wherever it was: nothing is known any more
            self._standing.changed.notify_all()
        if not repeated:
            log.error(
                "container_engine_lost",
                reason=diagnosis.message,
                hint=diagnosis.hint or None,
                container=None if running is None else running.short_id,
            )

    # --- ending ---------------------------------------------------------------------------------------------

    def _end_running(self) -> None:
        """Drain, stop, and wait until the memory is back."""
        running = self._standing.running
        assert running is not None, "called for what runs"
        if self._standing.state is ServerState.READY:
            self._standing.move(ServerState.DRAINING)
            self._drain(running)
        self._standing.move(ServerState.STOPPING)
        sleeps = self._lay_down(running)
        if not sleeps:
            log.info("container_stopping", container=running.short_id, model=running.endpoint.model)
            running.remove(self._patience.stop_s)
        with self._standing.changed:
            self._standing.running = None
            self._standing.order = None
        self._standing.move(ServerState.SETTLING)
        if not sleeps:
            self._settle(running.free_before)
        self._standing.move(ServerState.ABSENT)

    def _lay_down(self, running: Running) -> bool:
        """Whether a server that was ready sleeps now, because another model has its turn."""
        order, follows = self._standing.order, self._standing.wanted not in {None, running.endpoint.model}
        if (
            order is None
            or not follows
            or self._standing.asleep
            or self._standing.closing
            or not running.ready_since
        ):
            return False
        with self._standing.changed:
            if self._standing.leases:  # asleep in the middle of a page, it would lose the GPU
                return False
        return self._sleepers.lay_down(running, order, self._planner.free_mib)

    def _drain(self, running: Running) -> None:
        with self._standing.changed:
            self._standing.changed.wait_for(
                lambda: not self._standing.leases or running.has_ended or self._standing.closing,
                self._patience.drain_s,
            )

    def _settle(self, free_before: int | None) -> None:
        """The driver gives memory back after the process has ended; a start before that gets too little. Until as much
        is free as before, or nothing changes any more."""
        deadline, last, same = time.monotonic() + self._patience.settle_s, -1, 0
        while time.monotonic() < deadline and same < _PLATEAU:
            free = self._planner.free_mib()
            if free is None or (free_before is not None and free >= free_before - _SETTLED_MIB):
                return
            same = same + 1 if free == last else 0
            last = free
            with self._standing.changed:
                self._standing.changed.wait_for(lambda: self._standing.closing, 0.5)
