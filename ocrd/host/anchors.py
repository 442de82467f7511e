"""Anchors: files below an inbox, reached without following a link on the way.

The kernel looks a path up anew each time, and a folder on the way may have become a link since the last look. So the
folder is opened from its root on, past no link, and the file is named by what was opened:
`/proc/self/fd/N/scan.pdf` stands in that folder, wherever it is by then.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ocrd.domain.documents import FileIdentity
from ocrd.domain.moving import is_below
from ocrd.host import files

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_OPENAT2, _RESOLVE_NO_SYMLINKS, _AT_FDCWD = 437, 0x04, -100
"""The same on every machine that Python runs on but Alpha."""
READABLE, NAMED = os.O_RDONLY, os.O_PATH
"""A folder opened to be listed, or only to name what is in it, for which it need not be readable."""


@contextlib.contextmanager
def opened(root: bytes, names: Sequence[bytes], how: int = NAMED) -> Iterator[int]:
    """A descriptor of the folder that lies below `root` by these names. The root itself may be a link: its owner named
    it. Raises OSError; ELOOP or NotADirectoryError where one of the names is a link."""
    folder = os.open(root, _FOLDER | how)
    try:
        if names:
            top, folder = folder, descend(folder, names, how)
            os.close(top)
        yield folder
    finally:
        os.close(folder)


def descend(top: int, names: Sequence[bytes], how: int = NAMED) -> int:
    """A new descriptor of the folder that lies below an open one. Raises as `opened` does."""
    call = _openat2()
    if call is not None:
        return call(top, b"/".join(names) or b".", _FOLDER | how)
    folder = os.open(b".", _FOLDER | how, dir_fd=top)
    for name in names:
        try:
            below = os.open(name, _FOLDER | how | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


@functools.cache
def _openat2() -> Callable[[int, bytes, int], int] | None:
    """openat2(2), which past no link opens in one step what otherwise takes one for each folder; None on a kernel that
    is older than 5.6, or where a sandbox forbids it."""
    import ctypes  # not for commands that open nothing in an inbox

    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long

    def call(top: int, path: bytes, flags: int) -> int:
        how = (ctypes.c_uint64 * 3)(flags, 0, _RESOLVE_NO_SYMLINKS)
        size = ctypes.c_size_t(ctypes.sizeof(how))
        fd = library.syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_int(top), ctypes.c_char_p(path), ctypes.byref(how), size
        )
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fsdecode(path))
        return int(fd)

    try:
        os.close(call(_AT_FDCWD, b"/", _FOLDER | NAMED))
    except OSError:
        return None
    return call


@contextlib.contextmanager
def anchored(root: bytes, path: bytes) -> Iterator[bytes]:
    """Another name of the file at `path`, good for as long as the block lasts, that no link between `root` and the file
    leads astray. The file need not be there. Raises OSError if its folder is not, or a link leads to it."""
    *names, name = path[len(root.rstrip(b"/")) + 1 :].split(b"/")
    with opened(root, names) as folder:
        yield b"/proc/self/fd/%d/%s" % (folder, name)


@dataclass(frozen=True, slots=True)
class Anchors:
    """The folders that people named. A path below none of them may have no link on its way at all."""

    roots: tuple[bytes, ...] = ()

    def root_of(self, path: bytes) -> bytes:
        """The innermost folder that people named above an absolute path."""
        return max((root for root in self.roots if is_below(path, root)), key=len, default=b"/")

    def at(self, path: bytes) -> contextlib.AbstractContextManager[bytes]:
        """The file at `path`, as `anchored` has it."""
        path = os.path.abspath(path)
        return anchored(self.root_of(path), path)

    def stat_regular(self, path: bytes) -> FileIdentity | None:
        """The identity of the regular file at `path`; None if there is none, or only past a link."""
        try:
            with self.at(path) as here:
                return files.stat_regular(here)
        except OSError:
            return None

    def is_folder(self, path: bytes) -> bool:
        """Whether a folder stands at `path` that is not past a link, nor one itself."""
        try:
            with self.at(os.path.join(path, b"any")):
                return True
        except OSError:
            return False

    def lexists(self, path: bytes) -> bool:
        """Whether anything stands at `path` that is not past a link."""
        try:
            with self.at(path) as here:
                return os.path.lexists(here)
        except OSError:
            return False
