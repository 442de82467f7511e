from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from support.stores import Stores

from ocrd.domain.errors import ExitCode, StoreError, TryAgainLater


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("query_only", 0)],
)
def test_the_store_is_opened_so_that_a_commit_survives_a_power_cut(
    stores: Stores, pragma: str, value: object
) -> None:
    with stores.database.write() as tx:
        assert tx.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_a_reader_cannot_write(stores: Stores) -> None:
    with pytest.raises(StoreError, match="readonly"), stores.database.read() as tx:
        tx.exec_driver_sql("DELETE FROM documents")


def test_a_transaction_that_fails_leaves_nothing(stores: Stores) -> None:
    def set_and_fail() -> None:
        with stores.database.write() as tx:
            tx.exec_driver_sql("INSERT INTO daemon VALUES ('a', '1', 0)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        set_and_fail()
    assert stores.commands.fact("a") is None
    stores.commands.set_fact("b", 1)
    assert stores.commands.fact("b") == 1


def test_a_reader_sees_what_was_committed_before_and_blocks_no_writer(stores: Stores) -> None:
    with stores.database.read() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM documents").scalar() == 0
        stores.register()
        assert reader.exec_driver_sql("SELECT count(*) FROM documents").scalar() == 0
    assert stores.one("SELECT count(*) FROM documents") == 1


def test_threads_that_write_at_once_wait_for_each_other(stores: Stores) -> None:
    stores.commands.set_fact("sum", 0)

    def add_one(_: int) -> None:
        with stores.database.write() as tx:
            old = int(tx.exec_driver_sql("SELECT value FROM daemon").scalar_one())
            tx.exec_driver_sql("UPDATE daemon SET value = ?", (str(old + 1),))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(200)))
    assert stores.commands.fact("sum") == 200


def test_a_store_that_another_program_writes_to_is_busy_and_not_broken(stores: Stores) -> None:
    with stores.database.write() as tx:
        tx.exec_driver_sql("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(stores.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgainLater, match="busy") as caught:
            stores.documents.claim()
        assert caught.value.exit_code is ExitCode.TRY_AGAIN
        other.execute("ROLLBACK")
    assert stores.documents.claim() is None


def test_a_store_whose_disk_is_full_says_so_and_works_again_after(stores: Stores) -> None:
    with stores.database.write() as tx:
        full = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.exec_driver_sql(f"PRAGMA max_page_count = {full}")
    with pytest.raises(StoreError, match="is full"):
        stores.register(pages=5000)
    with stores.database.write() as tx:
        tx.exec_driver_sql("PRAGMA max_page_count = 1000000")
    document = stores.register(pages=5000)
    assert stores.one("SELECT count(*) FROM pages WHERE document_id = ?", document) == 5000


def test_a_folder_without_a_store_cannot_be_read(tmp_path: Path) -> None:
    stores = Stores(str(tmp_path / "missing"), FakeClock())
    with pytest.raises(StoreError):
        stores.documents.claim()
    stores.close()


def test_closing_folds_the_log_into_the_file(stores: Stores) -> None:
    stores.register()
    stores.close()
    assert not Path(f"{stores.database.path}-wal").exists()
