"""PDFs with text layers, written from bytes: pages of type, of a picture, of both."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from support.paper import draw
from support.rasterizer_documents import assemble

LINES = (
    "The archive opens at nine and closes at six.",
    "Bring the papers, and leave a copy at the desk.",
    "Whoever comes later waits for the next morning.",
)


@dataclass(frozen=True)
class Page:
    """A page of A5 landscape: lines of type from the top, `picture` drawn over its lower half or, with `scan`, over all of
    it; `hidden` type is there for the search only. `drawing` is put before it, `entries` go into the page's dictionary."""

    lines: Sequence[str] = ()
    picture: str = ""
    scan: bool = False
    hidden: bool = False
    drawing: str = ""
    entries: str = ""


def text_pdf(*pages: Page) -> bytes:
    """A PDF of these pages."""
    kids = " ".join(f"{4 + 3 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, page in enumerate(pages):
        at = 4 + 3 * index
        head = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 400] {page.entries} /Contents {at + 1} 0 R"
            f" /Resources << /Font << /F 3 0 R >> /XObject << /I {at + 2} 0 R >> >> >>"
        )
        objects += [head.encode(), _stream("", _content(page)), _picture(page)]
    return assemble(objects)


def _content(page: Page) -> bytes:
    parts = [page.drawing]
    if page.picture:
        parts.append("q 600 0 0 400 0 0 cm /I Do Q" if page.scan else "q 600 0 0 133 0 10 cm /I Do Q")
    for index, line in enumerate(page.lines):
        shown = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        mode = "3 Tr " if page.hidden else ""
        parts.append(f"BT {mode}/F 16 Tf 60 {340 - 20 * index} Td ({shown}) Tj ET")
    return "\n".join(parts).encode("latin-1")


def _picture(page: Page) -> bytes:
    if not page.picture:
        return b"null"
    image = draw(page.picture)
    if page.scan:
        sheet = Image.new("L", (image.width, image.width * 2 // 3), 255)
        sheet.paste(image, (0, sheet.height // 3))
        image = sheet
    entries = (
        f"/Type /XObject /Subtype /Image /Width {image.width} /Height {image.height} /ColorSpace /DeviceGray"
    )
    return _stream(f"{entries} /BitsPerComponent 8 /Filter /FlateDecode", zlib.compress(image.tobytes()))


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"
