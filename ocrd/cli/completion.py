"""`ocrd completion`: prints what a shell needs to complete ocrd's commands and options."""

from __future__ import annotations

import argparse
from typing import Any

from ocrd.cli.common import Parser, Subparsers
from ocrd.domain.errors import ExitCode

SHELLS = ("bash", "zsh", "fish")
_EPILOG = """\
to have it from the next shell on:
  bash   mkdir -p ~/.local/share/bash-completion/completions
         ocrd completion bash > ~/.local/share/bash-completion/completions/ocrd
  zsh    mkdir -p ~/.zfunc; ocrd completion zsh > ~/.zfunc/_ocrd
         and in ~/.zshrc: fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit
  fish   ocrd completion fish > ~/.config/fish/completions/ocrd.fish
"""
_FILES = {"FILE", "OUT", "JOB|PATH", "COPY"}
_FOLDERS = {"DIR", "STATE|DIR"}


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print the completion of commands and options for a shell",
        description="Print the completion of commands and options for a shell.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(handler=handle)


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    import shtab

    from ocrd.cli import build_parser

    parser = build_parser()
    _prepare(parser, {**dict.fromkeys(_FILES, shtab.FILE), **dict.fromkeys(_FOLDERS, shtab.DIRECTORY)})
    print(shtab.complete(parser, shell=arguments.shell))
    return ExitCode.OK


def _prepare(parser: argparse.ArgumentParser, completions: dict[str, Any]) -> None:
    """Fill parsers that fill themselves when they are used, and say which arguments are files and folders."""
    if isinstance(parser, Parser):
        parser.fill_now()
    for action in parser._actions:  # noqa: SLF001  # argparse has no public way to them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in set(action.choices.values()):
                _prepare(below, completions)
        elif action.metavar in completions:
            action.complete = completions[action.metavar]  # type: ignore[attr-defined]  # shtab looks for it
