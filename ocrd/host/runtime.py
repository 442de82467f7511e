"""Runtime files: where the stores of the live daemons are, so that a command finds them without being told."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping

from ocrd.host import files

LOCK_NAME = "daemon.lock"


def lock_path(state: str) -> str:
    """The file that the daemon of a state folder keeps locked."""
    return os.path.join(state, LOCK_NAME)


def folders(env: Mapping[str, str]) -> list[str]:
    """Where daemons announce themselves: the user's run-time folder, and those of the system unit."""
    user = env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    found = [os.path.join(user, "ocrd")]
    with contextlib.suppress(OSError):
        found += sorted(entry.path for entry in os.scandir("/run/ocrd") if entry.is_dir())
    return found


def announce(state: str, env: Mapping[str, str]) -> str | None:
    """Say where the store is; the path of the file, to be removed at the end. None where there is no such folder."""
    folder = env.get("RUNTIME_DIRECTORY", "").split(":")[0] or folders(env)[0]
    path = os.path.join(folder, f"daemon-{os.getpid()}.json")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"pid": os.getpid(), "state": state}, file)
    except OSError:
        return None
    return path


def live_state(env: Mapping[str, str]) -> str | None:
    """The state folder of a daemon that runs now; None if none does, or if several do with different stores."""
    states = set()
    for folder in folders(env):
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(folder)):
                state = _read(entry.path, owner=_owner_of(folder))
                if state and files.is_locked(lock_path(state)):
                    states.add(state)
    return states.pop() if len(states) == 1 else None


def _owner_of(folder: str) -> int:
    """Whose daemons announce themselves there: the caller's own; for root, that user's whose folder it is."""
    return os.geteuid() or os.stat(folder).st_uid


def _read(path: str, *, owner: int) -> str | None:
    """The state folder that a file of this user names, if it is that user's too: anybody else's would make commands
    work with a store that is not the caller's."""
    try:
        with open(path, encoding="utf-8", opener=_open_no_link) as file:
            if os.fstat(file.fileno()).st_uid != owner:
                return None
            state = json.load(file)["state"]
        return state if isinstance(state, str) and os.stat(state).st_uid == owner else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
