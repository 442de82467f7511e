"""The real daemon as a process, and what is asked of it: through the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
FINAL = {"done", "partial", "failed", "rejected", "cancelled"}


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until the condition holds; its value. Fails with `what` was waited for."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:g} s in vain: {what}"
        time.sleep(0.05)
    return value


class Ocrd:
    """A state folder, an inbox, and at most one daemon."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.state = folder / "state"
        self.inbox.mkdir(exist_ok=True)
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("OCRD_")},
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "xdg-state"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "OCRD_INBOX__QUIET_S": "0.3",
            "OCRD_INBOX__SETTLE_S": "1.0",
            # A line of English alone may be read as look-alike Cyrillic; real pages have more to go by.
            "OCRD_ENGINE__LANGUAGES": "eng",
            "OCRD_LOG__LEVEL": "debug",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "daemon.log"

    def start(self, *more: str, ready: bool = True) -> None:
        """Start the daemon; with `ready` wait until it says that it lives."""
        with self.log.open("ab") as log:
            argv = [
                sys.executable,
                "-m",
                "ocrd",
                "run",
                "--inbox",
                str(self.inbox),
                "--state",
                str(self.state),
                *more,
            ]
            self.process = subprocess.Popen(
                argv,
                env=self.env,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        if ready:
            wait_until(self._ready, "the daemon is ready")

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended: {self.log.read_text()[-2000:]}"
        inboxes = self.status()["daemon"]["inboxes"]
        return bool(inboxes) and inboxes[0]["last_scan"] is not None

    def run_once(self, *more: str, timeout_s: float = DEADLINE_S * 4) -> subprocess.CompletedProcess[str]:
        """`ocrd run --once` to its end."""
        return self.command("run", "--once", "--inbox", str(self.inbox), *more, timeout_s=timeout_s)

    def command(self, *words: str, timeout_s: float = DEADLINE_S * 4) -> subprocess.CompletedProcess[str]:
        """Any command, on this state folder."""
        argv = [sys.executable, "-m", "ocrd", *words, "--state", str(self.state)]
        return subprocess.run(
            argv,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.folder,
        )

    def json(self, *words: str) -> dict[str, Any]:
        """What a read command says as JSON."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        data: dict[str, Any] = json.loads(done.stdout)
        return data

    def status(self) -> dict[str, Any]:
        """`ocrd status --json`."""
        return self.json("status")

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The newest revision of each document, by its path below the inbox."""
        found: dict[str, dict[str, Any]] = {}
        for job in self.json("jobs", "--limit", "0")["jobs"]:
            found.setdefault(os.path.relpath(job["path"], self.inbox), job)
        return found

    def show(self, name: str) -> dict[str, Any]:
        """One document with its pages."""
        return self.json("show", str(self.inbox / name))

    def await_state(self, name: str, *states: str) -> dict[str, Any]:
        """Wait until a document is in one of these states (a final one, if none is named)."""
        wanted = set(states) or FINAL

        def arrived() -> dict[str, Any] | None:
            job = self.jobs().get(name)
            return job if job and job["state"] in wanted else None

        job: dict[str, Any] = wait_until(arrived, f"{name} is {' or '.join(sorted(wanted))}")
        return job

    def text(self, name: str) -> str:
        """The plain text beside an input."""
        return (self.inbox / f"{name}.txt").read_text()

    def send_signal(self, number: int) -> None:
        """Send a signal to the daemon itself."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self.process = None
        return code

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def children(self) -> list[int]:
        """The daemon's child processes."""
        assert self.process is not None
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def kill_children(self, program: str) -> None:
        """SIGKILL every child whose command line names this program."""
        for pid in self.children():
            if program in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)

    def leftovers(self) -> list[str]:
        """Hidden files of ours in the inbox."""
        return [str(path.relative_to(self.inbox)) for path in self.inbox.rglob(".ocrd-*")]
