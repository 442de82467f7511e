"""A container engine within the test's process: containers are real HTTP servers with a `/health`, and fail on order.

It keeps the promise of `ContainerRuntime`, notes all that was asked of it, and counts how many containers are awake at
once: on a real GPU two would both be lost.
"""

from __future__ import annotations

import http.server
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Condition, Thread
from typing import Any

from ocrd.domain.serving import (
    INSTANCE_LABEL,
    MANAGED_LABEL,
    MODEL_LABEL,
    SPEC_LABEL,
    Container,
    ContainerEngine,
    ContainerFault,
    ContainerSpec,
    Diagnosis,
    Failure,
    Image,
)

UNAVAILABLE = Diagnosis(failure=Failure.ENGINE_UNAVAILABLE, message="the container engine does not answer")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a container does once it is started."""

    healthy: bool = True
    """Whether `/health` ever says 200."""
    log: bytes = b""
    exits: int | None = None
    """It ends at once with this code."""
    fault: Diagnosis | None = None
    """It cannot be started at all."""
    oom_killed: bool = False
    sleep: str = "sound"
    """What it makes of being told to sleep: `sound`, `unknown` (no such page), `restless` (it says yes and does not), or
    `dead` (it does not wake up)."""


@dataclass(slots=True)
class _Made:
    container: Container
    spec: ContainerSpec
    behaviour: Behaviour
    server: http.server.HTTPServer | None = None
    log: bytes = b""
    followed: bool = True
    asleep: bool = False


class FakeRuntime:
    """Thread-safe. `behaviours` are those of the next starts; when none is left, containers are well."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)
        self.known: dict[str, _Made] = {}
        self.calls: list[str] = []
        self.most_at_once = 0
        self.is_down = False
        self._numbers = itertools.count(1)
        self._changed = Condition()

    # --- what a test does -----------------------------------------------------------------------------------

    @property
    def running(self) -> list[Container]:
        """The containers that run now."""
        with self._changed:
            return [one.container for one in self.known.values() if one.container.is_running]

    def end(self, code: int = 137, *, oom_killed: bool = False, log: bytes = b"") -> None:
        """Every running container ends, unasked."""
        with self._changed:
            for made in self.known.values():
                if made.container.is_running:
                    made.log += log
                    self._ended(made, code, oom_killed=oom_killed)

    def set_down(self, *, down: bool) -> None:
        """The engine does not answer, or does again. Containers live on."""
        with self._changed:
            self.is_down = down
            self._changed.notify_all()

    def set_health(self, *, healthy: bool) -> None:
        """What `/health` of the running containers says from now on."""
        with self._changed:
            for made in self.known.values():
                made.behaviour = replace(made.behaviour, healthy=healthy)

    def close_all(self) -> None:
        """End every server."""
        self.is_down = False
        self.end()

    # --- ContainerRuntime -----------------------------------------------------------------------------------

    def describe(self) -> ContainerEngine:
        self._enter("describe")
        return ContainerEngine(
            version="0", api_version="0", runtimes=(), has_cdi=False, kernel="", operating_system=""
        )

    def images(self, repository: str) -> Sequence[Image]:
        self._enter("images")
        return [Image(id="sha256:1", tags=(f"{repository}:v0.32.0",), created="2026-01-01T00:00:00Z")]

    def find_image(self, reference: str) -> Image | None:
        self._enter("find_image")
        return Image(id="sha256:1", tags=(reference,), created="2026-01-01T00:00:00Z")

    def create(self, spec: ContainerSpec, *, name: str, instance: str) -> str:
        self._enter("create")
        with self._changed:
            number = f"{next(self._numbers):064x}"
            labels = {
                MANAGED_LABEL: "1",
                INSTANCE_LABEL: instance,
                SPEC_LABEL: spec.hash,
                MODEL_LABEL: spec.model,
            }
            container = Container(id=number, name=name, image_id=spec.image, status="created", labels=labels)
            behaviour = self.behaviours.pop(0) if self.behaviours else Behaviour()
            self.known[number] = _Made(container, spec, behaviour)
            return number

    def start(self, container_id: str) -> None:
        self._enter("start")
        with self._changed:
            made = self.known[container_id]
            if made.behaviour.fault is not None:
                del self.known[container_id]
                raise ContainerFault(made.behaviour.fault)
            made.log = made.behaviour.log
            made.server = self._serve(made)
            port = made.server.server_port
            made.container = replace(made.container, status="running", host_port=port)
            self._count_awake()
            if made.behaviour.exits is not None:
                self._ended(made, made.behaviour.exits, oom_killed=made.behaviour.oom_killed)
            self._changed.notify_all()

    def _count_awake(self) -> None:
        awake = [one for one in self.known.values() if one.container.is_running and not one.asleep]
        self.most_at_once = max(self.most_at_once, len(awake))

    def _sleep(self, made: _Made, path: str) -> int:
        """What a container says to a page of vLLM's sleep mode."""
        with self._changed:
            self.calls.append(path)
            if made.behaviour.sleep == "unknown":
                return 404
            if path.startswith("/sleep"):
                made.asleep = made.behaviour.sleep != "restless"
            elif made.behaviour.sleep != "dead":
                made.asleep = False
                self._count_awake()
            return 200

    def _serve(self, made: _Made) -> http.server.HTTPServer:
        runtime = self

        class Health(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/is_sleeping":
                    self._say(200, b'{"is_sleeping":%s}' % str(made.asleep).lower().encode())
                else:
                    self._say(200 if made.behaviour.healthy else 503)

            def do_POST(self) -> None:
                self._say(runtime._sleep(made, self.path))

            def _say(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health)
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _ended(self, made: _Made, code: int, *, oom_killed: bool = False) -> None:
        made.container = replace(
            made.container, status="exited", exit_code=code, oom_killed=oom_killed, host_port=None
        )
        if made.server is not None:
            made.server.shutdown()
            made.server.server_close()
        self._changed.notify_all()

    def inspect(self, container_id: str) -> Container | None:
        self._enter("inspect")
        made = self.known.get(container_id)
        return None if made is None else made.container

    def managed(self) -> Sequence[Container]:
        self._enter("managed")
        return [made.container for made in self.known.values()]

    def follow(self, container_id: str, *, since_s: float = 0.0) -> Iterator[bytes]:
        self._enter("follow")
        sent = 0
        while True:
            with self._changed:
                made = self.known.get(container_id)
                if made is None or not made.followed:
                    return
                new = made.log[sent:]
                if not new and not made.container.is_running:
                    return
                if not new:
                    self._changed.wait(0.2)
                    continue
            sent += len(new)
            yield new

    def say(self, text: bytes) -> None:
        """The running containers log this."""
        with self._changed:
            for made in self.known.values():
                made.log += text
            self._changed.notify_all()

    def stop_following(self, container_id: str) -> None:
        with self._changed:
            if container_id in self.known:
                self.known[container_id].followed = False
            self._changed.notify_all()

    def tail(self, container_id: str, lines: int) -> str:
        self._enter("tail")
        made = self.known.get(container_id)
        return "" if made is None else "\n".join(made.log.decode().splitlines()[-lines:])

    def wait(self, container_id: str, timeout_s: float) -> Container | None:
        self._enter("wait")
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    container_id not in self.known
                    or self.is_down
                    or not self.known[container_id].container.is_running
                ),
                timeout_s,
            )
        return self.inspect(container_id)

    def stop(self, container_id: str, timeout_s: float) -> None:
        self._enter("stop")
        with self._changed:
            made = self.known.get(container_id)
            if made is not None and made.container.is_running:
                self._ended(made, 0)

    def remove(self, container_id: str) -> None:
        self._enter("remove")
        with self._changed:
            made = self.known.pop(container_id, None)
            if made is not None and made.container.is_running:
                self._ended(made, 137)
            self._changed.notify_all()

    def close(self) -> None:
        pass

    def _enter(self, call: str) -> None:
        with self._changed:
            self.calls.append(call)
            if self.is_down:
                raise ContainerFault(UNAVAILABLE)


@dataclass
class Notes:
    """Remembers the starts, as the store does."""

    kept: list[dict[str, Any]] = field(default_factory=list)

    def note_start(self, **start: Any) -> None:
        self.kept.append(start)
