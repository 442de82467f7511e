"""hOCR and ALTO: text with the places of blocks, lines and words, for the tools of libraries and archives. Pure.

hOCR 1.2 is XHTML whose elements say in `title` where they stand; ALTO 4.4 is the Library of Congress' schema. Both are in
pixels of the page's image. A block of an engine that tells no words has a line for each of its lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from ocrd import __version__
from ocrd.domain.documents import Block, Box, PageText, Source
from ocrd.domain.geometry import around
from ocrd.domain.overlay import blocks_to_lines
from ocrd.domain.rendering import PICTURE

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, not even as a reference."""


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _why_no_text(page: PageText) -> str:
    """A comment: neither format has a place for it. Two hyphens would end it."""
    if page.recognition is not None:
        return ""
    why = "the page is blank" if page.blank else page.reason.strip() or page.reason_code
    plain = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", " ".join(why.split()))
    plain = plain.replace("--", 2 * "\N{NON-BREAKING HYPHEN}")
    return f"<!-- no text: {plain} -->\n"


@dataclass(frozen=True, slots=True)
class _Written:
    """A word, or a whole line of an engine that tells no words; None: it does not say how sure it is either."""

    text: str
    box: Box
    confidence: float | None


def _lines(block: Block) -> list[list[_Written]]:
    """The lines of a block; where there are no words, a line is one."""
    if block.words:
        return [
            [_Written(word.text, word.box, word.confidence) for word in words]
            for _, words in groupby(block.words, key=lambda word: word.line)
        ]
    return [
        [_Written(run.text, run.box, block.confidence) for run in line] for line in blocks_to_lines([block])
    ]


def _size(page: PageText) -> tuple[int, int] | None:
    """Width and height of the page's image, if they are known."""
    image = page.image
    return (image.width, image.height) if image is not None and image.is_known else None


def _reach(page: PageText) -> tuple[int, int]:
    """What the blocks of a page reach to; nothing without any."""
    boxes = [block.box for block in page.recognition.blocks] if page.recognition is not None else []
    return max((box[2] for box in boxes), default=0), max((box[3] for box in boxes), default=0)


# --- hOCR ---------------------------------------------------------------------------------------------------


def to_hocr(pages: Iterable[PageText], source: Source) -> Iterator[str]:
    """An XHTML document with an `ocr_page` for every page, also for one without text."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml">\n<head>\n'
        f"<title>{_text(source.name)}</title>\n"
        f'<meta name="ocr-system" content="ocrd {__version__}"/>\n'
        '<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word ocr_table ocr_photo"/>\n'
        "</head>\n<body>\n"
    )
    for page in pages:
        yield from _hocr_page(page, source)
    yield "</body>\n</html>\n"


def _hocr_page(page: PageText, source: Source) -> Iterator[str]:
    """The format demands a bbox: where the size of a page is not known, it is what its blocks reach to."""
    width, height = _size(page) or _reach(page)
    known = f'bbox 0 0 {width} {height}; image "{_delimited(source.name)}"; ppageno {page.number - 1}'
    if page.image is not None:
        dpi = round(page.image.dpi)
        known += f"; scan_res {dpi} {dpi}"
    yield f'<div class="ocr_page" id="page_{page.number}" title={_attribute(known)}>\n{_why_no_text(page)}'
    for number, block in enumerate(page.recognition.blocks if page.recognition else (), 1):
        yield _hocr_block(block, f"{page.number}_{number}")
    yield "</div>\n"


def _delimited(name: str) -> str:
    """What would end the name, or the property for readers that look for semicolons alone, as in an URL."""
    return name.replace('"', "%22").replace(";", "%3B")


def _hocr_block(block: Block, number: str) -> str:
    if block.category == PICTURE:
        return f'<div class="ocr_photo" id="photo_{number}" title="{_bbox(block.box)}"></div>\n'
    kind = "ocr_table" if block.category == "Table" else "ocr_carea"
    place = f'title="{_bbox(block.box)}"'
    lines = "".join(_hocr_line(words, f"{number}_{line}") for line, words in enumerate(_lines(block), 1))
    paragraph = f'<p class="ocr_par" id="par_{number}" {place}>\n{lines}</p>'
    return f'<div class="{kind}" id="block_{number}" {place}>\n{paragraph}\n</div>\n'


def _hocr_line(words: list[_Written], number: str) -> str:
    shown = " ".join(
        f'<span class="ocrx_word" id="word_{number}_{at}" title="{_bbox(word.box)}'
        f'{_x_wconf(word.confidence)}">{_text(word.text)}</span>'
        for at, word in enumerate(words, 1)
    )
    return f'<span class="ocr_line" id="line_{number}" title="{_bbox(around([word.box for word in words]))}">{shown}</span>\n'


def _x_wconf(confidence: float | None) -> str:
    return "" if confidence is None else f"; x_wconf {round(confidence)}"


def _bbox(box: Box) -> str:
    return "bbox " + " ".join(map(str, box))


# --- ALTO ---------------------------------------------------------------------------------------------------


def to_alto(pages: Iterable[PageText], source: Source) -> Iterator[str]:
    """An ALTO document with a `Page` for every page, also for one without text."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#" SCHEMAVERSION="4.4">\n'
        "<Description><MeasurementUnit>pixel</MeasurementUnit>"
        f"<sourceImageInformation><fileName>{_text(source.name)}</fileName></sourceImageInformation>"
        '<Processing ID="ocrd"><processingSoftware><softwareName>ocrd</softwareName>'
        f"<softwareVersion>{__version__}</softwareVersion></processingSoftware></Processing></Description>\n<Layout>\n"
    )
    for page in pages:
        yield from _alto_page(page)
    yield "</Layout>\n</alto>\n"


def _alto_page(page: PageText) -> Iterator[str]:
    size = _size(page)
    known = "" if size is None else f' WIDTH="{size[0]}" HEIGHT="{size[1]}"'
    yield f'<Page ID="page_{page.number}" PHYSICAL_IMG_NR="{page.number}"{known}>\n'
    space = f' HPOS="0" VPOS="0"{known}' if known else ""
    yield f"<PrintSpace{space}>\n{_why_no_text(page)}"
    for number, block in enumerate(page.recognition.blocks if page.recognition else (), 1):
        yield _alto_block(block, f"{page.number}_{number}")
    yield "</PrintSpace>\n</Page>\n"


def _alto_block(block: Block, number: str) -> str:
    if block.category == PICTURE:
        return f'<Illustration ID="photo_{number}" {_place(block.box)}/>\n'
    lines = "".join(_alto_line(words) for words in _lines(block))
    return f'<TextBlock ID="block_{number}" {_place(block.box)}>\n{lines}</TextBlock>\n' if lines else ""


def _alto_line(words: list[_Written]) -> str:
    shown = "<SP/>".join(
        f"<String {_place(word.box)} CONTENT={_attribute(word.text)}{_wc(word.confidence)}/>"
        for word in words
    )
    return f"<TextLine {_place(around([word.box for word in words]))}>{shown}</TextLine>\n"


def _wc(confidence: float | None) -> str:
    return "" if confidence is None else f' WC="{confidence / 100:.3f}"'


def _place(box: Box) -> str:
    left, top, right, bottom = box
    return f'HPOS="{left}" VPOS="{top}" WIDTH="{right - left}" HEIGHT="{bottom - top}"'
