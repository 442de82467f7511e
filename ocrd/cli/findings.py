"""What `ocrd doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAILURE = "ok", "warning", "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and the command that mends it."""

    check: str
    result: str
    message: str
    fix: str = ""
