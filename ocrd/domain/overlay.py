"""Where invisible text stands on the page of a PDF, so that it lies on the letters that it was read from. Pure.

Words come in pixels of the page's image, as it was rendered. A PDF has points from below, a cut-out of its paper (CropBox) and
perhaps a turn of its own (Rotate); and the page may have been turned once more to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from ocrd.domain.documents import Block, Box
from ocrd.domain.geometry import unrotate_box
from ocrd.domain.rendering import PICTURE, TABLE, block_to_text
from ocrd.domain.word_tables import is_ruling

CHARACTER_WIDTH = 0.5
"""Of every character of the invisible font, in font sizes."""
POINTS_PER_INCH = 72.0


@dataclass(frozen=True, slots=True)
class Run:
    """Text that stands together, in pixels of the page's image."""

    text: str
    box: Box


Line: TypeAlias = Sequence[Run]


@dataclass(frozen=True, slots=True)
class Placed:
    """Text and its matrix (a, b, c, d, e, f) for a font of size 1: ISO 32000-1, 9.4.2."""

    text: str
    matrix: tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """From pixels of the page's image to the space of a PDF's page."""

    crop: tuple[float, float, float, float]
    """Left, bottom, right, top of what is shown, in points."""
    turned: int
    """How far a viewer turns the page clockwise: 0, 90, 180, 270."""
    width: int
    height: int
    """Of the image in pixels; 0: not known, then `dpi` tells."""
    dpi: float
    rotation: int
    """How far the image was turned clockwise to be read."""

    @property
    def shown(self) -> tuple[float, float]:
        """Width and height as a viewer shows it, in points."""
        left, bottom, right, top = self.crop
        wide, high = right - left, top - bottom
        return (high, wide) if self.turned in {90, 270} else (wide, high)

    @property
    def pixels(self) -> tuple[float, float]:
        """Width and height of the image."""
        if self.width and self.height:
            return self.width, self.height
        wide, high = self.shown
        return wide * self.dpi / POINTS_PER_INCH, high * self.dpi / POINTS_PER_INCH

    def to_upright(self, box: Box) -> Box:
        """A box as the page was read."""
        width, height = map(round, self.pixels)
        if self.rotation in {90, 270}:
            width, height = height, width
        return unrotate_box(box, rotation=-self.rotation, width=width, height=height)

    def point(self, across: float, down: float) -> tuple[float, float]:
        """A place on the upright page, in points of the PDF."""
        width, height = self.pixels
        match self.rotation:
            case 90:
                x, y = down, height - across
            case 180:
                x, y = width - across, height - down
            case 270:
                x, y = width - down, across
            case _:
                x, y = across, down
        wide, high = self.shown
        return self._unturned(x / width * wide, y / height * high)

    def _unturned(self, x: float, y: float) -> tuple[float, float]:
        """A place of what a viewer shows, from its top left corner."""
        left, bottom, right, top = self.crop
        match self.turned:
            case 90:
                return left + y, bottom + x
            case 180:
                return right - x, bottom + y
            case 270:
                return right - y, top - x
            case _:
                return left + x, top - y


def blocks_to_lines(blocks: Iterable[Block]) -> list[Line]:
    """The lines of a page: those of the words, in tables without the rulings, or where an engine tells no words, the text's own, laid into its block."""
    lines: list[Line] = []
    for block in blocks:
        if block.words:
            words = (word for word in block.words if block.category != TABLE or not is_ruling(word))
            lines += [
                [Run(word.text, word.box) for word in line]
                for _, line in groupby(words, key=lambda word: word.line)
            ]
        elif block.category != PICTURE:
            lines += _laid_out(block_to_text(block), block.box)
    return lines


def _laid_out(text: str, box: Box) -> Iterator[Line]:
    """Lines of equal height, the longest as wide as the block."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    left, top, right, bottom = box
    longest = max(map(len, lines), default=1)
    for number, line in enumerate(lines):
        high, low = (top + (bottom - top) * part // len(lines) for part in (number, number + 1))
        width = max(1, (right - left) * len(line) // longest)
        yield [Run(line, (left, high, left + width, max(low, high + 1)))]


def place(lines: Iterable[Line], frame: Frame) -> Iterator[Placed]:
    """The text of each run and where it stands.

    A blank goes to the next word of a line, so that both are found as two, also where their boxes touch or overlap. One also
    follows a single character at the end of a line: the shapes of our font are empty, and what is no wider than one of them
    is nothing to PDFium.
    """
    for line in lines:
        runs = [Run(run.text, frame.to_upright(run.box)) for run in line if run.text]
        for run, follower in zip(runs, [*runs[1:], None], strict=True):
            left, top, right, bottom = run.box
            if follower is not None and follower.box[0] > (left + right) / 2:
                yield _placed(run.text + " ", (left, top, follower.box[0], bottom), frame)
            elif len(run.text) == 1:
                yield _placed(run.text + " ", (left, top, right + (right - left), bottom), frame)
            else:
                yield _placed(run.text, run.box, frame)


def _placed(text: str, box: Box, frame: Frame) -> Placed:
    left, top, right, bottom = box
    wide = max(1, right - left) / (CHARACTER_WIDTH * len(text))
    high = max(1, bottom - top)
    x, y = frame.point(left, bottom)
    to_x, to_y = frame.point(left + 1, bottom)
    up_x, up_y = frame.point(left, bottom - 1)
    return Placed(
        text,
        (
            (to_x - x) * wide,
            (to_y - y) * wide,
            (up_x - x) * high,
            (up_y - y) * high,
            x,
            y,
        ),
    )
