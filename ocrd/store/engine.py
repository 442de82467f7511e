"""How SQLite is opened: WAL, every commit synced, one writer at a time, readers that never block it.

The reasons were measured: without BEGIN IMMEDIATE, 2500 of 3000 claims by four processes failed at once with
'database is locked'; WAL with synchronous=FULL costs 0.23 ms a commit, a page costs seconds.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from threading import Lock, local
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from ocrd.domain.errors import StoreError, StoreFull, TryAgainLater
from ocrd.host import faults
from ocrd.store.schema import FILE_NAME

if TYPE_CHECKING:
    import sqlite3

BUSY_TIMEOUT_MS = 10_000
JOURNAL_LIMIT_BYTES = 64 << 20


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Waiter(Protocol):
    """Who decides what happens when the disk of the store is full. Called in the thread that writes."""

    def wait(self, full: StoreFull) -> bool:
        """Wait a moment; whether to try again."""

    def over(self) -> None:
        """What had to wait is written."""


class Impatience:
    """For a command: its user is told at once."""

    def wait(self, full: StoreFull) -> bool:
        """No."""
        del full
        return False

    def over(self) -> None:
        """Never happens."""


class Database:
    """The open store: `write()` and `read()` are the only ways to it."""

    def __init__(self, folder: str, *, waiter: Waiter | None = None) -> None:
        self.path = os.path.join(folder, FILE_NAME)
        self.waiter = waiter or Impatience()
        self._name = local()
        self._writer = _make_engine(self.path, read_only=False, connections=1)
        self._reader = _make_engine(self.path, read_only=True, connections=4)
        self._writing = Lock()

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One short transaction that may write. Threads queue here instead of polling SQLite's lock."""
        name = getattr(self._name, "value", "")
        with self._writing, _translated(self.path), self._writer.begin() as connection:
            yield connection
            faults.point(f"{name}.commit")
        faults.point(f"{name}.committed")

    def state_of_file(self) -> tuple[int, int]:
        """Changes with each commit, whoever makes it: to look costs a hundredth of a query."""
        try:
            status = os.stat(f"{self.path}-wal")
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size

    def name_next(self, name: str) -> None:
        """The write of this thread that follows is known to tests by this name."""
        self._name.value = name

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One short transaction that cannot write; a long one would let the WAL grow."""
        with _translated(self.path), self._reader.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection; the WAL is folded into the file."""
        self._reader.dispose()
        self._writer.dispose()


def _make_engine(path: str, *, read_only: bool, connections: int) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, read_only=read_only),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0 if not read_only else 16,
    )
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _connect(path: str, *, read_only: bool) -> Any:
    import sqlite3

    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"journal_size_limit={JOURNAL_LIMIT_BYTES}",
        f"query_only={'ON' if read_only else 'OFF'}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def plain(tx: Connection) -> sqlite3.Connection:
    """What is below SQLAlchemy, for statements that the command line shares (`store/search.py`)."""
    return cast("sqlite3.Connection", tx.connection.dbapi_connection)


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """SQLite's errors as ours, so that nobody above needs to know SQLAlchemy."""
    import sqlite3

    try:
        yield
    except DatabaseError as err:
        raise _translate(path, err.orig) from err
    except OSError as err:
        if err.errno not in _FULL:
            raise
        raise _full(path, err.strerror or str(err)) from err
    except sqlite3.DatabaseError as err:
        raise _translate(path, err) from err


def _translate(path: str, err: BaseException | None) -> StoreError | TryAgainLater:
    name = getattr(err, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TryAgainLater(f"the store {path} is busy: {err}", hint="try again; another ocrd is writing")
    if name.startswith(("SQLITE_FULL", "SQLITE_READONLY")):
        return _full(path, str(err))
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(f"the store {path} is damaged: {err}", hint="ocrd db check")
    return StoreError(f"the store {path} failed: {err}", hint="ocrd db check")


def _full(path: str, why: str) -> StoreFull:
    return StoreFull(f"the store {path} cannot be written: {why}", hint="free some space; nothing is lost")


WRITES: set[str] = set()
"""The names of all methods that write: `page.land`."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def written(method: _Method) -> _Method:
    """A store's method that is one write. On a full disk nothing of it is done, so it is tried again for as long as
    whoever opened the store wants to wait."""
    owner, _, name = method.__qualname__.partition(".")
    label = f"{owner.removesuffix('Store').lower()}.{name}"

    WRITES.add(label)

    @functools.wraps(method)
    def tried(store: Any, /, *arguments: Any, **named: Any) -> Any:
        database: Database = store._database  # noqa: SLF001  # every store has one
        had_to_wait = False
        while True:
            try:
                database.name_next(label)
                answer = method(store, *arguments, **named)
            except StoreFull as full:
                had_to_wait = True
                if not database.waiter.wait(full):
                    raise
            else:
                if had_to_wait:
                    database.waiter.over()
                return answer

    return cast("_Method", tried)
