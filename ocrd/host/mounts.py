"""Which file system a path lies on, and what that means for events and for SQLite."""

from __future__ import annotations

import os

WITHOUT_EVENTS = frozenset(
    {"9p", "drvfs", "virtiofs", "cifs", "smb3", "smbfs", "nfs", "nfs4", "ncpfs", "afs", "vboxsf", "fuseblk"}
)
"""inotify sees nothing, or only this machine's own writes (microsoft/WSL #4739; paperless-ngx #1975)."""

UNSAFE_FOR_STORE = frozenset({"9p", "drvfs", "virtiofs", "cifs", "smb3", "smbfs", "nfs", "nfs4", "vboxsf"})
"""File locks are not reliable there, and SQLite's WAL corrupts without them (microsoft/WSL #2395)."""


def file_system_of(path: str, mountinfo: str | None = None) -> str:
    """The type of the file system that holds `path` ('ext4', '9p', 'fuse.sshfs'); '' where unknown."""
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
        if point is not None and _is_under(real, point) and len(point) >= best:
            best, kind = len(point), file_system
    return kind


def _parse_mount(line: str) -> tuple[str | None, str]:
    """Mount point and type of one line of mountinfo (proc(5)); blanks are written as octal escapes."""
    left, separator, right = line.partition(" - ")
    columns = left.split(" ")
    if not separator or len(columns) < 5:
        return None, ""
    point = columns[4]
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(escape, character)
    return point, right.split(" ")[0]


def _is_under(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(point + "/")


def has_events(file_system: str) -> bool:
    """Whether inotify can be trusted to see every change there; FUSE file systems cannot."""
    return file_system not in WITHOUT_EVENTS and not file_system.startswith("fuse.")


def is_safe_for_store(file_system: str) -> bool:
    """Whether SQLite may keep its files there."""
    return file_system not in UNSAFE_FOR_STORE
