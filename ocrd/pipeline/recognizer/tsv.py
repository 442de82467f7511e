"""Tesseract's TSV, the one answer that has text, boxes and confidences, made into blocks. Pure.

A row has twelve columns: level (1 page, 2 block, 3 paragraph, 4 line, 5 word), page, block, paragraph, line,
word, left, top, width, height, confidence, text. Boxes are in pixels of the image that was read.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from ocrd.domain.documents import Block, Box, Word
from ocrd.domain.geometry import around, unrotate_box
from ocrd.domain.leaders import tidy_leaders
from ocrd.domain.reading_order import Paragraph, arrange
from ocrd.domain.rendering import TABLE, block_to_text
from ocrd.domain.skew import unskew_box
from ocrd.domain.word_tables import Grid, find_tables

_COLUMNS = 12
_WORD_LEVEL = "5"


class _Row(NamedTuple):
    """One word as Tesseract tells it; `paragraph` and `line` are numbers on the page, not within a block."""

    paragraph: tuple[int, int]
    line: int
    box: Box
    confidence: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a page's image of `width` × `height` pixels was seen by the engine: turned clockwise by `rotation` (0, 90, 180,
    270), then straightened by `skew` degrees counter-clockwise, by which it grew to `straight`; all that on a copy that was
    `scale` times as large. Its upper edge is `top` pixels below that of the page, if it is a strip of one."""

    rotation: int = 0
    width: int = 0
    height: int = 0
    skew: float = 0.0
    straight: tuple[int, int] = (0, 0)
    scale: float = 1.0
    top: int = 0

    @property
    def seen(self) -> tuple[int, int]:
        """Width and height of what the engine saw."""
        turned = self.rotation in {90, 270}
        size = (
            self.straight if self.skew else (self.height, self.width) if turned else (self.width, self.height)
        )
        return round(size[0] * self.scale), round(size[1] * self.scale)

    def place(self, box: Box) -> Box:
        """A box of what the engine saw, on the page's image."""
        if self.scale != 1.0:
            left, top, right, bottom = (round(side / self.scale) for side in box)
            box = (left, top, max(right, left + 1), max(bottom, top + 1))
        if self.skew:
            turned = self.rotation in {90, 270}
            size = (self.height, self.width) if turned else (self.width, self.height)
            box = unskew_box(box, degrees=self.skew, straight=self.straight, size=size)
        left, upper, right, lower = unrotate_box(
            box, rotation=self.rotation, width=self.width, height=self.height
        )
        return left, upper + self.top, right, lower + self.top


def parse_lines(tsv: str) -> list[list[Word]]:
    """The lines as the engine saw them, in its order."""
    rows = (row for line in tsv.split("\n") if (row := _parse_row(line)) is not None)
    return [
        [_to_word(row) for row in line]
        for _, line in groupby(rows, key=lambda row: (row.paragraph, row.line))
    ]


def parse_blocks(tsv: str, view: View = View()) -> tuple[Block, ...]:  # it is frozen
    """One block a paragraph or table, in reading order (see `domain/reading_order.py`, `word_tables.py`); words of white
    space and empty blocks are left out. A table's text is HTML, as models write it; its lines are its rows.

    Boxes come back in the page's image as it was. Never raises on a malformed row: it is skipped.
    """
    rows = (row for line in tsv.split("\n") if (row := _parse_row(line)) is not None)
    paragraphs = [
        [
            tidy_leaders([_to_word(row) for row in line])
            for _, line in groupby(paragraph, key=lambda row: row.line)
        ]
        for _, paragraph in groupby(rows, key=lambda row: row.paragraph)
    ]
    return tuple(_to_block(part, view.place) for part in find_tables(arrange(paragraphs, view.seen)))


def _to_block(part: Paragraph | Grid, place: Callable[[Box], Box]) -> Block:
    if isinstance(part, Grid):
        category, text = TABLE, part.to_html()
        lines: Paragraph = [[word for cell in row for word in cell] for row in part.rows]
    else:
        category, text, lines = "Text", "\n".join(" ".join(word.text for word in line) for line in part), part
    words = tuple(
        replace(word, line=number, box=place(word.box)) for number, line in enumerate(lines) for word in line
    )
    return Block(
        category=category,
        box=around([word.box for word in words]),
        text=text,
        words=words,
        confidence=mean_confidence(words),
    )


def page_text(blocks: Iterable[Block]) -> str:
    """The text of a page: a line a line, tables as columns, an empty line between paragraphs."""
    return "\n\n".join(block_to_text(block) if block.category == TABLE else block.text for block in blocks)


def all_words(blocks: Iterable[Block]) -> tuple[Word, ...]:
    """The words of a page in reading order."""
    return tuple(word for block in blocks for word in block.words or ())


def mean_confidence(words: Sequence[Word]) -> float | None:
    """The words' mean confidence, 0 to 100; None without words."""
    if not words:
        return None
    return math.fsum(word.confidence for word in words) / len(words)


def legibility(blocks: Iterable[Block]) -> float:
    """How much was read with confidence: the sum over words of at least two letters or digits and nothing else.

    Compares two readings of one page. A wrong turn yields many short words and stray signs, so a plain mean
    over few lucky words would mislead.
    """
    return math.fsum(
        word.confidence for word in all_words(blocks) if len(word.text) > 1 and word.text.isalnum()
    )


def _parse_row(line: str) -> _Row | None:
    """A word row, or None for every other row, for white space and for what makes no sense."""
    fields = line.split("\t", _COLUMNS - 1)
    if len(fields) != _COLUMNS or fields[0] != _WORD_LEVEL:
        return None
    text = unicodedata.normalize("NFC", fields[11]).strip()
    try:
        _, block, paragraph, row, _, left, top, width, height = map(int, fields[1:10])
        confidence = float(fields[10])
    except ValueError:
        return None
    if not text:
        return None
    box = (left, top, left + max(1, width), top + max(1, height))
    return _Row((block, paragraph), row, box, _within_100(confidence), text)


def _within_100(confidence: float) -> float:
    return 0.0 if math.isnan(confidence) else min(100.0, max(0.0, confidence))


def _to_word(row: _Row) -> Word:
    return Word(text=row.text, box=row.box, confidence=row.confidence, line=0)
