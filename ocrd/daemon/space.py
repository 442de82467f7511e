"""Room on the disk of the store: looked at before work begins, and waited for where it ran out."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock, current_thread, main_thread

from ocrd.domain.errors import StoreFull
from ocrd.domain.ports import Clock
from ocrd.host import files
from ocrd.telemetry.logs import get_logger

log = get_logger()

LOOK_S = 5.0
RETRY_S = 2.0
_HYSTERESIS = 1.25
"""Work goes on when there is so many times the reserve again, so that it does not stop and go on at each page."""


def is_short(free_mib: int, reserve_mib: int, *, was_short: bool) -> bool:
    """Whether no page is to be begun with so much free space."""
    return free_mib < reserve_mib * (_HYSTERESIS if was_short else 1.0)


class Space:
    """`look` belongs to the supervisor's thread; `wait` is called by whichever thread could not write."""

    def __init__(
        self,
        folder: str,
        *,
        reserve_mib: int,
        patience_s: float,
        clock: Clock,
        while_waiting: Callable[[str], bool],
    ) -> None:
        """`while_waiting` is called in the main thread with what is wrong; False ends the waiting."""
        self._patience_s = patience_s
        self._folder = folder
        self._reserve_mib = reserve_mib
        self._clock = clock
        self._while_waiting = while_waiting
        self._looked_at = float("-inf")
        self._short = ""
        self._lock = Lock()
        self._full_since: float | None = None
        self._closing = Event()

    def look(self) -> str:
        """Why no page is to be begun; '' if there is room."""
        now = self._clock.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            free = files.free_mib(self._folder)
            if free is None:  # nobody can say: whatever is wrong shows when something is written
                return self._short
            if is_short(free, self._reserve_mib, was_short=bool(self._short)):
                if not self._short:
                    log.error(
                        "space_short", folder=self._folder, free_mib=free, reserve_mib=self._reserve_mib
                    )
                self._short = (
                    f"only {free} MiB free in {self._folder}; {self._reserve_mib} are kept in reserve"
                )
            elif self._short:
                self._short = ""
                log.info("space_back", folder=self._folder, free_mib=free)
        return self._short

    def wait(self, full: StoreFull) -> bool:
        """Something could not be written to the store: wait a moment; whether to try again."""
        now = self._clock.monotonic()
        with self._lock:
            if self._full_since is None:
                self._full_since = now
                log.error("store_full", reason=str(full), next=full.hint)
            if now - self._full_since > self._patience_s:
                return False
        if current_thread() is main_thread() and not self._while_waiting(str(full)):
            return False
        return not self._closing.wait(RETRY_S)

    def over(self) -> None:
        """What had to wait is written."""
        with self._lock:
            if self._full_since is not None:
                log.info("store_written_again", after_s=round(self._clock.monotonic() - self._full_since, 1))
            self._full_since = None

    def close(self) -> None:
        """Nobody waits any more: what could not be written is done again by the next daemon."""
        self._closing.set()
