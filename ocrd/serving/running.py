"""A container of ours that runs: noticed at once when it ends, asked whether it answers, diagnosed when it has ended.

`Containers` makes, finds and removes them; nothing that belongs to another store is touched.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from threading import Condition, Event, Thread
from urllib.parse import urlsplit

from ocrd.domain.ports import ContainerRuntime
from ocrd.domain.serving import INSTANCE_LABEL, Container, ContainerFault, ContainerSpec, Diagnosis
from ocrd.host import faults
from ocrd.serving import causes
from ocrd.serving.startup import StartupLog
from ocrd.telemetry.logs import get_logger

log = get_logger()

WATCH_S = 5.0
"""How long one wait for the end of a container lasts."""
_TAIL_LINES = 400
_HEALTH_TIMEOUT_S = 2.0
_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that is ready. `serial` is another one for each container."""

    base_url: str
    model: str
    serial: int


class Running:
    """One container. `changed` is notified when it ends, and guards the log that is being read."""

    def __init__(
        self, runtime: ContainerRuntime, container_id: str, endpoint: Endpoint, changed: Condition
    ) -> None:
        self.endpoint = endpoint
        self.ready_since = 0.0
        """Monotonic; 0 before it was ready."""
        self.free_before: int | None = None
        """Free memory of the GPU in MiB before it was started, if that was seen."""
        self._runtime = runtime
        self._id = container_id
        self._changed = changed
        self._end: Container | None = None
        self._gone = False
        self._released = False
        Thread(target=self._await_end, name="container-end", daemon=True).start()

    @property
    def id(self) -> str:
        """The whole of it."""
        return self._id

    @property
    def short_id(self) -> str:
        """As the docker command shows it."""
        return self._id[:12]

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended."""
        return self._gone or self._end is not None

    def is_alive(self) -> bool:
        """Whether it runs, asked of the engine now. Raises ContainerFault."""
        self._saw(self._runtime.inspect(self._id))
        return not self.has_ended

    def answers(self) -> bool:
        """Whether `/health` says that the engine is there: the port is open long before that."""
        return not self.has_ended and is_healthy(self.endpoint.base_url)

    def diagnose(self) -> Diagnosis:
        """Why it has ended, unasked. Raises ContainerFault."""
        end = self._end
        diagnosis = causes.diagnose(
            self._runtime.tail(self._id, _TAIL_LINES),
            exit_code=None if end is None else end.exit_code,
            oom_killed=end is not None and end.oom_killed,
            was_ready=self.ready_since > 0,
            asked=False,
            error="" if end is None else end.error,
        )
        assert diagnosis is not None, "nobody asked it to end"
        return diagnosis

    @contextlib.contextmanager
    def followed(self, startup: StartupLog) -> Iterator[None]:
        """Read its log meanwhile."""
        enough = Event()
        Thread(target=self._read_log, args=(startup, enough), name="container-log", daemon=True).start()
        try:
            yield
        finally:
            enough.set()
            self._runtime.stop_following(self._id)

    def remove(self, timeout_s: float) -> None:
        """End it (SIGTERM, and SIGKILL after so long) and remove it. Raises ContainerFault."""
        self.release()
        _end(self._runtime, self._id, timeout_s)

    def release(self) -> None:
        """Its end is of no interest any more."""
        self._released = True

    def _await_end(self) -> None:
        while not self._released:
            try:
                self._saw(self._runtime.wait(self._id, WATCH_S))
            except ContainerFault:
                with self._changed:  # whoever asks the engine next hears of it
                    self._changed.wait_for(lambda: self._released, 1.0)
            if self.has_ended:
                return

    def _saw(self, container: Container | None) -> None:
        if container is None or not container.is_running:
            with self._changed:
                self._end, self._gone = container, container is None
                self._changed.notify_all()

    def _read_log(self, startup: StartupLog, enough: Event) -> None:
        with contextlib.suppress(ContainerFault):  # whoever asks the engine next hears of it
            for chunk in self._runtime.follow(self._id):
                if enough.is_set():  # it began to follow after it was told to stop
                    return
                with self._changed:
                    startup.feed(chunk, time.monotonic())


class Containers:
    """The containers of one store's daemon, on one engine. Every method may raise ContainerFault."""

    def __init__(self, runtime: ContainerRuntime, instance: str, changed: Condition) -> None:
        self._runtime = runtime
        self._instance = instance
        self._changed = changed
        self._serials = itertools.count(1)

    def ours(self) -> list[Container]:
        """All of them, running or not."""
        found = self._runtime.managed()
        return [one for one in found if one.labels.get(INSTANCE_LABEL) == self._instance]

    def adopt(self, container: Container, model: str) -> Running:
        """Take one over that runs."""
        return self._running(container.id, container.host_port, model)

    def make(self, spec: ContainerSpec) -> str:
        """Make one, not started; its id."""
        faults.point("container.create")
        made = self._runtime.create(spec, name=f"ocrd-{self._instance[:8]}", instance=self._instance)
        faults.point("container.created")
        return made

    def start(self, container_id: str, model: str) -> Running:
        """Start it."""
        faults.point("container.start")
        self._runtime.start(container_id)
        faults.point("container.started")
        container = self._runtime.inspect(container_id)
        return self._running(container_id, None if container is None else container.host_port, model)

    def clear_away(self, *, keep: Collection[str], timeout_s: float) -> bool:
        """End and remove all others but those of these ids: two would not fit on the GPU. Whether any of them ran."""
        ran = False
        for one in self.ours():
            if one.id not in keep:
                log.info("container_removed", container=one.id[:12], status=one.status)
                ran = ran or one.is_running
                _end(self._runtime, one.id, timeout_s)
        return ran

    def _running(self, container_id: str, port: int | None, model: str) -> Running:
        base_url = f"http://127.0.0.1:{port or 0}/v1"
        endpoint = Endpoint(base_url=base_url, model=model, serial=next(self._serials))
        return Running(self._runtime, container_id, endpoint, self._changed)


def _end(runtime: ContainerRuntime, container_id: str, timeout_s: float) -> None:
    faults.point("container.stop")
    runtime.stop(container_id, timeout_s)
    faults.point("container.remove")
    runtime.remove(container_id)
    faults.point("container.removed")


def is_healthy(base_url: str) -> bool:
    """Whether `/health` of a server answers 200 within a moment."""
    return ask(base_url, "GET", "/health", _HEALTH_TIMEOUT_S)[0] == 200


def ask(base_url: str, method: str, path: str, timeout_s: float) -> tuple[int, bytes]:
    """Status and the beginning of the answer of one of the server's own pages; status 0 if it does not answer."""
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
