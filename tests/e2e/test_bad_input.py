"""Bad input of every class at once, and good files between: each ends as it should, and the daemon is as good as before.

One run of the real daemon; the tests look at what came of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import bad_inputs, paper
from support.crashes import strike
from support.running import FINAL, Ocrd, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = {
    "OCRD_RASTER__PAGE_TIMEOUT_S": "5",
    "OCRD_RASTER__MEMORY_MIB": "512",
    "OCRD_ENGINE__PAGE_TIMEOUT_S": "30",
    "OCRD_LIMITS__PAGES": "500",
    "OCRD_LIMITS__FILE_MIB": "16",
}
DEADLINE_S = 120.0
DAEMON_MIB = 150
ATTEMPTS_S = 30.0
"""What reading one document may take: no more than a few times the deadline of a page."""

DONE, BLANK, LOST = ("done", ""), ("done", ""), ("failed", "render_failed")
DAMAGED = ("rejected", "damaged")
UNSUPPORTED = ("rejected", "unsupported_type")
TIMEOUT = ("failed", "render_timeout")
LIMIT = ("failed", "render_limit")

EXPECTED: dict[str, tuple[set[tuple[str, str]], str | None]] = {
    # name: how it may end, and a word of its text
    "user-password.pdf": ({("rejected", "encrypted")}, None),
    "user-password-aes.pdf": ({("rejected", "encrypted")}, None),
    "owner-password.pdf": ({DONE}, "everybody"),
    "half.pdf": ({DAMAGED}, None),
    "no-tail.pdf": ({DONE}, "perfect"),
    "half.png": ({DONE}, "picture"),
    "half.jpg": ({DONE}, None),
    "zero-bytes.pdf": ({("rejected", "empty_file")}, None),
    "zero-bytes.png": ({("rejected", "empty_file")}, None),
    "one-byte.pdf": ({UNSUPPORTED}, None),
    "header-only.pdf": ({DAMAGED}, None),
    "no-header.pdf": ({DONE}, "perfect"),
    "wrong-header.pdf": ({DONE}, "perfect"),
    "nul.pdf": ({UNSUPPORTED}, None),
    "png-named.pdf": ({DONE}, "picture"),
    "pdf-named.png": ({DONE}, "perfect"),
    "zip-named.pdf": ({UNSUPPORTED}, None),
    "text-named.pdf": ({UNSUPPORTED}, None),
    "photo.heic": ({DAMAGED}, None),
    "html-named.jpg": ({UNSUPPORTED}, None),
    "cyclic-tree.pdf": ({DAMAGED, LOST}, None),
    "lying-count.pdf": ({DAMAGED}, None),
    "zero-pages.pdf": ({("rejected", "no_pages")}, None),
    "deep-arrays.pdf": ({DONE, DAMAGED}, None),
    "giant-box.pdf": ({LIMIT}, None),
    "no-box.pdf": ({BLANK, LOST}, None),
    "hanging.pdf": ({TIMEOUT}, None),
    "long.png": ({DONE}, "receipt"),
    "many-pixels.png": ({BLANK, LIMIT, TIMEOUT}, None),
    "stream-bomb.pdf": ({TIMEOUT, LIMIT}, None),
    "slow-to-open.pdf": ({DAMAGED}, None),
    "image-bomb.pdf": ({TIMEOUT, LIMIT, LOST}, None),
    "png-bomb.png": ({("rejected", "too_many_pixels")}, None),
    "png-text-bomb.png": ({DONE}, "comment"),
    "many-pages.pdf": ({("rejected", "too_many_pages")}, None),
    "many-frames.tif": ({("rejected", "too_many_pages")}, None),
    "jbig2.pdf": ({DONE}, "Black"),
    "jbig2-broken.pdf": ({LOST}, None),
    "jpx.pdf": ({DONE}, "wavelets"),
    "jpx-broken.pdf": ({LOST}, None),
    "ccitt.pdf": ({DONE}, "fax"),
    "ccitt-broken.pdf": ({DONE, LOST}, None),
    "xfa.pdf": ({DONE}, "wait"),
    "portfolio.pdf": ({DONE}, "Cover"),
    "active.pdf": ({DONE}, "Active"),
    "pdf-and-zip.pdf": ({DONE}, "perfect"),
    "zip-and-pdf.pdf": ({DONE}, "perfect"),
    "behind-junk.pdf": ({DONE}, "perfect"),
    "far-behind-junk.pdf": ({UNSUPPORTED}, None),
    "jpeg-and-pdf.pdf": ({DONE}, "Photo"),
    "too-large.pdf": ({("rejected", "too_large")}, None),
    # Links of somebody else's stand where the texts, and the reason, would be written.
    "trap.png": ({("done", "output_exists")}, None),
    "new-trap.png": ({("done", "output_exists")}, None),
    "error-trap.pdf": ({DAMAGED}, None),
}
WORDS = (
    *(
        "Apple",
        "Bridge",
        "Candle",
        "Desert",
        "Engine",
        "Forest",
        "Garden",
        "Hammer",
        "Island",
        "Jacket",
        "Kitchen",
    ),
    *("Ladder", "Market", "Number", "Orange"),
)
GOOD = {f"between-{n}.png": f"Ordinary letter {n}" for n in range(4)}
FOREIGN = {
    "notes.txt": b"my notes\n",
    "letter.docx": b"PK\x03\x04 no real one",
    "draft.pdf.part": b"%PDF-1.4\n",
}


@dataclass
class Run:
    """What came of it."""

    ocrd: Ocrd
    outside: Path
    before: dict[bytes, str]
    outside_before: dict[bytes, object]
    jobs: dict[str, dict[str, object]]
    skipped: dict[str, int]
    things: list[str]
    idle_s: float = 0.0
    after_s: float = 0.0
    peak_mib: float = 0.0


def digests(folder: Path) -> dict[bytes, str]:
    """Every regular file below a folder, by its content; links, pipes and devices by what they are."""
    found = {}
    for parent, folders, names in os.walk(os.fsencode(folder)):
        for name in (*names, *(one for one in folders if os.path.islink(os.path.join(parent, one)))):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    found[path] = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
                found[path] = f"{stat.S_IFMT(status.st_mode):o} {link!r}"
    return found


def looked_at(folder: Path) -> dict[bytes, object]:
    """What is outside: content, and when it was last read (as far as the file system notes that)."""
    times: dict[bytes, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        times[os.fsencode(path)] = (status.st_atime_ns, status.st_mtime_ns, status.st_size, status.st_nlink)
    return times


def lay_outside(folder: Path) -> Path:
    """A secret document and two places where a text could be planted."""
    outside = folder / "outside"
    outside.mkdir()
    paper.write_png(outside / "secret.pdf", "Secret outside")
    paper.write_png(outside / "shared.png", "Shared by a hard link")
    (outside / "victim").write_text("must stay\n")
    for path in outside.iterdir():
        os.utime(path, (1, 1_600_000_000))
    return outside


def drop_everything(inbox: Path, outside: Path) -> list[str]:
    """All of it, in an order that nobody chose."""
    documents = {os.fsencode(name): data for name, data in bad_inputs.documents().items()}
    for name, text in GOOD.items():
        documents[os.fsencode(name)] = paper.write_png(inbox.parent / "drawn.png", text).read_bytes()
    for name, word in zip(bad_inputs.NAMES, WORDS, strict=True):
        documents[name] = paper.write_png(inbox.parent / "drawn.png", f"The word {word}").read_bytes()
    for name in ("trap.png", "new-trap.png", *bad_inputs.TOO_LONG):
        documents[os.fsencode(name)] = paper.write_png(inbox.parent / "drawn.png", f"A {name!r}").read_bytes()
    documents |= {os.fsencode(name): data for name, data in FOREIGN.items()}
    for format_ in ("txt", "md"):
        (inbox / f"trap.png.{format_}").symlink_to(outside / "victim")
        (inbox / f"new-trap.png.{format_}").symlink_to(outside / "new")
    documents[b"error-trap.pdf"] = b"%PDF-1.4\n"
    (inbox / "error-trap.pdf.ocrd-error.txt").symlink_to(outside / "victim")
    things = bad_inputs.make_things(inbox, outside)
    os.link(outside / "shared.png", inbox / "hard-link.png")
    with (inbox / "too-large.pdf").open("wb") as file:
        file.write(b"%PDF-1.4\n")
        file.truncate(17 << 20)
    names = list(documents)
    random.Random(6).shuffle(names)
    for name in names:
        with open(os.path.join(os.fsencode(inbox), name), "wb") as file:
            file.write(documents[name])
    return things


def time_of(ocrd: Ocrd, name: str, text: str) -> float:
    """Seconds from dropping a good file to its text."""
    drawn = paper.write_png(ocrd.folder / name, text)
    began = time.monotonic()
    drawn.rename(ocrd.inbox / name)
    target = ocrd.inbox / f"{name}.txt"
    wait_until(target.exists, f"{name} has its text", 60)
    return time.monotonic() - began


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The daemon on everything, still alive."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "tmp").mkdir()
    ocrd = Ocrd(folder, TMPDIR=str(folder / "tmp"), **SETTINGS)
    outside = lay_outside(folder)
    ocrd.start()
    try:
        idle_s = time_of(ocrd, "first.png", "The first good letter")
        things = drop_everything(ocrd.inbox, outside)
        before, outside_before = digests(ocrd.inbox), looked_at(outside)
        wanted = {
            *EXPECTED,
            *GOOD,
            "hard-link.png",
            *map(os.fsdecode, (*bad_inputs.NAMES, *bad_inputs.TOO_LONG)),
        }

        def all_final() -> bool:
            jobs = ocrd.jobs()
            return wanted <= jobs.keys() and all(job["state"] in FINAL for job in jobs.values())

        with contextlib.suppress(AssertionError):  # the tests tell better which one it is
            wait_until(all_final, "everything is final", DEADLINE_S)
        after_s = time_of(ocrd, "last.png", "The last good letter")
        assert ocrd.process is not None
        yield Run(
            ocrd=ocrd,
            outside=outside,
            before=before,
            outside_before=outside_before,
            jobs=ocrd.jobs(),
            skipped=ocrd.status()["daemon"]["inboxes"][0]["skipped"],
            things=things,
            idle_s=idle_s,
            after_s=after_s,
            peak_mib=peak_mib(ocrd.process.pid),
        )
    finally:
        if ocrd.process is not None:
            ocrd.stop(signal.SIGKILL)


def test_the_table_names_every_document_there_is() -> None:
    beside = {"too-large.pdf", "trap.png", "new-trap.png", "error-trap.pdf"}
    assert set(EXPECTED) - beside == set(bad_inputs.documents())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bad_document_ends_as_it_should(run: Run, name: str) -> None:
    states, word = EXPECTED[name]
    job = run.jobs[name]
    assert (job["state"], job["reason_code"]) in states, job["reason"]
    assert job["reason"] or job["reason_code"] == ""
    if word is not None:
        assert word in run.ocrd.text(name)


@pytest.mark.parametrize("name", ["half.jpg", "half.png", "ccitt-broken.pdf", "png-text-bomb.png"])
def test_a_page_of_which_something_is_missing_is_doubted(run: Run, name: str) -> None:
    page = run.ocrd.show(name)["page_list"][0]
    assert page["verdict"] == "suspect"
    assert "the page is damaged" in page["reason"]


def test_every_document_ended_within_its_deadline(run: Run) -> None:
    late = {
        name: job["finished_at"] - job["started_at"]  # type: ignore[operator]
        for name, job in run.jobs.items()
        if job["started_at"] is not None and job["finished_at"] - job["started_at"] > ATTEMPTS_S  # type: ignore[operator]
    }
    assert late == {}


def test_good_files_between_bad_ones_are_read(run: Run) -> None:
    for name, text in {**GOOD, "hard-link.png": "Shared by"}.items():
        assert run.jobs[name]["state"] == "done"
        assert text in run.ocrd.text(name)


@pytest.mark.parametrize(("name", "word"), list(zip(bad_inputs.NAMES, WORDS, strict=True)))
def test_any_name_gets_its_own_text(run: Run, name: bytes, word: str) -> None:
    assert run.jobs[os.fsdecode(name)]["state"] == "done"
    with open(os.path.join(os.fsencode(run.ocrd.inbox), name + b".txt")) as file:
        assert word in file.read()


def test_a_name_too_long_for_a_text_beside_it_is_refused(run: Run) -> None:
    for name in map(os.fsdecode, bad_inputs.TOO_LONG):
        assert (run.jobs[name]["state"], run.jobs[name]["reason_code"]) == ("rejected", "name_too_long")


def test_nothing_but_the_documents_was_taken_in(run: Run) -> None:
    wanted = {*EXPECTED, *GOOD, *map(os.fsdecode, (*bad_inputs.NAMES, *bad_inputs.TOO_LONG))}
    assert set(run.jobs) == {*wanted, "hard-link.png", "first.png", "last.png"}
    assert run.skipped["link"] == 6 + 4
    assert run.skipped["not_a_file"] == len(run.things)


def test_no_original_and_no_foreign_file_was_touched(run: Run) -> None:
    after = digests(run.ocrd.inbox)
    assert {path: after.get(path) for path in run.before} == run.before


def test_nothing_was_written_but_texts_and_error_notes_of_documents(run: Run) -> None:
    new = digests(run.ocrd.inbox).keys() - run.before.keys() - {os.fsencode(run.ocrd.inbox / "last.png")}
    of_documents = {os.fsencode(run.ocrd.inbox / name) for name in run.jobs}
    endings = (b".txt", b".md", b".ocrd-error.txt")
    strange = [
        path
        for path in new
        if not any(path.endswith(end) and path.removesuffix(end) in of_documents for end in endings)
    ]
    assert strange == []


def test_nothing_outside_was_read_or_written_through_a_link(run: Run) -> None:
    after = looked_at(run.outside)
    shared = os.fsencode(run.outside / "shared.png")
    assert after.keys() == run.outside_before.keys()
    assert {path: seen for path, seen in after.items() if path != shared} == {
        path: seen for path, seen in run.outside_before.items() if path != shared
    }
    assert "Secret" not in run.ocrd.log.read_text()


def test_the_next_good_file_is_done_as_quickly_as_on_an_idle_daemon(run: Run) -> None:
    assert run.after_s <= 3 * run.idle_s + 2


def test_the_daemon_stayed_small_and_ends_well_with_nothing_left(run: Run) -> None:
    assert run.peak_mib < DAEMON_MIB
    assert run.ocrd.process is not None
    children = run.ocrd.children()
    assert run.ocrd.stop() == 0
    assert run.ocrd.leftovers() == []
    assert list((run.ocrd.folder / "tmp").iterdir()) == []
    work = run.ocrd.state / "work"
    assert not work.exists() or list(work.rglob("*")) == []
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "no child is left", 10)
    assert run.ocrd.command("db", "check").returncode == 0


def test_a_document_that_becomes_something_else_before_it_is_read_harms_nothing(ocrd: Ocrd) -> None:
    secret = paper.write_pdf(ocrd.folder / "secret.pdf", "Secret outside")
    gone = {"link.pdf", "pipe.pdf", "folder.pdf"}
    ocrd.start()
    ocrd.command("pause")
    for name in (*gone, "longer.pdf", "shorter.pdf"):
        paper.write_pdf(ocrd.inbox / name, f"Text of {name}")
    wait_until(lambda: len(ocrd.jobs()) == len(gone) + 2, "all of them are taken in")
    for name in gone:
        (ocrd.inbox / name).unlink()
    (ocrd.inbox / "link.pdf").symlink_to(secret)
    os.mkfifo(ocrd.inbox / "pipe.pdf")
    (ocrd.inbox / "folder.pdf").mkdir()
    with (ocrd.inbox / "longer.pdf").open("ab") as file:
        file.write(b"\n% more\n")
    os.truncate(ocrd.inbox / "shorter.pdf", 500)
    ocrd.command("resume")
    for name in gone:
        assert ocrd.await_state(name)["reason_code"] == "file_gone"
        assert not (ocrd.inbox / f"{name}.txt").exists()
    wait_until(lambda: ocrd.jobs()["longer.pdf"]["revision"] == 2, "the longer file is taken in anew")
    assert ocrd.await_state("longer.pdf")["state"] == "done"
    wait_until(lambda: ocrd.jobs()["shorter.pdf"]["revision"] == 2, "the shorter file is taken in anew")
    assert ocrd.await_state("shorter.pdf")["reason_code"] == "damaged"
    assert ocrd.leftovers() == []
    assert ocrd.stop() == 0


def twin_outside(ocrd: Ocrd, scan: Path) -> Path:
    """A folder outside of the inbox with another picture that cannot be told from `scan` by name, size and time."""
    outside = ocrd.folder / "outside"
    outside.mkdir()
    there, status = paper.write_png(outside / scan.name, "Secret"), scan.stat()
    content = there.read_bytes()
    assert len(content) <= status.st_size
    there.write_bytes(content.ljust(status.st_size, b"\0"))
    os.utime(there, ns=(status.st_mtime_ns,) * 2)
    return outside


def put_link_for(folder: Path, target: Path) -> None:
    folder.rename(folder.parent.parent / f"aside-{folder.name}")
    folder.symlink_to(target)


def long_ago(path: Path) -> Path:
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


def test_nothing_is_read_where_a_folder_has_become_a_link(ocrd: Ocrd) -> None:
    (ocrd.inbox / "sub").mkdir()
    ocrd.start()
    ocrd.command("pause")
    scan = paper.write_png(ocrd.inbox / "sub" / "scan.png", "A page with more words than the other one")
    wait_until(lambda: "sub/scan.png" in ocrd.jobs(), "it is taken in")
    outside = twin_outside(ocrd, scan)
    put_link_for(ocrd.inbox / "sub", outside)
    ocrd.command("resume")
    assert ocrd.await_state("sub/scan.png")["reason_code"] == "file_gone"
    assert os.listdir(outside) == ["scan.png"]
    assert ocrd.jobs()["sub/scan.png"]["pages_done"] == 0
    assert ocrd.stop() == 0


def test_nothing_is_written_where_a_folder_has_become_a_link(ocrd: Ocrd) -> None:
    (ocrd.inbox / "sub").mkdir()
    scan = long_ago(
        paper.write_png(ocrd.inbox / "sub" / "scan.png", "A page with more words than the other one")
    )
    assert strike(ocrd, "page.land.committed:kill"), "it is read, and not yet written"
    outside = twin_outside(ocrd, scan)
    draft = outside / ".ocrd-1-txt.tmp"
    draft.write_text("as our drafts are called")
    put_link_for(ocrd.inbox / "sub", outside)
    ocrd.run_once()
    assert ocrd.jobs()["sub/scan.png"]["reason_code"] == "file_gone"
    assert sorted(os.listdir(outside)) == [draft.name, "scan.png"]


@pytest.mark.parametrize("linked", ["from", "to", "the folder itself"])
def test_nothing_is_moved_where_a_folder_has_become_a_link(ocrd: Ocrd, linked: str) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    (ocrd.inbox / "sub").mkdir()
    (ocrd.inbox / "done" / "sub").mkdir(parents=True)
    scan = long_ago(
        paper.write_png(ocrd.inbox / "sub" / "scan.png", "A page with more words than the other one")
    )
    content = scan.read_bytes()
    assert strike(ocrd, "move.planned:kill"), "it is about to be moved"
    outside = twin_outside(ocrd, scan)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    if linked == "the folder itself":
        shutil.rmtree(ocrd.inbox / "done")
        (outside / "sub").mkdir()
        (ocrd.inbox / "done").symlink_to(outside)
    else:
        put_link_for(ocrd.inbox / ("sub" if linked == "from" else "done/sub"), outside)
    done = ocrd.run_once()
    assert "or a link leads to it" in done.stderr
    assert {path.name: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert not (ocrd.inbox / "done" / "sub" / "scan.png.txt").exists()
    kept = ocrd.folder / "aside-sub" / "scan.png" if linked == "from" else scan
    assert kept.read_bytes() == content
