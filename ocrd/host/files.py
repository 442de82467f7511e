"""Files: identity, hashing, locks, and publishing a finished file without ever harming another one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
import unicodedata
from collections.abc import Iterator

from ocrd.domain.documents import FileIdentity

_CHUNK = 1 << 20


def identity_of(status: os.stat_result) -> FileIdentity:
    """What tells whether the same unchanged file stands at a path."""
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def stat_regular(path: bytes) -> FileIdentity | None:
    """The identity of the regular file at `path`; None if there is none (links are not followed)."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return identity_of(status) if stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def open_regular(path: bytes) -> Iterator[int]:
    """A descriptor of a regular file for reading: no link is followed, no FIFO or device blocks. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield fd
    finally:
        os.close(fd)


def sha256_of(fd: int) -> str:
    """SHA-256 of everything behind the descriptor, in hexadecimal."""
    digest = hashlib.sha256()
    position = 0
    while chunk := os.pread(fd, _CHUNK, position):
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest()


def sha256_at(path: bytes) -> str | None:
    """SHA-256 of the regular file at `path`; None where there is none."""
    try:
        with open_regular(path) as fd:
            return sha256_of(fd)
    except OSError:
        return None


def display_name(path: bytes) -> str:
    """A path for people: NFC, with bytes that are no UTF-8 and control characters made visible."""
    text = unicodedata.normalize("NFC", path.decode("utf-8", "backslashreplace"))
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def try_lock(path: str, *, patience_s: float = 0.0) -> int | None:
    """Take the exclusive lock of a file, which is made if needed; the descriptor holds it. None: taken.

    With patience, a holder that lets go soon is waited for: `is_locked` and short commands hold it for a moment.
    """
    deadline = time.monotonic() + patience_s
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock = _lock_or_close(fd)
        if lock is not None or time.monotonic() >= deadline:
            return lock
        time.sleep(0.02)


def try_lock_folder(path: bytes) -> int | None:
    """Lock a folder itself, by device and inode, so that nothing needs to be left in it. None: taken."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return _lock_or_close(fd)


def _lock_or_close(fd: int) -> int | None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as err:
        # Some network and FUSE file systems have no locks; the store's own lock still stands.
        if err.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}:
            os.close(fd)
            raise
    return fd


def is_locked(path: str) -> bool:
    """Whether someone holds the lock of a file. Takes nothing, makes nothing."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def create_draft(path: bytes) -> int:
    """A new file to write a draft into; one left by a killed process is replaced, a link is never followed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def dress_like_folder(fd: int, folder: bytes) -> None:
    """Give a file the mode (without x) and, where we may, the group of the folder it stands in."""
    status = os.stat(folder)
    with contextlib.suppress(PermissionError):
        if os.fstat(fd).st_gid != status.st_gid:
            os.fchown(fd, -1, status.st_gid)
    with contextlib.suppress(PermissionError):  # drvfs without metadata refuses every chmod
        os.fchmod(fd, (status.st_mode & 0o666) | 0o600)


def publish_new(draft: bytes, target: bytes) -> None:
    """Give the draft its final name if nothing has that name yet; raises FileExistsError otherwise."""
    try:
        os.link(draft, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (FAT, some FUSE and Windows drives): look first, then rename.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target)) from None
        os.rename(draft, target)
    else:
        os.unlink(draft)


def publish_over(draft: bytes, target: bytes) -> None:
    """Put the draft in the place of the target, at once and wholly."""
    os.replace(draft, target)


def sync_folder(folder: bytes) -> None:
    """Make the names in a folder durable; file systems that cannot are left alone."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as err:
        if err.errno not in {errno.EINVAL, errno.EROFS, errno.ENOTSUP}:
            raise
    finally:
        os.close(fd)


def remove_if_there(path: bytes) -> bool:
    """Delete a file; whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
