"""Pixels, points and turns: how large a page is rendered, and where a box stands after a rotation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ocrd.domain.documents import Box
from ocrd.domain.models import ModelProfile, PromptMode

POINTS_PER_INCH = 72.0


@dataclass(frozen=True, slots=True)
class RenderSize:
    """The resolution a page is rendered at, and the pixels that gives."""

    dpi: float
    width: int
    height: int


LONGEST_SIDE_PX = 32_700
"""Tesseract reads no image that is wider or higher than 32,767 pixels; of a higher one the engine is given strips."""


def choose_dpi(
    width_pt: float, height_pt: float, *, dpi: float, min_dpi: float, max_pixels: int
) -> RenderSize | None:
    """The wanted resolution, lowered as far as `max_pixels` and LONGEST_SIDE_PX demand; None if that falls below
    `min_dpi`.

    Sides are in points (1/72 inch). The number of pixels is what costs memory and time, not the resolution:
    a 200000-point page at a modest resolution is still gigabytes (pdftoppm then writes a 1×1 image and exits 0).
    """
    area_in2 = (width_pt / POINTS_PER_INCH) * (height_pt / POINTS_PER_INCH)
    if not (width_pt > 0 and height_pt > 0 and 0 < area_in2 < math.inf):
        return None
    longest_in = max(width_pt, height_pt) / POINTS_PER_INCH
    chosen = min(dpi, math.floor(math.sqrt(max_pixels / area_in2)), math.floor(LONGEST_SIDE_PX / longest_in))
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


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box around some, at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


# --- images as a model sees them ----------------------------------------------------------------------------

MAX_ASPECT = 200
"""Longer slivers are refused by the models' own processors."""


def smart_resize(
    width: int, height: int, *, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """Width and height that the processors of Qwen-VL and dots.ocr resize an image to: multiples of `factor`, the
    area within bounds, the aspect ratio nearly kept. Rounds half to even, as they do.

    Raises ValueError for a side ratio above 200. Source: `smart_resize` of transformers, image_processing_qwen2_vl.
    """
    if max(width, height) / max(min(width, height), 1) > MAX_ASPECT:
        raise ValueError(f"an image of {width} × {height} pixels is too long for its width")
    new_width, new_height = (round(side / factor) * factor for side in (width, height))
    if new_width * new_height > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        new_width, new_height = (
            max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height)
        )
    elif new_width * new_height < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        new_width, new_height = (math.ceil(side * grow / factor) * factor for side in (width, height))
    return new_width, new_height


def image_tokens(width: int, height: int, *, factor: int) -> int:
    """Tokens of a resized image."""
    return (width // factor) * (height // factor)


LONGEST_STRIP_PX = 12_000
"""So high are the strips that the embedded engine reads a longer picture in: low enough to be enlarged where the type is small."""
CUT_WINDOW_PX = 1_500
"""A strip ends within so many pixels of its greatest height, at the row with the least ink: 8 lines of 12 pt at 600 DPI."""
CLEAR_ROWS = 4
"""Rows above and below a cut that are to be free of ink as well."""


def cut_at_blank_rows(
    ink: Sequence[int], *, longest: int = LONGEST_STRIP_PX, window: int = CUT_WINDOW_PX
) -> list[tuple[int, int]]:
    """Where a picture is cut into strips (top, bottom), each below the other and none higher than `longest`, by how much
    ink its rows have. They need not overlap, for between two lines of type there are rows without any."""
    strips, top = [], 0
    while len(ink) - top > longest:
        rows = range(top + max(1, longest - window), top + longest + 1)
        bottom = min(rows, key=lambda row: (sum(ink[max(0, row - CLEAR_ROWS) : row + CLEAR_ROWS]), -row))
        strips.append((top, bottom))
        top = bottom
    return [*strips, (top, len(ink))]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page that one question is about: its box in the (turned) page, the size in pixels that it is sent
    in, the tokens that the image takes, and the room that the context leaves for the answer."""

    box: Box
    size: tuple[int, int]
    tokens: int
    max_tokens: int


TOKEN_MARGIN = 16
"""Tokens that are left free, for a template that adds one or two."""
STRIP_OVERLAP_IN = 0.6
"""Inches that two strips share: three lines of 12 pt type, so that one of them is whole in both."""
STRIP_DPI = 150.0
"""Strips are sent no larger than this if the page was rendered so: more pixels would only mean more strips."""
MAX_STRIPS = 48
_ANSWER_SHARE = {
    PromptMode.LAYOUT: (0.8, 700),
    PromptMode.LAYOUT_ONLY: (0.25, 400),
    PromptMode.OCR: (0.5, 250),
    PromptMode.GROUNDING: (0.5, 250),
}
"""Room for the answer, as a share of the image's tokens and at least. A dense page of A4 at 200 DPI takes 4,956 tokens and
answers with 4,000 in layout mode (0.8), a usual one with 1,855; plain text is less than half of it, because boxes and
categories are half of a layout."""


def plan_parts(  # noqa: PLR0913  # each is a fact of its own: the page, the model, the context
    page: tuple[int, int],
    dpi: float,
    *,
    profile: ModelProfile,
    context: int,
    prompt_tokens: int,
    mode: PromptMode,
    min_dpi: float,
    max_pixels: int | None = None,
    box: Box | None = None,
    strips: bool = False,
) -> tuple[Part, ...]:
    """The questions that read a page (or a box of it): one if it is legible within the context, else overlapping strips
    from top to bottom; with `strips` at least two. Prompt, image and answer never exceed `context` tokens.

    `page` is its size in pixels at `dpi`. Empty if no strip would be legible (`min_dpi`) either.
    """
    room = context - prompt_tokens - TOKEN_MARGIN
    share, least = _ANSWER_SHARE[mode]
    budget = min(int(room / (1 + share)), room - least)
    planner = _Planner(profile, budget, room, max_pixels or profile.max_pixels)
    area = box or (0, 0, *page)
    legible = min(min_dpi, dpi)
    whole = planner.part(area)
    if whole is not None and not strips and _scale(whole) * dpi >= legible:
        return (whole,)
    for wanted in (min(dpi, max(STRIP_DPI, legible)), legible):
        parts = planner.strips(
            area, scale=wanted / dpi, overlap=round(STRIP_OVERLAP_IN * dpi), least=1 + strips
        )
        if parts and all(_scale(part) * dpi >= legible * 0.97 for part in parts):
            return parts
    return (whole,) if whole is not None and strips and _scale(whole) * dpi >= legible else ()


def _scale(part: Part) -> float:
    """How much smaller the part is sent than it is; 1 if not."""
    left, top, right, bottom = part.box
    return min(part.size[0] / (right - left), part.size[1] / (bottom - top), 1.0)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Fits parts of a page into so many tokens of image."""

    profile: ModelProfile
    budget: int
    room: int
    max_pixels: int

    def part(self, box: Box, *, scale: float = 1.0) -> Part | None:
        """A box as large as fits, at most scaled so; None if not even the smallest image does."""
        factor = self.profile.factor
        most = min(self.max_pixels, self.budget * factor * factor)
        least = self.profile.min_pixels
        width, height = (max(1, round(side * scale)) for side in (box[2] - box[0], box[3] - box[1]))
        if most < least:
            return None
        try:
            size = smart_resize(width, height, factor=factor, min_pixels=least, max_pixels=most)
        except ValueError:  # a sliver: squeezed, rather than not read at all
            size = (max(width, height // MAX_ASPECT + 1), max(height, width // MAX_ASPECT + 1))
            size = smart_resize(*size, factor=factor, min_pixels=least, max_pixels=most)
        tokens = image_tokens(*size, factor=factor)
        if (
            tokens > self.budget
            or smart_resize(*size, factor=factor, min_pixels=least, max_pixels=most) != size
        ):
            return None
        return Part(box, size, tokens, self.room - tokens)

    def strips(self, area: Box, *, scale: float, overlap: int, least: int) -> tuple[Part, ...]:
        """The box in at least so many overlapping strips at this scale; empty if they would be too low."""
        left, top, right, bottom = area
        width, height = right - left, bottom - top
        factor = self.profile.factor
        columns = max(1, math.ceil(width * scale / factor))
        rows = self.budget // columns
        highest = int((rows - 1) * factor / scale)  # a row less: a side may be rounded up
        if highest < 2 * overlap:
            return ()
        number = max(least, math.ceil((height - overlap) / (highest - overlap)))
        if number > MAX_STRIPS or height < number:
            return ()
        step = (height - overlap) / number if height > 2 * overlap else height / number
        shared = overlap if height > 2 * overlap else 0
        parts = []
        for index in range(number):
            start = top + int(index * step)
            end = bottom if index == number - 1 else min(bottom, top + math.ceil((index + 1) * step) + shared)
            parts.append(self.part((left, start, right, end), scale=scale))
        return tuple(part for part in parts if part is not None) if all(parts) else ()


def box_to_page(
    box: Box,
    *,
    from_size: tuple[int, int],
    to_size: tuple[int, int],
    page_size: tuple[int, int],
    offset: tuple[int, int] = (0, 0),
    rotation: int = 0,
) -> Box:
    """A box in a picture that was sent, in pixels of the page as it was rendered.

    The picture of `from_size` shows a part of `to_size` pixels at `offset` of the turned page, which has `page_size`;
    the page had been turned clockwise by `rotation`. The result is within the page and never empty.
    """
    across, down = to_size[0] / from_size[0], to_size[1] / from_size[1]
    left, top = math.floor(min(box[0], box[2]) * across), math.floor(min(box[1], box[3]) * down)
    right, bottom = math.ceil(max(box[0], box[2]) * across), math.ceil(max(box[1], box[3]) * down)
    width, height = page_size
    left, right = _within(left + offset[0], right + offset[0], width)
    top, bottom = _within(top + offset[1], bottom + offset[1], height)
    if rotation % 180:
        width, height = height, width
    return unrotate_box((left, top, right, bottom), rotation=rotation, width=width, height=height)


def _within(low: int, high: int, most: int) -> tuple[int, int]:
    """A stretch within 0 and `most`, at least 1 long."""
    low = min(max(low, 0), most - 1)
    return low, min(max(high, low + 1), most)
