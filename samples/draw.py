"""Draw the sample documents and their expected texts.

Usage: python samples/draw.py [--out FOLDER] [NAME ...]

Without names all documents are drawn into `samples/documents`, and their texts into `samples/expected`. The same
versions of Pillow, fpdf2 and the fonts give the same bytes each time: the noise is seeded, the dates are fixed.

Needs Pillow (a dependency of ocrd), `pip install fpdf2` for the born-digital PDFs, and the fonts of the Debian
packages fonts-liberation2 (fonts-liberation from Debian 13 on) and fonts-dejavu-core.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import PIL
import sample_texts as texts
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, features

DPI = 200
A4 = (210.0, 297.0)
A5 = (148.0, 210.0)
INK = 28
"""Print is never quite black on a scan."""
DRAWN_ON = datetime(2025, 1, 1, tzinfo=UTC)

LIBERATION = "fonts-liberation2 (fonts-liberation from Debian 13 on)"
DEJAVU = "fonts-dejavu-core"
FONTS = {
    "serif": ("LiberationSerif-Regular.ttf", LIBERATION),
    "serif-bold": ("LiberationSerif-Bold.ttf", LIBERATION),
    "serif-italic": ("LiberationSerif-Italic.ttf", LIBERATION),
    "sans": ("LiberationSans-Regular.ttf", LIBERATION),
    "sans-bold": ("LiberationSans-Bold.ttf", LIBERATION),
    "mono": ("DejaVuSansMono.ttf", DEJAVU),
    "mono-bold": ("DejaVuSansMono-Bold.ttf", DEJAVU),
}
FONT_FOLDERS = [f"/usr/share/fonts/truetype/{name}" for name in ("liberation2", "liberation", "dejavu")]


class FontMissing(Exception):
    """A font is not installed; the message names the package."""


@dataclass(frozen=True)
class Drawn:
    """A document's bytes and the text of each page; None where there is nothing to compare with."""

    data: bytes
    pages: list[str] | None = None


def font_path(name: str) -> str:
    """Where the font file lies."""
    file, package = FONTS[name]
    for folder in FONT_FOLDERS:
        path = os.path.join(folder, file)
        if os.path.exists(path):
            return path
    raise FontMissing(f"font {file} is missing; sudo apt install {package}")


@functools.cache
def font(name: str, points: float) -> ImageFont.FreeTypeFont:
    # The basic layout does not depend on whether Pillow was built with Raqm.
    return ImageFont.truetype(font_path(name), round(points * DPI / 72), layout_engine=ImageFont.Layout.BASIC)


def px(mm: float) -> int:
    """Millimetres in pixels."""
    return round(mm * DPI / 25.4)


def toolchain() -> str:
    """What the bytes of the pictures depend on."""
    libraries = ("freetype2", "libjpeg_turbo", "zlib", "zlib_ng", "libtiff")
    digest = hashlib.sha256()
    for name in sorted(FONTS):
        with open(font_path(name), "rb") as file:
            digest.update(file.read())
    parts = [f"Pillow {PIL.__version__}", *(f"{name} {features.version(name)}" for name in libraries)]
    return ", ".join([*parts, f"fonts {digest.hexdigest()[:12]}"])


@dataclass
class Sheet:
    """A page in the making: the picture, and the text in the order it was written. Lengths are in millimetres."""

    size: tuple[float, float] = A4
    left: float = 25
    right: float = 20
    y: float = 20
    paper: int = 255
    blocks: list[str] = field(default_factory=list)
    image: Image.Image = field(init=False)
    pen: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.image = Image.new("L", (px(self.size[0]), px(self.size[1])), self.paper)
        self.pen = ImageDraw.Draw(self.image)

    @property
    def end(self) -> float:
        """The right edge of the text."""
        return self.size[0] - self.right

    @property
    def text(self) -> str:
        return "\n\n".join(self.blocks)

    def put(self, text: str, style: tuple[str, float], x: float, y: float, anchor: str = "ls") -> None:
        """Write on the base line `y`, without noting the text."""
        self.pen.text((px(x), px(y)), text, fill=INK, font=font(*style), anchor=anchor)

    def rule(self, x1: float, y1: float, x2: float, y2: float, width: float = 0.3) -> None:
        """A line from point to point."""
        self.pen.line([(px(x1), px(y1)), (px(x2), px(y2))], fill=INK, width=max(1, px(width)))

    def line(self, text: str, style: tuple[str, float], align: str = "l", x: float | None = None) -> None:
        """One line at the cursor: left, right or middle."""
        at = {"l": self.left, "r": self.end, "m": (self.left + self.end) / 2}[align] if x is None else x
        self.y += leading(style)
        self.put(text, style, at, self.y - leading(style) * 0.28, align + "s")

    def lines(
        self, lines: Sequence[str], style: tuple[str, float], align: str = "l", x: float | None = None
    ) -> None:
        """Several lines that belong together."""
        for line in lines:
            self.line(line, style, align, x)
        self.note(*lines)

    def paragraph(
        self,
        text: str,
        style: tuple[str, float],
        indent: float = 0,
        after: float = 2,
        x2: float | None = None,
    ) -> None:
        """Text broken into justified lines."""
        width = (x2 or self.end) - self.left
        broken = wrap(text, style, width, indent)
        for number, words in enumerate(broken):
            self.y += leading(style)
            first = indent if number == 0 else 0
            fill = None if number == len(broken) - 1 else width - first
            self._words(words, style, self.left + first, fill)
        self.note(*(" ".join(words) for words in broken))
        self.y += after

    def _words(self, words: list[str], style: tuple[str, float], x: float, fill: float | None) -> None:
        spare = 0.0
        if fill is not None and len(words) > 1:
            spare = (px(fill) - font(*style).getlength(" ".join(words))) / (len(words) - 1)
        at = float(px(x))
        for word in words:
            self.pen.text(
                (round(at), px(self.y - leading(style) * 0.28)),
                word,
                fill=INK,
                font=font(*style),
                anchor="ls",
            )
            at += font(*style).getlength(word + " ") + spare

    def note(self, *lines: str) -> None:
        """Add a block to the expected text."""
        self.blocks.append("\n".join(lines))


def leading(style: tuple[str, float]) -> float:
    """The distance of the lines, in millimetres."""
    return style[1] * 25.4 / 72 * 1.28


def wrap(text: str, style: tuple[str, float], width: float, indent: float = 0) -> list[list[str]]:
    """The words of each line. A no-break space, as in sums of money, is not a place to break."""
    lines: list[list[str]] = [[]]
    for word in text.split(" "):
        room = px(width - (indent if len(lines) == 1 else 0))
        if lines[-1] and font(*style).getlength(" ".join([*lines[-1], word])) > room:
            lines.append([])
        lines[-1].append(word)
    return lines


# --- What a scanner does to a page


def grain(size: tuple[int, int], rng: random.Random, amplitude: float) -> Image.Image:
    """Noise around 128; the mean of three even noises is nearly normal."""
    layers = [Image.frombytes("L", size, rng.randbytes(size[0] * size[1])) for _ in range(3)]
    mean = ImageChops.add(layers[0], layers[1], scale=2)
    mean = Image.blend(mean, layers[2], 1 / 3)
    return mean.point([round(128 + (level - 127.5) * amplitude / 64) for level in range(256)])


def with_noise(image: Image.Image, seed: int, amplitude: float) -> Image.Image:
    return ImageChops.add(image, grain(image.size, random.Random(seed), amplitude), scale=1, offset=-128)


def turned(image: Image.Image, degrees: float, paper: int = 255) -> Image.Image:
    """As if the sheet lay askew on the glass."""
    return image.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=paper)


def shaded(image: Image.Image, darkest: int) -> Image.Image:
    """Light that falls off to one side and to the corners."""
    side = Image.linear_gradient("L").rotate(90).point([255 - (255 - darkest) * i // 255 for i in range(256)])
    corners = Image.radial_gradient("L").point(
        [255 - max(0, i - 110) * (255 - darkest) // 290 for i in range(256)]
    )
    light = ImageChops.multiply(side, corners).resize(image.size, Image.Resampling.BICUBIC)
    return ImageChops.multiply(image, light)


def specks(image: Image.Image, seed: int, count: int) -> None:
    """Dust on the glass: single points, too small for a full stop."""
    rng = random.Random(seed)
    pen = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.randrange(image.width), rng.randrange(image.height)
        pen.rectangle([x, y, x + rng.randrange(2), y + rng.randrange(2)], fill=90)


def bilevel(image: Image.Image) -> Image.Image:
    """Black and white, as an office copier sends it."""
    return image.point([0] * 150 + [255] * 106).convert("1", dither=Image.Dither.NONE)


def scribble(sheet: Sheet, x: float, y: float, width: float, seed: int) -> None:
    """A signature that nobody can read."""
    rng = random.Random(seed)
    waves = [(rng.uniform(0.7, 1.3), rng.uniform(0, 6)) for _ in range(3)]
    points = []
    for step in range(160):
        t = step / 160
        height = (1 - t) * 5 + 1
        loop = math.sin(t * 34 * waves[0][0] + waves[0][1]) * 1.6
        rise = math.sin(t * 34 * waves[1][0] + waves[1][1]) * height * 0.5 + math.sin(t * 9 + waves[2][1])
        points.append((px(x + t * width + loop), px(y - 1.5 + rise)))
    sheet.pen.line(points, fill=70, width=3, joint="curve")


# --- Files


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, dpi=(DPI, DPI), **options)
    return buffer.getvalue()


def scanned_pdf(pages: Sequence[Image.Image], title: str) -> bytes:
    """Grey pages are stored as JPEG, black and white ones as G4."""
    date = time.gmtime(DRAWN_ON.timestamp())
    buffer = io.BytesIO()
    pages[0].save(
        buffer,
        "PDF",
        save_all=True,
        append_images=pages[1:],
        resolution=DPI,
        title=title,
        creationDate=date,
        modDate=date,
    )
    return buffer.getvalue()


def text_pdf(pages: list[list[tuple[str, str]]], title: str, password: str | None = None) -> Drawn:
    """A PDF with a text layer."""
    import fpdf

    pdf = fpdf.FPDF(format="A4")
    pdf.set_creation_date(DRAWN_ON)
    pdf.set_title(title)
    pdf.set_margins(25, 22, 20)
    pdf.add_font("body", "", font_path("serif"))
    pdf.add_font("head", "", font_path("sans-bold"))
    if password is not None:
        # RC4 is old, but it is the one method without random salts: the same bytes each time.
        pdf.set_encryption(owner_password=password, user_password=password)
    expected = [_text_page(pdf, page) for page in pages]
    return Drawn(bytes(pdf.output()), expected)


def _text_page(pdf: Any, page: list[tuple[str, str]]) -> str:
    looks = {"title": ("head", 18, 9, 4), "head": ("head", 13, 7, 1), "text": ("body", 12, 6, 3)}
    pdf.add_page()
    blocks = []
    for kind, text in page:
        family, points, height, after = looks[kind]
        pdf.set_font(family, size=points)
        options = {"w": 0, "h": height, "text": text, "align": "L"}
        blocks.append("\n".join(pdf.multi_cell(**options, dry_run=True, output="LINES")))
        pdf.multi_cell(**options, new_x="LMARGIN", new_y="NEXT")
        pdf.ln(after)
    return "\n\n".join(blocks)


def money(kopecks: int) -> str:
    """12 345,60 with no-break spaces."""
    return f"{kopecks // 100:,}".replace(",", "\u00a0") + f",{kopecks % 100:02d}"


# --- The documents


def letter_ru() -> Drawn:
    sheet = Sheet(y=16)
    sheet.pen.regular_polygon((px(36), px(30), px(9)), 6, outline=INK, width=4)
    sheet.pen.regular_polygon((px(36), px(30), px(5)), 6, rotation=30, fill=110)
    head = texts.LETTER_RU_HEAD
    sheet.line(head[0], ("serif", 12), "m", 117)
    sheet.line(head[1], ("serif-bold", 17), "m", 117)
    sheet.line(head[2], ("serif", 10.5), "m", 117)
    sheet.line(head[3], ("serif", 10.5), "m", 117)
    sheet.note(*head)
    sheet.rule(25, sheet.y + 3, 190, sheet.y + 3, 0.7)
    sheet.y += 9
    sheet.lines([texts.LETTER_RU_NUMBER], ("serif", 12))
    sheet.y += 4
    sheet.lines(texts.LETTER_RU_TO, ("serif", 12.5), x=125)
    sheet.y += 9
    sheet.lines([texts.LETTER_RU_SUBJECT], ("serif-italic", 12.5))
    sheet.y += 7
    sheet.lines([texts.LETTER_RU_GREETING], ("serif-bold", 13), "m")
    sheet.y += 4
    for text in texts.LETTER_RU_BODY:
        sheet.paragraph(text, ("serif", 12.5), indent=10)
    sheet.y += 8
    signature(sheet, texts.LETTER_RU_CLOSING, texts.LETTER_RU_SIGNED)
    sheet.y += 10
    sheet.lines([texts.LETTER_RU_ENCLOSED], ("serif", 11))
    return Drawn(save(sheet.image, "PNG", optimize=True), [sheet.text])


def signature(sheet: Sheet, role: Sequence[str], name: str) -> None:
    """The role on the left, the name on the right, and what a hand wrote between them."""
    style = ("serif", 12.5)
    for line in role:
        sheet.line(line, style)
    sheet.put(name, style, sheet.end, sheet.y - leading(style) * 0.28, "rs")
    scribble(sheet, 100, sheet.y - 3, 34, seed=len(name))
    sheet.note(*role[:-1], f"{role[-1]} {name}")


def letter_en() -> Drawn:
    sheet = Sheet(left=28, right=28, y=18, paper=250)
    sheet.line(texts.LETTER_EN_HEAD[0], ("sans-bold", 22), "m")
    sheet.line(texts.LETTER_EN_HEAD[1], ("sans", 11), "m")
    sheet.note(*texts.LETTER_EN_HEAD)
    sheet.rule(28, sheet.y + 2, 182, sheet.y + 2, 0.4)
    sheet.y += 3.5
    sheet.lines([texts.LETTER_EN_ADDRESS], ("sans", 9.5), "m")
    sheet.y += 12
    sheet.lines(texts.LETTER_EN_TO, ("sans", 11))
    sheet.y += 6
    sheet.lines([texts.LETTER_EN_DATE], ("sans", 11))
    sheet.y += 6
    sheet.lines([texts.LETTER_EN_GREETING], ("sans", 11))
    sheet.y += 2
    for text in texts.LETTER_EN_BODY:
        sheet.paragraph(text, ("sans", 11), after=3)
    sheet.y += 3
    sheet.lines([texts.LETTER_EN_CLOSING], ("sans", 11))
    scribble(sheet, 31, sheet.y + 9, 38, seed=5)
    sheet.y += 17
    sheet.lines(texts.LETTER_EN_SIGNED, ("sans", 11))
    image = turned(sheet.image, 0.3, 250).filter(ImageFilter.GaussianBlur(0.6))
    return Drawn(save(with_noise(image, 11, 3), "JPEG", quality=55), [sheet.text])


def invoice_ru() -> Drawn:
    sheet = Sheet(left=20, right=15, y=18)
    sheet.lines(texts.INVOICE_SELLER, ("sans", 10.5))
    sheet.y += 7
    sheet.lines([texts.INVOICE_TITLE], ("sans-bold", 15))
    sheet.rule(20, sheet.y + 2, 195, sheet.y + 2, 0.6)
    sheet.y += 6
    sheet.lines([texts.INVOICE_BUYER, texts.INVOICE_BASIS], ("sans", 10.5))
    sheet.y += 6
    total = invoice_table(sheet)
    sheet.y += 3
    sums = [("Итого:", total), ("В том числе НДС 20 %:", total * 20 // 120), ("Всего к оплате:", total)]
    for label, value in sums:
        sheet.line(label, ("sans-bold", 10.5), "r", 165)
        sheet.put(money(value), ("sans-bold", 10.5), 193.5, sheet.y - leading(("sans", 10.5)) * 0.28, "rs")
        sheet.y += 1
    sheet.note(*(f"{label} {money(value)}" for label, value in sums))
    sheet.y += 6
    count = len(texts.INVOICE_ITEMS)
    sheet.lines([f"Всего наименований {count}, на сумму {money(total)} руб."], ("sans", 10.5))
    sheet.lines([texts.INVOICE_IN_WORDS], ("sans-bold", 10.5))
    sheet.y += 4
    for text in texts.INVOICE_NOTES:
        sheet.paragraph(text, ("sans", 10))
    sheet.y += 12
    for role, name in texts.INVOICE_SIGNED:
        sheet.line(role, ("sans", 10.5))
        sheet.rule(52, sheet.y, 105, sheet.y, 0.2)
        sheet.put(name, ("sans", 10.5), 110, sheet.y - 1.3)
        scribble(sheet, 60, sheet.y - 3.5, 26, seed=len(name) + len(role))
        sheet.note(f"{role} {name}")
        sheet.y += 10
    return Drawn(save(sheet.image, "PNG", optimize=True), [sheet.text])


def invoice_table(sheet: Sheet) -> int:
    """The items in a ruled table; returns their sum in kopecks."""
    edges = [20, 29, 98, 113, 131, 162, 195]
    rows = [texts.INVOICE_COLUMNS]
    total = 0
    for number, (name, unit, count, price) in enumerate(texts.INVOICE_ITEMS, 1):
        rows.append([str(number), name, unit, str(count), money(price), money(price * count)])
        total += price * count
    top, height = sheet.y, 8.5
    sheet.pen.rectangle([px(20), px(top), px(195), px(top + height)], fill=225)
    for index, row in enumerate(rows):
        _row(sheet, row, edges, top + height * (index + 1) - 2.8, head=index == 0)
    bottom = top + height * len(rows)
    for index in range(len(rows) + 1):
        sheet.rule(20, top + height * index, 195, top + height * index)
    for edge in edges:
        sheet.rule(edge, top, edge, bottom)
    sheet.y = bottom
    sheet.note(*(" ".join(row) for row in rows))
    return total


def _row(sheet: Sheet, cells: list[str], edges: list[int], y: float, *, head: bool) -> None:
    style = ("sans-bold" if head else "sans", 10)
    for column, cell in enumerate(cells):
        start, stop = edges[column], edges[column + 1]
        if head or column in {0, 2}:
            sheet.put(cell, style, (start + stop) / 2, y, "ms")
        elif column == 1:
            sheet.put(cell, style, start + 1.5, y)
        else:
            sheet.put(cell, style, stop - 1.5, y, "rs")


def two_columns_en() -> Drawn:
    sheet = Sheet(left=18, right=18, y=14)
    sheet.line(texts.NEWS_TITLE, ("serif-bold", 40), "m")
    sheet.y += 1
    sheet.line(texts.NEWS_LINE, ("serif-italic", 13), "m")
    sheet.rule(18, sheet.y + 2, 192, sheet.y + 2, 0.8)
    sheet.y += 3
    sheet.line(texts.NEWS_ISSUE, ("serif", 10.5), "m")
    sheet.rule(18, sheet.y + 1, 192, sheet.y + 1, 0.2)
    sheet.note(texts.NEWS_TITLE, texts.NEWS_LINE, texts.NEWS_ISSUE)
    top, middle, bottom = sheet.y + 7, news_split(), 0.0
    for left, articles in ((18, texts.NEWS[:middle]), (109, texts.NEWS[middle:])):
        sheet.left, sheet.y = left, top
        for kind, text in articles:
            if kind == "head":
                sheet.lines([text], ("sans-bold", 13))
                sheet.y += 1
            else:
                sheet.paragraph(text, ("serif", 11.5), after=2.5, x2=left + 83)
        bottom = max(bottom, sheet.y)
    sheet.rule(105, top + 1, 105, bottom, 0.2)
    return Drawn(save(sheet.image, "PNG", optimize=True), [sheet.text])


def news_split() -> int:
    """The first article of the right column."""
    return texts.NEWS.index(("head", "Dates for your diary"))


def noisy_scan_ru() -> Drawn:
    sheet = Sheet(A5, left=16, right=14, y=14, paper=238)
    sheet.line(texts.NOISY_TITLE[0], ("serif-bold", 17), "m")
    sheet.line(texts.NOISY_TITLE[1], ("serif-bold", 12.5), "m")
    sheet.note(*texts.NOISY_TITLE)
    sheet.y += 4
    for text in texts.NOISY_BODY:
        sheet.paragraph(text, ("serif", 11.5), indent=6, after=1.5)
    sheet.y += 3
    sheet.lines([texts.NOISY_FOOT], ("serif-italic", 11), "r")
    specks(sheet.image, 21, 60)
    image = turned(sheet.image, -1.5, 238).filter(ImageFilter.GaussianBlur(0.9))
    image = with_noise(shaded(image, 205), 22, 12)
    return Drawn(save(image, "JPEG", quality=50), [sheet.text])


def report_page(number: int, title: str) -> Sheet:
    """A page with the running foot."""
    sheet = Sheet(y=22)
    sheet.lines([title], ("sans-bold", 15))
    sheet.rule(25, sheet.y + 2, 190, sheet.y + 2, 0.5)
    sheet.y += 9
    sheet.rule(25, 279, 190, 279, 0.2)
    sheet.put(texts.REPORT_FOOT, ("sans", 9), 25, 284)
    sheet.put(str(number), ("sans", 9), 190, 284, "rs")
    return sheet


def report_1() -> Sheet:
    sheet = report_page(1, texts.REPORT_1_TITLE)
    for kind, text in texts.REPORT_1:
        if kind == "head":
            sheet.y += 3
            sheet.lines([text], ("sans-bold", 12.5))
            sheet.y += 1
        else:
            sheet.paragraph(text, ("serif", 12.5), indent=8)
    sheet.note(f"{texts.REPORT_FOOT} 1")
    return sheet


def report_2() -> Sheet:
    sheet = report_page(2, texts.REPORT_2_TITLE)
    for text in texts.REPORT_2:
        sheet.paragraph(text, ("serif", 12.5), after=3)
    sheet.y += 5
    chart(sheet)
    sheet.y += 8
    for text in texts.REPORT_2_AFTER:
        sheet.paragraph(text, ("serif", 12.5), after=3)
    sheet.note(f"{texts.REPORT_FOOT} 2")
    return sheet


def chart(sheet: Sheet) -> None:
    """Three bars with their values above and their months below."""
    sheet.lines([texts.REPORT_2_CHART], ("sans-bold", 11.5), "m")
    base = sheet.y + 72
    for index, (_, pages) in enumerate(texts.REPORT_2_BARS):
        x, top = 56 + index * 38, base - pages / 65
        sheet.pen.rectangle([px(x), px(top), px(x + 24), px(base)], fill=170, outline=INK, width=2)
        sheet.put(f"{pages:,}", ("sans", 11), x + 12, top - 2, "ms")
    sheet.rule(45, base, 168, base, 0.4)
    for index, (month, _) in enumerate(texts.REPORT_2_BARS):
        sheet.put(month, ("sans", 11), 68 + index * 38, base + 6, "ms")
    sheet.note(" ".join(f"{pages:,}" for _, pages in texts.REPORT_2_BARS))
    sheet.note(" ".join(month for month, _ in texts.REPORT_2_BARS))
    sheet.y = base + 8


def report_3() -> Sheet:
    sheet = report_page(3, texts.REPORT_3_TITLE)
    for term, meaning in texts.REPORT_3:
        sheet.line(term, ("sans-bold", 11.5))
        sheet.note(term)
        sheet.paragraph(meaning, ("serif", 12.5), after=4)
    sheet.y += 6
    sheet.lines([texts.REPORT_3_SIGNED], ("serif-italic", 12))
    sheet.note(f"{texts.REPORT_FOOT} 3")
    return sheet


def report_3_pages() -> Drawn:
    sheets = [report_1(), report_2(), report_3()]
    grey = with_noise(turned(sheets[1].image, -0.4).filter(ImageFilter.GaussianBlur(0.6)), 31, 2)
    pages = [bilevel(turned(sheets[0].image, 0.3)), grey, bilevel(turned(sheets[2].image, -0.2))]
    return Drawn(scanned_pdf(pages, "report"), [sheet.text for sheet in sheets])


def minutes() -> Drawn:
    first, second = Sheet(y=20), Sheet(y=20)
    first.line(texts.MINUTES_TITLE[0], ("serif-bold", 15), "m")
    first.line(texts.MINUTES_TITLE[1], ("serif-bold", 13), "m")
    first.note(*texts.MINUTES_TITLE)
    first.y += 5
    first.lines([texts.MINUTES_DATE], ("serif", 12.5))
    first.y += 4
    first.lines(texts.MINUTES_PRESENT, ("serif", 12.5))
    first.y += 4
    first.lines(texts.MINUTES_AGENDA, ("serif", 12.5))
    for sheet, body in ((first, texts.MINUTES_1), (second, texts.MINUTES_2)):
        for kind, text in body:
            if kind == "head":
                sheet.y += 4
                sheet.lines([text], ("serif-bold", 12.5))
                sheet.y += 1
            else:
                sheet.paragraph(text, ("serif", 12.5), indent=10)
    for role, name in texts.MINUTES_SIGNED:
        second.y += 12
        signature(second, [role], name)
    pages = []
    for number, sheet in enumerate((first, second)):
        specks(sheet.image, 41 + number, 40)
        pages.append(bilevel(turned(sheet.image, 0.2 - 0.5 * number)))
    data = save(pages[0], "TIFF", compression="group4", save_all=True, append_images=pages[1:])
    return Drawn(data, [first.text, second.text])


def receipt() -> Drawn:
    sheet = Sheet((80, 88), left=7, right=7, y=7)
    for index, line in enumerate(texts.RECEIPT_HEAD):
        sheet.line(line, ("mono-bold", 13) if index == 0 else ("mono", 10), "m")
    sheet.note(*texts.RECEIPT_HEAD)
    dashes(sheet)
    rows = [(f"{name}, {count} шт.", price * count) for name, count, price in texts.RECEIPT_ITEMS]
    for name, amount in rows:
        _receipt_row(sheet, name, amount, "mono", 10)
    dashes(sheet)
    total = sum(amount for _, amount in rows)
    _receipt_row(sheet, "ИТОГО", total, "mono-bold", 12)
    sheet.note(*(f"{name} {money(amount)}" for name, amount in [*rows, ("ИТОГО", total)]))
    dashes(sheet)
    sheet.lines(texts.RECEIPT_FOOT, ("mono", 10), "m")
    return Drawn(save(sheet.image, "PNG", optimize=True), [sheet.text])


def _receipt_row(sheet: Sheet, name: str, amount: int, face: str, points: float) -> None:
    sheet.line(name, (face, points))
    sheet.put(money(amount), (face, points), sheet.end, sheet.y - leading((face, points)) * 0.28, "rs")
    sheet.y += 0.6


def dashes(sheet: Sheet) -> None:
    """The perforated line of a till roll."""
    sheet.y += 3
    for x in range(7, 73, 2):
        sheet.rule(x, sheet.y, x + 1, sheet.y, 0.25)
    sheet.y += 2


def blank() -> Drawn:
    """Paper and nothing on it. The noise is coarse, or the file would be larger than all the others together."""
    size = (px(A4[0]), px(A4[1]))
    coarse = grain((size[0] // 6, size[1] // 6), random.Random(51), 1.6)
    paper = ImageChops.add(Image.new("L", coarse.size, 244), coarse, scale=1, offset=-128)
    return Drawn(save(paper.resize(size, Image.Resampling.BILINEAR), "PNG", optimize=True), [""])


def born_digital() -> Drawn:
    return text_pdf(texts.BORN, "How to deposit your papers")


def encrypted() -> Drawn:
    return Drawn(text_pdf(texts.LOCKED, "A locked sheet", password="lantern").data)


def damaged() -> Drawn:
    """A copy that broke off: the catalogue and the table of objects stand at the end of the file."""
    whole = born_digital().data
    return Drawn(whole[: len(whole) // 3])


DOCUMENTS: dict[str, Callable[[], Drawn]] = {
    "letter_ru.png": letter_ru,
    "letter_en.jpg": letter_en,
    "invoice_ru.png": invoice_ru,
    "two_columns_en.png": two_columns_en,
    "noisy_scan_ru.jpg": noisy_scan_ru,
    "report_3_pages.pdf": report_3_pages,
    "minutes.tif": minutes,
    "папка/счёт за март.png": receipt,
    "blank.png": blank,
    "born_digital.pdf": born_digital,
    "damaged.pdf": damaged,
    "encrypted.pdf": encrypted,
}


def expected_text(pages: list[str]) -> str:
    """Pages separated by form feeds, each with text ends with a line feed: as ocrd writes it."""
    return "\f".join(page.replace("\u00a0", " ") + "\n" if page else "" for page in pages)


def write(folder: str, name: str, drawn: Drawn) -> None:
    """The document, and its text when there is any."""
    files = {os.path.join(folder, "documents", name): drawn.data}
    if drawn.pages is not None and any(drawn.pages):
        files[os.path.join(folder, "expected", name + ".txt")] = expected_text(drawn.pages).encode()
    for path, data in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def main(arguments: Iterable[str]) -> int:
    parser = argparse.ArgumentParser(description="Draw the sample documents.")
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="default: samples")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    options = parser.parse_args(list(arguments))
    unknown = [name for name in options.names if name not in DOCUMENTS]
    if unknown:
        parser.error(f"no such document: {', '.join(unknown)}; there are {', '.join(DOCUMENTS)}")
    try:
        print(toolchain())
    except FontMissing as err:
        print(err, file=sys.stderr)
        return 1
    for name in options.names or DOCUMENTS:
        try:
            drawn = DOCUMENTS[name]()
        except ImportError as err:
            print(f"{name}: {err}; pip install fpdf2", file=sys.stderr)
            return 1
        write(options.out, name, drawn)
        print(f"{len(drawn.data):8} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
