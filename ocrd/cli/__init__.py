"""The command line: one file a command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

from ocrd import __version__
from ocrd.cli import (
    completion,
    config,
    db,
    doctor,
    export,
    jobs,
    models,
    orders,
    run,
    search,
    service,
    show,
    status,
)
from ocrd.cli.common import Parser, clean
from ocrd.domain.errors import ExitCode, OcrdError

COMMANDS = (run, status, jobs, show, search, export, orders, models, doctor, service, config, db, completion)

_EPILOG = """\
exit codes: 0 all well · 1 something failed (run --once: a document is not done) · 2 usage ·
  69 something is not installed · 75 try again later (another ocrd holds the lock) · 78 settings

start here: ocrd doctor; ocrd run --inbox DIR; ocrd status
more of each: ocrd COMMAND --help
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command."""
    parser = Parser(
        prog="ocrd",
        description="A batch document OCR daemon: drop scans into a folder, find their text beside them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ocrd {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Every expected error becomes two lines: what happened, what to do next."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows '?', no traceback
    arguments = build_parser().parse_args(argv)
    try:
        code: ExitCode = arguments.handler(arguments)
        sys.stdout.flush()  # here, where it can be told that the disk is full
    except OcrdError as err:
        _complain(f"ocrd: {clean(str(err))}", *([f"      → {clean(err.hint)}"] if err.hint else []))
        return int(err.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `ocrd jobs | head`: nobody reads on, and Python must not complain about it at its end.
        _drop_output()
        return int(ExitCode.OK)
    except OSError as err:
        if err.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO} or err.filename is not None:
            raise
        _drop_output()
        _complain(f"ocrd: the output cannot be written: {err.strerror}")
        return int(ExitCode.FAILED)
    return int(code)


def _complain(*lines: str) -> None:
    """Onto standard error; for the journal as errors, as the log's lines are."""
    prefix = ""
    if "JOURNAL_STREAM" in os.environ:
        from ocrd.telemetry import logs

        prefix = f"<{logs.PRIORITIES['error']}>" if logs.under_journal() else ""
    for line in lines:
        print(f"{prefix}{line}", file=sys.stderr)


def _drop_output() -> None:
    """What is still to be printed goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
