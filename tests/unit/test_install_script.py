"""script/install where it goes no further than telling: usage, rights, and a program that is not there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "script" / "install"


def install(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with a home of its own and nobody to be asked."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    return subprocess.run(
        [SCRIPT, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def left_behind(home: Path) -> list[Path]:
    return list(home.rglob("*"))


def test_help_tells_every_word_it_knows(tmp_path: Path) -> None:
    done = install(tmp_path, "--help")
    known = {
        word
        for line in SCRIPT.read_text().splitlines()
        if line.startswith("      --") and ")" in line
        for word in line.partition(")")[0].replace("|", " ").split()
    }
    assert len(known) == 10
    assert done.returncode == 0
    assert [word for word in known if word not in done.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--bogus",), "unknown argument '--bogus'"),
        (("--for",), "--for needs a word behind it"),
        (("--inbox", ""), "--inbox needs a word behind it"),
        (("--user", "--for", "anna"), "--for goes with --system"),
        (("--user", "--from", "/nowhere/ocrd.whl"), "there is no wheel /nowhere/ocrd.whl"),
        (("--user", "--from", "/"), "/ is neither a wheel nor a checkout of ocrd"),
        (("--user", "--no-service"), "nobody is there to be asked; say --yes"),
    ],
)
def test_wrong_usage_is_told_and_does_nothing(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = install(tmp_path, *arguments)
    assert (done.returncode, left_behind(tmp_path)) == (2, [])
    assert told in done.stderr


def test_it_tells_what_it_would_do_before_it_asks(tmp_path: Path) -> None:
    done = install(tmp_path, "--user", "--inbox", "/home/anna/in box")
    assert f"program   {tmp_path}/.local/share/ocrd/versions/" in done.stdout
    assert f"command   {tmp_path}/.local/bin/ocrd" in done.stdout
    assert "service   ocrd service install --user --inbox /home/anna/in box" in done.stdout


def test_the_machines_needs_root_and_a_user(tmp_path: Path) -> None:
    done = install(tmp_path, "--system", "--yes")
    told = (
        (2, "say whose inbox it is")
        if os.geteuid() == 0
        else (69, "is installed by root: sudo script/install")
    )
    assert (done.returncode, left_behind(tmp_path)) == (told[0], [])
    assert told[1] in done.stderr


def test_a_command_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    command = tmp_path / ".local" / "bin" / "ocrd"
    command.parent.mkdir(parents=True)
    command.write_text("mine")
    done = install(tmp_path, "--user", "--no-service", "--yes")
    assert done.returncode == 1
    assert f"{command} is not ours" in done.stderr
    assert command.read_text() == "mine"


def test_there_is_nothing_to_uninstall(tmp_path: Path) -> None:
    done = install(tmp_path, "--user", "--uninstall", "--yes")
    assert (done.returncode, left_behind(tmp_path)) == (0, [])
    assert f"Nothing of ours is installed in {tmp_path}/.local/share/ocrd" in done.stdout


def test_a_program_that_a_service_works_with_is_not_removed(tmp_path: Path) -> None:
    program = tmp_path / ".local/share/ocrd/versions/20260101T000000Z"
    drop_in = tmp_path / ".config/systemd/user/ocrd.service.d/10-ocrd.conf"
    for file in (program / "bin" / "ocrd", drop_in):
        file.parent.mkdir(parents=True)
    drop_in.write_text(f'[Service]\nExecStart="{program}/bin/python" "-m" "ocrd" "run"\n')
    done = install(tmp_path, "--user", "--uninstall", "--no-service", "--yes")
    assert done.returncode == 1
    assert "other services work with it: ocrd.service" in done.stderr
    assert (program / "bin").is_dir()
