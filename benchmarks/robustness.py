"""The real daemon on hostile files: does each of them end, with what reason, and is the daemon as good as before?

Copies the folder `robustness` of a corpus, and hostile things made on the spot, into an inbox; runs `ocrd run` over it;
waits until every document is final; then drops a good file and takes its time. Ends with 1 if a document never ended,
the daemon died, an original changed, temporary files were left, or the good file took too long.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import processes
from workloads import SAMPLES

DEADLINE_S = 900.0
GOOD_FILE_S = 10.0
"""What the next good file may take, from the end of its copy to its text."""
POLL_S = 1.0
STOP_S = 30.0
NOT_DOCUMENTS = ("FILENAMES.txt",)
LIMITS = {
    "OCRD_RASTER__PAGE_TIMEOUT_S": "20",
    "OCRD_ENGINE__PAGE_TIMEOUT_S": "30",
    "OCRD_INBOX__QUIET_S": "1",
}
FINAL = {"done", "partial", "failed", "rejected", "cancelled"}
HOSTILE_NAMES = (
    b" leading and trailing spaces .jpg",
    b"quote'\"$(touch pwned)`id`;&|.jpg",
    b"a;rm -rf x && echo 'y' | %s {0} $HOME.jpg",
    "ёжик_NFD.jpg".encode(),
    b"new\nline.jpg",
    b"tab\tand\rreturn.jpg",
    b"\x1b[31mred\x1b[0m\x07.jpg",
    b"bad\xff\xfebytes.jpg",
    "\u202egpj.exe".encode() + b".jpg",
    b"-rf.jpg",
    b"CON.jpg",
    b"n" * 251 + b".jpg",
    "я".encode() * 120 + b".jpg",
)


@dataclass
class Outcome:
    """What a run came to. `problems` is empty if all conditions held; paths are relative to the inbox."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    seconds: float = 0.0
    good_file_s: float = float("nan")
    daemon_peak_mib: float = 0.0
    tree_peak_mib: float = 0.0
    log: str = ""


class Daemon:
    """`ocrd run` on one inbox, watched from outside through the command line and /proc."""

    def __init__(self, folder: str, inbox: str) -> None:
        self.inbox = inbox
        self.state = os.path.join(folder, "state")
        self.temporary = os.path.join(folder, "tmp")
        self.log = os.path.join(folder, "daemon.log")
        os.makedirs(self.temporary)
        self._environment = processes.private_environment(folder, {**LIMITS, "TMPDIR": self.temporary})
        self.peak_kib = self.tree_peak_kib = 0
        command = processes.ocrd_command("run", "--inbox", inbox, "--state", self.state)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, *words: str) -> dict[str, Any]:
        """What a read command says."""
        command = processes.ocrd_command(*words, "--json", "--state", self.state)
        done = subprocess.run(command, env=self._environment, capture_output=True, check=True, timeout=60)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def jobs(self) -> list[dict[str, Any]]:
        """All documents; `file` is the path below the inbox."""
        jobs: list[dict[str, Any]] = self.ask("jobs", "--limit", "0")["jobs"]
        for job in jobs:
            job["file"] = os.path.relpath(job["path"], self.inbox)
        return jobs

    def sample(self) -> None:
        """Note its memory, and that of its children."""
        self.peak_kib = max(self.peak_kib, processes.rss_kib(self.process.pid))
        self.tree_peak_kib = max(self.tree_peak_kib, processes.tree_rss_kib(self.process.pid))

    def is_idle(self, since: float) -> bool:
        """Whether all that lay in the inbox at that time (since 1970) was looked at, and nothing is left to do."""
        status = self.ask("status")
        inboxes = status["daemon"]["inboxes"]
        scanned = bool(inboxes) and all((one["last_scan"] or 0) > since for one in inboxes)
        waiting = sum(one.get("waiting") or 0 for one in inboxes)
        open_documents = status["documents"]["queued"] + status["documents"]["running"]
        return scanned and not waiting and not open_documents

    def wait(self, since: float, deadline: float) -> bool:
        """Until it was idle three times in a row; False if it died, or at the deadline."""
        idle, asked = 0, 0.0
        while idle < 3:
            self.sample()
            if not self.alive or time.monotonic() > deadline:
                return False
            if time.monotonic() - asked > POLL_S:
                idle = idle + 1 if self.is_idle(since) else 0
                asked = time.monotonic()
            time.sleep(0.1)
        return True

    def stop(self) -> int | None:
        """End it as systemd does; its exit code, None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None


def lay_out(inbox: str, documents: Iterable[str]) -> dict[bytes, str]:
    """Fill the inbox; path and SHA-256 of each regular file."""
    processes.fill(inbox, ((path, os.path.basename(path)) for path in documents))
    make_hostile(os.path.join(inbox, "hostile"))
    return {path: _digest(path) for path in _regular_files(os.fsencode(inbox))}


def make_hostile(folder: str) -> None:
    """Names and things that no corpus can hold."""
    os.makedirs(os.path.join(folder, "folder.pdf"))
    base = os.fsencode(folder)
    page = os.path.join(SAMPLES, "documents", "letter_en.jpg")
    for name in HOSTILE_NAMES:
        shutil.copyfile(page, os.path.join(base, name))
        os.utime(os.path.join(base, name), (processes.LONG_AGO, processes.LONG_AGO))
    os.mkfifo(os.path.join(folder, "pipe.pdf"))
    os.symlink(".", os.path.join(folder, "loop"))
    os.symlink("loop.pdf", os.path.join(folder, "loop.pdf"))
    os.symlink("/etc/passwd", os.path.join(folder, "outside.pdf"))
    os.symlink("/nowhere/at/all.pdf", os.path.join(folder, "dangling.pdf"))


def _regular_files(folder: bytes) -> list[bytes]:
    found = []
    for parent, _, names in os.walk(folder):
        paths = (os.path.join(parent, name) for name in names)
        found += [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]
    return found


def _digest(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def corpus_documents(corpus: str) -> list[str]:
    """The files of the folder `robustness` of a corpus."""
    folder = os.path.join(corpus, "robustness")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name not in NOT_DOCUMENTS]


def run(documents: Iterable[str], folder: str, deadline_s: float = DEADLINE_S) -> Outcome:
    """Everything in one inbox below `folder`, which should be empty."""
    inbox = os.path.join(folder, "inbox")
    originals = lay_out(inbox, documents)
    outcome = Outcome()
    laid_out, began = time.time(), time.monotonic()
    daemon = Daemon(folder, inbox)
    try:
        if daemon.wait(laid_out, began + deadline_s):
            outcome.seconds = time.monotonic() - began
            outcome.good_file_s = _time_good_file(daemon)
        _conclude(outcome, daemon, originals)
    finally:
        if daemon.alive:
            os.killpg(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
    return outcome


def _time_good_file(daemon: Daemon) -> float:
    """Seconds from dropping a good file to its text."""
    target = os.path.join(daemon.inbox, "good.png")
    shutil.copyfile(os.path.join(SAMPLES, "documents", "letter_ru.png"), target)
    began = time.monotonic()
    while daemon.alive and not os.path.exists(target + ".txt"):
        if time.monotonic() - began > 6 * GOOD_FILE_S:
            return float("inf")
        daemon.sample()
        time.sleep(0.05)
    return time.monotonic() - began


def _conclude(outcome: Outcome, daemon: Daemon, originals: dict[bytes, str]) -> None:
    """Look at what is there, stop the daemon, and look at what it leaves."""
    problems = outcome.problems
    if daemon.alive:
        outcome.jobs = daemon.jobs()
        drafts = _names_with(daemon.inbox, b".ocrd-", b".tmp")
        problems += [f"left in the inbox: {name!r}" for name in drafts]
        problems += [
            f"left in the work folder: {name!r}" for name in _names_with(os.path.join(daemon.state, "work"))
        ]
        code = daemon.stop()
        if code != 0:
            problems.append(f"the daemon did not stop well: {code}")
    else:
        problems.append(f"the daemon died with exit code {daemon.process.returncode}")
    problems += [f"left in TMPDIR: {name!r}" for name in _names_with(daemon.temporary)]
    problems += [
        f"never ended: {job['file']!r} is {job['state']}" for job in outcome.jobs if job["state"] not in FINAL
    ]
    changed = [
        path for path, digest in originals.items() if not os.path.isfile(path) or _digest(path) != digest
    ]
    problems += [f"an original changed: {os.fsdecode(path)!r}" for path in changed]
    if not outcome.good_file_s <= GOOD_FILE_S:
        problems.append(
            f"the good file afterwards took {outcome.good_file_s:.1f} s, more than {GOOD_FILE_S:g}"
        )
    known = {job["file"] for job in outcome.jobs}
    relative = (os.path.relpath(os.fsdecode(path), daemon.inbox) for path in originals)
    outcome.passed_over = sorted(name for name in relative if name not in known)
    outcome.daemon_peak_mib = daemon.peak_kib / 1024
    outcome.tree_peak_mib = daemon.tree_peak_kib / 1024
    with open(daemon.log, encoding="utf-8", errors="replace") as file:
        outcome.log = file.read()


def _names_with(folder: str, prefix: bytes = b"", suffix: bytes = b"") -> list[bytes]:
    return [
        name
        for _, _, names in os.walk(os.fsencode(folder))
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    ]


def report(outcome: Outcome, *, verbose: bool) -> None:
    """Print it."""
    if verbose:
        for job in sorted(outcome.jobs, key=lambda one: (one["state"], one["reason_code"], one["file"])):
            name = ascii(job["file"])[1:-1] if not job["file"].isprintable() else job["file"]
            told = f"[{job['reason_code']}] {job['reason']}" if job["reason_code"] else ""
            print(f"{job['state']:9} {job['pages_done']:>4}/{job['pages']:<4} {name}  {told}")
        print()
    counted = Counter((job["state"], job["reason_code"]) for job in outcome.jobs)
    processes.print_table(
        ("state", "reason_code", "documents"), [(*key, number) for key, number in sorted(counted.items())]
    )
    print(f"\npassed over: {', '.join(map(repr, outcome.passed_over)) or 'none'}\n")
    slowest = sorted(outcome.jobs, key=lambda job: -_wall_s(job))[:5]
    processes.print_table(
        ("slowest", "pages", "seconds", "state", "reason_code"),
        [(ascii(job["file"])[1:-1], job["pages"], f"{_wall_s(job):.1f}", job["state"], job["reason_code"]) for job in slowest],
    )  # fmt: skip
    pages = sum(job["pages"] for job in outcome.jobs)
    print(
        f"\n{len(outcome.jobs)} documents with {pages} pages in {outcome.seconds:.0f} s; daemon at most "
        f"{outcome.daemon_peak_mib:.0f} MiB, with its children {outcome.tree_peak_mib:.0f} MiB; "
        f"the good file afterwards took {outcome.good_file_s:.1f} s"
    )
    for problem in outcome.problems:
        print(f"PROBLEM: {problem}")


def _wall_s(job: dict[str, Any]) -> float:
    """From the start of a document to its end."""
    if job["started_at"] is None or job["finished_at"] is None:
        return 0.0
    return float(job["finished_at"] - job["started_at"])


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--corpus",
        metavar="DIR",
        default=os.environ.get("OCRD_TEST_CORPUS"),
        help="a folder with robustness/ (default: $OCRD_TEST_CORPUS; without one only what is made on the spot)",
    )
    parser.add_argument(
        "--deadline", type=float, default=DEADLINE_S, metavar="S", help=f"default: {DEADLINE_S:g}"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="every file with its state and reason")
    parser.add_argument("--log", metavar="FILE", help="keep the daemon's log there")
    options = parser.parse_args()
    documents = corpus_documents(options.corpus) if options.corpus else []
    with tempfile.TemporaryDirectory(prefix="ocrd-bench-") as folder:
        outcome = run(documents, folder, options.deadline)
    if options.log:
        with open(options.log, "w", encoding="utf-8") as file:
            file.write(outcome.log)
    report(outcome, verbose=options.verbose)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
