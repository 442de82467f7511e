"""The optional packages of ocrd, by its own metadata: however it was installed, the command fits."""

from __future__ import annotations

import shlex
import sys

DISTRIBUTION = "ocrd-daemon"


def install_command(extra: str) -> str:
    """What installs the packages of an extra beside this ocrd."""
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements(extra)])


def requirements(extra: str) -> list[str]:
    """The packages of an extra, with their versions."""
    import importlib.metadata  # a fifth of what a rasterizer's child imports, and hardly one ever asks

    told = importlib.metadata.requires(DISTRIBUTION) or []
    marks = [(one.partition(";")[0].strip(), one.partition(";")[2].replace("'", '"')) for one in told]
    return [name for name, mark in marks if f'extra == "{extra}"' in mark]
