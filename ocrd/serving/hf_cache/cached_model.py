"""What was found of one model of the cache."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum


class CacheState(StrEnum):
    """Whether a server can be started with a model."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """Files are not there."""
    DAMAGED = "damaged"
    """Files are there and cannot be right."""
    UNSERVABLE = "unservable"
    """All is there, and the server cannot load it."""


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file of the model that is missing, or of which a part is; `bytes` are those that lack, None if unknown."""

    name: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """One model of the cache, as it was found."""

    model: str
    """Its name on the Hub: `org/name`."""
    state: CacheState
    revision: str = ""
    """The commit."""
    snapshot: str = ""
    """The folder with `config.json`; '' if there is none."""
    weight_bytes: int = 0
    """All tensors of the weights that are there, exactly (with .bin weights: the files)."""
    disk_bytes: int = 0
    """What the model's folder takes: other snapshots and unfinished downloads count too."""
    missing: tuple[MissingFile, ...] = ()
    reason: str = ""
    """Why it is not complete: one sentence, naming the file."""
    hint: str = ""
    """What to do about it."""
    architecture: str = ""
    """The first of `config.json`'s `architectures`."""
    model_type: str = ""
    needs_remote_code: bool = False
    """`config.json` has an `auto_map`: its classes are Python files of the repository."""
    warnings: tuple[str, ...] = ()


def servable(cached: CachedModel, unserved: AbstractSet[str]) -> CachedModel:
    """The same, but unservable if it is complete and no server loads it: `unserved` are the architectures that no
    version of vLLM is known to have."""
    if cached.state is not CacheState.COMPLETE or (
        cached.architecture and cached.architecture not in unserved
    ):
        return cached
    if not cached.architecture:
        reason = "config.json names no architecture, so no server knows how to load it"
    else:
        reason = f"no version of vLLM is known to have the architecture {cached.architecture} of config.json"
    hint = f"use another model; or see for yourself: ocrd models test {cached.model}"
    return replace(cached, state=CacheState.UNSERVABLE, reason=reason, hint=hint)
