"""Searchable PDFs: the pages as they were, with the text that was read lying invisibly where it stands.

Two sides: the daemon writes what was read into a file of lines, one a page (`to_layer`); a job of the rasterizer's child, under
its limits, opens the untrusted document and puts the two together (`build`). pikepdf keeps a PDF's pages untouched, img2pdf
embeds pictures without coding them anew. Text is shown in render mode 3 (ISO 32000-1, 9.3.6) with a font that has widths and no
shapes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, TypeAlias

from ocrd.domain.documents import MediaType, PageText, Recognition
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.overlay import CHARACTER_WIDTH, Frame, Placed, Run, blocks_to_lines, place
from ocrd.domain.text_layer import ENGINE as TEXT_LAYER
from ocrd.packages import install_command
from ocrd.pipeline import archival_pdf

SUFFIX = b".ocr.pdf"
CONVERTED = ".converted"
"""Behind the name of what is made: the original as PDF/A, before the text is added. The caller removes it."""
MARK = b"/OcrdTextLayer"
"""A key of the file's trailer: what ocrd wrote is known without its store, and is not read again."""
TAIL_BYTES = 4096
"""The mark stands so near to the end: the trailer is written uncompressed."""
_FONT, _FONT_NAME = "/OcrdGlyphless", "/OcrdFont"
Corners: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top in points."""


def is_ours(tail: bytes) -> bool:
    """Whether the last `TAIL_BYTES` of a PDF say that it is one of these."""
    return MARK in tail


# --- the daemon's side --------------------------------------------------------------------------------------


def to_layer(pages: Iterable[PageText]) -> Iterator[bytes]:
    """What was read, a JSON line a page; not of those whose text the document has itself."""
    for page in pages:
        if page.recognition is not None and page.recognition.engine != TEXT_LAYER:
            yield json.dumps(_page_layer(page.number, page.recognition), ensure_ascii=False).encode() + b"\n"


def _page_layer(number: int, read: Recognition) -> dict[str, Any]:
    lines = blocks_to_lines(read.blocks)
    return {
        "number": number,
        "dpi": read.dpi,
        "rotation": read.rotation,
        "size": [read.width, read.height],
        "lines": [[[run.text, *run.box] for run in line] for line in lines],
    }


# --- the job's side -----------------------------------------------------------------------------------------


def build(source: str, media_type: MediaType, layer: str, target: str, *, pdf_a: bool = False) -> None:
    """Write `target` from the document and the layer, as PDF/A if that is wanted. Raises PageFault with the reason, OSError,
    MemoryError."""
    try:
        import img2pdf  # noqa: F401 - a folder's own settings may ask for the format where the packages are not
        import pikepdf
    except ImportError as err:
        raise PageFault(
            ReasonCode.OUTPUT_FAILED, f"searchable PDFs need {err.name}; {install_command('pdf')}"
        ) from err
    try:
        opened = _as_pdf(source, media_type, converted=target + CONVERTED if pdf_a else None)
        with pikepdf.open(opened, attempt_recovery=True) as pdf:
            if media_type.is_image and "/ID" in pdf.trailer:
                del pdf.trailer[
                    "/ID"
                ]  # img2pdf's is the time; without it the same picture gives the same file
            if pdf_a and media_type.is_image:
                archival_pdf.make_of_picture(pdf)
            elif pdf_a:
                archival_pdf.keep_claim(pdf)
            font = _font(pdf)
            for page in _pages(layer):
                if page["number"] <= len(pdf.pages):
                    _lay(pdf.pages[page["number"] - 1], page, font, pdf_a=pdf_a)
            pdf.trailer["/OcrdTextLayer"] = 1
            pdf.save(
                target,
                object_stream_mode=pikepdf.ObjectStreamMode.disable,
                encryption=False,
                deterministic_id=True,
            )
    except pikepdf.PdfError as err:
        raise PageFault(ReasonCode.OUTPUT_FAILED, f"qpdf cannot work on the PDF: {err}") from err


def _pages(layer: str) -> Iterator[dict[str, Any]]:
    with open(layer, "rb") as file:
        for line in file:
            yield json.loads(line)


def _as_pdf(source: str, media_type: MediaType, *, converted: str | None) -> str | io.BytesIO:
    """The document as a PDF; if there is a name for what may have to be `converted`, as one that can be a PDF/A."""
    if not media_type.is_image:
        return source if converted is None else archival_pdf.find_or_make(source, converted)
    import img2pdf

    guessed = _estimates(source)
    try:
        with open(source, "rb") as file:
            data = img2pdf.convert(
                file.read(), rotation=img2pdf.Rotation.ifvalid, layout_fun=_Layout(guessed), nodate=True
            )
        if converted is not None and not archival_pdf.may_stand(data):
            data = img2pdf.convert(list(_pictures(source)), layout_fun=_Layout(guessed), nodate=True)
    except Exception:  # noqa: BLE001 - it embeds what it can as it is; whatever else it says, Pillow shows the picture
        data = img2pdf.convert(list(_pictures(source)), layout_fun=_Layout(guessed), nodate=True)
    return io.BytesIO(data)


def _estimates(source: str) -> list[float | None]:
    """By the rules by which the pages are read, so that text and picture are of one size."""
    from PIL import Image

    from ocrd.pipeline import rasterizer_image

    found: list[float | None] = []
    with (
        contextlib.suppress(Exception),
        Image.open(source) as image,
    ):  # what is wrong with it is told by who embeds it
        found.extend(rasterizer_image.estimates(image))
    return found


class _Layout:
    """How large img2pdf makes the pages: as each frame says, or as large as it is taken to be where it says nothing that can
    be true. Asked once for each frame, in order."""

    def __init__(self, guessed: Iterable[float | None]) -> None:
        self._guessed = iter(guessed)

    def __call__(self, width: int, height: int, named: tuple[float, float]) -> Corners:
        """Width and height in pixels to those of page and picture in points."""
        import img2pdf

        dpi = next(self._guessed, None)
        layout: Corners = img2pdf.default_layout_fun(width, height, named if dpi is None else (dpi, dpi))
        return layout


def _pictures(source: str) -> Iterator[bytes]:
    """Each frame of a picture as a PNG, upright and on white."""
    from PIL import Image, ImageOps, ImageSequence

    from ocrd.pipeline.rasterizer_color import to_srgb

    with Image.open(source) as image:
        for frame in ImageSequence.Iterator(image):
            upright = to_srgb(ImageOps.exif_transpose(frame))
            if upright.has_transparency_data:
                paper = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(paper, upright.convert("RGBA"))
            buffer = io.BytesIO()
            dpi = image.info.get("dpi")
            upright.convert("L" if upright.mode in {"1", "L", "I;16"} else "RGB").save(
                buffer, "PNG", icc_profile=None, **({"dpi": dpi} if dpi else {})
            )
            yield buffer.getvalue()


def _lay(page: Any, layer: dict[str, Any], font: Any, *, pdf_a: bool) -> None:
    """Add the text to a page."""
    lines = [
        [Run(text, (left, top, right, bottom)) for text, left, top, right, bottom in line]
        for line in layer["lines"]
    ]
    name = _name_of(font, page)
    found = list(place(lines, _frame(page, layer)))
    if pdf_a:
        for placed in found:
            archival_pdf.check_length(placed.text)
    shown = "\n".join(map(_show, found))
    # Before all that the page shows: behind it, whatever that leaves turned or scaled would count for the text too.
    page.contents_add(f"q BT 3 Tr {name} 1 Tf\n{shown}\nET Q\n".encode("ascii"), prepend=True)


def _name_of(font: Any, page: Any) -> str:
    """The font's name among the page's resources, the same each time. Pages may share them."""
    from pikepdf import Name

    known = page.resources.get("/Font", {})
    for number in count(1):
        name = f"{_FONT_NAME}{number}"
        if name not in known:
            page.add_resource(font, Name.Font, Name(name))
            return name
        if known[name].objgen == font.objgen:
            return name
    raise AssertionError("numbers do not end")


def _frame(page: Any, layer: dict[str, Any]) -> Frame:
    width, height = layer["size"]
    return Frame(
        crop=_cut(_corners(page.cropbox), _corners(page.mediabox)),
        turned=page.rotation % 360,
        width=width,
        height=height,
        dpi=layer["dpi"],
        rotation=layer["rotation"],
    )


def _corners(box: Iterable[Any]) -> Corners:
    left, bottom, right, top = (float(number) for number in box)
    return min(left, right), min(bottom, top), max(left, right), max(bottom, top)


def _cut(crop: Corners, media: Corners) -> Corners:
    """What is shown of a page: no more than its paper (ISO 32000-1, 14.11.2.1); all of it where the two do not meet."""
    left, bottom = max(crop[0], media[0]), max(crop[1], media[1])
    right, top = min(crop[2], media[2]), min(crop[3], media[3])
    return (left, bottom, right, top) if left < right and bottom < top else media


def _show(placed: Placed) -> str:
    matrix = " ".join(f"{number:.4f}" for number in placed.matrix)
    return f"{matrix} Tm <{placed.text.encode('utf-16-be', 'replace').hex()}> Tj"


def _font(pdf: Any) -> Any:
    """A Type 0 font whose codes are UTF-16 and stand for themselves: ISO 32000-1, 9.7. It is embedded, for viewers insist
    on that."""
    import pikepdf
    from pikepdf import Dictionary, Name, String

    with open(os.path.join(os.path.dirname(__file__), "glyphless.ttf"), "rb") as file:
        shapes = file.read()
    descriptor = pdf.make_indirect(
        Dictionary(
            Type=Name.FontDescriptor,
            FontName=Name(_FONT),
            Flags=4,  # symbolic
            FontBBox=[0, 0, 500, 1000],
            ItalicAngle=0,
            Ascent=1000,
            Descent=-1,
            CapHeight=1000,
            StemV=80,
            FontFile2=pikepdf.Stream(pdf, shapes, Length1=len(shapes)),
        )
    )
    descendant = pdf.make_indirect(
        Dictionary(
            Type=Name.Font,
            Subtype=Name.CIDFontType2,
            BaseFont=Name(_FONT),
            CIDSystemInfo=Dictionary(Registry=String("Adobe"), Ordering=String("Identity"), Supplement=0),
            FontDescriptor=descriptor,
            DW=round(1000 * CHARACTER_WIDTH),
            CIDToGIDMap=pikepdf.Stream(pdf, b"\x00\x01" * 65536),
        )
    )
    return pdf.make_indirect(
        Dictionary(
            Type=Name.Font,
            Subtype=Name.Type0,
            BaseFont=Name(_FONT),
            Encoding=Name("/Identity-H"),
            DescendantFonts=[descendant],
            ToUnicode=pikepdf.Stream(pdf, _TO_UNICODE),
        )
    )


_TO_UNICODE = b"""/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
1 beginbfrange
<0000> <FFFF> <0000>
endbfrange
endcmap
CMapName currentdict /CMap defineresource pop
end
end
"""
