"""How long `ocrd status` and `ocrd jobs` take as whole processes, with an empty store and with a very full one.

Beside them, in turns, `python -c "import sqlite3"`: what any Python program that reads SQLite costs at least.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing

import processes
from processes import median

GOAL_RATIO = 10.0
"""`status` may take so many times the bare start of Python with sqlite3."""
GOAL_FLAT = 1.25
"""And so many times what it takes with an empty store."""
_STATES = ("done",) * 94 + ("partial",) * 2 + ("failed",) * 2 + ("rejected",) * 2
_REASONS = {"partial": "pages_failed", "failed": "pages_failed", "rejected": "damaged"}
_BATCH = 50_000


def make_store(folder: str, jobs: int) -> float:
    """A store as ocrd's own migration makes it, with so many finished documents of one page; the size in MB."""
    from ocrd.store import schema

    schema.prepare_folder(folder)
    schema.upgrade(folder)
    path = os.path.join(folder, schema.FILE_NAME)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(1, jobs + 1, _BATCH):
            numbers = range(first, min(first + _BATCH, jobs + 1))
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO documents (id, inbox, path, name, revision, current, sha256, fingerprint, media_type, "
                "size, mtime_ns, state, reason_code, reason, pages, pages_done, created_at, started_at, finished_at, "
                "seconds) VALUES (?, '/inbox', ?, ?, 1, 1, ?, '0123456789abcdef', 'image/png', 100000, 1, ?, ?, ?, "
                "1, ?, ?, ?, ?, 0.8)",
                _documents(numbers, jobs),
            )
            connection.executemany(
                "INSERT INTO results (id, body) VALUES (?, ?)", ((n, b"\0" * 300) for n in numbers)
            )
            connection.executemany(
                "INSERT INTO pages (id, document_id, number, state, verdict, reason_code, claims, attempts, result_id, "
                "finished_at) VALUES (?, ?, 1, ?, ?, ?, 1, 1, ?, ?)",
                _pages(numbers, jobs),
            )
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(path) / 1e6


def _state(number: int) -> str:
    return _STATES[number % len(_STATES)]


def _finished_at(number: int, jobs: int) -> float:
    """One a second, the last one just now."""
    return time.time() - (jobs - number)


def _documents(numbers: range, jobs: int) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        state, end = _state(number), _finished_at(number, jobs)
        name = f"scan-{number:07d}.png"
        code = _REASONS.get(state, "")
        yield (
            *(number, f"/inbox/{name}".encode(), name, f"{number:064x}", state, code),
            *("a reason in words" if code else "", int(state == "done"), end - 60, end - 1, end),
        )


def _pages(numbers: range, jobs: int) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        done = _state(number) == "done"
        state, verdict, code = ("done", "ok", "") if done else ("failed", "", "engine_failed")
        yield number, number, state, verdict, code, number if done else None, _finished_at(number, jobs)


def take_turns(commands: dict[str, list[str]], folder: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round, after one round that does not count."""
    environment = processes.private_environment(folder)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--jobs", type=int, default=100_000, help="finished documents in the store (default: 100000)"
    )
    parser.add_argument("--rounds", type=int, default=21, help="default: 21")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
        full, empty = os.path.join(folder, "full"), os.path.join(folder, "empty")
        make_store(empty, 0)
        began = time.monotonic()
        megabytes = make_store(full, options.jobs)
        print(f"{options.jobs} documents, {megabytes:.0f} MB, filled in {time.monotonic() - began:.0f} s\n")
        base, blank = "python -c 'import sqlite3'", "status, empty store"
        status = f"status, {options.jobs} jobs"
        commands = {
            base: [sys.executable, "-c", "import sqlite3"],
            blank: processes.ocrd_command("status", "--state", empty),
            status: processes.ocrd_command("status", "--state", full),
            "jobs, empty store": processes.ocrd_command("jobs", "--state", empty),
            f"jobs, {options.jobs} jobs": processes.ocrd_command("jobs", "--state", full),
        }
        seconds = take_turns(commands, folder, options.rounds)
    return report(seconds, base=base, blank=blank, status=status)


def report(seconds: dict[str, list[float]], *, base: str, blank: str, status: str) -> int:
    """Print the table; 1 if a goal was missed."""

    def ratio(one: str, other: str) -> float:
        return median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))

    rows = [
        (name, f"{median(taken) * 1000:.0f}", f"{ratio(name, base):.2f}", f"{ratio(name, blank):.2f}")
        for name, taken in seconds.items()
    ]
    processes.print_table(("command", "ms", "× import sqlite3", "× status, empty"), rows)
    missed = []
    if ratio(status, base) > GOAL_RATIO:
        missed.append(f"status takes {ratio(status, base):.1f} × import sqlite3, more than {GOAL_RATIO:g}")
    if ratio(status, blank) > GOAL_FLAT:
        missed.append(
            f"status takes {ratio(status, blank):.2f} × that of an empty store, more than {GOAL_FLAT:g}"
        )
    for what in missed:
        print(f"goal missed: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
