"""Runs in the Python of a real vLLM: reads a JSON list of command lines, prints what its own parser makes of each.

One JSON object a command line: `{"values": {…}}`, or `{"error": "…"}` with what the parser said. Nothing is started.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys


def main() -> None:
    """Parse every command line as `vllm serve` does."""
    commands = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # vLLM logs on standard output
        parser = build()
        answers = [parse(parser, command) for command in commands]
    json.dump(answers, sys.stdout)


def build():  # a parser of vLLM's
    """The parser of the program `vllm`, with the one command that we use."""
    from vllm.entrypoints.cli.serve import ServeSubcommand

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(description="vllm")
    ServeSubcommand().subparser_init(parser.add_subparsers(required=False, dest="subparser"))
    return parser


def parse(parser, command: list[str]) -> dict[str, object]:
    """What one command line means."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found = parser.parse_args(["serve", *command])
    except (SystemExit, Exception) as error:  # argparse ends the program
        return {"error": f"{error!r}: {said.getvalue()[-800:]}"}
    simple = (str, int, float, bool, dict, type(None))
    return {"values": {name: value for name, value in vars(found).items() if isinstance(value, simple)}}


main()
