"""Running a contestant: in an environment of its own, with its time, its memory and its first output file noted."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
SAMPLE_S = 0.2
LONG_AGO = 1_600_000_000
"""The mtime of every file that is copied into an inbox: complete, and not changed for years."""


@dataclass(frozen=True)
class Measured:
    """One run of a whole process. `first_s` is None if it wrote no file; `peak_mib` sums the process tree's RSS;
    `cpu_s` is the processor time of the tree, which depends less on what else the machine does."""

    seconds: float
    first_s: float | None
    peak_mib: float
    cpu_s: float
    code: int


def ocrd_command(*arguments: str) -> list[str]:
    """The `ocrd` that belongs to the Python that runs the benchmark."""
    beside = os.path.join(os.path.dirname(sys.executable), "ocrd")
    return [beside if os.path.exists(beside) else "ocrd", *arguments]


def program(path: str) -> str:
    """For argparse: a program's whole path, for contestants run in other folders; empty for none."""
    found = shutil.which(path)
    if path and found is None:
        raise argparse.ArgumentTypeError(f"{path} is no program")
    return os.path.abspath(found) if found else ""


def private_environment(folder: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without any settings of ocrd's user: home, settings and state lie in `folder`.

    A developer's PYTHONDONTWRITEBYTECODE goes too: with it every process compiles the program anew, 0.8 s of processor time
    for a run, as no user's does.
    """
    ours = ("OCRD_", "XDG_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    places = {
        name: os.path.join(folder, name.lower())
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME")
    }
    for place in places.values():
        os.makedirs(place, mode=0o700, exist_ok=True)
    return {**kept, **places, "HOME": folder, "OCRD_INBOX__QUIET_S": "0", **(extra or {})}


def fill(inbox: str, files: Iterable[tuple[str, str]]) -> None:
    """Copy (source, name below the inbox) into a fresh inbox; all of them look old."""
    shutil.rmtree(inbox, ignore_errors=True)
    os.makedirs(inbox)
    for source, name in files:
        target = os.path.join(inbox, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        os.utime(target, (LONG_AGO, LONG_AGO))


def measure(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    has_first: Callable[[], bool] = lambda: False,
    log: str = os.devnull,
    timeout_s: float = 3600,
) -> Measured:
    """Run a command to its end; `has_first` says whether the first output file is there."""
    first_s, peak_kib = None, 0
    cpu_before = _cpu_of_children_s()
    with open(log, "ab") as output:
        began = time.monotonic()
        child = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=output, start_new_session=True
        )
        try:
            while True:
                try:
                    child.wait(SAMPLE_S)
                    break
                except subprocess.TimeoutExpired:
                    peak_kib = max(peak_kib, tree_rss_kib(child.pid))
                    if first_s is None and has_first():
                        first_s = time.monotonic() - began
                    if time.monotonic() - began > timeout_s:
                        raise
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        seconds = time.monotonic() - began
    if first_s is None and has_first():
        first_s = seconds
    return Measured(seconds, first_s, peak_kib / 1024, _cpu_of_children_s() - cpu_before, child.returncode)


def _cpu_of_children_s() -> float:
    """Of all processes below this one that ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def process_tree(pid: int) -> list[int]:
    """A process and all below it."""
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        try:
            threads = os.listdir(f"/proc/{one}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{one}/task/{thread}/children") as file:
                    left += [int(child) for child in file.read().split()]
            except OSError:
                continue
    return found


def tree_rss_kib(pid: int) -> int:
    """Resident memory of a process and all below it; pages that they share count once for each."""
    return sum(rss_kib(one) for one in process_tree(pid))


def rss_kib(pid: int) -> int:
    """Resident memory of one process; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * PAGE_KIB
    except OSError:
        return 0


def any_file(folder: str, ending: str) -> bool:
    """Whether a file with this ending lies anywhere below the folder."""
    return any(name.endswith(ending) for _, _, names in os.walk(folder) for name in names)


def median(values: Iterable[float]) -> float:
    """The median; not a number if there are no values."""
    listed = list(values)
    return statistics.median(listed) if listed else float("nan")


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they have to be: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(head), *cells]) for column in range(len(head))]
    for line in [list(head), ["-" * width for width in widths], *cells]:
        first = line[0].ljust(widths[0])
        print(
            "  ".join([first, *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]), flush=True
        )
