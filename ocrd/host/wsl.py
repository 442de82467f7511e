"""Whether this is WSL, which one, and how it is set up. Only what a service sees, too, is looked at: the variables
`WSL_DISTRO_NAME` and `WSL_INTEROP` are there in terminals only (microsoft/WSL, src/linux/init)."""

from __future__ import annotations

import glob
import os
from typing import Literal

CONF = "/etc/wsl.conf"
_SIGNS = ("/run/WSL", "/usr/lib/wsl/lib", "/proc/sys/fs/binfmt_misc/WSLInterop*")
"""Of WSL's own init. /dev/dxg is none: other guests of Hyper-V have it."""
_SYSTEMD_SAYS = "/run/systemd/container"
"""What systemd was started in, as it was told by its variable `container`."""
_WINDOWS_CONF = "/mnt/?/Users/*/.wslconfig"


def is_wsl(release: str | None = None) -> bool:
    """Whether a kernel release ('5.15.167.4-microsoft-standard-WSL2') is one of WSL; without one, whether this machine
    is WSL, also with a kernel of the user's own, whose release may say nothing."""
    if release is not None:
        return "microsoft" in release.lower()
    return is_wsl(os.uname().release) or any(map(glob.glob, _SIGNS)) or _read(_SYSTEMD_SAYS).strip() == "wsl"


def version(release: str | None = None) -> Literal[1, 2] | None:
    """1, 2, or None where there is no WSL. Only WSL 1, whose kernel nobody can exchange, ends with a capital letter:
    '4.4.0-19041-Microsoft'."""
    if not is_wsl(release):
        return None
    return 1 if (os.uname().release if release is None else release).endswith("-Microsoft") else 2


def conf_has_systemd(text: str) -> bool:
    """Whether a wsl.conf switches systemd on."""
    return _value(text, "boot", "systemd").lower() in {"true", "1"}


def conf_stays_alive(text: str) -> bool:
    """Whether a .wslconfig lets a distribution run on after its last terminal (negative: for ever)."""
    return _value(text, "general", "instanceidletimeout").startswith("-")


def has_systemd() -> bool:
    """Whether /etc/wsl.conf of this machine switches systemd on."""
    return conf_has_systemd(_read(CONF))


def stays_alive() -> bool:
    """Whether a .wslconfig on a drive of Windows says so. False also where none can be read."""
    return any(conf_stays_alive(_read(path)) for path in glob.glob(_WINDOWS_CONF))


def is_mirrored() -> bool:
    """Whether WSL mirrors the network of Windows: only then there is this interface."""
    return os.path.exists("/sys/class/net/loopback0")


def _value(text: str, section: str, key: str) -> str:
    """A value of an INI file; '' if it is not there. The last one counts; names without regard to case."""
    here, found = "", ""
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if line.startswith("[") and line.endswith("]"):
            here = line[1:-1].strip().lower()
        elif here == section and "=" in line:
            name, _, value = line.partition("=")
            found = value.strip().strip('"') if name.strip().lower() == key else found
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
