"""`ocrd db`: the job store: bring it up to date, check it, copy it."""

from __future__ import annotations

import argparse
import contextlib
import os

from ocrd.cli.common import (
    Subparsers,
    add_command,
    add_group,
    agrees,
    find_state,
    load_settings,
    print_json,
)
from ocrd.domain.errors import ExitCode, StoreError, TryAgainLater
from ocrd.host import files, runtime

SCHEMA = "ocrd.db-check/1"


_MORE = """\
The store is ocrd.db in the state folder, one SQLite file; copies are made in
`backups` beside it. The daemon upgrades it by itself at its start, after a
copy. `upgrade` and `restore` need the daemon to be stopped.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the four commands."""
    parser = add_group(subparsers, "db", "upgrade, check, back up or restore the job store", more=_MORE)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(
        actions, "upgrade", "bring the store to this version's schema, after a backup", handle_upgrade
    )
    add_command(actions, "check", "look for damage in the store", handle_check, has_json=True)
    add_command(
        actions, "backup", "make a consistent copy of the store, also while the daemon works", handle_backup
    )
    restore = add_command(actions, "restore", "put a copy in the place of the store", handle_restore)
    prune = add_command(
        actions,
        "prune",
        "forget finished documents whose file is gone, replaced or moved away; no file is touched",
        handle_prune,
    )
    prune.add_argument(
        "--older-than",
        type=_days,
        metavar="DAYS",
        help="only those that ended so long ago; without it [state] keep_days, which may be 0: all of them",
    )
    prune.add_argument("--yes", action="store_true", help="without asking")
    restore.add_argument("copy", nargs="?", metavar="COPY", help="which one; without it, the newest")


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of days")
    return days


def handle_upgrade(arguments: argparse.Namespace) -> ExitCode:
    """Run `db upgrade`."""
    from ocrd.store import schema

    state = find_state(arguments)
    schema.prepare_folder(state)
    if files.is_locked(runtime.lock_path(state)):
        raise TryAgainLater(
            f"the daemon works with {state}", hint="stop it first; it upgrades the store at its start"
        )
    print("the store is up to date now" if schema.upgrade(state) else "the store was up to date")
    return ExitCode.OK


def handle_check(arguments: argparse.Namespace) -> ExitCode:
    """Run `db check`; 1 if anything is wrong."""
    from ocrd.store import schema

    check = schema.check(find_state(arguments))
    if arguments.json:
        print_json(
            {
                "schema": SCHEMA,
                "path": check.path,
                "revision": check.revision,
                "problems": list(check.problems),
            }
        )
    elif check.problems:
        print(f"{check.path}: damaged")
        print("\n".join(f"  {problem}" for problem in check.problems))
        print(
            "go back to the newest copy with: ocrd db restore; or move it away to begin anew; inputs and texts stay"
        )
    else:
        print(f"{check.path}: all is well (schema {check.revision})")
    return ExitCode.FAILED if check.problems else ExitCode.OK


def handle_backup(arguments: argparse.Namespace) -> ExitCode:
    """Run `db backup`."""
    from ocrd.store import schema

    print(schema.backup(find_state(arguments)))
    return ExitCode.OK


def handle_restore(arguments: argparse.Namespace) -> ExitCode:
    """Run `db restore`: the store that was there is kept."""
    from ocrd.store import schema

    state = find_state(arguments)
    copy = arguments.copy or next(iter(schema.copies(state)), None)
    if copy is None:
        raise StoreError(f"there is no copy in {state}/backups", hint="ocrd db backup makes one")
    lock = files.try_lock(runtime.lock_path(state))
    if lock is None:
        raise TryAgainLater(
            f"the daemon works with {state}", hint="stop it first: ocrd service status tells how"
        )
    try:
        kept = schema.restore(state, copy)
    finally:
        os.close(lock)
    print(f"the store is that of {copy}")
    if kept is not None:
        print(f"the one before is kept: {kept}")
    print("documents that came or were read since are looked at again; texts that stand stay as they are")
    return ExitCode.OK


def handle_prune(arguments: argparse.Namespace) -> ExitCode:
    """Run `db prune`, also while the daemon works."""
    from ocrd.daemon import pruning
    from ocrd.daemon.build import after_rules
    from ocrd.daemon.mover import folders_of
    from ocrd.store import schema
    from ocrd.store.engine import Database
    from ocrd.store.pruning import PruneStore

    settings = load_settings(arguments)
    state = find_state(arguments)
    check = schema.check(state)
    if check.problems:
        raise StoreError(f"{check.path}: {check.problems[0]}", hint="ocrd db check")
    roots = tuple(os.path.realpath(os.fsencode(os.path.expanduser(path))) for path in settings.inbox.paths)
    places = pruning.Places.of(roots, folders_of(roots, after_rules(settings)))
    days = settings.state.keep_days if arguments.older_than is None else arguments.older_than
    with contextlib.closing(Database(state)) as database:
        store = PruneStore(database)
        number = sum(1 for _ in pruning.forgettable(store, places, days=days))
        if not number:
            print("nothing to forget: no finished document whose file is gone, replaced or moved away")
        elif arguments.yes or agrees(f"forget {_documents(number)}? No file is touched. [y/N] ", "db prune"):
            print(f"forgot {_documents(pruning.forget(store, places, days=days))}")
        else:
            print("nothing was forgotten")
    return ExitCode.OK


def _documents(number: int) -> str:
    return "1 document" if number == 1 else f"{number} documents"
