"""The part of `ocrd doctor` that looks at folders: the store's, the inboxes, and what can be watched of them."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.host import files, machine, mounts, runtime
from ocrd.host.machine import Probe
from ocrd.settings import Settings

_LOW_MIB = 1024
_FEW_WATCHES = 8192
_MOST_SKEW_S = 120.0
_COUNT_S = 5.0


# --- the store ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder of the store, or the one that it will be made in."""

    path: str
    exists: bool
    file_system: str
    there: str
    """The nearest folder that exists."""
    owner: str
    mode: int
    may_write: bool
    free_mib: int | None
    has_daemon: bool
    me: str


def look_at_state(state: str) -> Finding:
    """The folder of the store."""
    there = state
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    status = os.stat(there)
    return judge_state(
        StateFolder(
            path=state,
            exists=there == state,
            file_system=mounts.file_system_of(state),
            there=there,
            owner=machine.user_name(status.st_uid),
            mode=status.st_mode & 0o777,
            may_write=os.access(there, os.W_OK | os.X_OK),
            free_mib=files.free_mib(there),
            has_daemon=files.is_locked(runtime.lock_path(state)),
            me=machine.own_name(),
        )
    )


def judge_state(folder: StateFolder) -> Finding:
    """Whether a daemon can keep its store there, and nobody else looks into it."""
    place, quoted = (
        f"{folder.path} ({folder.file_system or 'unknown file system'})",
        shlex.quote(folder.there),
    )
    danger = mounts.store_danger(folder.file_system)
    foreign = folder.exists and folder.owner != folder.me
    if danger:
        message = f"{folder.path} lies on a {folder.file_system} file system, {danger}"
        return Finding("store", FAILURE, message, "choose a local Linux disk: [state] dir, or --state DIR")
    if not folder.may_write:
        message = f"{folder.there} belongs to {folder.owner}, and cannot be written by {folder.me}"
        make = f"sudo install -d -m 700 -o {folder.me} {shlex.quote(folder.path)}"
        fix = f"sudo chown -R {folder.me} {quoted}" if folder.exists else make
        return Finding("store", FAILURE, message, fix)
    if foreign:
        message = f"{place} belongs to {folder.owner}: what {folder.me} makes there, its daemon cannot write"
        return Finding("store", WARNING, message, f"sudo -u {folder.owner} ocrd doctor")
    if folder.exists and folder.mode & 0o077:
        message = (
            f"{place} has the mode {folder.mode:04o}: others of this machine may get at the documents' text"
        )
        return Finding("store", WARNING, message, f"chmod 700 {quoted}")
    if folder.free_mib is not None and folder.free_mib < _LOW_MIB:
        return Finding("store", WARNING, f"{place} has only {folder.free_mib} MiB free", "free some space")
    daemon = "a daemon runs with it" if folder.has_daemon else "no daemon runs with it"
    return Finding("store", OK, f"{place}: {_free(folder.free_mib)}, {daemon}")


def _free(free_mib: int | None) -> str:
    return "free space unknown" if free_mib is None else f"{free_mib} MiB free"


# --- an inbox -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InboxFolder:
    """A folder that is watched, and what writing into it showed."""

    path: str
    file_system: str
    has_events: bool
    owner: str
    group: str
    mode: int
    free_mib: int | None
    probe: Probe
    me: str


def look_at_inbox(path: str, *, watch: str) -> Iterator[Finding]:
    """Write, rename and delete a file there."""
    if not os.path.isdir(path):
        yield Finding("inbox", FAILURE, f"{path} is not a folder", f"mkdir -p {shlex.quote(path)}")
        return
    status, kind = os.stat(path), mounts.file_system_of(path)
    yield from judge_inbox(
        InboxFolder(
            path=path,
            file_system=kind,
            has_events=watch == "events" or (watch == "auto" and mounts.has_events(kind)),
            owner=machine.user_name(status.st_uid),
            group=machine.group_name(status.st_gid),
            mode=status.st_mode & 0o7777,
            free_mib=files.free_mib(path),
            probe=machine.probe_folder(path, f".ocrd-doctor-{os.getpid()}"),
            me=machine.own_name(),
        )
    )


def judge_inbox(folder: InboxFolder) -> Iterator[Finding]:
    """Whether texts can be put beside the documents, and how new documents are noticed."""
    yield _judge_access(folder)
    if folder.probe.left:
        message = f"the probe file {folder.probe.left} cannot be deleted again"
        yield Finding("inbox", WARNING, message, f"rm {shlex.quote(folder.probe.left)}")
    if folder.free_mib is not None and folder.free_mib < _LOW_MIB and not folder.probe.failed:
        message = f"{folder.path} has only {folder.free_mib} MiB free"
        yield Finding("inbox", WARNING, message, "free some space")
    if abs(folder.probe.skew_s) > _MOST_SKEW_S:
        way = "future" if folder.probe.skew_s > 0 else "past"
        message = f"files in {folder.path} are dated {abs(folder.probe.skew_s):.0f} s in the {way}"
        yield Finding(
            "clock", WARNING, message, "set the clock of this machine, or of the one that has the folder"
        )


def _judge_access(folder: InboxFolder) -> Finding:
    whose = f"{folder.owner}:{folder.group}, mode {folder.mode:04o}"
    if folder.probe.failed:
        message = f"{folder.path} ({whose}): {folder.me} cannot {folder.probe.failed} files there: {folder.probe.reason}"
        return Finding("inbox", FAILURE, message, _inbox_fix(folder))
    how = "events" if folder.has_events else "polling"
    message = f"{folder.path} ({folder.file_system or 'unknown file system'}, {how}; {whose}): {folder.me} can write"
    if folder.me == "root" and folder.owner != "root":
        message += f"; whether {folder.owner} can was not tried"
        return Finding("inbox", WARNING, message, f"sudo -u {folder.owner} ocrd doctor")
    return Finding("inbox", OK, f"{message}; {_free(folder.free_mib)}")


def _inbox_fix(folder: InboxFolder) -> str:
    quoted = shlex.quote(folder.path)
    if folder.probe.reason == os.strerror(errno.EROFS):
        return "mount it for writing"
    if folder.probe.reason in {os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)}:
        return "free some space"
    if folder.owner == folder.me:
        return f"chmod u+rwx {quoted}"
    return f"sudo setfacl -m u:{folder.me}:rwx {quoted}, or run ocrd as {folder.owner}"


# --- where originals go -------------------------------------------------------------------------------------


def look_at_after(settings: Settings) -> Iterator[Finding]:
    """The folders outside of the inboxes that originals are moved to; those below are made when they are needed."""
    for folder in sorted(map(os.path.expanduser, settings.after.rules.folders)):
        if os.path.isabs(folder):
            yield _look_at_target(folder)


def _look_at_target(folder: str) -> Finding:
    if not os.path.isdir(folder):
        message = f"{folder} is no folder: originals wait where they are"
        return Finding("after", WARNING, message, f"mount it, or: mkdir -p {shlex.quote(folder)}")
    probe = machine.probe_folder(folder, f".ocrd-doctor-{os.getpid()}")
    me = machine.own_name()
    if probe.failed:
        message = f"{folder}: {me} cannot {probe.failed} files there ({probe.reason}): originals wait where they are"
        return Finding("after", WARNING, message, f"make it writable for {me}")
    return Finding("after", OK, f"{folder}: {me} can move originals there")


# --- inotify ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watching:
    """Limits of inotify(7), and what the inboxes need. They count for all programs of a user together."""

    watches: int
    instances: int
    refusal: str
    """Why no instance can be had now."""
    folders: int
    counted_all: bool


def look_at_inotify(settings: Settings) -> Iterator[Finding]:
    """Nothing where no inbox is watched by events."""
    paths = [os.path.expanduser(path) for path in settings.inbox.paths]
    watched = [path for path in paths if _is_watched(path, settings.inbox.watch)]
    if not watched:
        return
    watches = machine.inotify_limit("max_user_watches")
    folders, counted_all = _count(watched, watches, recursive=settings.inbox.recursive)
    instances = machine.inotify_limit("max_user_instances")
    yield judge_watching(Watching(watches, instances, machine.inotify_refusal(), folders, counted_all))


def _is_watched(path: str, watch: str) -> bool:
    return watch == "events" or (watch == "auto" and mounts.has_events(mounts.file_system_of(path)))


def _count(paths: Sequence[str], watches: int, *, recursive: bool) -> tuple[int, bool]:
    if not recursive:
        return len(paths), True
    return machine.count_folders(paths, most=watches, seconds=_COUNT_S)


def judge_watching(watching: Watching) -> Finding:
    """Whether all folders can be watched. What cannot be is found by scanning, later."""
    more = "sudo sysctl fs.inotify.max_user_watches=524288"
    count = f"{'' if watching.counted_all else 'at least '}{watching.folders}"
    if watching.refusal:
        message = f"nothing can be watched: {watching.refusal} (max_user_instances is {watching.instances})"
        return Finding("inotify", WARNING, message, "sudo sysctl fs.inotify.max_user_instances=512")
    if watching.folders > watching.watches:
        message = (
            f"the inboxes have {count} folders, and {watching.watches} can be watched; the rest is scanned"
        )
        return Finding("inotify", WARNING, message, more)
    if watching.watches < _FEW_WATCHES:
        message = (
            f"only {watching.watches} folders can be watched, by all programs together; the rest is scanned"
        )
        return Finding("inotify", WARNING, message, more)
    message = f"folders in the inboxes: {count}; {watching.watches} can be watched"
    return Finding("inotify", OK, message)
