"""Makes the searchable PDF of a finished document: what was read goes to the rasterizer's child, which has the document."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator

from ocrd.domain.documents import PageText
from ocrd.domain.errors import PageFault, ReasonCode, SourceChanged
from ocrd.host import files
from ocrd.pipeline import searchable_pdf
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.store.documents import DocumentStore

CHUNK_BYTES = 1 << 20


class Overlay:
    """Thread-safe. `folder` is for temporary files, and emptied at the next start."""

    def __init__(self, rasterizer: Rasterizer, documents: DocumentStore, folder: str) -> None:
        self._rasterizer = rasterizer
        self._documents = documents
        self._folder = folder

    def chunks(
        self, path: bytes, document_id: int, pages: Callable[[], Iterable[PageText]], *, pdf_a: bool
    ) -> Iterator[bytes]:
        """The PDF in pieces, as PDF/A if that is wanted. Raises PageFault if none can be made, ServerFault, and OSError."""
        stem = os.path.join(self._folder, f"overlay-{uuid.uuid4().hex}")
        layer, target = f"{stem}.layer", f"{stem}.pdf"
        try:
            with open(layer, "wb") as file:
                file.writelines(searchable_pdf.to_layer(pages()))
            self._make(path, document_id, layer, target, pdf_a=pdf_a)
            with open(target, "rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        finally:
            for made in (layer, target, target + searchable_pdf.CONVERTED):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(made)

    def _make(self, path: bytes, document_id: int, layer: str, target: str, *, pdf_a: bool) -> None:
        job, identity = self._documents.find(document_id), files.stat_regular(path)
        if job is None or identity is None:
            raise PageFault(ReasonCode.FILE_GONE, "the document is gone")
        try:
            self._rasterizer.overlay(path, identity, job.media_type, layer=layer, target=target, pdf_a=pdf_a)
        except SourceChanged as err:
            raise PageFault(err.code, str(err)) from err
