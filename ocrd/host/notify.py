"""Tell systemd how the service is (sd_notify(3)); without systemd all of this is silent."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Sends `READY=1` and its like to the socket that systemd names; from one thread."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address
        self._status = ""

    @classmethod
    def taken_from(cls, env: MutableMapping[str, str]) -> Notifier:
        """That of the variables, which are taken out: no child is to speak in our name."""
        address = env.get("NOTIFY_SOCKET")
        for name in _VARIABLES:
            env.pop(name, None)
        return cls(address)

    def ready(self, status: str) -> None:
        """The service does its work from now on."""
        self._status = status
        self._send(READY=1, STATUS=status)

    def alive(self) -> None:
        """For the watchdog."""
        self._send(WATCHDOG=1)

    def status(self, text: str) -> None:
        """A line for `systemctl status`; said only when it is another one."""
        if text != self._status:
            self._status = text
            self._send(STATUS=text)

    def reloading(self) -> None:
        """The settings are being read again; `ready` ends it. systemd wants the time in the same message."""
        self._send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def stopping(self, status: str) -> None:
        """The service is ending."""
        self._send(STOPPING=1, STATUS=status)

    def takes_longer(self, seconds: float) -> None:
        """The start or the stop that is under way may take so long from now on, whatever the unit says."""
        self._send(EXTEND_TIMEOUT_USEC=int(seconds * 1e6))

    def _send(self, **fields: str | int) -> None:
        """One message; a service manager that does not listen is no reason to stop."""
        if not self._address:
            return
        target = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in fields.items())
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.sendto(text.encode("utf-8", "replace"), target)
