"""A helper program that answers JSON lines, and misbehaves as each question tells it to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        match question["do"]:
            case "echo":
                reply(json.dumps(question))
            case "die":
                sys.stderr.write("I am done for\n")
                sys.exit(3)
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "sleep":
                signal.pause()
            case "say":
                reply(question["line"])
            case "flood":
                sys.stderr.write("x" * question["bytes"] + "the end")
                sys.stderr.flush()
                reply("{}")
            case "in pieces":
                for piece in ('{"a":', " 1", "}\n"):
                    sys.stdout.write(piece)
                    sys.stdout.flush()
            case "close stderr":
                os.close(2)
                reply("{}")
            case "leave a grandchild":
                grandchild = subprocess.Popen(["sleep", "600"])
                reply(json.dumps({"pid": grandchild.pid}))


def reply(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
