"""Text layers, read by the real poppler in the rasterizer's child."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest
from PIL import Image
from support.text_pdfs import LINES, Page, text_pdf

from ocrd.domain.documents import MediaType, Recognition
from ocrd.host.files import stat_regular
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy

Read = Callable[..., dict[int, Recognition | str]]


@pytest.fixture(scope="module")
def rasterizers() -> Iterator[dict[str, Rasterizer]]:
    made = {
        mode: Rasterizer(RenderPolicy(text_layer=mode, dpi=144), workers=1)
        for mode in ("auto", "redo", "skip", "off")
    }
    yield made
    for rasterizer in made.values():
        rasterizer.close()


@pytest.fixture
def read(tmp_path: Path, rasterizers: dict[str, Rasterizer]) -> Read:
    def ask(*pages: Page, mode: str = "auto") -> dict[int, Recognition | str]:
        source = tmp_path / "text.pdf"
        source.write_bytes(text_pdf(*pages))
        path = str(source).encode()
        identity = stat_regular(path)
        assert identity is not None
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        numbers = range(1, len(pages) + 1)
        found = rasterizers[mode].read_layers(
            path, identity, MediaType.PDF, numbers, folder=str(work), stop=Event()
        )
        assert not list(work.iterdir())
        return found

    return ask


def text_of(layer: Recognition | str) -> list[str]:
    assert isinstance(layer, Recognition), layer
    return layer.text.split("\n")


def test_pages_of_type_are_taken_and_pictures_are_not(read: Read) -> None:
    found = read(Page(LINES), Page(picture="a scan", scan=True), Page(LINES[:1]))
    assert text_of(found[1]) == list(LINES)
    assert found[2] == ""
    assert text_of(found[3]) == list(LINES[:1])
    layer = found[1]
    assert isinstance(layer, Recognition)
    assert (layer.engine, layer.prompt_mode, layer.finish, layer.confidence) == (
        "text-layer",
        "text-layer",
        "stop",
        None,
    )
    assert Recognition.from_json(layer.to_json()).blocks == layer.blocks
    assert (layer.width, layer.height) == (1200, 800)  # A5 landscape at 144 DPI


@pytest.mark.parametrize("entries", ["", "/Rotate 90", "/Rotate 180", "/Rotate 270"])
@pytest.mark.parametrize("crop", ["", "/CropBox [30 50 590 390]"])
def test_boxes_stand_where_the_page_has_its_ink(
    read: Read, tmp_path: Path, rasterizers: dict[str, Rasterizer], entries: str, crop: str
) -> None:
    layer = read(Page(LINES, entries=f"{entries} {crop}"))[1]
    assert isinstance(layer, Recognition)
    source = tmp_path / "text.pdf"
    identity = stat_regular(str(source).encode())
    assert identity is not None
    page = rasterizers["auto"].render(
        str(source).encode(), identity, MediaType.PDF, [1], folder=str(tmp_path), stop=Event()
    )[1]
    with Image.open(page.path) as image:  # type: ignore[union-attr]
        ink = image.point(lambda level: 255 if level < 128 else 0).getbbox()
    assert ink is not None
    lefts, tops, rights, bottoms = zip(*(block.box for block in layer.blocks), strict=True)
    around = (min(lefts), min(tops), max(rights), max(bottoms))
    assert all(abs(ours - theirs) <= 6 for ours, theirs in zip(around, ink, strict=True)), (around, ink)


def test_a_stamp_on_a_scan_is_not_its_text(read: Read) -> None:
    found = read(Page(("Scanned by a machine",), picture="What the letter says", scan=True))
    assert "stands outside" in str(found[1])


def test_a_hidden_layer_that_misses_the_print_is_refused(read: Read) -> None:
    lines = tuple(f"Words that nobody printed, line {number}" for number in range(4))
    found = read(Page(lines, picture="Scan", scan=True, hidden=True))
    assert isinstance(found[1], str)
    assert found[1]


def test_garbage_is_refused_by_auto_and_taken_by_skip(read: Read) -> None:
    garbage = Page(("Äîãîâîð âñòóïàåò â ñèëó ñ ìîìåíòà åãî ïîäïèñàíèÿ",))
    assert "wrong encoding" in str(read(garbage)[1])
    assert isinstance(read(garbage, mode="skip")[1], Recognition)
    assert read(garbage, mode="off") == {}


def test_redo_reads_what_an_earlier_ocr_read(read: Read) -> None:
    scan = Page(("The line that was read",) * 10, picture="The line", scan=True, hidden=True)
    assert read(scan, mode="redo")[1] == "it is from an earlier OCR"
    assert isinstance(read(scan, mode="skip")[1], Recognition)
    assert isinstance(read(Page(LINES), mode="redo")[1], Recognition)


def test_the_frame_of_a_table_is_no_text(read: Read) -> None:
    rules = [f"40 {height} 520 1 re f" for height in range(60, 400, 40)]
    rules += [f"{left} 60 1 320 re f" for left in range(40, 600, 65)]
    assert isinstance(read(Page(("Total 14.20",), drawing="\n".join(rules)))[1], Recognition)


def test_a_drawing_that_fills_the_page_is_looked_at_by_an_engine(read: Read) -> None:
    shapes = "\n".join(f"{60 + 20 * n} 60 8 200 re f" for n in range(24))
    assert "stands outside" in str(read(Page(("Figure 1",), drawing=shapes))[1])


@pytest.mark.parametrize(
    "areas",
    [
        pytest.param("0 0 600 90 re f", id="a banner"),
        pytest.param("300 30 260 220 re f 40 60 30 180 re f 90 60 30 120 re f", id="a logo and bars"),
        pytest.param("0 0 600 12 re f 0 388 600 12 re f 0 0 22 400 re f 578 0 22 400 re f", id="a frame"),
        pytest.param("0.8 g 40 290 520 80 re f 0 g", id="behind the text"),
        pytest.param("0.2 g 40 332 520 24 re f 1 g", id="light on dark"),
    ],
)
def test_a_coloured_area_is_no_text(read: Read, areas: str) -> None:
    assert text_of(read(Page(LINES[:1], drawing=areas))[1]) == list(LINES[:1])


def test_print_beside_a_coloured_area_is_still_seen(read: Read) -> None:
    page = Page(("Figure 1",), picture="What nobody has typed", drawing="0 300 600 30 re f")
    assert "stands outside" in str(read(page)[1])
