"""The rasterizer's helpers: warm child processes, few of them, and each request gets one for its time."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from threading import Condition, Event
from time import monotonic
from typing import Any

from ocrd.domain.errors import ServerFault
from ocrd.host.commands import Child, ChildDied, ChildPlace, ChildStopped, ChildTimeout

START_TIMEOUT_S = 60.0
"""For a child to load its libraries; takes 0.2 s on a quiet machine."""
WORTH_A_START_S = 1.0
"""Another child is started when requests have waited so long, all together, for one that is warm: a few times what it
takes. A job takes 0.03 s as a rule, so that one child serves two cores; a job that hangs is soon joined by others."""
_PROGRAM = (sys.executable, "-m", "ocrd.pipeline.rasterizer_child")
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}
"""Poppler's messages are read; they must not be translated."""
_POLL_S = 0.1


class Pool:
    """Places for children. Thread-safe."""

    def __init__(self, places: int) -> None:
        """Starts nothing yet."""
        self._places = places
        self._idle = [Worker() for _ in range(places)]
        """The one that was used last stands last: it is warm."""
        self._changed = Condition()
        self._waited_s = 0.0

    def warm(self) -> None:
        """Start a child for the first request and return at once. Raises ServerFault if no process can be started."""
        self._idle[-1].start()

    @contextlib.contextmanager
    def worker(self, stop: Event) -> Iterator[Worker]:
        """A worker for the time of the block. Waits while all are busy; raises ChildStopped if `stop` is set first."""
        worker = self._take(stop)
        try:
            yield worker
        finally:
            with self._changed:
                self._idle.append(worker)
                self._changed.notify_all()

    def _take(self, stop: Event) -> Worker:
        began = monotonic()
        with self._changed:
            while not stop.is_set():
                worker = self._choose(monotonic() - began)
                if worker is not None:
                    self._idle.remove(worker)
                    return worker
                self._changed.wait(_POLL_S)
        raise ChildStopped

    def _choose(self, waited_s: float) -> Worker | None:
        """A warm one; a new one where none is warm, or when waiting has become as dear as a start; else none yet."""
        if not self._idle:
            return None
        latest = next((worker for worker in reversed(self._idle) if worker.is_warm), None)
        if latest is not None:
            self._waited_s += waited_s
            return latest
        if len(self._idle) < self._places and self._waited_s + waited_s < WORTH_A_START_S:
            return None
        self._waited_s = 0.0
        return self._idle[-1]

    def close(self) -> None:
        """End all children, when those that are busy are given back. Returns when no child is left."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._idle) == self._places)
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.close()


class Worker(ChildPlace):
    """A child that renders, which says hello before its first job: loading must not count as the job's time."""

    def __init__(self) -> None:
        super().__init__(_PROGRAM, env=_ENVIRONMENT, name="the rasterizer's helper")
        self._greeted: Child | None = None

    def ask(self, request: dict[str, Any], *, timeout_s: float, stop: Event) -> dict[str, Any]:
        """The child's answer. One that was killed is replaced at once; if that one dies or is stuck too, it is the
        server's fault, and the next request gets a new one."""
        try:
            return self._ask(request, timeout_s=timeout_s, stop=stop)
        except ChildDied:
            pass  # somebody killed it, perhaps while it was idle
        except ChildTimeout as err:
            raise ServerFault(f"the rasterizer's helper is stuck: {err}") from err
        try:
            return self._ask(request, timeout_s=timeout_s, stop=stop)
        except (ChildDied, ChildTimeout) as err:
            raise ServerFault(f"the rasterizer's helper failed twice: {err}") from err

    def _ask(self, request: dict[str, Any], *, timeout_s: float, stop: Event) -> dict[str, Any]:
        child = self.start()
        self._child = None  # unless it answers, it is gone
        if self._greeted is not child:
            try:
                child.ask({"ask": "hello"}, timeout_s=START_TIMEOUT_S, stop=stop)
            except ChildTimeout as err:
                raise self._not_started(err) from err
            self._greeted = child
        answer = child.ask(request, timeout_s=timeout_s, stop=stop)
        self._child = child
        return answer
