"""What is to be started for a model, who plans it, and who remembers what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ocrd.domain.errors import OcrdError
from ocrd.domain.serving import ContainerSpec, Diagnosis
from ocrd.serving.startup import StartPhase, StartupLog


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrder:
    """What to start, and what is known of such starts."""

    model: str
    image_id: str
    spec: ContainerSpec
    learned: Mapping[StartPhase, float] = field(default_factory=dict)
    """Seconds of each phase at the last good start."""
    expected_s: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """The plan as plain data, for status and the record."""


class Refusal(OcrdError):
    """There is nothing to start: the plan does not fit, or something it needs is missing."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message, hint=diagnosis.hint)
        self.diagnosis = diagnosis


class Planner(Protocol):
    """Knows what to start for a model. Called by the owner thread only."""

    def order(self, model: str) -> StartOrder:
        """What to start now. Raises Refusal."""

    def recall(self, model: str, spec: str) -> StartOrder | None:
        """The order that a running container of this specification was started by, if it would be given again: the
        memory that it holds itself is no reason against it."""

    def step_down(self, model: str, diagnosis: Diagnosis) -> bool:
        """Whether the next order will be a smaller one, because of this failure."""

    def worked(self, order: StartOrder, seen: StartupLog, *, taken_mib: int | None) -> Mapping[str, Any]:
        """The server of this order became ready, and took so much of the GPU's memory, if that was seen. What is to be
        remembered of it beside the order's own details."""

    def free_mib(self) -> int | None:
        """Free memory of the GPU now; None without one."""

    def forgive(self) -> None:
        """Try again what could not work: something may have changed."""


class Records(Protocol):
    """Remembers every start."""

    def note_start(
        self,
        *,
        model: str,
        image_id: str,
        spec: str,
        started_at: float,
        seconds: float,
        failure: str,
        message: str,
        details: Mapping[str, Any],
    ) -> None:
        """One start and what came of it; `failure` is empty if it became ready."""
