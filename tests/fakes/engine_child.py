"""Stands in for the embedded engine's child program and fails as told by its first argument."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    behaviour, *_ = sys.argv[1:]
    if behaviour == "dies-at-start":
        sys.exit("libtesseract.so.5: cannot open shared object file")
    for line in sys.stdin:
        question = json.loads(line)
        if question["ask"] == "hello":
            reply = {"fatal": "no such data"} if behaviour == "cannot-load" else {"version": "9.9"}
            print(json.dumps(reply), flush=True)
        elif behaviour == "babbles":
            print("Segmentation fault, probably", flush=True)
        elif behaviour == "never-answers":
            Path(question["path"]).write_text("asked")
            signal.pause()
        elif behaviour == "aborts":
            sys.stderr.write("free(): invalid pointer\n")
            sys.stderr.flush()
            os.abort()


if __name__ == "__main__":
    main()
