"""Joins intake and the rasterizer's probe: from a complete file to what the store registers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from ocrd.daemon.folders import Folders
from ocrd.domain import page_ranges
from ocrd.domain.documents import FileIdentity, MediaType
from ocrd.domain.errors import InputRejected, ReasonCode, SourceChanged
from ocrd.domain.page_ranges import Range
from ocrd.host import files
from ocrd.host.anchors import Anchors
from ocrd.pipeline import intake
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.store.documents import Arrival

UNSETTLED = frozenset({ReasonCode.EMPTY_FILE, ReasonCode.DAMAGED, ReasonCode.UNREADABLE, ReasonCode.NO_PAGES})
"""Reasons that a file which is still being copied gives as well; a young one is looked at again."""


class Admission:
    """Decides what becomes of a file. Thread-safe."""

    def __init__(
        self,
        rasterizer: Rasterizer,
        *,
        max_bytes: int,
        pages: Sequence[Range] = (),
        fingerprint_of: Callable[[bytes], str],
        folders: Folders,
        anchors: Anchors | None = None,
    ) -> None:
        """`pages` are those that are read where no folder says otherwise; none: all. `anchors` holds the inboxes."""
        self._anchors = anchors or Anchors()
        self._rasterizer = rasterizer
        self._ranges = pages
        self._max_bytes = max_bytes
        self._fingerprint_of = fingerprint_of
        self._folders = folders

    def admit(self, inbox: str, path: bytes) -> Arrival | None:
        """What the store should know of the file; None if it is none of ocrd's business.

        Raises SourceChanged if the file changed under our hands; a file that cannot be worked on is an Arrival
        with `rejected` set. Its checksum stands there too whenever the content could be read.
        """
        with self._anchored(path) as here:
            identity = files.stat_regular(here)
            if identity is None:
                raise SourceChanged(ReasonCode.FILE_GONE, "the file went away")
            try:
                inspected = intake.inspect(here, max_bytes=self._max_bytes)
            except InputRejected as err:
                return self._arrival(inbox, path, identity, rejected=err)
        if inspected is None:
            return None
        found = (inspected.media_type, inspected.sha256)
        try:
            probe = self._rasterizer.probe(path, inspected.identity, inspected.media_type)
            pages = self._choose(path, probe.pages)
        except InputRejected as err:
            return self._arrival(inbox, path, inspected.identity, found=found, rejected=err)
        return self._arrival(inbox, path, inspected.identity, found=found, pages=pages)

    @contextlib.contextmanager
    def _anchored(self, path: bytes) -> Iterator[bytes]:
        """The file by a name that leads past no link. Raises SourceChanged if its folder is gone or a link by now."""
        with contextlib.ExitStack() as stack:
            try:
                here = stack.enter_context(self._anchors.at(path))
            except OSError as err:
                raise SourceChanged(ReasonCode.FILE_GONE, "the folder of the file went away") from err
            yield here

    def _choose(self, path: bytes, pages: int) -> tuple[int, ...]:
        """The pages to read. Raises InputRejected if it has none of those that are asked for."""
        said = self._folders.of(path).pages
        numbers = page_ranges.chosen(self._ranges if said is None else said, pages)
        if not numbers:
            raise InputRejected(
                ReasonCode.PAGES_NOT_THERE,
                f"only some pages are to be read, and it has none of them: it ends with page {pages}",
            )
        return numbers

    def languages_of(self, path: bytes) -> tuple[str, ...] | None:
        """The languages of a file whose folder has its own."""
        return self._folders.of(path).languages

    def engine_of(self, path: bytes) -> str | None:
        """The engine of a file whose folder asks for one."""
        return self._folders.of(path).engine

    def _arrival(
        self,
        inbox: str,
        path: bytes,
        identity: FileIdentity,
        *,
        found: tuple[MediaType | None, str] = (None, ""),
        pages: Sequence[int] = (),
        rejected: InputRejected | None = None,
    ) -> Arrival:
        media_type, sha256 = found
        return Arrival(
            inbox=inbox,
            path=path,
            name=files.display_name(path),
            sha256=sha256,
            fingerprint=self._fingerprint_of(path),
            priority=self._folders.of(path).priority or 0,
            media_type=media_type,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            pages=pages,
            rejected=None if rejected is None else (rejected.code, str(rejected), rejected.hint),
        )
