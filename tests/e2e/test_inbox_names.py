"""Folders may have any name that the file system takes."""

from __future__ import annotations

import os
import shutil

from support import paper
from support.bad_inputs import NAMES
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


def test_folders_below_an_inbox_may_have_any_name_and_keep_it_where_their_documents_move(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    folders = [os.fsdecode(name.removesuffix(b".png")) for name in NAMES]
    for number, name in enumerate(folders):
        folder = ocrd.inbox / name
        folder.mkdir()
        paper.write_png(folder / "page.png", f"Odd folder {number}")
    done = ocrd.run_once()
    assert done.returncode == 0, done.stderr
    for number, name in enumerate(folders):
        assert not (ocrd.inbox / name / "page.png").exists()
        moved = ocrd.inbox / "done" / name / "page.png"
        assert moved.exists()
        assert f"Odd folder {number}" in moved.with_name("page.png.txt").read_text()
