from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Box
from ocrd.domain.geometry import (
    Part,
    box_to_page,
    choose_dpi,
    cut_at_blank_rows,
    image_tokens,
    plan_parts,
    smart_resize,
    unrotate_box,
)
from ocrd.domain.models import DOTS_OCR, QWEN2_VL, QWEN3_VL, ModelProfile, PromptMode

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


# --- images as a model sees them ----------------------------------------------------------------------------

A4_AT = {72: (630, 494), 100: (1260, 962), 150: (2772, 2145), 200: (4956, 3796), 300: (11125, 8580)}


@pytest.mark.parametrize("dpi", A4_AT)
def test_a_page_takes_the_tokens_that_the_models_count(dpi: int) -> None:
    """Figures of the real processors."""
    width, height = round(8.27 * dpi), round(11.69 * dpi)
    for profile, tokens in zip((DOTS_OCR, QWEN3_VL), A4_AT[dpi], strict=True):
        size = smart_resize(
            width, height, factor=profile.factor, min_pixels=profile.min_pixels, max_pixels=profile.max_pixels
        )
        assert image_tokens(*size, factor=profile.factor) == tokens


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((1, 1), (56, 56)),
        ((42, 42), (56, 56)),
        ((70, 98), (56, 112)),
        ((3000, 10), None),
        ((9000, 9000), (3332, 3332)),
    ],
)
def test_odd_sizes_are_resized_as_the_processors_do(
    size: tuple[int, int], resized: tuple[int, int] | None
) -> None:
    bounds = {"factor": 28, "min_pixels": 3136, "max_pixels": 11_289_600}
    if resized is None:
        with pytest.raises(ValueError, match="too long"):
            smart_resize(*size, **bounds)
    else:
        assert smart_resize(*size, **bounds) == resized


PROFILES_TRIED = st.sampled_from([DOTS_OCR, QWEN2_VL, QWEN3_VL])
SIDES = st.integers(20, 12_000)


@given(
    width=SIDES,
    height=SIDES,
    dpi=st.sampled_from([72.0, 150.0, 200.0, 300.0, 600.0]),
    profile=PROFILES_TRIED,
    context=st.sampled_from([512, 1024, 2048, 4096, 8192, 16384, 131072]),
    mode=st.sampled_from([PromptMode.LAYOUT, PromptMode.LAYOUT_ONLY, PromptMode.OCR]),
    strips=st.booleans(),
)
def test_a_plan_never_passes_the_context_and_covers_the_page(
    width: int, height: int, dpi: float, profile: ModelProfile, context: int, mode: PromptMode, strips: bool
) -> None:
    prompt = 217
    parts = plan_parts(
        (width, height),
        dpi,
        profile=profile,
        context=context,
        prompt_tokens=prompt,
        mode=mode,
        min_dpi=110,
        strips=strips,
    )
    for part in parts:
        assert prompt + part.tokens + part.max_tokens < context
        assert part.max_tokens >= 250
        assert part.tokens == image_tokens(*part.size, factor=profile.factor)
        bounds = (profile.factor, profile.min_pixels, profile.max_pixels)
        again = smart_resize(*part.size, factor=bounds[0], min_pixels=bounds[1], max_pixels=bounds[2])
        assert again == part.size, "the server's own resizing must leave it alone"
    if parts:
        assert parts[0].box[:3] == (0, 0, width)
        assert parts[-1].box[2:] == (width, height)
        for upper, lower in itertools.pairwise(parts):
            assert upper.box[1] < lower.box[1] <= upper.box[3] < lower.box[3]


def a4(context: int, mode: PromptMode = PromptMode.LAYOUT, **more: Any) -> tuple[Part, ...]:
    prompt = 217 if mode is PromptMode.LAYOUT else 20
    fixed = {"profile": DOTS_OCR, "prompt_tokens": prompt, "mode": mode, "min_dpi": 110.0}
    return plan_parts((1654, 2339), 200, context=context, **{**fixed, **more})


def test_a_page_of_a4_in_contexts_of_all_sizes() -> None:
    assert [len(a4(context)) for context in (1024, 2048, 4096, 8192, 16384)] == [0, 4, 1, 1, 1]
    assert [len(a4(context, PromptMode.OCR)) for context in (1024, 2048, 4096)] == [7, 3, 1]
    assert a4(16384)[0].size == (1652, 2352), "all that 200 DPI has"


def test_a_larger_context_never_means_a_smaller_picture() -> None:
    areas = [math.prod(a4(context)[0].size) for context in range(4096, 20_000, 500)]
    assert areas == sorted(areas)


def test_strips_on_demand_are_at_least_two() -> None:
    assert len(a4(16384, strips=True)) == 2


def test_a_server_that_makes_pictures_smaller_gets_smaller_ones() -> None:
    (part,) = a4(16384, max_pixels=2_000_000)
    assert math.prod(part.size) <= 2_000_000


@given(
    page=st.tuples(st.integers(50, 4000), st.integers(50, 4000)),
    rotation=st.sampled_from([0, 90, 180, 270]),
    data=st.data(),
)
def test_a_box_comes_back_to_where_it_was(page: tuple[int, int], rotation: int, data: st.DataObject) -> None:
    """A box of the turned page, in a picture of half its size, covers what it covered, within a pixel of the picture."""
    width, height = page
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    sent = (max(1, width // 2), max(1, height // 2))
    scale = (sent[0] / width, sent[1] / height)
    in_picture = (
        math.floor(left * scale[0]),
        math.floor(top * scale[1]),
        math.ceil(right * scale[0]),
        math.ceil(bottom * scale[1]),
    )
    found = box_to_page(in_picture, from_size=sent, to_size=page, page_size=page, rotation=rotation)
    upright = (width, height) if rotation % 180 == 0 else (height, width)
    expected = unrotate_box(
        (left, top, right, bottom), rotation=rotation, width=upright[0], height=upright[1]
    )
    slack = 2 * math.ceil(1 / min(scale)) + 1
    for index, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        assert abs(got - wanted) <= slack, index
    assert 0 <= found[0] < found[2] <= upright[0]
    assert 0 <= found[1] < found[3] <= upright[1]


def test_a_box_that_makes_no_sense_is_put_on_the_page() -> None:
    assert box_to_page(
        (900, 900, -5, 950), from_size=(100, 100), to_size=(100, 100), page_size=(100, 100)
    ) == (0, 99, 100, 100)


# --- long pages ---------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 255), max_size=300), st.integers(2, 50), st.integers(1, 60))
def test_strips_lie_below_each_other_and_none_is_too_high(ink: list[int], longest: int, window: int) -> None:
    strips = cut_at_blank_rows(ink, longest=longest, window=window)
    assert strips[0][0] == 0
    assert strips[-1][1] == len(ink)
    assert all(above[1] == below[0] for above, below in itertools.pairwise(strips))
    assert all(top < bottom <= top + longest for top, bottom in strips) or not ink


@given(st.integers(20, 40), st.integers(16, 30), st.integers(2, 40))
def test_no_line_of_type_is_cut(height: int, blank: int, lines: int) -> None:
    ink = ([90] * height + [0] * blank) * lines
    for _, bottom in cut_at_blank_rows(ink, longest=200, window=80)[:-1]:
        assert not any(ink[bottom - 2 : bottom + 2])
