"""Writes `schema.sql` beside it: the newest schema, as all migrations together make it of an empty store.

    .venv/bin/python migrations/snapshot.py

To be run after each new migration: a new store is made from the snapshot. A test compares the two.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from ocrd.store import schema


def main() -> None:
    """Write the snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, schema.FILE_NAME))
        schema.migrate(path)
        with closing(sqlite3.connect(path)) as connection:
            statements = "\n".join(connection.iterdump())
    target = Path(schema.snapshot_path())
    target.write_text(
        f"-- Made by migrations/snapshot.py; not to be edited.\n{statements}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
