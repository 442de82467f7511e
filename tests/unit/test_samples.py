"""The sample documents are complete, are what the manifest says, and can be drawn again."""

from __future__ import annotations

import importlib
import io
import os
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pdf2image import pdfinfo_from_path
from pdf2image.exceptions import PDFPageCountError
from PIL import Image, ImageChops, ImageSequence, ImageStat

from ocrd.domain.errors import ReasonCode
from ocrd.domain.ink import BLANK_INK, ink_share

SAMPLES = Path(__file__).parents[2] / "samples"
DOCUMENTS = SAMPLES / "documents"

pytestmark = pytest.mark.skipif(not DOCUMENTS.is_dir(), reason="the sdist leaves out samples/documents")


def manifest() -> dict[str, Any]:
    return tomllib.loads((SAMPLES / "manifest.toml").read_text(encoding="utf-8"))


def entries() -> dict[str, dict[str, Any]]:
    return {entry["file"]: entry for entry in manifest()["document"]}


def expected(name: str) -> Path:
    return SAMPLES / "expected" / f"{name}.txt"


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def has_text(entry: dict[str, Any]) -> bool:
    return entry["state"] == "done" and set(entry.get("page_states", ["done"])) != {"blank"}


def page_count(name: str) -> int:
    path = DOCUMENTS / name
    if path.suffix == ".pdf":
        return int(pdfinfo_from_path(path)["Pages"])
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1)


def test_the_manifest_lists_each_document_once() -> None:
    listed = [entry["file"] for entry in manifest()["document"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == names_below(DOCUMENTS)


def test_each_document_with_text_has_its_expected_text_and_bound() -> None:
    with_text = {name for name, entry in entries().items() if has_text(entry)}
    assert {f"{name}.txt" for name in with_text} == names_below(SAMPLES / "expected")
    for name in with_text:
        entry = entries()[name]
        assert ("min_recall" in entry) == entry.get("order_free", False), name
        assert ("max_cer" in entry) != entry.get("order_free", False), name


def test_the_page_counts_are_right() -> None:
    for name, entry in entries().items():
        if entry["state"] != "done":
            continue
        assert page_count(name) == entry["pages"], name
        assert len(entry.get("page_states", [""] * entry["pages"])) == entry["pages"], name
        if has_text(entry):
            pages = expected(name).read_text(encoding="utf-8").split("\f")
            assert len(pages) == entry["pages"], name
            assert all(page.strip() and page.endswith("\n") for page in pages), name


def test_a_rejected_document_names_a_known_reason() -> None:
    rejected = {name: entry for name, entry in entries().items() if entry["state"] == "rejected"}
    assert {entry["reason_code"] for entry in rejected.values()} <= set(ReasonCode)
    assert {"damaged.pdf", "encrypted.pdf"} <= rejected.keys()


def test_poppler_cannot_open_the_damaged_and_the_encrypted_document() -> None:
    with pytest.raises(PDFPageCountError):
        pdfinfo_from_path(DOCUMENTS / "damaged.pdf")
    with pytest.raises(PDFPageCountError, match="Incorrect password"):
        pdfinfo_from_path(DOCUMENTS / "encrypted.pdf")
    assert pdfinfo_from_path(DOCUMENTS / "encrypted.pdf", userpw="lantern")["Pages"] == 1


def test_the_blank_page_has_grain_but_no_ink() -> None:
    with Image.open(DOCUMENTS / "blank.png") as image:
        assert len(image.getcolors()) > 1
        assert ink_share(image.histogram()) < BLANK_INK


def test_the_samples_stay_small() -> None:
    assert sum((DOCUMENTS / name).stat().st_size for name in names_below(DOCUMENTS)) < 2_500_000


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The drawing script; skips where a font is missing."""
    monkeypatch.syspath_prepend(str(SAMPLES))
    module = importlib.import_module("draw")
    try:
        for name in module.FONTS:
            module.font_path(name)
    except module.FontMissing as err:
        pytest.skip(str(err))
    return module


def test_the_invoice_adds_up(draw: ModuleType) -> None:
    total = sum(count * price for _, _, count, price in draw.texts.INVOICE_ITEMS)
    assert f"Всего к оплате: {draw.money(total)}".replace("\u00a0", " ") in expected(
        "invoice_ru.png"
    ).read_text(encoding="utf-8")
    assert total == 44_382_00, "the sum in words has to change too"


@pytest.mark.parametrize(
    "name", ["letter_ru.png", "noisy_scan_ru.jpg", "minutes.tif", "папка/счёт за март.png"]
)
def test_a_document_can_be_drawn_again(draw: ModuleType, name: str) -> None:
    drawn = draw.DOCUMENTS[name]()
    assert draw.expected_text(drawn.pages) == expected(name).read_text(encoding="utf-8")
    committed = (DOCUMENTS / name).read_bytes()
    if draw.toolchain() == manifest()["drawn_with"]:
        assert drawn.data == committed
    else:
        assert all(mean < 4 for mean in differences(drawn.data, committed))


def differences(one: bytes, other: bytes) -> list[float]:
    """Mean difference of the grey levels of each page."""
    pages = zip(frames(one), frames(other), strict=True)
    return [ImageStat.Stat(ImageChops.difference(*pair)).mean[0] for pair in pages]


def frames(data: bytes) -> list[Image.Image]:
    with Image.open(io.BytesIO(data)) as image:
        return [frame.convert("L") for frame in ImageSequence.Iterator(image)]


def test_drawing_writes_the_document_beside_its_text(draw: ModuleType, tmp_path: Path) -> None:
    name = "папка/счёт за март.png"
    assert draw.main(["--out", os.fspath(tmp_path), name]) == 0
    assert names_below(tmp_path) == {f"documents/{name}", f"expected/{name}.txt"}


def test_a_missing_font_is_named_with_its_package(draw: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "FONT_FOLDERS", [])
    with pytest.raises(
        draw.FontMissing, match=r"DejaVuSansMono.ttf is missing; sudo apt install fonts-dejavu-core"
    ):
        draw.font_path("mono")
