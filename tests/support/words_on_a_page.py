"""Pages as an engine sees them: words with their places."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from ocrd.domain.documents import Word
from ocrd.domain.reading_order import Paragraph

HEIGHT, PITCH = 20, 34


def line(text: str, x: int, y: int, *, slope: float = 0.0) -> list[Word]:
    """Words of a line that begins at a place; a letter is 10 pixels wide."""
    words, left = [], x
    for word in text.split():
        top = y + round(slope * left)
        box = (left, top, left + 10 * len(word), top + HEIGHT)
        words.append(Word(text=word, box=box, confidence=90.0, line=0))
        left += 10 * len(word) + 8
    return words


def column(texts: Sequence[str], x: int, y: int, *, pitch: int = PITCH, slope: float = 0.0) -> Paragraph:
    """A paragraph of lines below each other."""
    return [line(text, x, y + number * pitch, slope=slope) for number, text in enumerate(texts)]


PROSE = [
    "the quick brown fox jumps over",
    "a lazy dog and then it sleeps",
    "for hours under an old tree until",
] * 3

WORDS = st.builds(
    lambda text, x, y, width, height: Word(
        text=text, box=(x, y, x + width, y + height), confidence=50.0, line=0
    ),
    st.text("абвxyz019:.", min_size=1, max_size=9),
    st.integers(0, 1500),
    st.integers(0, 2000),
    st.integers(1, 400),
    st.integers(1, 60),
)
"""Any word anywhere."""
