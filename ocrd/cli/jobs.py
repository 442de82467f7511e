"""`ocrd jobs`: the documents, newest first."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ocrd.cli.common import Subparsers, add_command, add_state_filter, clean, cleaned, find_state, print_json
from ocrd.domain.errors import ExitCode
from ocrd.store import snapshot

SCHEMA = "ocrd.jobs/1"


_MORE = """\
A document is queued, running, then one of:
  done       all its pages were read, or are blank
  partial    some pages have no text
  failed     no page could be read; `ocrd retry` tries again
  rejected   it can never be read as it is: damaged, encrypted, unsupported
  cancelled  by `ocrd cancel`, or its file went away
`ocrd show FILE` says what to do about it.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "jobs", "list the documents, newest first", handle, has_json=True, more=_MORE
    )
    add_state_filter(parser)
    parser.add_argument(
        "--limit", "-n", type=int, default=50, metavar="N", help="at most so many; 0: all (default 50)"
    )


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    state = find_state(arguments)
    with snapshot.opened(state) as connection:
        found = (
            []
            if connection is None
            else snapshot.jobs(
                connection, state=arguments.only, limit=min(max(arguments.limit, 0), sys.maxsize)
            )
        )
    if arguments.json:
        print_json({"schema": SCHEMA, "jobs": found})
        return ExitCode.OK
    for job in found:
        print(_line(cleaned(job)))
    if not found:
        print(f"no documents in the store {clean(state)}")
    return ExitCode.OK


def _line(job: dict[str, Any]) -> str:
    pages = f"{job['pages_done']}/{job['pages']}"
    line = f"{job['id']:>6}  {job['state']:<9}  {pages:>9}  {job['path']}"
    return f"{line}\n{'':>30}{job['reason_code']}: {job['reason']}" if job["reason_code"] else line
