"""How much ink is on a page, by its grey levels. Apart from `quality`, which the processes that render do not need."""

from __future__ import annotations

from collections.abc import Sequence

from ocrd.domain.documents import PageImage

BLANK_INK = 1e-5
"""Below this share of ink a page is blank: at 200 DPI, A4, about 39 pixels, less than one full stop of 12 pt
type with its antialiasing (≈ 40), so that a page with a single page number on it is still read."""

INK_CONTRAST = 60
"""Grey levels, of 256, between the background and what counts as ink: noise of ±20 and JPEG fringes do not."""
FAINT_CONTRAST = 30
"""Grey levels that pale pencil or light grey type keeps from the paper; noise may reach so far as well, so that
a noisy empty page is read once too often rather than a pale page not at all."""
_BACKGROUND_SPREAD = 5


def ink_share(histogram: Sequence[int], contrast: int = INK_CONTRAST) -> float:
    """Share of the pixels, 0 to 1, that differ by more than `contrast` from the page's background, by its 256
    grey levels.

    The background is the most frequent level together with its neighbours, be it light or dark.
    """
    total = sum(histogram)
    if total == 0:
        return 0.0
    middle = background(histogram)
    paper = sum(histogram[max(0, middle - contrast) : middle + contrast + 1])
    return (total - paper) / total


def background(histogram: Sequence[int]) -> int:
    """The grey level of the paper."""
    return max(range(256), key=lambda level: (_near(histogram, level), histogram[level]))


def _near(histogram: Sequence[int], level: int) -> int:
    return sum(histogram[max(0, level - _BACKGROUND_SPREAD) : level + _BACKGROUND_SPREAD + 1])


def is_blank(page: PageImage) -> bool:
    """Whether the page carries no ink at all, so that no engine needs to be asked."""
    return max(page.ink, page.faint_ink) < BLANK_INK
