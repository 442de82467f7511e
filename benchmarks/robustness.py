"""Hostile files through one real daemon, with good files coming all the while: what became of each. For faults.py.

The files of the folder `robustness` of a corpus, mutants of good documents, and what the tests make: bad documents of
every class, odd names, links, pipes. Each kind is moved into the inbox as a folder, complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes

sys.path.append(os.path.join(processes.REPOSITORY, "tests"))
from support import bad_inputs, mutants, paper

DEADLINE_S = 900.0
DOCUMENT_S = 100.0
"""For one document of up to 30 pages, among all the others: the pages of a document are read as workers get free."""
PAGE_S = 5.0
"""More for each further page."""
DAEMON_MIB = 150
GOOD_RATIO = 2.0
"""What the next good file may take, in times of what it took before the hostile ones came."""
GOOD_EVERY_S = 10.0
GOOD_FILES = 3
"""Before, and after: the median counts."""
POLL_S = 1.0
STOP_S = 30.0
SEED = 20261123
NOT_DOCUMENTS = ("FILENAMES.txt",)
PASSED_OVER = (".hidden", ".part")
"""Parts of the names of files that nobody has finished or nobody is to see."""
LIMITS = {
    "OCRD_RASTER__PAGE_TIMEOUT_S": "20",
    "OCRD_ENGINE__PAGE_TIMEOUT_S": "30",
    "OCRD_INBOX__QUIET_S": "1",
    "OCRD_LIMITS__PAGES": "1000",
    "OCRD_ENGINE__LANGUAGES": "rus,eng",
}
FINAL = {"done", "partial", "failed", "rejected", "cancelled"}


@dataclass
class Outcome:
    """What a run came to. `problems` is empty if all conditions held; paths are relative to the inbox."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    seconds: float = 0.0
    good_before_s: list[float] = field(default_factory=list)
    good_among_s: list[float] = field(default_factory=list)
    good_after_s: list[float] = field(default_factory=list)
    daemon_peak_mib: float = 0.0
    tree_peak_mib: float = 0.0
    log: str = ""

    @property
    def good_ratio(self) -> float:
        """A good file afterwards, in times of one before."""
        if not self.good_before_s or not self.good_after_s:
            return float("inf")
        return statistics.median(self.good_after_s) / statistics.median(self.good_before_s)


class Daemon:
    """`ocrd run` on one inbox, watched from outside through the command line and /proc."""

    def __init__(self, folder: str, inbox: str) -> None:
        self.inbox = inbox
        self.state = os.path.join(folder, "state")
        self.temporary = os.path.join(folder, "tmp")
        self.log = os.path.join(folder, "daemon.log")
        os.makedirs(self.temporary)
        os.makedirs(inbox)
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

    def stop(self) -> int | None:
        """End it as systemd does; its exit code, None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None


class GoodFiles:
    """Good files that are dropped one after the other, each unlike all others."""

    def __init__(self, folder: str, inbox: str) -> None:
        self._folder, self._inbox = folder, inbox
        self.number = 0
        self._dropped: dict[str, float] = {}
        self.texts_s: list[float] = []

    def drop(self) -> None:
        """One more."""
        self.number += 1
        name = f"good-{self.number}.png"
        drawn = paper.write_png(Path(self._folder, name), f"The good letter {self.number}")
        self._dropped[os.path.join(self._inbox, f"{name}.txt")] = time.monotonic()
        drawn.rename(Path(self._inbox, name))

    @property
    def waiting(self) -> bool:
        """Whether any of them has no text yet; those that have one are noted in `texts_s`."""
        for text in [text for text in self._dropped if os.path.exists(text)]:
            self.texts_s.append(time.monotonic() - self._dropped.pop(text))
        return bool(self._dropped)

    def taken(self) -> list[float]:
        """What they took since the last call."""
        taken, self.texts_s = self.texts_s, []
        return taken


def make_kinds(
    folder: str, corpus: Sequence[str], number_of_mutants: int, *, generated: bool
) -> dict[str, list[str]]:
    """A folder a kind, below `folder`; the regular files in each, by its name."""
    base = Path(folder)
    for kind in ("corpus", "mutants", "generated"):
        (base / kind).mkdir(parents=True)
    for path in corpus:
        shutil.copyfile(path, base / "corpus" / os.path.basename(path))
    originals = base.parent / "originals"
    originals.mkdir()
    for one in mutants.mutants(originals, number_of_mutants, SEED):
        (base / "mutants" / f"{one.number}{one.suffix}").write_bytes(one.data)
    if generated:
        _make_generated(base / "generated")
    return {
        path.name: [os.fsdecode(one) for one in _regular_files(os.fsencode(path))]
        for path in base.iterdir()
        if any(path.iterdir())
    }


def _make_generated(folder: Path) -> None:
    """Bad documents of every class; good ones with odd names; links, pipes and what else is no file."""
    for name, data in bad_inputs.documents().items():
        (folder / name).write_bytes(data)
    for number, name in enumerate((*bad_inputs.NAMES, *bad_inputs.TOO_LONG)):
        drawn = paper.write_png(folder.parent / "drawn.png", f"Name number {number}")
        os.rename(drawn, os.path.join(os.fsencode(folder), name))
    outside = folder.parent.parent / "outside"
    outside.mkdir()
    paper.write_png(outside / "secret.pdf", "Secret outside")
    bad_inputs.make_things(folder, outside)


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


def run(
    folder: str,
    *,
    corpus: Sequence[str] = (),
    number_of_mutants: int = 0,
    generated: bool = False,
    deadline_s: float = DEADLINE_S,
) -> Outcome:
    """Everything through one daemon; `folder` should be empty."""
    inbox, staging = os.path.join(folder, "inbox"), os.path.join(folder, "staging")
    kinds = make_kinds(staging, corpus, number_of_mutants, generated=generated)
    dropped = {os.path.relpath(path, staging): _digest(path) for paths in kinds.values() for path in paths}
    outcome = Outcome(tried={kind: len(paths) for kind, paths in kinds.items()})
    daemon = Daemon(folder, inbox)
    good = GoodFiles(folder, inbox)
    try:
        outcome.good_before_s = _one_by_one(daemon, good)
        dropped_at, began = time.time(), time.monotonic()
        for kind in kinds:
            os.rename(os.path.join(staging, kind), os.path.join(inbox, kind))
        ended = _work_off(daemon, good, dropped_at, began + deadline_s)
        outcome.seconds = time.monotonic() - began
        outcome.good_among_s = good.taken()
        if ended:
            outcome.good_after_s = _one_by_one(daemon, good)
        _conclude(outcome, daemon, dropped, good.number)
    finally:
        if daemon.alive:
            os.killpg(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
    return outcome


def _one_by_one(daemon: Daemon, good: GoodFiles) -> list[float]:
    """What good files take on a daemon that has nothing else to do."""
    end = time.monotonic() + GOOD_FILES * DOCUMENT_S
    for _ in range(GOOD_FILES):
        good.drop()
        while good.waiting and daemon.alive and time.monotonic() < end:
            daemon.sample()
            time.sleep(0.02)
    return good.taken()


def _work_off(daemon: Daemon, good: GoodFiles, since: float, deadline: float) -> bool:
    """Until it was idle three times in a row, with a good file now and then; False if it died, or at the deadline."""
    idle, asked, dropped = 0, 0.0, 0.0
    while idle < 3:
        daemon.sample()
        now = time.monotonic()
        if not daemon.alive or now > deadline:
            return False
        if idle == 0 and now - dropped > GOOD_EVERY_S:
            good.drop()
            dropped = now
        if not good.waiting and now - asked > POLL_S:
            idle = idle + 1 if daemon.is_idle(since) else 0
            asked = now
        time.sleep(0.1)
    return True


def wall_s(job: dict[str, Any]) -> float:
    """From the start of a document to its end."""
    if job["started_at"] is None or job["finished_at"] is None:
        return 0.0
    return float(job["finished_at"] - job["started_at"])


def is_late(job: dict[str, Any]) -> bool:
    """Whether a document took longer than its pages excuse."""
    return wall_s(job) > DOCUMENT_S + PAGE_S * max(job["pages"] - 30, 0)


def _conclude(outcome: Outcome, daemon: Daemon, dropped: dict[str, str], good_files: int) -> None:
    """Look at what is there, stop the daemon, and look at what it leaves."""
    problems = outcome.problems
    if daemon.alive:
        outcome.jobs = daemon.jobs()
        problems += [f"left in the inbox: {name!r}" for name in _names_with(daemon.inbox, b".ocrd-", b".tmp")]
        left = _names_with(os.path.join(daemon.state, "work"))
        problems += [f"left in the work folder: {name!r}" for name in left]
        code = daemon.stop()
        if code != 0:
            problems.append(f"the daemon did not stop well: {code}")
    else:
        problems.append(f"the daemon died with exit code {daemon.process.returncode}")
    problems += [f"left in TMPDIR: {name!r}" for name in _names_with(daemon.temporary)]
    _count(outcome, daemon, {*dropped, *(f"good-{number}.png" for number in range(1, good_files + 1))})
    inbox = os.fsencode(daemon.inbox)
    for name, digest in dropped.items():
        path = os.path.join(inbox, os.fsencode(name))
        if not os.path.isfile(path) or _digest(path) != digest:
            problems.append(f"an original changed: {name!r}")
    if not outcome.good_ratio <= GOOD_RATIO:
        problems.append(
            f"good files took {outcome.good_ratio:.1f} times as long afterwards, more than {GOOD_RATIO:g}"
        )
    outcome.daemon_peak_mib = daemon.peak_kib / 1024
    outcome.tree_peak_mib = daemon.tree_peak_kib / 1024
    if outcome.daemon_peak_mib > DAEMON_MIB:
        problems.append(f"the daemon took {outcome.daemon_peak_mib:.0f} MiB, more than {DAEMON_MIB}")
    with open(daemon.log, encoding="utf-8", errors="replace") as file:
        outcome.log = file.read()


def _count(outcome: Outcome, daemon: Daemon, dropped: set[str]) -> None:
    """What was lost, doubled or hung."""
    files = [job["file"] for job in outcome.jobs]
    missing = sorted(dropped - set(files))
    outcome.passed_over = [name for name in missing if any(part in name for part in PASSED_OVER)]
    outcome.lost = [name for name in missing if name not in outcome.passed_over]
    for job in outcome.jobs:
        if job["state"] in FINAL and not _has_its_end(daemon.inbox, job):
            outcome.lost.append(job["file"])
        if job["state"] not in FINAL or is_late(job):
            outcome.hung.append(job["file"])
    outcome.doubled = sorted({name for name in files if files.count(name) > 1} | (set(files) - dropped))
    for what, names in (("lost", outcome.lost), ("doubled", outcome.doubled), ("hung", outcome.hung)):
        outcome.problems += [f"{what}: {name!r}" for name in names]


def _has_its_end(inbox: str, job: dict[str, Any]) -> bool:
    """A document that was read has a text beside it; any other a reason."""
    if job["state"] not in {"done", "partial"}:
        return bool(job["reason_code"] and job["reason"])
    return os.path.exists(os.path.join(os.fsencode(inbox), os.fsencode(job["file"]) + b".txt"))


def _names_with(folder: str, prefix: bytes = b"", suffix: bytes = b"") -> list[bytes]:
    return [
        name
        for _, _, names in os.walk(os.fsencode(folder))
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    ]
