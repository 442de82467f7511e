"""Where a command's result goes: standard output, or a file that appears wholly or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import TextIO

from ocrd.domain.errors import UsageError
from ocrd.host import files

STDOUT = "-"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


@contextlib.contextmanager
def opened(path: str, *, force: bool) -> Iterator[TextIO]:
    """To be written to; `-` is standard output. A file gets its name at the end, and takes the place of another only
    with `force`. Raises UsageError where that cannot be."""
    if path == STDOUT:
        yield sys.stdout
        return
    target = os.fsencode(os.path.abspath(path))
    if os.path.lexists(target) and not force:
        raise _exists(path)
    refuse_special(path)
    folder, name = os.path.split(target)
    draft = os.path.join(folder, b".ocrd-%s.%d.tmp" % (name[:200], os.getpid()))
    try:
        with os.fdopen(files.create_draft(draft), "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            files.sync(file.fileno())
        _publish(draft, target, path, force=force)
    except OSError as err:
        if err.errno in _FULL:
            raise
        raise UsageError(f"{path} cannot be written: {err.strerror}", hint="name a file elsewhere") from err
    finally:
        with contextlib.suppress(OSError):
            files.remove_if_there(draft)


def refuse_special(path: str) -> None:
    """Raises UsageError for what is there and is no file: a new file would take the place of a device or a pipe."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder", hint="name a file in it")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is no file (a device, a pipe or a link)", hint="-o - prints the result")


def _umask() -> int:
    """What this user's new files are without; to ask is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _publish(draft: bytes, target: bytes, path: str, *, force: bool) -> None:
    if force:
        files.publish_over(draft, target)
        return
    try:
        files.publish_new(draft, target)
    except FileExistsError as err:
        raise _exists(path) from err


def _exists(path: str) -> UsageError:
    return UsageError(f"{path} is there already", hint="name another file, or add --force to replace it")
