"""Folders may have any name that the file system takes."""

from __future__ import annotations

import shutil

from support import paper
from support.running import Ocrd


def test_an_inbox_whose_name_is_no_utf8_is_worked_off_and_remembered(ocrd: Ocrd) -> None:
    shutil.rmtree(ocrd.inbox)
    ocrd.inbox = ocrd.folder / "in\udcff"
    ocrd.inbox.mkdir()
    paper.write_png(ocrd.inbox / "page.png", "Odd folder 29")
    first = ocrd.run_once()
    assert first.returncode == 0
    assert "document_taken_in" in first.stderr
    assert "Odd folder 29" in ocrd.text("page.png")
    again = ocrd.run_once()
    assert again.returncode == 0
    assert "document_taken_in" not in again.stderr
