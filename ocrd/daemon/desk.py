"""The desk: what feeders and readers share, behind one condition. It decides nothing and touches no store."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition
from time import monotonic

from ocrd.domain import retry
from ocrd.domain.documents import FileIdentity, PageImage
from ocrd.domain.errors import ReasonCode
from ocrd.domain.scheduling import pages_to_render, pages_with_room
from ocrd.domain.swapping import Side
from ocrd.store.documents import Job

IDLE_WAIT_S = 5.0
"""How long a thread waits for news before it looks again by itself."""


@dataclass(eq=False, slots=True)
class OpenDocument:
    """A document that is being worked on. Changed only behind the desk's condition."""

    job: Job
    identity: FileIdentity | None
    started: float
    unfinished: int
    """Pages that are not settled yet."""
    in_hand: int = 0
    """Pages that are claimed and neither settled nor given back."""
    exhausted: bool = False
    """No page is left to be claimed."""
    languages: tuple[str, ...] | None = None
    """Those of its folder, if it has its own."""
    engine: str | None = None
    """The one that its folder asks for, if it does."""
    parked: dict[int, float] = field(default_factory=dict)
    """By number, the pages that wait for the fallback model, and since when (monotonic)."""
    hung: int = 0
    """Pages in a row, in the order in which they were rendered, that took too long."""
    worked_s: float = 0.0
    """On its settled pages, without what they waited: for a server, a pause, their turn."""
    ending: tuple[ReasonCode, str] | None = None
    """Why the document is to be ended before its pages are."""
    finishing: bool = False


@dataclass(slots=True)
class RenderedPage:
    """A page that waits for a slot of the engine. `tried` says that its tries are in the store: it climbs on."""

    document: OpenDocument
    image: PageImage
    file_bytes: int
    """What the image takes of the temporary space, at most."""
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """Why the queue rests, since when and until when (monotonic)."""

    reason: str
    strikes: int
    since: float
    until: float


class Desk:
    """Every method is one step behind the condition; those that wait say so."""

    def __init__(self, *, slots: int, window: int, budget: int, largest_page: int) -> None:
        """`budget` bytes of temporary space; no page's image is larger than `largest_page` bytes."""
        self._slots = slots
        self._window = window
        self._budget = budget
        self._largest_page = largest_page
        self._held_bytes = 0
        self._changed = Condition()
        self._open: dict[int, OpenDocument] = {}
        self._ready: deque[RenderedPage] = deque()
        self._rendering = 0
        self._reading = 0
        self._paused = False
        self._held = False
        self._short = ""
        self._side = Side.MAIN
        self._news = 0
        self.stopping = False
        self.outage: Outage | None = None

    @property
    def reading(self) -> int:
        """Pages in the engine's hands."""
        return self._reading

    @property
    def busy(self) -> bool:
        """Whether any page is in hand: being rendered, waiting, or being read."""
        return bool(self.in_flight)

    @property
    def in_flight(self) -> int:
        """Pages in hand: being rendered, waiting for a slot, or being read."""
        return self._reading + len(self._ready) + self._rendering

    @property
    def paused(self) -> bool:
        """Whether the user has stopped the queue."""
        return self._paused

    def wait_until_idle(self, timeout_s: float) -> None:
        """Wait until no page is in hand, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self.busy, timeout=timeout_s)

    def notify(self) -> None:
        """There may be work: a document was queued, a page given back, the queue resumed."""
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def pause(self, *, paused: bool) -> None:
        """Begin no further page, or go on."""
        with self._changed:
            self._paused = paused
        self.notify()

    def stop(self, timeout_s: float) -> None:
        """Begin nothing more, and wait so long for the pages in the engine's hands."""
        with self._changed:
            self.stopping = True
            self._ready.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._reading, timeout=timeout_s)

    # --- documents ------------------------------------------------------------------------------------------

    def open(self, document: OpenDocument) -> None:
        """Work on this document begins."""
        with self._changed:
            self._open[document.job.id] = document

    def close(self, document: OpenDocument) -> None:
        """It is over; a twin that waited for it may begin."""
        with self._changed:
            self._open.pop(document.job.id, None)
        self.notify()

    def find(self, document_id: int) -> OpenDocument | None:
        """An open document by its number."""
        with self._changed:
            return self._open.get(document_id)

    def documents(self) -> list[OpenDocument]:
        """All open documents, the oldest first."""
        with self._changed:
            return list(self._open.values())

    def oldest_with_pages(self) -> OpenDocument | None:
        """The oldest document of which pages are left to be claimed."""
        with self._changed:
            return next(
                (one for one in self._open.values() if not one.exhausted and one.ending is None), None
            )

    def oldest_with_parked(self) -> OpenDocument | None:
        """The oldest document with pages that wait for the fallback model."""
        with self._changed:
            return next((one for one in self._open.values() if one.parked and one.ending is None), None)

    def end(self, document: OpenDocument, ending: tuple[ReasonCode, str]) -> None:
        """The document is to be ended; the first reason stays."""
        with self._changed:
            document.ending = document.ending or ending

    def begin_finishing(self, document: OpenDocument) -> bool:
        """Whether the document is settled and the caller is the one to finish it."""
        with self._changed:
            over = document.unfinished == 0 or (document.ending is not None and not self.stopping)
            if document.in_hand or document.finishing or not over:
                return False
            document.finishing = True
            return True

    # --- feeding --------------------------------------------------------------------------------------------

    def wait_for_room(self) -> tuple[int, int] | None:
        """Wait until pages may be rendered: how many (they count as being rendered from now on; 0 after a while
        without room), and a mark for `wait_for_news`. None on a stop."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopping or self._room() > 0, timeout=IDLE_WAIT_S)
            if self.stopping:
                return None
            room = self._room()
            self._rendering += room
            return room, self._news

    @property
    def may_begin(self) -> bool:
        """Whether anything is to be begun now: nobody stops, pauses or holds the queue, and all is in order."""
        rests = self.outage is not None and monotonic() < self.outage.until
        return not (self.stopping or self._paused or self._held or self._short or rests)

    def _room(self) -> int:
        if not self.may_begin:
            return 0
        with_room = pages_with_room(
            budget=self._budget, held=self._held_bytes, rendering=self._rendering, page=self._largest_page
        )
        waiting = len(self._ready) + self._rendering
        return pages_to_render(waiting=waiting, slots=self._slots, window=self._window, with_room=with_room)

    def wait_for_news(self, mark: int) -> None:
        """Wait until something happened since the mark, or for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopping or self._news != mark, timeout=IDLE_WAIT_S)

    def claimed(self, document: OpenDocument, *, wanted: int, got: int) -> None:
        """So many pages of the document are in hand now."""
        with self._changed:
            document.exhausted = got < wanted
            document.in_hand += got

    def claimed_parked(self, document: OpenDocument, numbers: Sequence[int]) -> None:
        """These parked pages are in hand now; none: there were none, whatever we thought."""
        with self._changed:
            for number in numbers or list(document.parked):
                document.parked.pop(number, None)
            document.in_hand += len(numbers)

    def was_parked(self, document: OpenDocument, numbers: Sequence[int], *, in_hand: bool) -> None:
        """These pages wait for the fallback model; `in_hand` says that they were until now."""
        with self._changed:
            document.parked.update(dict.fromkeys(numbers, monotonic()))
            if in_hand:
                document.in_hand -= len(numbers)
        self.notify()

    def rendered(self, pages: int) -> None:
        """So many pages are not being rendered any more."""
        with self._changed:
            self._rendering -= pages
            self._changed.notify_all()

    def line_up(self, page: RenderedPage) -> None:
        """A page waits for a slot."""
        with self._changed:
            self._ready.append(page)
            self._held_bytes += page.file_bytes
            self._changed.notify_all()

    # --- reading --------------------------------------------------------------------------------------------

    def next_page(self) -> RenderedPage | None:
        """Wait for a page to read; None on a stop."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopping or (bool(self._ready) and not self._paused))
            if self.stopping:
                return None
            self._reading += 1
            return self._ready.popleft()

    def was_read(self, page: RenderedPage) -> None:
        """The page of `next_page` is out of the engine's hands, and its image is gone."""
        with self._changed:
            self._reading -= 1
            self._held_bytes -= page.file_bytes
            self._changed.notify_all()

    def settled(self, document: OpenDocument, seconds: float = 0.0) -> None:
        """A page of the document has its final state, after so many seconds of work."""
        with self._changed:
            document.worked_s += seconds
            document.unfinished -= 1
            document.in_hand -= 1

    def gave_back(self, document: OpenDocument, pages: int) -> None:
        """Pages of the document can be claimed again."""
        with self._changed:
            document.in_hand -= pages
            document.exhausted = False
        self.notify()

    # --- two models on one GPU ------------------------------------------------------------------------------

    @property
    def side(self) -> Side:
        """Whose pages are claimed now."""
        return self._side

    def hold(self, *, held: bool) -> None:
        """Claim no further page, or go on: for as long as the models are being exchanged."""
        with self._changed:
            self._held = held
        self.notify()

    def turn(self, side: Side) -> None:
        """Claim pages of this side from now on."""
        with self._changed:
            self._side = side
        self.notify()

    def parked_waits(self) -> list[float]:
        """For how long each parked page has been waiting, in seconds."""
        with self._changed:
            now = monotonic()
            return [now - since for one in self._open.values() for since in one.parked.values()]

    def starve(self, problem: str) -> None:
        """Begin no page while there is this problem with the machine; '' when it is over."""
        if problem != self._short:
            with self._changed:
                self._short = problem
            self.notify()

    @property
    def problem(self) -> str:
        """Why the queue rests; '' if it does not."""
        return self._short or ("" if self.outage is None else self.outage.reason)

    # --- outages --------------------------------------------------------------------------------------------

    def note_outage(self, reason: str) -> Outage | None:
        """The engine or the disk is out of order: rest, longer each time in a row. None if the queue rests already."""
        with self._changed:
            if self.outage is not None and monotonic() < self.outage.until:
                return None
            now = monotonic()
            strikes, since = (1, now) if self.outage is None else (self.outage.strikes + 1, self.outage.since)
            self.outage = Outage(reason, strikes, since, now + retry.outage_pause_s(strikes))
            return self.outage

    def outage_lasted_s(self) -> float:
        """For how long nothing has worked; 0 if the last thing did."""
        with self._changed:
            return 0.0 if self.outage is None else monotonic() - self.outage.since

    def clear_outage(self) -> None:
        """Something worked again."""
        with self._changed:
            self.outage = None
