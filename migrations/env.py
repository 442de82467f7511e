"""Runs the migrations on one SQLite file, all in one transaction that rolls back as a whole.

Foreign keys are off while a migration runs: a batch migration rebuilds its table, and with them on SQLite would
delete every child row through ON DELETE CASCADE without a word. They are checked before the commit.
"""

from __future__ import annotations

import sqlite3

from alembic import context
from sqlalchemy import create_engine, event, pool

from ocrd.host import faults
from ocrd.store.tables import metadata


def connect() -> sqlite3.Connection:
    """A connection on which we say BEGIN ourselves; otherwise a failed migration leaves half its tables."""
    connection = sqlite3.connect(context.config.attributes["path"], timeout=10, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=OFF")
    return connection


engine = create_engine("sqlite://", creator=connect, poolclass=pool.NullPool)
event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))

with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        # What FTS5 makes and keeps is none of SQLAlchemy's.
        include_name=lambda name, *_: not (name or "").startswith("search_words"),
        # alembic believes that SQLite cannot roll a table back, and would commit before the check below.
        transactional_ddl=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration broke {len(broken)} foreign keys; nothing was changed")
        faults.point("upgrade.commit")
    faults.point("upgrade.committed")
