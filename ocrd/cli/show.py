"""`ocrd show`: one document with its pages and attempts, or its text."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ocrd.cli.common import Subparsers, add_command, clean, cleaned, find_state, job_number, print_json
from ocrd.domain.errors import ExitCode, ReasonCode, UsageError, hint_of
from ocrd.domain.jobs import PageState
from ocrd.host import files
from ocrd.store import snapshot

SCHEMA = "ocrd.show/1"


_MORE = """\
A number is that of a job (`ocrd jobs`); a file whose name is a number is named
with its folder: ./7. A file that was moved away ([after]) is found by its old
path too. Exit code 2 if there is no such document.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "show", "show one document with its pages and attempts", handle, has_json=True, more=_MORE
    )
    parser.add_argument(
        "job",
        metavar="JOB|PATH",
        help="the number of a job, or the path of its file or of one of its outputs",
    )
    parser.add_argument(
        "--text", action="store_true", help="print its text as far as it is read, and nothing else"
    )


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    state = find_state(arguments)
    with snapshot.opened(state) as connection:
        job = None if connection is None else find(connection, arguments.job)
        if connection is None or job is None:
            raise UsageError(f"there is no document {arguments.job} in {state}", hint="ocrd jobs")
        if arguments.text:
            _print_text(connection, job["id"])
            return ExitCode.OK
        job["page_list"] = snapshot.pages(connection, job["id"])
        if arguments.json:
            remarks = snapshot.remarks(connection, job["id"])
            job["page_list"] = [{**page, **remarks[page["number"]]} for page in job["page_list"]]
        job["outputs"] = snapshot.outputs(connection, job["id"])
    if arguments.json:
        print_json({"schema": SCHEMA, **job, "hints": _hints(job)})
    else:
        print("\n".join(_to_lines(cleaned(job))))
    return ExitCode.OK


def find(connection: snapshot.Connection, named: str) -> dict[str, Any] | None:
    """A document by number or path; a file whose name is a number is named with its folder (`./7`). By the path of one
    of its outputs too, and by that from which it was moved away (`moved_from`)."""
    number = job_number(named)
    if number is not None:
        return snapshot.job(connection, number)
    absolute = os.path.join(os.path.realpath(os.path.dirname(named) or "."), os.path.basename(named))
    path = os.fsencode(absolute)
    found = snapshot.job_of_path(connection, path) or snapshot.job_of_output(connection, path)
    if found is None:
        found = snapshot.job_moved_from(connection, files.display_name(path))
        if found is not None:
            found["moved_from"] = absolute
    return found


def _print_text(connection: snapshot.Connection, document_id: int) -> None:
    for number, page_state, reason, text in snapshot.page_texts(connection, document_id):
        if number > 1:
            print("\f", end="")
        if text:
            print(clean(text, keep="\n\t"))
        elif page_state not in {"done", "blank"}:
            print(f"[ocrd: page {number}: no text: {clean(reason) or page_state}]")


def _to_lines(job: dict[str, Any]) -> Iterator[str]:
    yield f"document {job['id']}: {job['path']}"
    if "moved_from" in job:
        yield f"moved      from {job['moved_from']}"
    yield f"state      {job['state']}" + (f" ({job['reason_code']})" if job["reason_code"] else "")
    if job["reason"]:
        yield f"reason     {job['reason']}"
    for hint in _hints(job):
        yield f"           → {hint}"
    yield f"content    {job['media_type'] or 'unknown'}, revision {job['revision']}"
    yield f"pages      {job['pages_done']} of {job['pages']} read"
    yield f"taken in   {_moment(job['created_at'])}"
    if job["finished_at"]:
        yield f"finished   {_moment(job['finished_at'])}, its pages took {job['seconds']:g} s"
    for output in job["outputs"]:
        yield f"{output['format']:<10} {output['path']}"
    for page in job["page_list"]:
        yield f"page {page['number']:>5}  {page['state']:<9} {page['verdict']:<8} {page['reason']}".rstrip()
        for attempt in page["attempts"]:
            yield f"           {_attempt_line(attempt)}"


def _hints(job: dict[str, Any]) -> list[str]:
    """What to do about the document, and about its pages without text, each once."""
    failed = [page["reason_code"] for page in job["page_list"] if page["state"] == PageState.FAILED]
    codes = [code for code in (job["reason_code"], *failed) if code != ReasonCode.PAGES_FAILED]
    return list(filter(None, dict.fromkeys(map(hint_of, codes))))


def _attempt_line(attempt: dict[str, Any]) -> str:
    names = dict.fromkeys(attempt[key] for key in ("engine", "model_revision", "prompt_mode"))
    parts = [*names, f"{attempt['seconds']:.2f} s"]
    if attempt["dpi"]:
        parts.append(f"{attempt['dpi']:g} DPI")
    parts.append(attempt["verdict"])
    line = f"{attempt['number']}. " + ", ".join(part for part in parts if part)
    return f"{line}: {attempt['reason']}" if attempt["reason"] else line


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
