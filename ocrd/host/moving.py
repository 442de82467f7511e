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
from ocrd.host.anchors import Anchors

_CHANGED = "the file was changed since it was taken in"


def make_folders(folder: bytes, *, below: bytes, anchors: Anchors) -> None:
    """Make a folder and those above it that are missing; each is as open to others as the one it stands in.

    `below` is not made: where a drive is not mounted, nothing is to be put in its place. Raises OSError, also where a
    link has the name of one of the folders.
    """
    if anchors.is_folder(folder):
        return
    if folder == below or len(folder) <= len(below):
        raise FileNotFoundError(errno.ENOENT, f"the folder {files.display_name(below)} is not there")
    parent = os.path.dirname(folder)
    make_folders(parent, below=below, anchors=anchors)
    with anchors.at(folder) as here, contextlib.suppress(FileExistsError):
        os.mkdir(here)
        _dress_like_parent(here)
        files.sync_folder(os.path.dirname(here))


def _dress_like_parent(folder: bytes) -> None:
    above = os.stat(os.path.dirname(folder))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fchown(fd, -1, above.st_gid)
        with contextlib.suppress(OSError):  # a Windows drive without metadata refuses every chmod
            os.fchmod(fd, above.st_mode & 0o7777)
    finally:
        os.close(fd)


def move_new(source: bytes, target: bytes, *, draft: bytes, aside: bytes, known: FileIdentity) -> None:
    """Give a file a new name that nobody has, also on another file system; `draft` is a hidden name beside the new one,
    `aside` one beside the old one.

    Raises FileExistsError if the name is taken, SourceChanged if the file is not the one that is `known`, OSError. Then
    the file is where its owner left it.
    """
    _expect(source, known)
    faults.point("move.name")
    renamed = False
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as err:
        if not files.has_no_links(err):
            raise
        renamed = err.errno != errno.EXDEV and _renamed(source, target, known)
        if not renamed:
            _copy_new(source, target, draft, known)
    faults.point("move.named")
    if renamed:
        files.sync_folder(os.path.dirname(target))
        files.sync_folder(os.path.dirname(source))
        return
    made = files.stat_regular(target)
    try:
        files.sync_folder(os.path.dirname(target))
        _take_away(source, aside, known)
    except (OSError, SourceChanged) as err:
        is_left = isinstance(err, SourceChanged) or files.stat_regular(source) == known
        if is_left and made is not None and files.stat_regular(target) == made:
            files.remove_if_there(target)
        raise


def _renamed(source: bytes, target: bytes, known: FileIdentity) -> bool:
    """Where there are no hard links; False between two file systems. Raises SourceChanged, FileExistsError, OSError."""
    try:
        files.rename_new(source, target)
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        return False
    if files.stat_regular(target) != known:  # it was saved anew after it had been looked at
        files.rename_new(target, source)
        raise SourceChanged(ReasonCode.SUPERSEDED, _CHANGED)
    return True


def finish(source: bytes, target: bytes, *, aside: bytes, known: FileIdentity) -> None:
    """A file stands in both places, and nobody knows since when: make the new one durable, and take the old one away.

    Where that is refused, or the file was changed in this moment, both stay: whose the new one is cannot be told.
    Raises OSError, SourceChanged.
    """
    with files.open_regular(target) as fd:
        files.sync(fd)
    files.sync_folder(os.path.dirname(target))
    _take_away(source, aside, known)


def put_back(aside: bytes, source: bytes, target: bytes) -> None:
    """What a kill left under its hidden name gets its old name again, unless it stands at its new place. Raises OSError;
    FileExistsError if another file has the old name by now."""
    if not os.path.lexists(aside):
        return
    if holds_same(aside, target):
        os.unlink(aside)
    else:
        files.rename_new(aside, source)


def _take_away(source: bytes, aside: bytes, known: FileIdentity) -> None:
    faults.point("move.unlink")
    try:
        gone = files.remove_known(source, aside, lambda path: files.stat_regular(path) == known)
    except FileExistsError as err:
        name = files.display_name(os.path.basename(aside))
        raise OSError(errno.EBUSY, f"{name} stands in its folder") from err
    if not gone and os.path.lexists(source):
        raise SourceChanged(ReasonCode.SUPERSEDED, _CHANGED)
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
        raise SourceChanged(ReasonCode.SUPERSEDED, _CHANGED)


def holds_same(one: bytes, other: bytes) -> bool:
    """Whether two paths hold the same content: as one file with two names, or as two files."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(one), os.lstat(other)):
            return True
    content = files.sha256_at(one)
    return content is not None and content == files.sha256_at(other)
