"""The completion of ocrd's commands, in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.terminals import Terminal

from ocrd.cli.completion import SHELLS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `ocrd completion` prints for each shell."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        done = subprocess.run(
            [sys.executable, "-m", "ocrd", "completion", shell], capture_output=True, timeout=60, check=True
        )
        (folder / shell).write_bytes(done.stdout)
    shutil.copy(folder / "zsh", folder / "_ocrd")
    (folder / "a scan.pdf").touch()
    return folder


def needs(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed; runs where it is (apt install {shell})")
    return path


def typed(argv: list[str], first: str, line: str, completed: str, folder: Path) -> None:
    """Type a line with a tab at its end into an interactive shell, and wait for what becomes of it."""
    env = {**os.environ, "HOME": str(folder), "ZDOTDIR": str(folder), "PS1": "> "}
    with Terminal(argv, env) as terminal:
        terminal.type(first.encode() + b"; echo rea''dy\n")
        terminal.wait_until(lambda: "\nready" in terminal.text, "the shell")
        terminal.type(line.encode() + b"\t")
        terminal.wait_until(lambda: completed in terminal.text, f"{completed} in {argv[0]}")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("ocrd sea", "ocrd search "),
        ("ocrd models pl", "ocrd models plan "),
        ("ocrd status --w", "ocrd status --watch "),
        ("ocrd completion z", "ocrd completion zsh "),
    ],
)
def test_bash_completes_commands_and_options(scripts: Path, line: str, completed: str) -> None:
    typed([needs("bash"), "--norc", "-i"], f"source {scripts}/bash", line, completed.rstrip(), scripts)


@pytest.mark.parametrize(
    ("line", "completed"), [("ocrd sea", "ocrd search"), ("ocrd models pl", "ocrd models plan")]
)
def test_zsh_completes_commands(scripts: Path, line: str, completed: str) -> None:
    first = f"fpath=({scripts} $fpath); autoload -Uz compinit; compinit -D -u"
    typed([needs("zsh"), "-f", "-i"], first, line, completed, scripts)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("ocrd sea", "search"),
        ("ocrd models pl", "plan"),
        ("ocrd status --w", "--watch"),
        ("ocrd run --once a", "a scan.pdf"),
    ],
)
def test_fish_completes_commands_options_and_files(scripts: Path, line: str, completed: str) -> None:
    done = subprocess.run(
        [needs("fish"), "-c", f"source {scripts}/fish; complete -C {line!r}"],
        env={**os.environ, "HOME": str(scripts)},
        cwd=scripts,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    assert completed in [row.split("\t")[0].replace("\\ ", " ") for row in done.stdout.splitlines()]
