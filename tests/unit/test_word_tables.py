"""Tables are found by the places of words; what is none stays as it is, and every word is there once."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from support.words_on_a_page import HEIGHT, PROSE, WORDS, column, line

from ocrd.domain.documents import Word
from ocrd.domain.reading_order import Paragraph
from ocrd.domain.tables import parse_table, to_pipe, to_text
from ocrd.domain.word_tables import Grid, find_tables

PITCH = 2 * HEIGHT
GOODS = [
    ("No", "Goods", "Amount", "Price"),
    ("1", "Paper A4 of 80 g", "25", "349,90"),
    ("2", "Toner", "3", "8 450,00"),
    ("3", "Delivery in town", "1", "1 200,00"),
]


def laid_out(rows: Sequence[Sequence[str]], *columns: int, y: int = 100) -> Paragraph:
    """The rows as lines, with a column at each place."""
    return [
        [word for text, x in zip(row, columns, strict=True) for word in line(text, x, y + number * PITCH)]
        for number, row in enumerate(rows)
    ]


def tables_of(*paragraphs: Paragraph) -> list[Grid]:
    return [part for part in find_tables(paragraphs) if isinstance(part, Grid)]


def shown(grid: Grid) -> list[list[str]]:
    return [[" ".join(word.text for word in cell) for cell in row] for row in grid.rows]


def test_rows_whose_cells_stand_in_columns_are_a_table() -> None:
    (grid,) = tables_of(laid_out(GOODS, 100, 160, 500, 620))
    assert shown(grid) == [list(row) for row in GOODS]
    table = parse_table(grid.to_html())
    assert table is not None
    assert table.rows == tuple(GOODS)
    assert table.header_rows == 1
    assert (to_pipe(table) or "").splitlines()[2] == "| 1 | Paper A4 of 80 g | 25 | 349,90 |"


def test_a_table_without_a_heading_gets_an_empty_one() -> None:
    (grid,) = tables_of(laid_out(GOODS[1:], 100, 160, 500, 620))
    table = parse_table(grid.to_html())
    assert table is not None
    assert (to_pipe(table) or "").splitlines()[0] == "|  |  |  |  |"
    assert to_text(table).splitlines()[0].split() == ["1", "Paper", "A4", "of", "80", "g", "25", "349,90"]


def test_ruling_lines_that_were_read_as_bars_part_cells_and_are_not_shown() -> None:
    rows = [
        ("1", "|Paper A4", "25|", "349,90"),
        ("2", "|Toner", "3|", "845,00"),
        ("3", "|Ink", "1|", "12,00"),
    ]
    (grid,) = tables_of(laid_out(rows, 100, 118, 250, 288))
    assert "|" not in grid.to_html()
    assert "<td>Paper A4</td><td>25</td>" in grid.to_html()


def test_a_form_and_a_numbered_list_are_no_tables() -> None:
    form = [("Name:", "Anna Petrova"), ("Town:", "Tver"), ("Trade:", "Carpenter"), ("Wish:", "A workshop")]
    numbered = [("1.", "Paper is cut"), ("2.", "Ink is mixed"), ("3.", "Both are dried")]
    assert not tables_of(laid_out(form, 100, 400), laid_out(numbered, 100, 150, y=600))


def test_goods_and_prices_are_a_table_of_two_columns() -> None:
    receipt = [("Coffee", "120,00"), ("Cake with nuts", "210,00"), ("Total", "330,00")]
    (grid,) = tables_of(laid_out(receipt, 100, 500))
    assert shown(grid) == [list(row) for row in receipt]


def test_what_stands_around_a_table_stays_what_it_was() -> None:
    before, after = column(PROSE[:3], 100, 0, pitch=30), column(PROSE[3:6], 100, 400)
    found = find_tables([before, laid_out(GOODS, 100, 160, 500, 620), after])
    assert found[0] == before
    assert isinstance(found[1], Grid)
    assert found[2] == after


def test_the_rest_of_a_long_cell_gets_a_row_of_its_own() -> None:
    page = laid_out(GOODS[:3], 100, 160, 500, 620)
    page = [
        *page,
        line("and its box", 160, 100 + 3 * PITCH),
        *laid_out(GOODS[3:], 100, 160, 500, 620, y=100 + 4 * PITCH),
    ]
    (grid,) = tables_of(page)
    assert shown(grid)[3] == ["", "and its box", "", ""]


def test_markup_in_a_cell_is_text() -> None:
    rows = [("<b>1</b>", "</td>&amp;", "1"), ("2", "x<script>", "2"), ("3", "y", "3")]
    (grid,) = tables_of(laid_out(rows, 100, 300, 500))
    table = parse_table(grid.to_html())
    assert table is not None
    assert table.rows[1:] == tuple(rows)


@given(st.lists(st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=6), max_size=8))
def test_every_word_is_there_once(page: list[list[list[Word]]]) -> None:
    found: list[int] = []
    for part in find_tables(page):
        cells = [cell for row in part.rows for cell in row] if isinstance(part, Grid) else part
        found += [id(word) for words in cells for word in words]
    assert sorted(found) == sorted(id(word) for part in page for words in part for word in words)
