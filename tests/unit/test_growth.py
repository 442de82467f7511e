"""A day of a daemon's life on the fake clock: what it keeps grows with what lies in the inbox or was read, never with time."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from support.stores import INBOX, Stores, recognition

from ocrd.domain.documents import FileIdentity
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.pipeline.inbox import Tracker
from ocrd.store.outputs import Planned
from ocrd.store.pages import Attempt

SCAN_S = 5
HOUR_S = 3600
DAY_S = 24 * HOUR_S
EVERY_S = 120
"""A file comes."""
STAYS_S = 2 * HOUR_S
"""And is moved away by its user."""
HEARTBEAT_S = 300
ORDER_S = 600
WAL_LIMIT = 8 << 20
PER_DOCUMENT = ("pages", "results", "attempts", "events", "outputs")
FIXED = ("counts", "daemon", "server_starts")


@dataclass
class Inbox:
    """Files that come, are looked into and go again, as the receiver's thread sees them."""

    clock: FakeClock
    tracker: Tracker = field(default_factory=lambda: Tracker(quiet_s=SCAN_S, trust_age=False))
    files: dict[bytes, FileIdentity] = field(default_factory=dict)
    number: int = 0

    def come_and_go(self) -> None:
        """What users do between two scans."""
        if self.clock.monotonic() % EVERY_S == 0:
            self.number += 1
            made_ns = int(self.clock.now().timestamp()) * 10**9
            path = f"{INBOX}/scan-{self.number}.pdf".encode()
            self.files[path] = FileIdentity(1, self.number, 1000, made_ns)
        gone = self.clock.now().timestamp() - STAYS_S
        for path in [path for path, identity in self.files.items() if identity.mtime_ns <= gone * 1e9]:
            del self.files[path]

    def scan(self) -> list[bytes]:
        """The files that are complete."""
        now, wall = self.clock.monotonic(), self.clock.now().timestamp()
        ready = self.tracker.observe(self.files, now=now, wall=wall)
        self.tracker.drop_missing(self.files)
        return ready

    def take(self, path: bytes) -> None:
        """It is known from now on."""
        identity = self.files[path]
        self.tracker.remember(path, identity.size, identity.mtime_ns)

    def sizes(self) -> dict[str, int]:
        """Of all that the tracker keeps."""
        tracker = self.tracker
        return {
            "watched": len(tracker._watched),
            "taken": len(tracker._taken),
            "deferred": len(tracker._deferred),
        }


@dataclass(frozen=True)
class Kept:
    """What there is at one time: rows of each table, objects of Python, files of the inbox."""

    rows: Counter[str]
    objects: int
    sizes: dict[str, int]
    files: int


class Life:
    """The store and the inbox of a daemon; everything that a quiet day does to them."""

    def __init__(self, stores: Stores, clock: FakeClock) -> None:
        self.stores = stores
        self.clock = clock
        self.inbox = Inbox(clock)

    def live(self, seconds: int) -> None:
        """Until so much time has passed."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.inbox.come_and_go()
            for path in self.inbox.scan():
                self._read(path)
                self.inbox.take(path)
            self._speak()
            self.clock.advance(SCAN_S)

    def _read(self, path: bytes) -> None:
        stores, name = self.stores, path.decode().rpartition("/")[2]
        stores.register(name, content=name, pages=1)
        document = stores.begin().id
        failed = document % 50 == 0
        for page in stores.pages.claim(document, 4):
            text = Attempt(engine="fake", seconds=0.1, verdict=Verdict.OK, recognition=recognition(name))
            state = PageState.FAILED if failed else PageState.DONE
            stores.pages.land(document, page.number, state, text)
        output = path + b".txt"
        stores.outputs.plan(document, [Planned(output, "txt", "0" * 64)])
        outcome = DocumentState.FAILED if failed else DocumentState.DONE
        stores.documents.finish(document, outcome, written=[output])

    def _speak(self) -> None:
        """The heartbeat, and now and then an order of the user's."""
        commands, now = self.stores.commands, self.clock.monotonic()
        if now % HEARTBEAT_S == 0:
            commands.set_fact("heartbeat", {"at": now, "waiting": self.inbox.tracker.waiting})
        if now % ORDER_S == 0:
            commands.answer(commands.send("pause", {}), {"ok": True})
            commands.set_fact("paused", {"why": "the user"})
            commands.drop_fact("paused")

    def kept(self) -> Kept:
        """Count it."""
        gc.collect()
        tables = (*PER_DOCUMENT, *FIXED, "documents", "commands")
        rows = Counter({table: self.stores.one(f"SELECT count(*) FROM {table}") for table in tables})
        return Kept(rows, len(gc.get_objects()), self.inbox.sizes(), len(self.inbox.files))


@pytest.fixture
def life(stores: Stores, clock: FakeClock) -> Iterator[Life]:
    """Its commits are not synced: a power failure is no part of it, and a day has thousands."""
    raw = stores.database._writer.raw_connection()
    raw.cursor().execute("PRAGMA synchronous = OFF")
    raw.close()
    return Life(stores, clock)


def test_a_day_leaves_nothing_behind_but_what_was_read(life: Life, state: Path) -> None:
    life.live(4 * HOUR_S)
    morning = life.kept()
    life.live(DAY_S - 4 * HOUR_S)
    evening = life.kept()
    read = evening.rows["documents"] - morning.rows["documents"]
    assert read == (DAY_S - 4 * HOUR_S) // EVERY_S
    # The tracker knows what lies there, as in the morning.
    assert evening.sizes == morning.sizes
    assert evening.sizes["taken"] <= evening.files == STAYS_S // EVERY_S
    assert evening.sizes["deferred"] == 0
    # The store has as many rows a document as in the morning, and as few of what the daemon says of itself.
    for table in PER_DOCUMENT:
        each = morning.rows[table] // morning.rows["documents"]
        assert evening.rows[table] == each * evening.rows["documents"], table
    for table in FIXED:
        assert evening.rows[table] == morning.rows[table], table
    # Python keeps no more than before, and the journal is folded into the store on the way.
    assert evening.objects <= morning.objects + 500
    assert (state / "ocrd.db-wal").stat().st_size <= WAL_LIMIT


def test_a_tracker_keeps_nothing_of_files_that_are_gone(clock: FakeClock) -> None:
    inbox = Inbox(clock)
    for _ in range(DAY_S // EVERY_S):
        clock.advance(-clock.monotonic() % EVERY_S)
        inbox.come_and_go()
        for path in list(inbox.files)[-20:]:
            inbox.tracker.defer(path, clock.monotonic() + STAYS_S)
        for path in inbox.scan()[::2]:
            inbox.take(path)
        clock.advance(SCAN_S)
    assert inbox.number == DAY_S // EVERY_S
    assert max(inbox.sizes().values()) <= len(inbox.files) == STAYS_S // EVERY_S
    inbox.files.clear()
    inbox.scan()
    assert inbox.sizes() == {"watched": 0, "taken": 0, "deferred": 0}


def test_a_file_that_went_away_while_it_was_looked_into_is_forgotten(clock: FakeClock) -> None:
    inbox = Inbox(clock)
    inbox.come_and_go()
    (path,) = inbox.files
    inbox.scan()
    inbox.files.clear()
    inbox.scan()
    inbox.tracker.defer(path, clock.monotonic())  # what the thread that looked into it says, a little late
    inbox.scan()
    assert inbox.sizes() == {"watched": 0, "taken": 0, "deferred": 0}


def test_answered_orders_are_forgotten_after_their_time(life: Life) -> None:
    life.live(2 * HOUR_S)
    life.stores.commands.prune_answered(older_than_s=HOUR_S)
    assert life.kept().rows["commands"] == HOUR_S // ORDER_S
