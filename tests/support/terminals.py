"""A terminal of our own: a program runs in it, and what is on its screen can be looked at."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import pyte

DEADLINE_S = 20.0


def _let_ctrl_c_reach_it() -> None:
    """As a shell does it in a terminal. Whoever runs the tests in the background has SIGINT ignored, which is inherited."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """To be used as a context manager; at its end the program is gone."""

    def __init__(
        self, argv: Sequence[str], env: dict[str, str], *, columns: int = 100, lines: int = 30
    ) -> None:
        self._master, slave = pty.openpty()
        self.said = b""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._set_size(columns, lines)
        self.process = subprocess.Popen(
            argv,
            env={key: value for key, value in env.items() if key not in {"COLUMNS", "LINES"}}
            | {"TERM": "xterm-256color", "LANG": "C.UTF-8"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_let_ctrl_c_reach_it,  # noqa: PLW1509
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Read what the program says until the condition holds."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            ended = self.process.poll()
            assert time.monotonic() < end, (
                f"waited in vain: {what}; exit code {ended}\n{self.text}\n{self.said[-2000:]!r}"
            )
            self._read(0.1)

    def end(self) -> int:
        """Read to the end of the program; its exit code."""
        self.wait_until(lambda: self.process.poll() is not None, "the program ends")
        while self._read(0.05):
            pass
        return self.process.wait()

    def _read(self, patience_s: float) -> bool:
        if not select.select([self._master], [], [], patience_s)[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # nobody holds the other end any more
            time.sleep(0.01)
            return False
        self.said += data
        self._stream.feed(data)
        return bool(data)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def resize(self, columns: int, lines: int) -> None:
        """Draw the window smaller or larger; the program is told by SIGWINCH."""
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """As from the keyboard: b"\\x03" is Ctrl-C."""
        os.write(self._master, keys)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        self.process.send_signal(number)
