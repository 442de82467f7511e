from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from ocrd.pipeline.recognizer.tsv import View, all_words, legibility, mean_confidence, page_text, parse_blocks

ROWS = (
    "1\t1\t0\t0\t0\t0\t0\t0\t200\t100\t-1\t",
    "2\t1\t1\t0\t0\t0\t10\t10\t80\t30\t-1\t",
    "3\t1\t1\t1\t0\t0\t10\t10\t80\t30\t-1\t",
    "4\t1\t1\t1\t1\t0\t10\t10\t80\t10\t-1\t",
    "5\t1\t1\t1\t1\t1\t10\t10\t40\t10\t96.5\tЧасть",
    "5\t1\t1\t1\t1\t2\t60\t12\t30\t8\t93.5\tпервая,",
    "4\t1\t1\t1\t2\t0\t10\t30\t20\t10\t-1\t",
    "5\t1\t1\t1\t2\t1\t10\t30\t20\t10\t80\tgo",
    "3\t1\t1\t2\t0\t0\t10\t50\t80\t10\t-1\t",
    "5\t1\t1\t2\t1\t1\t10\t50\t5\t10\t50\tи\u0306",
    "2\t1\t2\t0\t0\t0\t0\t70\t200\t30\t-1\t",
    "5\t1\t2\t1\t1\t1\t0\t70\t200\t30\t95\t ",
    "",
)
PAGE = "\n".join(ROWS)


def test_a_paragraph_becomes_a_block_and_its_lines_are_numbered_from_0() -> None:
    first, second = parse_blocks(PAGE)
    assert first.text == "Часть первая,\ngo"
    assert [word.line for word in first.words or ()] == [0, 0, 1]
    assert second.text == "й"
    assert page_text((first, second)) == "Часть первая,\ngo\n\nй"


def test_a_block_surrounds_its_words() -> None:
    block = parse_blocks(PAGE)[0]
    assert block.box == (10, 10, 90, 40)
    assert block.words is not None
    assert block.words[1].box == (60, 12, 90, 20)


def test_words_of_white_space_and_blocks_without_words_are_left_out() -> None:
    assert len(parse_blocks(PAGE)) == 2


def test_text_is_composed_to_nfc() -> None:
    assert parse_blocks(PAGE)[1].text == "\u0439"


def test_boxes_of_a_turned_page_stand_in_the_page_as_it_was() -> None:
    block = parse_blocks(PAGE, View(rotation=180, width=200, height=100))[0]
    assert block.box == (110, 60, 190, 90)


def test_boxes_of_an_enlarged_page_stand_in_the_page_as_it_was() -> None:
    plain, seen = parse_blocks(PAGE)[0], parse_blocks(PAGE, View(scale=2.0))[0]
    assert seen.box == tuple(side // 2 for side in plain.box)
    tiny = parse_blocks(PAGE, View(scale=1000.0))[0].box
    assert tiny[0] < tiny[2]
    assert tiny[1] < tiny[3]


def test_confidence_is_the_mean_of_the_words() -> None:
    first = parse_blocks(PAGE)[0]
    assert first.confidence == 90.0
    assert mean_confidence(()) is None


def test_legibility_counts_words_of_two_letters_and_more() -> None:
    assert legibility(parse_blocks(PAGE)) == 96.5 + 80


@given(st.text())
@example("5\t1\t1\t1\t1\t1\t0\t0\t0\t0\tnan\tx")
@example("5\t1\t1\t1\t1\t1\t0\t0\t-5\t0\t1e999\tx\ty")
@example("5\t1\t1")
@example("5\t1\t1\t1\t1\t1\tx\t0\t0\t0\t5\tx")
def test_parsing_never_raises_and_yields_sound_words(tsv: str) -> None:
    for word in all_words(parse_blocks(tsv)):
        assert word.text.strip()
        assert 0 <= word.confidence <= 100
        assert word.box[0] < word.box[2]
        assert word.box[1] < word.box[3]


CELL = st.one_of(st.integers(-9, 9).map(str), st.floats().map(str), st.text(max_size=3))


@given(st.lists(st.lists(CELL, max_size=13).map("\t".join).map("5\t".__add__), max_size=8).map("\n".join))
def test_parsing_never_raises_on_rows_that_look_almost_right(tsv: str) -> None:
    for block in parse_blocks(tsv):
        assert block.text
        assert block.confidence is not None
        assert math.isfinite(block.confidence)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.text(min_size=1))))
def test_no_word_is_lost_and_the_order_is_kept(words: list[tuple[int, int, int, str]]) -> None:
    texts = ["".join(text.split()) or "x" for *_, text in words]
    rows = [
        f"5\t1\t{block}\t{paragraph}\t{line}\t1\t0\t0\t9\t9\t90\t{text}"
        for (block, paragraph, line, _), text in zip(words, texts, strict=True)
    ]
    blocks = parse_blocks("\n".join(rows))
    assert page_text(blocks).split() == " ".join(word.text for word in all_words(blocks)).split()
    assert len(all_words(blocks)) == len(words)
