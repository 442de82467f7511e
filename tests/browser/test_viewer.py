"""Searchable PDFs of the samples in a real browser's viewer: what is found and copied there is what was read."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import chromium
from support.chromium import Chromium
from support.running import Ocrd

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"
ON_WHITE_PAPER = ("letter_ru.png", "letter_en.jpg", "two_columns_en.png")
"""One page each, so that its edges are seen in the window."""
DOCUMENTS = (*ON_WHITE_PAPER, "noisy_scan_ru.jpg", "report_3_pages.pdf")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def _browser_is_there() -> None:
    if chromium.PROGRAM is None:
        reason = "there is no Chromium; on Debian: script/setup --dev --browser"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples with their text, their words' places, and a searchable PDF each."""
    ocrd = Ocrd(
        tmp_path_factory.mktemp("viewer"), OCRD_OUTPUT__FORMATS="json,pdf", OCRD_ENGINE__LANGUAGES="rus,eng"
    )
    for name in DOCUMENTS:
        shutil.copy(SAMPLES / name, ocrd.inbox)
    done = ocrd.run_once()
    assert done.returncode == 0, done.stderr
    return ocrd.inbox


@pytest.mark.parametrize("name", DOCUMENTS)
def test_all_text_is_copied(name: str, inbox: Path, tmp_path: Path) -> None:
    with Chromium(tmp_path) as browser:
        copied = browser.open_pdf(inbox / f"{name}.ocr.pdf").copied()
    read = [page["text"] for page in json.loads((inbox / f"{name}.json").read_text())["pages"]]
    assert sorted(copied.split()) == sorted(" ".join(read).split())


@pytest.mark.parametrize("name", ON_WHITE_PAPER)
def test_a_word_is_found_where_it_is_printed(name: str, inbox: Path, tmp_path: Path) -> None:
    page = json.loads((inbox / f"{name}.json").read_text())["pages"][0]
    width, height = page["image"]["width"], page["image"]["height"]
    word = longest_that_is_alone(page)
    with Chromium(tmp_path) as browser:
        marked = browser.open_pdf(inbox / f"{name}.ocr.pdf", finding=word["text"]).marked()
    left, top, right, bottom = word["bbox"]
    assert marked == pytest.approx((left / width, top / height, right / width, bottom / height), abs=0.01)


def longest_that_is_alone(page: dict[str, Any]) -> dict[str, Any]:
    """The longest word of letters that stands once on the page."""
    words = [word for block in page["blocks"] for word in block["words"] if word["text"].isalpha()]
    texts = Counter(word["text"].casefold() for word in words)
    return max(
        (word for word in words if texts[word["text"].casefold()] == 1), key=lambda word: len(word["text"])
    )
