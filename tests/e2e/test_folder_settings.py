from __future__ import annotations

import sqlite3
from contextlib import closing

from support import paper
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
    assert "unknown option 'engine'" in done.stderr
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
