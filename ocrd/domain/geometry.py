"""Pixels, points and turns: how large a page is rendered, and where a box stands after a rotation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ocrd.domain.documents import Box

POINTS_PER_INCH = 72.0


@dataclass(frozen=True, slots=True)
class RenderSize:
    """The resolution a page is rendered at, and the pixels that gives."""

    dpi: float
    width: int
    height: int


def choose_dpi(
    width_pt: float, height_pt: float, *, dpi: float, min_dpi: float, max_pixels: int
) -> RenderSize | None:
    """The wanted resolution, lowered as far as `max_pixels` demands; None if that falls below `min_dpi`.

    Sides are in points (1/72 inch). The number of pixels is what costs memory and time, not the resolution:
    a 200000-point page at a modest resolution is still gigabytes (pdftoppm then writes a 1×1 image and exits 0).
    """
    area_in2 = (width_pt / POINTS_PER_INCH) * (height_pt / POINTS_PER_INCH)
    if not (width_pt > 0 and height_pt > 0 and 0 < area_in2 < math.inf):
        return None
    chosen = min(dpi, math.floor(math.sqrt(max_pixels / area_in2)))
    if chosen < min_dpi:
        return None
    width = max(1, math.ceil(width_pt / POINTS_PER_INCH * chosen))
    height = max(1, math.ceil(height_pt / POINTS_PER_INCH * chosen))
    if width * height > 2 * max_pixels:  # a sliver, less than a pixel wide and endlessly long
        return None
    return RenderSize(chosen, width, height)


def unrotate_box(box: Box, *, rotation: int, width: int, height: int) -> Box:
    """Map a box of a turned image back to the upright one.

    `rotation` is how far the image was turned clockwise (0, 90, 180, 270); `width` and `height` are those of
    the image before it was turned.
    """
    left, top, right, bottom = box
    match rotation % 360:
        case 0:
            return box
        case 90:
            return (top, height - right, bottom, height - left)
        case 180:
            return (width - right, height - bottom, width - left, height - top)
        case 270:
            return (width - bottom, left, width - top, right)
        case _:
            raise ValueError(f"rotation must be a multiple of 90, not {rotation}")
