"""What a model wrote, in Markdown, HTML and LaTeX, as plain text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ocrd.domain.documents import Block
from ocrd.domain.tables import Piece, split_tables, to_text

PICTURE = "Picture"
TABLE = "Table"
FORMULA = "Formula"
_HEADING = re.compile(r"^#{1,6}[ \t]+", re.MULTILINE)
_BOLD = re.compile(
    r"(?<![*\\])\*\*(?=[^\s*])(.{1,1000}?)(?<=[^\s*])\*\*(?!\*)|(?<![\w\\])__(?=[^\s_])(.{1,1000}?)(?<=[^\s_])__(?!\w)"
)
"""Lines of underscores, to be filled in by hand, are no bold type."""


def blocks_to_text(blocks: Iterable[Block]) -> str:
    """Plain text: marks of headings and bold type go, tables become columns, formulas stay as they are; an empty line
    between blocks."""
    return "\n\n".join(text for block in blocks if (text := block_to_text(block)))


def block_to_text(block: Block) -> str:
    """One block; '' for a picture without a text."""
    text = block.text.strip("\n")
    if block.category == FORMULA:
        return text.strip()
    return "\n".join(shown for piece in split_tables(text) if (shown := _piece(piece)))


def _piece(piece: Piece) -> str:
    return _plain(piece.source) if piece.table is None else to_text(piece.table)


def _plain(text: str) -> str:
    return _BOLD.sub(lambda bold: bold[1] or bold[2], _HEADING.sub("", text)).strip()
