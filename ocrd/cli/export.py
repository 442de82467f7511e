"""`ocrd export`: one row a document, for spreadsheets and scripts."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

from ocrd.cli import delivery
from ocrd.cli.common import Subparsers, add_command, add_state_filter, clean, find_state, is_terminal
from ocrd.domain.errors import ExitCode
from ocrd.store import snapshot

_MORE = """\
Oldest first. CSV is UTF-8 with commas, times in it are ISO 8601 in UTC; in
JSONL, one object a line, they are seconds since 1970. The columns stand in
docs/json.md. Names that are no UTF-8 have their odd bytes as \\udcXX. In CSV
a text that a spreadsheet would take for a formula has a ' before it.
For example: ocrd export --state failed -o failed.csv
"""
Job = dict[str, Any]
Tidy = Callable[[str], str]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TIMES = ("created_at", "started_at", "finished_at")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "export", "write a table of all documents, one row each", handle, more=_MORE
    )
    add_state_filter(parser)
    parser.add_argument("--format", choices=sorted(_WRITERS), default="csv", help="csv (default) or jsonl")
    parser.add_argument(
        "--output", "-o", metavar="FILE", default=delivery.STDOUT, help="a file; - (default): print"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    state = find_state(arguments)
    tidy = clean if arguments.output == delivery.STDOUT and is_terminal() else _storable
    with delivery.opened(arguments.output, force=arguments.force) as file:
        _WRITERS[arguments.format](file, snapshot.every_job(state, only=arguments.only), tidy)
    return ExitCode.OK


def _write_csv(file: TextIO, jobs: Iterable[Job], tidy: Tidy) -> None:
    writer = csv.DictWriter(file, snapshot.EXPORT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for job in jobs:
        row = job | {key: _iso(job[key]) for key in _TIMES} | {"current": str(job["current"]).lower()}
        writer.writerow(
            {key: _no_formula(tidy(value)) if isinstance(value, str) else value for key, value in row.items()}
        )


def _write_jsonl(file: TextIO, jobs: Iterable[Job], tidy: Tidy) -> None:
    for job in jobs:
        row = {key: job[key] for key in snapshot.EXPORT_COLUMNS}
        file.write(tidy(json.dumps(row, ensure_ascii=False)) + "\n")


_WRITERS: dict[str, Callable[[TextIO, Iterable[Job], Tidy], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}


def _no_formula(text: str) -> str:
    """As OWASP advises against CSV injection: whoever names a file could make a spreadsheet run a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _iso(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _storable(text: str) -> str:
    """As UTF-8 takes it. The bytes of an undecodable name become what JSON, too, writes for them."""
    return text.encode("utf-8", "backslashreplace").decode()
