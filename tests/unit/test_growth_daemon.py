"""A day of the daemon's parts on the fake clock: receiver, desk, readers, herald, promises and log keep nothing of what is over."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from fakes.clock import FakeClock
from PIL import Image
from support.running import wait_until

from ocrd.daemon.build import Parts, build, open_stores
from ocrd.daemon.engines import Engines
from ocrd.daemon.herald import Herald
from ocrd.daemon.promises import Promises, PromisingRecognizer
from ocrd.domain.documents import Block, PageImage, Recognition, Request
from ocrd.host.notify import Notifier
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy
from ocrd.settings import load
from ocrd.store import schema
from ocrd.telemetry import logs

HOUR_S = 3600
SCAN_S = 30
EVERY_S = 1200
"""A file comes."""
STAYS_S = 2 * HOUR_S
"""And is moved away by its user, with its text."""
LOGS_KEPT = 2
WOBBLE = 500
"""Objects more or less: weak references that nobody has looked at yet."""

pytestmark = pytest.mark.slow


class Instant:
    """Reads a page at once."""

    slots = 2

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        block = Block(category="Text", box=(0, 0, page.width, page.height), text="A line of type")
        return Recognition(
            text=block.text,
            blocks=(block,),
            finish="stop",
            engine="instant",
            model_revision="1",
            prompt_mode="",
            dpi=page.dpi,
            tokens=0,
            seconds=0.0,
        )

    def close(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True)
class Kept:
    """What the process holds."""

    objects: int
    blocks: int
    threads: int
    descriptors: int
    parts: dict[str, int]


class Day:
    """The parts, driven by hand: one round is what the receiver's and the supervisor's threads do in `SCAN_S`."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.inbox, self.state = folder / "inbox", folder / "state"
        self.inbox.mkdir()
        self.state.mkdir(mode=0o700)
        self.log = folder / "log"
        schema.upgrade(str(self.state))
        settings = load(None, {"OCRD_INBOX__WATCH": "polling", "OCRD_INBOX__QUIET_S": "5"})
        self.promises = Promises(clock=clock)
        engines = Engines(
            first=PromisingRecognizer(Instant(), self.promises),
            name="instant",
            request=Request(languages=("eng",), timeout_s=60.0),
            promises=self.promises,
        )
        self.rasterizer = Rasterizer(RenderPolicy(dpi=100, min_dpi=20), workers=1)
        self.stores = open_stores(str(self.state), clock)
        self.parts: Parts = build(
            settings,
            self.stores,
            self.rasterizer,
            engines,
            [os.fsencode(self.inbox)],
            once=False,
            clock=clock,
        )
        self.herald = Herald(Notifier(), clock, once=False)
        self.parts.worker.start()
        self.number = 0

    def close(self) -> None:
        """End it."""
        self.parts.receiver.stop()
        self.parts.worker.stop(5)
        self.rasterizer.close()
        self.stores.database.close()

    def live(self, seconds: int) -> None:
        """Until so much time has passed."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            if self.clock.monotonic() % EVERY_S == 0:
                self._drop_and_take_away()
            self._round()
            self.clock.advance(SCAN_S)

    def _drop_and_take_away(self) -> None:
        self.number += 1
        page = Image.new("L", (300, 200), 255)
        page.paste(0, (20, 20, 40 + self.number, 180))
        page.save(self.inbox / f"{self.number}.png", "PNG", dpi=(100, 100))
        (self.inbox / f"{self.number}.txt").write_text("no document")
        gone = f"{self.number - STAYS_S // EVERY_S}."
        for name in os.listdir(self.inbox):
            if name.startswith(gone):
                os.unlink(self.inbox / name)

    def _round(self) -> None:
        receiver, (root,) = self.parts.receiver, self.parts.receiver.roots
        receiver._collect()
        receiver._visit(root)
        wait_until(lambda: len(root.busy) == receiver._outcomes.qsize(), "what was taken is looked into")
        receiver._collect()
        wait_until(lambda: not self.stores.documents.unfinished(), "what was taken in is read")
        self.herald.tell(self.parts)

    def kept(self) -> Kept:
        """Count it."""
        (root,) = self.parts.receiver.roots
        desk = self.parts.worker._desk
        gc.collect()
        parts = {
            "open documents": len(desk._open),
            "ready pages": len(desk._ready),
            "promises": len(self.promises._made),
            "busy files": len(root.busy),
            "ready files": len(root.ready),
            "watched": len(root.tracker._watched),
            "taken": len(root.tracker._taken),
            "deferred": len(root.tracker._deferred),
            "outcomes": self.parts.receiver._outcomes.qsize(),
            "work": len(os.listdir(self.state / "work")),
            "in the inbox": len(os.listdir(self.inbox)),
            "logs": len(list(self.log.iterdir())),
        }
        descriptors = len(os.listdir("/proc/self/fd"))
        return Kept(
            len(gc.get_objects()), sys.getallocatedblocks(), threading.active_count(), descriptors, parts
        )


@pytest.fixture
def day(tmp_path: Path, clock: FakeClock, logging_as_before: None) -> Iterator[Day]:
    """Its log begins a new file with each line: a whole life of such files."""
    log = str(tmp_path / "log" / "daemon.log")
    with open(os.devnull, "w") as nowhere:
        logs.configure(
            level="debug", output_format="json", stream=nowhere, file=log, file_mib=0, files_kept=LOGS_KEPT
        )
        one = Day(tmp_path, clock)
        yield one
        one.close()


READERS = 4 * 3
"""Connections that the store's pool opens when several threads read at once, of three files each."""


def test_a_day_of_the_parts_leaves_nothing_behind(day: Day) -> None:
    day.live(4 * HOUR_S)
    morning = day.kept()
    day.live(20 * HOUR_S)
    evening = day.kept()
    assert day.stores.documents.counts()["document"]["done"] == 24 * HOUR_S // EVERY_S
    # What they hold is what lies in the inbox, as in the morning; nothing of what is over.
    assert evening.parts == morning.parts
    there = STAYS_S // EVERY_S
    assert {name: number for name, number in evening.parts.items() if number} == {
        "taken": 2 * there,
        "in the inbox": 4 * there,
        "logs": 1 + LOGS_KEPT,
    }
    # No thread, no open file and, but for a wobble, no object of Python more.
    assert evening.threads == morning.threads
    assert evening.descriptors <= morning.descriptors + READERS, (
        "but for readers of the store that were not needed before"
    )
    assert evening.objects <= morning.objects + WOBBLE
    assert evening.blocks <= morning.blocks + 4 * WOBBLE
