"""Fault points: named places where a test lets the process die, or an operation fail. Off unless OCRD_FAULT is set.

`OCRD_FAULT=NAME:WHAT[:NTH]` acts at the NTH time (1) that the place NAME is come by. WHAT is `kill` (SIGKILL),
`raise` (an error that nobody expects), `enospc`, `eio` or `erofs` (what the operating system would say), `hang`.
With `enospc`, `eio` and `erofs` an NTH of `2-5` fails four times in a row. `*:trace` tells on standard error in which
order the places are come by. The names stand in docs/reliability.md.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Lock

from ocrd.domain.errors import ConfigError

VARIABLE = "OCRD_FAULT"
_ERRNO = {"enospc": errno.ENOSPC, "eio": errno.EIO, "erofs": errno.EROFS}
_TRACE = "trace"
_KINDS = ("kill", "raise", "hang", _TRACE, *_ERRNO)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens where, and at which times (counted from 1, both ends included)."""

    name: str
    what: str
    first: int = 1
    last: int = 1


class InjectedError(Exception):
    """Nobody expects it: what a mistake in our own code would raise."""


def parse(text: str) -> Fault:
    """Read the variable. Raises ConfigError."""
    name, _, rest = text.partition(":")
    what, _, times = rest.partition(":")
    first, _, last = (times or "1").partition("-")
    if not name or what not in _KINDS or not first.isdecimal() or not (last or first).isdecimal():
        raise ConfigError(
            f"${VARIABLE}: {text!r} is no fault", hint=f"NAME:{'|'.join(_KINDS)}[:NTH], for tests only"
        )
    return Fault(name, what, int(first), int(last or first))


class Points:
    """Thread-safe."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._lock = Lock()
        self._passed = 0

    def come_by(self, name: str) -> None:
        """The process is at this place now."""
        fault = self._fault
        if fault is None:
            return
        if fault.what == _TRACE:
            os.write(2, f"came by {name}\n".encode())
            return
        if fault.name != name:
            return
        with self._lock:
            self._passed += 1
            passed = self._passed
        if fault.first <= passed <= fault.last:
            _act(fault)


def _act(fault: Fault) -> None:
    if fault.what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.what == "hang":
        Event().wait()
    if fault.what == "raise":
        raise InjectedError(fault.name)
    code = _ERRNO[fault.what]
    raise OSError(code, os.strerror(code))


def from_environment(env: Mapping[str, str]) -> Points:
    """The points of this process."""
    text = env.get(VARIABLE)
    return Points(parse(text) if text else None)


_points = from_environment(os.environ)
point = _points.come_by
