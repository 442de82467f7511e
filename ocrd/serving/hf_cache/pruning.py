"""What of the cache no model needs, and its deletion."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ocrd.host import files
from ocrd.serving.hf_cache.layout import model_folder, model_names

STALE_S = 3600.0
"""What was written to within the last hour may belong to a download that runs; it is not offered for deletion."""


@dataclass(frozen=True, slots=True)
class Prunable:
    """A file that no model needs."""

    path: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` did."""

    freed_bytes: int
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    """Not deleted, each with the reason."""


def prunable(hub: str, *, now: float | None = None) -> list[Prunable]:
    """What can be deleted without loss: remains of interrupted downloads, and blobs that no snapshot refers to.

    Nothing younger than `STALE_S`, nothing a download holds the lock of, never a snapshot or a reference.
    """
    moment = time.time() if now is None else now
    found: list[Prunable] = []
    for model in sorted(model_names(hub)):
        try:
            found += _prunable_of(hub, model_folder(hub, model), moment)
        except OSError:
            continue  # what cannot be read wholly is left alone
    return found


def _prunable_of(hub: str, folder: str, now: float) -> list[Prunable]:
    blobs = os.path.join(folder, "blobs")
    if not os.path.isdir(blobs):
        return []
    used = _used_blobs(folder)
    found = []
    with os.scandir(blobs) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or now - status.st_mtime < STALE_S:
                continue
            if entry.name.endswith(".incomplete"):
                why = "left of an interrupted download"
            elif (status.st_dev, status.st_ino) not in used and status.st_nlink == 1:
                why = "no snapshot refers to it"
            else:
                continue
            if not _is_in_download(hub, folder, entry.name):
                found.append(Prunable(entry.path, status.st_size, why))
    return found


def _used_blobs(folder: str) -> set[tuple[int, int]]:
    """The files that the snapshots refer to, by device and inode. Raises OSError if one cannot be looked into."""
    used = set()
    for at, folders, names in os.walk(os.path.join(folder, "snapshots"), onerror=_raise):
        for name in (*names, *folders):
            try:
                status = os.stat(os.path.join(at, name))
            except FileNotFoundError:
                continue
            used.add((status.st_dev, status.st_ino))
    return used


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_in_download(hub: str, folder: str, blob: str) -> bool:
    """Whether a download of huggingface_hub holds the blob's lock."""
    etag = blob.split(".", 1)[0]
    lock = os.path.join(hub, ".locks", os.path.basename(folder), f"{etag}.lock")
    return os.path.exists(lock) and files.is_locked(lock)


def prune(hub: str, chosen: Iterable[Prunable], *, now: float | None = None) -> Pruned:
    """Delete exactly those of `chosen` that still can be deleted; what changed since it was shown stays."""
    still = set(prunable(hub, now=now))
    freed = 0
    deleted: list[str] = []
    kept: list[str] = []
    for item in chosen:
        if item not in still:
            kept.append(f"{item.path}: it changed, or is in use")
            continue
        try:
            os.unlink(item.path)
        except OSError as error:
            kept.append(f"{item.path}: {error.strerror or error}")
            continue
        freed += item.bytes
        deleted.append(item.path)
    return Pruned(freed, tuple(deleted), tuple(kept))
