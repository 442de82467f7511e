"""Small documents, drawn at test time: a line or two of large type, so that a page is read in a tenth of a second."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"


def draw(text: str) -> Image.Image:
    """A grey page of 6 × 1.5 inches at 100 DPI with a line of type."""
    if not os.path.exists(FONT):
        pytest.skip("needs the package fonts-dejavu-core to draw pages; script/setup --test installs it")
    page = Image.new("L", (900, 200), 255)
    ImageDraw.Draw(page).text((40, 60), text, fill=0, font=ImageFont.truetype(FONT, 44))
    return page


def write_png(path: Path, text: str) -> Path:
    """A one-page image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(text).save(path, "PNG", dpi=(100, 100))
    return path


def write_tiff(path: Path, *texts: str) -> Path:
    """A TIFF with a page for each text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *more = [draw(text) for text in texts]
    first.save(path, "TIFF", save_all=True, append_images=more, dpi=(100, 100))
    return path


def write_pdf(path: Path, *texts: str) -> Path:
    """A scanned PDF with a page for each text; '' is an empty page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *more = [draw(text) for text in texts]
    first.save(path, "PDF", save_all=True, append_images=more, resolution=100)
    return path


def write_pdf_with_bad_page(path: Path, good: str) -> Path:
    """A PDF of two pages: one that can be read, and one 200000 points wide and high, which nothing can render."""
    write_pdf(path, good, "never seen")
    data = path.read_bytes()
    boxes = [at for at in range(len(data)) if data.startswith(b"/MediaBox [ 0 0 648.0 144.0 ]", at)]
    assert len(boxes) == 2, "Pillow writes the box of a page in another way now"
    old = b"/MediaBox [ 0 0 648.0 144.0 ]"
    new = b"/MediaBox [ 0 0 200000 1 2e5]"
    new = b"/MediaBox[0 0 200000 200000 ]"
    assert len(old) == len(new)
    path.write_bytes(data[: boxes[1]] + new + data[boxes[1] + len(old) :])
    return path
