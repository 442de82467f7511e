"""Where an original goes after its work is done: settings, destinations, and what to do next with a half-moved file.

    keep        it stays where it is
    move:DIR    to DIR, in the subfolder that it had below its inbox; DIR is below the inbox if it is not absolute

Paths are the raw bytes of the file system, absolute and normalised.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ocrd.domain.errors import ConfigError, ReasonCode
from ocrd.domain.jobs import DocumentState

KEEP = "keep"
MOVE = "move:"
_FAILED = frozenset({DocumentState.FAILED, DocumentState.REJECTED})


@dataclass(frozen=True, slots=True)
class AfterRules:
    """The folder for originals that are done, and for those that failed or were rejected; None: they stay."""

    done: str | None = None
    failed: str | None = None

    @property
    def folders(self) -> frozenset[str]:
        """All of them."""
        return frozenset(folder for folder in (self.done, self.failed) if folder is not None)

    def folder_for(self, state: DocumentState, code: ReasonCode | str = "") -> str | None:
        """Where a document that ended so belongs. One with gaps, or whose text has no place, waits for its owner."""
        if state is DocumentState.DONE and code != ReasonCode.OUTPUT_EXISTS:
            return self.done
        return self.failed if state in _FAILED else None


def parse_rule(value: str) -> str | None:
    """The folder of `move:DIR`, None for `keep`. Raises ConfigError."""
    if value == KEEP:
        return None
    folder = value.removeprefix(MOVE)
    if not value.startswith(MOVE) or not folder.strip("/. ") or ".." in folder.split("/"):
        raise ConfigError(
            f"{value!r} is neither `keep` nor `move:DIR`",
            hint='for example "move:done" (below the inbox) or "move:/srv/archive"',
        )
    return folder


def is_below(path: bytes, folder: bytes) -> bool:
    """Whether a path lies in a folder, at any depth."""
    return path.startswith(folder.rstrip(b"/") + b"/")


def folder_in(root: bytes, folder: bytes) -> bytes:
    """The folder of a rule, for the files of one inbox."""
    return posixpath.normpath(posixpath.join(root, folder))


def destination(path: bytes, root: bytes, folder: bytes) -> bytes | None:
    """Where a file of the inbox at `root` goes; None if it is there already, or is no file of that inbox."""
    target = folder_in(root, folder)
    if not is_below(path, root) or is_below(path, target):
        return None
    return posixpath.join(target, path[len(root.rstrip(b"/")) + 1 :])


def names(path: bytes) -> Iterator[bytes]:
    """The path, then with (2), (3) … before its extension, for when a file of that name is there already."""
    yield path
    stem, extension = posixpath.splitext(path)
    number = 2
    while True:
        yield b"%s (%d)%s" % (stem, number, extension)
        number += 1


class Step(StrEnum):
    """What is to be done with one file of a move that may have been interrupted anywhere."""

    MOVE = "move"
    FINISH = "finish"
    """It stands in both places: only the old name has to go."""
    DONE = "done"
    TAKEN = "taken"
    """Another file has the new name."""
    GONE = "gone"


def next_step(*, at_source: bool, at_target: bool, same: bool) -> Step:
    """From what stands where. `same`: both places hold the same content."""
    if at_source and at_target:
        return Step.FINISH if same else Step.TAKEN
    if at_source:
        return Step.MOVE
    return Step.DONE if at_target else Step.GONE
