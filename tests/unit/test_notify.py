from __future__ import annotations

import os
import socket
import time
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
    notifier.ready("started")
    notifier.alive()
    notifier.takes_longer(1.5)
    notifier.stopping("stopping")
    heard = [listener.recv(1000) for _ in range(4)]
    assert heard == [
        b"READY=1\nSTATUS=started",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=1500000",
        b"STOPPING=1\nSTATUS=stopping",
    ]


def test_a_status_is_said_once_and_is_one_line(service_manager: tuple[socket.socket, str]) -> None:
    listener, address = service_manager
    notifier = Notifier(address)
    for text in ("idle", "idle", "two\nREADY=1", "idle"):
        notifier.status(text)
    assert [listener.recv(1000) for _ in range(3)] == [b"STATUS=idle", b"STATUS=two READY=1", b"STATUS=idle"]


def test_a_reload_is_told_with_its_time_in_one_message(service_manager: tuple[socket.socket, str]) -> None:
    listener, address = service_manager
    Notifier(address).reloading()
    first, second = listener.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    name, microseconds = second.split("=")
    assert name == "MONOTONIC_USEC"
    assert abs(int(microseconds) / 1e6 - time.monotonic()) < 60


def test_children_do_not_inherit_the_address() -> None:
    env = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2", "HOME": "/root"}
    Notifier.taken_from(env)
    assert env == {"HOME": "/root"}


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier("").alive()
    Notifier(str(tmp_path / "nobody")).alive()
    assert list(tmp_path.iterdir()) == []
