"""The part of `ocrd doctor` that looks at the machine: Python, SQLite, poppler, the clock."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import sys
import time
from collections.abc import Iterator

from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.host import commands, machine, wsl
from ocrd.store import snapshot

_SQLITE = (3, 35)
_EARLIEST_YEAR = 2024
"""This program did not exist before."""
_MOST_SKEW_S = 60.0
_ZONE_S = 900.0
"""Time zones differ by multiples of this. The hardware clock may keep local time: Windows sets it so."""


def look() -> Iterator[Finding]:
    """Each check on its own."""
    yield Finding("python", OK, f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")
    yield judge_sqlite(snapshot.SQLITE_VERSION, has_search=snapshot.has_full_text_search())
    yield _poppler()
    yield judge_clock(time.time(), machine.hardware_clock(), is_wsl=wsl.is_wsl())


def judge_sqlite(version: tuple[int, ...], *, has_search: bool = True) -> Finding:
    """Whether this SQLite has what the store uses."""
    text = ".".join(map(str, version))
    if version < _SQLITE:
        return Finding("sqlite", FAILURE, f"{text} is too old: 3.35 is needed", "use a newer Python build")
    if not has_search:
        return Finding("sqlite", FAILURE, f"{text} was built without FTS5", "use a Python build that has it")
    return Finding("sqlite", OK, text)


def _poppler() -> Finding:
    for program in ("pdftoppm", "pdfinfo"):
        try:
            answer = commands.run([program, "-v"], timeout_s=10)
        except (commands.CommandMissing, commands.CommandTimeout) as err:
            why = f"{program} does not work: {err}"
            return Finding("poppler", FAILURE, why, "sudo apt install poppler-utils")
    version = re.search(r"version (\S+)", answer.err + answer.out)
    number = version.group(1) if version else "unknown version"
    return Finding("poppler", OK, f"{number}, {shutil.which('pdftoppm')}")


def judge_clock(now: float, hardware: float | None, *, is_wsl: bool) -> Finding:
    """Whether the time can be right. A machine that slept may be late (microsoft/WSL #10006); both are seconds since
    1970. Nothing but dates depends on it: all waiting is done by a clock that only goes forward."""
    fix = "sudo hwclock -s" if is_wsl else "sudo timedatectl set-ntp true"
    said = dt.datetime.fromtimestamp(now, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if int(said[:4]) < _EARLIEST_YEAR:
        return Finding("clock", FAILURE, f"it says {said}, which cannot be", fix)
    skew_s = 0.0 if hardware is None else hardware - now
    from_zone_s = abs(skew_s - round(skew_s / _ZONE_S) * _ZONE_S)
    if from_zone_s > _MOST_SKEW_S:
        way = "behind" if skew_s > 0 else "ahead of"
        message = f"it says {said}, {abs(skew_s):.0f} s {way} the hardware clock: documents get wrong dates"
        return Finding("clock", WARNING, message, fix)
    return Finding("clock", OK, said)
