"""The seams: what the daemon needs of the world, as Protocols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING, Protocol

from ocrd.domain.documents import PageImage, Recognition, Request

if TYPE_CHECKING:  # only a model server of our own needs it at run time
    from ocrd.domain.serving import Container, ContainerEngine, ContainerSpec, Image


class Recognizer(Protocol):
    """Reads one page. Thread-safe: called from up to `slots` threads at once."""

    @property
    def slots(self) -> int:
        """How many pages it reads at the same time."""

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        """Read the page. Raises PageFault (this page) or ServerFault (the engine), and nothing else."""

    def close(self) -> None:
        """Release processes and memory; pages in hand may fail with ServerFault."""


class Clock(Protocol):
    """Time, so that tests can own it. Durations and waiting never use the wall clock."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC: for records only."""

    def monotonic(self) -> float:
        """Seconds that never jump."""

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Wait until the event is set or the time is over; whether it was set."""


class ContainerRuntime(Protocol):
    """A container engine. Thread-safe. Every method may raise `ContainerFault`, whose diagnosis says why; an engine
    that does not answer within a few seconds is ENGINE_UNAVAILABLE."""

    def describe(self) -> ContainerEngine:
        """Version and abilities of the engine."""

    def images(self, repository: str) -> Sequence[Image]:
        """The local images of a repository (`vllm/vllm-openai`), the newest first."""

    def find_image(self, reference: str) -> Image | None:
        """A local image by id, digest or tag; None if there is none. Nothing is pulled."""

    def create(self, spec: ContainerSpec, *, name: str, instance: str) -> str:
        """Make a container, not started, with our labels; its id. A stopped container of ours that has the name is
        removed first."""

    def start(self, container_id: str) -> None:
        """Start it. One that cannot be started is removed before this raises."""

    def inspect(self, container_id: str) -> Container | None:
        """How it is; None if it is gone."""

    def managed(self) -> Sequence[Container]:
        """All containers with our label, running or not."""

    def follow(self, container_id: str, *, since_s: float = 0.0) -> Iterator[bytes]:
        """Its log as chunks of bytes, as they come, until it ends or `stop_following` is called; `since_s` in seconds
        since 1970."""

    def stop_following(self, container_id: str) -> None:
        """End every `follow` of it."""

    def tail(self, container_id: str, lines: int) -> str:
        """The end of its log; '' if it is gone."""

    def wait(self, container_id: str, timeout_s: float) -> Container | None:
        """Wait until it does not run any more, or for so long; how it is then. None if it is gone."""

    def stop(self, container_id: str, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL after so long. Nothing happens to one that does not run or is gone."""

    def remove(self, container_id: str) -> None:
        """Remove it and its anonymous volumes, ending it if it runs. Nothing happens to one that is gone."""

    def close(self) -> None:
        """Release connections."""
