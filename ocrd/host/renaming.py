"""Renaming that replaces nothing, and exchanging two files: renameat2(2), which Python does not offer.

Not every file system can: those of FUSE, Windows and most networks cannot, and the caller has to look first.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_NOT_HERE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})


def rename_new(source: bytes, target: bytes) -> bool:
    """Rename to a name that nobody has. False where that cannot be asked for in one step: nothing was done.
    Raises FileExistsError, OSError."""
    return _rename(source, target, _NOREPLACE)


def exchange(one: bytes, other: bytes) -> bool:
    """Let two files have each other's name, in one step. False where that is not possible: nothing was done.
    Raises OSError."""
    return _rename(one, other, _EXCHANGE)


def _rename(source: bytes, target: bytes, flags: int) -> bool:
    call = _renameat2()
    if call is None:
        return False
    code = call(source, target, flags)
    if code in _NOT_HERE:
        return False
    if code:
        raise OSError(code, os.strerror(code), os.fsdecode(source), None, os.fsdecode(target))
    return True


@functools.cache
def _renameat2() -> Callable[[bytes, bytes, int], int] | None:
    """The call, which answers with an error number or 0; None in a C library older than 2018."""
    import ctypes  # not for commands that rename nothing

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return None
    library.renameat2.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )

    def call(source: bytes, target: bytes, flags: int) -> int:
        failed = library.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, flags)
        return ctypes.get_errno() if failed else 0

    return call
