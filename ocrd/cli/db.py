"""`ocrd db`: the job store: bring it up to date, check it, copy it."""

from __future__ import annotations

import argparse

from ocrd.cli.common import Subparsers, add_command, find_state, print_json
from ocrd.domain.errors import ExitCode, TryAgainLater
from ocrd.host import files, runtime

SCHEMA = "ocrd.db-check/1"


def add_parser(subparsers: Subparsers) -> None:
    """Add the three commands."""
    parser = subparsers.add_parser("db", help="upgrade, check or back up the job store", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_command(
        actions, "upgrade", "bring the store to this version's schema, after a backup", handle_upgrade
    )
    add_command(actions, "check", "look for damage in the store", handle_check, has_json=True)
    add_command(
        actions, "backup", "make a consistent copy of the store, also while the daemon works", handle_backup
    )


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
            "restore the newest copy from its folder `backups`, or move it away to begin anew; inputs and texts stay"
        )
    else:
        print(f"{check.path}: all is well (schema {check.revision})")
    return ExitCode.FAILED if check.problems else ExitCode.OK


def handle_backup(arguments: argparse.Namespace) -> ExitCode:
    """Run `db backup`."""
    from ocrd.store import schema

    print(schema.backup(find_state(arguments)))
    return ExitCode.OK
