"""Formats beside text and Markdown, written by the daemon; and searchable PDFs above all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from lxml import etree
from support import paper
from support.running import Ocrd, wait_until
from support.text_pdfs import LINES, Page, text_pdf


def test_scans_become_searchable_pdfs_that_are_not_read_again(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_OUTPUT__FORMATS"] = '["txt", "pdf"]'
    paper.write_pdf(ocrd.inbox / "two.pdf", "First page", "Second page")
    paper.write_png(ocrd.inbox / "one.png", "Hello there")
    assert ocrd.run_once().returncode == 0
    for name, words in (("two.pdf", "Second page"), ("one.png", "Hello there")):
        made = ocrd.inbox / f"{name}.ocr.pdf"
        said = subprocess.run(["pdftotext", made, "-"], capture_output=True, text=True, check=True).stdout
        assert words in " ".join(said.split())
    (ocrd.inbox / "moved").mkdir()
    made.rename(ocrd.inbox / "moved" / "copy of it.pdf")
    assert ocrd.run_once().returncode == 0
    assert set(ocrd.jobs()) == {"two.pdf", "one.png"}
    assert ocrd.leftovers() == []


def test_a_format_that_is_wanted_later_is_made_of_the_stored_pages(ocrd: Ocrd) -> None:
    paper.write_png(ocrd.inbox / "one.png", "Hello there")
    assert ocrd.run_once().returncode == 0
    ocrd.env["OCRD_OUTPUT__FORMATS"] = '["txt", "md", "pdf"]'
    ocrd.start()
    assert ocrd.command("retry", str(ocrd.inbox / "one.png")).returncode == 0
    wait_until((ocrd.inbox / "one.png.ocr.pdf").exists, "the searchable PDF")
    assert [len(page["attempts"]) for page in ocrd.show("one.png")["page_list"]] == [1]
    assert ocrd.stop() == 0


def test_every_format_is_written_at_once(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_OUTPUT__FORMATS"] = '["txt", "md", "json", "hocr", "alto", "pdf"]'
    paper.write_png(ocrd.inbox / "one.png", "Hello there")
    done = ocrd.run_once()
    assert done.returncode == 0
    said = [json.loads(line) for line in done.stderr.splitlines() if '"document_finished"' in line]
    assert [line["formats"] for line in said] == [["txt", "md", "json", "hocr", "alto", "pdf"]]
    for suffix in ("txt", "md", "json", "hocr", "alto.xml"):
        assert "Hello" in (ocrd.inbox / f"one.png.{suffix}").read_text()
    assert (ocrd.inbox / "one.png.ocr.pdf").exists()
    assert ocrd.run_once().returncode == 0
    assert set(ocrd.jobs()) == {"one.png"}


PLACED = '["json", "hocr", "alto"]'


def outputs(inbox: Path) -> dict[str, bytes]:
    found = (path for path in inbox.iterdir() if path.name.endswith((".json", ".hocr", ".alto.xml")))
    return {path.name: path.read_bytes() for path in found}


def test_every_page_that_was_rendered_has_its_size_and_nothing_changes_when_it_is_written_again(
    ocrd: Ocrd,
) -> None:
    ocrd.env |= {"OCRD_OUTPUT__FORMATS": PLACED, "OCRD_RASTER__DPI": "144"}
    pages = text_pdf(Page(LINES), Page(), Page(picture="Third page", scan=True))
    (ocrd.inbox / "mixed.pdf").write_bytes(pages)
    assert ocrd.run_once().returncode == 0
    said = json.loads((ocrd.inbox / "mixed.pdf.json").read_text())["pages"]
    assert [page["state"] for page in said] == ["done", "blank", "done"]
    assert said[0]["provenance"]["engine"] == "text-layer"
    assert [page["image"] for page in said] == [
        {"width": 1200, "height": 800, "dpi": 144.0, "rotation": 0}
    ] * 3
    assert (ocrd.inbox / "mixed.pdf.hocr").read_text().count("bbox 0 0 1200 800;") == 3
    assert (ocrd.inbox / "mixed.pdf.alto.xml").read_text().count('WIDTH="1200" HEIGHT="800"') == 6
    before = outputs(ocrd.inbox)
    for name in before:
        (ocrd.inbox / name).unlink()
    assert ocrd.command("retry", str(ocrd.inbox / "mixed.pdf")).returncode == 0
    assert ocrd.run_once().returncode == 0
    assert outputs(ocrd.inbox) == before


def test_a_page_that_cannot_be_rendered_has_no_size_and_the_others_have(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_OUTPUT__FORMATS"] = PLACED
    paper.write_pdf_with_bad_page(ocrd.inbox / "torn.pdf", "Good page")
    ocrd.run_once()
    said = json.loads((ocrd.inbox / "torn.pdf.json").read_text())["pages"]
    assert {page["state"]: "image" in page for page in said} == {"done": True, "failed": False}
    alto = etree.fromstring((ocrd.inbox / "torn.pdf.alto.xml").read_bytes())
    sizes = {page.get("PHYSICAL_IMG_NR"): page.get("WIDTH") is not None for page in alto[1]}
    assert sizes == {str(page["number"]): page["state"] == "done" for page in said}


def test_each_output_names_the_file_that_it_stands_beside(ocrd: Ocrd) -> None:
    """The same content under two names is read once, and told of under both."""
    ocrd.env["OCRD_OUTPUT__FORMATS"] = PLACED
    one = paper.write_png(ocrd.inbox / "Hello.png", "Hello there")
    odd = os.path.join(os.fsencode(ocrd.inbox), b'a;"\xff\x1b.png')
    shutil.copy(one, odd)
    assert ocrd.run_once().returncode == 0
    content = hashlib.sha256(one.read_bytes()).hexdigest()
    for path, name in ((os.fsencode(one), "Hello.png"), (odd, 'a;"\\xff\\x1b.png')):
        said = json.loads(Path(os.fsdecode(path + b".json")).read_text())
        expected = {"name": name, "sha256": content, "media_type": "image/png", "pages": 1}
        assert said["source"] == expected
        html = Path(os.fsdecode(path + b".hocr")).read_text()
        assert re.findall("<title>(.*)</title>", html) == [name]
        alto = Path(os.fsdecode(path + b".alto.xml")).read_text()
        assert re.findall("<fileName>(.*)</fileName>", alto) == [name]


def test_a_pdf_that_cannot_be_an_archival_one_costs_only_that_output(ocrd: Ocrd) -> None:
    ocrd.env |= {"OCRD_OUTPUT__FORMATS": '["txt", "pdf"]', "OCRD_OUTPUT__PDF_A": "true"}
    program = ocrd.folder / "bin" / "gs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1")
    program.chmod(0o755)
    ocrd.env["PATH"] = f"{program.parent}:{ocrd.env['PATH']}"
    paper.write_pdf(ocrd.inbox / "scan.pdf", "First page")
    paper.write_png(ocrd.inbox / "photo.png", "Hello there")
    ocrd.run_once()
    assert "First" in ocrd.text("scan.pdf")
    assert not (ocrd.inbox / "scan.pdf.ocr.pdf").exists()
    job = ocrd.show("scan.pdf")
    assert (job["state"], job["reason_code"]) == ("done", "output_failed")
    assert "no PDF/A can be made of it" in job["reason"]
    assert b"<pdfaid:part>2</pdfaid:part>" in (ocrd.inbox / "photo.png.ocr.pdf").read_bytes()
