"""The inbox: which files lie there, and which of them are complete.

The scan is the truth. Events only say that it may be time for one: watchdog loses them in bursts, at watch
limits and on Windows drives, and a raised exception kills its thread without a word.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from ocrd.domain.documents import FileIdentity
from ocrd.host import anchors, files

OWN_MARK = b".ocrd-"
"""Our drafts and probes begin with it, our error files contain it: none of them is an input."""

DEFAULT_IGNORES = (
    *(
        ".*",
        "~$*",
        "~*.tmp",
        "*.part",
        "*.partial",
        "*.crdownload",
        "*.download",
        "*.filepart",
        "*.tmp",
        "*.temp",
    ),
    *("*.swp", "*.opdownload", "*.!ut", "*.aria2", "*.lock", "Thumbs.db", "desktop.ini", "ehthumbs.db"),
    *("@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"),
    *("*.password", "*.ocrd-error.txt", "*.sync-conflict-*", "~syncthing~*"),
)
"""Half-written, synchronised, locked and hidden things, by name; a folder of such a name is not entered."""


class Patterns:
    """Names that are passed over, as shell patterns, whatever their case."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # One expression for all of them: a scan of 100,000 names asks it as often.
        self._expression = re.compile(
            "|".join(fnmatch.translate(pattern.lower()) for pattern in patterns) or r"\Z."
        )

    def match(self, name: bytes | str) -> bool:
        """Whether the last part of a path is to be passed over."""
        return self._expression.match(os.fsdecode(name).lower()) is not None


@dataclass(slots=True)
class Listing:
    """What one scan of a root found."""

    files: dict[bytes, FileIdentity] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    """Why things were passed over: `ignored`, `link`, `not_a_file`, `unreadable_folder`."""
    complete: bool = True
    """False if the root itself could not be listed: nothing may be concluded from what is missing."""


def list_files(
    root: bytes,
    patterns: Patterns,
    *,
    recursive: bool,
    without: frozenset[bytes] = frozenset(),
    outputs: tuple[bytes, ...] = (),
) -> Listing:
    """Every regular file below the root; links are not followed, other things not opened, nor the folders `without`.

    What ends with one of `outputs` beside the file that it belongs to (`scan.pdf.txt` beside `scan.pdf`) is left out.
    """
    found = Listing()
    try:
        with anchors.opened(root, (), anchors.READABLE) as top:
            folders: list[tuple[bytes, ...]] = [()]
            while folders:
                names = folders.pop()
                path = os.path.join(root, *names, b"")
                try:
                    below = _list_folder(top, names, path, patterns, outputs, found)
                    folders.extend(
                        (*names, name) for name in below if recursive and path + name not in without
                    )
                except OSError:  # at its beginning or in the middle of it: a share may go away at any time
                    found.skipped["unreadable_folder"] += 1
                    found.complete = found.complete and names != ()
    except OSError:
        found.skipped["unreadable_folder"] += 1
        found.complete = False
    return found


def _list_folder(
    top: int,
    names: tuple[bytes, ...],
    path: bytes,
    patterns: Patterns,
    outputs: tuple[bytes, ...],
    found: Listing,
) -> Iterator[bytes]:
    """Note the files of the folder by these names below the open one; yields the names of those in it. `path` is its own,
    and ends with a slash."""
    like_outputs: set[bytes] = set()
    fd = anchors.descend(top, names, anchors.READABLE)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if patterns.match(entry.name):
                    found.skipped["ignored"] += 1
                elif name.endswith(outputs) and _is_file(entry):
                    like_outputs.add(path + name)
                elif _is_folder(entry):
                    yield name
                else:
                    _note_file(fd, path, name, found)
    finally:
        for one in like_outputs:
            if not _belongs_to_a_file(one, outputs, found.files, like_outputs):
                _note_file(fd, path, os.path.basename(one), found)
        os.close(fd)


def _belongs_to_a_file(path: bytes, outputs: tuple[bytes, ...], *files_there: Container[bytes]) -> bool:
    owners = [path.removesuffix(suffix) for suffix in outputs if path.endswith(suffix)]
    return any(owner in there for owner in owners for there in files_there)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """As the folder itself says: a call to the file for 10,000 outputs is half the cost of a look at them."""
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _note_file(fd: int, folder: bytes, name: bytes, found: Listing) -> None:
    try:
        status = os.lstat(name, dir_fd=fd)
    except OSError:
        return  # gone between listing and looking: the next scan sees what became of it
    if stat.S_ISREG(status.st_mode):
        found.files[folder + name] = files.identity_of(status)
    else:
        found.skipped["link" if stat.S_ISLNK(status.st_mode) else "not_a_file"] += 1


SAFETY_SCAN_S = 300.0
"""Where events work, they say when to look; now and then it is looked all the same, for those that were lost."""
POLL_S = 5.0


@dataclass(slots=True)
class _Watched:
    identity: FileIdentity
    since: float
    scans: int = 1


class Tracker:
    """Decides which files are complete. Pure but for what it remembers; time is passed in.

    A file is complete when its identity stood still over two scans and `quiet_s` of monotonic time. With
    `trust_age` a modification time that lies so far in the past counts as that (for `--once`).
    """

    def __init__(self, *, quiet_s: float, trust_age: bool) -> None:
        self._quiet_s = quiet_s
        self._trust_age = trust_age
        self._watched: dict[bytes, _Watched] = {}
        self._taken: dict[bytes, int] = {}
        self._deferred: dict[bytes, float] = {}

    def remember(self, path: bytes, size: int, mtime_ns: int) -> None:
        """This file was taken in before, in this life or an earlier one."""
        self._taken[path] = hash((size, mtime_ns))
        self._watched.pop(path, None)
        self._deferred.pop(path, None)

    def forget(self) -> None:
        """Know nothing any more: another folder may stand at the root's path by now."""
        self._watched.clear()
        self._taken.clear()
        self._deferred.clear()

    def drop(self, path: bytes) -> None:
        """Know nothing of this file any more: the next scan sees it for the first time."""
        self._taken.pop(path, None)

    def defer(self, path: bytes, until: float) -> None:
        """This file cannot be opened yet; leave it alone until then, unless it changes."""
        self._deferred[path] = until

    def observe(self, listing: dict[bytes, FileIdentity], *, now: float, wall: float) -> list[bytes]:
        """One scan's result; the files that are complete by now, in the order of their names."""
        for kept in (self._watched, self._deferred):
            for gone in kept.keys() - listing.keys():
                del kept[gone]
        ready = []
        for path, identity in listing.items():
            if self._taken.get(path) == hash((identity.size, identity.mtime_ns)):
                self._watched.pop(path, None)  # changed and put back: nobody waits for it any more
                continue
            if self._is_quiet(path, identity, now, wall) and now >= self._deferred.get(path, now):
                ready.append(path)
        return sorted(ready)

    def drop_missing(self, listing: dict[bytes, FileIdentity]) -> None:
        """Forget the files that are not there any more: when one comes back, it is looked at again."""
        for path in [path for path in self._taken if path not in listing]:
            del self._taken[path]

    def _is_quiet(self, path: bytes, identity: FileIdentity, now: float, wall: float) -> bool:
        watched = self._watched.get(path)
        if watched is None or watched.identity != identity:
            self._watched[path] = _Watched(identity, now)
            self._deferred.pop(path, None)
            age = wall - identity.mtime_ns / 1e9
            return self._trust_age and age >= self._quiet_s
        watched.scans += 1
        if self._trust_age and wall - identity.mtime_ns / 1e9 >= self._quiet_s:
            return True
        return watched.scans >= 2 and now - watched.since >= self._quiet_s

    def first_seen(self, path: bytes) -> float | None:
        """Since when (monotonic) the file stands as it is; None if it is not waiting."""
        watched = self._watched.get(path)
        return None if watched is None else watched.since

    @property
    def waiting(self) -> int:
        """Files that are not complete yet."""
        return len(self._watched)


def next_scan_in(*, settling: bool, events: bool, interval_s: float, last_pass_s: float) -> float:
    """Seconds until the next scan when nothing stirs. Scanning never takes more than a twentieth of the time, or
    a fifth of it while files are settling."""
    if settling:
        return max(0.2, 4 * last_pass_s)
    return max(interval_s or (SAFETY_SCAN_S if events else POLL_S), 20 * last_pass_s)


class Hints:
    """watchdog, reduced to one thing: something happened below this root, `stir` is called.

    Its handler must not raise and its threads may die behind an observer that says it lives, so `healthy` looks
    at the emitters; the scanner starts a new one when it is not, or when another folder stands at the root's path.
    """

    def __init__(self, root: bytes, stir: Callable[[], None]) -> None:
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: Any) -> None:
                if event.event_type not in {"opened", "closed_no_write"}:
                    stir()

        self._observer = Observer()
        self._observer.schedule(Handler(), os.fsdecode(root), recursive=True)
        self._observer.start()

    @property
    def healthy(self) -> bool:
        """Whether events still arrive, as far as can be told."""
        alive = all(emitter.is_alive() for emitter in self._observer.emitters)
        return alive and self._observer.is_alive()

    def close(self) -> None:
        """Stop the threads."""
        with contextlib.suppress(Exception):  # an emitter that died half-way raises whatever it likes
            self._observer.stop()
            self._observer.join(2)


def folder_at(path: bytes) -> tuple[int, int] | None:
    """Device and inode of the folder that stands at a path now; None: there is none, or its drive is dead."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def events_arrive(root: bytes, heard: Event, *, timeout_s: float = 2.0) -> bool:
    """Write and remove a hidden probe file, and see whether that is heard of."""
    heard.clear()
    probe = os.path.join(root, OWN_MARK + b"probe-%d" % os.getpid())
    try:
        os.close(files.create_draft(probe))
        os.unlink(probe)
    except OSError:
        return False
    return heard.wait(timeout_s)
