"""What is wrong around the documents, as the daemon last told it: for `ocrd status` and the end of `ocrd run --once`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KEYS = {"folder_problems": [], "hook_problem": "", "move_problem": ""}
"""What a heartbeat has of them, and what it is where nothing is wrong."""


def of(heartbeat: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a heartbeat tells."""
    return {key: heartbeat.get(key, nothing) for key, nothing in KEYS.items()}


def to_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """They for people; what they quote is not cleaned."""
    for problem in told.get("folder_problems", []):
        yield f"folder     NOT AS SET: {problem}"
    if told.get("hook_problem"):
        yield f"hooks      LAST ONE FAILED: {told['hook_problem']}"
    if told.get("move_problem"):
        yield f"originals  WAIT TO BE MOVED: {told['move_problem']}"
