from __future__ import annotations

import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Block
from ocrd.domain.rendering import block_to_text, blocks_to_text
from ocrd.domain.tables import MAX_AREA, MAX_SPAN, parse_table, split_tables, to_pipe, to_text

PRICES = (
    "<table><thead><tr><th>Товар</th><th>Цена</th></tr></thead>"
    "<tbody><tr><td>Бумага A4</td><td>1 234,56</td></tr><tr><td>Клей | ПВА</td><td>15</td></tr></tbody></table>"
)
CELLS = st.text(st.characters(categories=("L", "Nd"), include_characters=" <&>|"), max_size=12)


def test_rows_become_a_markdown_table() -> None:
    table = parse_table(PRICES)
    assert table is not None
    assert (
        to_pipe(table) == "| Товар | Цена |\n| --- | --- |\n| Бумага A4 | 1 234,56 |\n| Клей \\| ПВА | 15 |"
    )


def test_rows_become_columns_of_text() -> None:
    table = parse_table(PRICES)
    assert table is not None
    assert to_text(table) == "Товар       Цена\nБумага A4   1 234,56\nКлей | ПВА  15"


def test_a_table_with_spans_stays_html_and_loses_no_cell() -> None:
    table = parse_table(
        '<table><tr><td colspan="2">Итог</td><td>1</td></tr><tr><td rowspan=2>a</td><td>b</td><td>c</td></tr>'
        "<tr><td>d</td><td>e</td></tr></table>"
    )
    assert table is not None
    assert to_pipe(table) is None
    assert table.rows == (("Итог", "", "1"), ("a", "b", "c"), ("", "d", "e"))


def test_a_hostile_span_costs_nothing() -> None:
    table = parse_table('<table><tr><td colspan="1000000000" rowspan="99999999">x</td></tr></table>')
    assert table is not None
    assert len(table.rows[0]) == MAX_SPAN


def test_a_table_that_is_cut_off_keeps_its_last_cell() -> None:
    table = parse_table("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>пол")
    assert table is not None
    assert table.rows == (("a", "b"), ("c", "пол"))


def test_text_outside_of_cells_is_kept() -> None:
    table = parse_table("<table>без ячейки<tr><td>a</td></tr>")
    assert table is not None
    assert table.rows == (("без ячейки",), ("a",))


def test_no_table_is_none() -> None:
    assert parse_table("просто текст") is None
    assert parse_table("<table></table>") is None


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_every_cell_comes_out_again(rows: list[list[str]]) -> None:
    text = "<table>" + "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = parse_table(text + "</table>")
    assert table is not None
    assert [[" ".join(cell.split()) for cell in row] for row in table.rows] == [
        [" ".join(cell.split()) for cell in row] for row in rows
    ]
    shown = to_text(table).split()
    assert shown == [word for row in rows for cell in row for word in cell.split()]


@given(st.text(st.sampled_from('<>/tabledhr="0123 яж&;!-')))
def test_no_text_can_make_it_raise(text: str) -> None:
    table = parse_table("<table>" + text)
    assert table is None or len({len(row) for row in table.rows}) == 1


# --- plain text ---------------------------------------------------------------------------------------------


def block(text: str, category: str = "Text") -> Block:
    return Block(category=category, box=(0, 0, 1, 1), text=text)


def test_plain_text_has_no_marks() -> None:
    blocks = [
        block("# Договор", "Title"),
        block("**Важно:** 2 * 3 * 4"),
        block("", "Picture"),
        block(PRICES, "Table"),
    ]
    assert (
        blocks_to_text(blocks)
        == "Договор\n\nВажно: 2 * 3 * 4\n\nТовар       Цена\nБумага A4   1 234,56\nКлей | ПВА  15"
    )


def test_formulas_stay_as_they_are() -> None:
    assert block_to_text(block("\\frac{a}{b}", "Formula")) == "\\frac{a}{b}"


def test_text_around_a_table_is_kept() -> None:
    assert block_to_text(block(f"до\n{PRICES}\nпосле", "Table")).splitlines()[0::4] == ["до", "после"]


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="#*_<>"), max_size=40))
def test_text_without_marks_is_kept(text: str) -> None:
    assert block_to_text(block(text)) == text.strip("\n").strip()


# --- what models and hostile pages make of tables -----------------------------------------------------------


def rows_of(inside: str) -> tuple[tuple[str, ...], ...]:
    table = parse_table(f"<table><tr>{inside}")
    assert table is not None
    return table.rows


@pytest.mark.parametrize(
    ("inside", "row"),
    [
        ("<td>a <5 b</td><td>x<y</td>", ("a <5 b", "x<y")),
        ("<td>1 <! 2</td><td>q", ("1 <! 2", "q")),
        ("<td><script>x</script>y</td><td>z", ("<script>x</script>y", "z")),
        ("<td>a<td colspan=2", ("a",)),
        ("<td>a</t", ("a",)),
        ("<td>м<sup>2</sup></td><td>H<sub>2</sub>O", ("м²", "H₂O")),
        ("<td>&lt;b&gt; &amp; &nbsp;c</td>", ("<b> & \u00a0c",)),
        ("<TD>a</TD><TH>b", ("a", "b")),
    ],
)
def test_cells_keep_what_is_no_tag_and_lose_what_is_half_of_one(inside: str, row: tuple[str, ...]) -> None:
    assert rows_of(inside) == (row,)


@pytest.mark.parametrize(
    "inside",
    [
        "<td colspan=2>a</td>",
        "<td rowspan=2>a</td>",
        "<td>a<br>b</td>",
        "<td>a<table><tr><td>b</td></tr></table></td>",
        '<td><a href="x">a</a></td>',
        "<td>10<sup>th</sup></td>",
        "<td>$|x|$</td>",
    ],
)
def test_what_markdown_cannot_say_makes_no_markdown(inside: str) -> None:
    table = parse_table(f"<table><tr>{inside}</tr></table>")
    assert table is not None
    assert to_pipe(table) is None
    assert to_text(table)


def test_markdown_of_cells_shows_their_stars_and_keeps_their_formulas() -> None:
    table = parse_table("<table><tr><td>5 * 3 * 2</td><td>$x_1 * y_1$</td></tr></table>")
    assert table is not None
    assert to_pipe(table) == "|  |  |\n| --- | --- |\n| 5 \\* 3 \\* 2 | $x_1 * y_1$ |"


def test_a_table_within_a_table_costs_no_cell_of_either() -> None:
    inner = "<table><tr><td>b</td></tr></table>"
    (piece,) = split_tables(f"<table><tr><td>a{inner}</td><td>c</td></tr></table>")
    assert piece.table is not None
    assert [cell for row in piece.table.rows for cell in row if cell] == ["a", "b", "c"]


@given(st.lists(st.sampled_from(["<table>", "</table>", "<tr>", "<td>", "a", "\n", "<tablet>"]), max_size=12))
def test_the_pieces_of_a_text_are_the_text(parts: list[str]) -> None:
    text = "".join(parts)
    assert "".join(piece.source for piece in split_tables(text)) == text


@pytest.mark.parametrize(
    "inside",
    [
        "<td colspan=100>x" * 300 + "<tr><td>y" * 2000,
        "<td rowspan=100 colspan=100>x" * 2000,
        "<td>x" * 12_000,
    ],
)
def test_a_hostile_table_costs_neither_memory_nor_time_nor_cells(inside: str) -> None:
    begun = time.process_time()
    rows = rows_of(inside)
    assert sum(len(row) for row in rows) <= MAX_AREA
    assert sum(bool(cell) for row in rows for cell in row) == inside.count("<td")
    assert time.process_time() - begun < 5, "seconds; in proportion it is less than one"
