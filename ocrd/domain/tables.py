"""Tables as models write them, in HTML, made into rows; and rows into Markdown or aligned text. Pure, never raises."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

MAX_SPAN = 100
MAX_CELLS = 20_000
"""No page has more; a hostile `colspan` must not cost the memory."""
MAX_AREA = 200_000
"""Rows × columns. What needs more is no table: its cells become rows of one."""
MAX_WIDTH = 60
"""Wider cells do not push the columns behind them further away, in aligned text."""
_TABLE_TAG = re.compile(r"<(/?)table(?![\w-])(?:\s[^<>]*)?>?", re.IGNORECASE)
_MARKS = frozenset({"sup", "sub", "a", "img", "ul", "ol"})
"""Inline tags that say something; others (`b`, `span`) only look like something."""
_TAGS = (
    "table|thead|tbody|tfoot|caption|colgroup|col|tr|td|th|br|p|div|li|b|i|u|s|em|strong|small|span|font|"
    + "|".join(sorted(_MARKS))
)
_NO_TAG = re.compile(rf"<(?!/?(?:{_TAGS})(?:\s[^<>]*)?/?>)", re.IGNORECASE)
"""A `<` that begins no tag of a table: `a<b`, `< 5`, a comment, a script. It is text."""
_CUT_TAG = re.compile(r"<(?:/?[a-zA-Z]{0,10}|t[dhr]\s[^<>]*)\Z")
_RAISED = re.compile(r"<(sup|sub)>\s*([0-9+\-=()]{1,20})\s*</\1>", re.IGNORECASE)
_RAISE = {
    "sup": str.maketrans("0123456789+-=()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾"),
    "sub": str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎"),
}
_MARKDOWN = re.compile(r"([\\`*_\[\]~|])")
_FORMULA = re.compile(r"\$[^$]+\$")
_BLANKS = re.compile(r"(?<![ \t\r\f\v\u00a0])[ \t\r\f\v\u00a0]*+\n[ \t\r\f\v\u00a0]*+|[ \t\r\f\v]++")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equally many cells. A cell over several rows or columns stands in the first, the others are empty."""

    rows: tuple[tuple[str, ...], ...]
    is_plain: bool
    """False if the rows do not say all: cells over several rows or columns, a table within a table, links."""
    header_rows: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text as it was written, with the table that it is, if it is one."""

    source: str
    table: Table | None


def split_tables(text: str) -> list[Piece]:
    """A text as its tables, also one that is cut off, and what stands before, between and behind them."""
    pieces: list[Piece] = []
    start = depth = 0
    for tag in _TABLE_TAG.finditer(text):
        if not tag[1]:
            if depth == 0:
                pieces.append(Piece(text[start : tag.start()], None))
                start = tag.start()
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                pieces.append(_table_piece(text[start : tag.end()]))
                start = tag.end()
    rest = text[start:]
    pieces.append(_table_piece(_CUT_TAG.sub("", rest)) if depth else Piece(rest, None))
    return [piece for piece in pieces if piece.source]


def parse_table(text: str) -> Table | None:
    """The first table of a text; None without any cell."""
    return next((piece.table for piece in split_tables(text) if piece.table), None)


def _table_piece(source: str) -> Piece:
    reader = _Reader()
    reader.feed(
        _NO_TAG.sub("&lt;", _RAISED.sub(lambda found: found[2].translate(_RAISE[found[1].lower()]), source))
    )
    reader.close()
    return Piece(source, reader.table())


def to_pipe(table: Table) -> str | None:
    """A Markdown table; None if it would lose something: spans, line breaks within cells, a bar within a formula."""
    if not table.is_plain or any(
        "\n" in cell or _has_formula_with_bar(cell) for row in table.rows for cell in row
    ):
        return None
    head, *body = table.rows if table.header_rows == 1 else ((("",) * len(table.rows[0])), *table.rows)
    marks = "| " + " | ".join(["---"] * len(head)) + " |"
    return "\n".join([_pipe_row(head), marks, *map(_pipe_row, body)])


def _has_formula_with_bar(cell: str) -> bool:
    """Viewers do not agree on what a bar with a backslash before it is within a formula."""
    return "|" in cell and _FORMULA.search(cell) is not None


def _pipe_cell(cell: str) -> str:
    """HTML shows its stars and lines as they are; Markdown must too. Formulas stay what they are."""
    escaped = cell.replace("&", "&amp;").replace("<", "&lt;")
    return escaped if _FORMULA.search(cell) else _MARKDOWN.sub(r"\\\1", escaped)


def _pipe_row(row: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_pipe_cell, row)) + " |"


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
        self._column = 0
        self._tables = 0
        self._is_plain = True
        self._headers: set[int] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self._end_cell()
            self._begin_row()
        elif tag in {"td", "th"}:
            self._end_cell()
            self._begin_cell(tag, dict(attrs))
        elif tag in {"br", "p", "div", "li"} and self._open:
            self._open.append("\n")
        self._tables += tag == "table"
        self._is_plain = self._is_plain and tag not in _MARKS and self._tables <= 1

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

    def _begin_row(self) -> None:
        self._grid.append({})
        self._column = 0

    def _begin_cell(self, tag: str, attributes: dict[str, str | None]) -> list[str]:
        """Make room for a cell; where its text goes."""
        if not self._grid:
            self._begin_row()
        row = len(self._grid) - 1
        while (row, self._column) in self._covered:
            self._column += 1
        wide, high = _span(attributes.get("colspan")), _span(attributes.get("rowspan"))
        self._is_plain = self._is_plain and wide == high == 1
        if len(self._covered) >= MAX_CELLS:
            wide = high = 1
        if wide > 1 or high > 1:
            columns = range(self._column, self._column + wide)
            self._covered.update((row + down, column) for down in range(high) for column in columns)
        self._grid[row].update(dict.fromkeys(range(self._column, self._column + wide), ""))
        self._place = (row, self._column)
        self._column += wide
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
        width = max(max(row) for row in grid) + 1
        if width * len(grid) > MAX_AREA:
            return Table(
                tuple((cell,) for row in grid for cell in row.values() if cell) or (("",),), False, 0
            )
        rows = tuple(tuple(row.get(column, "") for column in range(width)) for row in grid)
        # Without a word about it the first row is the heading: that is how dots.ocr writes most tables.
        header = 1 if len(rows) > 1 and (not self._headers or self._headers == {0}) else 0
        return Table(rows, self._is_plain, header)


def _one_blank(found: re.Match[str]) -> str:
    return "\n" if "\n" in found.group() else " "


def _span(value: str | None) -> int:
    return min(int(value), MAX_SPAN) if value and value.isascii() and value.isdigit() and value != "0" else 1
