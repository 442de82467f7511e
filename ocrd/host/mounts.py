"""Which file system a path lies on, and what that means for events and for SQLite."""

from __future__ import annotations

import os
import re

_NETWORK = frozenset({"cifs", "smb3", "smbfs", "nfs", "nfs4", "ncpfs", "afs", "davfs"})
_HOST_DRIVES = frozenset({"9p", "drvfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs"})
"""Folders of the machine outside: Windows under WSL, the host of a virtual machine."""
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs"})
"""The root of a container without root: every change passes through it, and it maps files as a disk does."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def file_system_of(path: str, mountinfo: str | None = None) -> str:
    """The type of the file system that holds `path` ('ext4', 'drvfs', 'fuse.sshfs'); '' where unknown.

    `mountinfo` is the text of /proc/self/mountinfo, read when not given. A Windows drive under WSL2 is called
    `drvfs`, although the kernel says `9p`.
    """
    if mountinfo is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo = file.read()
        except OSError:
            return ""
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        point, file_system = _parse_mount(line)
        # `>=`: of several mounts at one point the last one lies on top.
        if point is not None and _is_under(real, point) and len(point) >= best:
            best, kind = len(point), file_system
    return kind


def _parse_mount(line: str) -> tuple[str | None, str]:
    """Mount point and type of one line of mountinfo, see proc_pid_mountinfo(5)."""
    left, separator, right = line.partition(" - ")
    columns, behind = left.split(" "), right.split(" ")
    if not separator or len(columns) < 5:
        return None, ""
    kind = behind[0]
    if kind == "9p" and any(option.startswith("aname=drvfs") for option in behind[-1].split(",")):
        kind = "drvfs"  # microsoft/WSL, src/linux/init/drvfs.cpp
    return _unescape(columns[4]), kind


def _unescape(text: str) -> str:
    """Undo the octal escapes: the kernel writes blanks, backslashes and any other byte it likes so."""
    if "\\" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
    plain = _OCTAL.sub(lambda match: chr(int(match[1], 8) & 0xFF), raw)
    return plain.encode("latin-1").decode("utf-8", "surrogateescape")


def _is_under(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(point + "/")


def _is_fuse(file_system: str) -> bool:
    return file_system in {"fuse", "fuseblk"} or (
        file_system.startswith("fuse.") and file_system not in _LOCAL_FUSE
    )


def has_events(file_system: str) -> bool:
    """Whether inotify sees every change there. On network, host and FUSE file systems it sees nothing, or only
    what this machine does itself (microsoft/WSL #4739; paperless-ngx #1975)."""
    return not (file_system in _NETWORK or file_system in _HOST_DRIVES or _is_fuse(file_system))


def store_danger(file_system: str) -> str:
    """Why SQLite's files must not lie there, as the second half of a sentence; '' where they may."""
    if file_system in _NETWORK:
        return "whose file locks cannot be relied on, so that SQLite loses data"
    if file_system in _HOST_DRIVES:  # microsoft/WSL #2395
        return "shared with the machine outside, which does not respect its locks, so that SQLite loses data"
    if _is_fuse(file_system):
        return "run by a program (FUSE), where SQLite's shared memory and locks often do not work"
    return ""


def is_safe_for_store(file_system: str) -> bool:
    """Whether SQLite may keep its files there."""
    return not store_danger(file_system)
