from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocrd.host.notify import Notifier


@pytest.fixture(params=["file", "abstract"])
def service_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd offers it, and the address that it tells the service."""
    name = f"ocrd-test-{os.getpid()}"
    path = str(tmp_path / "notify") if request.param == "file" else f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(10)
        yield listener, path if request.param == "file" else f"@{name}"


def test_the_service_manager_hears_each_message(service_manager: tuple[socket.socket, str]) -> None:
    listener, address = service_manager
    notifier = Notifier(address)
    notifier.send(ready=1, status="3 pages left")
    notifier.send(watchdog=1)
    assert listener.recv(1000) == b"READY=1\nSTATUS=3 pages left"
    assert listener.recv(1000) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier("").send(ready=1)
    Notifier(str(tmp_path / "nobody")).send(ready=1)
