"""Tell systemd how the service is (sd_notify(3)); without systemd all of this is silent."""

from __future__ import annotations

import contextlib
import os
import socket


class Notifier:
    """Sends `READY=1` and its like to the socket that systemd names."""

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET") if address is None else address

    def send(self, **fields: str | int) -> None:
        """One message; a service manager that does not listen is no reason to stop."""
        if not self._address:
            return
        target = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name.upper()}={value}" for name, value in fields.items())
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.sendto(text.encode(), target)
