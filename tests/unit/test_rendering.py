from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Block
from ocrd.domain.rendering import block_to_text, blocks_to_text

ONE = "<table><tr><td>Итого</td><td>1 234,56</td></tr></table>"


def block(text: str, category: str = "Text") -> Block:
    return Block(category=category, box=(0, 0, 1, 1), text=text)


def test_blocks_are_separated_by_an_empty_line_and_pictures_leave_none() -> None:
    blocks = [
        block("# Договор № 15", "Title"),
        block("", "Picture"),
        block("**Срок:** год"),
        block(ONE, "Table"),
    ]
    assert blocks_to_text(blocks) == "Договор № 15\n\nСрок: год\n\nИтого  1 234,56"
    assert blocks_to_text([]) == ""


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("## Глава 2", "Глава 2"),
        ("#хэштег", "#хэштег"),
        ("**a** и **b**", "a и b"),
        ("__a b__ c", "a b c"),
        ("**a\nb**", "**a\nb**"),
        ("2 ** 3 ** 4", "2 ** 3 ** 4"),
        ("snake__case__name", "snake__case__name"),
        ("* * *", "* * *"),
    ],
)
def test_marks_of_headings_and_bold_type_go_and_what_only_looks_like_them_stays(
    written: str, shown: str
) -> None:
    assert block_to_text(block(written)) == shown


@given(
    st.lists(st.sampled_from(["___", "________", " ", "подпись", "**", "«", "."]), max_size=9).map("".join)
)
def test_lines_to_be_filled_in_by_hand_stay_as_long_as_they_are(text: str) -> None:
    assert block_to_text(block(text)).count("_") == text.count("_")


@pytest.mark.parametrize("formula", ["\\frac{a}{b}", "$$\n**x** # y\n$$", "a < b"])
def test_formulas_stay_as_they_are(formula: str) -> None:
    assert block_to_text(block(formula, "Formula")) == formula


def test_every_table_of_a_block_is_shown_and_the_text_between_them() -> None:
    assert block_to_text(block(f"**до**\n{ONE}\nмежду{ONE}после", "Table")).splitlines() == [
        "до",
        "Итого  1 234,56",
        "между",
        "Итого  1 234,56",
        "после",
    ]


def test_a_table_within_a_text_block_is_shown_too() -> None:
    assert block_to_text(block(ONE)) == "Итого  1 234,56"


@given(
    st.text(st.sampled_from("#*_<>/table \nдаtr|$"), max_size=40),
    st.sampled_from(["Text", "Table", "Formula"]),
)
def test_no_letter_outside_of_tags_is_lost(text: str, category: str) -> None:
    shown = block_to_text(block(text, category))
    assert [letter for letter in shown if letter in "да"] == [letter for letter in text if letter in "да"]


@pytest.mark.parametrize(
    "piece",
    [
        "**a ",
        "__a ",
        "<table>",
        "<table",
        "<td",
        "<",
        "</table>",
        "# ",
        "<table></table>",
        "<table>" + "\u00a0 " * 30_000,
    ],
)
def test_no_piece_that_comes_again_and_again_takes_more_than_its_time(piece: str) -> None:
    begun = time.process_time()
    block_to_text(block(piece * max(1, 60_000 // len(piece))))
    assert time.process_time() - begun < 5, "seconds; in proportion it is less than one"
