"""What is drawn on a terminal: the live status, the progress bars, marked words."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import paper
from support.stores import Stores
from support.terminals import Terminal

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"
OTHER_SCREEN, OLD_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
CURSOR_ON, CLEAR = b"\x1b[?25h", b"\x1b[2J"


@pytest.fixture
def env(tmp_path: Path, state: Path) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("OCRD_", "NO_COLOR"))} | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "OCRD_STATE__DIR": str(state),
    }


def ocrd(*arguments: str) -> list[str]:
    """With Ctrl-C as a terminal has it: tests that run in the background have it ignored, and so would what they start."""
    return ["env", "--default-signal=INT", sys.executable, "-m", "ocrd", *arguments]


def test_the_live_status_follows_the_store_and_the_window_and_leaves_no_trace(
    stores: Stores, env: dict[str, str]
) -> None:
    stores.register("a" * 150 + ".pdf")
    stores.read_all(stores.begin().id, failed=(2,))
    with Terminal(ocrd("status", "--watch", "0.1"), env) as terminal:
        terminal.wait_until(lambda: "Ctrl-C ends it" in terminal.text, "the status")
        assert "documents  partial 1" in terminal.text
        assert "3 of 3 settled" in terminal.text
        stores.register("b.pdf", content="b")
        terminal.wait_until(lambda: "queued 1" in terminal.text, "a new document")
        terminal.resize(50, 12)
        terminal.wait_until(lambda: terminal.screen.display[1].rstrip().endswith("…"), "the smaller window")
        assert terminal.screen.display[2].startswith("documents"), "long lines do not wrap"
        terminal.type(b"\x03")
        assert terminal.end() == 0
    drawn = terminal.said[terminal.said.index(OTHER_SCREEN) : terminal.said.index(OLD_SCREEN)]
    assert CLEAR not in drawn, "nothing flickers"
    assert CURSOR_ON in terminal.said[-40:]
    assert b"Traceback" not in terminal.said


def test_a_terminated_live_status_puts_the_terminal_in_order(env: dict[str, str]) -> None:
    with Terminal(ocrd("status", "--watch"), env) as terminal:
        terminal.wait_until(lambda: "Ctrl-C ends it" in terminal.text, "the status")
        terminal.signal(signal.SIGTERM)
        assert terminal.end() == 128 + signal.SIGTERM
    assert OLD_SCREEN in terminal.said
    assert CURSOR_ON in terminal.said


def test_a_store_that_cannot_be_read_for_a_while_is_told_and_asked_again(
    state: Path, env: dict[str, str]
) -> None:
    whole = (state / "ocrd.db").read_bytes()
    (state / "ocrd.db").write_bytes(b"no database" * 100)
    with Terminal(ocrd("status", "--watch", "0.1"), env) as terminal:
        terminal.wait_until(lambda: "ocrd db check" in terminal.text, "what to do")
        (state / "ocrd.db").write_bytes(whole)
        terminal.wait_until(lambda: "not running" in terminal.text, "the status")
        terminal.type(b"\x03")
        assert terminal.end() == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_without_a_terminal_there_is_a_line_each_time(env: dict[str, str], as_json: bool) -> None:
    more = ["--json"] if as_json else []
    with subprocess.Popen(
        ocrd("status", "--watch", "0.1", *more), env=env, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    if as_json:
        assert {json.loads(line)["schema"] for line in lines} == {"ocrd.status/1"}
    else:
        assert all("daemon not running · documents: none · pages: none" in line for line in lines)


def test_reading_files_shows_a_bar_that_is_gone_before_the_text(tmp_path: Path, env: dict[str, str]) -> None:
    shutil.copy(SAMPLES / "letter_en.jpg", tmp_path)
    with Terminal(
        ocrd("run", "--once", str(tmp_path / "letter_en.jpg"), "-o", "-", "--engine", "embedded"), env
    ) as terminal:
        assert terminal.end() == 0
    assert b"looking into the inbox" in terminal.said, "the bar was there"
    assert "Dear" in terminal.text
    assert "looking" not in terminal.text, "and is gone"


def test_reading_that_is_broken_off_says_so_and_leaves_nothing(tmp_path: Path, env: dict[str, str]) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    long = paper.write_pdf(tmp_path / "long.pdf", *[f"Page {number}" for number in range(150)])
    command = ocrd("run", "--once", str(long), "-o", "-", "--engine", "embedded")
    with Terminal(command, env | {"TMPDIR": str(folder)}) as terminal:
        terminal.wait_until(lambda: "document left" in terminal.text, "the document is being read")
        terminal.type(b"\x03")
        assert terminal.end() == 1
    assert "wasbrokenoff" in "".join(terminal.text.split()), "wherever the screen ends a line"
    assert os.listdir(folder) == []


def test_found_words_stand_out_on_a_terminal(stores: Stores, env: dict[str, str]) -> None:
    stores.register()
    stores.read_all(stores.begin().id)
    with Terminal(ocrd("search", "page"), env) as terminal:
        assert terminal.end() == 0
    assert b"\x1b[1;31mpage\x1b[0m 1" in terminal.said


def test_lines_of_a_models_test_stand_above_its_bar(env: dict[str, str]) -> None:
    program = (
        "import os, sys, tty; tty.setcbreak(0); from ocrd.cli.bars import Bar; from ocrd.cli.models_test import _sayer\n"
        "with Bar(sys.stdout, unit='models', task='testing') as bar:\n"
        "    say = _sayer(bar, ['a/[b]', 'c/d'])\n"
        "    say('a/[b]', 'starting'); say('c/d', 'starting'); say('x/y', 'is none of them')\n"
        "    sys.stdout.flush(); os.read(0, 1)\n"
    )
    with Terminal([sys.executable, "-c", program], env) as terminal:
        terminal.wait_until(lambda: "1/2 models" in terminal.text, "the bar")
        assert terminal.text.splitlines()[:3] == [
            "a/[b]: starting",
            "c/d: starting",
            "x/y: is none of them",
        ]
        terminal.type(b"x")
        assert terminal.end() == 0
    assert "models" not in terminal.text
