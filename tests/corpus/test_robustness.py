"""Hostile documents of a corpus, all at once through the real daemon: the right end and reason for each of them.

They lie in `robustness/` of the folder that OCRD_TEST_CORPUS names. What is expected is told by the names; a document
that no line here matches may end as it likes, with a reason. Good files come all the while. What the tests make
themselves goes the same way in `tests/e2e/test_bad_input.py`.
"""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

import faults
import pytest
import robustness

CORPUS = os.environ.get("OCRD_TEST_CORPUS")
pytestmark = [
    pytest.mark.corpus,
    pytest.mark.timeout(1000),
    pytest.mark.skipif(
        not CORPUS or not Path(CORPUS, "robustness").is_dir(),
        reason="set OCRD_TEST_CORPUS to a folder with robustness/",
    ),
]
DEADLINE_S = 800.0
GOOD_S = 30.0
"""For a good file among all the others, from when its turn has come."""

READ = {"done"}
EXPECTED: tuple[tuple[str, set[str], set[str]], ...] = (
    # name, states, reason codes; the first line that matches counts
    ("enc-user__*", {"rejected"}, {"encrypted"}),
    ("enc_aes256_owner_only.pdf", READ, {""}),
    ("enc_*", {"rejected"}, {"encrypted"}),
    ("enc-owner__pdfjs__issue19484_*", {"failed"}, {"render_failed"}),  # damaged as well: poppler finds no page
    ("enc-owner__*", READ, {""}),
    ("zero_byte.*", {"rejected"}, {"empty_file"}),
    ("zero_pages.pdf", {"rejected"}, {"no_pages"}),
    ("lying_page_count.pdf", {"rejected"}, {"damaged"}),
    ("header_only.pdf", {"rejected"}, {"damaged"}),
    ("truncated_half.pdf", {"rejected"}, {"damaged"}),
    ("truncated_tail.pdf", READ, {""}),
    ("cyclic_page_tree.pdf", {"failed", "rejected"}, {"render_failed", "damaged"}),
    ("deep_array.pdf", {"rejected", "done"}, {"damaged", ""}),
    ("deep_page_tree.pdf", READ, {""}),
    ("mediabox_huge.pdf", {"failed"}, {"render_limit"}),
    ("timeout__pdfjs__bomb_giant.pdf", {"failed"}, {"render_timeout", "render_limit"}),
    ("pages_1200*", {"rejected"}, {"too_many_pages"}),
    ("bomb_30000x30000.png", {"rejected"}, {"too_many_pixels"}),
    ("image-bomb__*", {"rejected"}, {"too_many_pixels"}),
    ("image-crash__*", {"failed", "rejected"}, {"render_failed", "damaged"}),
    ("image-format__*__testHEIC_livePhoto.heic", {"rejected"}, {"damaged"}),  # a header without its picture
    ("image-format__*.hei[cf]", READ, {""}),
    ("unopenable__*", {"rejected"}, {"damaged", "no_pages", "unsupported_type"}),
    *((name, {"rejected"}, {"unsupported_type"}) for name in ("docx_named.pdf", "html_named.pdf", "text_named.pdf")),
    *((name, {"rejected"}, {"unsupported_type"}) for name in ("nul_64k.pdf", "random_64k.pdf", "one_byte.pdf")),
    *((name, READ, {""}) for name in ("*_named.*", "no_extension_file", "-rf.pdf", "duplicate_of_*", "uppercase_ext.*")),
    *((name, READ, {""}) for name in ("leading_junk.pdf", "trailing_garbage.pdf", "xref_prev_loop.pdf", "openaction_*")),
    *((name, READ, {""}) for name in ("portfolio*", "xfa*", "embedded_file.pdf", "js__*", "launch__*", "rotate_*")),
    *((name, READ, {""}) for name in ("ccitt__*", "jbig2__*", "cmyk*", "odd-valid__*", "huge-box__*", "image-16bit__*")),
    *((name, READ, {""}) for name in ("image-alpha__*", "image-cmyk__*", "image-exif__*", "image-fax__*", "multipage_*")),
    *((name, READ, {""}) for name in ("exif_*", "gray16.png", "page.jp2", "palette.gif", "progressive.jpg", "strip_*")),
    *((name, READ, {""}) for name in ("animated.webp", "bilevel_1bit.png", "blank_white.png", "noise.png", "tiny_1x1.png")),
)  # fmt: skip
PASSED_OVER = {".hidden.pdf", "download.pdf.part"}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> robustness.Outcome:
    """One run over all of them, with good files before, among and after them."""
    assert CORPUS
    documents = robustness.corpus_documents(CORPUS)
    folder = str(tmp_path_factory.mktemp("robustness"))
    found = robustness.run(folder, corpus=documents, deadline_s=DEADLINE_S)
    faults.report(found, verbose=True)
    return found


def test_nothing_is_lost_doubled_or_hung_and_the_daemon_stays_small_and_quick(
    outcome: robustness.Outcome,
) -> None:
    """In time, within its memory, with all originals as they were, and with good files read as quickly as before."""
    assert CORPUS
    assert outcome.tried == {"corpus": len(robustness.corpus_documents(CORPUS))}
    assert outcome.problems == []


def test_good_files_that_come_all_the_while_are_read(outcome: robustness.Outcome) -> None:
    good = [job for job in outcome.jobs if job["file"].startswith("good-")]
    assert {job["state"] for job in good} == {"done"}
    assert len(outcome.good_among_s) >= 5
    assert max(robustness.wall_s(job) for job in good) < GOOD_S


def test_each_ends_as_it_should_and_says_why(outcome: robustness.Outcome) -> None:
    wrong = []
    for job in outcome.jobs:
        name = os.path.basename(job["file"])
        states, codes = next(
            ((states, codes) for pattern, states, codes in EXPECTED if fnmatch(name, pattern)),
            (robustness.FINAL, None),
        )
        if job["state"] not in states or (codes is not None and job["reason_code"] not in codes):
            wrong.append((name, job["state"], job["reason_code"], job["reason"]))
        if job["state"] != "done" and not job["reason"]:
            wrong.append((name, job["state"], "without a reason", ""))
    assert wrong == []


def test_reasons_are_in_words_for_people(outcome: robustness.Outcome) -> None:
    odd = ("Traceback", "Error(", "codec can't", "Exception", "/proc/", "errno", "None")
    told = {job["file"]: job["reason"] for job in outcome.jobs}
    assert {name: reason for name, reason in told.items() if any(word in reason for word in odd)} == {}


def test_only_what_is_unfinished_or_hidden_is_passed_over(outcome: robustness.Outcome) -> None:
    assert {os.path.basename(name) for name in outcome.passed_over} <= PASSED_OVER
