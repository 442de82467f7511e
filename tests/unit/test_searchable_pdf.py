"""Searchable PDFs by their readers: poppler, and PDFium, which is the viewer in Chromium. The pages stay what they were."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from PIL import ExifTags, Image
from support import paper

from ocrd.daemon.build import require_pdf_packages
from ocrd.domain.documents import Block, Box, MediaType, PageText, Recognition, Word
from ocrd.domain.errors import PageFault, ServiceMissing, SourceChanged
from ocrd.host import files
from ocrd.pipeline import intake, searchable_pdf
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy

ROOT = Path(__file__).resolve().parents[2]
DPI = 144.0
"""Two pixels a point."""


def read(number: int, *words: tuple[str, Box], rotation: int = 0, size: tuple[int, int] = (0, 0)) -> PageText:
    """A page on which these words were read."""
    found = tuple(Word(text=text, box=box, confidence=90.0, line=0) for text, box in words)
    block = Block(category="Text", box=(0, 0, 9, 9), text=" ".join(text for text, _ in words), words=found)
    recognition = Recognition(
        text=block.text,
        blocks=(block,),
        finish="stop",
        engine="tesseract",
        model_revision="5",
        prompt_mode="psm3",
        dpi=DPI,
        tokens=0,
        seconds=1.0,
        rotation=rotation,
        width=size[0],
        height=size[1],
    )
    return PageText(number=number, recognition=recognition)


def write_pdf(path: Path, pages: int = 1, **entries: object) -> Path:
    """Pages of 200 × 300 points with a black square near the top left corner."""
    with pikepdf.new() as pdf:
        for _ in range(pages):
            page = pdf.add_blank_page(page_size=(200, 300))
            page.contents_add(b"0.5 0 0 0.5 0 0 cm 20 560 20 20 re f q 7 Tr")
            for name, value in entries.items():
                page.obj[f"/{name}"] = pikepdf.Array(value) if isinstance(value, list) else value
        pdf.save(path)
    return path


class Maker:
    """Makes searchable PDFs as the daemon does."""

    def __init__(self, folder: Path, rasterizer: Rasterizer) -> None:
        self.folder = folder
        self.rasterizer = rasterizer

    def __call__(self, source: Path, *pages: PageText, kind: MediaType = MediaType.PDF) -> Path:
        layer, target = self.folder / "layer", self.folder / "made.pdf"
        layer.write_bytes(b"".join(searchable_pdf.to_layer(pages)))
        identity = files.stat_regular(bytes(source))
        assert identity is not None
        self.rasterizer.overlay(bytes(source), identity, kind, layer=str(layer), target=str(target))
        return target


@pytest.fixture(scope="module")
def rasterizer() -> Iterator[Rasterizer]:
    with closing(Rasterizer(RenderPolicy(page_timeout_s=20), workers=1)) as one:
        yield one


@pytest.fixture
def make(tmp_path: Path, rasterizer: Rasterizer) -> Maker:
    return Maker(tmp_path, rasterizer)


def words_of(path: Path) -> dict[str, tuple[float, ...]]:
    """Words and their boxes in points from the top left, as poppler finds them."""
    said = subprocess.run(
        ["pdftotext", "-cropbox", "-bbox", path, "-"], capture_output=True, text=True, check=True
    ).stdout
    form = r'<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">(.*?)</word>'
    return {word: tuple(map(float, box)) for *box, word in re.findall(form, said)}


def seen(path: Path) -> bytes:
    """What poppler shows of all pages."""
    return subprocess.run(["pdftoppm", "-r", "72", path], capture_output=True, check=True).stdout


def test_words_are_found_where_they_stand_and_nothing_is_seen_of_them(make: Maker, tmp_path: Path) -> None:
    source = write_pdf(tmp_path / "scan.pdf", 2)
    made = make(
        source,
        read(1, ("Привет,", (20, 40, 120, 60)), ("мир", (140, 40, 200, 60))),
        read(2, ("Two", (0, 0, 40, 20))),
    )
    found = words_of(made)
    assert found["Привет,"][0] == pytest.approx(10, abs=0.5)
    assert found["мир"][0] == pytest.approx(70, abs=0.5)
    assert found["мир"][3] == pytest.approx(30, abs=0.5)
    assert seen(made) == seen(source)


def test_the_viewer_of_chromium_finds_the_text(make: Maker, tmp_path: Path) -> None:
    made = make(
        write_pdf(tmp_path / "scan.pdf"), read(1, ("Счёт", (20, 40, 80, 60)), ("№ 5", (100, 40, 150, 60)))
    )
    with pypdfium2.PdfDocument(made) as pdf:
        page = pdf[0].get_textpage()
        assert page.get_text_range().strip() == "Счёт № 5"
        found = page.search("Счёт").get_next()
        assert found is not None
        left, bottom, _, _ = page.get_charbox(found[0])
        assert (left, bottom) == (pytest.approx(10, abs=1), pytest.approx(270, abs=1))


def test_the_viewer_of_chromium_finds_single_letters_and_words_that_touch(
    make: Maker, tmp_path: Path
) -> None:
    words = (("этом", (20, 40, 80, 60)), ("в", (80, 40, 90, 60)), ("и", (100, 40, 110, 60)))
    with pypdfium2.PdfDocument(make(write_pdf(tmp_path / "scan.pdf"), read(1, *words))) as pdf:
        assert pdf[0].get_textpage().get_text_range().split() == ["этом", "в", "и"]


@pytest.mark.parametrize(("turned", "size"), [(90, (600, 400)), (180, (400, 600)), (270, (600, 400))])
def test_a_page_that_viewers_turn_and_cut_out_keeps_its_words_in_place(
    make: Maker, tmp_path: Path, turned: int, size: tuple[int, int]
) -> None:
    source = write_pdf(
        tmp_path / "scan.pdf", Rotate=turned, MediaBox=[-50, -50, 250, 350], CropBox=[0, 0, 200, 300]
    )
    found = words_of(make(source, read(1, ("here", (40, 80, 120, 100)), size=size)))
    assert found["here"] == pytest.approx((20, 40, 60, 50), abs=0.5)


@pytest.mark.parametrize(
    "crop", [[-100, -100, 900, 900], [0, 0, 200.5, 320], [400, 400, 500, 500], [0, 0, 0, 0]]
)
def test_a_cut_out_that_is_larger_than_its_paper_or_none_does_not_count(
    make: Maker, tmp_path: Path, crop: list[float]
) -> None:
    source = write_pdf(tmp_path / "scan.pdf", CropBox=crop)
    made = make(source, read(1, ("here", (40, 80, 120, 100)), size=(400, 600)))
    with pypdfium2.PdfDocument(made) as pdf:
        page = pdf[0].get_textpage()
        left, bottom, _, _ = page.get_charbox(0)
        assert page.get_text_range().strip() == "here"
    assert (left, bottom) == (pytest.approx(20, abs=1), pytest.approx(250, abs=1))


def test_a_folder_that_asks_for_it_without_the_packages_is_told_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "img2pdf", None)
    with pytest.raises(PageFault, match=r"need img2pdf; .* -m pip install"):
        searchable_pdf.build(
            str(write_pdf(tmp_path / "a.pdf")), MediaType.PDF, os.devnull, str(tmp_path / "made.pdf")
        )


def test_text_of_a_page_that_was_turned_to_be_read_runs_with_its_letters(make: Maker, tmp_path: Path) -> None:
    """The page was turned clockwise: its letters run upwards in the page as it is."""
    found = words_of(
        make(
            write_pdf(tmp_path / "scan.pdf"), read(1, ("up", (40, 80, 60, 160)), rotation=90, size=(400, 600))
        )
    )
    assert found["up"] == pytest.approx((20, 40, 30, 80), abs=0.5)


def test_a_photo_is_embedded_as_it_is(make: Maker, tmp_path: Path) -> None:
    source = tmp_path / "photo.jpg"
    Image.new("L", (400, 600), 200).save(source, dpi=(144, 144))
    made = make(source, read(1, ("word", (40, 80, 120, 100)), size=(400, 600)), kind=MediaType.JPEG)
    with pikepdf.open(made) as pdf:
        (image,) = pdf.pages[0].get_images().values()
        assert bytes(image.read_raw_bytes()) == source.read_bytes()
    assert words_of(made)["word"] == pytest.approx((20, 40, 60, 50), abs=0.5)


@pytest.mark.parametrize(
    ("kind", "save", "mode"),
    [
        (MediaType.WEBP, "WEBP", "RGB"),
        (MediaType.PNG, "PNG", "RGBA"),
        (MediaType.PNG, "PNG", "I;16"),
        (MediaType.GIF, "GIF", "P"),
        (MediaType.BMP, "BMP", "RGB"),
    ],
)
def test_pictures_of_every_kind_become_pages(
    make: Maker, tmp_path: Path, kind: MediaType, save: str, mode: str
) -> None:
    source = tmp_path / "picture"
    Image.new(mode, (400, 600)).save(source, save)
    made = make(source, read(1, ("word", (0, 0, 400, 600)), size=(400, 600)), kind=kind)
    assert set(words_of(made)) == {"word"}


A4 = (595.3, 841.9)


def sizes(path: Path) -> list[tuple[float, float]]:
    with pikepdf.open(path) as pdf:
        return [(float(page.mediabox[2]), float(page.mediabox[3])) for page in pdf.pages]


@pytest.mark.parametrize("named", [None, (1, 1), (72, 72)])
@pytest.mark.parametrize(
    ("kind", "save"), [(MediaType.JPEG, "JPEG"), (MediaType.PNG, "PNG"), (MediaType.WEBP, "WEBP")]
)
def test_a_photo_that_tells_no_resolution_is_a_page_of_a4_with_its_words_in_place(
    make: Maker, tmp_path: Path, kind: MediaType, save: str, named: tuple[int, int] | None
) -> None:
    """With 72 DPI it would be a poster, for that is what programs write that know nothing."""
    source = tmp_path / "photo"
    entries = {} if named is None or save == "WEBP" else {"dpi": named}
    Image.new("L", (1654, 2339), 200).save(source, save, **entries)
    made = make(source, read(1, ("word", (827, 0, 1654, 234)), size=(1654, 2339)), kind=kind)
    assert sizes(made) == [pytest.approx(A4, abs=1)]
    assert words_of(made)["word"] == pytest.approx((297.6, 0, 595.3, 84.2), abs=1)


def test_a_picture_that_lies_on_its_side_and_tells_no_resolution_is_a4_too(
    make: Maker, tmp_path: Path
) -> None:
    source = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # it is to be turned clockwise to be seen
    Image.new("L", (2339, 1654), 200).save(source, exif=exif)
    made = make(source, read(1, ("word", (827, 0, 1654, 234)), size=(1654, 2339)), kind=MediaType.JPEG)
    assert words_of(made)["word"] == pytest.approx((297.6, 0, 595.3, 84.2), abs=1)


def test_each_frame_is_as_large_as_it_says_or_is_taken_to_be(make: Maker, tmp_path: Path) -> None:
    source = tmp_path / "pages.tif"
    first, second = Image.new("1", (827, 1169), 1), Image.new("1", (400, 600), 1)
    second.encoderinfo = {"dpi": (144, 144)}
    first.save(source, "TIFF", save_all=True, append_images=[second])
    made = make(source, read(2, ("word", (0, 0, 200, 60)), size=(400, 600)), kind=MediaType.TIFF)
    assert sizes(made) == [pytest.approx(A4, abs=1), pytest.approx((200, 300), abs=0.1)]
    assert words_of(made)["word"] == pytest.approx((0, 0, 100, 30), abs=0.5)


def test_every_frame_of_a_picture_is_a_page(make: Maker, tmp_path: Path) -> None:
    source = paper.write_tiff(tmp_path / "pages.tif", "One", "Two")
    made = make(source, read(2, ("second", (0, 0, 90, 30)), size=(900, 300)), kind=MediaType.TIFF)
    with pikepdf.open(made) as pdf:
        assert len(pdf.pages) == 2
    assert set(words_of(made)) == {"second"}


def test_a_pdf_that_cannot_be_opened_says_so_and_leaves_nothing(make: Maker, tmp_path: Path) -> None:
    source = tmp_path / "torn.pdf"
    source.write_bytes(b"%PDF-1.4\nnothing more")
    with pytest.raises(PageFault, match="qpdf cannot work on the PDF"):
        make(source)
    assert not (tmp_path / "made.pdf").exists()


def test_a_document_that_is_replaced_meanwhile_is_noticed(tmp_path: Path, rasterizer: Rasterizer) -> None:
    source = write_pdf(tmp_path / "scan.pdf")
    identity = files.stat_regular(bytes(source))
    assert identity is not None
    source.write_bytes(source.read_bytes() + b"\n")
    (tmp_path / "layer").touch()
    with pytest.raises(SourceChanged):
        rasterizer.overlay(
            bytes(source),
            identity,
            MediaType.PDF,
            layer=str(tmp_path / "layer"),
            target=str(tmp_path / "made.pdf"),
        )


@pytest.mark.parametrize("instead", ["nothing", "a link", "a link for its folder"])
def test_a_document_in_whose_place_something_else_stands_is_noticed(
    tmp_path: Path, rasterizer: Rasterizer, instead: str
) -> None:
    (tmp_path / "sub").mkdir()
    source = write_pdf(tmp_path / "sub" / "scan.pdf")
    identity = files.stat_regular(bytes(source))
    assert identity is not None
    (tmp_path / "layer").touch()
    place = source.parent if instead == "a link for its folder" else source
    place.rename(tmp_path / "elsewhere")
    if instead != "nothing":
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceChanged):
        rasterizer.overlay(
            bytes(source),
            identity,
            MediaType.PDF,
            layer=str(tmp_path / "layer"),
            target=str(tmp_path / "made.pdf"),
        )


def test_what_ocrd_made_is_known_without_a_store_and_not_read_again(make: Maker, tmp_path: Path) -> None:
    made = make(write_pdf(tmp_path / "scan.pdf"), read(1, ("word", (0, 0, 40, 20))))
    assert intake.inspect(bytes(made), max_bytes=1 << 30) is None
    assert intake.inspect(bytes(tmp_path / "scan.pdf"), max_bytes=1 << 30) is not None


def test_pages_without_a_text_are_left_as_they_are() -> None:
    pages = [
        PageText(number=1, blank=True),
        PageText(number=2, reason="hung"),
        read(3, ("word", (0, 0, 4, 4))),
    ]
    assert [json.loads(line)["number"] for line in searchable_pdf.to_layer(pages)] == [3]


def test_the_font_is_the_one_that_the_script_makes(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "script" / "glyphless"))["make"](str(tmp_path / "font.ttf"))
    assert (tmp_path / "font.ttf").read_bytes() == (ROOT / "ocrd" / "pipeline" / "glyphless.ttf").read_bytes()


def test_without_its_packages_the_format_is_refused_with_the_command() -> None:
    require_pdf_packages()
    present: Callable[[str], object | None] = {"pikepdf": object()}.get
    with pytest.raises(ServiceMissing, match="img2pdf is not installed"):
        require_pdf_packages(present)


def test_the_result_is_a_sound_pdf(make: Maker, tmp_path: Path) -> None:
    """By qpdf's own check, and for a reader that mends nothing."""
    made = make(write_pdf(tmp_path / "scan.pdf"), read(1, ("word", (0, 0, 40, 20))))
    with pikepdf.open(io.BytesIO(made.read_bytes()), attempt_recovery=False) as pdf:
        assert pdf.check_pdf_syntax() == []
