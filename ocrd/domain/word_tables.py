"""Tables among the lines of a page, by the places of their words. Pure.

A line falls into cells where the blank between two words is wide, or a ruling line was read as a bar. Lines that follow each
other and whose cells stand in the same columns are a table, if there are enough of them.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeAlias

from ocrd.domain.documents import Word
from ocrd.domain.reading_order import Paragraph

Cell: TypeAlias = Sequence[Word]

CELL_GAP = 1.2
"""Least blank between two cells, in heights of a word. Within a line it has 0.3 to 0.7, in stretched ones up to 1."""
ROW_GAP = 3.5
"""Rows are no further apart than this, in heights of a word."""
LEAST_ROWS = 3
FILLED_SHARE = 0.5
"""Of the places of a table; with more empty ones the columns are chance."""
FIGURES_SHARE = 0.7
"""Two columns are a table if so much of the second one is figures: a form has words there, and is none."""
MOST_LOOSE = 2
"""So many lines in a row may have one cell only: the rest of a long one."""
_BAR = "|"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: rows of equally many cells, some of them empty. Every word of its lines is in one of them."""

    rows: tuple[tuple[Cell, ...], ...]

    def to_html(self) -> str:
        """As models write tables. A first row without figures is the heading; without one there is an empty one."""
        shown = [[_shown(cell) for cell in row] for row in self.rows]
        if any(map(_has_digit, shown[0])) or sum(map(bool, shown[0])) < 2:
            shown.insert(0, [""] * len(shown[0]))
        head, *body = shown
        return f"<table>{_html_row(head, 'th')}{''.join(_html_row(row, 'td') for row in body)}</table>"


@dataclass(slots=True)
class _Line:
    cells: list[list[Word]]
    top: int
    bottom: int
    height: float


def find_tables(paragraphs: Sequence[Paragraph]) -> list[Paragraph | Grid]:
    """The page with its tables as such; lines before, between and behind them stay paragraphs. Boxes are those of the
    page as it is read."""
    lines = [(number, words) for number, part in enumerate(paragraphs) for words in part if words]
    cut = [_cut(words) for _, words in lines]
    found: list[Paragraph | Grid] = []
    start = 0
    while start < len(lines):
        table = _Table(cut[start])
        end = start + 1
        while end < len(lines) and table.takes(cut[end]):
            end += 1
        end -= table.loose
        grid = table.grid(end - start)
        if grid is not None:
            found.append(grid)
        else:
            end = start + 1
            _append(found, lines[start], lines[start - 1][0] if start else None)
        start = end
    return found


def _append(found: list[Paragraph | Grid], line: tuple[int, Sequence[Word]], last: int | None) -> None:
    number, words = line
    if found and number == last and isinstance(found[-1], list):
        found[-1].append(words)
    else:
        found.append([words])


def _cut(words: Sequence[Word]) -> _Line:
    """A line as its cells."""
    height = median(word.box[3] - word.box[1] for word in words)
    cells: list[list[Word]] = []
    reached, barred = float("-inf"), False
    for word in words:
        wide = word.box[0] - reached > CELL_GAP * height
        if not cells or wide or barred or word.text.startswith(_BAR):
            cells.append([])
        cells[-1].append(word)
        reached, barred = max(reached, word.box[2]), word.text.endswith(_BAR)
    return _Line(
        cells=_without_bars(cells),
        top=min(word.box[1] for word in words),
        bottom=max(word.box[3] for word in words),
        height=height,
    )


def _without_bars(cells: list[list[Word]]) -> list[list[Word]]:
    """A bar that stands alone belongs to the cell before it, so that no column is made of bars."""
    kept: list[list[Word]] = []
    for cell in cells:
        if kept and all(is_ruling(word) for word in cell):
            kept[-1] += cell
        else:
            kept.append(cell)
    return kept


def is_ruling(word: Word) -> bool:
    """Whether it is nothing but what a ruling line was taken for: in a table it is no text."""
    return not word.text.strip(_BAR)


class _Table:
    """Lines that may be one: from the first one, as far as they fit."""

    def __init__(self, first: _Line) -> None:
        self._columns = [_span(cell) for cell in first.cells]
        self._lines = [first]
        self.loose = 0 if len(first.cells) > 1 else 1
        """Lines at the end with one cell only."""

    def takes(self, line: _Line) -> bool:
        """Whether the line goes on with it."""
        last = self._lines[-1]
        if len(self._lines[0].cells) < 2 or not 0 < line.top - last.top <= ROW_GAP * max(
            line.height, last.height
        ):
            return False
        if len(line.cells) == 1 and self.loose == MOST_LOOSE:
            return False
        columns = _joined(self._columns, [_span(cell) for cell in line.cells])
        if columns is None:
            return False
        self._columns = columns
        self._lines.append(line)
        self.loose = 0 if len(line.cells) > 1 else self.loose + 1
        return True

    def grid(self, length: int) -> Grid | None:
        """Of the first so many lines; None if they are no table."""
        if length < LEAST_ROWS or len(self._columns) < 2:
            return None
        rows = tuple(self._row(line) for line in self._lines[:length])
        filled = sum(bool(cell) for row in rows for cell in row)
        if filled < FILLED_SHARE * len(rows) * len(self._columns):
            return None
        return Grid(rows) if len(self._columns) > 2 or _ends_in_figures(rows) else None

    def _row(self, line: _Line) -> tuple[Cell, ...]:
        cells: list[list[Word]] = [[] for _ in self._columns]
        for cell in line.cells:
            left, right = _span(cell)
            place = next(
                number for number, (start, end) in enumerate(self._columns) if start <= left and right <= end
            )
            cells[place] += cell
        return tuple(cells)


def _span(cell: Sequence[Word]) -> tuple[int, int]:
    return min(word.box[0] for word in cell), max(word.box[2] for word in cell)


def _joined(
    columns: Sequence[tuple[int, int]], cells: Sequence[tuple[int, int]]
) -> list[tuple[int, int]] | None:
    """The columns with these cells in them; None if a cell reaches over two columns, or a column over two cells."""
    wider = list(columns)
    taken: set[int] = set()
    fresh: list[tuple[int, int]] = []
    for left, right in cells:
        met = [number for number, (start, end) in enumerate(columns) if left < end and start < right]
        if len(met) > 1 or (met and met[0] in taken):
            return None
        if met:
            taken.add(met[0])
            start, end = columns[met[0]]
            wider[met[0]] = (min(start, left), max(end, right))
        else:
            fresh.append((left, right))
    everything = sorted(wider + fresh)
    clash = any(end > start for (_, end), (start, _) in pairwise(everything))
    return None if clash else everything


def _ends_in_figures(rows: Sequence[Sequence[Cell]]) -> bool:
    texts = [text for row in rows if (text := _shown(row[-1]))]
    figures = sum(sum(map(str.isdigit, text)) >= 0.4 * len(text.replace(" ", "")) for text in texts)
    return len(texts) >= LEAST_ROWS and figures >= FIGURES_SHARE * len(texts)


def _shown(cell: Iterable[Word]) -> str:
    """Without the bars that ruling lines were taken for."""
    return " ".join(word.text for word in cell).strip(f"{_BAR} ")


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _html_row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell, quote=False)}</{tag}>" for cell in cells) + "</tr>"
