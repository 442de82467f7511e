"""Born-digital pages through the whole daemon: taken as they are, between pages that are read."""

from __future__ import annotations

from support.running import Ocrd
from support.text_pdfs import LINES, Page, text_pdf

MIXED = (Page(LINES), Page(picture="Second page", scan=True), Page(("The third page ends it.",)))


def engines(ocrd: Ocrd, name: str) -> list[str]:
    return [page["attempts"][-1]["engine"] for page in ocrd.show(name)["page_list"]]


def test_pages_with_and_without_text_stand_in_order(ocrd: Ocrd) -> None:
    (ocrd.inbox / "mixed.pdf").write_bytes(text_pdf(*MIXED))
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("mixed.pdf").split() == [
        *" ".join(LINES).split(),
        *("Second", "page"),
        *("The", "third", "page", "ends", "it."),
    ]
    assert engines(ocrd, "mixed.pdf") == ["text-layer", "tesseract", "text-layer"]


def test_off_reads_every_page(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_ENGINE__TEXT_LAYER"] = "off"
    (ocrd.inbox / "mixed.pdf").write_bytes(text_pdf(*MIXED))
    assert ocrd.run_once().returncode == 0
    assert engines(ocrd, "mixed.pdf") == ["tesseract"] * 3
