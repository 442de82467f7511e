"""`ocrd retry`, `cancel`, `pause`, `resume`: act on the queue, whether the daemon runs or not.

The order is left in the store. A running daemon carries it out within a second; without one the command takes
the daemon's lock for a moment and carries it out itself, so that there is never more than one hand.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from ocrd.cli.common import Subparsers, add_command, clean, find_state, job_number, load_settings
from ocrd.domain.errors import ExitCode, OrderRefused, StoreError, TryAgainLater, UsageError
from ocrd.host import files, runtime
from ocrd.settings import Settings

ANSWER_TIMEOUT_S = 15.0
_POLL_S = 0.1


_RETRY = """\
Pages that have a text keep it, unless --again.
  ocrd retry scan.pdf          one document
  ocrd retry --failed          all that did not end well
  ocrd retry --all --changed --again
                               read anew what was read with other settings
"""
_CANCEL = """\
Pages that were read stay in the store (`ocrd show --text`); `ocrd retry` queues
the document again.
"""
_PAUSE = """\
Pages in hand are finished, new files are still taken in. It lasts, also over a
new start of the daemon, until `ocrd resume`.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the four commands."""
    retry = add_command(
        subparsers, "retry", "queue documents again: their pages without text", handle_retry, more=_RETRY
    )
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "job", nargs="?", metavar="JOB|PATH", help="the number of a job, or the path of its file"
    )
    which.add_argument("--failed", action="store_true", help="all that failed, were rejected, or are partial")
    which.add_argument("--all", action="store_true", help="all finished documents")
    retry.add_argument("--changed", action="store_true", help="with --all: those read with other settings")
    retry.add_argument(
        "--again", action="store_true", help="read all pages again, not only those without text"
    )
    retry.add_argument(
        "--overwrite", action="store_true", help="replace text files of ocrd's that were edited since"
    )
    cancel = add_command(
        subparsers, "cancel", "cancel a document that is queued or running", handle_cancel, more=_CANCEL
    )
    cancel.add_argument("job", metavar="JOB|PATH", help="the number of a job, or the path of its file")
    add_command(
        subparsers,
        "pause",
        "begin no further page",
        lambda arguments: send_order(arguments, "pause", {}),
        more=_PAUSE,
    )
    add_command(
        subparsers, "resume", "go on after a pause", lambda arguments: send_order(arguments, "resume", {})
    )


def handle_retry(arguments: argparse.Namespace) -> ExitCode:
    """Run `retry`."""
    if arguments.changed and not arguments.all:
        raise UsageError("--changed goes with --all", hint="ocrd retry --all --changed")
    wanted: dict[str, Any] = {"overwrite": arguments.overwrite, "again": arguments.again}
    if arguments.failed or arguments.all:
        wanted |= {"failed": arguments.failed, "all": arguments.all, "changed": arguments.changed}
    else:
        wanted |= _name(arguments.job)
    return send_order(arguments, "retry", wanted)


def handle_cancel(arguments: argparse.Namespace) -> ExitCode:
    """Run `cancel`."""
    return send_order(arguments, "cancel", _name(arguments.job))


def _name(job: str) -> dict[str, Any]:
    if not job:
        raise UsageError("name a document by its number or its path", hint="ocrd jobs")
    number = job_number(job)
    if number is not None:
        return {"id": number}
    folder = os.path.realpath(os.path.dirname(job) or ".")
    return {"path": os.path.join(folder, os.path.basename(job))}


def send_order(
    arguments: argparse.Namespace,
    verb: str,
    wanted: dict[str, Any],
    *,
    patience_s: float = ANSWER_TIMEOUT_S,
) -> ExitCode:
    """Leave an order, have it carried out, and print the answer. Raises OcrdError if it could not be."""
    state = find_state(arguments)

    from ocrd.daemon.build import open_stores
    from ocrd.store import schema

    if not schema.exists(state):
        raise StoreError(
            f"there is no store in {state}", hint="ocrd run makes one; or name it with --state DIR"
        )
    lock = files.try_lock(runtime.lock_path(state))
    try:
        if lock is not None:
            schema.upgrade(state)
        stores = open_stores(state)
        try:
            number = stores.commands.send(verb, wanted)
            answer = (
                _carry_out(stores, number, load_settings(arguments))
                if lock is not None
                else _await(stores, number, patience_s)
            )
        finally:
            stores.database.close()
    finally:
        if lock is not None:
            os.close(lock)
    if answer.get("unknown"):
        raise UsageError(f"{answer['message']} in {state}", hint="ocrd jobs")
    if not answer["ok"]:
        raise OrderRefused(answer["message"])
    print(clean(answer["message"]))
    return ExitCode.OK


def _carry_out(stores: Any, number: int, settings: Settings) -> dict[str, Any]:
    from ocrd.daemon.build import find_folders, fingerprints
    from ocrd.daemon.engines import choose_engine
    from ocrd.daemon.orders import Orders

    roots = [os.path.realpath(os.fsencode(os.path.expanduser(path))) for path in settings.inbox.paths]
    kind, _ = choose_engine(settings)
    fingerprint_of = fingerprints(settings, find_folders(settings, roots, kind))
    Orders(stores.commands, stores.documents, None, fingerprint_of=fingerprint_of).carry_out_waiting()
    answer: dict[str, Any] = stores.commands.answer_of(number)
    return answer


def _await(stores: Any, number: int, patience_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer: dict[str, Any] | None = stores.commands.answer_of(number)
        if answer is not None:
            return answer
        time.sleep(_POLL_S)
    raise TryAgainLater(
        f"the daemon did not answer within {patience_s:g} s; it will do it when it comes to it",
        hint="see: ocrd status",
    )
