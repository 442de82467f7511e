"""A page that lies askew: its angle by its lines, and places on it by those of the straight page."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from support.words_on_a_page import PROSE, column

from ocrd.domain.skew import LEAST_LINES, Baseline, skew_of, sure_skew, unskew_box
from ocrd.pipeline.recognizer.embedded_child import profile_skew

ANGLES = st.floats(-15, 15)


@given(ANGLES)
def test_the_angle_is_that_of_the_lines(degrees: float) -> None:
    lines = column(PROSE, 100, 600, slope=math.tan(math.radians(degrees)))
    found = skew_of(lines)
    assert found == pytest.approx(degrees, abs=0.3)


def test_without_a_long_line_nothing_is_known() -> None:
    assert skew_of(column(["one", "two words"], 100, 100)) is None


def baseline(number: int, degrees: float, *, width: int = 900) -> Baseline:
    rise = width * math.tan(math.radians(degrees))
    return (100.0, 100.0 + 40 * number), (100.0 + width, 100.0 + 40 * number + rise)


@given(ANGLES, st.integers(LEAST_LINES, 60), st.lists(ANGLES, max_size=3))
def test_lines_that_agree_tell_the_angle_whatever_a_few_others_say(
    degrees: float, count: int, others: list[float]
) -> None:
    lines = [baseline(number, degrees) for number in range(4 * count)]
    lines += [baseline(100 + number, other) for number, other in enumerate(others)]
    assert sure_skew(lines) == pytest.approx(degrees, abs=0.01)


@given(ANGLES, st.integers(0, LEAST_LINES - 1))
def test_a_few_lines_are_no_proof(degrees: float, count: int) -> None:
    short = [baseline(50 + number, degrees, width=150) for number in range(20)]
    assert sure_skew([*short, *(baseline(number, degrees) for number in range(count))]) is None


@given(st.floats(-8, 8), st.floats(2, 8))
def test_lines_that_disagree_are_no_proof(degrees: float, apart: float) -> None:
    lines = [baseline(number, degrees + apart * (number % 2)) for number in range(40)]
    assert sure_skew(lines) is None


@given(st.floats(-20, 20), st.integers(0, 960), st.integers(0, 1380))
def test_a_place_of_the_straight_page_is_found_on_the_page_as_it_was(degrees: float, x: int, y: int) -> None:
    """As Pillow turns a picture: the middle stays, and the picture grows."""
    size = (1000, 1414)
    angle = math.radians(degrees)
    straight = (
        math.ceil(size[0] * abs(math.cos(angle)) + size[1] * abs(math.sin(angle))),
        math.ceil(size[0] * abs(math.sin(angle)) + size[1] * abs(math.cos(angle))),
    )
    middle = (x + 20 - size[0] / 2, y + 10 - size[1] / 2)
    across = middle[0] * math.cos(angle) + middle[1] * math.sin(angle) + straight[0] / 2
    down = -middle[0] * math.sin(angle) + middle[1] * math.cos(angle) + straight[1] / 2
    box = (round(across) - 20, round(down) - 10, round(across) + 20, round(down) + 10)
    left, top, right, bottom = unskew_box(box, degrees=degrees, straight=straight, size=size)
    assert left - 2 <= x + 20 <= right + 2
    assert top - 2 <= y + 10 <= bottom + 2
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]


def test_boxes_lie_on_the_ink_of_a_page_that_pillow_turned() -> None:
    page = Image.new("L", (800, 1000), 255)
    ImageDraw.Draw(page).rectangle((200, 700, 260, 720), fill=0)
    askew = page.rotate(-6, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    straight = askew.rotate(6, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    ink = straight.point(lambda grey: 255 * (grey < 128)).getbbox()
    assert ink is not None
    back = unskew_box(ink, degrees=6, straight=straight.size, size=askew.size)
    found = askew.point(lambda grey: 255 * (grey < 128)).getbbox()
    assert found is not None
    assert back[0] - 3 <= found[0]
    assert back[1] - 3 <= found[1]
    assert back[2] + 3 >= found[2]
    assert back[3] + 3 >= found[3]
    assert (back[2] - back[0]) < 2 * (found[2] - found[0])


@pytest.mark.parametrize("degrees", [-10, -4, 3, 8])
def test_the_ink_tells_the_angle_where_no_line_was_read(degrees: int) -> None:
    page = Image.new("L", (1000, 1400), 230)
    draw = ImageDraw.Draw(page)
    for number in range(30):
        draw.rectangle((100, 100 + 40 * number, 900 - 17 * (number % 7), 114 + 40 * number), fill=20)
    askew = page.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=230)
    assert profile_skew(askew) == pytest.approx(-degrees, abs=0.5)


def test_a_page_without_lines_has_no_angle() -> None:
    assert profile_skew(Image.new("L", (600, 800), 255)) == 0.0
    photo = Image.effect_noise((600, 800), 60)
    assert profile_skew(photo) == 0.0
