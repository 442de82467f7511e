from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Block, Box
from ocrd.domain.strips import join_lines, merge_blocks, merge_texts

WORDS = ("договор", "поставка", "invoice", "total", "счёт", "склад", "бумага", "office", "срок", "подпись")


def page_lines(seed: int, number: int) -> list[str]:
    """Lines as a document has them; now and then one stands twice."""
    rng = random.Random(seed)
    lines: list[str] = []
    for index in range(number):
        if lines and rng.random() < 0.1:
            lines.append(lines[-1])
        else:
            lines.append(
                f"{index} "
                + " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 7)))
                + f" {rng.randint(0, 999)}"
            )
    return lines


@given(
    seed=st.integers(0, 10_000), number=st.integers(12, 40), cut=st.floats(0.3, 0.7), shared=st.integers(2, 5)
)
def test_the_lines_of_two_strips_are_those_of_the_page(
    seed: int, number: int, cut: float, shared: int
) -> None:
    lines = page_lines(seed, number)
    at = int(number * cut)
    joined, found = join_lines(lines[: at + shared], lines[at:])
    assert found
    assert joined == lines


@given(seed=st.integers(0, 10_000), number=st.integers(14, 40), shared=st.integers(3, 5))
def test_lines_that_are_cut_at_the_edge_are_taken_from_the_other_strip(
    seed: int, number: int, shared: int
) -> None:
    lines = [f"{index}: {line}" for index, line in enumerate(page_lines(seed, number))]
    at = number // 2
    upper = [*lines[: at + shared], "~~ ,. _"]
    lower = [".' - ~", *lines[at:]]
    joined, found = join_lines(upper, lower)
    assert found
    assert joined == lines


@given(seed=st.integers(0, 10_000))
def test_one_wrong_letter_does_not_double_a_line(seed: int) -> None:
    lines = page_lines(seed, 20)
    lower = [line[:3] + "x" + line[4:] for line in lines[9:]]
    joined, found = join_lines(lines[:12], lower)
    assert found
    assert len(joined) == len(lines)


def test_strips_without_a_common_line_are_both_kept() -> None:
    assert (
        merge_texts("first line here", "something else entirely")
        == "first line here\nsomething else entirely"
    )
    assert join_lines(["a b c"], []) == (["a b c"], False)


@given(st.lists(st.text(max_size=20), max_size=15), st.lists(st.text(max_size=20), max_size=15))
def test_any_lines_can_be_joined_and_none_is_invented(upper: list[str], lower: list[str]) -> None:
    joined, _ = join_lines(upper, lower)
    assert set(joined) <= set(upper) | set(lower)
    assert len(joined) >= max(len(upper) - 1, len(lower) - 2, 0)


# --- blocks -------------------------------------------------------------------------------------------------

UPPER: Box = (0, 0, 1000, 600)
LOWER: Box = (0, 500, 1000, 1100)


def block(
    text: str, top: int, bottom: int, *, left: int = 50, right: int = 950, category: str = "Text"
) -> Block:
    return Block(category=category, box=(left, top, right, bottom), text=text)


def merged(upper: list[Block], lower: list[Block]) -> list[str]:
    return [one.text for one in merge_blocks([upper, lower], [UPPER, LOWER])]


def test_a_block_that_stands_in_both_strips_comes_once() -> None:
    upper = [block("Заголовок", 10, 40), block("Итого: 15 руб.", 520, 550)]
    lower = [block("Итого: 15 руб", 521, 551), block("Подпись", 800, 830)]
    assert merged(upper, lower) == ["Заголовок", "Итого: 15 руб.", "Подпись"]


def test_a_paragraph_that_is_cut_is_put_together() -> None:
    upper = [block("one two three\nfour five six\nseven eight nine", 450, 600)]
    lower = [block("four five six\nseven eight nine\nten eleven twelve", 500, 700)]
    (text,) = merged(upper, lower)
    assert text == "one two three\nfour five six\nseven eight nine\nten eleven twelve"


def test_equal_rows_outside_of_what_the_strips_share_are_all_kept() -> None:
    upper = [block("Итого: 0,00", 100, 130), block("Итого: 0,00", 200, 230)]
    lower = [block("Итого: 0,00", 700, 730)]
    assert merged(upper, lower) == ["Итого: 0,00"] * 3


def test_equal_texts_in_two_columns_are_two() -> None:
    upper = [block("0,00", 520, 550, left=0, right=100)]
    lower = [block("0,00", 520, 550, left=500, right=600)]
    assert merged(upper, lower) == ["0,00", "0,00"]
