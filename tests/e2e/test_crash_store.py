"""kill -9 while a copy takes the place of the store, and while the store gets a newer schema."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.running import Ocrd
from support.stores import take_back

from ocrd.store import schema

RESTORE_POINTS = ("restore.aside", "restore.put", "restore.placed")
UPGRADE_POINTS = ("upgrade.commit", "upgrade.committed")
WRITE_AND_DIE = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("INSERT INTO daemon VALUES ('committed', '1', 1)")
store.commit()
os._exit(0)
"""
COMMITTED = "SELECT count(*) FROM daemon WHERE key = 'committed'"

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


@pytest.fixture
def copied(ocrd: Ocrd, empty_store: Path) -> Ocrd:
    """A store with a copy, and beside it the WAL of a daemon that was killed after a commit."""
    ocrd.state.mkdir(mode=0o700)
    store = ocrd.state / schema.FILE_NAME
    shutil.copy2(empty_store, store)
    schema.backup(str(ocrd.state))
    subprocess.run([sys.executable, "-c", WRITE_AND_DIE, store], check=True)
    assert (ocrd.state / "ocrd.db-wal").stat().st_size
    return ocrd


def count(store: Path, query: str = COMMITTED) -> int:
    with closing(sqlite3.connect(store)) as connection:
        return int(connection.execute(query).fetchone()[0])


def kill(ocrd: Ocrd, point: str, *words: str) -> None:
    ocrd.env["OCRD_FAULT"] = f"{point}:kill"
    assert ocrd.command(*words).returncode == -signal.SIGKILL
    del ocrd.env["OCRD_FAULT"]


def kept(ocrd: Ocrd) -> list[Path]:
    """What `restore` put aside."""
    return sorted((ocrd.state / "backups").glob("*-replaced.db"))


@pytest.mark.parametrize("point", RESTORE_POINTS)
def test_a_kill_of_restore_leaves_the_old_store_with_its_wal_or_the_new_one(point: str, copied: Ocrd) -> None:
    kill(copied, point, "db", "restore")
    store = copied.state / schema.FILE_NAME
    assert schema.check(str(copied.state)).problems == ()
    assert count(store) == (0 if point == "restore.placed" else 1)
    assert copied.command("db", "restore").returncode == 0
    assert count(store) == 0
    assert max(map(count, kept(copied))) == 1, "the last commit is kept"


@pytest.mark.parametrize("point", RESTORE_POINTS)
def test_a_kill_while_a_damaged_store_is_replaced_is_told_and_loses_nothing_of_it(
    point: str, copied: Ocrd
) -> None:
    store, wal = copied.state / schema.FILE_NAME, copied.state / "ocrd.db-wal"
    store.write_bytes(b"no store at all" * 1000)
    damaged, rows = store.read_bytes(), wal.read_bytes()
    kill(copied, point, "db", "restore")
    first = kept(copied)[0]
    assert (first.read_bytes(), Path(f"{first}-wal").read_bytes()) == (damaged, rows)
    if point == "restore.aside":
        assert (store.read_bytes(), wal.read_bytes()) == (damaged, rows)
    if point == "restore.put":
        refused = copied.run_once()
        assert refused.returncode == 1
        assert "was broken off" in refused.stderr
        assert "ocrd db restore" in refused.stderr
        assert not store.exists()
    assert copied.command("db", "restore").returncode == 0
    assert schema.check(str(copied.state)).problems == ()


@pytest.mark.parametrize("point", UPGRADE_POINTS)
def test_a_kill_of_an_upgrade_leaves_the_old_schema_or_the_new_one(point: str, copied: Ocrd) -> None:
    store = copied.state / schema.FILE_NAME
    take_back(store)
    kill(copied, point, "db", "upgrade")
    assert schema.revision_of(str(store)) == (schema.HEAD if point == "upgrade.committed" else "0002")
    assert copied.command("db", "upgrade").returncode == 0
    assert schema.check(str(copied.state)).problems == ()
    assert count(store) == 1
