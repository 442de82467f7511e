"""Compare what the demo's store says with `samples/manifest.toml`, and show the results as a table.

Usage: demo_check.py CHECKOUT DEMO_FOLDER. Exit code 0: each sample ended in the state its manifest expects.

The manifest has one `[[document]]` a sample, with `file` (below `samples/documents`) and `state`; `reason_code` and
`pages` are compared where they are given.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from typing import Any

Job = dict[str, Any]
COMPARED = ("state", "reason_code", "pages")


def main(checkout: str, demo: str) -> int:
    """Print the table and what differs; returns the exit code."""
    inbox = os.path.join(demo, "inbox")
    expected = read_manifest(os.path.join(checkout, "samples", "manifest.toml"))
    jobs = read_jobs(os.path.join(checkout, ".venv", "bin", "ocrd"), os.path.join(demo, "state"), inbox)
    say("")
    say(*table(jobs, inbox))
    wrong = differences(expected, jobs)
    if wrong:
        say("", "Not what samples/manifest.toml expects:", *(f"  {line}" for line in wrong))
        return 1
    say("", f"All {len(expected)} samples ended as samples/manifest.toml expects.")
    say(*closing_words(checkout, demo))
    return 0


def say(*lines: str) -> None:
    """Print lines; file names may hold any bytes."""
    for line in lines:
        sys.stdout.buffer.write(os.fsencode(line) + b"\n")
    sys.stdout.flush()


def read_manifest(path: str) -> dict[str, Job]:
    """File name → what is expected of it."""
    with open(path, "rb") as file:
        return {entry["file"]: entry for entry in tomllib.load(file)["document"]}


def read_jobs(ocrd: str, state: str, inbox: str) -> dict[str, Job]:
    """File name below the inbox → its job, from `ocrd jobs --json`."""
    command = [ocrd, "jobs", "--json", "--limit", "0", "--state", state]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    jobs: list[Job] = json.loads(output)["jobs"]
    return {os.path.relpath(job["path"], inbox): job for job in jobs}


def differences(expected: dict[str, Job], jobs: dict[str, Job]) -> list[str]:
    """One line for each sample that did not end as expected, each missing one and each surplus one."""
    lines = [f"{name}: not in the manifest" for name in sorted(jobs.keys() - expected.keys())]
    for name, entry in expected.items():
        if name not in jobs:
            lines.append(f"{name}: ocrd has no job for it")
            continue
        lines += [
            f"{name}: {key} is {jobs[name].get(key)!r}, expected {entry[key]!r}"
            for key in COMPARED
            if key in entry and entry[key] != jobs[name].get(key)
        ]
    return lines


def table(jobs: dict[str, Job], inbox: str) -> list[str]:
    """The lines of the table, cut to the width of the terminal."""
    rows = [("file", "pages", "seconds", "state", "first line of its text")]
    rows += [row(name, job, inbox) for name, job in sorted(jobs.items())]
    widths = [max(len(cells[column]) for cells in rows) for column in range(4)]
    screen_width = shutil.get_terminal_size((110, 24)).columns
    lines = []
    for cells in rows:
        # Numbers stand to the right, and the last column is as wide as the line allows.
        aligned = [f"{cell:{'<>><'[n]}{widths[n]}}" for n, cell in enumerate(cells[:4])]
        line = "".join(c if c.isprintable() else "�" for c in "  ".join([*aligned, cells[4]]))
        lines.append(line if len(line) < screen_width else line[: screen_width - 2] + "…")
    return [lines[0], "─" * max(map(len, lines)), *lines[1:]]


def row(name: str, job: Job, inbox: str) -> tuple[str, str, str, str, str]:
    """A job's cells. `pages` is `read/all` when some were not read."""
    done, pages, seconds = job.get("pages_done"), job.get("pages"), job.get("seconds")
    read = "–" if pages is None else str(pages) if done == pages else f"{done or 0}/{pages}"
    took = "–" if seconds is None else f"{seconds:.1f}"
    text = first_line(os.path.join(inbox, name + ".txt")) or job.get("reason") or ""
    return name, read, took, job["state"], text


def first_line(path: str) -> str:
    """The first line with a letter or digit in it; empty when there is no such file or line."""
    try:
        with open(path, encoding="utf-8") as file:
            return next((" ".join(line.split()) for line in file if any(map(str.isalnum, line))), "")
    except FileNotFoundError:
        return ""


def closing_words(checkout: str, demo: str) -> list[str]:
    """Where the text is, and what to try next; the commands work in the current folder."""
    ocrd = os.path.relpath(os.path.join(checkout, ".venv", "bin", "ocrd"))
    inbox, state = (shlex.quote(os.path.relpath(os.path.join(demo, name))) for name in ("inbox", "state"))
    return [
        "",
        f"The text lies beside each document, as NAME.txt and NAME.md, in {inbox}",
        "What to try next:",
        f"  {shlex.quote(ocrd)} status --state {state}",
        f"  {shlex.quote(ocrd)} jobs --state {state}",
        "  README.md tells how to have a folder of yours watched.",
    ]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
