"""Text that orders no terminal about, whoever wrote it. Pure."""

from __future__ import annotations

import json


def escaped(text: str, *, keep: str = "\n") -> str:
    """Text with what is not printable written as JSON and TOML write it (`\\u001b`), but for what is to be kept."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else json.dumps(c)[1:-1] for c in text)
