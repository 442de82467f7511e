"""Draw the pages that `ocrd models test` puts to a model: beside their texts in `ocrd/daemon/acceptance/pages`.

Usage: python samples/draw_test_pages.py

Needs Pillow and the fonts of the Debian package fonts-dejavu-core.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent.parent / "ocrd" / "daemon" / "acceptance" / "pages"
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
SIZE = (1240, 700)
MARGIN, PITCH, LETTERS = 70, 58, 34


def blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A white page and a pen."""
    image = Image.new("L", SIZE, 255)
    return image, ImageDraw.Draw(image)


def draw_text(name: str) -> None:
    """The lines of a text, one below the other; a line of cells (`|`) becomes a row of a ruled table."""
    image, pen = blank()
    font = ImageFont.truetype(FONT, LETTERS)
    y = MARGIN
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) > 1:
            width = (SIZE[0] - 2 * MARGIN) // len(cells)
            for index, cell in enumerate(cells):
                left = MARGIN + index * width
                pen.rectangle((left, y - 8, left + width, y + PITCH - 8), outline=0, width=2)
                pen.text((left + 14, y), cell.strip(), fill=20, font=font)
        else:
            pen.text((MARGIN, y), line, fill=20, font=font)
        y += PITCH
    image.save(FOLDER / f"{name}.png", optimize=True)


def draw_circle() -> None:
    """What the question about a picture is about."""
    image = Image.new("RGB", (448, 448), "white")
    ImageDraw.Draw(image).ellipse((84, 84, 364, 364), fill=(200, 30, 30))
    image.save(FOLDER / "circle.png", optimize=True)


def main() -> None:
    """Draw all."""
    for path in sorted(FOLDER.glob("*.txt")):
        draw_text(path.stem)
    draw_circle()


if __name__ == "__main__":
    main()
