"""structlog, imported without rich.

Where rich is installed, structlog imports it for a console renderer that is not used here: 0.06 s of a start, which is as
much as a fifth of SQLAlchemy's.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, cast


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Let imports of a package fail for as long as the block lasts, unless it was imported before."""
    if package in sys.modules:
        yield
        return
    modules = cast("dict[str, Any]", sys.modules)
    modules[package] = None  # what the import system documents for it
    try:
        yield
    finally:
        del modules[package]


with _hidden("rich"):
    import structlog
    from structlog.contextvars import bound_contextvars

__all__ = ["bound_contextvars", "structlog"]
