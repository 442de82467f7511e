"""`ocrd run --once FILE…`, the real command on the samples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"


class Folder:
    """A folder of documents, a home, and an empty folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "documents"
        self.tmp = folder / "tmp"
        self.state = folder / "state"
        for made in (self.path, self.tmp):
            made.mkdir()
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("OCRD_")} | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "OCRD_STATE__DIR": str(self.state),
            "TMPDIR": str(self.tmp),
        }

    def add(self, sample: str, name: str | None = None) -> None:
        shutil.copy(SAMPLES / sample, self.path / (name or sample))

    def names(self) -> set[str]:
        return set(os.listdir(self.path))

    def run(self, *arguments: str, code: int = 0, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "ocrd", "run", *arguments],
            env=self.env,
            cwd=self.path,
            capture_output=True,
            input=given,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr.decode()
        assert os.listdir(self.tmp) == [], "the private folder is gone"
        return done


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_text_of_files_is_printed_and_nothing_is_left_or_touched(folder: Folder) -> None:
    for name in ("letter_en.jpg", "blank.png", "letter_ru.png"):
        folder.add(name)
    before = {path: path.stat().st_mtime_ns for path in folder.path.iterdir()}
    done = folder.run("--once", "letter_en.jpg", "blank.png", "letter_en.jpg", "-o", "-")
    texts = done.stdout.decode().split("\f")
    assert len(texts) == 2, "each document once, with a form feed between them"
    assert "Dear" in texts[0]
    assert texts[1].strip() == ""
    assert done.stderr == b""
    assert {path: path.stat().st_mtime_ns for path in folder.path.iterdir()} == before
    assert not folder.state.exists(), "no job store is made or touched"
    assert not (folder.path.parent / "run").exists(), "and nobody is told of a daemon"


def test_the_text_goes_beside_the_file_and_replaces_nothing_unless_told_to(folder: Folder) -> None:
    folder.add("letter_en.jpg")
    folder.add("letter_ru.png")
    done = folder.run("--once", "letter_en.jpg")
    assert "letter_en.jpg → letter_en.jpg.txt" in done.stdout.decode()
    made = folder.names() - {"letter_ru.png", "letter_en.jpg"}
    assert made == {"letter_en.jpg.txt", "letter_en.jpg.md"}
    (folder.path / "letter_en.jpg.txt").write_text("mine")
    refused = folder.run("--once", "letter_en.jpg", "letter_ru.png", code=2)
    assert "--force" in refused.stderr.decode()
    assert (folder.path / "letter_en.jpg.txt").read_text() == "mine"
    folder.run("--once", "letter_en.jpg", "--force", "--format", "txt")
    assert "Dear" in (folder.path / "letter_en.jpg.txt").read_text()


def test_what_cannot_be_read_ends_with_1_and_its_reason_and_the_rest_is_read(folder: Folder) -> None:
    folder.add("damaged.pdf")
    folder.add("letter_en.jpg")
    (folder.path / "notes.doc").write_bytes(b"no document of ours" * 100)
    done = folder.run("--once", "damaged.pdf", "notes.doc", "letter_en.jpg", "-o", "-", code=1)
    said = done.stderr.decode()
    assert "damaged.pdf: rejected" in said
    assert "notes.doc" in said
    assert "Traceback" not in said
    assert "Dear" in done.stdout.decode()
    assert folder.names() == {"damaged.pdf", "letter_en.jpg", "notes.doc"}


def test_a_file_beyond_the_limit_is_not_copied_and_the_rest_is_read(folder: Folder) -> None:
    folder.add("letter_en.jpg")
    (folder.path / "big.pdf").write_bytes(b"%PDF-1.7\n")
    os.truncate(folder.path / "big.pdf", 1 << 40)
    done = folder.run("--once", "big.pdf", "letter_en.jpg", "-o", "-", code=1)
    assert "big.pdf: rejected (too_large): the file has 1048576 MiB" in done.stderr.decode()
    assert "Dear" in done.stdout.decode()


def test_a_full_folder_for_the_copies_is_told_as_such(folder: Folder) -> None:
    """A write beyond the size that this process may give its files stands for a disk that is full."""
    (folder.path / "scan.pdf").write_bytes(b"%PDF-1.7\n" + b"x" * (1 << 20))
    done = subprocess.run(
        [
            "prlimit",
            f"--fsize={1 << 19}",
            sys.executable,
            "-m",
            "ocrd",
            "run",
            "--once",
            "scan.pdf",
            "-o",
            "-",
        ],
        env=folder.env,
        cwd=folder.path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert f"the folder for the copies, {folder.tmp}, cannot be written" in done.stderr.decode()
    assert "TMPDIR" in done.stderr.decode()
    assert os.listdir(folder.tmp) == []


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_nothing_takes_the_place_of_what_is_no_file(folder: Folder, kind: str) -> None:
    folder.add("letter_en.jpg")
    target = folder.path / "out.txt"
    if kind == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to("/dev/null")
    before = target.lstat()
    refused = folder.run("--once", "letter_en.jpg", "-o", "out.txt", "--force", code=2)
    assert "out.txt is no file" in refused.stderr.decode()
    assert "-o -" in refused.stderr.decode()
    assert target.lstat() == before


def test_a_file_of_any_name_is_read_into_any_file(folder: Folder) -> None:
    for name in (".hidden.jpg", "-o", "scan.part"):
        folder.add("letter_en.jpg", name)
    folder.run("--once", "-o", "out.md", ".hidden.jpg")
    assert "Dear" in (folder.path / "out.md").read_text()
    folder.run("--once", "-o", "out.pdf", ".hidden.jpg")
    assert (folder.path / "out.pdf").read_bytes().startswith(b"%PDF-")
    folder.run("--once", "--format", "txt", "scan.part", "./-o")
    assert {"scan.part.txt", "-o.txt"} <= folder.names()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["letter_en.jpg"], 2, "--once"),
        (["--once", "none.pdf"], 2, "there is no file"),
        (["--once", "."], 2, "--inbox"),
        (["--once", "letter_en.jpg", "--inbox", "."], 2, "both files and --inbox"),
        (["--once", "letter_en.jpg", "./letter_en.jpg", "-o", "out.txt"], 2, "do not go into one"),
        (["--once", "--inbox", ".", "-o", "-"], 2, "single files"),
        (
            ["--once", "letter_en.jpg", "./letter_en.jpg", "-o", "-", "--format", "pdf"],
            2,
            "do not go into one",
        ),
        (["--once", "letter_en.jpg", "-o", "-", "--format", "pdf", "--format", "txt"], 2, "several formats"),
        (["--once", "letter_en.jpg", "-o", "out.docx"], 2, "--format FORMAT"),
        (["--once", "-"], 2, "beside standard input"),
        (["--once", "letter_en.jpg", "--engine", "vllm"], 78, "base_url"),
        (["--once", "letter_en.jpg", "--format", "doc"], 2, "invalid choice"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_refused_before_any_work(
    folder: Folder, arguments: list[str], code: int, said: str
) -> None:
    folder.add("letter_en.jpg")
    assert said in folder.run(*arguments, code=code).stderr.decode()
    assert folder.names() == {"letter_en.jpg"}


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("x.alto.xml", b"<alto"),
        ("x.XML", b"<alto"),
        ("x.html", b'class="ocr_page"'),
        ("x.json", b'"schema": 1'),
    ],
)
def test_the_ending_of_the_output_says_what_it_is(folder: Folder, name: str, has: bytes) -> None:
    folder.add("report_3_pages.pdf")
    folder.run("--once", "report_3_pages.pdf", "--pages", "1", "-o", name)
    assert has in (folder.path / name).read_bytes()[:4000]


def test_an_output_without_an_ending_is_text_and_a_format_goes_before_any(folder: Folder) -> None:
    folder.add("letter_en.jpg")
    folder.run("--once", "letter_en.jpg", "-o", "2024")
    assert b"Dear" in (folder.path / "2024").read_bytes()
    folder.run("--once", "letter_en.jpg", "-o", "x.docx", "--format", "json")
    assert (folder.path / "x.docx").read_bytes().startswith(b"{")


def test_an_inbox_is_not_needed_and_its_daemon_not_disturbed(folder: Folder) -> None:
    """A settings file with everything a daemon does; the folder is locked as a daemon would."""
    folder.add("letter_en.jpg")
    config = folder.path.parent / "ocrd.toml"
    config.write_text(
        f'[inbox]\npaths = ["{folder.path}"]\n[metrics]\ntextfile = "{folder.path}/ocrd.prom"\n'
        f'[log]\nfile = "{folder.path}/log"\n[after]\ndone = "move:{folder.path}/moved"\n'
        f'[hooks]\non_done = ["touch", "{folder.path}/hook"]\n'
    )
    done = folder.run("--config", str(config), "--once", "letter_en.jpg", "-o", "-")
    assert "Dear" in done.stdout.decode()
    assert folder.names() == {"letter_en.jpg"}


def test_only_the_pages_that_are_named_are_printed(folder: Folder) -> None:
    folder.add("report_3_pages.pdf")
    whole = folder.run("--once", "report_3_pages.pdf", "-o", "-").stdout.split(b"\f")
    assert (
        folder.run("--once", "report_3_pages.pdf", "--pages", "2-", "-o", "-").stdout.split(b"\f")
        == whole[1:]
    )
    refused = folder.run("--once", "report_3_pages.pdf", "--pages", "4-", "-o", "-", code=1)
    assert b"it ends with page 3" in refused.stderr
    wrong = folder.run("--once", "report_3_pages.pdf", "--pages", "3-1", "-o", "-", code=78)
    assert b"--pages: inbox.pages: '3-1' ends before it begins" in wrong.stderr


def test_a_password_that_lies_beside_the_file_opens_it(folder: Folder) -> None:
    pytest.importorskip("pikepdf", reason="needs the extra `pdf`; script/setup --test installs it")
    folder.add("encrypted.pdf")
    refused = folder.run("--once", "encrypted.pdf", "-o", "-", code=1).stderr.decode()
    assert "→ write the password into a file beside it" in refused
    assert "then: ocrd run --once again" in refused, "there is no job that could be retried"
    (folder.path / "encrypted.pdf.password").write_text("lantern\n")
    assert folder.run("--once", "encrypted.pdf", "-o", "-").stdout.strip()


def test_a_document_comes_from_standard_input(folder: Folder) -> None:
    letter = (SAMPLES / "letter_en.jpg").read_bytes()
    assert b"Dear" in folder.run("--once", "-", "-o", "-", given=letter).stdout
    assert b"-: rejected" in folder.run("--once", "-", "-o", "-", given=b"%PDF-1.4\n", code=1).stderr
    assert folder.names() == set()
