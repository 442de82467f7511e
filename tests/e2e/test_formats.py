"""Formats beside text and Markdown, written by the daemon; and searchable PDFs above all."""

from __future__ import annotations

import subprocess

from support import paper
from support.running import Ocrd, wait_until


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
    assert ocrd.run_once().returncode == 0
    for suffix in ("txt", "md", "json", "hocr", "alto.xml"):
        assert "Hello" in (ocrd.inbox / f"one.png.{suffix}").read_text()
    assert (ocrd.inbox / "one.png.ocr.pdf").exists()
    assert ocrd.run_once().returncode == 0
    assert set(ocrd.jobs()) == {"one.png"}
