"""Writes `schema.sql` beside it: the newest schema, as all migrations together make it of an empty store.

    .venv/bin/python migrations/snapshot.py

To be run after each new migration: a new store is made from the snapshot. A test compares the two.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ocrd.store import schema


def main() -> None:
    """Write the snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, schema.FILE_NAME))
        schema.migrate(path)
        with closing(sqlite3.connect(path)) as connection:
            statements = "\n".join(_statements(connection))
    target = Path(schema.snapshot_path())
    target.write_text(
        f"-- Made by migrations/snapshot.py; not to be edited.\n{statements}\n", encoding="utf-8"
    )


def _statements(connection: sqlite3.Connection) -> Iterator[str]:
    """The dump, with virtual tables as what makes them. `iterdump` writes them, and the tables that they keep
    themselves, straight into SQLite's catalogue, which hardened builds of SQLite refuse."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
    virtual = dict(connection.execute(query).fetchall())
    own = re.compile(rf"""\w+ (TABLE|INTO) ['"]({"|".join(virtual)})_\w+['"]""")
    for statement in connection.iterdump():
        if statement.startswith("INSERT INTO sqlite_master"):
            yield next(f"{sql};" for name, sql in virtual.items() if f"'{name}'" in statement)
        elif (
            not own.match(statement)
            and "writable_schema" not in statement
            and "sqlite_sequence" not in statement
        ):
            yield statement


if __name__ == "__main__":
    main()
