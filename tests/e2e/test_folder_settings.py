from __future__ import annotations

import sqlite3
from contextlib import closing

from support import paper
from support.fake_vllm import FakeVllm
from support.marked import page_lines, write_pdf
from support.running import Ocrd, wait_until


def test_a_folder_has_its_own_formats_languages_and_turn(ocrd: Ocrd) -> None:
    for name, text in (
        ("first", 'priority = 10\nformats = ["md"]\n'),
        ("russian", 'languages = ["rus", "eng"]\n'),
        ("wrong", "engine = 'vllm'\n"),
    ):
        (ocrd.inbox / name).mkdir()
        (ocrd.inbox / name / ".ocrd.toml").write_text(text)
        paper.write_png(ocrd.inbox / name / "scan.png", "The same page")
    paper.write_png(ocrd.inbox / "scan.png", "The same page")
    done = ocrd.run_once()
    assert done.returncode == 0
    assert "engine: 'vllm' is not there (there are: auto, embedded)" in done.stderr
    wrote = {
        str(path.relative_to(ocrd.inbox)) for path in ocrd.inbox.rglob("*") if path.suffix in {".md", ".txt"}
    }
    assert wrote == {
        "first/scan.png.md",
        *(f"{name}scan.png.{suffix}" for name in ("", "russian/", "wrong/") for suffix in ("txt", "md")),
    }
    with closing(sqlite3.connect(ocrd.state / "ocrd.db")) as store:
        rows = store.execute("SELECT priority, fingerprint FROM documents").fetchall()
        read = store.execute(
            "SELECT DISTINCT documents.name LIKE '%russian%', substr(model_revision, instr(model_revision, ' ') + 1) "
            "FROM attempts JOIN pages ON pages.id = page_id JOIN documents ON documents.id = document_id"
        ).fetchall()
    assert set(read) == {(0, "eng"), (1, "rus+eng")}
    assert sorted(priority for priority, _ in rows) == [0, 0, 0, 10]
    assert len({fingerprint for _, fingerprint in rows}) == 2


def test_a_wrong_file_is_told_by_status(ocrd: Ocrd) -> None:
    (ocrd.inbox / ".ocrd.toml").write_text("priority = 'high'")
    paper.write_png(ocrd.inbox / "scan.png", "A page")
    ocrd.start()
    ocrd.await_state("scan.png", "done")
    wait_until(lambda: ocrd.status()["daemon"]["folder_problems"], "status tells it")
    assert "NOT AS SET" in ocrd.command("status").stdout
    assert ocrd.stop() == 0


def test_only_the_pages_that_are_asked_for_are_read_and_they_keep_their_numbers(ocrd: Ocrd) -> None:
    (ocrd.inbox / "some").mkdir()
    (ocrd.inbox / "some" / ".ocrd.toml").write_text('pages = "2,4-"\n')
    (ocrd.inbox / "none").mkdir()
    (ocrd.inbox / "none" / ".ocrd.toml").write_text('pages = "9-"\n')
    texts = ["First", "Second", "Third", "Fourth", "Fifth"]
    for folder in ("some", "none"):
        paper.write_pdf(ocrd.inbox / folder / "five.pdf", *texts)
    paper.write_pdf(ocrd.inbox / "five.pdf", *texts)
    done = ocrd.run_once("--pages", "-1")
    assert done.returncode == 1
    assert ocrd.text("five.pdf").split() == ["First"]
    assert ocrd.text("some/five.pdf").split() == ["Second", "Fourth", "Fifth"]
    assert [page["number"] for page in ocrd.show("some/five.pdf")["page_list"]] == [2, 4, 5]
    refused = ocrd.jobs()["none/five.pdf"]
    assert (refused["state"], refused["reason_code"]) == ("rejected", "pages_not_there")
    assert "it ends with page 5" in (ocrd.inbox / "none" / "five.pdf.ocrd-error.txt").read_text()


def test_pages_that_are_there_after_a_change_are_read_on_a_retry(ocrd: Ocrd) -> None:
    said = ocrd.inbox / ".ocrd.toml"
    said.write_text('pages = "9-"\n')
    paper.write_pdf(ocrd.inbox / "two.pdf", "First", "Second")
    ocrd.start()
    ocrd.await_state("two.pdf", "rejected")
    said.write_text('pages = "2"\n')
    assert ocrd.command("retry", str(ocrd.inbox / "two.pdf")).returncode == 0
    ocrd.await_state("two.pdf", "done")
    assert ocrd.text("two.pdf").split() == ["Second"]
    assert ocrd.stop() == 0


def test_a_folder_that_asks_for_the_embedded_engine_never_reaches_the_server(ocrd: Ocrd) -> None:
    (ocrd.inbox / "own").mkdir()
    (ocrd.inbox / "own" / ".ocrd.toml").write_text('engine = "embedded"\n')
    (ocrd.inbox / "own" / "back").mkdir()
    (ocrd.inbox / "own" / "back" / ".ocrd.toml").write_text('engine = "auto"\n')
    for name, pages in (("scan.pdf", (0, 1)), ("own/scan.pdf", (2, 3)), ("own/back/scan.pdf", (4,))):
        write_pdf(ocrd.inbox / name, pages, dpi=100)
    with FakeVllm() as fake:
        ocrd.env |= {"OCRD_VLLM__BASE_URL": fake.base_url, "OCRD_ENGINE__LANGUAGES": "rus,eng"}
        done = ocrd.run_once("--engine", "vllm")
        asked = {row["page"] for row in fake.requests()} - {None}
    assert done.returncode == 0, done.stderr[-2000:]
    assert asked == {0, 1, 4}
    tries = [page["attempts"] for page in ocrd.show("own/scan.pdf")["page_list"]]
    assert [[one["engine"] for one in page] for page in tries] == [["tesseract"], ["tesseract"]]
    assert page_lines(2)[0].split()[0] in ocrd.text("own/scan.pdf")


def test_a_folder_that_asks_for_the_model_waits_for_it_where_the_others_do_not(ocrd: Ocrd) -> None:
    (ocrd.inbox / "own").mkdir()
    (ocrd.inbox / "own" / ".ocrd.toml").write_text('engine = "vllm"\npriority = -1\n')
    for name, page in (("scan.pdf", 0), ("own/scan.pdf", 1)):
        write_pdf(ocrd.inbox / name, [page], dpi=100)
    with FakeVllm() as fake:
        fake.kill()
        ocrd.env |= {
            "OCRD_VLLM__BASE_URL": fake.base_url,
            "OCRD_ENGINE__LANGUAGES": "rus,eng",
            "OCRD_ENGINE__SERVER_WAIT_S": "0.1",
        }
        ocrd.start()
        ocrd.await_state("scan.pdf", "done")
        assert ocrd.jobs()["own/scan.pdf"]["state"] in {"queued", "running"}
        fake.start()
        ocrd.await_state("own/scan.pdf", "done")
    assert ocrd.show("own/scan.pdf")["page_list"][0]["attempts"][-1]["engine"] == "vllm"
    assert ocrd.stop() == 0
