"""The one warm container: which model is wanted, and everything that happens until it is there, or why it is not.

One thread owns the container and all state; others say which model they want (`want`), and borrow the server for a
request (`lease`), which is the only question they may ask. Every change of state wakes all who wait.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from threading import Event
from typing import Any

from ocrd.domain import lifecycle
from ocrd.domain.errors import ServerFault, Stopped
from ocrd.domain.ports import ContainerRuntime
from ocrd.domain.serving import Diagnosis, Failure, ServerState
from ocrd.serving.keeper import Check, Keeper, Patience
from ocrd.serving.orders import Planner, Records
from ocrd.serving.running import Endpoint
from ocrd.serving.standing import FAILED, Standing

_LEASE_STEP_S = 0.5


class ModelServer:
    """Thread-safe. `start` begins the owner thread, `close` ends it."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        planner: Planner,
        *,
        check: Check,
        patience: Patience | None = None,
        yield_below_mib: int = 0,
        sleep_mode: bool = False,
    ) -> None:
        """`yield_below_mib`: with less than this free on the GPU, another program needs it, and gets it; 0: never.
        `sleep_mode`: a server whose model another one follows sleeps, instead of being stopped."""
        self._runtime = runtime
        self._planner = planner
        self._standing = Standing()
        self._keeper = Keeper(
            self._standing,
            runtime,
            planner,
            check=check,
            patience=patience or Patience(),
            yield_below_mib=yield_below_mib,
            sleep_mode=sleep_mode,
        )

    def start(self, records: Records, instance: str) -> None:
        """Begin. `instance` names the store whose daemon this is: containers of other ones are left alone."""
        self._keeper.start(records, instance)

    def want(self, model: str | None) -> None:
        """Which model is to be there; None gives the GPU back. What is being served is drained first."""
        with self._standing.changed:
            if model == self._standing.wanted:
                return
            self._standing.wanted = model
            self._standing.asleep = False
            self._standing.down_since = None if model is None else time.monotonic()
            self._standing.begin_anew()

    @property
    def wanted(self) -> str | None:
        """The model that is to be there."""
        return self._standing.wanted

    @property
    def is_down(self) -> bool:
        """Whether no container of ours runs and none is to come."""
        with self._standing.changed:
            nothing_wanted = self._standing.wanted is None and self._standing.state is ServerState.ABSENT
            return nothing_wanted and self._standing.running is None and not self._keeper.sleeping

    def look_again(self) -> None:
        """Something has changed (an image, the cache, the memory): a start that was put off is tried now."""
        with self._standing.changed:
            self._planner.forgive()
            self._standing.begin_anew()

    def serves(self, model: str) -> bool:
        """Whether the model is ready now."""
        with self._standing.changed:
            return self._standing.ready_for(model) is not None

    def problem_of(self, model: str) -> Diagnosis | None:
        """Why a wanted model does not come, if it failed, was refused or is blocked."""
        with self._standing.changed:
            if self._standing.wanted != model or self._standing.state in lifecycle.COMING:
                return None
            return None if self._standing.state is ServerState.READY else self._standing.diagnosis

    @contextlib.contextmanager
    def lease(self, model: str, stop: Event, *, patience_s: float) -> Iterator[Endpoint]:
        """The server, for one request; waits while it is on its way, at most until it has been down for `patience_s`.

        Raises ServerFault: `lasting` if waiting is no use, or has been of none for so long; and Stopped.
        """
        endpoint = self._borrow(model, stop, patience_s)
        try:
            yield endpoint
        finally:
            with self._standing.changed:
                self._standing.leases -= 1
                self._standing.last_lease = time.monotonic()
                self._standing.changed.notify_all()

    def _borrow(self, model: str, stop: Event, patience_s: float) -> Endpoint:
        with self._standing.changed:
            while True:
                endpoint = self._standing.ready_for(model)
                if endpoint is not None:
                    self._standing.leases += 1
                    self._standing.last_lease = time.monotonic()
                    return endpoint
                if self._standing.asleep:
                    self._standing.asleep = False
                    self._standing.down_since = time.monotonic()
                    self._standing.changed.notify_all()
                self._refuse_if_vain(model, stop, patience_s)
                self._standing.changed.wait(_LEASE_STEP_S)

    def _refuse_if_vain(self, model: str, stop: Event, patience_s: float) -> None:
        if stop.is_set() or self._standing.closing or self._standing.turning_away:
            raise Stopped
        if self._standing.wanted is None:
            raise ServerFault("the model server is switched off", hint="ocrd models start", lasting=True)
        if self._standing.wanted != model:
            raise ServerFault(f"{self._standing.wanted} is being served, not {model}")
        if self._standing.state in FAILED:
            lasting = self._is_lasting() or self._standing.is_down_for(patience_s)
            raise ServerFault(self._standing.problem, hint=self._standing.hint, lasting=lasting)
        if self._standing.is_down_for(patience_s):
            raise ServerFault(f"the model server is not ready after {patience_s:g} s", lasting=True)

    def _is_lasting(self) -> bool:
        """Whether waiting is no use. A container engine that was never there may not be installed at all."""
        if self._standing.state is not ServerState.FAILED:
            return True
        lost = (
            self._standing.diagnosis is not None
            and self._standing.diagnosis.failure is Failure.ENGINE_UNAVAILABLE
        )
        return lost and not self._standing.has_served

    def turn_away(self) -> None:
        """Lend to nobody any more: who waits is Stopped at once; requests in hand are finished."""
        with self._standing.changed:
            self._standing.turning_away = True
            self._standing.changed.notify_all()

    def doubt(self, endpoint: Endpoint, fault: ServerFault) -> None:
        """A request found this server out of order: it is checked before anyone gets it again. If a known page was put
        to it already and did not come back (`fault.in_hand`), it is started anew."""
        with self._standing.changed:
            if self._standing.running is not None and self._standing.running.endpoint == endpoint:
                if self._standing.doubt is None or fault.in_hand:
                    self._standing.doubt = fault
                self._standing.changed.notify_all()

    def check_again(self) -> None:
        """The machine has slept: a server that was ready is put to the test before anyone gets it, a start that was put
        off is tried now."""
        with self._standing.changed:
            if self._standing.state is ServerState.READY and self._standing.doubt is None:
                self._standing.doubt = ServerFault("the machine has slept")
            elif self._standing.state in FAILED:
                self._standing.begin_anew()
            self._standing.changed.notify_all()

    @property
    def state(self) -> ServerState:
        """Where the server is."""
        return self._standing.state

    def facts(self) -> dict[str, Any]:
        """What `ocrd status` tells."""
        return self._standing.facts(self._keeper.sleeping)

    def close(self, *, keep: bool) -> None:
        """End the owner thread; `keep` leaves a server that is ready, or on its way, for the next daemon."""
        with self._standing.changed:
            self._standing.closing, self._standing.keep = True, keep
            self._standing.changed.notify_all()
        self._keeper.join()
        self._runtime.close()
