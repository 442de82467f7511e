from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import recognition

from ocrd.domain.documents import PageImage
from ocrd.domain.jobs import Verdict
from ocrd.domain.quality import BLANK_INK, INK_WITHOUT_TEXT, ink_share, is_blank, judge


def page(ink: float, *notes: str) -> PageImage:
    return PageImage(path="/page.png", number=1, width=10, height=10, dpi=200, ink=ink, notes=notes)


@pytest.mark.parametrize(
    ("ink", "text", "notes", "verdict"),
    [
        (0.1, "text", (), Verdict.OK),
        (0.0, "text", (), Verdict.OK),
        (0.1, "text", ("broken stream",), Verdict.SUSPECT),
        (0.1, " \n\t", (), Verdict.SUSPECT),
        (INK_WITHOUT_TEXT / 2, "", (), Verdict.BLANK),
        (INK_WITHOUT_TEXT, "", (), Verdict.SUSPECT),
        (0.0, "", ("broken stream",), Verdict.SUSPECT),
    ],
)
def test_the_verdict_follows_from_ink_text_and_damage(
    ink: float, text: str, notes: tuple[str, ...], verdict: Verdict
) -> None:
    assert judge(page(ink, *notes), recognition(text)).verdict is verdict


@given(st.floats(0, 1), st.text(), st.lists(st.text(), max_size=2))
def test_only_a_good_page_has_no_reason(ink: float, text: str, notes: list[str]) -> None:
    judgement = judge(page(ink, *notes), recognition(text))
    assert (judgement.reason == "") == (judgement.verdict is Verdict.OK)


@given(st.floats(0, 1), st.text())
def test_a_damaged_page_is_never_called_good_or_blank(ink: float, text: str) -> None:
    assert judge(page(ink, "broken stream"), recognition(text)).verdict is Verdict.SUSPECT


def test_a_damaged_page_without_text_says_what_the_renderer_said() -> None:
    assert "broken stream" in judge(page(0.0, "broken stream"), recognition("")).reason


def test_a_page_is_blank_below_the_ink_of_one_full_stop() -> None:
    assert is_blank(page(0.0))
    assert is_blank(page(BLANK_INK * 0.99))
    assert not is_blank(page(BLANK_INK))


@given(st.lists(st.integers(0, 1000), min_size=256, max_size=256))
def test_ink_is_a_share(histogram: list[int]) -> None:
    assert 0 <= ink_share(histogram) <= 1


@given(st.integers(0, 255), st.integers(1, 10**8))
def test_a_page_of_one_colour_has_no_ink(level: int, pixels: int) -> None:
    histogram = [0] * 256
    histogram[level] = pixels
    assert ink_share(histogram) == 0


@pytest.mark.parametrize(("paper", "pen"), [(255, 0), (0, 255), (200, 40)])
def test_ink_is_counted_on_light_and_on_dark_paper(paper: int, pen: int) -> None:
    histogram = [0] * 256
    histogram[paper], histogram[pen] = 900, 100
    assert ink_share(histogram) == pytest.approx(0.1)


def test_noise_around_the_paper_is_no_ink() -> None:
    histogram = [0] * 256
    for level in range(215, 256):
        histogram[level] = 100
    assert ink_share(histogram) == 0


def test_an_image_without_pixels_has_no_ink() -> None:
    assert ink_share([0] * 256) == 0
