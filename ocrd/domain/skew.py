"""Pages that lie askew: by how much, and where a word of the straightened page stood before. Pure.

Tesseract reads lines that rise or fall by a degree; from two or three on it leaves whole lines out, without doubting the
rest. On six pages that were turned by 2 to 5°, errors went from up to 80 % of the characters back to those of the straight
page, wherever a line was left to tell the angle by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from ocrd.domain.documents import Box, Word

LEAST_DEG = 1.0
"""A page that lies straighter than this is left alone: on five pages that lay 1° askew nothing was gained."""
MOST_DEG = 20.0
"""More is no skew: the lines were not understood."""
AS_LEGIBLE = 0.85
"""The straightened page counts if it is nearly as legible as the other: stray signs of a bad reading are read with
confidence too. Where it read better, it had at least 0.90."""
_LEAST_WORDS, _LEAST_WIDTH = 5, 200
LEAST_LINES = 8
AGREEING_DEG = 0.5
"""So far the middle half of the lines may differ. On 14 pages that were turned by up to 10° either way, the lines of the
layout then told the angle to 0.1°; where they differed more, their median was up to 5° off."""

Baseline = tuple[tuple[float, float], tuple[float, float]]
"""Both ends of the line that type stands on, in pixels."""


def line_slope(words: Sequence[Word]) -> float | None:
    """How far a line falls in each pixel to the right, by its first and last two words; None for a short one."""
    if len(words) < _LEAST_WORDS:
        return None
    (x, y), (to_x, to_y) = _centre(words[:2]), _centre(words[-2:])
    return (to_y - y) / (to_x - x) if to_x - x > _LEAST_WIDTH else None


def _centre(words: Sequence[Word]) -> tuple[float, float]:
    across = sum(word.box[0] + word.box[2] for word in words) / (2 * len(words))
    down = sum(word.box[1] + word.box[3] for word in words) / (2 * len(words))
    return across, down


def skew_of(lines: Iterable[Sequence[Word]]) -> float | None:
    """By how many degrees the page is to be turned counter-clockwise, so that its lines are level; None if no line is long
    enough to tell."""
    slopes = [slope for words in lines if (slope := line_slope(words)) is not None]
    return math.degrees(math.atan(median(slopes))) if slopes else None


def sure_skew(baselines: Iterable[Baseline]) -> float | None:
    """The same by the lines of the layout, before anything is read; None unless enough long lines agree."""
    angles = sorted(
        math.degrees(math.atan2(to_y - y, to_x - x))
        for (x, y), (to_x, to_y) in baselines
        if to_x - x > _LEAST_WIDTH
    )
    quarter = len(angles) // 4
    if len(angles) < LEAST_LINES or angles[-1 - quarter] - angles[quarter] > AGREEING_DEG:
        return None
    return median(angles)


def needs_turning(degrees: float) -> bool:
    """Whether a page that lies so far askew is read better when it is turned."""
    return LEAST_DEG <= abs(degrees) <= MOST_DEG


def unskew_box(box: Box, *, degrees: float, straight: tuple[int, int], size: tuple[int, int]) -> Box:
    """The smallest upright box around a box of the straightened page, on the page as it was.

    The page of `size` (width, height) was turned counter-clockwise about its middle, and grew to `straight`.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    left, top, right, bottom = box
    (wide, high), (width, height) = straight, size
    corners = [(x - wide / 2, y - high / 2) for x in (left, right) for y in (top, bottom)]
    across = [x * cos - y * sin + width / 2 for x, y in corners]
    down = [x * sin + y * cos + height / 2 for x, y in corners]
    new_left, new_top = _within(min(across), width - 1), _within(min(down), height - 1)
    return (
        new_left,
        new_top,
        max(new_left + 1, _within(max(across), width)),
        max(new_top + 1, _within(max(down), height)),
    )


def _within(place: float, limit: int) -> int:
    return max(0, min(round(place), limit))
