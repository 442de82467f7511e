"""A Windows drive's stand-in: a FUSE file system over a plain folder, with the quirks of drvfs on demand.

    python fuse_drive.py BACK MOUNT QUIRKS

What is changed in BACK is what "Windows" does: no events arrive below MOUNT. QUIRKS is a text file that is read at
every call, so that a test can change its mind; its words:

    no-rename   rename is refused with EPERM, as when a Windows program has the file open (microsoft/WSL #5019)
    no-link     hard links are refused with EPERM, as on FAT and on some drives
    no-chmod    chmod, chown and utime are refused with EPERM (a drive without `metadata`)
    no-fsync    fsync of files and folders is refused with EINVAL
    fold        names are case-insensitive, as on NTFS
    full        no bytes can be written (ENOSPC); names can still be made
    stuck       of what is written to a file that is not hidden, one byte arrives; then the drive hangs

It runs in the foreground until it is unmounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations


class Drive(Operations):  # type: ignore[misc]  # the package has no types
    """Hands every call on to the folder behind it, unless a quirk is in the way."""

    use_ns = True

    def __init__(self, back: str, quirks: str) -> None:
        self._back = back
        self._quirks = Path(quirks)

    def _has(self, quirk: str) -> bool:
        try:
            return quirk in self._quirks.read_text().split()
        except FileNotFoundError:
            return False

    def _refuse(self, quirk: str, code: int = errno.EPERM) -> None:
        if self._has(quirk):
            raise FuseOSError(code)

    def _at(self, path: str) -> str:
        real = self._back + path
        if not self._has("fold") or os.path.lexists(real):
            return real
        folder = self._back
        for part in path.strip("/").split("/"):
            try:
                names = os.listdir(folder)
            except OSError:
                return real
            folder += "/" + next((name for name in names if name.lower() == part.lower()), part)
        return folder

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Needed for everything."""
        status = os.lstat(self._at(path))
        keys = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_dev", "st_blocks")
        times = {f"st_{which}time": getattr(status, f"st_{which}time_ns") for which in "amc"}
        return {key: getattr(status, key) for key in keys} | times

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """The names in a folder; an entry without an inode would be passed over by the C library."""
        here = self._at(path)
        found = [(name, os.lstat(here)) for name in (".", "..")]
        with os.scandir(here) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # "Windows" was quicker
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
        return [(name, {"st_mode": one.st_mode, "st_ino": one.st_ino}, 0) for name, one in found]

    def open(self, path: str, flags: int) -> int:
        """Without O_CREAT: FUSE says that by `create`."""
        return os.open(self._at(path), flags & ~(os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL))

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """A new file."""
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Bytes of an open file."""
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Bytes into an open file."""
        self._refuse("full", errno.ENOSPC)
        if self._has("stuck") and not os.path.basename(path).startswith("."):
            os.pwrite(fh, data[:1], offset)
            while self._has("stuck"):
                time.sleep(0.05)
            return 1
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """By name or by descriptor."""
        os.truncate(self._at(path) if fh is None else fh, length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Of a file."""
        self._refuse("no-fsync", errno.EINVAL)
        os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Of a folder."""
        self._refuse("no-fsync", errno.EINVAL)
        return 0

    def release(self, path: str, fh: int) -> int:
        """The last user of a descriptor is gone."""
        os.close(fh)
        return 0

    def rename(self, old: str, new: str) -> int:
        """Over what is there, as rename(2) does."""
        self._refuse("no-rename")
        os.rename(self._at(old), self._at(new))
        return 0

    def link(self, target: str, source: str) -> int:
        """A second name."""
        self._refuse("no-link")
        if os.path.lexists(self._at(target)):
            raise FuseOSError(errno.EEXIST)
        os.link(self._at(source), self._at(target))
        return 0

    def unlink(self, path: str) -> int:
        """Delete a file."""
        os.unlink(self._at(path))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        """A new folder."""
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        """Delete an empty folder."""
        os.rmdir(self._at(path))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """The mode."""
        self._refuse("no-chmod")
        os.chmod(self._at(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """The owner."""
        self._refuse("no-chmod")
        os.chown(self._at(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """The times."""
        self._refuse("no-chmod")
        os.utime(self._at(path), ns=times)
        return 0


def main(back: str, mount: str, quirks: str) -> None:
    """Serve until unmounted. Nothing is cached: what happens behind its back shows at once."""
    FUSE(
        Drive(back, quirks),
        mount,
        foreground=True,
        fsname="ocrd-test-drive",
        use_ino=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
