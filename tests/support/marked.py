"""Pages that the fake vLLM server can read, as files: what stands on page N is `page_lines(N)`, for both sides.

A page is A4. Its number, 0 to 65535, need not be its place in the document.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from fakes.vllm_parts import pages
from fakes.vllm_parts.pages import page_lines, page_text
from PIL import Image, ImageDraw, ImageFont

from support.paper import FONT

__all__ = [
    "draw_page",
    "page_lines",
    "page_text",
    "write_documents",
    "write_image",
    "write_pdf",
    "write_tiff",
]

_A4_IN = (210 / 25.4, 297 / 25.4)
_TURNS = {
    0: None,
    90: Image.Transpose.ROTATE_270,  # Pillow turns counter-clockwise, we count clockwise
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def draw_page(number: int, *, dpi: int = 200, turned: int = 0) -> Image.Image:
    """A grey page; `turned` clockwise by 0, 90, 180 or 270 degrees."""
    assert 0 <= number <= pages.HIGHEST_PAGE
    size = (round(_A4_IN[0] * dpi), round(_A4_IN[1] * dpi))
    width = size[0] / (1 + 2 * pages.MARGIN)
    left = width * pages.MARGIN
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    font = _font(round(width * pages.FONT_SIZE))
    top = width * pages.BAR_TOP
    _draw_bar(pen, pages.modules(number), (left, top, width, width * pages.BAR_HEIGHT), 0)
    for line, text in enumerate(page_lines(number), 1):
        y = top + width * (pages.FIRST_LINE + pages.PITCH * (line - 1))
        tag = (left, y + width * pages.TAG_TOP, width, width * pages.TAG_HEIGHT)
        _draw_bar(pen, pages.modules(number, line), tag, pages.TAG_GREY)
        pen.text((left, y + width * pages.TEXT_TOP), text, fill=0, font=font)
    turn = _TURNS[turned]
    return image if turn is None else image.transpose(turn)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    if not os.path.exists(FONT):
        pytest.skip("needs the package fonts-dejavu-core to draw pages; script/setup --test installs it")
    return ImageFont.truetype(FONT, size)


def _draw_bar(
    pen: ImageDraw.ImageDraw, modules: str, box: tuple[float, float, float, float], grey: int
) -> None:
    left, top, width, height = box
    module = width / len(modules)
    for index, dark in enumerate(modules):
        if dark == "1":
            x1, x2 = round(left + index * module), round(left + (index + 1) * module) - 1
            pen.rectangle((x1, round(top), x2, round(top + height)), fill=grey)


def write_image(path: Path, number: int, *, dpi: int = 200, turned: int = 0, quality: int = 80) -> Path:
    """One page as PNG, JPEG or whatever else the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_page(number, dpi=dpi, turned=turned).save(path, dpi=(dpi, dpi), quality=quality)
    return path


def write_tiff(path: Path, numbers: Iterable[int], *, dpi: int = 200) -> Path:
    """A TIFF of many pages, bilevel as scanners write it. The pale bars are lost in that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *more = [draw_page(number, dpi=dpi).convert("1", dither=Image.Dither.NONE) for number in numbers]
    first.save(path, "TIFF", compression="group4", save_all=True, append_images=more, dpi=(dpi, dpi))
    return path


def write_pdf(path: Path, numbers: Sequence[int], *, dpi: int = 150, turned: int = 0) -> Path:
    """A scanned PDF of any number of pages: one is in memory at a time, and a page is a few kilobytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets: list[int] = []
    with path.open("wb") as file:

        def put(data: bytes) -> None:
            offsets.append(file.tell())
            file.write(b"%d 0 obj\n%s\nendobj\n" % (len(offsets), data))

        file.write(b"%PDF-1.4\n")
        kids = b" ".join(b"%d 0 R" % (3 + 3 * index) for index in range(len(numbers)))
        put(b"<< /Type /Catalog /Pages 2 0 R >>")
        put(b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(numbers), kids))
        for number in numbers:
            image = draw_page(number, dpi=dpi, turned=turned)
            own = len(offsets) + 1
            points = tuple(side * 72 / dpi for side in image.size)
            put(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.3f %.3f] /Contents %d 0 R "
                b"/Resources << /XObject << /I %d 0 R >> >> >>" % (*points, own + 1, own + 2)
            )
            put(_stream(b"", b"%.3f 0 0 %.3f 0 0 cm /I Do" % points))
            head = (
                b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray "
                b"/BitsPerComponent 8 /Filter /FlateDecode" % image.size
            )
            put(_stream(head, zlib.compress(image.tobytes(), 6)))
        start = file.tell()
        rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        file.write(b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(offsets) + 1, rows))
        trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        file.write(trailer % (len(offsets) + 1, start))
    return path


def _stream(head: bytes, data: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (head, len(data), data)


def write_documents(
    folder: Path, documents: int, pages_each: int, *, dpi: int = 150
) -> dict[Path, list[int]]:
    """PDFs whose pages are numbered on through all of them, from 0; the numbers of each."""
    written: dict[Path, list[int]] = {}
    for index in range(documents):
        numbers = list(range(index * pages_each, (index + 1) * pages_each))
        written[write_pdf(folder / f"scan-{index:04}.pdf", numbers, dpi=dpi)] = numbers
    return written
