from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fakes.clock import FakeClock
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from support.stores import Stores, take_back

import ocrd
from ocrd.domain.errors import ConfigError, StoreError
from ocrd.store import schema, snapshot
from ocrd.store.tables import metadata

REBUILD = """
with op.batch_alter_table("documents", recreate="always") as batch:
    batch.add_column(sa.Column("note", sa.Text(), server_default="", nullable=False))
"""
FAIL_HALFWAY = """
op.add_column("documents", sa.Column("note", sa.Text(), server_default="", nullable=False))
op.execute("DELETE FROM pages")
op.execute("INSERT INTO no_such_table VALUES (1)")
"""
BREAK_A_KEY = """
op.execute("UPDATE pages SET document_id = 999")
"""


def query(path: str | Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def store_file(folder: Path) -> Path:
    return folder / schema.FILE_NAME


def fill(folder: Path) -> None:
    """A document with three pages, one of them failed."""
    stores = Stores(str(folder), FakeClock())
    stores.register()
    stores.read_all(stores.begin().id, failed=(2,))
    stores.close()


def definitions(path: str | Path, kind: str) -> dict[object, str]:
    """The words that each index or trigger was made with."""
    rows = query(path, f"SELECT name, sql FROM sqlite_master WHERE type = '{kind}' AND sql NOT NULL")
    return {name: " ".join(str(sql).split()) for name, sql in rows}


# --- the newest schema -------------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(state: Path) -> None:
    engine = create_engine(f"sqlite:///{store_file(state)}", poolclass=NullPool)
    with engine.connect() as connection:
        opts = {"include_name": lambda name, *_: not (name or "").startswith("search_words")}
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), metadata) == []


def test_the_indexes_are_those_of_the_code_with_their_order_and_their_conditions(
    state: Path, tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/tables.db", poolclass=NullPool)
    metadata.create_all(engine)
    assert definitions(store_file(state), "index") == definitions(tmp_path / "tables.db", "index")


def test_the_triggers_that_keep_the_counts_and_feed_the_search_are_there(state: Path) -> None:
    assert sorted(map(str, definitions(store_file(state), "trigger"))) == [
        f"count_{kind}_{change}"
        for kind in ("document", "page", "verdict")
        for change in ("delete", "insert", "update")
    ] + ["search_page_insert", "search_page_update"]


def test_the_newest_schema_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", schema.migrations_folder())
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_a_new_store_is_what_the_migrations_make_of_an_empty_one(state: Path, tmp_path: Path) -> None:
    schema.migrate(str(tmp_path / "migrated.db"))
    made, migrated = (
        (
            query(path, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"),
            query(path, "SELECT version_num FROM alembic_version"),
            query(path, "PRAGMA journal_mode"),
            query(path, "PRAGMA user_version"),
        )
        for path in (store_file(state), tmp_path / "migrated.db")
    )
    assert made == migrated, "run: .venv/bin/python migrations/snapshot.py"
    assert made[1] == [(schema.HEAD,)]


# --- making and opening ------------------------------------------------------------------------------------


def test_a_new_store_is_made_once_and_is_well(tmp_path: Path) -> None:
    assert schema.upgrade(str(tmp_path))
    assert not schema.upgrade(str(tmp_path))
    assert schema.check(str(tmp_path)) == schema.Check(str(store_file(tmp_path)), schema.HEAD, ())
    assert not (tmp_path / "backups").exists()


def test_a_store_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    with closing(sqlite3.connect(store_file(tmp_path))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE documents (id INTEGER)")
    assert schema.upgrade(str(tmp_path))
    assert schema.check(str(tmp_path)).problems == ()


def test_tables_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(store_file(tmp_path))) as connection, connection:
        connection.execute("CREATE TABLE pages (title TEXT)")
    with pytest.raises(StoreError, match="cannot be made"):
        schema.upgrade(str(tmp_path))
    assert query(store_file(tmp_path), "SELECT name FROM sqlite_master") == [("pages",)]


def test_a_store_is_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    schema.prepare_folder(str(folder))
    schema.upgrade(str(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(store_file(folder).stat().st_mode) == 0o600
    stores = Stores(str(folder), FakeClock())
    stores.register()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    stores.close()
    assert stat.S_IMODE(Path(schema.backup(str(folder))).stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        schema.prepare_folder(str(tmp_path / "file" / "state"))
    assert caught.value.hint == "ocrd run --state DIR"


def test_a_path_with_special_characters_is_just_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "50% of #1? — папка"
    folder.mkdir()
    assert schema.upgrade(str(folder))
    assert schema.check(str(folder)).problems == ()
    with snapshot.opened(str(folder)) as connection:
        assert connection is not None


def test_a_backup_is_a_whole_store(state: Path) -> None:
    fill(state)
    copy = Path(schema.backup(str(state), label="test"))
    assert copy.parent == state / "backups"
    assert query(copy, "SELECT count(*) FROM pages") == [(3,)]
    elsewhere = state / "restored"
    elsewhere.mkdir()
    shutil.copy2(copy, store_file(elsewhere))
    assert schema.check(str(elsewhere)).problems == ()


def test_a_copy_takes_the_place_of_the_store_and_the_store_is_kept(state: Path) -> None:
    fill(state)
    copy = schema.backup(str(state))
    with closing(sqlite3.connect(store_file(state))) as connection:
        connection.execute("DELETE FROM commands")
        connection.execute("UPDATE documents SET name = 'changed since'")
        connection.commit()
    assert schema.copies(str(state)) == [copy]
    kept = schema.restore(str(state), copy)
    assert kept is not None
    assert query(store_file(state), "SELECT count(*) FROM documents WHERE name = 'changed since'") == [(0,)]
    assert query(Path(kept), "SELECT count(*) > 0 FROM documents WHERE name = 'changed since'") == [(1,)]
    assert schema.check(str(state)).problems == ()
    assert stat.S_IMODE(store_file(state).stat().st_mode) == 0o600
    assert schema.copies(str(state)) == [copy], "what was put aside is not taken for a copy"


def test_a_damaged_copy_is_refused_and_the_store_stays(state: Path) -> None:
    fill(state)
    copy = Path(schema.backup(str(state)))
    copy.write_bytes(copy.read_bytes()[:5000])
    with pytest.raises(StoreError, match="is damaged"):
        schema.restore(str(state), str(copy))
    assert schema.check(str(state)).problems == ()


def test_a_copy_comes_back_where_the_store_is_lost_or_damaged(state: Path) -> None:
    fill(state)
    copy = schema.backup(str(state))
    store_file(state).write_bytes(b"no store at all")
    assert schema.restore(str(state), copy) is not None
    store_file(state).unlink()
    assert schema.restore(str(state), copy) is None
    assert schema.check(str(state)).problems == ()


def test_without_a_store_there_is_nothing_to_copy_or_check(tmp_path: Path) -> None:
    for act in (schema.backup, schema.check):
        with pytest.raises(StoreError, match="there is no store"):
            act(str(tmp_path))
    assert not schema.exists(str(tmp_path))


def test_texts_that_were_read_before_there_was_a_search_wait_for_the_index(state: Path) -> None:
    """The newest store taken back to what 0002 made, with its rows; then upgraded as `ocrd` does it."""
    fill(state)
    take_back(store_file(state))
    assert schema.upgrade(str(state))
    assert schema.check(str(state)).problems == ()
    assert query(store_file(state), "SELECT count(*) FROM searched WHERE NOT done") == [(2,)]
    assert len(schema.copies(str(state))) == 1


# --- what can be wrong with a file -------------------------------------------------------------------------


def test_a_store_of_a_newer_ocrd_is_refused_and_left_alone(state: Path) -> None:
    with closing(sqlite3.connect(store_file(state))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="made by a newer ocrd") as caught:
        schema.upgrade(str(state))
    assert "install that ocrd again" in caught.value.hint
    assert schema.revision_of(str(store_file(state))) == "9999"
    assert "the schema is 9999" in schema.check(str(state)).problems[0]


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    store_file(tmp_path).write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        schema.upgrade(str(tmp_path))
    assert schema.check(str(tmp_path)).problems


def test_an_open_of_a_damaged_store_says_so(tmp_path: Path) -> None:
    store_file(tmp_path).write_bytes(b"this is no database at all" * 100)
    stores = Stores(str(tmp_path), FakeClock())
    with pytest.raises(StoreError, match="is damaged") as caught:
        stores.documents.claim()
    assert caught.value.hint == "ocrd db check"
    stores.close()


def test_damage_inside_a_store_is_found(state: Path) -> None:
    fill(state)
    with store_file(state).open("r+b") as file:
        file.seek(4096)
        for _ in range(store_file(state).stat().st_size // 4096 - 1):
            file.write(b"\xa5" * 2048)
            file.seek(2048, os.SEEK_CUR)
    assert schema.check(str(state)).problems


WRITER = """
import os, signal, sys
from fakes.clock import FakeClock
from support.stores import Stores, take_back
stores = Stores(sys.argv[1], FakeClock())
stores.register()
stores.pages.claim(stores.begin().id, 2)
with stores.database.write() as tx:
    tx.exec_driver_sql("DELETE FROM documents")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_committed_is_there_and_nothing_else(state: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", WRITER, str(state)], env=env, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Path(f"{store_file(state)}-wal").stat().st_size > 0
    with snapshot.opened(str(state)) as connection:
        assert connection is not None
        assert snapshot.counts(connection)["page"] == {"running": 2, "pending": 1}
    assert schema.check(str(state)).problems == ()
    assert not schema.upgrade(str(state))
    stores = Stores(str(state), FakeClock())
    assert len(stores.documents.recover()) == 1
    stores.close()


# --- a later version ---------------------------------------------------------------------------------------


class LaterOcrd:
    """A copy of ocrd that has one migration more."""

    def __init__(self, folder: Path, steps: str) -> None:
        self.folder = folder
        package = Path(ocrd.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, folder / "ocrd", ignore=ignored)
        migrations = folder / "ocrd" / "migrations"
        if not migrations.is_dir():
            shutil.copytree(schema.migrations_folder(), migrations, ignore=ignored)
        body = "".join(f"    {line}\n" for line in steps.strip().splitlines())
        (migrations / "versions" / "9000_later.py").write_text(
            "from alembic import op\nimport sqlalchemy as sa\n"
            f"revision = '9000'\ndown_revision = '{schema.HEAD}'\n\n\ndef upgrade() -> None:\n{body}"
        )
        module = folder / "ocrd" / "store" / "schema.py"
        module.write_text(module.read_text().replace(f'HEAD = "{schema.HEAD}"', 'HEAD = "9000"'))

    def upgrade(self, state: Path) -> subprocess.CompletedProcess[str]:
        """Let it bring a store up to date."""
        code = "import sys; from ocrd.store import schema; schema.upgrade(sys.argv[1])"
        return subprocess.run(
            [sys.executable, "-c", code, str(state)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def test_a_migration_that_rebuilds_a_table_keeps_every_row_that_hangs_on_it(
    state: Path, tmp_path: Path
) -> None:
    fill(state)
    tables = ("documents", "pages", "attempts", "results", "events", "outputs")
    before = {table: query(store_file(state), f"SELECT * FROM {table}") for table in tables}
    done = LaterOcrd(tmp_path / "later", REBUILD).upgrade(state)
    assert done.returncode == 0, done.stderr
    after = {table: query(store_file(state), f"SELECT * FROM {table}") for table in tables}
    assert schema.revision_of(str(store_file(state))) == "9000"
    assert after.pop("documents") == [(*row, "") for row in before.pop("documents")]
    assert after == before
    assert query(store_file(state), "PRAGMA foreign_key_check") == []


def test_an_upgrade_of_a_store_with_data_makes_a_backup_first(state: Path, tmp_path: Path) -> None:
    fill(state)
    assert LaterOcrd(tmp_path / "later", REBUILD).upgrade(state).returncode == 0
    (copy,) = (state / "backups").iterdir()
    assert copy.name.endswith("-before-9000.db")
    assert schema.revision_of(str(copy)) == schema.HEAD
    assert query(copy, "SELECT count(*) FROM pages") == [(3,)]


@pytest.mark.parametrize("steps", [FAIL_HALFWAY, BREAK_A_KEY], ids=["fails halfway", "breaks a foreign key"])
def test_a_migration_that_fails_leaves_the_store_as_it_was(steps: str, state: Path, tmp_path: Path) -> None:
    fill(state)
    with closing(sqlite3.connect(store_file(state))) as connection:
        before = list(connection.iterdump())
    assert LaterOcrd(tmp_path / "later", steps).upgrade(state).returncode != 0
    with closing(sqlite3.connect(store_file(state))) as connection:
        assert list(connection.iterdump()) == before
    assert schema.check(str(state)).problems == ()
