"""Prose is read by columns, forms and tables by rows; whatever stands where, every word is read once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.words_on_a_page import PROSE, WORDS, column

from ocrd.domain.documents import Word
from ocrd.domain.reading_order import Paragraph, arrange, find_fold


def read(*paragraphs: Paragraph) -> list[str]:
    """The lines of a page in reading order, as text."""
    return [" ".join(word.text for word in words) for part in arrange(paragraphs) for words in part]


LABELS = ["Name:", "Date of birth:", "Address:", "Telephone:"]
VALUES = ["Anna Petrova", "09.02.1987", "Tver, Zhelyabova 3", "+7 910 555-03-71"]


def test_columns_of_prose_are_read_one_after_the_other() -> None:
    left, right = column(PROSE, 100, 100), column(PROSE, 600, 100)
    assert read(left, right) == PROSE + PROSE


def test_the_headings_of_two_columns_stay_with_them_below_a_title_in_the_middle() -> None:
    """As it was printed: the title alone leaves room on both sides, and one of the headings stands in it."""
    title = column(["Number 27, spring 2025"], 400, 40)
    heads = column(["A box in the attic"], 100, 90), column(["Dates for your diary"], 480, 90)
    left, right = column(PROSE, 100, 140), column(PROSE, 480, 140)
    assert read(title, heads[0], left, heads[1], right) == [
        "Number 27, spring 2025",
        "A box in the attic",
        *PROSE,
        "Dates for your diary",
        *PROSE,
    ]


def test_a_form_is_read_by_rows() -> None:
    labels, values = column(LABELS, 100, 100, pitch=58), column(VALUES, 440, 98, pitch=58)
    assert read(labels, values) == [f"{label} {value}" for label, value in zip(LABELS, VALUES, strict=True)]


@given(st.floats(-0.05, 0.05))
def test_a_form_that_lies_askew_is_read_by_rows(slope: float) -> None:
    labels = column(LABELS, 100, 400, pitch=58, slope=slope)
    values = column(VALUES, 440, 400, pitch=58, slope=slope)
    below = column(PROSE[:3], 100, 800, slope=slope)
    rows = [f"{label} {value}" for label, value in zip(LABELS, VALUES, strict=True)]
    assert read(labels, values, below) == rows + PROSE[:3]


def test_figures_stand_behind_what_they_belong_to() -> None:
    goods = ["Paper A4 500 sheets of 80 g", "Toner for the large printer", "Delivery within the town"]
    assert read(
        column(goods, 100, 100),
        column(["2", "1", "3"], 500, 100),
        column(["349,90", "8 450,00", "1 200,00"], 700, 101),
    ) == [
        "Paper A4 500 sheets of 80 g 2 349,90",
        "Toner for the large printer 1 8 450,00",
        "Delivery within the town 3 1 200,00",
    ]


def test_a_total_on_the_right_comes_before_what_stands_below_it_on_the_left() -> None:
    signature, total = (
        column(["Signed by Anna Petrova", "Accountant"], 100, 400),
        column(["Total: 43 296,70"], 700, 300),
    )
    assert read(signature, total) == ["Total: 43 296,70", "Signed by Anna Petrova", "Accountant"]


def test_addresses_side_by_side_stay_together() -> None:
    sender = ["North Star Ltd", "Myasnitskaya 24 office 412", "101000 Moscow"]
    receiver = ["Uralmash Plc", "Lenin avenue 5", "620000 Yekaterinburg"]
    assert read(column(sender, 100, 100), column(receiver, 600, 100)) == sender + receiver


def test_a_note_in_the_margin_is_not_mixed_into_the_prose() -> None:
    note = ["see page", "twelve of", "the other", "volume"]
    assert read(column(PROSE, 100, 100), column(note, 700, 111, pitch=30)) == PROSE + note


def test_a_table_within_a_column_leaves_the_other_column_alone() -> None:
    left = column(PROSE, 100, 100)
    labels, values = column(LABELS, 600, 100, pitch=58), column(VALUES, 800, 100, pitch=58)
    text = read(left, labels, values)
    assert text[:9] == PROSE
    assert Counter(" ".join(text[9:]).split()) == Counter(" ".join([*LABELS, *VALUES]).split())


def test_a_page_that_lies_on_its_side_is_left_as_tesseract_reads_it() -> None:
    """The words run from top to bottom."""
    lying = [
        [
            [
                Word(text=word.text, box=(box[1], box[0], box[3], box[2]), confidence=90.0, line=0)
                for word in words
            ]
        ]
        for part in (column(LABELS, 100, 100), column(VALUES, 440, 100))
        for words in part
        for box in [words[0].box]
    ]
    assert arrange(lying) == lying


@given(st.lists(st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=6), max_size=12))
def test_every_word_is_read_once_wherever_it_stands(page: list[list[list[Word]]]) -> None:
    arranged = arrange(page)
    assert sorted(map(id, (word for part in arranged for words in part for word in words))) == sorted(
        map(id, (word for part in page for words in part for word in words))
    )
    assert all(words for part in arranged for words in part)


@given(st.floats(0.3, 4.0))
def test_the_resolution_changes_nothing(scale: float) -> None:
    parts = [column(LABELS, 100, 100, pitch=58), column(VALUES, 440, 98, pitch=58), column(PROSE, 100, 500)]

    def scaled(word: Word) -> Word:
        left, top, right, bottom = (math.floor(side * scale * 4) for side in word.box)
        return Word(text=word.text, box=(left, top, right, bottom), confidence=90.0, line=0)

    larger = [[[scaled(word) for word in words] for words in part] for part in parts]
    assert read(*larger) == read(*parts)


# --- spreads ------------------------------------------------------------------------------------------------

PAGE_WIDTH, PAGE_HEIGHT = 830, 1170
SPREAD = (2 * PAGE_WIDTH, PAGE_HEIGHT)
FOOT = ["the sum is to be paid within ten days of this letter", "to the account that is named on top of it"]
GOODS = ["Paper A4", "Toner", "Delivery", "Staples", "Ink", "Glue"]
FIGURES = ["349,90", "8 450,00", "1 200,00", "12,00", "77,10", "5,00"]


def form(x: int) -> list[Paragraph]:
    return [
        column(LABELS, x + 100, 100, pitch=90),
        column(VALUES, x + 440, 98, pitch=90),
        column(FOOT, x + 100, 500),
    ]


def bill(x: int) -> list[Paragraph]:
    return [
        column(GOODS, x + 100, 200, pitch=50),
        column(FIGURES, x + 600, 200, pitch=50),
        column(FOOT, x + 100, 600),
    ]


def prose(x: int) -> list[Paragraph]:
    return [column(PROSE, x + 100, 120), column(PROSE, x + 100, 500)]


def two_columns(x: int) -> list[Paragraph]:
    return [column(PROSE, x + 60, 120), column(PROSE, x + 430, 120)]


PAGES = st.sampled_from([form, bill, prose, two_columns])


def read_spread(paragraphs: list[Paragraph]) -> list[str]:
    return [" ".join(word.text for word in words) for part in arrange(paragraphs, SPREAD) for words in part]


@given(PAGES, PAGES)
def test_of_a_spread_the_left_page_is_read_and_then_the_right_one(
    left: Callable[[int], list[Paragraph]], right: Callable[[int], list[Paragraph]]
) -> None:
    assert read_spread(left(0) + right(PAGE_WIDTH)) == read(*left(0)) + read(*right(PAGE_WIDTH))


def test_a_bill_beside_a_bill_is_no_table_of_four_columns() -> None:
    rows = [f"{good} {figure}" for good, figure in zip(GOODS, FIGURES, strict=True)]
    assert read_spread(bill(0) + bill(PAGE_WIDTH)) == [*rows, *FOOT, *rows, *FOOT]


def test_a_line_that_the_engine_read_over_the_fold_is_cut_there() -> None:
    over = [[*one, *other] for one, other in zip(*(column(PROSE, x, 100) for x in (100, 930)), strict=True)]
    assert read_spread([over]) == PROSE + PROSE


def test_dirt_in_the_fold_hides_no_spread() -> None:
    shadow = [[Word(text="ili", box=(820, y, 840, y + 20), confidence=20.0, line=0)] for y in (100, 400)]
    assert find_fold([*bill(0), shadow, *bill(PAGE_WIDTH)], SPREAD) is not None


@pytest.mark.parametrize("title", [["Stock of the year"], FOOT])
def test_a_table_over_the_whole_width_of_a_page_is_read_by_rows(title: list[str]) -> None:
    """Neither with a narrow nor with a wide gutter in the middle."""
    columns = [column(GOODS, 100, 200, pitch=50)]
    columns += [column(FIGURES, x, 200, pitch=50) for x in (500, 680, 1000, 1200, 1400)]
    table = [column(title, 100, 100), *columns]
    assert find_fold(table, SPREAD) is None
    assert read_spread(table)[len(title) :] == [
        " ".join([good, *[figure] * 5]) for good, figure in zip(GOODS, FIGURES, strict=True)
    ]


def test_a_table_whose_last_column_holds_sentences_is_read_by_rows() -> None:
    notes = ["handed out to the head of the department", *["for the repair of the old machine hall"] * 5]
    middle = column([figure.replace(" ", "") for figure in FIGURES], 640, 200, pitch=50)
    table = [
        column(FOOT, 100, 80),
        column(GOODS, 100, 200, pitch=50),
        middle,
        column(notes, 880, 200, pitch=50),
    ]
    assert find_fold(table, SPREAD) is None


@given(PAGES, st.floats(0.5, 1.19))
def test_a_page_that_is_not_much_wider_than_high_is_no_spread(
    page: Callable[[int], list[Paragraph]], ratio: float
) -> None:
    parts = page(0) + page(PAGE_WIDTH)
    assert arrange(parts, (round(ratio * 1000), 1000)) == arrange(parts)


@given(
    st.lists(st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=6), max_size=12),
    st.integers(1, 4000),
)
def test_every_word_of_a_spread_is_read_once(page: list[list[list[Word]]], width: int) -> None:
    arranged = arrange(page, (width, 1000))
    assert sorted(map(id, (word for part in arranged for words in part for word in words))) == sorted(
        map(id, (word for part in page for words in part for word in words))
    )
