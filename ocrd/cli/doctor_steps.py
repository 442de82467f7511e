"""What `ocrd doctor` looks at, in which order, and what comes of a check that fails or hangs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from ocrd.cli import (
    doctor_engine,
    doctor_folders,
    doctor_machine,
    doctor_server,
    doctor_service,
    doctor_wsl,
)
from ocrd.cli.common import find_state, load_settings
from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.host import machine
from ocrd.settings import Settings

_SHORT_S = 20.0
"""A disk of the network that has been asleep takes ten seconds."""
_INOTIFY_S = 10.0
_LONG_S = 2 * doctor_engine.PATIENCE_S


@dataclass(frozen=True, slots=True)
class Step:
    """Something to look at, under which heading, and how long it may take."""

    group: str
    check: str
    """The name of the finding if it takes too long."""
    look: Callable[[], Iterable[Finding]]
    seconds: float = _SHORT_S
    what: str = "this check"
    """What hangs then."""


def steps(arguments: argparse.Namespace) -> Iterator[Step]:
    """All checks in their order; with settings that cannot be used only those that need none."""
    yield Step("machine", "machine", doctor_machine.look)
    yield Step("machine", "wsl", doctor_wsl.look)
    try:
        settings, state = load_settings(arguments), find_state(arguments)
    except OcrdError as err:
        wrong = Finding("settings", FAILURE, str(err), err.hint or "correct it, then: ocrd config check")
        yield Step("machine", "settings", lambda: [wrong])
        yield Step("service", "systemd", doctor_service.look)
    else:
        yield Step("machine", "settings", lambda: [Finding("settings", OK, "they are right")])
        yield from _steps(settings, state)


def _steps(settings: Settings, state: str) -> Iterator[Step]:
    """Those that need the settings."""
    yield Step("store", "store", lambda: [doctor_folders.look_at_state(state)], what=state)
    if not settings.inbox.paths:
        none = Finding("inbox", WARNING, "none is configured", "ocrd config init --inbox DIR")
        yield Step("inbox", "inbox", lambda: [none])
    for path in map(os.path.expanduser, settings.inbox.paths):
        look = partial(doctor_folders.look_at_inbox, path, watch=settings.inbox.watch)
        yield Step("inbox", "inbox", look, what=path)
    yield Step("inbox", "after", partial(doctor_folders.look_at_after, settings), what="a folder of [after]")
    yield Step("inbox", "inotify", partial(doctor_folders.look_at_inotify, settings), _INOTIFY_S, "an inbox")
    yield Step("engine", "engine", partial(doctor_engine.look, settings), _LONG_S)
    yield Step("engine", "formats", partial(doctor_engine.look_at_formats, settings))
    if settings.engine.kind in {"auto", "vllm"} and not settings.vllm.base_url:
        yield Step(
            "GPU and Docker",
            "docker",
            partial(doctor_server.look, settings),
            _LONG_S,
            "the GPU's driver or Docker",
        )
    yield Step("service", "systemd", doctor_service.look)
    yield Step("service", "daemon", partial(doctor_service.look_at_daemon, state))
    yield Step("service", "metrics", partial(doctor_service.look_at_metrics, settings))


def take(step: Step) -> list[Finding]:
    """The findings of a step. One that fails or hangs is a finding, and does not hide the others."""
    try:
        return machine.within(step.seconds, lambda: list(step.look()))
    except TimeoutError as err:
        fix = "mount the drive anew, or restart the program that hangs"
        return [Finding(step.check, FAILURE, f"{step.what}: {err}", fix)]
    except OcrdError as err:
        return [Finding(step.check, FAILURE, str(err), err.hint)]
    except OSError as err:
        at = f"{err.filename}: " if err.filename else ""
        fix = "see to it that this user can read it"
        return [Finding(step.check, FAILURE, f"{at}{err.strerror or err}", fix)]
