"""`ocrd db`: the job store: bring it up to date, check it, copy it."""

from __future__ import annotations

import argparse
import os

from ocrd.cli.common import Subparsers, add_command, find_state, print_json
from ocrd.domain.errors import ExitCode, StoreError, TryAgainLater
from ocrd.host import files, runtime

SCHEMA = "ocrd.db-check/1"


def add_parser(subparsers: Subparsers) -> None:
    """Add the four commands."""
    parser = subparsers.add_parser(
        "db", help="upgrade, check, back up or restore the job store", allow_abbrev=False
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(
        actions, "upgrade", "bring the store to this version's schema, after a backup", handle_upgrade
    )
    add_command(actions, "check", "look for damage in the store", handle_check, has_json=True)
    add_command(
        actions, "backup", "make a consistent copy of the store, also while the daemon works", handle_backup
    )
    restore = add_command(actions, "restore", "put a copy in the place of the store", handle_restore)
    restore.add_argument("copy", nargs="?", metavar="COPY", help="which one; without it, the newest")


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
