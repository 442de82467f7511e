"""A fresh state folder and inbox for each test; a daemon that is left running is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Ocrd


@pytest.fixture
def ocrd(tmp_path: Path) -> Iterator[Ocrd]:
    """Not started yet."""
    one = Ocrd(tmp_path)
    yield one
    if one.process is not None:
        one.stop(signal.SIGKILL)
