"""Ends documents: decides from the pages how one ended, writes what belongs beside the input, commits."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ocrd.daemon.publisher import Publisher
from ocrd.domain.documents import Source
from ocrd.domain.errors import NOT_THERE, ReasonCode, ServerFault
from ocrd.domain.jobs import DocumentState
from ocrd.domain.moving import AfterRules
from ocrd.host import files
from ocrd.host.anchors import Anchors
from ocrd.store.documents import DocumentStore, Job
from ocrd.store.pages import PageStore

CANNOT_WRITE = "nothing can be written beside "
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""A disk that is full, read-only (as ext4 makes itself after an error) or broken: room, a new cable or `mount -o remount,rw`
helps all documents at once."""
_IN_WORDS = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "no space left",
    errno.EROFS: "its disk is read-only",
}
_MOST_IO_ERRORS = 5
"""So often is a document tried on a disk that fails: such a one seldom heals, and the others shall not wait for it."""
_GAPS_LISTED = 5

Failures = Sequence[tuple[int, str, str]]
"""Number, code and reason of the pages without text."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a document ended, as it was committed."""

    state: DocumentState
    code: ReasonCode | str = ""
    reason: str = ""
    written: tuple[bytes, ...] = ()


class Finisher:
    """Thread-safe; called once for each document."""

    def __init__(
        self,
        documents: DocumentStore,
        pages: PageStore,
        publisher: Publisher,
        *,
        after: AfterRules | None = None,
        on_move: Callable[[], None] = lambda: None,
        on_end: Callable[[int], None] = lambda document_id: None,  # noqa: ARG005
        on_absent: Callable[[bytes], None] = lambda path: None,  # noqa: ARG005
        anchors: Anchors | None = None,
    ) -> None:
        """After the commit that ends a document, `on_move` is told if its original is to be moved, else `on_end`; and
        `on_absent` is told the path of one that was cancelled because the file at it was gone or another. `anchors` holds the
        inboxes."""
        self._anchors = anchors or Anchors()
        self._on_end = on_end
        self._on_absent = on_absent
        self._after = after or AfterRules()
        self._on_move = on_move
        self._documents = documents
        self._pages = pages
        self._publisher = publisher
        self._io_errors: Counter[int] = Counter()

    def finish(self, job: Job) -> Ending:
        """Write the outputs of a document whose pages are all settled. Raises ServerFault when the disk takes nothing
        now: the document can be finished later."""
        problem = self.source_problem(job.id)
        if problem is not None:
            return self.cancel(job, *problem)
        try:
            return self._commit(job.id, self._write(job))
        except OSError as err:
            self.sweep(job)
            problem = self.source_problem(job.id)
            if problem is not None:  # its folder went away, or is a link since the look before
                return self.cancel(job, *problem)
            self._raise_if_passing(err, job.id, job.name)
            reason = f"the text is stored, but cannot be written beside the input: {err.strerror or err}"
            return self._commit(job.id, Ending(DocumentState.FAILED, ReasonCode.OUTPUT_FAILED, reason))

    def source_problem(self, document_id: int) -> tuple[ReasonCode, str] | None:
        """Why the file at the document's path is not the one that was taken in; None if it is.

        Asked before pages are rendered and before text is written. The store knows it best: a file that was only
        touched meanwhile has been looked into again, and is the same document.
        """
        job = self._documents.find_current(document_id)
        identity = None if job is None else self._anchors.stat_regular(job.path)
        if job is not None and identity is None:
            return ReasonCode.FILE_GONE, "the file was moved or deleted; the pages that were read are kept"
        if job is None or identity is None or (identity.size, identity.mtime_ns) != (job.size, job.mtime_ns):
            return ReasonCode.SUPERSEDED, "the file was changed since it was taken in"
        return None

    def sweep(self, job: Job) -> None:
        """Remove the drafts that a killed daemon may have left for a document."""
        self._publisher.sweep(job.path, job.id)

    def cancel(self, job: Job, code: ReasonCode, reason: str) -> Ending:
        """End a document without text; the pages it has are kept.

        Its file may be back by now, and taken for the one that was known all along: the receiver has to look once more.
        """
        ending = self._commit(job.id, Ending(DocumentState.CANCELLED, code, reason))
        if code in NOT_THERE and self._documents.find_current(job.id) is not None:
            self._on_absent(job.path)
        return ending

    def reject(self, job_id: int, path: bytes, code: ReasonCode, reason: str, hint: str) -> Ending:
        """End a document that can never work, with its error file. Raises ServerFault when the disk takes nothing now:
        the document can be rejected later."""
        written: tuple[bytes, ...] = ()
        try:
            written = self._publisher.write_error(path, job_id, code=code, reason=reason, hint=hint).written
        except OSError as err:
            self._raise_if_passing(err, job_id, files.display_name(path))
            # a folder that may not be written: the reason stands in the store in any case
        ending = Ending(DocumentState.REJECTED, code, reason, written)
        return self._commit(job_id, ending)

    def _raise_if_passing(self, err: OSError, job_id: int, name: str) -> None:
        """Raises ServerFault if what went wrong is worth waiting for."""
        if err.errno not in _PASSING:
            return
        if err.errno == errno.EIO:
            self._io_errors[job_id] += 1
            if self._io_errors[job_id] >= _MOST_IO_ERRORS:
                del self._io_errors[job_id]
                return
        raise ServerFault(f"{CANNOT_WRITE}{name}: {_IN_WORDS.get(err.errno, err.strerror)}") from err

    def _commit(self, job_id: int, ending: Ending) -> Ending:
        move = self._after.folder_for(ending.state, ending.code) is not None
        self._documents.finish(
            job_id, ending.state, code=ending.code, reason=ending.reason, written=ending.written, move=move
        )
        if move:
            self._on_move()
        else:
            self._on_end(job_id)
        return ending

    def _write(self, job: Job) -> Ending:
        state = self._documents.outcome(job.id)
        assert state is not None, "a document is finished when its last page is"
        failures = self._pages.failures(job.id)
        if state is DocumentState.FAILED:
            return self._write_error(job, failures)
        code, reason = (ReasonCode.PAGES_FAILED, list_gaps(failures, job.pages)) if failures else ("", "")
        done = self._publisher.write(
            job.path,
            job.id,
            lambda: self._pages.transcript(job.id),
            source=_source_of(job),
            overwrite=job.overwrite,
        )
        self._publisher.remove_error(job.path, job.id)
        if done.foreign:
            code, reason = ReasonCode.OUTPUT_EXISTS, name_foreign(done.foreign)
        elif done.failed:
            code, reason = ReasonCode.OUTPUT_FAILED, name_failed(done.failed)
        return Ending(state, code, reason, done.written)

    def _write_error(self, job: Job, failures: Failures) -> Ending:
        code, reason = why_failed(failures, job.pages)
        hint = "`ocrd show` tells more; `ocrd retry` tries again"
        done = self._publisher.write_error(job.path, job.id, code=code, reason=reason, hint=hint)
        return Ending(DocumentState.FAILED, code, reason, done.written)


def _source_of(job: Job) -> Source:
    name = files.display_name(os.path.basename(job.path))
    return Source(name=name, sha256=job.sha256, media_type=job.media_type, pages=job.pages)


def why_failed(failures: Failures, pages: int) -> tuple[str, str]:
    """Code and reason of a document without any text: those of its pages, if they all say the same."""
    number, code, reason = failures[0]
    if pages == 1:
        return code, reason
    if len({failure[1] for failure in failures}) > 1:
        code = ReasonCode.PAGES_FAILED
    return code, f"none of its {pages} pages could be read; page {number}: {reason}"


def list_gaps(failures: Failures, pages: int) -> str:
    """Which pages of a partial document have no text, and why; the first few of them."""
    listed = "; ".join(f"page {number}: {reason}" for number, _, reason in failures[:_GAPS_LISTED])
    more = f"; and {len(failures) - _GAPS_LISTED} more" if len(failures) > _GAPS_LISTED else ""
    return f"{len(failures)} of {pages} pages have no text: {listed}{more}"


def name_failed(failed: Sequence[tuple[bytes, str]]) -> str:
    """Which outputs could not be made, and why; the others are there."""
    listed = "; ".join(f"{files.display_name(os.path.basename(path))}: {reason}" for path, reason in failed)
    return f"not every output could be made: {listed}"


def name_foreign(targets: Sequence[bytes]) -> str:
    """Which outputs were not written, because a file that is not ours stands there."""
    names = ", ".join(files.display_name(os.path.basename(path)) for path in targets)
    return f"the text is stored, but {names} was not written: a file that ocrd did not write has that name"
