"""Small files of a cache, read with bounds: whatever they hold, nothing is raised for it."""

from __future__ import annotations

import json
import os
import stat
from typing import Any, TypeGuard

_MAX_JSON = 64 * 2**20
MAX_SIZE = 2**60
"""A file says absurd things if it speaks of more bytes."""


def read_start(path: str, limit: int) -> bytes | None:
    """The first bytes of a file; None if there is none. What is no regular file (a pipe would block) is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return None


def load_json(path: str) -> Any:
    """The file's data; None if it is not there, too large, or no JSON."""
    data = read_start(path, _MAX_JSON + 1)
    return None if data is None or len(data) > _MAX_JSON else parse_json(data)


def is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE


def parse_json(data: bytes) -> Any:
    """None for what is no JSON: also for nesting without end, and numbers of thousands of digits."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
