"""Fewer rights for a helper process before it opens a document. What the kernel refuses is done without.

Both calls concern the calling process and what it starts from then on; neither can be taken back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522


def isolate() -> None:
    """What a helper gives up before it sees a document, as far as the kernel lets it: its network, and any way to more
    rights. Costs half a millisecond."""
    without_new_privileges()
    without_network()


def without_new_privileges() -> bool:
    """No program that is started from here on gets more rights by its owner or its capabilities (prctl(2)).
    Whether that worked."""
    return bool(ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def without_network() -> bool:
    """Put this process into a network of its own that has no way out, not even to this machine (unshare(2)).

    For a process with one thread. False: the kernel or systemd (`RestrictNamespaces=`) does not allow it, and
    nothing has changed. Sockets with a path in the file system are still there.
    """
    # Root needs no user name space, and would lose the right to read the files of others in one.
    if _unshare(_CLONE_NEWNET):
        return True
    user, group = os.geteuid(), os.getegid()
    if not _unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        return False
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        # Without it the process only looks like `nobody` to itself; its rights to files are the same.
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    _drop_capabilities()
    return True


def _drop_capabilities() -> None:
    """The first process of a user name space has every right in it, its own unreadable files and network rules
    included (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)())


def _unshare(what: int) -> bool:
    return bool(ctypes.CDLL(None).unshare(what) == 0)
