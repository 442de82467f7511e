"""Logs: the forms, where lines go, and that nothing of it ever stops the work."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.daemon import landing
from ocrd.daemon.finisher import Ending
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.domain.quality import Cause
from ocrd.store.pages import Attempt
from ocrd.telemetry import logs

PREFIXED = re.compile(r"<[2-7]>[^\n]+")


pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TextIO, socket.socket]]:
    """A stream into a socket that systemd would have opened, and the journal's end of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield stream, theirs


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def fail(message: str = "first line\nsecond \x1b[31mline\n\nfourth") -> None:
    raise RuntimeError(message)


# --- the journal's form ---------------------------------------------------------------------------------------------


def test_in_the_journal_every_line_has_its_priority_and_none_has_a_time(
    journal: tuple[TextIO, socket.socket],
) -> None:
    stream, reader = journal
    logs.configure(level="debug", output_format="auto", stream=stream)
    log = logs.get_logger()
    log.info("page_settled", page=3, file="два слова.pdf", seconds=1.25, verdict="ok", nothing=None)
    try:
        fail()
    except RuntimeError:
        log.exception("engine_failed", page=4)
    lines = reader.recv(1 << 16).decode().splitlines()
    assert lines[0] == '<6>page_settled page=3 file="два слова.pdf" seconds=1.25 verdict=ok'
    assert lines[1] == "<3>engine_failed page=4"
    assert lines[-1] == "<3>fourth"
    assert "<3>second \\u001b[31mline" in lines
    assert all(line.startswith("<3>") for line in lines[1:])


@pytest.mark.parametrize(
    ("level", "number"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_the_priorities_are_those_of_syslog(level: str, number: int) -> None:
    stream = io.StringIO()
    logs.configure(level="debug", output_format="journal", stream=stream)
    getattr(logs.get_logger(), level)("something")
    assert stream.getvalue() == f"<{number}>something\n"


class _Colour(StrEnum):
    RED = "red"


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(_Colour)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_KEYS = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(
    lambda key: key not in {"event", "level", "exception", "exc_info", "stack_info"}
)


@given(st.text(min_size=1), st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_whatever_is_logged_is_one_line_that_can_be_read_back(event: str, fields: dict[str, Any]) -> None:
    rendered = logs.render_for_journal({"event": event, "level": "warning", **fields})
    assert PREFIXED.fullmatch(rendered) or event.isspace()
    assert rendered.isprintable(), "nothing in it steers a terminal"
    name = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in event)
    rest = rendered.removeprefix(f"<4>{name}")
    for key, value in fields.items():
        assert rest.startswith(f" {key}=")
        rest = rest.removeprefix(f" {key}=")
        read, used = _read_back(rest)
        assert read == value or read == str(value), "a bare word, or JSON"
        rest = rest[used:]
    assert rest == ""


def _read_back(text: str) -> tuple[Any, int]:
    if text[:1] in {'"', "[", "{"}:
        return json.JSONDecoder().raw_decode(text)
    word = text.partition(" ")[0]
    try:
        return json.loads(word), len(word)
    except ValueError:
        return word, len(word)


@given(st.text())
def test_each_line_of_a_traceback_has_the_priority(message: str) -> None:
    try:
        fail(message)
    except RuntimeError:
        rendered = logs.render_for_journal({"event": "x", "level": "error", "exc_info": True})
    assert all(PREFIXED.fullmatch(line) and line.isprintable() for line in rendered.split("\n"))
    assert all(line.startswith("<3>") for line in rendered.split("\n"))


def test_a_line_is_cut_before_the_journal_would_cut_it() -> None:
    rendered = logs.render_for_journal({"event": "x", "level": "info", "text": "\U0001f600" * 50_000})
    assert len(rendered.encode()) < 48 * 1024
    assert rendered.endswith("…")


def test_json_in_the_journal_has_the_priority_and_no_time(journal: tuple[TextIO, socket.socket]) -> None:
    stream, reader = journal
    logs.configure(level="info", output_format="json", stream=stream)
    logs.get_logger().warning("hello", page=1)
    line = reader.recv(1 << 16).decode()
    assert line.startswith("<4>{")
    assert json.loads(line[3:]) == {"level": "warning", "event": "hello", "page": 1}


# --- which form -----------------------------------------------------------------------------------------------------


def test_the_journal_is_known_by_the_stream_not_by_the_variable_alone(
    journal: tuple[TextIO, socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream, _ = journal
    assert logs.under_journal(stream)
    with (tmp_path / "err").open("w") as elsewhere:
        assert not logs.under_journal(elsewhere), "a child inherits the variable and writes elsewhere"
    assert not logs.under_journal(io.StringIO())
    for nonsense in ("", "1", "1:2:3", "x:y", "99999999999999999999:1"):
        monkeypatch.setenv("JOURNAL_STREAM", nonsense)
        assert not logs.under_journal(stream)


def test_on_a_terminal_it_is_for_people_and_local_variables_stay_unseen() -> None:
    primary, secondary = os.openpty()
    with os.fdopen(secondary, "w") as terminal:
        logs.configure(level="info", output_format="auto", stream=terminal)
        secret = "the text of a page"  # noqa: F841  # what a traceback with variables would show
        try:
            fail()
        except RuntimeError:
            logs.get_logger().exception("engine_failed", file="a\x1b[2Jb")
        shown = os.read(primary, 1 << 16).decode()
    os.close(primary)
    assert "engine_failed" in shown
    assert "RuntimeError: first line" in shown
    assert "the text of a page" not in shown.replace('secret = "the text of a page"', "")
    assert "\x1b[2J" not in shown


def test_into_a_file_or_pipe_it_is_json_with_utc_times() -> None:
    stream = io.StringIO()
    logs.configure(level="info", output_format="auto", stream=stream)
    logs.get_logger().info("hello", name="\udcff\n")
    (line,) = json_lines(stream.getvalue())
    assert list(line) == ["timestamp", "level", "event", "name"]
    assert line["name"] == "\udcff\n"
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)
    assert abs(datetime.fromisoformat(line["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("setting", "under_journal", "once", "expected"),
    [
        ("auto", False, False, "/state/ocrd.log"),
        ("auto", True, False, None),
        ("auto", False, True, None),
        ("", False, False, None),
        ("/var/log/x.log", True, True, "/var/log/x.log"),
        ("~/x.log", False, False, os.path.expanduser("~/x.log")),
    ],
)
def test_where_the_log_file_stands(
    setting: str, under_journal: bool, once: bool, expected: str | None
) -> None:
    assert logs.log_file(setting, "/state", under_journal=under_journal, once=once) == expected


# --- what libraries say ---------------------------------------------------------------------------------------------


def test_warnings_of_libraries_come_in_the_same_form_and_their_chatter_does_not() -> None:
    stream = io.StringIO()
    logging.getLogger().handlers.clear()  # pytest's own fail on a text that does not fit
    logs.configure(level="info", output_format="journal", stream=stream)
    logs.configure(
        level="info", output_format="journal", stream=stream
    )  # again, as after a reload: not twice
    library = logging.getLogger("urllib3.connectionpool")
    library.info("Starting new connection")
    library.warning("Retrying %s\nafter %d", "x", 3)
    library.warning("%d", "does not fit")
    library.log(35, "a level of their own")
    library.critical("dead")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)  # what catch_warnings has put away
        warnings.warn("old thing", stacklevel=1)
        logging.captureWarnings(capture=False)
    lines = stream.getvalue().splitlines()
    assert lines[0] == '<4>library library=urllib3.connectionpool message="Retrying x\\nafter 3"'
    assert [line[:3] for line in lines] == ["<4>", "<4>", "<4>", "<3>", "<4>"]
    assert "library=py.warnings" in lines[4]
    assert "UserWarning: old thing" in lines[4]


def test_what_nobody_caught_is_logged_with_its_traceback() -> None:
    code = """if True:
        import threading
        from ocrd.telemetry import logs
        logs.configure(level="info", output_format="journal")
        logs.lead_in_uncaught()
        def end(): raise SystemExit
        def fail(): raise RuntimeError("in a thread")
        for target in (end, fail):
            thread = threading.Thread(target=target, name="reader")
            thread.start()
            thread.join()
        raise RuntimeError("at the end")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert all(line.startswith("<2>") for line in lines)
    assert [line for line in lines if "uncaught" in line] == ["<2>uncaught thread=reader", "<2>uncaught"]
    assert [line for line in lines if "Error:" in line] == [
        "<2>RuntimeError: in a thread",
        "<2>RuntimeError: at the end",
    ]


# --- the log file ---------------------------------------------------------------------------------------------------


def test_the_log_file_is_its_owners_and_holds_json_with_times(tmp_path: Path) -> None:
    file, stream = tmp_path / "new" / "ocrd.log", io.StringIO()
    logs.configure(level="info", output_format="journal", stream=stream, file=str(file))
    logs.get_logger().info("hello", page=1)
    (line,) = json_lines(file.read_text())
    assert line == {"timestamp": line["timestamp"], "level": "info", "event": "hello", "page": 1}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stream.getvalue() == "<6>hello page=1\n"


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_the_log_file_is_renamed_when_it_is_full(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "ocrd.log"
    logs.configure(
        level="info", output_format="json", stream=io.StringIO(), file=str(file), file_mib=1, files_kept=kept
    )
    for number in range(50):
        logs.get_logger().info("line", number=number, filling="x" * 100_000)
    names = ["ocrd.log", *(f"ocrd.log.{number}" for number in range(1, kept + 1))]
    assert sorted(os.listdir(tmp_path)) == names
    assert all((tmp_path / name).stat().st_size <= 1 << 20 for name in names)
    numbers = [
        line["number"] for name in reversed(names) for line in json_lines((tmp_path / name).read_text())
    ]
    assert numbers == list(range(50))[-len(numbers) :], "nothing is lost or doubled among those that are kept"
    assert len(numbers) > 10 * kept


def test_a_log_file_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "ocrd.log"
    logs.configure(level="info", output_format="json", stream=io.StringIO(), file=str(file))
    logs.get_logger().info("before")
    file.unlink()
    logs.get_logger().info("after")
    assert [line["event"] for line in json_lines(file.read_text())] == ["after"]


def test_a_log_file_that_cannot_be_written_is_told_once_and_tried_again(tmp_path: Path) -> None:
    file, stream = tmp_path / "ocrd.log", io.StringIO()
    file.mkdir()  # refused to root as well
    logs.configure(level="info", output_format="journal", stream=stream, file=str(file))
    for _ in range(3):
        logs.get_logger().info("line")
    told = stream.getvalue()
    assert told.count("<4>log_lost") == 1
    assert "Is a directory" in told
    assert told.count("<6>line\n") == 3
    file.rmdir()
    logs.get_logger().info("line")
    assert [line["event"] for line in json_lines(file.read_text())] == ["line", "log_goes_on"]
    assert json_lines(file.read_text())[-1]["lines_lost"] == 3


def test_a_full_disk_loses_whole_lines_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    """The limit of a file's size stands for the full disk: both write a part and refuse the rest."""
    file = tmp_path / "ocrd.log"
    code = f"""if True:
        import resource, signal
        from ocrd.telemetry import logs
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        logs.configure(level="info", output_format="journal", file={str(file)!r})
        log = logs.get_logger()
        log.info("before", filling="x" * 500)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for _ in range(3):
            log.info("lost", filling="x" * 500)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        log.info("after")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert [line["event"] for line in json_lines(file.read_text())] == ["before", "after", "log_goes_on"]
    assert done.stderr.count("log_lost") == 1
    assert os.strerror(errno.EFBIG) in done.stderr


# --- the stream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["dead reader", "closed", "closed before the start"])
def test_a_lost_standard_error_ends_nothing(tmp_path: Path, how: str) -> None:
    file = tmp_path / "ocrd.log"
    code = f"""if True:
        import os, sys
        from ocrd.telemetry import logs
        if {how!r} == "closed":
            sys.stderr.close()
        logs.configure(level="info", output_format="auto", file={str(file)!r})
        for _ in range(3):
            logs.get_logger().info("line")
    """
    read, write = os.pipe()
    os.close(read)

    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if how == "closed before the start" else []
    process = subprocess.Popen([*closing, sys.executable, "-c", code], stderr=write)
    os.close(write)
    assert process.wait(timeout=60) == 0, "not even at its end"
    events = [line["event"] for line in json_lines(file.read_text())]
    assert events.count("line") == 3
    assert events.count("log_lost") == (1 if how == "dead reader" else 0)


def test_lines_of_many_threads_are_never_mixed(tmp_path: Path) -> None:
    file, out = tmp_path / "ocrd.log", tmp_path / "err"
    with out.open("w") as stream:
        logs.configure(level="info", output_format="journal", stream=stream, file=str(file))

        def write(number: int) -> None:
            for _ in range(100):
                logs.get_logger().info("line", number=number, filling=str(number) * 5000)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for lines in (out.read_text().splitlines(), file.read_text().splitlines()):
        assert len(lines) == 800
    assert all(line["filling"] == str(line["number"]) * 5000 for line in json_lines(file.read_text()))
    assert all(
        re.fullmatch(r"<6>line number=(\d) filling=\1{5000}", line) for line in out.read_text().splitlines()
    )


# --- never page text ------------------------------------------------------------------------------------------------


def test_the_line_of_a_page_or_document_does_not_quote_it() -> None:
    stream = io.StringIO()
    logs.configure(level="info", output_format="json", stream=stream)
    said = "the model did not read the page, but said: SECRET"
    refused = Attempt(
        engine="m", seconds=2.0, verdict=Verdict.REFUSED, rung="turned", cause=Cause.REFUSED, reason=said
    )
    landing._log_page(3, PageState.FAILED, refused)
    fault = PageFault(ReasonCode.RENDER_FAILED, "the page is damaged")
    landing._log_page(4, PageState.FAILED, landing.fault_attempt(fault, 1.0, "rasterizer"))
    of_pages = Ending(
        DocumentState.PARTIAL, ReasonCode.PAGES_FAILED, f"1 of 2 pages have no text: page 3: {said}"
    )
    failed = Ending(DocumentState.FAILED, ReasonCode.ENGINE_REFUSED, said)
    rejected = Ending(DocumentState.REJECTED, ReasonCode.ENCRYPTED, "it needs a password")
    unwritten = Ending(DocumentState.FAILED, ReasonCode.OUTPUT_FAILED, "the folder is read-only")
    told = [landing._own_words(ending) for ending in (of_pages, failed, rejected, unwritten)]
    assert told == ["", "", "it needs a password", "the folder is read-only"]
    first, second = json_lines(stream.getvalue())
    assert "SECRET" not in stream.getvalue()
    assert (first["level"], first["cause"], first["rung"]) == ("warning", "refused", "turned")
    assert (second["reason_code"], second["reason"]) == ("render_failed", "the page is damaged")
    assert "cause" not in second
