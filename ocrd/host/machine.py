"""What this machine is like, for `ocrd doctor`: who we are, what a folder allows, limits, sockets, clocks.

Looks only. The one thing that is made is the probe file of `probe_folder`, which is removed again.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import pwd
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ocrd.host import files

T = TypeVar("T")
_CONNECT_S = 3.0


def within(seconds: float, look: Callable[[], T]) -> T:
    """What `look` returns or raises; TimeoutError if it takes longer.

    It then goes on in a thread that nobody waits for: a read from a network drive that is gone cannot be ended.
    """
    found: list[T] = []
    broken: list[BaseException] = []

    def work() -> None:
        try:
            found.append(look())
        except BaseException as err:  # noqa: BLE001 - raised again below, in the thread that asked
            broken.append(err)

    thread = threading.Thread(target=work, name="look", daemon=True)
    thread.start()
    thread.join(seconds)
    if broken:
        raise broken[0]
    if not found:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return found[0]


# --- people -------------------------------------------------------------------------------------------------


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or the number of one without."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def own_name() -> str:
    """Who this process is."""
    return user_name(os.geteuid())


def has_group(gid: int) -> bool:
    """Whether this process has the group: as it was when the session began."""
    return gid in {os.getegid(), *os.getgroups()}


def is_member(gid: int) -> bool:
    """Whether the system's list has us in the group: as it will be in the next session."""
    try:
        person = pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return gid in os.getgrouplist(person.pw_name, person.pw_gid)


# --- folders ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of writing a file into a folder, giving it another name, and deleting it."""

    failed: str = ""
    """The step that the folder refused, in words: 'write'; '' if none."""
    reason: str = ""
    left: str = ""
    """The file that could not be deleted again."""
    skew_s: float = 0.0
    """How much later than now the file is dated, by the clock of the folder's file system."""


def probe_folder(folder: str, name: str) -> Probe:
    """Write, make durable, rename and delete a file of this name. Raises nothing that the folder can cause."""
    path = os.fsencode(os.path.join(folder, name))
    step, skew_s, reason = "create", 0.0, ""
    try:
        fd = files.create_draft(path)
        try:
            step = "write"
            now = time.time()
            os.write(fd, b"a file of ocrd doctor\n")
            step = "sync"
            os.fsync(fd)
            skew_s = os.fstat(fd).st_mtime - now
        finally:
            os.close(fd)
        step = "rename"
        os.rename(path, path + b"-2")
        step = "delete"
        os.unlink(path + b"-2")
        return Probe(skew_s=skew_s)
    except OSError as err:
        reason = err.strerror or str(err)
    return Probe(step, reason, _removed(path), skew_s)


def _removed(path: bytes) -> str:
    """Delete what the probe left, under either name; the one that cannot be deleted."""
    left = ""
    for one in (path, path + b"-2"):
        try:
            files.remove_if_there(one)
        except OSError:
            left = os.fsdecode(one)
    return left


def count_folders(roots: Sequence[str], *, most: int, seconds: float) -> tuple[int, bool]:
    """How many folders there are in and below these, and whether that is all: not if it is more than `most`, or
    if counting takes longer."""
    end, count, waiting = time.monotonic() + seconds, 0, list(roots)
    while waiting:
        count += 1
        if count > most or time.monotonic() > end:
            return count, False
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return count, True


def first_unreadable(folder: str, may_read: Callable[[os.stat_result], bool]) -> tuple[str, int]:
    """The first file or folder in a folder (itself too) that `may_read` says no of, and how many there are; ('', 0)."""
    first, count = "", 0
    for base, _, names in os.walk(folder):
        for path in (base, *(os.path.join(base, name) for name in names)):
            with contextlib.suppress(OSError):
                if not may_read(os.stat(path)):
                    first, count = first or path, count + 1
    return first, count


# --- inotify ------------------------------------------------------------------------------------------------


def inotify_limit(name: str) -> int:
    """A limit of inotify(7), such as `max_user_watches`; 0 where there is none."""
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def inotify_refusal() -> str:
    """Why no further inotify instance can be had; '' if one can."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return os.strerror(ctypes.get_errno())
    os.close(fd)
    return ""


# --- sockets ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Door:
    """A socket of another program, and whether we may use it."""

    path: str
    is_there: bool = False
    real: str = ""
    """Where a link leads."""
    group: str = ""
    has_group: bool = False
    """This process has the group."""
    is_member: bool = False
    """The next session will have it."""
    refusal: str = ""
    """Why it could not be connected to: 'Permission denied'; '' if it could."""


def look_at_door(path: str, *, timeout_s: float = _CONNECT_S) -> Door:
    """Connect to a Unix socket, and hang up."""
    real = os.path.realpath(path)
    try:
        gid = os.stat(path).st_gid
    except OSError as err:
        return Door(path, is_there=not isinstance(err, FileNotFoundError), real=real, refusal=_reason(err))
    refusal = ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(timeout_s)
        try:
            caller.connect(path)
        except OSError as err:
            refusal = _reason(err)
    return Door(path, True, real, group_name(gid), has_group(gid), is_member(gid), refusal)


def _reason(err: OSError) -> str:
    if isinstance(err, BlockingIOError):
        return "too many callers wait there"
    return err.strerror or str(err)


# --- clocks -------------------------------------------------------------------------------------------------


def hardware_clock() -> float | None:
    """Seconds since 1970 by the machine's own clock, taken for UTC; None where there is none to read."""
    try:
        with open("/sys/class/rtc/rtc0/since_epoch", encoding="ascii") as file:
            return float(file.read())
    except (OSError, ValueError):
        return None
