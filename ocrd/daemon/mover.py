"""The mover: takes originals away when their work is done, with the texts beside them, and finishes what a killed
daemon had begun. One thread: a slow drive stalls nothing but itself.

A wish is recorded with the commit that ends a document; a plan (every file's old and new place) before the first file
is touched; the arrival when all of them stand there. The original goes first: only if it gets its new name do the texts
follow, and a text that cannot stays behind.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from threading import Condition, Thread

from ocrd.domain import moving as rules
from ocrd.domain.documents import FileIdentity
from ocrd.domain.errors import ConfigError, ReasonCode, SourceChanged, StoreFull
from ocrd.domain.moving import AfterRules, Step
from ocrd.domain.ports import Clock
from ocrd.host import faults, files, moving
from ocrd.host.anchors import Anchors
from ocrd.store.documents import DocumentStore, Job
from ocrd.store.relocations import Move, RelocationStore
from ocrd.telemetry.logs import get_logger

log = get_logger()

AGAIN_S = 60.0
"""After a move that did not work: a drive that is away, a folder that may not be written."""
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LONGEST_NAME = 1000
"""So many names are tried for one file; then something else is wrong."""


class Mover:
    """Runs until `stop`. `notify` says that there may be something to move."""

    def __init__(
        self,
        roots: Sequence[bytes],
        after: AfterRules,
        documents: DocumentStore,
        relocations: RelocationStore,
        clock: Clock,
        *,
        on_end: Callable[[int], None] = lambda document_id: None,  # noqa: ARG005
    ) -> None:
        """`on_end` is told of each document whose original has arrived, or stays after all."""
        self._on_end = on_end
        self._roots = {files.display_name(root): root for root in roots}
        self._anchors = Anchors((*roots, *_folders_outside(roots, after)))
        self._after = after
        self._documents = documents
        self._relocations = relocations
        self._clock = clock
        self._changed = Condition()
        self._asked, self._answered = 1, 0
        self._stopping = False
        self._again_at: dict[int, float] = {}
        self._problem = ""
        self._thread = Thread(target=self._run, name="mover", daemon=True)

    def start(self) -> None:
        """Begin, with what was left undone."""
        self._thread.start()

    def stop(self) -> None:
        """End after the document in hand; the others are moved by the next daemon."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(10)

    def notify(self) -> None:
        """A document has ended that is to be moved."""
        with self._changed:
            self._asked += 1
            self._changed.notify()

    @property
    def idle(self) -> bool:
        """Whether everything was tried that is to be moved; for `--once`."""
        with self._changed:
            return self._asked == self._answered or not self._thread.is_alive()

    @property
    def problem(self) -> str:
        """Why an original could not be moved, in words; '' if all could."""
        return self._problem

    @property
    def dead_thread(self) -> str | None:
        """The name of the thread if it ended although nobody stopped it."""
        return None if self._stopping or self._thread.is_alive() else self._thread.name

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._asked > self._answered, self._pause())
                if self._stopping:
                    return
                asked = self._asked
            try:
                self._move_all()
            except StoreFull as full:  # nobody waits for space any more; the next daemon does it again
                log.error("given_up", reason=str(full), next=full.hint)  # noqa: TRY400  # its trace says nothing
                return
            with self._changed:
                self._answered = asked

    def _pause(self) -> float | None:
        """Seconds until something is tried again; None: until something is to be moved."""
        if not self._again_at:
            return None
        return max(min(self._again_at.values()) - self._clock.monotonic(), 0.1)

    def _move_all(self) -> None:
        waiting = self._relocations.waiting()
        self._again_at = {one: at for one, at in self._again_at.items() if one in waiting}
        for document_id in waiting:
            if self._stopping:
                return
            if self._clock.monotonic() >= self._again_at.get(document_id, 0.0):
                self._again_at.pop(document_id, None)
                self._move(document_id)
        if not self._again_at:
            self._problem = ""

    def _move(self, document_id: int) -> None:
        """Move one document as far as it goes. One that cannot be moved must never stop the others."""
        job = self._documents.find(document_id)
        assert job is not None, "its wish goes with the document"
        try:
            self._carry_out(job, self._relocations.planned(document_id) or self._plan(job))
            self._on_end(document_id)
        except StoreFull:
            raise
        except SourceChanged as err:  # the next scan sees what became of it: touched, or another revision
            self._postpone(job, f"{job.name} is not moved: {err}")
        except OSError as err:
            self._postpone(job, f"{job.name} cannot be moved: {err.strerror or err}")
        except Exception:  # the loop's edge: it is tried again, the daemon goes on
            log.exception("move_failed", document=document_id, file=job.name)
            self._postpone(job, f"{job.name} cannot be moved: an error in ocrd, see the log")

    def _postpone(self, job: Job, problem: str) -> None:
        self._again_at[job.id] = self._clock.monotonic() + AGAIN_S
        if problem != self._problem:  # a drive that is away has a thousand documents
            log.warning("move_postponed", document=job.id, file=job.name, reason=problem, again_in_s=AGAIN_S)
        self._problem = problem

    # --- planning -------------------------------------------------------------------------------------------

    def _plan(self, job: Job) -> list[Move]:
        """Decide and record where a document's files go; empty if it stays. Raises SourceChanged, OSError."""
        ended = self._documents.ended_as(job.id)
        folder = None if ended is None else self._after.folder_for(*ended)
        root = self._roots.get(job.inbox)
        target = root and folder and rules.destination(job.path, root, os.fsencode(folder))
        if not (root and folder and target):
            self._relocations.drop(job.id)
            return []
        identity = self._anchors.stat_regular(job.path)
        if identity is None:
            self._expect_folder(job.path)
            self._relocations.drop(job.id)
            return []
        _expect_unchanged(job, identity)
        base = os.fsencode(folder) if os.path.isabs(folder) else root
        moving.make_folders(os.path.dirname(target), below=os.path.normpath(base), anchors=self._anchors)
        planned = self._free_names(job, job.path, target)
        return planned if self._relocations.plan(job.id, planned) else []

    def _free_names(self, job: Job, path: bytes, target: bytes) -> list[Move]:
        """Places that nobody has, for all files of a document at once: a text keeps the name of its original."""
        texts = [one for one in self._relocations.outputs_of(job.id) if one.startswith(path)]
        for number, name in enumerate(rules.names(target)):
            places = [(path, name)]
            places += [(text, name + text[len(path) :]) for text in texts if self._anchors.stat_regular(text)]
            with self._folder_of(name) as here:
                folder = os.path.dirname(here)
                if not any(os.path.lexists(os.path.join(folder, os.path.basename(one))) for _, one in places):
                    return places
            if number > _LONGEST_NAME:
                break
        raise OSError(f"{files.display_name(target)} and its numbered names are all taken")

    # --- moving ---------------------------------------------------------------------------------------------

    def _carry_out(self, job: Job, planned: list[Move]) -> None:
        """Bring every file of a plan to its place, wherever the last try was interrupted, and record that."""
        if not planned:
            return
        faults.point("move.planned")
        original, *texts = planned
        if not self._bring(job, *original):  # somebody took the name meanwhile
            self._carry_out(job, self._plan(job))
            return
        for text in texts:
            if not self._bring(job, *text):
                log.warning("text_stays", document=job.id, file=files.display_name(text[0]))
        faults.point("move.arrived")
        there, stat_regular = self._anchors.lexists, self._anchors.stat_regular
        moved = [(old, new) for old, new in planned if not there(old) and stat_regular(new)]
        name = files.display_name(original[1])
        self._relocations.arrive(job.id, moved, name=name, identity=stat_regular(original[1]))
        log.info("document_moved", document=job.id, file=job.name, to=name)

    def _bring(self, job: Job, source: bytes, target: bytes) -> bool:
        """Bring one file to its place; False if another one has it. Raises FileNotFoundError where one of the two folders
        is not there, or is a link by now: nothing is concluded from a file that is missing then."""
        with contextlib.ExitStack() as stack:
            new = stack.enter_context(self._folder_of(target))
            try:
                old = stack.enter_context(self._folder_of(source))
            except FileNotFoundError:
                if not os.path.lexists(new):
                    raise
                return True  # arrived, and the folder that it came from is gone since
            return _bring(job, old, new, is_original=source == job.path)

    @contextlib.contextmanager
    def _folder_of(self, path: bytes) -> Iterator[bytes]:
        with contextlib.ExitStack() as stack:
            try:
                here = stack.enter_context(self._anchors.at(path))
            except OSError as err:
                if err.errno not in _NOT_THERE:
                    raise
                folder = files.display_name(os.path.dirname(path))
                raise FileNotFoundError(
                    errno.ENOENT, f"the folder {folder} is not there, or a link leads to it"
                ) from err
            yield here

    def _expect_folder(self, path: bytes) -> None:
        """Nothing is concluded from a file that is not there where its whole folder is not."""
        with self._folder_of(path):
            pass


def _bring(job: Job, source: bytes, target: bytes, *, is_original: bool) -> bool:
    draft = os.path.join(os.path.dirname(target), b".ocrd-%d-move.tmp" % job.id)
    aside = _aside_of(source)
    moving.put_back(aside, source, target)
    identity = files.stat_regular(source)
    at_target = os.path.lexists(target)
    same = identity is not None and at_target and moving.holds_same(source, target)
    step = rules.next_step(at_source=identity is not None, at_target=at_target, same=same)
    if step in {Step.DONE, Step.GONE}:
        return True
    if step is Step.TAKEN or identity is None:
        return False
    if is_original:
        _expect_unchanged(job, identity)
    if step is Step.FINISH:
        moving.finish(source, target, aside=aside, known=identity)
        return True
    try:
        moving.move_new(source, target, draft=draft, aside=aside, known=identity)
    except FileExistsError:
        return False
    return True


def _aside_of(source: bytes) -> bytes:
    """A hidden name for a file that is about to go: its own, as the next daemon must know what a kill left there."""
    folder, name = os.path.split(source)
    return os.path.join(folder, b".ocrd-%s-aside.tmp" % hashlib.sha256(name).hexdigest()[:32].encode())


def _expect_unchanged(job: Job, identity: FileIdentity) -> None:
    if (identity.size, identity.mtime_ns) != (job.size, job.mtime_ns):
        raise SourceChanged(ReasonCode.SUPERSEDED, "the file was changed since it was taken in")


def _folders_outside(roots: Sequence[bytes], after: AfterRules) -> Iterator[bytes]:
    """Those of the rules that lie in no inbox: nobody but their owner names them, and they may be links."""
    for folder in map(os.fsencode, after.folders):
        place = os.path.normpath(folder)
        if os.path.isabs(place) and not any(rules.is_below(place, root) for root in roots):
            yield place


def folders_of(roots: Sequence[bytes], after: AfterRules) -> frozenset[bytes]:
    """The folders below the inboxes that originals are moved to: they are no input. Raises ConfigError where a folder
    is an inbox, or has one in it."""
    passed_over = set()
    for root in roots:
        for folder in after.folders:
            place = os.path.realpath(rules.folder_in(root, os.fsencode(folder)))
            for inbox in roots:
                real = os.path.realpath(inbox)
                if real == place or rules.is_below(real, place):
                    raise ConfigError(
                        f"[after] moves to {files.display_name(place)}, in which the inbox "
                        f"{files.display_name(inbox)} lies",
                        hint="choose a folder below the inbox or outside of it",
                    )
                if rules.is_below(place, real):
                    passed_over.add(os.path.join(inbox, place[len(real) + 1 :]))
    return frozenset(passed_over)
