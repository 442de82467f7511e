"""Pages that a program can recognize: a bar with the page's number, and lines whose text follows from it.

Near the top stands a black bar; above each line of text a pale one, which says the page and the line, so that a
cut-out of a page is known, too. The pale ones are too light to be taken for ink by a reader of text. A bar is a row of
modules: a start guard, 20 bits (page, line), their checksum, an end guard that is not the start guard mirrored.

All lengths are in widths of a bar: a bar that was found gives the scale.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

Box = tuple[int, int, int, int]

MARGIN = 0.125
"""On the left and on the right."""
BAR_TOP, BAR_HEIGHT = 0.05, 0.045
FIRST_LINE, PITCH = 0.11, 0.11
"""From the top of the bar to the top of the first line's box; from one line to the next."""
LINE_HEIGHT, TAG_TOP, TAG_HEIGHT, TEXT_TOP = 0.075, 0.013, 0.013, 0.034
"""A line's box; and within it the pale bar and the text."""
FONT_SIZE = 0.03
TAG_GREY = 212
LINES = 8
MODULES = 42
HIGHEST_PAGE = 0xFFFF
UNMARKED = "Счёт № 4711\nInvoice Total: 1 234,56 руб.\nДата: 01.02.2026"
"""What an image without a bar is answered with: the text of the page that ocrd knows (`probe.png`)."""

_START, _END = "11010", "01001"
_SIDE_PX = 1000
"""Images are reduced to about twice this at most before they are scanned: a module has 10 pixels then."""
_CUT_OFF = 0.15
"""How much of a line's box may be missing: cut-outs are rounded, and there is air around the text."""

_CATEGORIES = ("Title", "Section-header", "Text", "Text", "Text", "Text", "Text", "Page-footer")
_CLIENTS = ("Northwind Ltd", "Harbour Trading", "Green Valley Farm", "Oak Street Press", "Polar Lights Inc")
_TOWNS = ("Рязань", "Казань", "Вологда", "Самара", "Пермь", "Томск")
_WHO = ("Склад отгрузил", "Завод выпустил", "Архив принял", "Отдел проверил", "Магазин заказал")
_WHAT = ("коробок бумаги", "листов фанеры", "метров кабеля", "папок с делами", "банок краски")
_GOODS = ("brass hinges", "oak boards", "glass jars", "paper reams", "copper pipes", "wool blankets")
_MONTHS = ("January", "March", "April", "June", "July", "August", "October", "November")


def page_lines(number: int) -> list[str]:
    """The lines of a page, from the first to the last; each contains digits, no two pages are alike."""
    roll = _dice(number)
    return [
        f"Счёт № {number} от {next(roll) % 28 + 1:02}.{next(roll) % 12 + 1:02}.{2010 + next(roll) % 16}",
        f"Invoice {number} for {_one_of(_CLIENTS, roll)}",
        f"Договор {next(roll) % 900 + 100}-{next(roll) % 90 + 10}, город {_one_of(_TOWNS, roll)}",
        f"{_one_of(_WHO, roll)} {next(roll) % 9000 + 1000} {_one_of(_WHAT, roll)}",
        f"Order {next(roll) % 90000 + 10000} contains {next(roll) % 500 + 20} {_one_of(_GOODS, roll)}",
        f"Сумма к оплате {next(roll) % 90000 + 1000} руб. {next(roll) % 90 + 10} коп.",
        f"Total due {next(roll) % 9000 + 100}.{next(roll) % 90 + 10} EUR by {_one_of(_MONTHS, roll)}",
        f"Страница {number} / Page {number}",
    ]


def page_text(number: int) -> str:
    """All lines of a page."""
    return "\n".join(page_lines(number))


def _dice(number: int) -> Iterator[int]:
    """Numbers that follow from the page's, the same with every Python."""
    throw = 0
    while True:
        yield zlib.crc32(f"{number}:{throw}".encode())
        throw += 1


def _one_of(words: tuple[str, ...], roll: Iterator[int]) -> str:
    return words[next(roll) % len(words)]


def category(line: int) -> str:
    """The category of a line, counted from 1."""
    return _CATEGORIES[line - 1]


def modules(page: int, line: int = 0) -> str:
    """A bar's modules, 1 for a dark one; line 0 is the page's own bar."""
    payload = page << 4 | line
    return f"{_START}{payload:020b}{_checksum(payload):012b}{_END}"


def _checksum(payload: int) -> int:
    return zlib.crc32(payload.to_bytes(3, "big")) & 0xFFF


@dataclass(slots=True)
class Bar:
    """A bar that was found, in the pixels of the image."""

    page: int
    line: int
    mirrored: bool
    left: int
    right: int
    top: int
    bottom: int
    rows: int = 1

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left


@dataclass(frozen=True, slots=True)
class Seen:
    """What an image shows: a page or a part of one, turned clockwise by `rotation`; boxes of an upright one only."""

    page: int
    rotation: int
    bar: Box | None = None
    lines: dict[int, Box] = field(default_factory=dict)

    @property
    def is_crop(self) -> bool:
        """Whether the page's own bar is missing."""
        return self.bar is None and self.rotation == 0


def look(image: Image.Image) -> Seen | None:
    """Find the page that an image shows; None if there is no bar on it."""
    grey = image if image.mode == "L" else image.convert("L")
    factor = max(1, max(image.size) // _SIDE_PX)
    small = grey.reduce(factor) if factor > 1 else grey
    for turn in (0, 90):
        view = small.transpose(Image.Transpose.ROTATE_90) if turn else small
        black = [bar for bar in _scan(view, 128) if bar.line == 0]
        pale = [bar for bar in _scan(view, (TAG_GREY + 255) // 2) if bar.line > 0]
        first = next(iter(black or pale), None)
        if first is None:
            continue
        rotation = turn + 180 * first.mirrored
        if rotation:
            return Seen(first.page, rotation)
        return _upright(
            first.page, black, [bar for bar in pale if bar.page == first.page], factor, image.height
        )
    return None


def _upright(page: int, black: list[Bar], pale: list[Bar], factor: int, height: int) -> Seen:
    """The boxes of an upright page, in the pixels of the full image."""
    tops = {bar.line: (bar.left, bar.right, bar.top - TAG_TOP * bar.width) for bar in pale}
    frame = None
    if black:
        bar = black[0]
        frame = _scaled((bar.left, bar.top, bar.right, bar.bottom), factor)
        for line in range(1, LINES + 1):  # pale ones do not survive bilevel scans
            top = bar.top + (FIRST_LINE + PITCH * (line - 1)) * bar.width
            tops.setdefault(line, (bar.left, bar.right, top))
    boxes = {}
    for line, (left, right, top) in sorted(tops.items()):
        box = _scaled((left, top, right, top + LINE_HEIGHT * (right - left)), factor)
        tall = box[3] - box[1]
        if -_CUT_OFF * tall <= box[1] and box[3] <= height + _CUT_OFF * tall:
            boxes[line] = (box[0], max(0, box[1]), box[2], min(height, box[3]))
    return Seen(page, 0, frame, boxes)


def _scaled(box: tuple[float, float, float, float], factor: int) -> Box:
    left, top, right, bottom = (round(value * factor) for value in box)
    return left, top, right, bottom


def _scan(image: Image.Image, level: int) -> list[Bar]:
    """Bars that are darker than `level`, from top to bottom; a row stands alone in none."""
    table = [0] * level + [255] * (256 - level)
    data, (width, height) = image.point(table).tobytes(), image.size
    bars: dict[tuple[int, int, bool], Bar] = {}
    for y in range(height):
        row = data[y * width : (y + 1) * width]
        left = row.find(0)
        if left < 0:
            continue
        right = row.rfind(0) + 1
        found = _read(row, left, right)
        if found is None:
            continue
        bar = bars.setdefault(found, Bar(*found, left, right, y, y + 1, rows=0))
        bar.bottom = y + 1
        bar.rows += 1
    return [bar for bar in bars.values() if bar.rows > 1]


def _read(row: bytes, left: int, right: int) -> tuple[int, int, bool] | None:
    """Page, line and whether it runs from right to left, of a row between its outermost dark pixels."""
    module = (right - left) / MODULES
    if module < 4:
        return None
    centres = [left + (index + 0.5) * module for index in range(MODULES)]
    bits = "".join("0" if row[int(at)] else "1" for at in centres)
    mirrored = not bits.startswith(_START)
    straight = bits[::-1] if mirrored else bits
    if not (straight.startswith(_START) and straight.endswith(_END)):
        return None
    if any(row[int(at)] != row[int(at + shift * module)] for at in centres for shift in (-0.25, 0.25)):
        return None  # letters that happen to begin and end like a bar
    payload, checksum = int(straight[5:25], 2), int(straight[25:37], 2)
    return (payload >> 4, payload & 15, mirrored) if checksum == _checksum(payload) else None
