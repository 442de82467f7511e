"""Names, reasons and texts of any origin order no terminal about, whatever command shows them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import Stores, attempt
from support.terminals import Terminal

from ocrd import cli
from ocrd.cli.common import clean, print_json
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.jobs import PageState
from ocrd.host import files, runtime
from ocrd.telemetry import logs

pytestmark = pytest.mark.usefixtures("logging_as_before")

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\x08\r\u202e\u2028evil"
COMMANDS = [
    *("status", "status --json", "jobs", "jobs --json", "show 1", "show 1 --json", "show 2", "show --text 1"),
    *("show --text 2", "db check", "db check --json", "db backup", "retry 2", "cancel 9", "pause", "resume"),
    *("config show", "config show --json", "config check", "models log", "show nothing"),
    *("search ledger", "search ledger --json", "doctor", "doctor --json"),
    *("models list", "models list --json", "models inspect", "models plan", "service status"),
]

Run = Callable[..., str]


def assert_no_orders(shown: str) -> None:
    bad = {character for character in shown if not character.isprintable() and character not in "\n\t\f"}
    assert not bad, f"{bad!r} in {shown!r}"


@pytest.fixture
def hostile_state(state: Path, stores: Stores) -> Iterator[str]:
    """A store in which every text is hostile, and a daemon that says hostile things."""
    for number, failed in ((1, ()), (2, (2,))):
        stores.register(f"{number}.pdf", str(number))
        stores.begin()
        stores.read_all(number, failed=failed)
    stores.register("3.pdf", "3", pages=1)
    (page,) = stores.pages.claim(stores.begin().id, 1)
    said = attempt(PageState.DONE, f"{HOSTILE} ledger {HOSTILE}")
    stores.pages.land(page.document_id, page.number, PageState.DONE, said)
    texts = (
        "engine",
        "model_revision",
        "prompt_mode",
        "reason",
        "reason_code",
        "name",
        "inbox",
        "media_type",
        "rung",
    )
    heartbeat = {
        "pid": os.getpid(),
        "version": HOSTILE,
        "restart_for": [HOSTILE],
        "inboxes": [{"path": HOSTILE, "mode": HOSTILE, "missing": False, "skipped": {HOSTILE: 2}}],
        "engine": {"kind": HOSTILE, "slots": 1, "reading": 0, "problem": HOSTILE, "why": HOSTILE},
        "server": dict.fromkeys(
            ("state", "phase", "model", "context", "version", "url", "problem", "hint"), HOSTILE
        ),
        "shifts": {"parked": 1, "side": "main", "swapping": False, "reason": HOSTILE},
        "vram": None,
    }
    with closing(sqlite3.connect(state / "ocrd.db")) as connection, connection:
        for table in ("documents", "pages", "attempts"):
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for column in columns.intersection(texts):
                connection.execute(f"UPDATE {table} SET {column} = ? || {column}", (HOSTILE,))
        connection.execute("UPDATE documents SET path = path || ?", (HOSTILE.encode(),))
        connection.execute("INSERT INTO daemon VALUES ('heartbeat', ?, 1e9)", (json.dumps(heartbeat),))
    lock = files.try_lock(runtime.lock_path(str(state)))
    yield str(state)
    os.close(lock or 0)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command and gives all that it printed."""
    for name in list(os.environ):
        if name.startswith("OCRD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))

    def one(*line: str) -> str:
        with contextlib.suppress(SystemExit):
            cli.main(line)
        told = capsys.readouterr()
        return told.out + told.err

    return one


@pytest.mark.parametrize("line", COMMANDS)
def test_a_hostile_store_orders_no_terminal_about(line: str, hostile_state: str, run: Run) -> None:
    state = () if line.startswith("config") else ("--state", hostile_state)
    shown = run(*line.split(), *state)
    assert shown
    assert_no_orders(shown)


ON_A_TERMINAL = [
    *("export", "export --format jsonl", "search ledger", "show --text 3", "status", "jobs"),
    *("status --watch", "status --watch --json", "doctor"),
]
OWN_ORDERS = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-ln-z]|\[[0-9;]*m|[()][0A-B]|[78=>])")
"""Those with which ocrd itself paints, moves about and changes the screen: none sets a title."""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OCRD_")}
    folders = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_RUNTIME_DIR": "run"}
    return kept | {name: str(tmp_path / folder) for name, folder in folders.items()}


def assert_tame(said: bytes) -> None:
    assert b"owned\x07" not in said
    assert_no_orders(OWN_ORDERS.sub("", said.decode()).replace("\r", ""))


@pytest.mark.parametrize("line", ON_A_TERMINAL)
def test_a_hostile_store_orders_no_real_terminal_about(
    line: str, hostile_state: str, env: dict[str, str]
) -> None:
    argv = [sys.executable, "-m", "ocrd", *line.split(), "--state", hostile_state]
    with Terminal(argv, env, columns=400) as terminal:
        if "--watch" in line:
            terminal.wait_until(lambda: b"evil" in terminal.said, "it shows what the daemon says")
            terminal.type(b"\x03")
        terminal.end()
        assert line == "doctor" or b"evil" in terminal.said
        assert_tame(terminal.said)


def test_a_hostile_name_of_a_single_file_orders_no_terminal_about(
    tmp_path: Path, env: dict[str, str]
) -> None:
    file = tmp_path / f"{HOSTILE}.pdf"
    file.write_bytes(b"%PDF-1.4\n")
    argv = [sys.executable, "-m", "ocrd", "run", "--once", str(file), "-o", "-", "--engine", "embedded"]
    with Terminal(argv, env, columns=400) as terminal:
        assert terminal.end() == 1
        assert b"evil" in terminal.said
        assert_tame(terminal.said)


@pytest.mark.parametrize(
    "line", [["show", HOSTILE], ["retry", "--state", "/nonexistent", HOSTILE], ["status", HOSTILE], [HOSTILE],
             ["show", "1", HOSTILE], ["status", f"--{HOSTILE}"], ["status", "--config", HOSTILE], ["jobs", "--state", f"/tmp/{HOSTILE}"], ["jobs", "--limit", HOSTILE]]
)  # fmt: skip
def test_hostile_arguments_come_back_tame(line: list[str], run: Run) -> None:
    """A shell pattern puts the names of foreign files there: `ocrd show *`."""
    shown = run(*line)
    assert shown
    assert_no_orders(shown)


def test_hostile_settings_come_back_tame(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"[vllm]\nmodel = {json.dumps(HOSTILE)}\n")
    for line in (["config", "show"], ["config", "show", "--json"], ["config", "check"]):
        assert_no_orders(run(*line, "--config", str(file)))
    for text in (
        f"[{json.dumps(HOSTILE)}]\n",
        f"[vllm]\n{json.dumps(HOSTILE)} = 1\n",
        "[vllm]\nmodel = \x1b\n",
    ):
        file.write_text(text)
        shown = run("config", "check", "--config", str(file))
        assert shown
        assert_no_orders(shown)


@given(st.text())
def test_clean_text_is_printable(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert clean("a\nb") == "a�b"
    assert clean("a\nb", keep="\n") == "a\nb"


values = st.recursive(
    st.text() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_json_is_printable_and_says_the_same(data: dict[str, Any]) -> None:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        print_json(data)
    assert_no_orders(out.getvalue())
    out.getvalue().encode()
    assert json.loads(out.getvalue()) == data


def fail(why: str) -> None:
    raise PageFault(ReasonCode.ENGINE_FAILED, why)


@pytest.mark.parametrize("form", ["console", "journal", "json"])
@given(text=st.text())
def test_no_line_of_the_log_orders_about(form: str, text: str) -> None:
    stream = io.StringIO()
    logs.configure(level="info", output_format=form, stream=stream)
    logs.get_logger().warning("event", file=text, more=[text], hostile=HOSTILE)
    try:
        fail(text + HOSTILE)
    except PageFault:
        logs.get_logger().exception("uncaught")
    written = stream.getvalue()
    assert "event" in written
    assert_no_orders(re.sub(r"\n", "", written))
