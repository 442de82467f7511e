"""`ocrd search`: the pages on which words stand, in any of their forms."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocrd.cli.common import Subparsers, add_command, clean, find_state, is_terminal, print_json
from ocrd.domain.errors import ExitCode, TryAgainLater, UsageError
from ocrd.store import snapshot

if TYPE_CHECKING:  # with the stemmer, which is not every command's burden
    from ocrd.domain.words import Part, Term
    from ocrd.store.search import Hit

SCHEMA = "ocrd.search/1"
_WIDTH = 160
_CATCH_UP_S = 0.2
"""So long a search waits for pages that are not in the index yet."""
_INDEX_PATIENCE_S = 10.0
_OPERATORS = frozenset({"or", "and", "not"})
_MARK, _UNMARK = "\x1b[1;31m", "\x1b[0m"
_MORE = """\
All words must stand on the page, in any form: `ocrd search договор аренды`
also finds "договоры об аренде", and `contract` finds "contracts". Capital
letters and accents do not matter, nor does ё, nor a hyphen at a line's end.
There are no operators: OR, AND and NOT are words like others.
  "two words"   in one pair of quotes: side by side, in this order
  догов*        a star at the end: any ending
Pages are found as soon as they are read, also of documents that are not
finished; not those of a file's earlier versions.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "search",
        "find the pages on which words stand, in any of their forms",
        handle,
        has_json=True,
        more=_MORE,
    )
    parser.add_argument("words", metavar="WORD", nargs="*", help='what to look for; "some words" as a phrase')
    parser.add_argument(
        "--limit", "-n", type=int, default=20, metavar="N", help="at most so many pages; 0: all (default 20)"
    )
    parser.add_argument(
        "--index", action="store_true", help="first put all pages into the index that are not there yet"
    )


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    from ocrd.domain import words
    from ocrd.store import search

    terms = words.parse(arguments.words)
    if not terms and not arguments.index:
        raise UsageError("there is no word to look for", hint='ocrd search WORD, or ocrd search "SOME WORDS"')
    state = find_state(arguments)
    with snapshot.opened(state) as connection:
        if connection is None:
            raise UsageError(f"there is no store in {state} yet", hint="ocrd run --inbox DIR makes one")
        search.check_schema(connection, state)
    _catch_up(state, whole=arguments.index)
    with snapshot.opened(state) as connection:
        assert connection is not None, "it was there a moment ago"
        missing = search.waiting(connection)
        found = search.find(connection, terms, width=_WIDTH) if terms else iter(())
        hits = list(itertools.islice(found, arguments.limit if arguments.limit > 0 else None))
    if arguments.index and missing:
        raise TryAgainLater(
            f"{missing} pages could not be put into the index of {state}: it cannot be written, or another ocrd is "
            "writing to it",
            hint="try again; ocrd doctor",
        )
    if arguments.json:
        print_json({"schema": SCHEMA, "not_indexed": missing, "hits": [_as_json(hit) for hit in hits]})
    else:
        _show(hits, terms, state)
        _tell_missing(missing)
    return ExitCode.OK


def _catch_up(state: str, *, whole: bool) -> None:
    """Bring the index up to date, for a moment or wholly; on a terminal with what is left."""
    from ocrd.store import search

    told = False
    seconds, patience_s = (float("inf"), _INDEX_PATIENCE_S) if whole else (_CATCH_UP_S, _CATCH_UP_S)
    for left in search.catch_up(state, seconds, patience_s=patience_s):
        if whole and sys.stderr.isatty():
            print(f"\r{left} pages left \x1b[K", end="", file=sys.stderr, flush=True)
            told = True
    if told:
        print("\r\x1b[K", end="", file=sys.stderr)


def _as_json(hit: Hit) -> dict[str, object]:
    return {
        "id": hit.document_id,
        "path": hit.path,
        "page": hit.page,
        "rank": round(hit.rank, 4),
        "gone": _is_gone(hit),
        "snippet": "".join(part.text for part in hit.snippet),
        "marks": list(_marks(hit.snippet)),
    }


def _marks(parts: tuple[Part, ...]) -> Iterator[tuple[int, int]]:
    """Where in the snippet the marked words begin and end."""
    at = 0
    for part in parts:
        if part.marked:
            yield at, at + len(part.text)
        at += len(part.text)


def _is_gone(hit: Hit) -> bool:
    return not os.path.lexists(os.fsencode(hit.path))


def _show(hits: list[Hit], terms: tuple[Term, ...], state: str) -> None:
    colour = is_terminal() and "NO_COLOR" not in os.environ
    for hit in hits:
        gone = (
            "  (the file is gone; its text: ocrd show --text " + f"{hit.document_id})"
            if _is_gone(hit)
            else ""
        )
        print(f"{clean(hit.path)}  page {hit.page}{gone}")
        marked = (_MARK, _UNMARK) if colour else ("", "")
        print("    " + "".join(_painted(part, *marked) for part in hit.snippet))
    if terms and not hits:
        print(f"nothing found in the store {clean(state)}")
        if any(len(term.words) > 1 for term in terms):
            print("words in one pair of quotes must stand side by side; try them without")
        if _OPERATORS & {word for term in terms for word in term.words}:
            print("there are no operators: OR, AND and NOT are words, and all words must stand on the page")


def _painted(part: Part, mark: str, unmark: str) -> str:
    text = clean(part.text)
    return f"{mark}{text}{unmark}" if part.marked else text


def _tell_missing(missing: int) -> None:
    if missing:
        print(
            f"{missing} finished pages are not in the index yet: a running ocrd puts them in, "
            "or at once: ocrd search --index",
            file=sys.stderr,
        )
