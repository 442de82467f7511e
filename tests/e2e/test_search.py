"""What the daemon read is found: while it runs, after it, and in files that are gone."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from support.running import Ocrd, wait_until

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"


def not_indexed(ocrd: Ocrd) -> int:
    with closing(sqlite3.connect(f"file:{ocrd.state}/ocrd.db?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM searched WHERE NOT done").fetchone()[0])


def found(ocrd: Ocrd, *words: str) -> list[tuple[str, int, bool]]:
    """Name, page and whether the file is gone."""
    return [(Path(hit["path"]).name, hit["page"], hit["gone"]) for hit in ocrd.json("search", *words)["hits"]]


def test_a_running_daemon_indexes_what_it_reads_and_any_form_of_a_word_finds_it(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_ENGINE__LANGUAGES"] = "rus,eng"
    for name in ("letter_ru.png", "letter_en.jpg", "report_3_pages.pdf"):
        shutil.copy(SAMPLES / name, ocrd.inbox)
    ocrd.start()
    for name in ("letter_ru.png", "letter_en.jpg", "report_3_pages.pdf"):
        ocrd.await_state(name, "done")
    wait_until(lambda: not_indexed(ocrd) == 0, "the daemon has put every page into its index")
    assert found(ocrd, "типографиями", "берег") == [("letter_ru.png", 1, False)]
    assert found(ocrd, "northern ledgers") == []
    assert found(ocrd, "LEDGER", "stained") == [("letter_en.jpg", 1, False)]
    ocrd.stop(signal.SIGTERM)
    (ocrd.inbox / "letter_ru.png").unlink()
    assert found(ocrd, "о передаче") == [("letter_ru.png", 1, True)]


def test_pages_that_were_just_read_are_found_after_a_run_without_a_daemon(ocrd: Ocrd) -> None:
    shutil.copy(SAMPLES / "letter_en.jpg", ocrd.inbox)
    assert ocrd.run_once().returncode == 0
    assert found(ocrd, "stain*", "ledger") == [("letter_en.jpg", 1, False)]
    assert not_indexed(ocrd) == 0
