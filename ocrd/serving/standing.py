"""Where the model server is: what its owner thread and all who want something of it share, under one lock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Condition
from typing import Any

from ocrd.domain import lifecycle
from ocrd.domain.errors import ServerFault
from ocrd.domain.serving import Diagnosis, ServerState
from ocrd.serving.orders import StartOrder
from ocrd.serving.running import Endpoint, Running
from ocrd.serving.startup import StartupLog, eta_s
from ocrd.telemetry.logs import get_logger

log = get_logger()

FAILED = frozenset({ServerState.REFUSED, ServerState.FAILED, ServerState.BLOCKED})
"""It is not there, and is not on its way."""


class Standing:
    """`changed` guards all of it, and is notified at every change. The owner thread alone sets what tells of the
    container; what tells of the wishes is set by others too."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.state = ServerState.ABSENT
        self.running: Running | None = None
        self.order: StartOrder | None = None
        self.startup: StartupLog | None = None
        self.diagnosis: Diagnosis | None = None
        """Of the newest failure."""
        self.retry_at: float | None = None
        """Monotonic; when a start that failed is tried again."""
        self.strikes = 0
        """Failures in a row that count."""
        self.down_since: float | None = None
        """Monotonic; since when a wanted server has not been there."""
        self.has_served = False
        self.wanted: str | None = None
        self.asleep = False
        """Nobody asked for so long that the GPU was given back; the next request wakes it."""
        self.doubt: ServerFault | None = None
        """A request found the server out of order: it is examined before anyone gets it again."""
        self.leases = 0
        self.last_lease = time.monotonic()
        self.turning_away = False
        self.closing = False
        self.keep = False
        """At the end the server is left for the next daemon."""

    def move(self, new: ServerState) -> None:
        """Change the state, and wake everyone."""
        with self.changed:
            lifecycle.check_server_move(self.state, new)
            self.state = new
            if new is ServerState.READY:
                self.down_since = None
            elif self.down_since is None and self.wanted is not None and not self.asleep:
                self.down_since = time.monotonic()
            self.changed.notify_all()
        log.debug("model_server", state=new)

    def begin_anew(self) -> None:
        """Let earlier failures not count any more. Called with the lock."""
        self.retry_at = None
        self.strikes = 0
        if self.state in FAILED:
            self.move(ServerState.ABSENT)
        self.changed.notify_all()

    @property
    def target(self) -> str | None:
        """The model that is to be there: none while the server sleeps."""
        return None if self.asleep else self.wanted

    def ready_for(self, model: str) -> Endpoint | None:
        """The server, if it can be asked for this model now."""
        running = self.running
        if self.state is not ServerState.READY or running is None or self.wanted != model:
            return None
        return running.endpoint if running.endpoint.model == model and self.doubt is None else None

    def is_down_for(self, seconds: float) -> bool:
        """Whether a wanted server has not been there for so long."""
        return self.down_since is not None and time.monotonic() - self.down_since >= seconds

    def facts(self, sleeping: Sequence[str]) -> dict[str, Any]:
        """What `ocrd status` tells."""
        with self.changed:
            order, now = self.order, time.monotonic()
            details = {} if order is None else order.details
            running = self.running
            ready = self.state is ServerState.READY
            return {
                "state": self.state.value,
                "phase": self._phase(),
                "eta_s": self._eta_s(now),
                "phases": self.phases(),
                "model": order.model if order is not None else self.wanted,
                "wanted": self.wanted,
                "url": running.endpoint.base_url if running is not None and ready else None,
                "container": running.short_id if running is not None else None,
                "image": details.get("image"),
                "version": details.get("version"),
                "plan": details.get("plan"),
                "asleep": self.asleep,
                "sleeping": list(sleeping),
                "retry_in_s": None if self.retry_at is None else round(max(0.0, self.retry_at - now), 1),
                "failure": self.diagnosis.failure.value if self.diagnosis and not ready else None,
                "problem": self.problem if self.diagnosis and not ready else "",
                "hint": self.hint if not ready else "",
            }

    def _phase(self) -> str | None:
        if self.state is not ServerState.STARTING or self.startup is None:
            return None
        return self.startup.phase.value

    def phases(self) -> dict[str, float]:
        """Seconds of each phase of the newest start."""
        if self.startup is None:
            return {}
        spent = self.startup.durations(time.monotonic()).seconds
        return {phase.value: round(seconds, 2) for phase, seconds in spent.items()}

    def _eta_s(self, now: float) -> float | None:
        if self.state is not ServerState.STARTING or self.startup is None or self.order is None:
            return None
        elapsed_s = self.startup.elapsed_in_phase(now)
        left_s = eta_s(self.startup.phase, elapsed_s, self.order.learned, self.order.expected_s)
        return None if left_s is None else round(left_s, 1)

    @property
    def problem(self) -> str:
        """Why there is no server."""
        return self.diagnosis.message if self.diagnosis is not None else "the model server is not there"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self.diagnosis.hint if self.diagnosis is not None else ""
