"""The search index, kept up to date by the daemon."""

from __future__ import annotations

import time

from ocrd.store import search
from ocrd.store.engine import Database, plain


class Indexer:
    """Puts the texts of finished pages into the index, in the time that it is given."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = (-1, -1)

    def catch_up(self, seconds: float) -> bool:
        """Work for about so long, or until nothing is left; whether that is so. Costs nothing while the store stands still.
        Raises what the store raises: the index can wait, so a full disk is not waited for."""
        until = time.monotonic() + seconds
        while (seen := self._database.state_of_file()) != self._seen:
            with self._database.read() as tx:
                batch = search.gather(plain(tx))
            if not batch:
                self._seen = seen
                return True
            self._database.name_next("index.put")
            with self._database.write() as tx:
                search.put(plain(tx), batch)
            if time.monotonic() >= until:
                return False
        return True
