"""The picture that a model gets: a page image, turned, cut to a box, resized, as PNG in a data URI."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from ocrd.domain.documents import Box, PageImage
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.ink import BLANK_INK, FAINT_CONTRAST, ink_share

_TURNS = {
    90: Image.Transpose.ROTATE_270,  # Pillow turns counter-clockwise, we count clockwise
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
_COMPRESSION = 1
"""zlib's quickest: on loopback the bytes are free, and level 6 takes five times as long for a seventh less."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is sent, and its size in pixels."""

    uri: str
    width: int
    height: int


class OpenPage:
    """A page image in memory."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image if image.mode in {"L", "RGB"} else image.convert("RGB")

    @classmethod
    def load(cls, page: PageImage, rotation: int) -> OpenPage:
        """A page from disk, turned clockwise by `rotation` degrees. Raises PageFault if it does not open."""
        try:
            with Image.open(page.path) as image:
                image.load()
                return cls(image.transpose(_TURNS[rotation]) if rotation else image)
        except (OSError, ValueError, SyntaxError) as err:
            reason = f"the image of page {page.number} does not open: {err}"
            raise PageFault(ReasonCode.ENGINE_FAILED, reason) from err

    @property
    def size(self) -> tuple[int, int]:
        """Width and height after the turn."""
        return self._image.size

    def has_ink(self, box: Box) -> bool:
        """Whether anything stands within a box: a model that is shown nothing invents something."""
        histogram = self._image.crop(box).convert("L").histogram()
        return ink_share(histogram, FAINT_CONTRAST) >= BLANK_INK

    def cut(self, box: Box | None, size: tuple[int, int]) -> Picture:
        """The part within a box (None: all of it), resized to so many pixels."""
        part = self._image if box is None else self._image.crop(box)
        if part.size != size:
            part = part.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        buffer = io.BytesIO()
        part.save(buffer, "PNG", compress_level=_COMPRESSION)
        return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), *size)
