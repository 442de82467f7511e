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
from collections.abc import Callable, Iterator

from ocrd.domain.documents import FileIdentity
from ocrd.host import faults, renaming

_CHUNK = 1 << 20

_NOT_HERE = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""A file system that does not know such a call at all."""
_IN_USE = frozenset({errno.EPERM, errno.EACCES, errno.EBUSY, errno.ETXTBSY})
"""What a Windows drive says to a rename while any program has the file open (microsoft/WSL #5019)."""
_NO_LINKS = _NOT_HERE | _IN_USE | {errno.EXDEV, errno.EMLINK}
"""What is said where no second name can be given (FAT, some FUSE and Windows drives). Anything else is trouble."""
_PAUSES_S = (0.1, 0.3, 0.6, 1.0)
"""Virus scanners and indexers open every new file, and are done within this time."""
_DISK_TROUBLE = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT})


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
    for chunk in _chunks_of(fd):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks_of(fd: int) -> Iterator[bytes]:
    position = 0
    while chunk := os.pread(fd, _CHUNK, position):
        yield chunk
        position += len(chunk)


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
        if err.errno not in {errno.ENOLCK, *_NOT_HERE}:
            os.close(fd)
            raise
    return fd


class FolderLocks:
    """Locks of folders by their paths. The folder behind a path may change: a drive comes and goes, and the lock
    of what stood there before is worth nothing. For one thread at a time."""

    def __init__(self) -> None:
        self._held: dict[bytes, int] = {}

    def take(self, path: bytes) -> bool:
        """Hold the lock of the folder that stands at the path now; False: somebody else has it.

        Costs two stats when it is held already. Raises OSError where there is no folder.
        """
        there = os.stat(path)
        if path in self._held:
            with contextlib.suppress(OSError):  # a file system that died answers nothing any more
                if os.path.samestat(os.fstat(self._held[path]), there):
                    return True
        self.release(path)
        lock = try_lock_folder(path)
        if lock is not None:
            self._held[path] = lock
        return lock is not None

    def release(self, path: bytes) -> None:
        """Let go of a path, if its lock is held: a drive can only be unmounted when nobody holds a folder of it."""
        lock = self._held.pop(path, None)
        if lock is not None:
            os.close(lock)

    def close(self) -> None:
        """Let go of everything."""
        for path in list(self._held):
            self.release(path)


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
    with contextlib.suppress(OSError):
        if os.fstat(fd).st_gid != status.st_gid:
            os.fchown(fd, -1, status.st_gid)
    with contextlib.suppress(OSError):  # a Windows drive without metadata refuses every chmod
        os.fchmod(fd, (status.st_mode & 0o666) | 0o600)


def publish_new(draft: bytes, target: bytes) -> None:
    """Give the draft its final name if nothing has that name yet; raises FileExistsError otherwise.

    Where names cannot be given at all, the content is copied; see `_copy_new` for what a kill leaves then.
    """
    faults.point("file.name")
    try:
        os.link(draft, target, follow_symlinks=False)
    except OSError as no_link:
        if not has_no_links(no_link):
            raise
        try:
            _patiently(lambda: rename_new(draft, target))
        except OSError as err:
            if err.errno not in _IN_USE:
                raise
            _copy_new(draft, target)
    faults.point("file.named")
    # Gone already after a rename. One that stays in use is hidden, and the next text of the document replaces it.
    with contextlib.suppress(OSError):
        _patiently(lambda: os.unlink(draft))


def has_no_links(err: OSError) -> bool:
    """Whether `link` failed because a file cannot have a second name here."""
    return err.errno in _NO_LINKS


def rename_new(draft: bytes, target: bytes) -> None:
    """Rename to a name that nobody has, where the file system cannot tell (FAT, Windows and most network drives) as far
    as a look before does. Raises FileExistsError, OSError."""
    # Always: there are drives in FUSE that take the call, leave out what it is to heed, and rename over what is there.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target))
    if not renaming.rename_new(draft, target):
        os.rename(draft, target)


def _patiently(action: Callable[[], object]) -> None:
    """Try again for two seconds while the drive says that a file is in use."""
    for pause_s in _PAUSES_S:
        try:
            action()
        except OSError as err:
            if err.errno not in _IN_USE:
                raise
            time.sleep(pause_s)
        else:
            return
    action()


def copy_to_draft(source: bytes, draft: bytes) -> None:
    """Write the content of a regular file into a new draft. Raises OSError."""
    with os.fdopen(create_draft(draft), "wb") as file, open_regular(source) as original:
        for chunk in _chunks_of(original):
            file.write(chunk)


def _copy_new(draft: bytes, target: bytes) -> None:
    """Write the draft's content under a name that nobody has; raises FileExistsError otherwise.

    A failure leaves nothing. A kill half-way leaves a file with the beginning of the draft: `is_beginning_of` tells
    it from a foreign one.
    """
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file, open_regular(draft) as source:
            for chunk in _chunks_of(source):
                file.write(chunk)
            file.flush()
            dress_like_folder(fd, os.path.dirname(target))
            sync(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target)  # ours: nobody had the name. Closed by now, because drives keep what is open
        raise


def is_beginning_of(path: bytes, whole: bytes) -> bool:
    """Whether the regular file at `path` holds nothing but the beginning of the one at `whole`, and less than it."""
    try:
        with open_regular(path) as part, open_regular(whole) as entire:
            if os.fstat(part).st_size >= os.fstat(entire).st_size:
                return False
            position = 0
            for chunk in _chunks_of(part):
                if os.pread(entire, len(chunk), position) != chunk:
                    return False
                position += len(chunk)
    except OSError:
        return False
    return True


def publish_over(draft: bytes, target: bytes, *, standing: str | None = None) -> bool:
    """Put the draft in the place of a file with the checksum `standing`, or of any, at once and wholly. False if another
    file stands there by now, or none: nothing was done. Raises OSError, with what to do, where a program keeps one of
    them open.

    What comes out is looked at once more and put back if it is another one, so that not even a file that is saved in
    this very moment is lost. Where two files cannot be exchanged (FAT, Windows and most network drives), the look
    before must do.
    """
    faults.point("file.replace")
    if standing is not None and sha256_at(target) != standing:
        return False
    faults.point("file.exchange")
    try:
        if not _replace(draft, target, standing):
            return False
    except OSError as err:
        if err.errno not in _IN_USE:
            raise
        name = display_name(os.path.basename(target))
        reason = f"{name} cannot be replaced ({err.strerror}): close it in other programs, then `ocrd retry`"
        raise OSError(err.errno, reason, os.fsdecode(target)) from err
    faults.point("file.replaced")
    return True


def _replace(draft: bytes, target: bytes, standing: str | None) -> bool:
    exchanged = False

    def exchange() -> None:
        nonlocal exchanged
        exchanged = standing is not None and renaming.exchange(draft, target)
        if not exchanged:
            os.replace(draft, target)

    try:
        _patiently(exchange)
    except FileNotFoundError:
        return False
    if not exchanged or not os.path.lexists(draft):  # a drive that knows no exchange may have renamed
        return True
    if sha256_at(draft) != standing:
        _patiently(exchange)
        return False
    with contextlib.suppress(OSError):  # one that stays in use is hidden, and goes with the drafts
        _patiently(lambda: os.unlink(draft))
    return True


def remove_known(path: bytes, aside: bytes, is_known: Callable[[bytes], bool]) -> bool:
    """Delete a file if it is the one that is known. False if another one stands there, or none: nothing was done.

    It is first renamed to `aside`, a hidden name that nobody has, and looked at there: a file that is saved in this
    moment gets its name back. Raises OSError.
    """
    if not is_known(path):
        return False
    faults.point("file.aside")
    try:
        rename_new(path, aside)
    except FileNotFoundError:
        return False
    faults.point("file.put_aside")
    if not is_known(aside):
        rename_new(aside, path)
        return False
    try:
        remove_if_there(aside)
    except OSError:
        rename_new(aside, path)
        raise
    return True


def sync(fd: int) -> None:
    """Make a file's content durable; file systems that cannot are left alone. Raises OSError where a disk fails."""
    try:
        faults.point("file.sync")
        os.fsync(fd)
    except OSError as err:
        if err.errno not in _NOT_HERE:
            raise
    faults.point("file.synced")


def sync_folder(folder: bytes) -> None:
    """Make the names in a folder durable; file systems that cannot are left alone. Raises OSError where a disk fails."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            faults.point("folder.sync")
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as err:
        if err.errno in _DISK_TROUBLE:
            raise
    faults.point("folder.synced")


def remove_if_there(path: bytes) -> bool:
    """Delete a file; whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def free_mib(folder: str) -> int | None:
    """What this user may still write there, in MiB: none on a file system that is read-only. None: unknown."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    if status.f_flag & os.ST_RDONLY:
        return 0
    # Some file systems of programs (FUSE) tell no sizes at all: that is not a full disk.
    return status.f_bavail * status.f_frsize >> 20 if status.f_blocks else None
