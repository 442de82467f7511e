"""Forgetting what nobody will ask for: finished documents whose file is gone, was replaced, or was moved away.

A document whose file still lies where inputs are looked for is kept, however old: forgotten, it would be read again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Event, Thread

from ocrd.domain.errors import StoreError
from ocrd.domain.moving import is_below
from ocrd.host import files
from ocrd.store.pruning import Old, PruneStore
from ocrd.telemetry.logs import get_logger

log = get_logger()

DAY_S = 86400.0
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Places:
    """Where inputs are looked for: the inboxes by their names, without the folders below them that are no input."""

    inboxes: Mapping[str, bytes]
    without: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, roots: Sequence[bytes], without: frozenset[bytes]) -> Places:
        """Of these inboxes."""
        return cls({files.display_name(root): root for root in roots}, without)

    def may_forget(self, old: Old) -> bool:
        """Whether a document can be forgotten without anything being read again."""
        if not old.current:
            return True
        root = self.inboxes.get(old.inbox)
        if root is None:
            return False  # an inbox that is not watched now may be watched again
        if not is_below(old.path, root) or any(is_below(old.path, folder) for folder in self.without):
            return True
        return not os.path.lexists(old.path) and _is_there(root)


def _is_there(root: bytes) -> bool:
    """An inbox without anything in it may be the empty place of a drive that is away."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def forgettable(store: PruneStore, places: Places, *, days: float) -> Iterator[int]:
    """The documents that can be forgotten and ended at least so many days ago, by number."""
    moment, after = time.time() - days * DAY_S, 0
    while old := store.ended_before(moment, after=after, limit=_BATCH):
        after = old[-1].id
        yield from (one.id for one in old if places.may_forget(one))


def forget(store: PruneStore, places: Places, *, days: float, stop: Event | None = None) -> int:
    """Forget them, a batch at a time; how many there were."""
    found, number = forgettable(store, places, days=days), 0
    while not (stop and stop.is_set()) and (batch := list(islice(found, _BATCH))):
        number += store.forget(batch)
    return number


class Pruner:
    """Forgets in a thread of its own: a drive that answers slowly stalls nothing else."""

    def __init__(self, store: PruneStore, places: Places, *, days: int) -> None:
        self._store = store
        self._places = places
        self._days = days
        self._stop = Event()
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Look through the store once, if anything is ever to be forgotten."""
        if self._days and not (self._thread and self._thread.is_alive()):
            self._thread = Thread(target=self._run, name="pruner", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        try:
            number = forget(self._store, self._places, days=self._days, stop=self._stop)
        except StoreError as err:  # it is tried again tomorrow
            log.warning("not_forgotten", reason=str(err))
        else:
            if number:
                log.info("forgotten", documents=number, older_than_days=self._days)
