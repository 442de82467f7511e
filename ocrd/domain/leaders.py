"""Rows of dots that lead the eye to a number, as in a table of contents: Tesseract reads letters into them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from ocrd.domain.documents import Word
from ocrd.domain.geometry import around

LEADER = "....."
"""What stands in the text for dots of any number."""
FLAT = 0.4
"""A letter is at least half as high as the usual word of its line (x-height); dots are a fifth of it."""
WIDE = 1.5
"""Times as wide as the line is high: quotes and commas are narrower."""
_FLAT_SIGNS = frozenset(".…·-–—_=~")
DOUBTED = 50.0
"""Such 'words' had a confidence of 0 to 3."""


def tidy_leaders(line: Sequence[Word]) -> list[Word]:
    """The line with dots in the place of what is too flat for what was read; one leader for neighbours."""
    height = median(_height(word) for word in line) if line else 0.0
    tidy: list[Word] = []
    for word in line:
        if not _is_leader(word, height):
            tidy.append(word)
        elif tidy and tidy[-1].text == LEADER:
            tidy[-1] = replace(tidy[-1], box=around([tidy[-1].box, word.box]))
        else:
            tidy.append(replace(word, text=LEADER))
    return tidy


def _is_leader(word: Word, height: float) -> bool:
    is_flat = _height(word) <= FLAT * height and word.box[2] - word.box[0] >= WIDE * height
    return is_flat and word.confidence < DOUBTED and not _FLAT_SIGNS.issuperset(word.text)


def _height(word: Word) -> int:
    return word.box[3] - word.box[1]
