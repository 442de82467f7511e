"""Born-digital pages through the whole daemon: taken as they are, between pages that are read."""

from __future__ import annotations

import pytest
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


@pytest.mark.parametrize("mode", ["off", "force"])
def test_off_reads_every_page(ocrd: Ocrd, mode: str) -> None:
    ocrd.env["OCRD_ENGINE__TEXT_LAYER"] = mode
    (ocrd.inbox / "mixed.pdf").write_bytes(text_pdf(*MIXED))
    assert ocrd.run_once().returncode == 0
    assert engines(ocrd, "mixed.pdf") == ["tesseract"] * 3


@pytest.mark.parametrize(
    ("mode", "read_by"),
    [
        ("redo", ["text-layer", "tesseract", "tesseract"]),
        ("skip", ["text-layer", "text-layer", "text-layer"]),
    ],
)
def test_redo_reads_scans_anew_and_skip_takes_any_text(ocrd: Ocrd, mode: str, read_by: list[str]) -> None:
    ocrd.env["OCRD_ENGINE__TEXT_LAYER"] = mode
    garbage = ("\u00c4\u00ee\u00e3\u00ee\u00e2\u00ee\u00f0 \u00e0\u00f0\u00e5\u00ed\u00e4\u00fb",) * 3
    earlier_ocr = Page(("Second page",), picture="Second page", scan=True, hidden=True)
    (ocrd.inbox / "mixed.pdf").write_bytes(text_pdf(Page(LINES), earlier_ocr, Page(garbage)))
    assert ocrd.run_once().returncode == 0
    assert engines(ocrd, "mixed.pdf") == read_by


def test_a_password_that_is_written_down_later_makes_a_retry_work(ocrd: Ocrd) -> None:
    pikepdf = pytest.importorskip("pikepdf", reason="needs the extra `pdf`; script/setup --test installs it")
    plain = ocrd.folder / "plain.pdf"
    plain.write_bytes(text_pdf(*MIXED))
    with pikepdf.open(plain) as pdf:
        pdf.save(ocrd.inbox / "locked.pdf", encryption=pikepdf.Encryption(user="canary-4d2", owner="o"))
    assert ocrd.run_once().returncode != 0
    rejected = ocrd.show("locked.pdf")
    assert (rejected["state"], rejected["reason_code"]) == ("rejected", "encrypted")
    assert rejected["hints"] == [error["hint"] for error in ocrd.status()["errors"]]
    for command in (("show", str(ocrd.inbox / "locked.pdf")), ("status",)):
        assert "→ write the password into a file beside it" in ocrd.command(*command).stdout

    beside = ocrd.inbox / "locked.pdf.password"
    beside.write_text("canary-4d2\n")
    assert ocrd.command("retry", str(ocrd.inbox / "locked.pdf")).returncode == 0
    again = ocrd.run_once()
    assert again.returncode == 0
    assert engines(ocrd, "locked.pdf") == ["text-layer", "tesseract", "text-layer"]
    assert beside.read_text() == "canary-4d2\n"
    assert sorted(ocrd.jobs()) == ["locked.pdf"]
    told = again.stdout + again.stderr + ocrd.command("show", str(ocrd.inbox / "locked.pdf")).stdout
    assert "canary" not in told
    assert not [path for path in ocrd.state.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
