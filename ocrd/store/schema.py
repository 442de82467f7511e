"""The store's schema: made from a snapshot, brought up to date by alembic with a backup first, and checked.

alembic is imported only when there is something to migrate: it costs a quarter of a second. So a new store is made
from `migrations/schema.sql`, which holds what the migrations make of an empty one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ocrd.domain.errors import ConfigError, StoreError
from ocrd.host import faults, files, mounts

FILE_NAME = "ocrd.db"
HEAD = "0004"
"""The newest migration, so that a store that is up to date is opened without alembic. A test compares."""


@dataclass(frozen=True, slots=True)
class Check:
    """What `ocrd db check` found: problems in words, none of them when all is well."""

    path: str
    revision: str
    problems: tuple[str, ...]


def migrations_folder() -> str:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return str(inside if inside.is_dir() else package.parent / "migrations")


def snapshot_path() -> str:
    """The newest schema as SQL; `migrations/snapshot.py` writes it."""
    return os.path.join(migrations_folder(), "schema.sql")


def prepare_folder(folder: str) -> None:
    """Make the state folder, private to its user. Raises ConfigError where SQLite would not be safe."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as err:
        raise ConfigError(
            f"the state folder {folder} cannot be made: {err.strerror}", hint="ocrd run --state DIR"
        ) from err
    kind = mounts.file_system_of(folder)
    danger = mounts.store_danger(kind)
    if danger:
        raise ConfigError(
            f"the state folder {folder} lies on a {kind} file system, {danger}",
            hint="choose a folder on a local Linux disk: [state] dir, or --state DIR",
        )


def exists(folder: str) -> bool:
    """Whether there is a store in a state folder."""
    return os.path.exists(os.path.join(folder, FILE_NAME))


def revision_of(path: str) -> str:
    """The migration a store is at; '' for none. Raises StoreError if it is no store."""
    if not os.path.exists(path):
        return ""
    try:
        with closing(sqlite3.connect(f"file:{_uri(path)}?mode=ro", uri=True)) as connection:
            known = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            if not known[0]:
                return ""
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as err:
        raise StoreError(f"the store {path} cannot be read: {err}", hint="ocrd db check") from err
    return row[0] if row else ""


def upgrade(folder: str) -> bool:
    """Bring the store to the newest schema; whether anything was done. A store with data is backed up first."""
    path = os.path.join(folder, FILE_NAME)
    revision = revision_of(path)
    if revision == HEAD:
        return False
    if revision and not _is_known(revision):
        raise StoreError(
            f"the store {path} was made by a newer ocrd (schema {revision}, this one knows {HEAD})",
            hint="install that ocrd again, or use another --state DIR",
        )
    if revision:
        backup(folder, label=f"before-{HEAD}")
        migrate(path)
    else:
        refuse_half_restored(folder)
        _create(path)
    os.chmod(path, 0o600)
    return True


def _is_known(revision: str) -> bool:
    versions = Path(migrations_folder(), "versions")
    return any(file.name.startswith(f"{revision}_") for file in versions.glob("*.py"))


def _create(path: str) -> None:
    """Make the tables of an empty store, all or none: the snapshot is one transaction."""
    with open(snapshot_path(), encoding="utf-8") as file:
        statements = file.read()
    try:
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(statements)
    except sqlite3.DatabaseError as err:
        raise StoreError(f"the store {path} cannot be made: {err}", hint="ocrd db check") from err


def migrate(path: str) -> None:
    """Run every migration that a store has not seen, from the first one if it is empty."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", migrations_folder().replace("%", "%%"))
    config.attributes["path"] = path
    command.upgrade(config, "head")


def backup(folder: str, *, label: str = "manual") -> str:
    """A consistent copy of the store, also while the daemon works; the path of the copy."""
    path = os.path.join(folder, FILE_NAME)
    if not os.path.exists(path):
        raise StoreError(f"there is no store at {path}", hint="ocrd run makes one")
    target = _new_copy_path(folder, label)
    _copy(path, target)
    return target


def _new_copy_path(folder: str, label: str) -> str:
    below = os.path.join(folder, "backups")
    os.makedirs(below, mode=0o700, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return os.path.join(below, f"ocrd-{stamp}-{label}.db")


def restore(folder: str, copy: str) -> str | None:
    """Put a copy in the place of the store, which is kept beside the copies; where, or None if there was none. To be
    called with the daemon's lock. Raises StoreError for a copy that is damaged.

    A kill leaves the old store with all it holds, or the new one; where the old one is too damaged to be opened, it may
    leave none, and the next start says so (`refuse_half_restored`).
    """
    problems = check_file(copy).problems
    if problems:
        raise StoreError(
            f"the copy {copy} is damaged: {problems[0]}", hint="choose another one of the copies"
        )
    path, draft = os.path.join(folder, FILE_NAME), _draft_path(folder)
    files.remove_if_there(os.fsencode(draft))
    _copy(copy, draft)
    _sync(draft)
    kept = _put_aside(path)
    faults.point("restore.put")
    os.replace(draft, path)
    faults.point("restore.placed")
    files.sync_folder(os.fsencode(folder))
    return kept


def refuse_half_restored(folder: str) -> None:
    """Raises StoreError where there is no store because `restore` was ended half-way: a new, empty one would hide it."""
    draft = _draft_path(folder)
    if os.path.exists(draft) and not exists(folder):
        raise StoreError(
            f"there is no store in {folder}: putting a copy in its place was broken off",
            hint=f"ocrd db restore does it again; to begin anew, remove {draft}",
        )


def _draft_path(folder: str) -> str:
    return os.path.join(folder, f"{FILE_NAME}.restored")


def _copy(source: str, target: str) -> None:
    try:
        with closing(sqlite3.connect(f"file:{_uri(source)}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (target,))
    except sqlite3.DatabaseError as err:
        raise StoreError(f"the store {source} cannot be copied: {err}", hint="ocrd db check") from err
    os.chmod(target, 0o600)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        files.sync(fd)
    finally:
        os.close(fd)


_ROWS_BESIDE = ("-wal", "-journal")
_BESIDE = (*_ROWS_BESIDE, "-shm")
"""What SQLite keeps beside a store; it would take it for the new one's."""


def _put_aside(path: str) -> str | None:
    """Give a store a second name beside the copies, as it is: it may be too damaged to be copied. Its own name is left
    for the new one to take, unless it holds rows that only a WAL has: without that it must not be opened."""
    if not os.path.exists(path):
        for suffix in _BESIDE:
            files.remove_if_there(os.fsencode(path + suffix))
        return None
    is_whole = _fold_in(path)
    kept = _new_copy_path(os.path.dirname(path), "replaced")
    for suffix in ("", *_ROWS_BESIDE):
        with contextlib.suppress(FileNotFoundError):
            _give_second_name(path + suffix, kept + suffix)
    files.sync_folder(os.fsencode(os.path.dirname(kept)))
    faults.point("restore.aside")
    for suffix in _BESIDE if is_whole else ("", *_BESIDE):
        files.remove_if_there(os.fsencode(path + suffix))
    return kept


def _fold_in(path: str) -> bool:
    """Write what only the WAL holds into the store; whether that is all there."""
    try:
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.DatabaseError:
        return False
    return not busy


def _give_second_name(path: str, name: str) -> None:
    try:
        os.link(path, name)
    except FileNotFoundError:
        raise
    except OSError:  # no hard links there
        shutil.copy2(path, name)
        _sync(name)


def copies(folder: str) -> list[str]:
    """The copies that were made of a store, the newest first; not those that `restore` put aside."""
    below = os.path.join(folder, "backups")
    names = os.listdir(below) if os.path.isdir(below) else []
    made = [name for name in names if name.endswith(".db") and not name.endswith("-replaced.db")]
    return [os.path.join(below, name) for name in sorted(made, reverse=True)]


def check(folder: str) -> Check:
    """Look for damage: SQLite's own checks, the schema's revision, and the rules our tables promise."""
    found = check_file(os.path.join(folder, FILE_NAME))
    if found.revision in {"", HEAD}:
        return found
    old = f"the schema is {found.revision}, this ocrd works with {HEAD}: ocrd db upgrade"
    return replace(found, problems=(*found.problems, old))


def check_file(path: str) -> Check:
    """The same of a file, whatever its schema's revision. Raises StoreError if there is none."""
    if not os.path.exists(path):
        raise StoreError(f"there is no store at {path}", hint="ocrd run makes one")
    try:
        with closing(sqlite3.connect(f"file:{_uri(path)}?mode=ro", uri=True)) as connection:
            problems = _problems(connection)
        revision = revision_of(path)
    except (sqlite3.DatabaseError, StoreError) as err:
        return Check(path, "", (str(err),))
    if not revision:
        problems.append("it is no store of ocrd's")
    return Check(path, revision, tuple(problems))


_RULES = {
    "a finished document has an unfinished page": (
        "SELECT count(*) FROM pages JOIN documents ON documents.id = document_id "
        "WHERE documents.state IN ('done', 'partial', 'failed') AND pages.state IN ('pending', 'running', 'parked')"
    ),
    "a page that was read has no result": "SELECT count(*) FROM pages WHERE state = 'done' AND result_id IS NULL",
    "pages_done of a document is wrong": (
        "SELECT count(*) FROM documents WHERE pages_done <> (SELECT count(*) FROM pages "
        "WHERE document_id = documents.id AND pages.state IN ('done', 'blank'))"
    ),
    "the counts are wrong": (
        "SELECT count(*) FROM (SELECT kind, value FROM ("
        "SELECT kind, value, n FROM counts "
        "UNION ALL SELECT 'document', state, -count(*) FROM documents GROUP BY state "
        "UNION ALL SELECT 'page', state, -count(*) FROM pages GROUP BY state "
        "UNION ALL SELECT 'verdict', verdict, -count(*) FROM pages GROUP BY verdict"
        ") GROUP BY kind, value HAVING sum(n) <> 0)"
    ),
}


def _problems(connection: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
    found += [
        f"foreign key of {row[0]} row {row[1]}" for row in connection.execute("PRAGMA foreign_key_check")
    ]
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'documents'").fetchone()[0]:
        for rule, query in _RULES.items():
            number = connection.execute(query).fetchone()[0]
            if number:
                found.append(f"{rule} ({number} rows)")
    return found


def _uri(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
