"""The part of `ocrd doctor` that looks at WSL. What Windows itself does cannot be seen from within: see docs/wsl.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.host import wsl


@dataclass(frozen=True, slots=True)
class Facts:
    """How this WSL is set up."""

    version: Literal[1, 2]
    stays_alive: bool
    is_mirrored: bool


def look() -> Iterator[Finding]:
    """Nothing where this is no WSL."""
    version = wsl.version()
    if version is not None:
        yield from judge(Facts(version, wsl.stays_alive(), wsl.is_mirrored()))


def judge(facts: Facts) -> Iterator[Finding]:
    """What these facts mean."""
    if facts.version == 1:
        message = "this is WSL 1, which has neither systemd nor GPUs nor Docker"
        yield Finding("wsl", FAILURE, message, "in PowerShell: wsl --set-version NAME 2 (names: wsl -l -v)")
        return
    yield Finding("wsl", OK, "WSL 2" + (", with the network mirrored" if facts.is_mirrored else ""))
    yield _judge_sleep(stays_alive=facts.stays_alive)
    if facts.is_mirrored:
        message = (
            "the network is mirrored; ports of containers may then not be reached at 127.0.0.1 "
            "(microsoft/WSL #13868, moby #53382)"
        )
        fix = "if the model server is not reached: networkingMode=nat in .wslconfig, then wsl --shutdown"
        yield Finding("wsl", WARNING, message, fix)


def _judge_sleep(*, stays_alive: bool) -> Finding:
    """Services do not keep a distribution awake (Microsoft's documentation of systemd in WSL)."""
    if stays_alive:
        return Finding("wsl", OK, "it runs on after the last terminal is closed (.wslconfig)")
    return Finding(
        "wsl",
        WARNING,
        "Windows stops this distribution, and ocrd with it, some seconds after its last terminal is closed, unless "
        "a task of Windows keeps it awake, which cannot be seen from here",
        "in %UserProfile%\\.wslconfig: [general] instanceIdleTimeout=-1, then wsl --shutdown; or see docs/wsl.md",
    )
