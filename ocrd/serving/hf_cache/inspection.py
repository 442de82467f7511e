"""The models of the cache: which are whole, which lack something, and what to do about it."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ocrd.serving.hf_cache.cached_model import CachedModel, CacheState
from ocrd.serving.hf_cache.json_files import read_start
from ocrd.serving.hf_cache.layout import MODEL_NAME, CacheUnreadable, fetch_command, model_folder, model_names
from ocrd.serving.hf_cache.snapshot import inspect_snapshot


def inspect_cache(hub: str) -> list[CachedModel]:
    """Every model of the cache, by name; datasets and spaces are left out. A cache that is not there is empty.

    Raises `CacheUnreadable` if the folder itself cannot be read.
    """
    return [inspect_model(hub, model) for model in sorted(model_names(hub))]


def inspect_model(hub: str, model: str) -> CachedModel:
    """One model. One that is not there is incomplete. Raises nothing, whatever the files hold."""
    if not MODEL_NAME.fullmatch(model):
        return _bare(
            model, f"{model!r} is no name of a Hugging Face model", "names are written ORGANISATION/NAME"
        )
    folder = model_folder(hub, model)
    try:
        if not os.path.isdir(folder):
            return _absent(hub, model)
        return _inspect_folder(hub, folder, model)
    except OSError as error:
        at = error.filename if isinstance(error.filename, str) else folder
        return CachedModel(
            model=model,
            state=CacheState.DAMAGED,
            reason=f"{at} cannot be read: {error.strerror or error}",
            hint="make it readable for the user that runs ocrd, for instance by: "
            f'sudo chown -R "$USER" {shlex.quote(folder)}',
        )


def spelling(hub: str, model: str) -> str:
    """A model's name as the cache has it. It may differ in case: Hugging Face takes either, a folder only one."""
    with contextlib.suppress(CacheUnreadable):
        names = model_names(hub)
        if model not in names:
            return next((name for name in names if name.lower() == model.lower()), model)
    return model


def _absent(hub: str, model: str) -> CachedModel:
    there = spelling(hub, model)
    if there != model:
        return _bare(model, f"{model} is not in the cache {hub}, but {there} is", f"write it so: {there}")
    return _bare(model, f"{model} is not in the cache {hub}", f"fetch it: {fetch_command(hub, model)}")


def _bare(model: str, reason: str, hint: str) -> CachedModel:
    return CachedModel(model=model, state=CacheState.INCOMPLETE, reason=reason, hint=hint)


def _inspect_folder(hub: str, folder: str, model: str) -> CachedModel:
    disk_bytes = _disk_bytes(folder)
    partial = _partial_downloads(folder)
    snapshots = _subfolders(os.path.join(folder, "snapshots"))
    named = _read_ref(folder)
    if not snapshots:
        reason = "it has no snapshot: nothing of it was downloaded" + (
            " to its end; a download was interrupted" if partial else ""
        )
        return replace(_bare(model, reason, f"fetch it: {fetch_command(hub, model)}"), disk_bytes=disk_bytes)
    if named is not None and named not in snapshots:
        reason = f"refs/main names the snapshot {named[:40]!r}, which is not there"
        return replace(_bare(model, reason, f"fetch it: {fetch_command(hub, model)}"), disk_bytes=disk_bytes)
    wanted = [named] if named is not None else _newest_first(folder, snapshots)
    looked = [inspect_snapshot(hub, folder, model, revision) for revision in wanted]
    best = next((one for one in looked if one.state is CacheState.COMPLETE), looked[0])
    warnings = [*_ref_warnings(named, best.revision, len(snapshots)), *best.warnings]
    warnings += _older_complete(hub, folder, model, best, snapshots)
    reason = best.reason
    if partial and best.state is CacheState.COMPLETE:
        warnings.append(
            f"{partial[0]} in its folder blobs is left of an interrupted download; --prune can delete it"
        )
    elif partial and best.state is CacheState.INCOMPLETE:
        reason += "; its download was interrupted"
    return replace(best, disk_bytes=disk_bytes, warnings=tuple(warnings), reason=reason)


def _older_complete(
    hub: str, folder: str, model: str, best: CachedModel, snapshots: Sequence[str]
) -> list[str]:
    """An update that was interrupted leaves the snapshot before it whole."""
    if best.state is CacheState.COMPLETE:
        return []
    for revision in _newest_first(folder, snapshots):
        if revision == best.revision:
            continue
        if inspect_snapshot(hub, folder, model, revision).state is CacheState.COMPLETE:
            return [f"another snapshot, {revision}, is complete: an update of the model was not finished"]
    return []


def _ref_warnings(named: str | None, taken: str, count: int) -> list[str]:
    if named is not None:
        return []
    which = "its only snapshot" if count == 1 else f"of its {count} snapshots the newest complete one"
    return [f"it has no refs/main: {which}, {taken}, is taken"]


def _read_ref(folder: str) -> str | None:
    """The commit that `refs/main` names; None if there is no such file."""
    data = read_start(os.path.join(folder, "refs", "main"), 200)
    return None if data is None else data.decode("ascii", "replace").strip()


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _newest_first(folder: str, snapshots: Iterable[str]) -> list[str]:
    def age(name: str) -> tuple[float, str]:
        return -os.stat(os.path.join(folder, "snapshots", name)).st_mtime, name

    return sorted(snapshots, key=age)


def _partial_downloads(folder: str) -> list[str]:
    try:
        names = os.listdir(os.path.join(folder, "blobs"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name.endswith(".incomplete"))


def _disk_bytes(folder: str) -> int:
    """All files of a folder, links not followed, each once even if it has several names."""
    seen: dict[tuple[int, int], int] = {}
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(at, name))
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())
