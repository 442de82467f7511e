"""Ranges of pages, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import ConfigError
from ocrd.domain.page_ranges import chosen, parse

NUMBERS = st.integers(1, 400)


@pytest.mark.parametrize(
    ("text", "pages", "expected"),
    [
        ("", 3, [1, 2, 3]),
        ("2", 3, [2]),
        ("1-3,7,10-", 12, [1, 2, 3, 7, 10, 11, 12]),
        ("-2", 5, [1, 2]),
        ("4-", 5, [4, 5]),
        (" 3 - 4 , 1", 9, [1, 3, 4]),
        ("5,2-6,3", 9, [2, 3, 4, 5, 6]),
        ("2-100", 3, [2, 3]),
        ("9-", 3, []),
    ],
)
def test_pages_are_chosen_as_they_are_written(text: str, pages: int, expected: list[int]) -> None:
    assert list(chosen(parse(text), pages)) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a", "no range"),
        ("1-2-3", "no range"),
        ("-", "no range"),
        ("1,,3", "no range"),
        ("1;3", "no range"),
        ("٣", "no range"),
        ("0", "from 1"),
        ("0-3", "from 1"),
        ("7-3", "ends before"),
        ("99999999", "no range"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as refused:
        parse(text)
    assert refused.value.hint


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.integers(1, 400))
def test_a_list_of_numbers_chooses_those_that_are_there(numbers: list[int], pages: int) -> None:
    found = chosen(parse(",".join(map(str, numbers))), pages)
    assert list(found) == sorted({number for number in numbers if number <= pages})


@given(NUMBERS, st.integers(0, 400), st.integers(1, 400))
def test_a_range_is_its_numbers(first: int, more: int, pages: int) -> None:
    last = first + more
    assert chosen(parse(f"{first}-{last}"), pages) == tuple(range(first, min(last, pages) + 1))
    assert chosen(parse(f"{first}-"), pages) == tuple(range(first, pages + 1))
    assert chosen(parse(f"-{last}"), pages) == tuple(range(1, min(last, pages) + 1))


@given(st.text(max_size=30))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        ranges = parse(text)
    except ConfigError:
        return
    found = chosen(ranges, 50)
    assert list(found) == sorted(set(found))
    assert set(found) <= set(range(1, 51))
