"""The receiver: joins inbox, intake and store. One thread scans; a few more look into the files that are complete."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from ocrd.daemon.admission import UNSETTLED, Admission
from ocrd.daemon.engines import INTAKE_THREADS
from ocrd.daemon.finisher import Finisher
from ocrd.daemon.publisher import Publisher
from ocrd.daemon.worker import Worker
from ocrd.domain.documents import FileIdentity
from ocrd.domain.errors import ReasonCode, ServerFault, SourceChanged
from ocrd.domain.jobs import DocumentState
from ocrd.domain.ports import Clock
from ocrd.host import files, mounts
from ocrd.host.anchors import Anchors
from ocrd.pipeline import inbox, writer
from ocrd.settings import InboxSettings
from ocrd.store.documents import Arrival, DocumentStore
from ocrd.store.outputs import OutputStore
from ocrd.telemetry.logs import get_logger

log = get_logger()

_BATCH = 64
_TROUBLE_WAIT_S = 30.0
_LOOK_S = 5.0
"""How often it is asked whether the folder behind a root's path is still the same: one stat."""


@dataclass(slots=True)
class Root:
    """One inbox folder: how it is watched, and what the last scan found."""

    path: bytes
    tracker: inbox.Tracker
    mode: str = "starting"
    """`starting`, `events`, `polling`, `once`, or `taken`: another ocrd watches it."""
    file_system: str = ""
    hints: inbox.Hints | None = None
    heard: Event = field(default_factory=Event)
    """Something happened below the root."""
    folder: tuple[int, int] | None = None
    """Device and inode of the folder at `path`, as it was last seen; None while there is none."""
    next_look: float = 0.0
    next_scan: float = 0.0
    scanned_at: float | None = None
    """Wall clock, seconds since 1970."""
    pass_s: float = 0.0
    ready: deque[bytes] = field(default_factory=deque)
    """Complete files that wait for a thread of the intake."""
    busy: set[bytes] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    unsupported: int = 0
    missing: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return files.display_name(self.path)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one file: taken in (or passed over), or to be looked at again later."""

    root: Root
    path: bytes
    identity: FileIdentity | None
    again_in_s: float | None = None
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverParts:
    """Everything the receiver joins."""

    clock: Clock
    admission: Admission
    publisher: Publisher
    finisher: Finisher
    documents: DocumentStore
    outputs: OutputStore
    worker: Worker
    without: frozenset[bytes] = frozenset()
    """Folders below the inboxes that are no input: what is done is moved there."""
    absent: SimpleQueue[bytes] = field(default_factory=SimpleQueue)
    """Paths of documents that were cancelled because their file was gone or another."""
    locks: files.FolderLocks | None = None
    """The inboxes' locks, taken anew where another folder stands at a path; they are closed by whoever made them."""


class Receiver:
    """Runs until `stop`. With `once`, a file whose modification time is old enough is complete at first sight."""

    def __init__(
        self, roots: Sequence[bytes], settings: InboxSettings, parts: ReceiverParts, *, once: bool
    ) -> None:
        self._settings = settings
        self._once = once
        self._parts = parts
        self._clock = parts.clock
        self._patterns = inbox.Patterns((*inbox.DEFAULT_IGNORES, *settings.ignore))
        self._settle_s = 0.0 if once else settings.settle_s
        self.roots = [Root(path, inbox.Tracker(quiet_s=settings.quiet_s, trust_age=once)) for path in roots]
        self._wake = Event()
        self._doubted = Event()
        self._stopping = Event()
        self._outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        self._absent: set[bytes] = set()
        self._pool = ThreadPoolExecutor(INTAKE_THREADS, thread_name_prefix="intake")
        self._thread = Thread(target=self._run, name="receiver", daemon=True)
        self._quiet_scans = 0

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the scanning; files that are being looked into are finished first."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for root in self.roots:
            if root.hints is not None:
                root.hints.close()

    def look_now(self) -> None:
        """Scan every root at once, and decide anew how each is watched: the machine has slept."""
        self._doubted.set()
        self._wake.set()

    def reconfigure(self, settings: InboxSettings) -> None:
        """Let `ignore`, `settle_s` and `scan_interval_s` count from the next scan on, which is now."""
        self._settings = settings
        self._patterns = inbox.Patterns((*inbox.DEFAULT_IGNORES, *settings.ignore))
        self._settle_s = 0.0 if self._once else settings.settle_s
        for root in self.roots:
            self._stir(root)

    @property
    def dead_thread(self) -> str | None:
        """The name of the thread if it ended although nobody stopped it."""
        return None if self._stopping.is_set() or self._thread.is_alive() else self._thread.name

    @property
    def quiet_scans(self) -> int:
        """Scans in a row that found nothing to do and nothing to wait for; for `--once`."""
        return self._quiet_scans

    def facts(self) -> list[dict[str, Any]]:
        """The inboxes as `ocrd status` shows them."""
        return [
            {
                "path": root.name,
                "mode": root.mode,
                "file_system": root.file_system,
                "last_scan": root.scanned_at,
                "waiting": root.tracker.waiting,
                "skipped": {
                    **root.skipped,
                    **({"unsupported": root.unsupported} if root.unsupported else {}),
                },
                "missing": root.missing,
            }
            for root in self.roots
        ]

    # --- scanning -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._collect()
            self._look_again()
            if self._doubted.is_set():
                self._doubted.clear()
                for root in self.roots:
                    self._unwatch(root)
                    root.next_look = root.next_scan = 0.0
            for root in self.roots:
                self._visit(root)
            pause = min(min(root.next_scan, root.next_look) for root in self.roots) - self._clock.monotonic()
            self._clock.wait(self._wake, max(pause, 0.02))
            self._wake.clear()

    def _visit(self, root: Root) -> None:
        """Whatever is due at a root."""
        if self._clock.monotonic() >= min(root.next_look, root.next_scan):
            self._look(root)
        if root.heard.is_set():
            root.heard.clear()
            self._plan_next(root, soon=True)
        if not root.ready and self._clock.monotonic() >= root.next_scan:
            self._scan(root)
        self._submit(root)

    def _stir(self, root: Root) -> None:
        root.heard.set()
        self._wake.set()

    def _look(self, root: Root) -> None:
        """Notice when a drive is unplugged, mounted, or another folder stands at the root's path. Nothing is
        concluded from files that are not there then: what the store knows is remembered once more, and looked for."""
        folder = inbox.folder_at(root.path)
        if folder != root.folder:
            self._unwatch(root)
            root.folder = folder
            root.next_scan = 0.0
            root.ready.clear()
            if folder is not None:
                self._remember(root)
        if root.hints is not None and not root.hints.healthy:
            root.next_scan = 0.0
        if folder is None and self._parts.locks is not None:
            self._parts.locks.release(root.path)
        root.next_look = self._clock.monotonic() + _LOOK_S

    def _list(self, root: Root) -> inbox.Listing:
        return inbox.list_files(
            root.path,
            self._patterns,
            recursive=self._settings.recursive,
            without=self._parts.without,
            outputs=writer.SUFFIXES,
        )

    def _remember(self, root: Root) -> None:
        """What the store knows of the files that are there; not those that were not there when their turn came."""
        root.tracker.forget()
        there = self._list(root)
        for path, size, mtime_ns in self._parts.documents.known_files(root.name):
            if path in there.files or not there.complete:
                root.tracker.remember(path, size, mtime_ns)

    def _may_scan(self, root: Root) -> bool:
        """Whether the folder is ours alone."""
        try:
            held = self._parts.locks is None or root.folder is None or self._parts.locks.take(root.path)
        except OSError:  # gone since it was looked at: the scan finds nothing, and says so
            held = True
        if not held and root.mode != "taken":
            log.warning("inbox_taken", inbox=root.name, next="stop the other ocrd that watches this folder")
            self._unwatch(root)
            root.mode = "taken"
        elif held and root.mode == "taken":
            root.mode = "starting"
        return held

    def _scan(self, root: Root) -> None:
        if not self._may_scan(root):
            self._plan_next(root, soon=False)
            return
        self._watch(root)
        began = self._clock.monotonic()
        listing = self._list(root)
        self._note_missing(root, missing=not listing.complete)
        root.skipped = listing.skipped
        now, wall = self._clock.monotonic(), self._clock.now().timestamp()
        ready = root.tracker.observe(listing.files, now=now, wall=wall)
        if listing.complete:
            root.tracker.drop_missing(listing.files)
        root.pass_s = now - began
        root.scanned_at = wall
        root.ready.extend(path for path in ready if path not in root.busy)
        idle = not ready and not root.busy and not root.tracker.waiting
        self._quiet_scans = self._quiet_scans + 1 if idle else 0
        self._plan_next(root, soon=not idle or self._once)

    def _plan_next(self, root: Root, *, soon: bool) -> None:
        pause = inbox.next_scan_in(
            settling=soon,
            events=root.mode == "events",
            interval_s=self._settings.scan_interval_s,
            last_pass_s=root.pass_s,
        )
        root.next_scan = self._clock.monotonic() + pause

    def _submit(self, root: Root) -> None:
        while root.ready and len(root.busy) < _BATCH:
            path = root.ready.popleft()
            root.busy.add(path)
            self._pool.submit(self._take, root, path)

    def _note_missing(self, root: Root, *, missing: bool) -> None:
        if missing != root.missing:
            root.missing = missing
            log.warning("inbox_missing" if missing else "inbox_back", inbox=root.name)
            if not missing:
                self._remember(root)

    # --- watching -------------------------------------------------------------------------------------------

    def _watch(self, root: Root) -> None:
        """Decide how the root is watched; start the events anew where they died."""
        if self._once:
            root.mode = "once"
        elif root.hints is not None and not root.hints.healthy:
            log.warning("events_died", inbox=root.name)
            self._unwatch(root)
        if root.mode == "starting" and root.folder is not None:
            root.file_system = mounts.file_system_of(os.fsdecode(root.path))
            root.mode = self._start_watching(root)
            log.info("inbox_watched", inbox=root.name, mode=root.mode, file_system=root.file_system or None)

    def _unwatch(self, root: Root) -> None:
        """The next scan decides anew."""
        if root.hints is not None:
            root.hints.close()
            root.hints = None
        root.mode = "starting"

    def _start_watching(self, root: Root) -> str:
        if self._settings.watch == "polling" or (
            self._settings.watch == "auto" and not mounts.has_events(root.file_system)
        ):
            return "polling"
        try:
            hints = inbox.Hints(root.path, lambda: self._stir(root))
        except OSError as err:  # inotify's limits
            log.warning("events_unavailable", inbox=root.name, reason=str(err))
            return "polling"
        if self._settings.watch == "events" or inbox.events_arrive(root.path, root.heard):
            root.hints = hints
            return "events"
        hints.close()
        return "polling"

    # --- taking in ------------------------------------------------------------------------------------------

    def _take(self, root: Root, path: bytes) -> None:
        """In a thread of the pool: look into one file. One bad file must never stop anything."""
        if self._stopping.is_set():
            return
        identity = Anchors((root.path,)).stat_regular(path)
        try:
            outcome = self._admit(root, path, identity)
        except SourceChanged:
            outcome = _Outcome(root, path, None, again_in_s=0.0)
        except Exception:  # the loop's edge: the file is looked at again, the daemon goes on
            log.exception("intake_failed", file=files.display_name(path))
            outcome = _Outcome(root, path, None, again_in_s=_TROUBLE_WAIT_S)
        self._outcomes.put(outcome)
        self._wake.set()

    def _admit(self, root: Root, path: bytes, identity: FileIdentity | None) -> _Outcome:
        if identity is None or self._parts.outputs.is_ours(path):
            return _Outcome(root, path, identity, ignored=True)
        arrival = self._parts.admission.admit(root.name, path)
        if arrival is None:
            return _Outcome(root, path, identity, ignored=True)
        if arrival.rejected is not None and arrival.rejected[0] in UNSETTLED:
            since = root.tracker.first_seen(path)
            age_s = self._settle_s if since is None else self._clock.monotonic() - since
            if age_s < self._settle_s:
                return _Outcome(root, path, None, again_in_s=min(self._settle_s - age_s, 5.0))
        self._register(arrival)
        return _Outcome(root, path, FileIdentity(0, 0, arrival.size, arrival.mtime_ns))

    def _register(self, arrival: Arrival) -> None:
        registered = self._parts.documents.register(arrival)
        if registered.superseded is not None:
            self._parts.worker.end(
                registered.superseded, ReasonCode.SUPERSEDED, "the file was changed meanwhile"
            )
        if registered.new:
            log.info(
                "document_taken_in",
                document=registered.document_id,
                file=arrival.name,
                pages=len(arrival.pages),
            )
        if registered.new and arrival.rejected is not None:
            self._reject(registered.document_id, arrival)
        elif registered.state in {
            DocumentState.DONE,
            DocumentState.PARTIAL,
        } and self._parts.publisher.missing(arrival.path):
            self._parts.documents.retry(registered.document_id)
        self._parts.worker.notify()

    def _reject(self, document_id: int, arrival: Arrival) -> None:
        assert arrival.rejected is not None
        try:
            ending = self._parts.finisher.reject(document_id, arrival.path, *arrival.rejected)
        except ServerFault:  # no room for the error file: the worker looks into it again, and says so
            self._parts.documents.release(document_id)
            return
        log.warning(
            "document_rejected",
            document=document_id,
            file=arrival.name,
            reason_code=ending.code,
            reason=ending.reason,
        )

    def _collect(self) -> None:
        """Take the outcomes over; only this thread touches the trackers."""
        with contextlib.suppress(Empty):
            while True:
                outcome = self._outcomes.get_nowait()
                outcome.root.busy.discard(outcome.path)
                tracker = outcome.root.tracker
                if outcome.again_in_s is not None:
                    tracker.defer(outcome.path, self._clock.monotonic() + outcome.again_in_s)
                elif outcome.identity is not None:
                    tracker.remember(outcome.path, outcome.identity.size, outcome.identity.mtime_ns)
                    outcome.root.unsupported += outcome.ignored

    def _look_again(self) -> None:
        """Take the files of cancelled documents for new ones: what stands at their paths now may have been seen between the
        worker's last look and its commit, or be the same that was away for less than a scan. One that is being looked into
        at the moment waits until that has been noted."""
        with contextlib.suppress(Empty):
            while True:
                self._absent.add(self._parts.absent.get_nowait())
        for path in tuple(self._absent):
            root = next((root for root in self.roots if path.startswith(os.path.join(root.path, b""))), None)
            if root is not None and path in root.busy:
                continue
            self._absent.discard(path)
            if root is not None:
                root.tracker.drop(path)
                root.next_scan = 0.0
