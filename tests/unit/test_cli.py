"""The real command, each time as a process of its own."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.stores import Stores, attempt, rejected

from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import DocumentState, PageState
from ocrd.host import files, runtime

OPTIONS = {
    "run": ["--once", "--inbox", "--engine", "FILE", "--output", "--format", "--force"],
    "status": ["--json", "--watch"],
    "jobs": ["--json", "--limit", "--state"],
    "show": ["--json", "--text", "JOB|PATH"],
    "search": ["--json", "--limit", "--index", "WORD"],
    "export": ["--format", "--state", "--output", "--force"],
    "retry": ["--failed", "--all", "--again", "--changed", "--overwrite", "JOB|PATH"],
    "cancel": ["JOB|PATH"],
    "pause": ["ocrd resume"],
    "resume": [],
    "doctor": ["--json"],
    "config init": ["--inbox"],
    "config show": ["--json"],
    "config check": [],
    "db upgrade": [],
    "db check": ["--json"],
    "db backup": [],
    "db restore": ["COPY"],
    "service install": ["--system", "--user", "--for", "--inbox", "--dry-run", "--yes", "--no-start"],
    "service uninstall": ["--dry-run", "--yes"],
    "service status": ["--for"],
    "service restart": [],
    "service logs": ["--follow", "--lines"],
}


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


READING = ["status", "jobs", "show 1", "show --text 1", "search text"]


class Cli:
    """A home of its own, an inbox, and the command."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder = folder
        self.state = state
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("OCRD_")} | {
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "xdg-state"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "OCRD_STATE__DIR": str(state),
        }

    def argv(self, line: str, *more: str | bytes | Path) -> list[str | bytes | Path]:
        return [sys.executable, "-m", "ocrd", *line.split(), *more]

    def run(
        self, line: str, *more: str | bytes | Path, code: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(line, *more),
            env=self.env | env,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, line: str, *more: str, code: int = 0, **env: str) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.run(f"{line} --json", *more, code=code, **env).stdout)
        return data

    def config(self, text: str) -> Path:
        path = self.folder / "config" / "ocrd" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return path


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """There is no store yet."""
    return Cli(tmp_path, tmp_path / "none yet")


@pytest.fixture
def filled(tmp_path: Path, state: Path, stores: Stores) -> Cli:
    """Document 1 is done, 2 partial, 3 rejected, 4 queued."""
    stores.register("done.pdf", "1")
    stores.begin()
    stores.read_all(1)
    stores.register("partial.pdf", "2")
    stores.begin()
    stores.read_all(2, failed=(2,))
    stores.documents.register(rejected("damaged.pdf"))
    stores.documents.finish(3, DocumentState.REJECTED, code=ReasonCode.DAMAGED, reason="it is damaged")
    stores.register("queued.pdf", "4")
    return Cli(tmp_path, state)


@contextmanager
def daemon_lock(state: Path) -> Iterator[None]:
    """As if a daemon worked with this store."""
    fd = files.try_lock(runtime.lock_path(str(state)))
    assert fd is not None
    yield
    os.close(fd)


# --- help and usage ----------------------------------------------------------------------------------------


def test_the_help_names_every_command_and_the_exit_codes(cli: Cli) -> None:
    text = cli.run("--help").stdout
    assert all(f" {line.split()[0]} " in text for line in OPTIONS)
    assert "69" in text
    assert "75" in text
    assert "78" in text


@pytest.mark.parametrize("line", OPTIONS)
def test_the_help_of_a_command_names_its_options(cli: Cli, line: str) -> None:
    text = cli.run(f"{line} --help").stdout
    assert all(option in text for option in [*OPTIONS[line], "--config", "--state"])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "frobnicate",
        "jobs --nonsense",
        "jobs --limit many",
        "retry",
        "retry --failed 1",
        "cancel",
        "show",
        "config",
        "status --js",
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2(cli: Cli, line: str) -> None:
    assert "usage:" in cli.run(line, code=2).stderr


# --- settings ----------------------------------------------------------------------------------------------


def test_without_an_inbox_run_ends_with_78_and_says_what_to_do(cli: Cli) -> None:
    assert "ocrd config init" in cli.run("run --once", code=78).stderr


def test_an_unknown_setting_ends_with_78_and_the_nearest_known_one(cli: Cli) -> None:
    path = cli.config("[inbox]\nquiet = 3\n")
    err = cli.run("status", code=78).stderr
    assert "'quiet_s'" in err
    assert str(path) in err
    err = cli.run("status", "--config", "/dev/null", code=78).stderr
    assert "/dev/null" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[inbx]\nquiet_s = 3\n", "'inbox'"),
        ("[inbox\n", "TOML"),
        ("quiet_s = 3\n", "section"),
        ("[inbox]\nquiet_s = 'soon'\n", "a number"),
        ("[inbox]\nquiet_s = -1\n", "at least 0"),
        ("[output]\nformats = ['tex']\n", "'txt'"),
    ],
)
def test_a_settings_file_that_is_wrong_ends_with_78_and_says_where(cli: Cli, text: str, says: str) -> None:
    cli.config(text)
    assert says in cli.run("config check", code=78).stderr


def test_a_wrong_variable_ends_with_78_and_its_name(cli: Cli) -> None:
    err = cli.run("config show", code=78, OCRD_INBOX__QIET_S="3").stderr
    assert "$OCRD_INBOX__QIET_S" in err
    assert "'quiet_s'" in err


def test_a_settings_file_that_was_named_must_be_there(cli: Cli) -> None:
    assert "missing.toml" in cli.run("run --config missing.toml", code=78).stderr
    assert "missing.toml" in cli.run("status", code=78, OCRD_CONFIG="missing.toml").stderr


def test_an_inbox_inside_another_one_or_that_is_no_folder_ends_with_78(cli: Cli) -> None:
    (cli.inbox / "sub").mkdir()
    (cli.folder / "link").symlink_to(cli.inbox)
    for second in ("inbox/sub", "inbox", "link"):
        assert "another" in cli.run(f"run --once --inbox inbox --inbox {second}", code=78).stderr
    assert "mkdir -p" in cli.run("run --once --inbox nowhere", code=78).stderr


def test_an_engine_that_nobody_installed_ends_with_78(cli: Cli) -> None:
    assert "embedded" in cli.run("run --once --inbox inbox --engine tesseroct", code=78).stderr


def test_a_new_settings_file_is_right_once_an_inbox_is_set(cli: Cli) -> None:
    cli.run("config init")
    assert "no inbox" in cli.run("config check", code=78).stderr
    path = cli.folder / "config" / "ocrd" / "config.toml"
    path.write_text(path.read_text().replace("# paths = []", f'paths = ["{cli.inbox}"]'))
    assert str(path) in cli.run("config check").stdout


def test_a_new_settings_file_can_have_its_inboxes_at_once(cli: Cli) -> None:
    cli.run("config init --config mine.toml --inbox inbox")
    cli.run("config check --config mine.toml")
    assert str(cli.inbox) in (cli.folder / "mine.toml").read_text()


def test_a_settings_file_that_is_there_is_never_overwritten(cli: Cli) -> None:
    path = cli.config("# mine\n")
    assert "left alone" in cli.run("config init", code=78).stderr
    assert path.read_text() == "# mine\n"


def test_each_setting_is_shown_with_its_origin(cli: Cli) -> None:
    path = cli.config('[inbox]\nquiet_s = 3\n[log]\nlevel = "debug"\n')
    shown = cli.json("config show", "--state", "here", OCRD_LOG__LEVEL="error")
    assert shown["schema"] == "ocrd.config/1"
    assert shown["file"] == str(path)
    found = {f"{row['section']}.{row['key']}": (row["value"], row["origin"]) for row in shown["settings"]}
    assert found["inbox.quiet_s"] == (3.0, str(path))
    assert found["log.level"] == ("error", "$OCRD_LOG__LEVEL")
    assert found["state.dir"] == ("here", "--state")
    assert found["engine.kind"] == ("auto", "default")
    assert "inbox.quiet_s = 3" in cli.run("config show").stdout


# --- reading the store -------------------------------------------------------------------------------------

STATUS_KEYS = {
    *("schema", "daemon", "documents", "pages", "suspect", "pages_per_min", "eta_s", "engine"),
    *("server", "vram", "errors"),
}
JOB_KEYS = {"id", "path", "state", "pages", "pages_done", "reason_code", "reason"}


def test_without_a_store_there_is_a_status_and_no_jobs(cli: Cli) -> None:
    assert "not running" in cli.run("status").stdout
    assert "no documents" in cli.run("jobs").stdout
    assert cli.json("jobs") == {"schema": "ocrd.jobs/1", "jobs": []}
    assert "ocrd jobs" in cli.run("show 1", code=2).stderr
    assert not cli.state.exists()


@pytest.mark.parametrize("there_is_a_store", [False, True])
def test_the_status_has_what_is_documented(cli: Cli, state: Path, there_is_a_store: bool) -> None:
    status = cli.json("status", "--state", str(state) if there_is_a_store else "none")
    assert status["schema"] == "ocrd.status/1"
    assert status.keys() >= STATUS_KEYS
    assert status["daemon"].keys() >= {"alive", "pid", "inboxes"}
    assert set(status["documents"]) == {one.value for one in DocumentState}
    assert set(status["pages"]) == {one.value for one in PageState}
    assert status["server"].keys() >= {"state", "phase", "eta_s", "model"}
    assert status["vram"].keys() >= {"used_mib", "free_mib", "budget_mib"}


def nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {state: number for state, number in counts.items() if number}


def test_the_status_counts_and_names_the_last_errors(filled: Cli) -> None:
    status = filled.json("status")
    assert nonzero(status["documents"]) == {"queued": 1, "done": 1, "partial": 1, "rejected": 1}
    assert nonzero(status["pages"]) == {"pending": 3, "done": 5, "failed": 1}
    assert {error["id"] for error in status["errors"]} == {2, 3}
    assert status["daemon"]["alive"] is False
    text = filled.run("status").stdout
    assert "/inbox/damaged.pdf: rejected (damaged)" in text
    assert "queued 1" in text


def test_the_daemon_is_alive_while_its_lock_is_held(filled: Cli) -> None:
    with daemon_lock(filled.state):
        assert filled.json("status")["daemon"]["alive"] is True
    assert filled.json("status")["daemon"]["alive"] is False


def test_jobs_come_newest_first_with_what_is_documented(filled: Cli) -> None:
    listed = filled.json("jobs")["jobs"]
    assert [job["id"] for job in listed] == [4, 3, 2, 1]
    assert all(job.keys() >= JOB_KEYS for job in listed)
    assert listed[1]["reason_code"] == "damaged"
    assert (listed[2]["pages_done"], listed[2]["pages"]) == (2, 3)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--limit", "2"], [4, 3]),
        (["--limit", "0"], [4, 3, 2, 1]),
        (["--limit", "9" * 30], [4, 3, 2, 1]),
        (["--state", "partial"], [2]),
        (["--state", "running"], []),
    ],
)
def test_jobs_are_chosen_by_state_and_number(filled: Cli, options: list[str], ids: list[int]) -> None:
    assert [job["id"] for job in filled.json("jobs", *options)["jobs"]] == ids


def test_an_export_has_a_row_a_document_in_either_format(filled: Cli) -> None:
    lines = filled.run("export --format jsonl").stdout.splitlines()
    jobs = [json.loads(line) for line in lines]
    assert [job["id"] for job in jobs] == [1, 2, 3, 4]
    rows = list(csv.DictReader(filled.run("export").stdout.splitlines()))
    assert [row["path"] for row in rows] == [job["path"] for job in jobs]
    assert list(rows[0]) == list(jobs[0])
    assert rows[0].keys() >= JOB_KEYS
    assert (rows[0]["current"], jobs[0]["current"]) == ("true", True)
    assert rows[0]["finished_at"].endswith("+00:00")
    assert [
        row["id"] for row in csv.DictReader(filled.run("export --state partial").stdout.splitlines())
    ] == ["2"]


def test_an_export_takes_the_place_of_no_file_unless_it_is_told_to(filled: Cli) -> None:
    target = filled.folder / "jobs.csv"
    target.write_text("mine")
    assert "is there already" in filled.run("export -o jobs.csv", code=2).stderr
    assert target.read_text() == "mine"
    filled.run("export -o jobs.csv --force")
    assert target.read_text().startswith("id,path,")
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask()
    assert "a folder" in filled.run("export --force -o inbox", code=2).stderr
    assert "cannot be written" in filled.run("export -o nowhere/jobs.csv", code=2).stderr
    os.mkfifo(filled.folder / "pipe")
    assert "-o -" in filled.run("export --force -o pipe", code=2).stderr
    assert (filled.folder / "pipe").is_fifo()
    assert not [name for name in os.listdir(filled.folder) if name.startswith(".ocrd")]


def test_an_export_of_a_big_store_comes_in_batches_without_gaps(cli: Cli, stores: Stores) -> None:
    for number in range(1001):
        stores.register(f"{number}.pdf", content=str(number))
    cli.state = Path(stores.folder)
    lines = cli.run("export --format jsonl", OCRD_STATE__DIR=stores.folder).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 1002))


@pytest.mark.parametrize("sign", "=+-@\t")
def test_a_name_is_no_formula_for_a_spreadsheet(sign: str, cli: Cli, stores: Stores) -> None:
    name = f"{sign}cmd|' /C calc'!A0.pdf"
    stores.register(name)
    rows = csv.DictReader(io.StringIO(cli.run("export", OCRD_STATE__DIR=stores.folder).stdout, newline=""))
    assert [row["name"] for row in rows] == [f"'{name}"]
    (line,) = cli.run("export --format jsonl", OCRD_STATE__DIR=stores.folder).stdout.splitlines()
    assert json.loads(line)["name"] == name


def test_names_that_are_no_utf8_are_exported_as_utf8(evil: Cli) -> None:
    (line,) = evil.run("export --format jsonl").stdout.splitlines()
    assert os.fsencode(json.loads(line)["path"]) == b"/inbox/" + EVIL
    (row,) = csv.DictReader(io.StringIO(evil.run("export").stdout))
    assert row["path"].endswith("\\udcff.pdf")


def test_a_document_is_shown_by_its_number_or_its_path(filled: Cli) -> None:
    shown = filled.json("show", "2")
    assert shown["schema"] == "ocrd.show/1"
    assert shown.keys() >= JOB_KEYS
    assert [page["state"] for page in shown["page_list"]] == ["done", "failed", "done"]
    assert shown["page_list"][1]["reason_code"] == "engine_crashed"
    assert shown["page_list"][0]["attempts"][0]["engine"] == "fake"
    assert filled.json("show", "/inbox/partial.pdf") == shown
    assert "the engine crashed" in filled.run("show 2").stdout


def test_the_text_of_a_document_is_printed_with_its_gaps(filled: Cli) -> None:
    text = filled.run("show --text 2").stdout
    assert text.split("\f") == ["page 1\n", "[ocrd: page 2: no text: the engine crashed]\n", "page 3\n"]


def test_a_search_brings_the_index_up_to_date_and_finds(filled: Cli) -> None:
    found = filled.json("search", "PAGES", "3")
    assert (found["schema"], found["not_indexed"]) == ("ocrd.search/1", 0)
    assert {(hit["path"], hit["page"]) for hit in found["hits"]} == {
        ("/inbox/done.pdf", 3),
        ("/inbox/partial.pdf", 3),
    }
    hit = found["hits"][0]
    assert [hit["snippet"][start:end] for start, end in hit["marks"]] == ["page", "3"]
    assert hit["gone"]
    shown = filled.run("search --limit 1 page").stdout
    assert shown.count("the file is gone") == 1
    assert "page 1" in shown.splitlines()[1]


def test_a_search_that_finds_nothing_or_asks_nothing_says_so(filled: Cli) -> None:
    assert "nothing found" in filled.run("search nothing").stdout
    assert "no operators" in filled.run("search", b"page OR nothing").stdout
    assert "try them without" in filled.run("search", "page one").stdout
    assert "no word to look for" in filled.run("search", "!?", code=2).stderr
    assert filled.run("search --index").stdout == ""
    assert "no store" in filled.run("search word --state /nowhere", code=2).stderr


def test_a_search_that_cannot_write_the_index_finds_what_is_in_it_and_says_the_rest(filled: Cli) -> None:
    with closing(sqlite3.connect(filled.state / "ocrd.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = filled.run("search page")
    assert "nothing found" in done.stdout
    assert "5 finished pages are not in the index yet" in done.stderr


def test_a_store_of_an_older_version_is_upgraded_before_it_is_searched(filled: Cli) -> None:
    with closing(sqlite3.connect(filled.state / "ocrd.db")) as connection, connection:
        connection.execute("DROP TABLE search_words")
    said = filled.run("search page", code=1).stderr
    assert "older ocrd" in said
    assert "ocrd db upgrade" in said


@pytest.mark.parametrize("named", ["5", "0", "9" * 30, "/inbox/none.pdf", "nowhere/none.pdf", "", "²"])
def test_what_is_not_in_the_store_ends_with_2(filled: Cli, named: str) -> None:
    assert "there is no document" in filled.run("show", named, code=2).stderr


def test_a_store_that_is_none_ends_with_1_and_what_to_do(cli: Cli) -> None:
    cli.state.mkdir()
    (cli.state / "ocrd.db").write_bytes(b"this is no database at all" * 100)
    for line in READING:
        assert "ocrd db check" in cli.run(line, code=1).stderr


# --- what is shown harms no terminal -----------------------------------------------------------------------

EVIL = b"evil\x1b]0;title\x07\x1b[2J\x9b31m\r\n\xe2\x80\xae\xff.pdf"
EVIL_TEXT = "text\x1b[31m\x9b2J\r\x08\x07\u202e\nnext line"


@pytest.fixture
def evil(tmp_path: Path, state: Path, stores: Stores) -> Cli:
    """Document 1: a name, a text and a reason that try to steer the terminal."""
    path = b"/inbox/" + EVIL
    stores.register(content="evil", path=path, name=files.display_name(path), pages=2)
    stores.begin()
    stores.pages.claim(1, 2)
    stores.pages.land(1, 1, PageState.DONE, attempt(PageState.DONE, EVIL_TEXT))
    stores.land(1, 2, PageState.FAILED)
    stores.documents.finish(1, DocumentState.PARTIAL, code=ReasonCode.PAGES_FAILED, reason=EVIL_TEXT)
    return Cli(tmp_path, state)


@pytest.mark.parametrize("line", READING)
def test_no_name_and_no_text_steers_the_terminal(evil: Cli, line: str) -> None:
    out = evil.run(line).stdout
    assert "evil" in out or "next line" in out
    assert all(character.isprintable() or character in "\n\t\f" for character in out)


@pytest.mark.parametrize("line", ["show", "show --text", "retry", "cancel"])
def test_not_even_a_name_that_was_given_by_the_shell_steers_it(filled: Cli, line: str) -> None:
    done = filled.run(line, b"/inbox/" + EVIL.replace(b"pdf", b"png"), code=2)
    text = done.stdout + done.stderr
    assert "there is no document" in text
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("line", ["status", "jobs", "show"])
def test_a_name_that_is_no_utf8_still_makes_valid_json(evil: Cli, line: str) -> None:
    data = evil.json(line, *(["1"] if line == "show" else []))
    found = {"status": "errors", "jobs": "jobs"}.get(line)
    job = data[found][0] if found else data
    assert os.fsencode(job["path"]) == b"/inbox/" + EVIL


def test_a_name_that_is_no_utf8_can_be_named(evil: Cli) -> None:
    evil.run("show", b"/inbox/" + EVIL)
    evil.run("retry", b"/inbox/" + EVIL)
    assert evil.json("jobs")["jobs"][0]["state"] == "queued"


def test_a_pipe_that_nobody_reads_any_more_is_no_error(filled: Cli, stores: Stores) -> None:
    for number in range(300):
        stores.register("x" * 240, str(number))
    for lines in (0, 1):
        with subprocess.Popen(
            filled.argv("jobs --limit 0"), env=filled.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for _ in range(lines):
                process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(30) == 0


def test_a_short_answer_into_a_closed_pipe_is_no_error_either(filled: Cli) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        filled.argv("jobs"), env=filled.env, stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


# --- it answers at once ------------------------------------------------------------------------------------

HEAVY = {"sqlalchemy", "alembic", "pydantic", "structlog", "rich", "watchdog", "PIL", "tesserocr"}
LOADED = """
import sys
from ocrd.cli import main
code = main(sys.argv[1:])
print("\\0" + " ".join({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


@pytest.mark.parametrize("line", [*READING, "status --json", "jobs --json", "show 1 --json", "config show"])
def test_a_command_that_only_reads_imports_nothing_heavy(filled: Cli, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *line.split()],
        env=filled.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert not HEAVY & set(done.stdout.rpartition("\0")[2].split())


# --- acting on the queue without a daemon ------------------------------------------------------------------


def states(cli: Cli) -> list[str]:
    return [job["state"] for job in reversed(cli.json("jobs")["jobs"])]


def test_a_document_is_queued_again_at_once(filled: Cli) -> None:
    assert "queued again: 1 document" in filled.run("retry 2").stdout
    assert states(filled) == ["done", "queued", "rejected", "queued"]
    assert [page["state"] for page in filled.json("show", "2")["page_list"]] == ["done", "pending", "done"]


def test_all_that_failed_are_queued_again_at_once(filled: Cli) -> None:
    assert "queued again: 2 documents" in filled.run("retry --failed").stdout
    assert states(filled) == ["done", "queued", "queued", "queued"]


def test_a_document_is_cancelled_at_once(filled: Cli) -> None:
    filled.run("cancel /inbox/queued.pdf")
    assert states(filled)[3] == "cancelled"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("retry 4", "document 4 is not finished yet, so there is nothing to retry"),
        ("cancel 1", "document 1 is done already: done.pdf"),
    ],
)
def test_what_cannot_be_done_ends_with_1_and_why(filled: Cli, line: str, why: str) -> None:
    before = states(filled)
    done = filled.run(line, code=1)
    assert (done.stdout, done.stderr) == ("", f"ocrd: {why}\n")
    assert states(filled) == before


@pytest.mark.parametrize("named", ["5", "/inbox/none.pdf"])
def test_who_names_no_document_hears_the_same_from_every_command(filled: Cli, named: str) -> None:
    said = {filled.run(f"{verb} {named}", code=2).stderr for verb in ("show", "retry", "cancel")}
    assert said == {f"ocrd: there is no document {named} in {filled.state}\n      → ocrd jobs\n"}


def test_a_number_that_no_store_can_hold_harms_nobody(filled: Cli) -> None:
    for verb in ("retry", "cancel"):
        assert "there is no document" in filled.run(verb, "9" * 30, code=2).stderr
    filled.run("retry 2")


def test_the_queue_is_paused_and_goes_on(filled: Cli) -> None:
    filled.run("pause")
    assert filled.json("status")["paused"] is True
    assert "PAUSED" in filled.run("status").stdout
    assert "goes on" in filled.run("resume").stdout
    assert filled.json("status")["paused"] is False
    assert "was not paused" in filled.run("resume").stdout


@pytest.mark.parametrize("line", ["retry 1", "cancel 1", "pause", "resume"])
def test_without_a_store_there_is_nothing_to_act_on_and_none_is_made(cli: Cli, line: str) -> None:
    assert "there is no store" in cli.run(line, code=1).stderr
    assert not cli.state.exists()


# --- the daemon's lock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["run --once --inbox inbox", "db upgrade"])
def test_while_a_daemon_holds_the_store_another_one_ends_with_75(filled: Cli, line: str) -> None:
    with daemon_lock(filled.state):
        assert str(filled.state) in filled.run(line, code=75, OCRD_ENGINE__LANGUAGES="eng").stderr


def test_two_daemons_never_watch_one_inbox(filled: Cli) -> None:
    fd = files.try_lock_folder(os.fsencode(filled.inbox))
    assert fd is not None
    err = filled.run("run --once --inbox inbox", code=75, OCRD_ENGINE__LANGUAGES="eng").stderr
    os.close(fd)
    assert str(filled.inbox) in err


# --- doctor ------------------------------------------------------------------------------------------------


def findings(cli: Cli, *more: str, code: int = 0, **env: str) -> dict[str, dict[str, str]]:
    data = cli.json("doctor", *more, code=code, **env)
    assert data["schema"] == "ocrd.doctor/1"
    for finding in data["findings"]:
        assert finding.keys() == {"group", "check", "result", "message", "fix"}
        assert finding["result"] in {"ok", "warning", "failure"}
        assert finding["fix"] or finding["result"] == "ok"
    worst_last = sorted(data["findings"], key=lambda finding: finding["result"] == "failure")
    return {finding["check"]: finding for finding in worst_last}


def test_doctor_finds_all_well_where_everything_is_there(cli: Cli) -> None:
    found = findings(cli, OCRD_ENGINE__LANGUAGES="eng", OCRD_INBOX__PATHS=str(cli.inbox))
    assert found.keys() >= {"python", "sqlite", "poppler", "settings", "engine", "store", "inbox"}
    assert os.listdir(cli.inbox) == []
    assert not cli.state.exists()


def test_doctor_goes_from_the_machine_to_the_service(cli: Cli) -> None:
    env = {"OCRD_ENGINE__LANGUAGES": "eng", "OCRD_INBOX__PATHS": str(cli.inbox)}
    rows = cli.json("doctor", **env)["findings"]
    groups = [group for group, _ in itertools.groupby(row["group"] for row in rows)]
    assert groups == ["machine", "store", "inbox", "engine", "GPU and Docker", "service"]
    shown = cli.run("doctor", **env).stdout.splitlines()
    assert [line for line in shown if line in groups] == groups
    assert all(row["check"] in "\n".join(shown) for row in rows)


def test_doctor_tells_who_may_get_at_the_text(filled: Cli) -> None:
    filled.state.chmod(0o755)
    found = findings(filled, OCRD_ENGINE__LANGUAGES="eng")
    assert found["store"]["fix"] == f"chmod 700 {filled.state}"
    assert stat.S_IMODE(filled.state.stat().st_mode) == 0o755


def test_doctor_looks_at_the_daemon_of_the_store(filled: Cli) -> None:
    filled.run("pause")
    assert findings(filled, OCRD_ENGINE__LANGUAGES="eng")["daemon"]["message"].startswith("not running")
    fixes = [row["fix"] for row in filled.json("doctor", OCRD_ENGINE__LANGUAGES="eng")["findings"]]
    assert "ocrd resume" in fixes
    (filled.state / "ocrd.db").write_bytes(b"no database" * 1000)
    assert findings(filled, code=1, OCRD_ENGINE__LANGUAGES="eng")["daemon"]["fix"] == "ocrd db check"


def test_doctor_says_all_that_a_model_server_lacks(cli: Cli) -> None:
    env = {"OCRD_ENGINE__LANGUAGES": "eng", "OCRD_ENGINE__KIND": "vllm", "OCRD_SERVER__GPUS": "none"}
    gone = f"unix://{cli.folder}/docker.sock"
    found = findings(cli, code=1, OCRD_SERVER__DOCKER_HOST=gone, **env)
    assert (found["docker"]["result"], found["model"]["result"]) == ("failure", "failure")
    assert "systemctl start docker" in found["docker"]["fix"]
    found = findings(cli, OCRD_SERVER__DOCKER_HOST=gone, **(env | {"OCRD_ENGINE__KIND": "auto"}))
    assert found["docker"]["result"] == "warning"


def test_doctor_names_the_package_of_a_missing_language(cli: Cli) -> None:
    found = findings(cli, code=1, OCRD_ENGINE__LANGUAGES="eng,xyz")
    assert "tesseract-ocr-xyz" in found["engine"]["fix"]
    assert "apt install" in cli.run("doctor", code=1, OCRD_ENGINE__LANGUAGES="eng,xyz").stdout


def test_doctor_names_the_package_of_missing_programs(cli: Cli) -> None:
    found = findings(cli, code=1, PATH=str(cli.inbox), OCRD_ENGINE__LANGUAGES="eng")
    assert "poppler-utils" in found["poppler"]["fix"]


def test_doctor_tells_of_wrong_settings_and_missing_inboxes(cli: Cli) -> None:
    assert "'quiet_s'" in findings(cli, code=1, OCRD_INBOX__QIET_S="3")["settings"]["message"]
    found = findings(cli, code=1, OCRD_ENGINE__LANGUAGES="eng", OCRD_INBOX__PATHS="/nowhere")
    assert found["inbox"]["fix"] == "mkdir -p /nowhere"


# --- the store ---------------------------------------------------------------------------------------------


def test_a_store_that_is_well_is_said_to_be(filled: Cli) -> None:
    checked = filled.json("db check")
    assert checked["schema"] == "ocrd.db-check/1"
    assert checked["problems"] == []
    assert "all is well" in filled.run("db check").stdout


def test_a_damaged_store_ends_with_1_and_what_is_wrong(filled: Cli, stores: Stores) -> None:
    stores.close()
    with closing(sqlite3.connect(filled.state / "ocrd.db")) as connection, connection:
        connection.execute("UPDATE documents SET pages_done = 7 WHERE id = 1")
    assert "pages_done" in filled.json("db check", code=1)["problems"][0]
    (filled.state / "ocrd.db").write_bytes(b"no database" * 1000)
    assert "damaged" in filled.run("db check", code=1).stdout


def test_a_backup_is_a_store_of_its_own(filled: Cli, tmp_path: Path) -> None:
    copy = Path(filled.run("db backup").stdout.strip())
    assert copy.parent == filled.state / "backups"
    (tmp_path / "restored").mkdir()
    copy.rename(tmp_path / "restored" / "ocrd.db")
    assert len(filled.json("jobs", "--state", "restored")["jobs"]) == 4
    filled.run("db check --state restored")


def test_a_store_is_made_once_and_private(cli: Cli) -> None:
    assert "up to date now" in cli.run("db upgrade").stdout
    assert "was up to date" in cli.run("db upgrade").stdout
    assert cli.state.stat().st_mode & 0o777 == 0o700
    assert (cli.state / "ocrd.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("line", ["db check", "db backup"])
def test_what_is_not_there_is_not_checked_or_copied(cli: Cli, line: str) -> None:
    assert "there is no store" in cli.run(line, code=1).stderr


def test_an_output_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ocrd", "jobs", "--json", "--state", str(tmp_path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "ocrd: the output cannot be written: No space left on device\n"
