"""The daemon's hand on the model server: it drives the container only while it holds `server.lock`.

Whoever else wants to drive it (`ocrd models test`) asks for the lock, and the daemon takes it back when it is free
again, however that came about.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ocrd.host import files
from ocrd.serving.server import ModelServer
from ocrd.telemetry.logs import get_logger

log = get_logger()

LOCK_NAME = "server.lock"
_LENT_TICKS = 20
"""For the borrower to take the lock before the daemon looks for it again."""


def lock_path(state: str) -> str:
    """The file that whoever drives the container of a state folder keeps locked."""
    return os.path.join(state, LOCK_NAME)


class Warm:
    """Used by the supervisor's thread alone."""

    def __init__(self, server: ModelServer, *, main: str, stop_on_exit: bool, state: str) -> None:
        self._server = server
        self._main = main
        self._stop_on_exit = stop_on_exit
        self._path = lock_path(state)
        self._lock: int | None = None
        self._off = False
        self._lent_for = 0
        self._released: list[Callable[[], None]] = []

    @property
    def has_lock(self) -> bool:
        """Whether the daemon may drive the container."""
        return self._lock is not None

    def tick(self) -> None:
        """Take the lock if it is free, and let the server come up; give it away once the server is down."""
        if self._released:
            self._give_away()
        elif self._lock is None:
            self._lent_for -= 1
            if self._lent_for <= 0:
                self._take()

    def _take(self) -> None:
        self._lock = files.try_lock(self._path)
        if self._lock is not None and not self._off:
            self._server.want(self._main)

    def turn_on(self) -> None:
        """Let the model be there."""
        self._off = False
        if self._lock is not None and not self._released and self._server.wanted is None:
            self._server.want(self._main)
        self._server.look_again()

    def turn_off(self) -> None:
        """Give the GPU back until `turn_on`."""
        self._off = True
        self._server.want(None)

    def lend(self, released: Callable[[], None]) -> None:
        """Stop the server, then let go of the lock and call `released`."""
        self._server.want(None)
        self._released.append(released)

    def _give_away(self) -> None:
        if not self._server.is_down:
            return
        self._release()
        self._lent_for = _LENT_TICKS
        asked, self._released = self._released, []
        log.info("server_lent")
        for released in asked:
            released()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def wake_up(self) -> None:
        """The machine has slept."""
        if self._lock is not None:
            self._server.check_again()

    def facts(self) -> dict[str, Any]:
        """What `ocrd status` tells beside the server's own facts."""
        return {"driven_by_us": self.has_lock, "off": self._off}

    def turn_away(self) -> None:
        """Pages that wait for the server are given back at once; those in hand are finished."""
        self._server.turn_away()

    def close(self) -> None:
        """End the server's thread; the container stays for the next daemon unless the settings say otherwise."""
        self._server.close(keep=not self._stop_on_exit)
        self._release()
