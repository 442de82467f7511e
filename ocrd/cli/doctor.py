"""`ocrd doctor`: everything the daemon needs of this machine, and the command that mends what is missing.

Looks only; changes nothing but a probe file that it removes again. Here is the order of the checks, and how they are
shown; `doctor_*.py` have the checks, each with what is looked at apart from what it means.
"""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from ocrd.cli import (
    doctor_engine,
    doctor_folders,
    doctor_machine,
    doctor_server,
    doctor_service,
    doctor_wsl,
)
from ocrd.cli.common import Subparsers, add_command, clean, find_state, load_settings, print_json
from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import ExitCode, OcrdError
from ocrd.host import machine
from ocrd.settings import Settings

SCHEMA = "ocrd.doctor/1"
_WIDTH = 100
_SHORT_S = 20.0
_LONG_S = 2 * doctor_engine.PATIENCE_S


@dataclass(frozen=True, slots=True)
class Step:
    """Something to look at, under which heading, and how long it may take."""

    group: str
    check: str
    """The name of the finding if it takes too long."""
    look: Callable[[], Iterable[Finding]]
    seconds: float = _SHORT_S


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    add_command(subparsers, "doctor", "check what the daemon needs of this machine", handle, has_json=True)


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run; 1 if anything keeps the daemon from working."""
    found: list[tuple[str, Finding]] = []
    for step in steps(arguments):
        for finding in take(step):
            if not arguments.json:
                if not found or found[-1][0] != step.group:
                    print(f"{'' if not found else chr(10)}{step.group}", flush=True)
                _print(finding)
            found.append((step.group, finding))
    results = [finding.result for _, finding in found]
    if arguments.json:
        rows = [{"group": group, **asdict(finding)} for group, finding in found]
        print_json({"schema": SCHEMA, "findings": rows})
    else:
        print(f"\n{_in_sum(results)}")
    return ExitCode.FAILED if FAILURE in results else ExitCode.OK


def steps(arguments: argparse.Namespace) -> Iterator[Step]:
    """All checks in their order; with settings that cannot be used only those that need none."""
    yield Step("machine", "machine", doctor_machine.look)
    yield Step("machine", "wsl", doctor_wsl.look)
    try:
        settings, state = load_settings(arguments), find_state(arguments)
    except OcrdError as err:
        wrong = Finding("settings", FAILURE, str(err), err.hint or "correct it, then: ocrd config check")
        yield Step("machine", "settings", lambda: [wrong])
    else:
        yield Step("machine", "settings", lambda: [Finding("settings", OK, "they are right")])
        yield from _steps(settings, state)
    yield Step("service", "systemd", doctor_service.look)


def _steps(settings: Settings, state: str) -> Iterator[Step]:
    """Those that need the settings."""
    yield Step("store", "store", lambda: [doctor_folders.look_at_state(state)])
    if not settings.inbox.paths:
        none = Finding("inbox", WARNING, "none is configured", "ocrd config init --inbox DIR")
        yield Step("inbox", "inbox", lambda: [none])
    for path in map(os.path.expanduser, settings.inbox.paths):
        look = partial(doctor_folders.look_at_inbox, path, watch=settings.inbox.watch)
        yield Step("inbox", "inbox", look)
    yield Step("inbox", "inotify", partial(doctor_folders.look_at_inotify, settings))
    yield Step("engine", "engine", partial(doctor_engine.look, settings), _LONG_S)
    if settings.engine.kind in {"auto", "vllm"} and not settings.vllm.base_url:
        yield Step("GPU and Docker", "docker", partial(doctor_server.look, settings), _LONG_S)
    yield Step("service", "daemon", partial(doctor_service.look_at_daemon, state))
    yield Step("service", "metrics", partial(doctor_service.look_at_metrics, settings))


def take(step: Step) -> list[Finding]:
    """The findings of a step. One that fails or hangs is a finding, and does not hide the others."""
    try:
        return machine.within(step.seconds, lambda: list(step.look()))
    except TimeoutError as err:
        return [
            Finding(
                step.check, FAILURE, str(err), "see what hangs: a network drive, Docker, the GPU's driver?"
            )
        ]
    except OcrdError as err:
        return [Finding(step.check, FAILURE, str(err), err.hint)]
    except OSError as err:
        at = f"{err.filename}: " if err.filename else ""
        fix = "see to it that this user can read it"
        return [Finding(step.check, FAILURE, f"{at}{err.strerror or err}", fix)]


def _print(finding: Finding) -> None:
    head, tab = f"  {finding.result:<8} {finding.check:<8} ", " " * 20
    lines = textwrap.wrap(
        clean(finding.message), _WIDTH - len(tab), break_long_words=False, break_on_hyphens=False
    )
    print(f"\n{tab}".join((head + (lines or [""])[0], *lines[1:])))
    if finding.fix:
        print(f"{tab}→ {clean(finding.fix)}", flush=True)


def _in_sum(results: list[str]) -> str:
    failures, warnings = results.count(FAILURE), results.count(WARNING)
    if not failures and not warnings:
        return "all is well"
    return f"{_count(failures, 'failure')}, {_count(warnings, 'warning')}"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
