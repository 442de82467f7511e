"""Putting together what was read in overlapping strips: no line lost, none doubled. Pure.

Two neighbouring strips share a few lines. One strip may end, and the next begin, in the middle of a line; what is
read there is garbled, but the other strip has that line whole. Where no line can be found in both, everything is kept:
a doubled line is a blemish, a lost one is a loss.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from ocrd.domain.documents import Block, Box

MOST_SHARED_LINES = 12
"""Two strips share 0.6 inch: five lines of 8 pt type; a table's cells may be lines of their own."""
SAME_LINE = 0.75
"""How alike two readings of one line are at least, from 0 to 1."""
SAME_BLOCK = 0.85
_MATCHED = 1.0
_COLUMN_SHARE = 0.5


def merge_texts(upper: str, lower: str) -> str:
    """The text of two strips, one above the other."""
    lines, merged = join_lines(upper.splitlines(), lower.splitlines())
    return "\n".join(lines) if merged else "\n".join(part for part in (upper, lower) if part.strip())


def join_lines(upper: Sequence[str], lower: Sequence[str]) -> tuple[list[str], bool]:
    """The lines of two strips without those that stand in both; and whether there are any such.

    The last line of the upper strip and the first of the lower may be cut, and are then left out in favour of the
    other strip's.
    """
    best: tuple[float, int, int, int] = (0.0, 0, 0, 0)
    for cut_above in (0, 1):
        for cut_below in (0, 1):
            above = _tail(upper, cut_above)
            below = _head(lower, cut_below)
            for shared in range(1, min(len(above), len(below)) + 1):
                # The cut line of one strip has to stand in the other: the whole one lies beyond the shared lines.
                if (cut_above and len(below) <= shared) or (cut_below and len(above) <= shared):
                    continue
                alike = _alike(above[len(above) - shared :], below[:shared])
                if alike is not None:
                    best = max(best, (alike - 0.6 * (cut_above + cut_below), shared, cut_above, cut_below))
    if best[1] == 0:
        return [*upper, *lower], False
    _, shared, cut_above, cut_below = best
    kept = list(upper[: len(upper) - cut_above]) if cut_above else list(upper)
    return kept + _after_head(lower, cut_below, shared), True


def _tail(lines: Sequence[str], cut: int) -> list[str]:
    filled = [line for line in lines if line.strip()]
    filled = filled[: len(filled) - cut] if cut else filled
    return filled[-MOST_SHARED_LINES:]


def _head(lines: Sequence[str], cut: int) -> list[str]:
    return [line for line in lines if line.strip()][cut : cut + MOST_SHARED_LINES]


def _after_head(lines: Sequence[str], cut: int, shared: int) -> list[str]:
    """The lines after the first `cut + shared` that are not blank."""
    left = cut + shared
    for index, line in enumerate(lines):
        if not left:
            return list(lines[index:])
        left -= bool(line.strip())
    return []


def _alike(above: Sequence[str], below: Sequence[str]) -> float | None:
    """The summed likeness of lines side by side; None if one pair is not alike."""
    total = 0.0
    for one, other in zip(above, below, strict=True):
        ratio = _ratio(one, other)
        if ratio < SAME_LINE:
            return None
        total += ratio
    return total


def _ratio(one: str, other: str) -> float:
    a, b = " ".join(one.lower().split()), " ".join(other.lower().split())
    if a == b:
        return _MATCHED
    matcher = difflib.SequenceMatcher(None, a[:300], b[:300], autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= SAME_LINE else 0.0


def merge_blocks(parts: Sequence[Sequence[Block]], strips: Sequence[Box]) -> tuple[Block, ...]:
    """The blocks of strips in their order, those that stand in two of them once. Boxes are in pixels of the page."""
    merged: list[Block] = list(parts[0])
    for index in range(1, len(parts)):
        merged = _merge_pair(merged, list(parts[index]), _common(strips[index - 1], strips[index]))
    return tuple(merged)


def _merge_pair(upper: list[Block], lower: list[Block], band: Box) -> list[Block]:
    for block in lower:
        twin = next(
            (at for at, one in enumerate(upper) if _in_both(one, block, band) and _merged(one, block)), None
        )
        if twin is None:
            upper = [*upper, block]
        else:
            joined = _merged(upper[twin], block)
            assert joined is not None, "was found by it"
            upper = [*upper[:twin], joined, *upper[twin + 1 :]]
    return upper


def _in_both(one: Block, other: Block, band: Box) -> bool:
    """Whether both touch what the strips share, in the same column."""
    return (
        _common(one.box, band) != _EMPTY
        and _common(other.box, band) != _EMPTY
        and _column_share(one.box, other.box) > _COLUMN_SHARE
    )


def _merged(one: Block, other: Block) -> Block | None:
    """One block of two readings of it, or of its two halves; None if they are different blocks."""
    if one.category != other.category or not (one.text and other.text):
        return None
    around = (
        min(one.box[0], other.box[0]),
        min(one.box[1], other.box[1]),
        max(one.box[2], other.box[2]),
        max(one.box[3], other.box[3]),
    )
    if _ratio(one.text, other.text) >= SAME_BLOCK:
        longer = max(one.text, other.text, key=len)
        return replace(one, box=around, text=longer)
    lines, found = join_lines(one.text.splitlines(), other.text.splitlines())
    return replace(one, box=around, text="\n".join(lines)) if found else None


_EMPTY: Box = (0, 0, 0, 0)


def _common(one: Box, other: Box) -> Box:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if right > left and bottom > top else _EMPTY


def _column_share(one: Box, other: Box) -> float:
    """How much of the narrower one lies above or below the other, from 0 to 1."""
    common = min(one[2], other[2]) - max(one[0], other[0])
    return max(0, common) / max(1, min(one[2] - one[0], other[2] - other[0]))
