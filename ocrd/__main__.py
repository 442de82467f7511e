"""`python -m ocrd` is the command `ocrd`."""

from __future__ import annotations

from ocrd.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
