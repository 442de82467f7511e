"""How ocrd stands a very full store, and a very full inbox.

Part `store`: the same statements on an empty store and on one with a million finished documents (and as many waiting as
`--files` says), in turns: take in, claim, land, finish, retry. Then `ocrd status` and `ocrd jobs` as whole processes,
and what it takes to remember all known files at a start. Part `inbox`: a paused daemon with 100,000 small files: how
long they take to be taken in, what a look at the inbox costs then, and whether memory grows from look to look.
Ends with 1 if a goal was missed.
"""

from __future__ import annotations

import argparse
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import idle
import processes
from processes import median
from status import make_store, take_turns

GOAL_CLAIM_MS = 2.0
GOAL_STATUS = 1.3
GOAL_RSS_MIB = 150.0
GOAL_GROWTH_MIB = 5.0
"""From the second look at the inbox to the last one."""
LOOKS = 6
PARTS = ("store", "inbox")
_HISTORY = """
INSERT INTO attempts (page_id, number, engine, seconds, verdict, ended_at, result_id)
    SELECT id, 1, 'embedded', 0.8, CASE state WHEN 'done' THEN 'ok' ELSE 'fault' END, finished_at, result_id FROM pages;
INSERT INTO outputs (path, document_id, format, sha256, written_at)
    SELECT CAST(path || '.txt' AS BLOB), id, 'txt', sha256, finished_at FROM documents
    WHERE state IN ('done', 'partial');
INSERT INTO events (at, document_id, page, old, new, why)
    SELECT finished_at, document_id, number, 'pending', 'running', 'claimed' FROM pages;
INSERT INTO events (at, document_id, page, old, new, why)
    SELECT finished_at, document_id, number, 'running', state, 'ok' FROM pages;
INSERT INTO events (at, document_id, page, old, new, why)
    SELECT started_at, id, NULL, 'queued', 'running', 'claimed' FROM documents;
INSERT INTO events (at, document_id, page, old, new, why)
    SELECT finished_at, id, NULL, 'running', state, '' FROM documents;
"""
"""What ocrd leaves behind for a document of one page, beside what `make_store` writes."""
_REMEMBER = """
import sys, time
from ocrd.host.clock import SystemClock
from ocrd.pipeline.inbox import Tracker
from ocrd.store.documents import DocumentStore
from ocrd.store.engine import Database

def rss_mib():
    with open("/proc/self/status") as file:
        values = dict(line.split(":", 1) for line in file)
    return [int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]

documents = DocumentStore(Database(sys.argv[1]), SystemClock())
before, began = rss_mib()[0], time.perf_counter()
tracker = Tracker(quiet_s=5, trust_age=False)
number = 0
for known in documents.known_files("/inbox"):
    tracker.remember(*known)
    number += 1
seconds = time.perf_counter() - began
now, most = rss_mib()
print(number, seconds, now - before, most - before)
"""


@dataclass
class Report:
    """What missed its goal, in words."""

    missed: list[str] = field(default_factory=list)

    def expect(self, *, ok: bool, what: str) -> None:
        """A goal."""
        if not ok:
            self.missed.append(what)


# --- the store ---------------------------------------------------------------------------------------------------


def fill_store(folder: str, jobs: int, queued: int) -> float:
    """A store with so many finished documents and all they leave behind, and some that wait; the size in MB."""
    make_store(folder, jobs)
    path = os.path.join(folder, "ocrd.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for statement in _HISTORY.split(";"):
            connection.execute(statement)
        for number in range(queued):
            connection.execute(
                "INSERT INTO documents (inbox, path, name, revision, current, sha256, fingerprint, media_type, size, "
                "mtime_ns, state, pages, created_at) VALUES ('/inbox', ?, 'w.png', 1, 1, ?, '0123456789abcdef', "
                "'image/png', 100, 1, 'queued', 1, ?)",
                (b"/inbox/waiting-%d.png" % number, os.urandom(32).hex(), time.time()),
            )
        connection.execute(
            "INSERT INTO pages (document_id, number, state) SELECT id, 1, 'pending' FROM documents "
            "WHERE state = 'queued'"
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(path) / 1e6


class Hand:
    """Does to one store what the daemon does, document by document, and notes the seconds of each statement."""

    def __init__(self, folder: str) -> None:
        from ocrd.host.clock import SystemClock
        from ocrd.store.documents import DocumentStore
        from ocrd.store.engine import Database
        from ocrd.store.pages import PageStore

        self._database = Database(folder)
        self._documents = DocumentStore(self._database, SystemClock())
        self._pages = PageStore(self._database, SystemClock())
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def take_in(self, number: int) -> None:
        """A new file of one page."""
        from ocrd.domain.documents import MediaType
        from ocrd.store.documents import Arrival

        arrival = Arrival(
            inbox="/inbox",
            path=b"/inbox/new-%d.png" % number,
            name=f"new-{number}.png",
            sha256=os.urandom(32).hex(),
            fingerprint="0123456789abcdef",
            media_type=MediaType.PNG,
            size=100,
            mtime_ns=1,
            pages=(1,),
        )
        with self._timed("take in a file"):
            self._documents.register(arrival)

    def work(self) -> None:
        """The next document, from its claim to its end and to a retry; that is cancelled again."""
        from ocrd.domain.documents import Recognition
        from ocrd.domain.jobs import DocumentState, PageState, Verdict
        from ocrd.store.pages import Attempt

        with self._timed("claim a document and its page"):
            with self._timed("claim a document"):
                job = self._documents.claim()
            assert job is not None
            with self._timed("claim its page"):
                (page,) = self._pages.claim(job.id, 4)
        recognition = Recognition(
            text="text",
            blocks=(),
            finish="stop",
            engine="bench",
            model_revision="",
            prompt_mode="",
            dpi=200,
            tokens=0,
            seconds=0,
        )
        attempt = Attempt(engine="bench", seconds=0.1, verdict=Verdict.OK, recognition=recognition)
        with self._timed("land a page"):
            self._pages.land(job.id, page.number, PageState.DONE, attempt)
        with self._timed("is it finished?"):
            self._documents.outcome(job.id)
        with self._timed("finish a document"):
            self._documents.finish(job.id, DocumentState.DONE)
        with self._timed("retry, all pages again"):
            self._documents.retry(job.id, reread_as="fedcba9876543210")
        self._documents.cancel(job.id)
        with self._timed("the daemon's counts"):
            self._documents.counts()

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[what].append(time.perf_counter() - began)

    def close(self) -> None:
        """Close the store."""
        self._database.close()


def time_statements(empty: str, full: str, rounds: int, report: Report) -> None:
    """Both stores in turns, so that what else the machine does meets both."""
    hands = [Hand(empty), Hand(full)]
    for number in range(rounds + 5):
        for hand in hands:
            hand.take_in(number)
            hand.work()
    one, other = ({what: all_of[5:] for what, all_of in hand.seconds.items()} for hand in hands)
    for hand in hands:
        hand.close()
    rows = []
    for what in one:
        pair = (one[what], other[what])
        figures = [f"{median(seconds) * 1000:.2f} / {percentile(seconds, 99) * 1000:.2f}" for seconds in pair]
        rows.append((what, *figures, f"{median(other[what]) / median(one[what]):.2f}"))
    processes.print_table(
        ("statement: median / 99 % in ms", "empty store", "full store", "full / empty"), rows
    )
    claim_ms = median(other["claim a document and its page"]) * 1000
    report.expect(
        ok=claim_ms <= GOAL_CLAIM_MS, what=f"a claim takes {claim_ms:.2f} ms, more than {GOAL_CLAIM_MS:g}"
    )


def percentile(values: list[float], percent: float) -> float:
    """The least value that so many per cent do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def time_commands(empty: str, full: str, folder: str, rounds: int, report: Report) -> None:
    """Whole processes in turns."""
    commands = {
        f"ocrd {word}, {kind}": processes.ocrd_command(word, "--state", state)
        for word in ("status", "jobs")
        for kind, state in (("empty", empty), ("full", full))
    }
    seconds = take_turns(commands, folder, rounds)
    rows = []
    for what in ("ocrd status", "ocrd jobs"):
        pair = [seconds[f"{what}, {kind}"] for kind in ("empty", "full")]
        ratio = median(b / a for a, b in zip(*pair, strict=True))
        rows.append((what, *(f"{median(one) * 1000:.0f}" for one in pair), f"{ratio:.2f}"))
        report.expect(
            ok=ratio <= GOAL_STATUS,
            what=f"{what} takes {ratio:.2f} × its time on an empty store, more than {GOAL_STATUS:g}",
        )
    processes.print_table(("whole process, ms", "empty store", "full store", "full / empty"), rows)


def time_start(full: str) -> None:
    """What the receiver does at a start, in a process of its own for the sake of its memory."""
    done = subprocess.run([sys.executable, "-c", _REMEMBER, full], capture_output=True, text=True, check=True)
    number, seconds, mib, most_mib = map(float, done.stdout.split())
    print(
        f"remembering {number:.0f} known files at a start: {seconds:.1f} s, {mib:.0f} MiB "
        f"({mib * 2**20 / number:.0f} bytes a file), at most {most_mib:.0f} MiB"
    )


def measure_store(folder: str, options: argparse.Namespace, report: Report) -> None:
    """Fill and measure."""
    full, empty = os.path.join(folder, "full"), os.path.join(folder, "empty")
    fill_store(empty, 0, 0)
    began = time.monotonic()
    megabytes = fill_store(full, options.jobs, options.files)
    print(
        f"{options.jobs} finished and {options.files} waiting documents: {megabytes:.0f} MB, filled in "
        f"{time.monotonic() - began:.0f} s\n"
    )
    time_commands(empty, full, folder, options.rounds, report)
    print()
    time_start(full)
    print()
    time_statements(empty, full, options.claims, report)


# --- the inbox ---------------------------------------------------------------------------------------------------


def measure_inbox(folder: str, options: argparse.Namespace, report: Report) -> None:
    """A daemon that was told to pause, so that all stay queued."""
    inbox = os.path.join(folder, "inbox")
    lay_files(inbox, options.files)
    environment = processes.private_environment(folder)
    state = os.path.join(folder, "state")
    pause = processes.ocrd_command("pause", "--state", state)
    make_store(state, 0)
    subprocess.run(pause, env=environment, check=True, stdout=subprocess.DEVNULL)
    settings = {"OCRD_INBOX__WATCH": "polling", "OCRD_LOG__LEVEL": "warning"}
    with idle.Daemon(folder, settings, "--engine", "embedded") as daemon:
        pid, began = daemon.process.pid, time.monotonic()
        most = wait_until_queued(daemon, options.files)
        seconds = time.monotonic() - began
        print(
            f"{options.files} files taken in in {seconds:.0f} s, {options.files / seconds:.0f} a second; the daemon "
            f"at most {most:.0f} MiB\n"
        )
        looks = watch_looks(daemon, LOOKS)
        with_children = idle.used(pid).rss_mib
    processes.print_table(
        ("look at the inbox", "s since the last", "CPU s of the daemon since", "daemon MiB"),
        [(n, f"{gap:.1f}", f"{cpu:.2f}", f"{mib:.1f}") for n, (gap, cpu, mib) in enumerate(looks, 1)],
    )
    print(f"\nwith its children {with_children:.0f} MiB; {time_pass(inbox)}")
    sizes = [mib for _, _, mib in looks]
    report.expect(
        ok=max(most, *sizes) <= GOAL_RSS_MIB,
        what=f"the daemon grew to {max(most, *sizes):.0f} MiB, more than {GOAL_RSS_MIB:g}",
    )
    report.expect(
        ok=sizes[-1] - sizes[1] <= GOAL_GROWTH_MIB,
        what=f"the daemon grew by {sizes[-1] - sizes[1]:.1f} MiB over {LOOKS - 2} looks",
    )


def lay_files(inbox: str, files: int) -> None:
    """So many tiny pictures that all differ, a thousand a folder."""
    for number in range(files):
        folder = os.path.join(inbox, f"{number // 1000:04d}")
        if number % 1000 == 0:
            os.makedirs(folder)
        path = os.path.join(folder, f"scan-{number:07d}.png")
        with open(path, "wb") as file:
            file.write(idle.tiny_png(number))
        os.utime(path, (processes.LONG_AGO, processes.LONG_AGO))


def wait_until_queued(daemon: idle.Daemon, files: int) -> float:
    """Until all are in the queue; the daemon's highest memory in MiB."""
    most, queued, told = 0.0, 0, time.monotonic()
    while queued < files:
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            most = max(most, processes.rss_kib(daemon.process.pid) / 1024)
            time.sleep(0.1)
        daemon.last_scan()
        queued = daemon.ask("status")["documents"]["queued"]
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"  {queued} queued, {most:.0f} MiB", file=sys.stderr, flush=True)
    return most


def watch_looks(daemon: idle.Daemon, looks: int) -> list[tuple[float, float, float]]:
    """Seconds since the look before, processor seconds of the daemon since then, and its memory in MiB."""
    pid, found = daemon.process.pid, []
    at, cpu = daemon.wait_for_scan(), idle.cpu_of(pid)
    for _ in range(looks):
        next_at = daemon.wait_for_scan(at)
        next_cpu = idle.cpu_of(pid)
        found.append((next_at - at, next_cpu - cpu, processes.rss_kib(pid) / 1024))
        at, cpu = next_at, next_cpu
    return found


def time_pass(inbox: str) -> str:
    """One look at the inbox when all is known, outside of the daemon."""
    from ocrd.pipeline import inbox as looking
    from ocrd.pipeline import writer

    root, patterns = os.fsencode(inbox), looking.Patterns(looking.DEFAULT_IGNORES)
    tracker = looking.Tracker(quiet_s=0.0, trust_age=True)
    for path, identity in looking.list_files(root, patterns, recursive=True).files.items():
        tracker.remember(path, identity.size, identity.mtime_ns)

    def look() -> None:
        listing = looking.list_files(root, patterns, recursive=True)
        candidates = looking.without_outputs(listing.files, writer.SUFFIXES)
        tracker.observe(candidates, now=0.0, wall=time.time())
        tracker.drop_missing(candidates)

    seconds = median(_seconds_of(look) for _ in range(5))
    pause = looking.next_scan_in(settling=False, events=False, interval_s=0.0, last_pass_s=seconds)
    return f"a look takes {seconds:.2f} s, so the inbox is polled every {pause:.0f} s"


def _seconds_of(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1_000_000, help="finished documents (default: 1000000)")
    parser.add_argument(
        "--files", type=int, default=100_000, help="files in the inbox, waiting documents (default: 100000)"
    )
    parser.add_argument("--claims", type=int, default=500, help="claims on each store (default: 500)")
    parser.add_argument("--rounds", type=int, default=15, help="of each command (default: 15)")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    report = Report()
    for part, measure in (("store", measure_store), ("inbox", measure_inbox)):
        if part in (options.part or PARTS):
            with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
                measure(folder, options, report)
            print()
    for what in report.missed:
        print(f"goal missed: {what}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
