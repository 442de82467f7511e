"""What a model wrote, in Markdown, HTML and LaTeX, as plain text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ocrd.domain.documents import Block
from ocrd.domain.tables import around_table, parse_table, to_text

PICTURE = "Picture"
TABLE = "Table"
FORMULA = "Formula"
_HEADING = re.compile(r"^#{1,6}[ \t]+", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")


def blocks_to_text(blocks: Iterable[Block]) -> str:
    """Plain text: marks of headings and bold type go, tables become columns, formulas stay as they are; an empty line
    between blocks."""
    return "\n\n".join(text for block in blocks if (text := block_to_text(block)))


def block_to_text(block: Block) -> str:
    """One block; '' for a picture without a text."""
    text = block.text.strip("\n")
    if block.category == FORMULA:
        return text.strip()
    table = parse_table(text)
    if table is not None:
        before, behind = around_table(text)
        parts = (_plain(before), to_text(table), _plain(behind))
        return "\n".join(part for part in parts if part)
    return _plain(text)


def _plain(text: str) -> str:
    return _BOLD.sub(r"\2", _HEADING.sub("", text)).strip()
