"""`ocrd doctor`: everything the daemon needs of this machine, and the command that mends what is missing.

Looks only; changes nothing but a probe file that it removes again. `doctor_*.py` have the checks, each with what is
looked at apart from what it means.
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import asdict

from ocrd.cli.common import Subparsers, add_command, clean, print_json
from ocrd.cli.findings import FAILURE, WARNING, Finding
from ocrd.domain.errors import ExitCode

SCHEMA = "ocrd.doctor/1"
_WIDTH = 100


_MORE = """\
Each failure and warning comes with the command that mends it; nothing is
changed. Exit code 1 if anything is a failure. The checks: docs/errors.md.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    add_command(
        subparsers, "doctor", "check what the daemon needs of this machine", handle, has_json=True, more=_MORE
    )


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run; 1 if anything keeps the daemon from working."""
    from ocrd.cli.doctor_steps import steps, take

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


def _print(finding: Finding) -> None:
    head, tab = f"  {finding.result:<8} {finding.check:<9} ", " " * 21
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
