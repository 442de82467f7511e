"""Joins the writer and the outputs table: what stands beside an input, and whose it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ocrd.daemon.promises import Promises
from ocrd.domain.documents import PageText, Source
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.host import files
from ocrd.host.anchors import Anchors
from ocrd.pipeline import writer
from ocrd.pipeline.formats import RENDERERS
from ocrd.pipeline.intake import NAME_MAX_BYTES
from ocrd.pipeline.transcript import Renderer
from ocrd.store.outputs import OutputStore, Planned

WRITING_S = 600.0
"""For a text to be written and named; takes milliseconds, on a network drive that is waking up a minute."""


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
        anchors: Anchors | None = None,
        pdf_a: bool = False,
        promises: Promises | None = None,
    ) -> None:
        """`formats_of` tells the formats of an input that has its own; `overlay` is needed for the format `pdf` alone;
        `anchors` holds the inboxes."""
        self._outputs = outputs
        self._promises = promises or Promises()
        self._anchors = anchors or Anchors()
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
        with self._beside(path, document_id) as here:
            drafts, failed = [], []
            for name in self._wanted(path):
                try:
                    drafts.append(self._draft(path, document_id, name, pages, source, here=here))
                except PageFault as err:
                    failed.append((writer.target_of(path, name), str(err)))
            done = self._publish(path, document_id, drafts, overwrite=overwrite)
            return replace(done, failed=tuple(failed))

    @contextlib.contextmanager
    def _beside(self, path: bytes, document_id: int) -> Iterator[bytes]:
        """The name by which the drafts' functions reach the input's folder, past no link. Whatever fails, the folder,
        the store or a page: the drafts that were finished before go too."""
        with self._anchors.at(path) as here:
            try:
                yield here
            except BaseException:
                writer.sweep(here, document_id)
                raise

    def _promised(self, path: bytes) -> contextlib.AbstractContextManager[None]:
        """For what a disk could hang in. What is rendered for a searchable PDF has deadlines of its own, and the store may
        wait for ever for room."""
        return self._promises.made(f"writing beside {files.display_name(path)}", WRITING_S)

    def sweep(self, path: bytes, document_id: int) -> None:
        """Remove the drafts that a killed daemon may have left for a document."""
        with contextlib.suppress(OSError), self._anchors.at(path) as here:
            writer.sweep(here, document_id)

    def _draft(
        self,
        path: bytes,
        document_id: int,
        name: str,
        pages: Callable[[], Iterable[PageText]],
        source: Source,
        *,
        here: bytes,
    ) -> writer.Draft:
        """`here` is where the draft is written: the same file as `path`."""
        if name != writer.PDF_FORMAT:
            render = self._renderers[name]
            with self._promised(path):
                return writer.write_draft(here, document_id, name, render, pages=pages(), source=source)
        if len(os.path.basename(writer.target_of(path, name))) > NAME_MAX_BYTES:
            raise PageFault(ReasonCode.NAME_TOO_LONG, "with that suffix its name would be too long")
        assert self._overlay is not None, "given with the format"
        made = self._overlay(path, document_id, pages, pdf_a=self._pdf_a)
        return writer.write_binary_draft(here, document_id, name, made)

    def write_error(
        self, path: bytes, document_id: int, *, code: ReasonCode | str, reason: str, hint: str
    ) -> Published:
        """Leave the error file of a document that has no text."""
        target = writer.target_of(path, writer.ERROR_FORMAT)
        if not self._error_file or len(os.path.basename(target)) > NAME_MAX_BYTES:
            return Published((), ())
        with self._beside(path, document_id) as here:
            with self._promised(path):
                draft = writer.write_error_draft(here, document_id, code=code, reason=reason, hint=hint)
            return self._publish(path, document_id, [draft], overwrite=False)

    def _publish(
        self, path: bytes, document_id: int, drafts: Sequence[writer.Draft], *, overwrite: bool
    ) -> Published:
        """Give the drafts their names. They lie in the folder that was opened, and are known to the store by `path`."""
        targets = {draft: writer.target_of(path, draft.format) for draft in drafts}
        standing = {
            draft: writer.look_at(
                draft.target,
                draft_sha256=draft.sha256,
                ours=self._outputs.checksums(targets[draft]),
                overwrite_edited=overwrite,
                draft=draft.path,
            )
            for draft in drafts
        }
        allowed = [draft for draft in drafts if standing[draft].owner is not writer.Ownership.FOREIGN]
        self._outputs.plan(
            document_id, [_planned(targets[draft], draft, standing[draft]) for draft in allowed]
        )
        with self._promised(path):
            named = [draft for draft in drafts if writer.publish(draft, standing[draft])]
            if named:
                files.sync_folder(os.path.dirname(named[0].target))
        for draft in allowed:
            if draft not in named:
                self._outputs.withdraw(targets[draft])
        foreign = tuple(targets[draft] for draft in drafts if draft not in named)
        return Published(tuple(targets[draft] for draft in named), foreign)

    def remove_error(self, path: bytes, document_id: int) -> None:
        """Take our error file away, once there is text; an edited one stays."""
        target = writer.target_of(path, writer.ERROR_FORMAT)
        ours = self._outputs.checksums(target)
        if not ours:
            return
        with self._beside(path, document_id) as here:
            writer.remove_error(here, document_id, ours)
        self._outputs.forget(target)

    def missing(self, path: bytes) -> bool:
        """Whether an output that we wrote is not there any more."""
        targets = [writer.target_of(path, name) for name in self._wanted(path)]
        return any(not self._anchors.lexists(target) for target in targets)


def _planned(target: bytes, draft: writer.Draft, standing: writer.Standing) -> Planned:
    ours = standing.owner is writer.Ownership.OURS
    return Planned(target, draft.format, draft.sha256, standing.sha256 if ours else "")
