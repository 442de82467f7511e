"""Tables as models write them, in HTML, made into rows; and rows into Markdown or aligned text. Pure, never raises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

MAX_SPAN = 100
MAX_CELLS = 20_000
"""No page has more; a hostile `colspan` must not cost the memory."""
MAX_WIDTH = 60
"""Wider cells do not push the columns behind them further away, in aligned text."""
_TABLE = re.compile(r"<table.*?(?:</table\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_BLANKS = re.compile(r"[ \t\r\f\v\u00a0]*\n[ \t\r\f\v\u00a0]*|[ \t\r\f\v]+")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equally many cells. A cell over several rows or columns stands in the first, the others are empty."""

    rows: tuple[tuple[str, ...], ...]
    has_spans: bool
    header_rows: int


def is_table(text: str) -> bool:
    """Whether a text holds an HTML table."""
    return _TABLE.search(text) is not None


def parse_table(text: str) -> Table | None:
    """The first table of a text, also one that is cut off; None without any cell."""
    found = _TABLE.search(text)
    if found is None:
        return None
    reader = _Reader()
    reader.feed(found.group())
    reader.close()
    return reader.table()


def around_table(text: str) -> tuple[str, str]:
    """What stands before and behind the first table."""
    found = _TABLE.search(text)
    return (text[: found.start()], text[found.end() :]) if found else (text, "")


def to_pipe(table: Table) -> str | None:
    """A Markdown table; None if it would lose something: spans, or line breaks within cells."""
    if table.has_spans or any("\n" in cell for row in table.rows for cell in row):
        return None
    head, *body = table.rows if table.header_rows == 1 else ((("",) * len(table.rows[0])), *table.rows)
    lines = [_pipe_row(head), _pipe_row(("---",) * len(head)), *map(_pipe_row, body)]
    return "\n".join(lines)


def _pipe_row(row: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def to_text(table: Table) -> str:
    """Columns side by side, two blanks between them. Lines of a cell are put behind each other."""
    rows = [[" ".join(cell.split()) for cell in row] for row in table.rows]
    widths = [min(MAX_WIDTH, max(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    """Collects cells into a grid."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._grid: list[dict[int, str]] = []
        self._covered: set[tuple[int, int]] = set()
        self._open: list[str] | None = None
        self._place = (0, 0)
        self._spans = False
        self._headers: set[int] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._end_cell()
            self._grid.append({})
        elif tag in {"td", "th"}:
            self._end_cell()
            self._begin_cell(tag, dict(attrs))
        elif tag in {"br", "p", "div", "li"} and self._open:
            self._open.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th", "tr", "table"}:
            self._end_cell()

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open.append(data)
        elif data.strip():  # text that stands in no cell gets one, so that nothing is lost
            self._begin_cell("td", {}).append(data)

    def close(self) -> None:
        super().close()
        self._end_cell()

    def _begin_cell(self, tag: str, attributes: dict[str, str | None]) -> list[str]:
        """Make room for a cell; where its text goes."""
        if not self._grid:
            self._grid.append({})
        row = len(self._grid) - 1
        column = max(self._grid[row], default=-1) + 1
        while (row, column) in self._covered:
            column += 1
        wide, high = _span(attributes.get("colspan")), _span(attributes.get("rowspan"))
        if len(self._covered) < MAX_CELLS:
            for down in range(high):
                for across in range(wide):
                    self._covered.add((row + down, column + across))
        self._spans = self._spans or wide > 1 or high > 1
        for across in range(1, wide):
            self._grid[row][column + across] = ""
        self._grid[row][column] = ""
        self._place = (row, column)
        self._open = []
        if tag == "th":
            self._headers.add(row)
        return self._open

    def _end_cell(self) -> None:
        if self._open is None:
            return
        row, column = self._place
        self._grid[row][column] = _BLANKS.sub(_one_blank, "".join(self._open)).strip()
        self._open = None

    def table(self) -> Table | None:
        grid = [row for row in self._grid if row]
        if not grid:
            return None
        width = min(max(max(row) for row in grid) + 1, MAX_CELLS)
        rows = tuple(tuple(row.get(column, "") for column in range(width)) for row in grid)
        # Without a word about it the first row is the heading: that is how dots.ocr writes most tables.
        header = 1 if len(rows) > 1 and (not self._headers or self._headers == {0}) else 0
        return Table(rows, self._spans, header)


def _one_blank(found: re.Match[str]) -> str:
    return "\n" if "\n" in found.group() else " "


def _span(value: str | None) -> int:
    return min(int(value), MAX_SPAN) if value and value.isascii() and value.isdigit() and value != "0" else 1
