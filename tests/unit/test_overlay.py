"""Invisible text lies on the letters that it was read from, however the page is cut and turned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Block, Box, Word
from ocrd.domain.overlay import CHARACTER_WIDTH, Frame, Placed, Run, blocks_to_lines, place

CROP = (10.0, 20.0, 210.0, 320.0)
"""200 points wide and 300 high."""


def frame(*, turned: int = 0, rotation: int = 0, width: int = 0, height: int = 0) -> Frame:
    return Frame(crop=CROP, turned=turned, width=width, height=height, dpi=144.0, rotation=rotation)


def corners(placed: Placed) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of what the text covers, in points."""
    a, b, c, d, e, f = placed.matrix
    wide = CHARACTER_WIDTH * len(placed.text)
    ends = [(e, f), (e + a * wide + c, f + b * wide + d)]
    (x, y), (to_x, to_y) = ends
    return min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y)


def box_of(text: str, box: Box, where: Frame) -> tuple[float, float, float, float]:
    (placed,) = place([[Run(text, box)]], where)
    return corners(placed)


def test_a_word_of_an_upright_page_stands_where_its_pixels_are() -> None:
    """144 DPI: two pixels a point; the page's top left corner is (10, 320)."""
    assert box_of("word", (20, 40, 120, 60), frame()) == pytest.approx((20, 290, 70, 300))


@pytest.mark.parametrize(
    ("turned", "expected"),
    [(90, (30, 30, 40, 80)), (180, (150, 40, 200, 50)), (270, (180, 260, 190, 310))],
)
def test_a_page_that_a_viewer_turns_has_its_text_turned_back(
    turned: int, expected: tuple[float, float, float, float]
) -> None:
    assert box_of("word", (20, 40, 120, 60), frame(turned=turned)) == pytest.approx(expected)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_whichever_way_the_page_was_read_the_text_covers_the_same_place(rotation: int, turned: int) -> None:
    upright = box_of("word", (20, 40, 120, 60), frame(turned=turned))
    assert box_of("word", (20, 40, 120, 60), frame(turned=turned, rotation=rotation)) == pytest.approx(
        upright
    )


@pytest.mark.parametrize(
    ("rotation", "direction"), [(0, (1, 0)), (90, (0, 1)), (180, (-1, 0)), (270, (0, -1))]
)
def test_text_runs_the_way_it_was_read(rotation: int, direction: tuple[int, int]) -> None:
    """A page that was turned clockwise to be read has text that runs upwards."""
    (placed,) = place([[Run("word", (20, 40, 120, 60))]], frame(rotation=rotation))
    a, b = placed.matrix[:2]
    assert (round(a / max(abs(a), abs(b))), round(b / max(abs(a), abs(b)))) == direction


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_resolution_of_the_image_does_not_matter(width: int, height: int) -> None:
    """A word that covers a quarter of the image covers a quarter of the page."""
    box = (0, 0, width, height)
    assert box_of("word", box, frame(width=width, height=height)) == pytest.approx(CROP)


def test_words_of_a_line_are_parted_by_blanks_that_reach_to_the_next() -> None:
    first, second = place([[Run("one", (0, 0, 60, 20)), Run("two", (80, 0, 140, 20))]], frame())
    assert (first.text, second.text) == ("one ", "two")
    assert corners(first)[2] == pytest.approx(corners(second)[0])


@pytest.mark.parametrize("left", [60, 50])
def test_words_that_touch_or_overlap_are_parted_too(left: int) -> None:
    first, second = place([[Run("one", (0, 0, 60, 20)), Run("two", (left, 0, 140, 20))]], frame())
    assert (first.text, second.text) == ("one ", "two")
    assert corners(first)[2] == pytest.approx(corners(second)[0])


def test_a_single_character_at_the_end_is_as_wide_as_it_is_and_has_a_blank_after_it() -> None:
    (placed,) = place([[Run("w", (20, 40, 40, 60))]], frame())
    assert placed.text == "w "
    left, bottom, right, top = corners(placed)
    assert (left, bottom, (left + right) / 2, top) == pytest.approx((20, 290, 30, 300))


def test_an_engine_without_words_has_its_lines_laid_into_the_block() -> None:
    block = Block(category="Text", box=(0, 0, 400, 40), text="a long line of text\nshort")
    long, short = blocks_to_lines([block])
    assert [run.text for run in (*long, *short)] == ["a long line of text", "short"]
    assert long[0].box == (0, 0, 400, 20)
    assert short[0].box == (0, 20, 400 * 5 // 19, 40)


def test_the_rulings_of_a_table_are_no_words_of_it_and_bars_in_a_text_are() -> None:
    words = tuple(
        Word(text=text, box=(0, 0, 9, 9), confidence=90.0, line=line)
        for text, line in (("|", 0), ("Sum", 0), ("|", 0), ("12|", 0), ("||", 1))
    )
    table, text = (Block(category=kind, box=(0, 0, 9, 9), text="", words=words) for kind in ("Table", "Text"))
    assert [[run.text for run in line] for line in blocks_to_lines([table])] == [["Sum", "12|"]]
    assert [len(line) for line in blocks_to_lines([text])] == [4, 1]


def test_words_make_lines_and_pictures_none() -> None:
    words = tuple(
        Word(text=text, box=(0, 0, 9, 9), confidence=90.0, line=line)
        for text, line in (("a", 0), ("b", 0), ("c", 1))
    )
    blocks = [
        Block(category="Text", box=(0, 0, 9, 9), text="a b\nc", words=words),
        Block(category="Picture", box=(0, 0, 9, 9), text="a cat"),
    ]
    assert [[run.text for run in line] for line in blocks_to_lines(blocks)] == [["a", "b"], ["c"]]
