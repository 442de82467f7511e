"""Two models take turns on one GPU: carries out what `domain/swapping.py` decides.

The pages in hand are finished, the server exchanges the models, and pages of the other side are handed out. A fallback
model that does not come is given up: its pages go on without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ocrd.daemon.desk import Desk
from ocrd.daemon.managed import ManagedFallback
from ocrd.domain.lifecycle import UNCOUNTED
from ocrd.domain.swapping import Costs, Decision, History, Queues, Side, decide, round_trip
from ocrd.host import faults
from ocrd.serving.server import ModelServer
from ocrd.telemetry.logs import get_logger

log = get_logger()


@dataclass(slots=True)
class _Exchange:
    """The models are being exchanged."""

    to: Side
    began: float


class Shifts:
    """`tick` is called every second or so, by one thread."""

    def __init__(
        self,
        desk: Desk,
        server: ModelServer,
        *,
        main: str,
        fallback: ManagedFallback,
        costs: Costs,
        pending: Callable[[], int],
        once: bool,
    ) -> None:
        self._desk = desk
        self._server = server
        self._models = {Side.MAIN: main, Side.FALLBACK: fallback.model}
        self._fallback = fallback
        self._costs = costs
        self._pending = pending
        self._once = once
        self._exchange: _Exchange | None = None
        self._held = False
        self._measured: float | None = None
        self._there_s = 0.0
        self._history = History()
        self._last_tick = time.monotonic()
        self._last_work = time.monotonic()
        self._reason = ""

    @property
    def side(self) -> Side:
        """Whose pages are being handed out."""
        return self._desk.side

    def facts(self) -> dict[str, Any]:
        """What `ocrd status` tells."""
        waits = self._desk.parked_waits()
        return {
            "side": self._desk.side.value,
            "parked": len(waits),
            "oldest_parked_s": round(max(waits, default=0.0), 1),
            "swapping": self._exchange is not None or self._held,
            "reason": self._reason,
        }

    def tick(self) -> None:
        """Look at the queues, and begin, go on with or end an exchange."""
        self._count_work()
        if self._exchange is not None:
            self._go_on(self._exchange)
        elif self._server.wanted in self._models.values() and not self._desk.paused:
            self._look()

    def _count_work(self) -> None:
        now = time.monotonic()
        if self._desk.in_flight and self._exchange is None:
            self._last_work = now
            busy_s = self._history.busy_s + now - self._last_tick
            self._history = replace(self._history, busy_s=busy_s)
        self._last_tick = now

    def _look(self) -> None:
        waits = self._desk.parked_waits()
        side = self._desk.side
        if side is Side.MAIN and not (waits and self._fallback.is_usable):
            self._hold(held=False)
            return
        primary = self._pending()
        in_flight = self._desk.in_flight
        queues = Queues(
            primary=primary,
            parked=len(waits),
            parked_wait_s=sum(waits),
            oldest_parked_s=max(waits, default=0.0),
            in_flight=in_flight,
            inbox_quiet_s=0.0 if primary else time.monotonic() - self._last_work,
            flush=self._once and not primary and not in_flight,
        )
        self._obey(decide(side, queues, self._costs, self._history))

    def _obey(self, decision: Decision) -> None:
        self._reason = decision.reason
        if decision.side is self._desk.side:
            self._hold(held=decision.drain)
            return
        # Held first, then looked at once more: a page may just have been taken in hand.
        if not self._held:
            self._hold(held=True)
            return
        self._begin(decision.side)

    def _hold(self, *, held: bool) -> None:
        if held != self._held:
            self._held = held
            self._desk.hold(held=held)

    def _begin(self, to: Side) -> None:
        log.info("models_swap", to=self._models[to], reason=self._reason)
        faults.point("swap.begin")
        self._exchange = _Exchange(to, time.monotonic())
        self._server.want(self._models[to])

    def _go_on(self, exchange: _Exchange) -> None:
        model = self._models[exchange.to]
        if self._server.serves(model):
            self._arrive(exchange)
        elif self._server.wanted != model:  # stopped, or lent to someone: begun anew when it is back
            self._arrive(_Exchange(Side.MAIN, exchange.began))
        elif (problem := self._server.problem_of(model)) is not None and problem.failure not in UNCOUNTED:
            self._turn_back(exchange, problem.message)

    def _turn_back(self, exchange: _Exchange, reason: str) -> None:
        """Parked pages must not wait for a model that does not come; pages of the main model know how to wait."""
        if exchange.to is Side.FALLBACK:
            log.error("fallback_given_up", model=self._models[Side.FALLBACK], reason=reason)
            self._fallback.give_up()
            self._begin(Side.MAIN)
        else:
            self._arrive(exchange)

    def _arrive(self, exchange: _Exchange) -> None:
        took_s = time.monotonic() - exchange.began
        if exchange.to is Side.FALLBACK:
            self._there_s = took_s
            self._history = History(setup_s=took_s, busy_s=0.0)
        else:
            self._measured = round_trip(self._measured, self._there_s + took_s)
            self._costs = replace(self._costs, round_trip_s=self._measured)
            self._history = replace(self._history, setup_s=self._history.setup_s + took_s)
        log.info("models_swapped", model=self._models[exchange.to], seconds=round(took_s, 1))
        faults.point("swap.arrived")
        self._exchange = None
        self._desk.turn(exchange.to)
        self._hold(held=False)
