"""The writer: text beside the input, wholly or not at all, and never over a file that is not ours.

The order is what makes it safe: draft → fsync → (the store records the checksum) → name → fsync of the folder →
(the store records it as written). A kill between any two leaves either the old state or a file that is known
for ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ocrd.domain.documents import PageText, Source
from ocrd.domain.errors import ReasonCode
from ocrd.host import files
from ocrd.pipeline import searchable_pdf
from ocrd.pipeline.formats import RENDERERS
from ocrd.pipeline.transcript import Renderer, one_line

ERROR_FORMAT = "error"
PDF_FORMAT = "pdf"
_SUFFIXES = {name: b"." + name.encode() for name in RENDERERS} | {
    "alto": b".alto.xml",
    PDF_FORMAT: searchable_pdf.SUFFIX,
    ERROR_FORMAT: b".ocrd-error.txt",
}

SUFFIXES = tuple(_SUFFIXES.values())
"""What an output has behind the full name of its input."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A finished file under a hidden name, next to where it will stand."""

    format: str
    path: bytes
    target: bytes
    sha256: str


class Ownership(StrEnum):
    """Whose file stands at a target."""

    NOBODY = "nobody"
    SAME = "same"
    OURS = "ours"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Standing:
    """What stood at a target when it was looked at."""

    owner: Ownership
    sha256: str = ""
    """Of the file, where one stood there."""


def target_of(path: bytes, output_format: str) -> bytes:
    """Where an output of the input at `path` stands: the full name kept, the format's suffix behind it."""
    return path + _SUFFIXES[output_format]


def format_of(target: bytes) -> str:
    """The format of an output by its name, the reverse of `target_of`."""
    found = {suffix: name for name, suffix in _SUFFIXES.items() if target.endswith(suffix)}
    return found[max(found, key=len)]  # an error file is a .txt as well


def draft_path(path: bytes, document_id: int, output_format: str) -> bytes:
    """The hidden name of a draft; the same after a crash, so that nothing is left lying about."""
    return os.path.join(os.path.dirname(path), b".ocrd-%d-%s.tmp" % (document_id, output_format.encode()))


def sweep(path: bytes, document_id: int) -> None:
    """Remove the drafts that a killed daemon may have left for a document."""
    for output_format in _SUFFIXES:
        with contextlib.suppress(OSError):
            files.remove_if_there(draft_path(path, document_id, output_format))


def write_draft(
    path: bytes,
    document_id: int,
    output_format: str,
    render: Renderer,
    *,
    pages: Iterable[PageText],
    source: Source,
) -> Draft:
    """Render the pages into a draft and make it durable. Raises OSError (disk full, folder read-only)."""
    chunks = render(pages, source)
    return _write(path, document_id, output_format, (chunk.encode("utf-8", "replace") for chunk in chunks))


def write_binary_draft(path: bytes, document_id: int, output_format: str, chunks: Iterable[bytes]) -> Draft:
    """Write pieces of a file into a draft and make it durable. Raises OSError, and what the pieces raise."""
    return _write(path, document_id, output_format, chunks)


def write_error_draft(
    path: bytes, document_id: int, *, code: ReasonCode | str, reason: str, hint: str
) -> Draft:
    """One plain paragraph that says why there is no text, and what to do."""
    name = files.display_name(os.path.basename(path))
    text = f"ocrd could not read {name}: {one_line(reason)} ({code})."
    if hint:
        text += f" What to do: {one_line(hint)}."
    text += " This file goes away when the document is read; `ocrd retry` tries it again.\n"
    return _write(path, document_id, ERROR_FORMAT, [text.encode()])


def _write(path: bytes, document_id: int, output_format: str, chunks: Iterable[bytes]) -> Draft:
    draft = draft_path(path, document_id, output_format)
    digest = hashlib.sha256()
    fd = files.create_draft(draft)
    try:
        with os.fdopen(fd, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
            file.flush()
            files.dress_like_folder(fd, os.path.dirname(path))
            files.sync(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)  # closed by now: a Windows drive keeps what is open
        raise
    return Draft(output_format, draft, target_of(path, output_format), digest.hexdigest())


def look_at(
    target: bytes,
    *,
    draft_sha256: str,
    ours: frozenset[str],
    overwrite_edited: bool,
    draft: bytes | None = None,
) -> Standing:
    """What stands at the target, and whose it is. `ours` are the checksums of what we wrote or meant to write there; with
    `overwrite_edited` a file that we wrote once is ours although somebody changed it since.

    With the path of the `draft`, a file that we began to copy is ours too: just this content was planned here, and
    what stands there is its beginning, so that nothing is lost with it.
    """
    if not os.path.lexists(target):
        return Standing(Ownership.NOBODY)
    found = files.sha256_at(target)
    if found is None:
        return Standing(Ownership.FOREIGN)
    if found == draft_sha256:
        return Standing(Ownership.SAME, found)
    begun = draft is not None and draft_sha256 in ours and files.is_beginning_of(target, draft)
    if found in ours or (overwrite_edited and ours) or begun:
        return Standing(Ownership.OURS, found)
    return Standing(Ownership.FOREIGN, found)


def publish(draft: Draft, standing: Standing) -> bool:
    """Give the draft its name, or drop it where it may not have it: a file that is not the one that was looked at is
    somebody else's. Whether the target now holds our content."""
    owner = standing.owner
    if owner is Ownership.OURS and files.publish_over(draft.path, draft.target, standing=standing.sha256):
        return True
    if owner in {Ownership.NOBODY, Ownership.OURS}:
        try:
            files.publish_new(draft.path, draft.target)
        except FileExistsError:
            pass
        else:
            return True
    discard(draft)
    return owner is Ownership.SAME


def remove_error(path: bytes, document_id: int, ours: frozenset[str]) -> None:
    """Remove the error file beside an input if it is one of `ours`, by its checksum. Raises OSError."""
    aside = draft_path(path, document_id, ERROR_FORMAT)
    target = target_of(path, ERROR_FORMAT)
    files.remove_if_there(aside)
    if files.remove_known(target, aside, lambda file: files.sha256_at(file) in ours):
        files.sync_folder(os.path.dirname(path))


def discard(draft: Draft) -> None:
    """Remove a draft that is not needed."""
    files.remove_if_there(draft.path)
