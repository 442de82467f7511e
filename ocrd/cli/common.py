"""What every command has: where the settings and the store are, and how text gets onto a terminal safely."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ocrd import settings as settings_module
from ocrd.domain.errors import ExitCode, UsageError
from ocrd.domain.jobs import DocumentState
from ocrd.domain.printable import escaped
from ocrd.host import runtime
from ocrd.settings import Settings

Handler = Callable[[argparse.Namespace], ExitCode]
Subparsers = Any
"""argparse's own type for this has no public name."""


class Parser(argparse.ArgumentParser):
    """One whose own commands are added when it is used: what they import is not every command's burden."""

    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def fill_now(self) -> None:
        """Add them, if that was not done yet."""
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)

    def error(self, message: str) -> NoReturn:
        """As argparse does; what was typed may be the name of a foreign file (`ocrd show *`)."""
        super().error(clean(message, keep="\n"))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does."""
        self.fill_now()
        return super().parse_known_args(args, namespace)


def add_command(
    subparsers: Subparsers,
    name: str,
    help_text: str,
    handler: Handler,
    *,
    has_json: bool = False,
    more: str = "",
) -> argparse.ArgumentParser:
    """A subcommand with the options that all of them have; `more` stands below them, as it is."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=more or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="settings file (env: OCRD_CONFIG; default: ~/.config/ocrd/config.toml, else /etc/ocrd/config.toml)",
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="folder of the job store (env: OCRD_STATE__DIR; default: that of the running daemon, else [state] dir)",
    )
    if has_json:
        parser.add_argument("--json", action="store_true", help="print JSON (see docs/json.md)")
    parser.set_defaults(handler=handler)
    return parser


class _StoreOrFilter(argparse.Action):
    """A state's name becomes the filter, anything else the store's folder (`./done` for one of such a name)."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        del parser, option
        wanted = "only" if values in {one.value for one in DocumentState} else "state"
        setattr(namespace, wanted, values)


def add_group(subparsers: Subparsers, name: str, help_text: str, *, more: str) -> Parser:
    """A command that only has commands of its own; `more` stands below them, as it is."""
    parser: Parser = subparsers.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_state_filter(parser: argparse.ArgumentParser) -> None:
    """`--state` names a store everywhere; for a list it also takes the name of a state, as people expect it."""
    states = ", ".join(one.value for one in DocumentState)
    parser.add_argument(
        "--state",
        action=_StoreOrFilter,
        metavar="STATE|DIR",
        help=f"only those in this state ({states}); or the folder of the job store",
    )
    parser.set_defaults(only=None)


def load_settings(arguments: argparse.Namespace) -> Settings:
    """The settings with `--state` put in."""
    loaded = settings_module.load(arguments.config)
    if arguments.state:
        loaded = loaded.with_value("state", "dir", arguments.state, "--state")
    return loaded


def find_state(arguments: argparse.Namespace) -> str:
    """Which store a command is about: `--state`, else that of the live daemon, else that of the settings."""
    given: str | None = arguments.state
    if given:
        return os.path.abspath(given)
    live = runtime.live_state(os.environ)
    return live or _resting_state(settings_module.state_dir(load_settings(arguments)))


def _resting_state(own: str) -> str:
    """That of the machine's service for this user, if it is there and the user has none of their own."""
    import pwd

    from ocrd.store.snapshot import FILE_NAME

    try:
        services = f"/var/lib/ocrd/{pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return own
    has_store = [os.path.exists(os.path.join(state, FILE_NAME)) for state in (own, services)]
    return services if has_store == [False, True] else own


def job_number(named: str) -> int | None:
    """The number that a document is named by; None if it is a path. No job has a number of more digits."""
    return int(named) if named.isdecimal() and len(named) <= 18 else None


def print_json(data: dict[str, Any]) -> None:
    """One object. What is not printable is escaped, lone surrogates of undecodable names too."""
    lines = json.dumps(data, ensure_ascii=False, indent=2).split("\n")
    print("\n".join(map(escaped, lines)))  # a line at a time: most of them are printable


def cleaned(data: Any) -> Any:
    """Plain data whose texts are all `clean`."""
    if isinstance(data, str):
        return clean(data)
    if isinstance(data, dict):
        return {cleaned(key): cleaned(value) for key, value in data.items()}
    return [cleaned(item) for item in data] if isinstance(data, list) else data


def clean(text: str, *, keep: str = "") -> str:
    """Text without control characters: a document or a file name must not steer the terminal."""
    return "".join(c if c.isprintable() or c in keep else "�" for c in text)


def in_words(seconds: float) -> str:
    """A duration for people: '3 s', '12 min', '5 h', '3 days'."""
    for limit, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (36 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty()


def agrees(question: str, asker: str) -> bool:
    """Ask on the terminal. Raises `UsageError` where there is none: silence is no consent."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{asker} asks before it deletes, and standard input is no terminal", hint="add --yes to agree"
        )
    print(question, end="", flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
