"""The reader: has rendered pages read, and lands what comes of them or gives them back."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from threading import Condition, Event

from ocrd.daemon.climber import Climber, Reading
from ocrd.daemon.desk import Desk, RenderedPage
from ocrd.daemon.landing import Landing
from ocrd.domain import folders, retry
from ocrd.domain.errors import ServerFault, Stopped
from ocrd.domain.jobs import PageState
from ocrd.domain.swapping import Side
from ocrd.store.pages import PageStore
from ocrd.telemetry.lean import bound_contextvars
from ocrd.telemetry.logs import get_logger

log = get_logger()


class Reader:
    """`read` runs in as many threads as the engine has slots, and one more that stores meanwhile."""

    def __init__(
        self,
        desk: Desk,
        landing: Landing,
        *,
        pages: PageStore,
        climber: Climber,
        server_wait_s: float,
        abort: Event,
    ) -> None:
        self._desk = desk
        self._landing = landing
        self._pages = pages
        self._climber = climber
        self._server_wait_s = server_wait_s
        self._abort = abort
        self._gate = _Gate()
        self._deaths: Counter[tuple[int, int]] = Counter()

    def read(self) -> None:
        """A thread's life, until the desk stops."""
        while (page := self._desk.next_page()) is not None:
            job = page.document.job
            try:
                with bound_contextvars(document=job.id, file=job.name):
                    self._read_page(page)
            finally:
                self._desk.was_read(page)

    def _read_page(self, page: RenderedPage) -> None:
        """Every way out lands the page or gives it back."""
        if page.document.ending is not None:
            self._give_back(page)
            return
        try:
            reading = self._have_read(page)
        except ServerFault as err:
            self._landing.rest(str(err))
            self._give_back(page)
        except Stopped:
            self._give_back(page)
        else:
            self._land(page, reading)

    def _have_read(self, page: RenderedPage) -> Reading:
        """Read it with the first engine; with the second alone if its folder asks for that, if the page has brought the
        first one down again and again, or if the first has been out of order for too long. Raises ServerFault and
        Stopped."""
        deaths = self._deaths[_key(page)]
        beside_it = page.document.engine == folders.EMBEDDED and self._climber.has_second
        if beside_it or retry.leaves_engine(deaths):
            return self._climb(page, without_first=True)
        try:
            with self._gate.passed(alone=retry.runs_alone(deaths)):
                reading = self._climb(page)
        except ServerFault as err:
            if err.in_hand:
                self._deaths[_key(page)] += 1
            if page.document.engine == folders.VLLM or not self._may_go_on(err):
                raise
            return self._climb(page, without_first=True)
        self._desk.clear_outage()
        return reading

    def _may_go_on(self, fault: ServerFault) -> bool:
        """Whether the second engine may take the page now: the first will not come, or was waited for long enough."""
        if not self._climber.has_second or self._server_wait_s == math.inf:
            return False
        return fault.lasting or self._desk.outage_lasted_s() >= self._server_wait_s

    def _climb(self, page: RenderedPage, *, without_first: bool = False) -> Reading:
        document_id, number = page.document.job.id, page.image.number
        before = self._pages.history(document_id, number) if page.tried else []
        note = partial(self._pages.note_attempt, document_id, number)
        return self._climber.climb(
            page.image,
            self._abort,
            note,
            before=before,
            without_first=without_first,
            fallback_now=self._desk.side is Side.FALLBACK,
            languages=page.document.languages,
        )

    def _land(self, page: RenderedPage, reading: Reading) -> None:
        _remove_image(page)
        self._deaths.pop(_key(page), None)
        if reading.state is PageState.PARKED:
            self._landing.park(page.document, page.image.number, reading.attempt.reason)
            return
        self._landing.land(
            page.document, page.image.number, reading.state, reading.attempt, stored=reading.stored
        )

    def _give_back(self, page: RenderedPage) -> None:
        _remove_image(page)
        self._landing.give_back(page.document, [page.image.number])


class _Gate:
    """Lets any number of pages pass together, or one alone."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._alone = False

    @contextlib.contextmanager
    def passed(self, *, alone: bool) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            if alone:
                self._alone = True
                self._changed.wait_for(lambda: not self._inside)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = self._alone and not alone
                self._changed.notify_all()


def _key(page: RenderedPage) -> tuple[int, int]:
    return page.document.job.id, page.image.number


def _remove_image(page: RenderedPage) -> None:
    with contextlib.suppress(OSError):  # the work folder is emptied at the next start
        os.unlink(page.image.path)
