"""Joins the writer and the outputs table: what stands beside an input, and whose it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ocrd.domain.documents import PageText, Source
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.host import files
from ocrd.pipeline import writer
from ocrd.pipeline.formats import RENDERERS
from ocrd.pipeline.intake import NAME_MAX_BYTES
from ocrd.pipeline.transcript import Renderer
from ocrd.store.outputs import OutputStore, Planned


@dataclass(frozen=True, slots=True)
class Published:
    """The outputs that now hold our text, the targets where a foreign file stands, and why others could not be made."""

    written: tuple[bytes, ...]
    foreign: tuple[bytes, ...]
    failed: tuple[tuple[bytes, str], ...] = ()


class Overlay(Protocol):
    """Makes a searchable PDF of a document. Raises PageFault if it cannot."""

    def __call__(
        self, path: bytes, document_id: int, pages: Callable[[], Iterable[PageText]], *, pdf_a: bool
    ) -> Iterable[bytes]:
        """The PDF in pieces, as PDF/A if that is wanted."""


@contextlib.contextmanager
def _no_draft_left(path: bytes, document_id: int) -> Iterator[None]:
    """Whatever fails, the folder, the store or a page: the drafts that were finished before go too."""
    try:
        yield
    except BaseException:
        writer.sweep(path, document_id)
        raise


class Publisher:
    """Writes and removes outputs. Raises OSError where the folder cannot be written."""

    def __init__(
        self,
        outputs: OutputStore,
        *,
        formats: Sequence[str],
        error_file: bool,
        renderers: Mapping[str, Renderer] = RENDERERS,
        formats_of: Callable[[bytes], Sequence[str] | None] = lambda path: None,  # noqa: ARG005
        overlay: Overlay | None = None,
        pdf_a: bool = False,
    ) -> None:
        """`formats_of` tells the formats of an input that has its own; `overlay` is needed for the format `pdf` alone."""
        self._outputs = outputs
        self._formats_of = formats_of
        self._overlay = overlay
        self.reconfigure(formats=formats, error_file=error_file, renderers=renderers, pdf_a=pdf_a)

    def reconfigure(
        self,
        *,
        formats: Sequence[str],
        error_file: bool,
        renderers: Mapping[str, Renderer],
        pdf_a: bool = False,
    ) -> None:
        """For the documents that are finished from now on."""
        self._formats = tuple(formats)
        self._renderers = dict(renderers)
        self._error_file = error_file
        self._pdf_a = pdf_a

    def _wanted(self, path: bytes) -> Sequence[str]:
        """The formats of an input."""
        return self._formats_of(path) or self._formats

    def write(
        self,
        path: bytes,
        document_id: int,
        pages: Callable[[], Iterable[PageText]],
        *,
        source: Source,
        overwrite: bool,
    ) -> Published:
        """Write every format beside the input. The caller commits the written ones as such."""
        with _no_draft_left(path, document_id):
            drafts, failed = [], []
            for name in self._wanted(path):
                try:
                    drafts.append(self._draft(path, document_id, name, pages, source))
                except PageFault as err:
                    failed.append((writer.target_of(path, name), str(err)))
            done = self._publish(path, document_id, drafts, overwrite=overwrite)
            return replace(done, failed=tuple(failed))

    def _draft(
        self,
        path: bytes,
        document_id: int,
        name: str,
        pages: Callable[[], Iterable[PageText]],
        source: Source,
    ) -> writer.Draft:
        if name != writer.PDF_FORMAT:
            render = self._renderers[name]
            return writer.write_draft(path, document_id, name, render, pages=pages(), source=source)
        if len(os.path.basename(writer.target_of(path, name))) > NAME_MAX_BYTES:
            raise PageFault(ReasonCode.NAME_TOO_LONG, "with that suffix its name would be too long")
        assert self._overlay is not None, "given with the format"
        made = self._overlay(path, document_id, pages, pdf_a=self._pdf_a)
        return writer.write_binary_draft(path, document_id, name, made)

    def write_error(
        self, path: bytes, document_id: int, *, code: ReasonCode | str, reason: str, hint: str
    ) -> Published:
        """Leave the error file of a document that has no text."""
        target = writer.target_of(path, writer.ERROR_FORMAT)
        if not self._error_file or len(os.path.basename(target)) > NAME_MAX_BYTES:
            return Published((), ())
        with _no_draft_left(path, document_id):
            draft = writer.write_error_draft(path, document_id, code=code, reason=reason, hint=hint)
            return self._publish(path, document_id, [draft], overwrite=False)

    def _publish(
        self, path: bytes, document_id: int, drafts: Sequence[writer.Draft], *, overwrite: bool
    ) -> Published:
        owners = {}
        for draft in drafts:
            owners[draft] = writer.ownership(
                draft.target,
                draft_sha256=draft.sha256,
                ours=self._outputs.checksums(draft.target),
                overwrite_edited=overwrite,
                draft=draft.path,
            )
        allowed = [draft for draft in drafts if owners[draft] is not writer.Ownership.FOREIGN]
        self._outputs.plan(document_id, [_planned(draft, owners[draft]) for draft in allowed])
        written = tuple(draft.target for draft in drafts if writer.publish(draft, owners[draft]))
        if written:
            files.sync_folder(os.path.dirname(path))
        for draft in allowed:
            if draft.target not in written:
                self._outputs.withdraw(draft.target)
        foreign = tuple(draft.target for draft in drafts if draft.target not in written)
        return Published(written, foreign)

    def remove_error(self, path: bytes) -> None:
        """Take our error file away, once there is text; an edited one stays."""
        target = writer.target_of(path, writer.ERROR_FORMAT)
        ours = self._outputs.checksums(target)
        if ours and files.sha256_at(target) in ours:
            files.remove_if_there(target)
        if ours:
            self._outputs.forget(target)

    def missing(self, path: bytes) -> bool:
        """Whether an output that we wrote is not there any more."""
        targets = [writer.target_of(path, name) for name in self._wanted(path)]
        return any(not os.path.lexists(target) for target in targets)


def _planned(draft: writer.Draft, owner: writer.Ownership) -> Planned:
    standing = files.sha256_at(draft.target) if owner is writer.Ownership.OURS else None
    return Planned(draft.target, draft.format, draft.sha256, standing or "")
