"""The only place that starts other programs.

`run` is for a program that answers and ends. `Child` is a warm helper program of our own that answers one JSON
line with one JSON line: it has its own session (so that Ctrl-C on the terminal does not reach it), a deadline
for every answer, and ends by itself when the daemon dies, because its standard input then closes. `ChildPlace` has a new
one started in the place of one that ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from threading import Event
from typing import Any

from ocrd.domain.errors import ServerFault, Stopped

STDERR_TAIL = 4096
_POLL_S = 0.1
_PIPE_BYTES = 1 << 16


class CommandMissing(Exception):
    """The program is not installed, or not on PATH."""


class CommandTimeout(Exception):
    """The program did not end in time and was killed."""


class ChildDied(Exception):
    """The child ended instead of answering; carries its return code and the tail of its standard error."""

    def __init__(self, returncode: int | None, stderr: str) -> None:
        super().__init__(
            f"child ended with {describe_exit(returncode)}: {stderr.strip()[-300:] or 'no message'}"
        )
        self.returncode = returncode
        self.stderr = stderr


class ChildTimeout(Exception):
    """The child did not answer in time and was killed."""


class ChildStopped(Stopped):
    """We stopped waiting because the stop event was set; the child was killed."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished program: its exit code and what it printed."""

    code: int
    out: str
    err: str


def describe_exit(returncode: int | None) -> str:
    """A return code in words: 'exit code 3', 'signal SIGKILL'."""
    if returncode is None:
        return "unknown exit"
    if returncode >= 0:
        return f"exit code {returncode}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-returncode).name}"
    return f"signal {-returncode}"


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """What a program gets: our variables but for the secrets, and more."""
    from ocrd import settings  # the children start no programs, and start sooner without

    secrets = settings.secret_variables()
    return {name: value for name, value in os.environ.items() if name not in secrets} | dict(more or {})


def run(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None, stdin: str | None = None
) -> Result:
    """Run a program to its end. Raises CommandMissing or CommandTimeout; a non-zero code is for the caller."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=_environment(env),
        )
    except (FileNotFoundError, PermissionError) as err:
        raise CommandMissing(argv[0]) from err
    except subprocess.TimeoutExpired as err:
        raise CommandTimeout(f"{argv[0]} did not end within {timeout_s:g} s") from err
    return Result(done.returncode, done.stdout, done.stderr)


def run_alone(argv: Sequence[str], *, timeout_s: float, stdin: str, stop: Event) -> Result:
    """Run a program that is not ours, in a session of its own, with nobody reading its standard output, and of its
    standard error the end kept. At its deadline, or when `stop` is set, it is killed with all that it started; what it
    leaves running is left, with nobody to hear it.

    Raises CommandMissing, CommandTimeout, ChildStopped; a non-zero code is for the caller.
    """
    hearing, mouth = os.pipe()
    # A file in memory: it does not fill up, and what the program leaves running does not hold it open.
    with os.fdopen(hearing, "rb", buffering=0) as said, os.fdopen(os.memfd_create("stdin"), "w+b") as given:
        os.set_blocking(hearing, False)
        try:
            given.write(stdin.encode())
            given.seek(0)
            process = subprocess.Popen(
                argv,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=mouth,
                start_new_session=True,
                env=_environment(None),
            )
        except OSError as err:  # missing, no program, or none for this machine
            raise CommandMissing(argv[0]) from err
        finally:
            os.close(mouth)
        return _wait_for(process, said, argv[0], time.monotonic() + timeout_s, stop)


def _wait_for(
    process: subprocess.Popen[bytes], said: FileIO, name: str, deadline: float, stop: Event
) -> Result:
    began, tail = time.monotonic(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(said, selectors.EVENT_READ)
        while process.poll() is None:
            if stop.is_set() or time.monotonic() >= deadline:
                _end(process)
                if stop.is_set():
                    raise ChildStopped(f"{name} was ended, because ocrd was stopped")
                raise CommandTimeout(f"{name} did not end within {deadline - began:.0f} s")
            if not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
            elif selector.select(_POLL_S):
                heard = said.read(_PIPE_BYTES) or b""
                tail = (tail + heard)[-STDERR_TAIL:]
                if not heard:
                    selector.unregister(said)
    # Once: what the pipe holds is what the program has said. To go on would be to listen to what it left running.
    tail = (tail + (said.read(_PIPE_BYTES) or b""))[-STDERR_TAIL:]
    return Result(process.returncode, "", tail.decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Child:
    """A warm child that answers JSON lines. Used by one thread at a time."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(env),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._stderr = self._process.stderr
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self._received = b""
        self._stderr_tail = b""

    @property
    def pid(self) -> int:
        """Its process id, for tests and logs."""
        return self._process.pid

    def ask(self, message: dict[str, Any], *, timeout_s: float, stop: Event | None = None) -> dict[str, Any]:
        """Send one line, wait for one line. Raises ChildDied, ChildTimeout or ChildStopped; the child is then gone."""
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()
        except (BrokenPipeError, ValueError) as err:
            raise self._died() from err
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            if stop is not None and stop.is_set():
                self.kill()
                raise ChildStopped
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self.kill()
                raise ChildTimeout(f"no answer within {timeout_s:g} s")
            self._receive(min(remaining, _POLL_S))
        line, self._received = self._received.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._stderr_tail += b" answered no JSON object: " + line[:200]
            raise self._died()
        return answer

    def _receive(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            data = os.read(key.fd, 1 << 16)
            if key.fileobj is self._stderr:
                self._stderr_tail = (self._stderr_tail + data)[-STDERR_TAIL:]
                if not data:
                    self._selector.unregister(self._stderr)
            elif data:
                self._received += data
            else:
                raise self._died()

    def _died(self) -> ChildDied:
        self.kill()
        return ChildDied(self._process.returncode, self._stderr_tail.decode(errors="replace"))

    def kill(self) -> None:
        """End it and everything in its session at once, and collect it."""
        if self._stdout.closed:  # collected before: its number may be another program's by now
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.set_blocking(self._stderr.fileno(), False)
        self._stderr_tail = (self._stderr_tail + (self._stderr.read() or b""))[-STDERR_TAIL:]
        self._release()

    def hang_up(self) -> None:
        """Close its standard input, so that it ends by itself; `close` waits for that."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stdin.close()

    def close(self, *, grace_s: float = 1.0) -> None:
        """Let it end by itself, then end it."""
        self.hang_up()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._release()

    def _release(self) -> None:
        self._selector.close()
        for stream in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(BrokenPipeError, ValueError):
                stream.close()


class ChildPlace:
    """A place for one warm child: it is started when it is needed, and again after it has ended. Used by one thread at a time."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], name: str) -> None:
        """Starts nothing yet. `name` is what a message calls the child: "the OCR engine"."""
        self._argv = argv
        self._env = env
        self._name = name
        self._child: Child | None = None

    @property
    def is_warm(self) -> bool:
        """Whether it has a child, which may still be loading."""
        return self._child is not None

    def start(self) -> Child:
        """The child, started if there was none; it loads by itself. Raises ServerFault if no process can be started."""
        if self._child is None:
            try:
                self._child = Child(self._argv, env=self._env)
            except OSError as err:
                raise self._not_started(err) from err
        return self._child

    def _not_started(self, err: Exception) -> ServerFault:
        return ServerFault(f"{self._name} does not start: {err}", hint="ocrd doctor")

    def hang_up(self) -> None:
        """Have the child end by itself, without waiting for it."""
        if self._child is not None:
            self._child.hang_up()

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._child.close()
            self._child = None
