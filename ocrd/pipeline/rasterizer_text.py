"""The text layers of PDF pages, by poppler's pdftotext: runs in the rasterizer's job process, under its limits.

A layer that is not taken costs nothing but time: the page is rendered and read as if it had none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from ocrd.domain.documents import Block
from ocrd.domain.errors import PageFault, ServerFault
from ocrd.domain.geometry import POINTS_PER_INCH, RenderSize
from ocrd.domain.ink import FAINT_CONTRAST, background
from ocrd.domain.text_layer import Coverage, doubt_coverage, doubt_text
from ocrd.host import commands
from ocrd.pipeline import rasterizer_pdf
from ocrd.pipeline.rasterizer import RenderPolicy
from ocrd.pipeline.text_layout import LayerPage, LayerWord, parse_layout, to_blocks

COVERAGE_DPI = 36.0
"""Enough to see where a page has ink; takes a tenth of the time that a page takes to be rendered for reading."""
MARGIN_PX = 1.0
"""Around a word: letters reach a little out of their box."""
RULING_PX = 3
"""Rulings are thinner than this; must be odd."""
_RUN = re.compile(rb"\xff{36,}")
"""An inch without a gap. Type has gaps between its words."""
FILL_PX = 9
"""A quarter of an inch: what is inked so far in both directions is a coloured area, not type. Must be odd."""
SCAN_SHARE = 0.85
"""A picture over so much of a page makes it a scan: text on it is from an earlier OCR."""
_NEVER_S = 3600.0
"""The job's own deadline is what counts."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A page's text as the PDF has it, with boxes in pixels of the page as it would be rendered in that size."""

    size: RenderSize
    blocks: tuple[Block, ...]


def read_layers(
    source: str, numbers: Sequence[int], policy: RenderPolicy, stem: str
) -> dict[int, Layer | str]:
    """The text layers of pages, or why a page has none that can be taken ('' if it has none at all).

    Which can is said by `policy.text_layer`: `auto`, `redo` or `skip`. An entry for every number. Files whose names begin
    with `stem` are written and deleted.
    """
    mode = policy.text_layer
    first, last = min(numbers), max(numbers)
    printed = _print_layout(source, first, last)
    pages = (
        dict(zip(range(first, last + 1), parse_layout(printed), strict=False)) if printed is not None else {}
    )
    texts = {number: [word.text for word in pages[number].words()] for number in numbers if number in pages}
    outcome: dict[int, Layer | str] = dict.fromkeys(numbers, "")
    wanted = []
    for number, words in texts.items():
        doubt = "" if mode == "skip" else doubt_text(words)
        if any(word.strip() for word in words) and not doubt:
            wanted.append(number)
        elif words:
            outcome[number] = doubt
    if wanted:
        outcome |= _take(source, {number: pages[number] for number in wanted}, policy, stem)
    return outcome


def _print_layout(source: str, first: int, last: int) -> str | None:
    """None if poppler complained: such pages are rendered, where the damage is looked at page by page."""
    argv = ["pdftotext", "-bbox-layout", "-cropbox", "-enc", "UTF-8", "-f", str(first), "-l", str(last)]
    try:
        done = commands.run([*argv, source, "-"], timeout_s=_NEVER_S)
    except commands.CommandMissing as err:
        raise ServerFault("poppler is not installed", hint="sudo apt-get install poppler-utils") from err
    if done.code and "Incorrect password" in done.err:
        raise rasterizer_pdf.explain_refusal(done.err)
    return None if done.code or rasterizer_pdf.shorten_complaints(done.err) else done.out


def _take(
    source: str, pages: dict[int, LayerPage], policy: RenderPolicy, stem: str
) -> Iterator[tuple[int, Layer | str]]:
    mode = policy.text_layer
    sizes = rasterizer_pdf.page_sizes(source, min(pages), max(pages))
    scans = set() if mode == "skip" else _scans(source, sizes)
    for number, page in pages.items():
        plan = rasterizer_pdf.plan_page(number, sizes.get(number), policy)
        if isinstance(plan, PageFault):
            yield number, str(plan)
        elif number in scans and mode == "redo":
            yield number, "it is from an earlier OCR"
        else:
            blocks = to_blocks(page, plan)
            doubt = "" if blocks else "it stands outside of the page"
            if blocks and mode != "skip":
                coverage = _coverage(source, number, list(page.words()), stem)
                doubt = doubt_coverage(coverage, scan=number in scans)
            yield number, doubt or Layer(plan, blocks)


def _coverage(source: str, number: int, words: list[LayerWord], stem: str) -> Coverage:
    ink = _ink_of(_coarse(source, number, stem))
    scale = COVERAGE_DPI / POINTS_PER_INCH
    boxes = Image.new("L", ink.size)
    pen = ImageDraw.Draw(boxes)
    bare = 0
    for word in words:
        left, top, right, bottom = (side * scale for side in word.box)
        box = (left - MARGIN_PX, top - MARGIN_PX, right + MARGIN_PX, bottom + MARGIN_PX)
        pen.rectangle(box, fill=255)
        bare += ink.crop((floor(box[0]), floor(box[1]), ceil(box[2]), ceil(box[3]))).getbbox() is None
    lines = _without_rulings(ink)
    outside = ImageChops.subtract(lines, boxes)
    # With its words a coloured area is one piece: around them it would else look like strokes.
    outside = ImageChops.subtract(outside, _opened(ImageChops.lighter(ink, boxes), FILL_PX))
    type_alone = ImageChops.subtract(lines, _opened(ink, FILL_PX))
    return Coverage(ink=_share(type_alone), outside=_share(outside), bare=bare / max(1, len(words)))


def _ink_of(page: Image.Image) -> Image.Image:
    """What stands out from the paper in white, all else in black."""
    paper = background(page.histogram())
    return page.point([255 if abs(level - paper) > FAINT_CONTRAST else 0 for level in range(256)])


def _share(mask: Image.Image) -> float:
    return mask.histogram()[255] / (mask.width * mask.height)


def _without_rulings(ink: Image.Image) -> Image.Image:
    """Without thin straight lines, across and down: the frames of tables and forms are no text."""
    thin = ImageChops.subtract(ink, _opened(ink, RULING_PX))
    down = _long_runs(thin.transpose(Image.Transpose.TRANSPOSE)).transpose(Image.Transpose.TRANSPOSE)
    return ImageChops.subtract(ink, ImageChops.lighter(_long_runs(thin), down))


def _opened(mask: Image.Image, size: int) -> Image.Image:
    """Only what squares of this many pixels find room in."""
    return mask.filter(ImageFilter.MinFilter(size)).filter(ImageFilter.MaxFilter(size))


def _long_runs(mask: Image.Image) -> Image.Image:
    """Only what goes on for long within a row."""
    width, data, rows = mask.width, mask.tobytes(), []
    for start in range(0, len(data), width):
        row = bytearray(width)
        for run in _RUN.finditer(data[start : start + width]):
            row[run.start() : run.end()] = run[0]
        rows.append(bytes(row))
    return Image.frombytes("L", mask.size, b"".join(rows))


def _coarse(source: str, number: int, stem: str) -> Image.Image:
    """The page in a few pixels; the caller's folder is swept of what begins with `stem`."""
    target = f"{stem}-coarse-{number}"
    argv = ["pdftoppm", "-r", str(COVERAGE_DPI), "-gray", "-cropbox", "-singlefile"]
    commands.run([*argv, "-f", str(number), "-l", str(number), source, target], timeout_s=_NEVER_S)
    try:
        with Image.open(f"{target}.pgm", formats=("PPM",)) as image:
            return image.convert("L")
    finally:
        os.unlink(f"{target}.pgm")


_IMAGE = re.compile(r"\s*(\d+)\s+\d+\s+(?:image|stencil)\s+(\d+)\s+(\d+)\s+(?:\S+\s+){7}(\d+)\s+(\d+)\s")


def _scans(source: str, sizes: dict[int, tuple[float, float]]) -> set[int]:
    """The pages that a picture covers, by `pdfimages -list`: its pixels over its pixels an inch."""
    argv = ["pdfimages", "-list", "-f", str(min(sizes)), "-l", str(max(sizes)), source]
    found = set()
    for line in commands.run(argv, timeout_s=_NEVER_S).out.splitlines():
        fact = _IMAGE.match(line)
        if fact is None:
            continue
        number, width, height, across, down = map(int, fact.groups())
        page_width, page_height = sizes.get(number, (0.0, 0.0))
        area = width / max(1, across) * height / max(1, down) * POINTS_PER_INCH**2
        if area >= SCAN_SHARE * page_width * page_height > 0:
            found.add(number)
    return found
