"""systemd's own programs: what is asked of them, and what they answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from enum import StrEnum

from ocrd.domain.errors import OcrdError, ServiceMissing
from ocrd.host import commands, wsl

_BOOTED = "/run/systemd/system"
"""There while systemd is the machine's init (sd_booted(3))."""
_LINGER = "/var/lib/systemd/linger"
PATIENCE_S = 180.0
"""A start may have to bring a store up to date first, a stop to finish pages."""
_SHOW_S = 10.0


class Kind(StrEnum):
    """Whose service manager: the machine's, or that of one user."""

    SYSTEM = "system"
    USER = "user"

    @property
    def scope(self) -> tuple[str, ...]:
        """The option for systemctl and journalctl."""
        return ("--user",) if self is Kind.USER else ()


def unit_of(kind: Kind, user: str) -> str:
    """The name of the unit that works for a user."""
    return f"ocrd@{user}.service" if kind is Kind.SYSTEM else "ocrd.service"


def is_booted() -> bool:
    """Whether systemd runs this machine."""
    return os.path.isdir(_BOOTED)


def need_booted() -> None:
    """Raises ServiceMissing where systemd does not run the machine."""
    if is_booted():
        return
    hint = "run it in the foreground: ocrd run"
    if wsl.is_wsl():
        hint = "add the lines [boot] and systemd=true to /etc/wsl.conf, then in Windows: wsl --shutdown"
    raise ServiceMissing("systemd does not run this machine", hint=hint)


def lingers(user: str) -> bool:
    """Whether a user's services run while the user is not logged in."""
    return os.path.exists(os.path.join(_LINGER, user))


def systemctl(kind: Kind, *words: str, timeout_s: float = PATIENCE_S) -> None:
    """Have something done. Raises OcrdError with what systemctl says."""
    _call(["systemctl", *kind.scope, *words], timeout_s)


def enable_linger(user: str) -> None:
    """Let a user's services run from the start of the machine on. Raises OcrdError."""
    _call(["loginctl", "enable-linger", user], _SHOW_S)


def show(kind: Kind, unit: str, properties: Sequence[str]) -> dict[str, str]:
    """Properties of a unit; what is not known is ''. Raises OcrdError where the manager does not answer."""
    argv = ["systemctl", *kind.scope, "show", unit, f"--property={','.join(properties)}"]
    found = dict(line.partition("=")[::2] for line in _call(argv, _SHOW_S).splitlines())
    return {name: found.get(name, "") for name in properties}


def verify(paths: Sequence[str]) -> str:
    """What `systemd-analyze` finds wrong with unit files; '' for nothing, or if it is not installed."""
    if shutil.which("systemd-analyze") is None:
        return ""
    done = commands.run(["systemd-analyze", "verify", *paths], timeout_s=60)
    return (done.err + done.out).strip()


def journal(kind: Kind, unit: str, *more: str) -> list[str]:
    """The command that shows a unit's log."""
    return ["journalctl", *kind.scope, "--unit", unit, *more]


def last_lines(kind: Kind, unit: str, number: int) -> str:
    """The end of a unit's log; '' where it cannot be read."""
    try:
        return _call([*journal(kind, unit, "--no-pager", "--output=cat"), "--lines", str(number)], _SHOW_S)
    except OcrdError:
        return ""


def _call(argv: Sequence[str], timeout_s: float) -> str:
    named = " ".join(argv)
    try:
        done = commands.run(argv, timeout_s=timeout_s)
    except commands.CommandMissing as err:
        raise ServiceMissing(f"{argv[0]} is not installed", hint="sudo apt install systemd") from err
    except commands.CommandTimeout as err:
        raise OcrdError(f"`{named}` did not end within {timeout_s:g} s", hint="try it by hand") from err
    if done.code != 0:
        said = (done.err or done.out).strip() or commands.describe_exit(done.code)
        hint = f"try it by hand: {named}"
        if "Failed to connect to bus" in said and "--user" in argv:
            hint = "no service manager of yours runs; log in anew, or as root: loginctl enable-linger USER"
        raise OcrdError(f"`{named}` failed: {said}", hint=hint)
    return done.out
