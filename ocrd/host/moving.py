"""Moving a file without ever losing it: it stands in one place or in both, whatever dies in between.

Within a file system: a second name, then the first one goes. Across: copy, fsync, compare, name, fsync of the folder,
then the first one goes. No file that has the new name already is touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil

from ocrd.domain.documents import FileIdentity
from ocrd.domain.errors import ReasonCode, SourceChanged
from ocrd.host import faults, files


def make_folders(folder: bytes, *, below: bytes) -> None:
    """Make a folder and those above it that are missing; each is as open to others as the one it stands in.

    `below` is not made: where a drive is not mounted, nothing is to be put in its place. Raises OSError.
    """
    if os.path.isdir(folder):
        return
    if folder == below or len(folder) <= len(below):
        raise FileNotFoundError(errno.ENOENT, f"the folder {files.display_name(below)} is not there")
    parent = os.path.dirname(folder)
    make_folders(parent, below=below)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
        above = os.stat(parent)
        with contextlib.suppress(OSError):
            os.chown(folder, -1, above.st_gid)
        with contextlib.suppress(OSError):  # a Windows drive without metadata refuses every chmod
            os.chmod(folder, above.st_mode & 0o7777)
        files.sync_folder(parent)


def move_new(source: bytes, target: bytes, *, draft: bytes, known: FileIdentity) -> None:
    """Give a file a new name that nobody has, also on another file system; `draft` is a hidden name beside it.

    Raises FileExistsError if the name is taken, SourceChanged if the file is not the one that is `known`, OSError.
    """
    _expect(source, known)
    faults.point("move.name")
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as err:
        if err.errno == errno.EXDEV or not _renamed(source, target):
            _copy_new(source, target, draft, known)
    faults.point("move.named")
    files.sync_folder(os.path.dirname(target))
    finish(source, target, known)


def _renamed(source: bytes, target: bytes) -> bool:
    """Where there are no hard links: look first, then rename; False between two file systems."""
    try:
        files.rename_new(source, target)
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        return False
    return True


def finish(source: bytes, target: bytes, known: FileIdentity) -> None:
    """The file stands at its new place, durably: take the old name away, if it is still there.

    Where that is refused, or the file was changed in this moment, the new name goes again, so that the file is where
    its owner left it. Raises OSError, SourceChanged.
    """
    faults.point("move.unlink")
    found = files.stat_regular(source)
    try:
        if found is not None:
            _expect(source, known)
            files.remove_if_there(source)
    except (OSError, SourceChanged):
        files.remove_if_there(target)
        raise
    faults.point("move.unlinked")
    files.sync_folder(os.path.dirname(source))


def _copy_new(source: bytes, target: bytes, draft: bytes, known: FileIdentity) -> None:
    try:
        files.copy_to_draft(source, draft)
        with contextlib.suppress(OSError):
            status = os.lstat(source)
            os.chown(draft, status.st_uid, status.st_gid)
        with contextlib.suppress(OSError):
            shutil.copystat(source, draft, follow_symlinks=False)
        with files.open_regular(draft) as fd:
            files.sync(fd)
        faults.point("move.copied")
        _expect_same(source, draft)
        _expect(source, known)
        files.publish_new(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove_if_there(draft)
        raise


def _expect_same(source: bytes, draft: bytes) -> None:
    content = files.sha256_at(draft)
    if content is None or content != files.sha256_at(source):
        raise SourceChanged(ReasonCode.SUPERSEDED, "the copy differs from the file")


def _expect(source: bytes, known: FileIdentity) -> None:
    if files.stat_regular(source) != known:
        raise SourceChanged(ReasonCode.SUPERSEDED, "the file was changed since it was taken in")


def holds_same(one: bytes, other: bytes) -> bool:
    """Whether two paths hold the same content: as one file with two names, or as two files."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(one), os.lstat(other)):
            return True
    content = files.sha256_at(one)
    return content is not None and content == files.sha256_at(other)
