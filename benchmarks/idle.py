"""What a daemon with nothing to do costs: processor time, wake-ups, memory, with many finished files in its inbox.

Two daemons side by side, one told of changes by events (inotify), one that polls as on a Windows or network drive. Each
has its own inbox with as many finished files, the text beside each, and a store that knows them. Figures are those of
the daemon with all its children, from /proc. Ends with 1 if the one with events takes more than the goal.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

import processes
from status import make_store

GOAL_CPU_PERCENT = 0.2
SETTLE_S = 15.0
QUIET_CPU_S = 0.5
"""It is idle when it took no more than that in `SETTLE_S`: the engine is loaded then, and the index for searching made."""
STOP_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """`ocrd run` on `folder/inbox` with the store in `folder/state`, asked through the command line and /proc."""

    def __init__(self, folder: str, settings: Mapping[str, str], *options: str) -> None:
        self.inbox, self.state = os.path.join(folder, "inbox"), os.path.join(folder, "state")
        self._environment = processes.private_environment(folder, settings)
        self.log = os.path.join(folder, "daemon.log")
        command = processes.ocrd_command("run", "--inbox", self.inbox, "--state", self.state, *options)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ask(self, *words: str) -> dict[str, Any]:
        """What a read command says."""
        command = processes.ocrd_command(*words, "--json", "--state", self.state)
        done = subprocess.run(command, env=self._environment, capture_output=True, check=True, timeout=60)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def last_scan(self) -> float | None:
        """When the inbox was looked at (seconds since 1970). Raises RuntimeError if the daemon died."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon died with exit code {self.process.returncode}: see {self.log}")
        inboxes = self.ask("status")["daemon"]["inboxes"]
        return inboxes[0]["last_scan"] if inboxes else None

    def wait_for_scan(self, after: float | None = None, timeout_s: float = 600.0) -> float:
        """Until the inbox was looked at, and later than at `after`; when that was. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (at := self.last_scan()) is None or (after is not None and at <= after):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no scan in {timeout_s:g} s: see {self.log}")
            time.sleep(1.0)
        return at

    def settle(self, timeout_s: float = 600.0) -> None:
        """Wait until it has nothing to do any more. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while True:
            before = used(self.process.pid).cpu_s
            time.sleep(SETTLE_S)
            if used(self.process.pid).cpu_s - before <= QUIET_CPU_S:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not idle in {timeout_s:g} s: see {self.log}")


@dataclass(frozen=True)
class Used:
    """What a process tree used up since its start. `rss_mib` is what it holds now, `daemon_mib` without children."""

    cpu_s: float
    switches: int
    rss_mib: float
    daemon_mib: float


def used(pid: int) -> Used:
    """Of a process and all below it, and of those of its children that ended."""
    tree = processes.process_tree(pid)
    cpu_s = sum(cpu_of(one) for one in tree)
    switches = sum(_switches(one) for one in tree)
    return Used(cpu_s, switches, processes.tree_rss_kib(pid) / 1024, processes.rss_kib(pid) / 1024)


def cpu_of(pid: int) -> float:
    """User and system seconds of a process and of its children that ended; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _switches(pid: int) -> int:
    """How often the threads of a process went to sleep by themselves: each is a wake-up."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("voluntary"))
    return total


def tiny_png(number: int) -> bytes:
    """A grey picture of 8 by 8 points that differs from all others by a remark."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\0%d" % number),
        (b"IDAT", zlib.compress((b"\0" + b"\x80" * 8) * 8)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def lay_out(folder: str, files: int) -> None:
    """An inbox with so many finished files and their texts, and a store that knows them as such."""
    inbox, state = os.path.join(folder, "inbox"), os.path.join(folder, "state")
    os.makedirs(inbox)
    os.makedirs(state, mode=0o700)
    make_store(state, files)
    size = len(tiny_png(10**7))
    for number in range(1, files + 1):
        path = os.path.join(inbox, f"scan-{number:07d}.png")
        for name, data in ((path, tiny_png(10**7 + number)), (path + ".txt", b"text\n")):
            with open(name, "wb") as file:
                file.write(data)
        os.utime(path, (processes.LONG_AGO, processes.LONG_AGO))
    with closing(sqlite3.connect(os.path.join(state, "ocrd.db"))) as connection, connection:
        connection.execute(
            "UPDATE documents SET inbox = :inbox, path = CAST(:inbox || '/' || name AS BLOB), size = :size, "
            "mtime_ns = :mtime",
            {"inbox": inbox, "size": size, "mtime": processes.LONG_AGO * 10**9},
        )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000, help="finished files (default: 10000)")
    parser.add_argument("--minutes", type=float, default=10.0, help="default: 10")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
        places = {mode: os.path.join(folder, mode) for mode in ("events", "polling")}
        for place in places.values():
            lay_out(place, options.files)
        with (
            Daemon(places["events"], {"OCRD_INBOX__WATCH": "events"}, "--engine", "embedded") as events,
            Daemon(places["polling"], {"OCRD_INBOX__WATCH": "polling"}, "--engine", "embedded") as polling,
        ):
            daemons = {"events": events, "polling": polling}
            for daemon in daemons.values():
                daemon.wait_for_scan()
                daemon.settle()
            before = {mode: used(daemon.process.pid) for mode, daemon in daemons.items()}
            began = time.monotonic()
            time.sleep(options.minutes * 60)
            after = {mode: used(daemon.process.pid) for mode, daemon in daemons.items()}
            seconds = time.monotonic() - began
            known = {
                mode: sum(daemon.ask("status")["documents"].values()) for mode, daemon in daemons.items()
            }
    return report(before, after, seconds, known, options.files)


def report(
    before: Mapping[str, Used],
    after: Mapping[str, Used],
    seconds: float,
    known: Mapping[str, int],
    files: int,
) -> int:
    """Print the table; 1 if the goal was missed."""
    rows, percents = [], {}
    for mode, end in after.items():
        cpu_s = end.cpu_s - before[mode].cpu_s
        percents[mode] = cpu_s / seconds * 100
        wakes = (end.switches - before[mode].switches) / seconds
        rows.append(
            (mode, f"{cpu_s:.2f}", f"{percents[mode]:.2f}", f"{wakes:.1f}", f"{end.daemon_mib:.0f}", f"{end.rss_mib:.0f}")
        )  # fmt: skip
    print(f"{files} finished files, {seconds:.0f} s\n")
    processes.print_table(
        ("watched by", "CPU s", "% of a core", "wake-ups a s", "daemon MiB", "with children"), rows
    )
    missed = [
        f"{mode} knows {number} documents, not {files}" for mode, number in known.items() if number != files
    ]
    if percents["events"] > GOAL_CPU_PERCENT:
        missed.append(f"{percents['events']:.2f} % of a core with events, more than {GOAL_CPU_PERCENT:g}")
    for what in missed:
        print(f"goal missed: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
