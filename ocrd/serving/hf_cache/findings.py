"""What is collected while a snapshot is looked at, and the verdict on it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field

from ocrd.serving.hf_cache.cached_model import CacheState, MissingFile


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a snapshot. `size` is None for a link to nowhere."""

    path: str
    size: int | None


@dataclass(slots=True)
class Findings:
    """What is collected while a snapshot is looked at."""

    fetch: str
    """The command to fetch it again."""
    missing: list[MissingFile] = field(default_factory=list)
    missing_reasons: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    bad_blobs: list[str] = field(default_factory=list)
    unservable: str = ""
    warnings: list[str] = field(default_factory=list)
    weight_bytes: int = 0

    def add_missing(self, name: str, size: int | None, reason: str = "") -> None:
        """A file is not there; each is told once."""
        if all(one.name != name for one in self.missing):
            self.missing.append(MissingFile(name, size))
            self.missing_reasons.append(reason or f"{name} is missing")

    def add_dangling(self, name: str, size: int | None) -> None:
        """A link leads to nowhere; each is told once."""
        if all(one.name != name for one in self.missing):
            self.missing.append(MissingFile(name, size))
            self.damage.append(f"{name} is a link to a file that is not there")

    def add_damage(self, reason: str, entry: Entry | None = None) -> None:
        """A file cannot be right; `entry` if it has to be deleted before it is fetched anew."""
        self.damage.append(reason)
        if entry is not None:
            self.bad_blobs.append(os.path.realpath(entry.path))

    @property
    def state(self) -> CacheState:
        """The worst of all that was found."""
        if self.damage:
            return CacheState.DAMAGED
        if self.missing:
            return CacheState.INCOMPLETE
        return CacheState.UNSERVABLE if self.unservable else CacheState.COMPLETE

    @property
    def reason(self) -> str:
        """The first of the worst, and how many more there are."""
        reasons = self.damage + self.missing_reasons
        if not reasons:
            return self.unservable
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return reasons[0] + more

    @property
    def hint(self) -> str:
        """How to mend it. huggingface_hub never fetches a blob again that is there, so a bad one has to go first."""
        if self.bad_blobs:
            bad = " ".join(shlex.quote(path) for path in dict.fromkeys(self.bad_blobs))
            return f"delete the bad copy and fetch it again: rm {bad} && {self.fetch}"
        if self.damage or self.missing:
            return f"fetch what lacks: {self.fetch}"
        return "use another model" if self.unservable else ""
