from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Box
from ocrd.domain.geometry import choose_dpi, unrotate_box

SIDES_PT = st.floats(1, 14_400, allow_nan=False)
"""From a point to 200 inches, the largest page that PDF 1.7 allows."""
LIMITS = st.integers(10_000, 200_000_000)
TURNS = st.sampled_from([0, 90, 180, 270])


@given(SIDES_PT, SIDES_PT, st.floats(50, 1200), LIMITS)
def test_a_rendered_page_stays_within_its_pixels_but_for_one_row_and_column(
    width: float, height: float, dpi: float, max_pixels: int
) -> None:
    size = choose_dpi(width, height, dpi=dpi, min_dpi=20, max_pixels=max_pixels)
    if size is not None:
        assert (size.width - 1) * (size.height - 1) <= max_pixels


@given(SIDES_PT, SIDES_PT, st.floats(50, 1200), st.floats(20, 300), LIMITS)
def test_the_resolution_lies_between_the_legible_and_the_wanted_one(
    width: float, height: float, dpi: float, min_dpi: float, max_pixels: int
) -> None:
    size = choose_dpi(width, height, dpi=dpi, min_dpi=min_dpi, max_pixels=max_pixels)
    if size is not None:
        assert min_dpi <= size.dpi <= dpi
        assert size.width >= 1
        assert size.height >= 1


@given(SIDES_PT, SIDES_PT, LIMITS)
def test_more_pixels_never_give_a_lower_resolution(width: float, height: float, max_pixels: int) -> None:
    less = choose_dpi(width, height, dpi=300, min_dpi=20, max_pixels=max_pixels)
    more = choose_dpi(width, height, dpi=300, min_dpi=20, max_pixels=2 * max_pixels)
    if less is not None:
        assert more is not None
        assert more.dpi >= less.dpi


def test_an_ordinary_page_gets_the_resolution_that_was_asked_for() -> None:
    size = choose_dpi(595.28, 841.89, dpi=200, min_dpi=110, max_pixels=50_000_000)
    assert size is not None
    assert (size.dpi, size.width, size.height) == (200, 1654, 2339)


def test_a_page_that_would_be_illegible_within_its_pixels_is_refused() -> None:
    assert choose_dpi(200_000, 200_000, dpi=200, min_dpi=110, max_pixels=50_000_000) is None


@pytest.mark.parametrize("sides", [(0, 100), (100, 0), (-5, 100), (100, -5)])
def test_a_page_without_an_area_is_refused(sides: tuple[float, float]) -> None:
    assert choose_dpi(*sides, dpi=200, min_dpi=110, max_pixels=50_000_000) is None


@st.composite
def pages_with_a_box(draw: st.DrawFn) -> tuple[int, int, Box]:
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    left, right = sorted([draw(st.integers(0, width)), draw(st.integers(0, width))])
    top, bottom = sorted([draw(st.integers(0, height)), draw(st.integers(0, height))])
    return width, height, (left, top, right, bottom)


def rotate_box(box: Box, rotation: int, width: int, height: int) -> Box:
    """Quarter turns clockwise, one after the other: x becomes height - y, y becomes x."""
    for _ in range(rotation // 90):
        left, top, right, bottom = box
        box = (height - bottom, left, height - top, right)
        width, height = height, width
    return box


@given(pages_with_a_box(), TURNS)
def test_turning_a_box_and_back_gives_the_same_box(page: tuple[int, int, Box], rotation: int) -> None:
    width, height, box = page
    turned = rotate_box(box, rotation, width, height)
    assert unrotate_box(turned, rotation=rotation, width=width, height=height) == box


@given(pages_with_a_box(), TURNS)
def test_a_box_that_was_turned_back_lies_on_the_page(page: tuple[int, int, Box], rotation: int) -> None:
    turned_width, turned_height, box = page
    width, height = turned_width, turned_height
    if rotation in {90, 270}:
        width, height = height, width
    left, top, right, bottom = unrotate_box(box, rotation=rotation, width=width, height=height)
    assert 0 <= left <= right <= width
    assert 0 <= top <= bottom <= height


def test_a_full_turn_is_no_turn() -> None:
    assert unrotate_box((1, 2, 3, 4), rotation=360, width=10, height=20) == (1, 2, 3, 4)


def test_a_slanted_rotation_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="multiple of 90"):
        unrotate_box((1, 2, 3, 4), rotation=45, width=10, height=20)
