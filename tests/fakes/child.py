"""A helper program that answers JSON lines, and misbehaves as each question tells it to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        BEHAVIOURS[question["do"]](question)


def reply(line: str) -> None:
    print(line, flush=True)


def echo(question: dict[str, Any]) -> None:
    reply(json.dumps(question))


def say(question: dict[str, Any]) -> None:
    reply(question["line"])


def say_in_pieces(_: dict[str, Any]) -> None:
    for piece in ('{"a":', " 1", "}\n"):
        sys.stdout.write(piece)
        sys.stdout.flush()


def die(_: dict[str, Any]) -> None:
    sys.exit("I am done for")


def crash(_: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(_: dict[str, Any]) -> None:
    signal.pause()


def flood(question: dict[str, Any]) -> None:
    sys.stderr.write("x" * question["bytes"] + "the end")
    sys.stderr.flush()
    reply("{}")


def close_stderr(_: dict[str, Any]) -> None:
    os.close(2)
    reply("{}")


def leave_a_grandchild(_: dict[str, Any]) -> None:
    grandchild = subprocess.Popen(["sleep", "600"])
    reply(json.dumps({"pid": grandchild.pid}))


BEHAVIOURS: dict[str, Callable[[dict[str, Any]], None]] = {
    "echo": echo,
    "say": say,
    "in pieces": say_in_pieces,
    "die": die,
    "crash": crash,
    "sleep": sleep,
    "flood": flood,
    "close stderr": close_stderr,
    "leave a grandchild": leave_a_grandchild,
}

if __name__ == "__main__":
    main()
