"""Searchable PDFs as PDF/A: pictures become one, a PDF that is one stays one, and no other says that it is."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from pikepdf import Dictionary, Name
from PIL import Image, ImageCms
from support.text_pdfs import LINES, Page, text_pdf

from ocrd.domain.documents import MediaType
from ocrd.domain.errors import PageFault
from ocrd.pipeline import archival_pdf, searchable_pdf

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
PICTURES: dict[str, tuple[str, str, MediaType, dict[str, Any]]] = {
    "grey": ("L", "JPEG", MediaType.JPEG, {"dpi": (144, 144)}),
    "colours with a profile": ("RGB", "JPEG", MediaType.JPEG, {"icc_profile": SRGB}),
    "a profile that is cut off": ("RGB", "JPEG", MediaType.JPEG, {"icc_profile": SRGB[:200]}),
    "a profile of other colours": ("RGB", "PNG", MediaType.PNG, {"icc_profile": GREY}),
    "colours of printers": ("CMYK", "JPEG", MediaType.JPEG, {}),
    "transparent": ("RGBA", "PNG", MediaType.PNG, {}),
    "a palette": ("P", "PNG", MediaType.PNG, {}),
    "sixteen bits": ("I;16", "PNG", MediaType.PNG, {}),
    "a fax": ("1", "TIFF", MediaType.TIFF, {"compression": "group4"}),
    "a TIFF with LZW": ("RGB", "TIFF", MediaType.TIFF, {"compression": "tiff_lzw"}),
    "WEBP": ("RGB", "WEBP", MediaType.WEBP, {}),
    "JPEG 2000": ("RGB", "JPEG2000", MediaType.JPEG2000, {}),
}


def layer(tmp_path: Path, text: str = "Счёт") -> str:
    path = tmp_path / "layer"
    page = {"number": 1, "dpi": 144, "rotation": 0, "size": [400, 600], "lines": [[[text, 40, 80, 120, 100]]]}
    path.write_text(json.dumps(page) + "\n")
    return str(path)


def make(tmp_path: Path, source: Path, kind: MediaType, name: str = "made.pdf", text: str = "Счёт") -> Path:
    target = tmp_path / name
    searchable_pdf.build(str(source), kind, layer(tmp_path, text), str(target), pdf_a=True)
    return target


@pytest.fixture(params=PICTURES)
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, MediaType]:
    mode, form, kind, entries = PICTURES[request.param]
    source = tmp_path / "picture"
    Image.new(mode, (400, 600)).save(source, form, **entries)
    return source, kind


def write_pdf(path: Path, part: str = "", level: str = "") -> Path:
    """A page that declares so; nothing else of it is looked at."""
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(200, 300))
        with pdf.open_metadata(set_pikepdf_as_editor=False) as metadata:
            metadata["dc:title"] = "A title"
            if part:
                metadata["pdfaid:part"], metadata["pdfaid:conformance"] = part, level
        pdf.save(path)
    return path


def declared(path: Path) -> str:
    with pikepdf.open(path) as pdf:
        return pdf.open_metadata().pdfa_status


def said(path: Path) -> str:
    return subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout.strip()


def test_a_picture_becomes_one_with_all_that_the_standard_asks_of_it(
    tmp_path: Path, picture: tuple[Path, MediaType]
) -> None:
    """The clauses of ISO 19005-2 that a page of a picture and of invisible text touches."""
    made = make(tmp_path, *picture)
    with pikepdf.open(made, attempt_recovery=False) as pdf:
        assert pdf.check_pdf_syntax() == []
        assert pdf.open_metadata().pdfa_status == "2B"  # 6.6.4
        assert set(pdf.trailer.keys()) == {"/ID", "/OcrdTextLayer", "/Root", "/Size"}  # 6.1.3
        (intent,) = pdf.Root.OutputIntents  # 6.2.3
        profile = intent.DestOutputProfile.read_bytes()
        assert (intent.S, profile[12:20], int(intent.DestOutputProfile.N)) == ("/GTS_PDFA1", b"mntrRGB ", 3)
        assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "RGB "
        (image,) = pdf.pages[0].get_images().values()
        assert archival_pdf._is_allowed(image)  # 6.2.4, 6.2.8
        (font,) = pdf.pages[0].Resources.Font.values()  # 6.2.11
        (descendant,) = font.DescendantFonts
        assert "/FontFile2" in descendant.FontDescriptor
        assert set(descendant.CIDToGIDMap.read_bytes()[1::2]) == {1}  # never .notdef
        assert not {"/AA", "/OpenAction", "/AcroForm", "/Names", "/OCProperties"} & set(pdf.Root.keys())
        assert "/Group" not in pdf.pages[0]
    assert said(made) == "Счёт"
    assert re.match(rb"%PDF-1\.[3-7]\n%[\x80-\xff]{4}", made.read_bytes())  # 6.1.2


def test_a_validator_of_others_finds_nothing_against_it(
    tmp_path: Path, picture: tuple[Path, MediaType]
) -> None:
    pdf_oxide = pytest.importorskip(
        "pdf_oxide", reason="its validator is in the extra `test`: script/setup --test"
    )
    found = pdf_oxide.PdfDocument(str(make(tmp_path, *picture))).validate_pdf_a("2b")
    assert (found["valid"], found["errors"]) == (True, [])


def test_the_same_picture_gives_the_same_file(tmp_path: Path, picture: tuple[Path, MediaType]) -> None:
    first, second = (make(tmp_path, *picture, name=name) for name in ("first.pdf", "second.pdf"))
    assert first.read_bytes() == second.read_bytes()


def test_a_grey_photo_is_embedded_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "photo.jpg"
    Image.new("L", (400, 600), 200).save(source)
    with pikepdf.open(make(tmp_path, source, MediaType.JPEG)) as pdf:
        (image,) = pdf.pages[0].get_images().values()
        assert bytes(image.read_raw_bytes()) == source.read_bytes()


@pytest.mark.parametrize("level", ["A", "B", "U"])
@pytest.mark.parametrize("part", ["1", "2", "3"])
def test_a_pdf_that_is_one_stays_one_of_level_b(tmp_path: Path, part: str, level: str) -> None:
    made = make(tmp_path, write_pdf(tmp_path / "scan.pdf", part, level), MediaType.PDF)
    assert declared(made) == f"{part}B"
    assert said(made) == "Счёт"
    with pikepdf.open(made) as pdf:
        assert pdf.open_metadata()["dc:title"] == "A title"


@pytest.mark.parametrize("part", ["", "4", "x"])
def test_without_ghostscript_a_pdf_that_is_none_is_refused_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    source = write_pdf(tmp_path / "scan.pdf", part, "B" if part else "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PageFault, match=r"apt-get install ghostscript, or set \[output\] pdf_a = false"):
        make(tmp_path, source, MediaType.PDF)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("echo it hurts >&2; exit 1", r"Ghostscript cannot convert it \(it hurts\)"),
        ("exit 0", r"Ghostscript cannot convert it"),
        ("kill -9 $$", r"Ghostscript cannot convert it \(.*SIGKILL"),
        ('cp "$BLANK" "$made"', r"Ghostscript loses 9 of the words"),
        ('cp "$input" "$made"', r"Ghostscript cannot keep to the standard"),
    ],
)
def test_what_ghostscript_does_badly_is_no_archival_pdf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str
) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nfor word in "$@"; do input=$word; case $word in -sOutputFile=*) made=${word#*=};; esac; done\n'
        + does
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("BLANK", str(write_pdf(tmp_path / "blank.pdf", "2", "B")))
    source = tmp_path / "scan.pdf"
    source.write_bytes(text_pdf(Page(LINES[:1])))
    with pytest.raises(PageFault, match=reason):
        make(tmp_path, source, MediaType.PDF)


def test_ghostscript_makes_one_of_any_other_and_its_words_stay(tmp_path: Path) -> None:
    if shutil.which("gs") is None:
        pytest.skip("Ghostscript is not installed: apt-get install ghostscript")
    source = tmp_path / "scan.pdf"
    source.write_bytes(text_pdf(Page(picture="A scan", scan=True, entries="/Rotate 90"), Page(LINES)))
    made = make(tmp_path, source, MediaType.PDF, name="100%d.pdf")
    assert declared(made) == "2B"
    assert said(made).split() == ["Счёт", *" ".join(LINES).split()]
    with pikepdf.open(made) as pdf:
        assert len(pdf.Root.OutputIntents) == 1
        assert "/OcrdTextLayer" in pdf.trailer


def test_what_cannot_be_one_does_not_say_that_it_is(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    Image.new("L", (400, 600)).save(source)
    with pytest.raises(PageFault, match="too long"):
        make(tmp_path, source, MediaType.PNG, text="x" * 20_000)
    assert not (tmp_path / "made.pdf").exists()


def test_without_the_wish_no_pdf_says_that_it_is_one(tmp_path: Path) -> None:
    source, target = tmp_path / "photo.jpg", tmp_path / "made.pdf"
    Image.new("L", (400, 600), 200).save(source)
    searchable_pdf.build(str(source), MediaType.JPEG, layer(tmp_path), str(target))
    assert declared(target) == ""


def test_pages_that_share_their_resources_share_the_font(tmp_path: Path) -> None:
    source = tmp_path / "scan.pdf"
    with pikepdf.new() as pdf:
        shared = pdf.make_indirect(Dictionary(Font=Dictionary()))
        for _ in range(2):
            pdf.add_blank_page(page_size=(200, 300)).obj[Name.Resources] = shared
        pdf.save(source)
    page = {"dpi": 144, "rotation": 0, "size": [400, 600], "lines": [[["word", 40, 80, 120, 100]]]}
    pages = tmp_path / "layer"
    pages.write_text("".join(json.dumps({"number": number, **page}) + "\n" for number in (1, 2)))
    searchable_pdf.build(str(source), MediaType.PDF, str(pages), str(tmp_path / "made.pdf"))
    with pikepdf.open(tmp_path / "made.pdf") as pdf:
        assert list(pdf.pages[1].Resources.Font.keys()) == ["/OcrdFont1"]
    assert said(tmp_path / "made.pdf").split() == ["word", "word"]
