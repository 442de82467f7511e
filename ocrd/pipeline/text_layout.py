"""What poppler's `pdftotext -bbox-layout` prints, made into blocks. Pure.

It is XHTML with an element a line, but not always well formed: control characters of the document stand in it as they
are. So it is read line by line; what does not look like one of its lines is left out.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ocrd.domain.documents import Block, Box, Word
from ocrd.domain.geometry import POINTS_PER_INCH, RenderSize
from ocrd.domain.text_layer import clean

MAX_WORDS = 50_000
"""More words than this do not stand on a page; the rest of it is left out."""
MAX_WORD = 2_000
_NUMBER = r"(-?\d{1,9}(?:\.\d{1,9})?)"
_WORD = re.compile(
    rf'\s*<word xMin="{_NUMBER}" yMin="{_NUMBER}" xMax="{_NUMBER}" yMax="{_NUMBER}">(.*)</word>', re.DOTALL
)
_TAG = re.compile(r"\s*<(page|block|line)[ >]")


@dataclass(frozen=True, slots=True)
class LayerWord:
    """A word as the PDF has it, and its box in points of the page as it is shown."""

    text: str
    box: tuple[float, float, float, float]


@dataclass(slots=True)
class LayerPage:
    """Blocks of lines of words, in poppler's reading order."""

    blocks: list[list[list[LayerWord]]] = field(default_factory=list)

    def words(self) -> Iterator[LayerWord]:
        """All words in order."""
        for block in self.blocks:
            for line in block:
                yield from line


def parse_layout(printed: str) -> list[LayerPage]:
    """The pages in the order in which they were printed. Never raises."""
    pages: list[LayerPage] = []
    count = 0
    for line in printed.split("\n"):
        tag = _TAG.match(line)
        if tag is not None and tag[1] == "page":
            pages.append(LayerPage())
            count = 0
        elif not pages:
            continue
        elif tag is not None and tag[1] == "block":
            pages[-1].blocks.append([])
        elif tag is not None and pages[-1].blocks:
            pages[-1].blocks[-1].append([])
        elif count < MAX_WORDS and (word := _parse_word(line)) is not None:
            blocks = pages[-1].blocks
            if blocks and blocks[-1]:
                blocks[-1][-1].append(word)
                count += 1
    return pages


def _parse_word(line: str) -> LayerWord | None:
    found = _WORD.fullmatch(line)
    if found is None:
        return None
    left, top, right, bottom = (float(found[index]) for index in range(1, 5))
    text = html.unescape(found[5])[:MAX_WORD]
    return LayerWord(text, (min(left, right), min(top, bottom), max(left, right), max(top, bottom)))


def to_blocks(page: LayerPage, size: RenderSize) -> tuple[Block, ...]:
    """Blocks with boxes in pixels of the page rendered at that size; words outside of the page and those of white space
    are left out. Their order stays poppler's: it knows the order in which the document was written."""
    blocks = ([words for line in block if (words := _to_words(line, size))] for block in page.blocks)
    return tuple(_to_block(lines) for lines in blocks if lines)


def _to_words(line: list[LayerWord], size: RenderSize) -> list[Word]:
    found = ((clean(word.text), _to_pixels(word.box, size)) for word in line)
    return [
        Word(text=text, box=box, confidence=100.0, line=0) for text, box in found if text and box is not None
    ]


def _to_pixels(box: tuple[float, float, float, float], size: RenderSize) -> Box | None:
    left, top, right, bottom = (side * size.dpi / POINTS_PER_INCH for side in box)
    if right <= 0 or bottom <= 0 or left >= size.width or top >= size.height:
        return None
    x, y = max(0, math.floor(left)), max(0, math.floor(top))
    return (
        x,
        y,
        min(size.width, max(x + 1, math.ceil(right))),
        min(size.height, max(y + 1, math.ceil(bottom))),
    )


def _to_block(lines: list[list[Word]]) -> Block:
    words = tuple(replace(word, line=number) for number, line in enumerate(lines) for word in line)
    lefts, tops, rights, bottoms = zip(*(word.box for word in words), strict=True)
    return Block(
        category="Text",
        box=(min(lefts), min(tops), max(rights), max(bottoms)),
        text="\n".join(" ".join(word.text for word in line) for line in lines),
        words=words,
    )
