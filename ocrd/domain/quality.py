"""The verdict on a page: from the ink on it and the text that was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ocrd.domain.documents import PageImage, Recognition
from ocrd.domain.jobs import Verdict

BLANK_INK = 1e-5
"""Below this share of ink a page is blank: at 200 DPI, A4, about 39 pixels, less than one full stop of 12 pt
type with its antialiasing (≈ 40), so that a page with a single page number on it is still read."""

INK_WITHOUT_TEXT = 2e-3
"""Above this share of ink a page without any text is a picture or was not understood; below it, dirt.
A line of 12 pt type covers about 1.5e-3 of an A4 page."""

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
    background = max(range(256), key=lambda level: (_near(histogram, level), histogram[level]))
    paper = sum(histogram[max(0, background - contrast) : background + contrast + 1])
    return (total - paper) / total


def _near(histogram: Sequence[int], level: int) -> int:
    return sum(histogram[max(0, level - _BACKGROUND_SPREAD) : level + _BACKGROUND_SPREAD + 1])


class Cause(StrEnum):
    """What is wrong with an answer."""

    NONE = "none"
    LOOP = "loop"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    NO_TEXT = "no_text"
    PICTURE_ONLY = "picture_only"
    HALLUCINATED = "hallucinated"
    SCRIPTS = "scripts"
    DENSITY = "density"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason in words (empty when the verdict is `ok`)."""

    verdict: Verdict
    reason: str = ""
    cause: Cause = Cause.NONE


def score(judgement: Judgement, recognition: Recognition) -> tuple[float, ...]:
    """Higher is better."""
    order = [
        Verdict.FAULT,
        Verdict.REFUSED,
        Verdict.BLANK,
        Verdict.LOOP,
        Verdict.TRUNCATED,
        Verdict.SUSPECT,
        Verdict.OK,
    ]
    return (float(order.index(judgement.verdict)), float(len(recognition.text)))


def is_blank(page: PageImage) -> bool:
    """Whether the page carries no ink at all, so that no engine needs to be asked."""
    return max(page.ink, page.faint_ink) < BLANK_INK


def judge(page: PageImage, recognition: Recognition) -> Judgement:
    """What to think of a complete answer."""
    text_found = bool(recognition.text.strip())
    if recognition.finish == "length":
        return Judgement(Verdict.TRUNCATED, "cut", Cause.TRUNCATED)
    if page.notes:
        damage = f"the page is damaged; the renderer said: {page.notes[0]}"
        return Judgement(Verdict.SUSPECT, damage if text_found else f"no text found; {damage}")
    if text_found:
        return Judgement(Verdict.OK)
    if page.ink < INK_WITHOUT_TEXT:
        return Judgement(Verdict.BLANK, "no text, and next to no ink on the page")
    return Judgement(
        Verdict.SUSPECT, cause=Cause.NO_TEXT, reason=f"no text found, although {page.ink:.1%} of the page is covered with ink"
    )
