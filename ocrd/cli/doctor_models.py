"""The part of `ocrd doctor` that looks at the models of the Hugging Face cache, and whether a container can read them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.host import machine, mounts
from ocrd.settings import Settings


def look(settings: Settings, worst: str) -> Iterator[Finding]:
    """The cache, and both models. `worst`: what it is if the main one is missing."""
    from ocrd.daemon.managed import chosen_models
    from ocrd.serving.hf_cache.layout import hub_folder

    hub = hub_folder(settings.server.hf_home, os.environ)
    yield from judge_cache(hub, mounts.file_system_of(hub))
    try:
        main, fallback = chosen_models(settings)
    except OcrdError as err:
        yield Finding("model", FAILURE, str(err), err.hint)
        return
    for model, result in ((main, worst), (fallback, WARNING)):
        if model:
            yield from _model(hub, model, result)


def judge_cache(hub: str, file_system: str) -> Iterator[Finding]:
    """A cache on a drive of Windows or of the network is slow."""
    if not mounts.has_events(file_system):
        message = f"the models lie on a {file_system} file system ({hub}), from which they load slowly"
        yield Finding("cache", WARNING, message, "move them to a disk of Linux, and set [server] hf_home")


def _model(hub: str, model: str, result: str) -> Iterator[Finding]:
    from ocrd.serving.hf_cache.cached_model import CacheState
    from ocrd.serving.hf_cache.inspection import inspect_model
    from ocrd.serving.spec import cache_folder

    cached = inspect_model(hub, model)
    if cached.state is not CacheState.COMPLETE:
        message = cached.reason if model in cached.reason else f"{model}: {cached.reason}"
        yield Finding("model", result, message, cached.hint)
        return
    yield Finding("model", OK, f"{model} is complete, {cached.weight_bytes / 2**30:.1f} GiB")
    folder = os.path.join(hub, cache_folder(cached.model))
    yield from judge_readable(folder, *machine.first_unreadable(folder, may_read))


def may_read(status: os.stat_result, *, uid: int = 0, gid: int = 0) -> bool:
    """Whether a container may read a file, or enter and list a folder: it runs as root without any capability
    (`--cap-drop ALL`), so that the mode counts for it as for everybody else."""
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    needed = 0o5 if status.st_mode & 0o170000 == 0o040000 else 0o4
    return status.st_mode >> shift & needed == needed


def judge_readable(folder: str, first: str, count: int) -> Iterator[Finding]:
    """Nothing if all of it can be read."""
    if count:
        more = f" and {count - 1} more" if count > 1 else ""
        message = f"the container may not read {first}{more}: it has no rights but those of everybody"
        yield Finding("cache", WARNING, message, f"chmod -R a+rX {shlex.quote(folder)}")
