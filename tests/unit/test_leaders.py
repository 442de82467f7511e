"""Dots that lead the eye are dots, whatever letters the engine saw in them."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from support.words_on_a_page import WORDS, line

from ocrd.domain.documents import Word
from ocrd.domain.leaders import LEADER, tidy_leaders


def flat(text: str, left: int, right: int, *, confidence: float = 1.0) -> Word:
    return Word(text=text, box=(left, 114, right, 118), confidence=confidence, line=0)


def texts(words: list[Word]) -> list[str]:
    return [word.text for word in words]


def test_letters_in_a_row_of_dots_are_dots() -> None:
    heading, number = line("Feeding the alpaca", 100, 100), line("12", 900, 100)
    dots = [flat("+...", 330, 380), flat("cccecccesscecc", 385, 880)]
    assert texts(tidy_leaders([*heading, *dots, *number])) == ["Feeding", "the", "alpaca", LEADER, "12"]


def test_a_dash_and_dots_that_were_read_as_such_stay() -> None:
    words = [*line("Feeding", 100, 100), flat("—", 300, 320), flat("....", 330, 380), *line("12", 900, 100)]
    assert tidy_leaders(words) == words


def test_a_comma_by_itself_stays() -> None:
    words = [*line("Feeding them", 100, 100), flat(",", 300, 306), *line("then", 320, 100)]
    assert tidy_leaders(words) == words


def test_a_flat_word_that_is_sure_stays() -> None:
    words = [*line("Feeding them", 100, 100), flat("an", 300, 330, confidence=90.0)]
    assert tidy_leaders(words) == words


@given(st.lists(WORDS, max_size=12))
def test_no_word_is_lost_but_leaders_that_are_joined(words: list[Word]) -> None:
    tidy = tidy_leaders(words)
    leaders = [word.box for word in tidy if word.text == LEADER]
    for word in words:
        left, top, right, bottom = word.box
        assert word in tidy or any(
            box[0] <= left and box[1] <= top and right <= box[2] and bottom <= box[3] for box in leaders
        )
    assert all(one.text != LEADER or other.text != LEADER for one, other in itertools.pairwise(tidy))
