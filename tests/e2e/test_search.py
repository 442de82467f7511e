"""What the daemon read is found: while it runs, after it, and in files that are gone."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("fault", ["index.put.commit:kill", "index.put.committed:kill"])
def test_a_kill_while_the_index_is_written_loses_and_doubles_nothing(ocrd: Ocrd, fault: str) -> None:
    shutil.copy(SAMPLES / "report_3_pages.pdf", ocrd.inbox)
    ocrd.env |= {"OCRD_FAULT": fault, "OCRD_ENGINE__LANGUAGES": "rus,eng"}
    ocrd.start(ready=False)
    assert ocrd.process is not None
    assert ocrd.process.wait(60) == -signal.SIGKILL
    del ocrd.env["OCRD_FAULT"]
    ocrd.start()
    ocrd.await_state("report_3_pages.pdf", "done")
    wait_until(lambda: not_indexed(ocrd) == 0, "every page is in the index")
    pages = [page for _, page, _ in found(ocrd, "и*")]
    assert pages, "something is found"
    assert len(pages) == len(set(pages))


@pytest.mark.parametrize("what", ["eio", "enospc"])
def test_an_index_that_cannot_be_written_stops_no_reading(ocrd: Ocrd, what: str) -> None:
    shutil.copy(SAMPLES / "report_3_pages.pdf", ocrd.inbox)
    ocrd.env["OCRD_FAULT"] = f"index.put.commit:{what}:1-9"
    ocrd.start()
    ocrd.await_state("report_3_pages.pdf", "done")
    wait_until(lambda: ocrd.events("index_not_written"), "it is told")
    assert ocrd.status()["daemon"]["alive"]


def test_pages_that_were_just_read_are_found_after_a_run_without_a_daemon(ocrd: Ocrd) -> None:
    shutil.copy(SAMPLES / "letter_en.jpg", ocrd.inbox)
    assert ocrd.run_once().returncode == 0
    assert found(ocrd, "stain*", "ledger") == [("letter_en.jpg", 1, False)]
    assert not_indexed(ocrd) == 0
