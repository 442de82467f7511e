"""Servers that sleep while another model has the GPU: vLLM's sleep mode, if the settings ask for it.

A sleeping server keeps its process and has its weights in main memory; it wakes up in seconds, where a start takes a
minute or four. Some memory of the GPU stays with it (1.2 GiB in vLLM issue 28714). Whether it works shows at the first
time; where it does not, servers are stopped and started as without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ocrd.serving.orders import StartOrder
from ocrd.serving.running import Running, ask
from ocrd.telemetry.logs import get_logger

log = get_logger()

SLEEP_TIMEOUT_S = 120.0
"""For some GiB of weights to move between the GPU and main memory."""
LARGEST_REST_MIB = 3072
"""A server that keeps more of the GPU than this leaves too little for the other one."""


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A container that sleeps, and what it was started by."""

    running: Running
    order: StartOrder


class Sleepers:
    """Used by the owner thread of the model server alone."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._sleepers: dict[str, Sleeper] = {}

    @property
    def ids(self) -> Collection[str]:
        """The ids of their containers, which are not to be cleared away."""
        return {one.running.id for one in self._sleepers.values()}

    @property
    def models(self) -> list[str]:
        """What they can read."""
        return sorted([*self._sleepers])  # copied in one go: other threads ask too

    def lay_down(self, running: Running, order: StartOrder, free_mib: Callable[[], int | None]) -> bool:
        """Let a server sleep that has no request in hand. False: it has to be stopped, and so will the next ones."""
        if not self.enabled:
            return False
        why = _fall_asleep(running, free_mib)
        if why:
            self.give_up(why)
            return False
        self._sleepers[running.endpoint.model] = Sleeper(running, order)
        log.info("model_sleeps", model=running.endpoint.model, container=running.short_id)
        return True

    def wake(self, model: str, *, stop_s: float) -> Sleeper | None:
        """The server of a model, awake again; None if there is none, or if it does not wake up: then it is removed."""
        sleeper = self._sleepers.pop(model, None)
        if sleeper is None:
            return None
        if not sleeper.running.has_ended and rouse(sleeper.running):
            return sleeper
        self.give_up(f"{model} did not wake up")
        sleeper.running.remove(stop_s)
        return None

    def dismiss(self, *, stop_s: float) -> bool:
        """End them all. Whether there was one. Raises ContainerFault; then they are forgotten all the same."""
        found = self.forget()
        for running in found:
            running.remove(stop_s)
        return bool(found)

    def forget(self) -> list[Running]:
        """They are of no interest any more, whatever becomes of them."""
        found = [one.running for one in self._sleepers.values()]
        self._sleepers.clear()
        for running in found:
            running.release()
        return found

    def give_up(self, why: str) -> None:
        """Nobody is laid down any more."""
        if self.enabled:
            log.warning("sleep_mode_given_up", reason=why, next="models are stopped and started instead")
        self.enabled = False


def _fall_asleep(running: Running, free_mib: Callable[[], int | None]) -> str:
    """'' if it sleeps now and has given the memory back; else why not."""
    if ask(running.endpoint.base_url, "POST", "/sleep?level=1", SLEEP_TIMEOUT_S)[0] != 200:
        return f"{running.endpoint.model} does not know how to sleep"
    if not _is_asleep(running):
        return f"{running.endpoint.model} did not fall asleep"
    free = None if running.free_before is None else free_mib()
    if running.free_before is not None and free is not None and running.free_before - free > LARGEST_REST_MIB:
        return f"{running.endpoint.model} keeps {running.free_before - free} MiB of the GPU asleep"
    return ""


def rouse(running: Running) -> bool:
    """Wake a server up, if it sleeps; whether it is awake. One that knows no sleep is."""
    if not _is_asleep(running):
        return True
    ask(running.endpoint.base_url, "POST", "/wake_up", SLEEP_TIMEOUT_S)
    return not _is_asleep(running)


def _is_asleep(running: Running) -> bool:
    status, body = ask(running.endpoint.base_url, "GET", "/is_sleeping", SLEEP_TIMEOUT_S)
    return status == 200 and b"true" in body
