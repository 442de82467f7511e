"""`ocrd service`: install ocrd as a service of systemd, look at it, take it away again."""

from __future__ import annotations

import argparse
import os
import sys

from ocrd.cli.common import Subparsers, add_command, add_group, clean
from ocrd.domain.errors import ExitCode, OcrdError, UsageError
from ocrd.host import systemd
from ocrd.host.systemd import Kind

_FACTS = ("ActiveState", "SubState", "Result", "StatusText", "MainPID", "NRestarts", "UnitFileState")


_MORE = """\
Without --system or --user it is about the one that is there; to install, one of
yours, or as root one of the machine. To begin: ocrd service install --inbox DIR
(--dry-run only tells). What the sandbox allows: docs/service.md.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the five commands."""
    parser = add_group(
        subparsers, "service", "run ocrd as a service of systemd: install, look at it, remove it", more=_MORE
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = _add(
        actions, "install", "install or upgrade the service, start it and try it out", handle_install
    )
    install.add_argument(
        "--inbox", action="append", metavar="DIR", help="a folder to watch; may be given several times"
    )
    install.add_argument("--no-start", action="store_true", help="only write the files")
    uninstall = _add(actions, "uninstall", "stop and remove the service; data stays", handle_uninstall)
    for one in (install, uninstall):
        one.add_argument("--dry-run", action="store_true", help="only tell what would be done")
        one.add_argument("--yes", action="store_true", help="do not ask")
    _add(actions, "status", "show the service as systemd sees it", handle_status)
    _add(actions, "restart", "stop and start it", handle_restart)
    logs = _add(actions, "logs", "show its log", handle_logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what comes")
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N lines (50)")


def _add(actions: Subparsers, name: str, help_text: str, handler: object) -> argparse.ArgumentParser:
    parser = add_command(actions, name, help_text, handler)  # type: ignore[arg-type]  # a Handler, each of them
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--system", action="store_true", help="of the machine, starting with it (as root)")
    kind.add_argument("--user", action="store_true", help="of your own service manager")
    parser.add_argument("--for", dest="user_name", metavar="USER", help="with --system: whose inbox it is")
    return parser


def kind_of(arguments: argparse.Namespace) -> tuple[Kind, str]:
    """Which service is meant, and whose. Raises UsageError."""
    if arguments.user and arguments.user_name:
        raise UsageError("--for goes with --system", hint="ocrd service … --system --for USER")
    user = arguments.user_name or os.environ.get("SUDO_USER") or _own_name()
    if arguments.user:
        return Kind.USER, _own_name()
    if arguments.system or arguments.user_name or os.geteuid() == 0:
        return Kind.SYSTEM, user
    # Nothing was said: the one that is there. To install, one's own needs no root.
    there = os.path.exists(f"/etc/systemd/system/{systemd.unit_of(Kind.SYSTEM, user)}.d")
    return (Kind.SYSTEM if there and arguments.action != "install" else Kind.USER), user


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def handle_install(arguments: argparse.Namespace) -> ExitCode:
    """Run `service install`."""
    from ocrd.cli import service_install

    kind, user = kind_of(arguments)
    return service_install.install(arguments, kind, user)


def handle_uninstall(arguments: argparse.Namespace) -> ExitCode:
    """Run `service uninstall`."""
    from ocrd.cli import service_install

    kind, user = kind_of(arguments)
    return service_install.uninstall(arguments, kind, user)


def handle_status(arguments: argparse.Namespace) -> ExitCode:
    """Run `service status`; 1 if it does not run."""
    kind, user = kind_of(arguments)
    systemd.need_booted()
    unit = systemd.unit_of(kind, user)
    facts = systemd.show(kind, unit, _FACTS)
    running = facts["ActiveState"] == "active"
    print(
        f"service    {unit}: {facts['ActiveState']} ({facts['SubState']}), {facts['UnitFileState'] or 'not installed'}"
    )
    if facts["StatusText"]:
        print(f"says       {clean(facts['StatusText'])}")
    if running:
        print(f"process    {facts['MainPID']}, started anew {facts['NRestarts']} times")
    else:
        print(f"ended      {facts['Result']}")
        print(f"           → ocrd service logs {_kind_options(kind, user)}")
    print("more       ocrd status; ocrd doctor")
    return ExitCode.OK if running else ExitCode.FAILED


def handle_restart(arguments: argparse.Namespace) -> ExitCode:
    """Run `service restart`."""
    kind, user = kind_of(arguments)
    systemd.need_booted()
    unit = systemd.unit_of(kind, user)
    systemd.systemctl(kind, "restart", unit)
    print(f"{unit} runs")
    return ExitCode.OK


def handle_logs(arguments: argparse.Namespace) -> ExitCode:
    """Run `service logs`: journalctl takes this process over."""
    kind, user = kind_of(arguments)
    if arguments.lines < 0:
        raise UsageError("--lines must not be negative")
    more = ["--lines", str(arguments.lines), *(["--follow"] if arguments.follow else [])]
    argv = systemd.journal(kind, systemd.unit_of(kind, user), *more)
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # no shell on purpose
    except OSError as err:
        raise OcrdError(
            f"journalctl cannot be started: {err.strerror}", hint="sudo apt install systemd"
        ) from err


def _kind_options(kind: Kind, user: str) -> str:
    return f"--system --for {user}" if kind is Kind.SYSTEM else "--user"
