from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.host import units
from ocrd.host.systemd import Kind, unit_of
from ocrd.host.units import Needs, drop_in, is_hidden, is_made_by_us, packaged, quote, unwritable

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is not installed: apt install systemd"
)
NAMES = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/"), min_size=1, max_size=30
)
NEEDS = Needs(
    command=("/opt/ocrd/bin/python", "-m", "ocrd", "run"),
    inboxes=("/home/anna/Мои документы %1", "/mnt/c/scans"),
    seen=("/opt/ocrd", "/home/anna/.config/ocrd", "/home/anna/Мои документы %1/models"),
    written=("/srv/log",),
)


def rendered(needs: Needs = NEEDS, kind: Kind = Kind.SYSTEM) -> str:
    return drop_in(kind, needs, unit=unit_of(kind, "anna"), version="1.0")


def unquoted(text: str) -> str:
    """What systemd makes of a quoted word: systemd.syntax(7), and systemd.unit(5) for the specifiers."""
    assert text.startswith('"')
    assert text.endswith('"')
    out, rest = "", text[1:-1]
    while rest:
        if rest[0] == "\\":
            rest = rest[1:]
        else:
            assert rest[0] != '"', "the word would end here"
        if rest.startswith("%"):
            assert rest.startswith("%%"), "a specifier would be put in"
            rest = rest[1:]
        out, rest = out + rest[0], rest[1:]
    return out


@given(NAMES)
def test_a_name_is_read_as_it_is_written(name: str) -> None:
    assert unquoted(quote(name)).replace("$$", "$") == name
    (line,) = [
        one
        for one in rendered(Needs(command=("/x",), inboxes=(f"/home/{name}",))).splitlines()
        if "Bind" in one
    ]
    assert unquoted(line.removeprefix("BindPaths=")) == f"-/home/{name}"


def test_the_drop_in_of_the_machines_service_shows_what_is_needed_and_no_more() -> None:
    lines = rendered().splitlines()
    assert lines[3:] == [
        "ExecStart=",
        'ExecStart="/opt/ocrd/bin/python" "-m" "ocrd" "run"',
        'BindPaths="-/home/anna/Мои документы %%1"',
        'ReadWritePaths="-/mnt/c/scans"',
        'ReadWritePaths="-/srv/log"',
        'BindReadOnlyPaths="-/home/anna/.config/ocrd"',
    ]
    assert "Docker" not in rendered()


def test_docker_and_other_machines_are_let_in_only_where_they_are_needed() -> None:
    more = rendered(Needs(command=("/x",), inboxes=("/srv/in",), groups=("docker",), any_address=True))
    assert "SupplementaryGroups=docker" in more
    assert "IPAddressAllow=any" in more


def test_the_users_own_service_has_no_sandbox_of_paths() -> None:
    assert "Paths=" not in rendered(kind=Kind.USER)
    assert "systemctl --user edit ocrd.service" in rendered(kind=Kind.USER)


def test_what_we_made_is_known_and_what_we_did_not_is_not() -> None:
    assert is_made_by_us(rendered())
    assert all(is_made_by_us(packaged(kind)) for kind in Kind)
    assert not is_made_by_us("[Service]\nExecStart=/bin/true\n")


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("/home", True),
        ("/home/anna", True),
        ("/root/x", True),
        ("/homes/x", False),
        ("/mnt/c", False),
        ("/opt", False),
    ],
)
def test_homes_are_hidden(path: str, hidden: bool) -> None:
    assert is_hidden(path) is hidden


def test_a_line_break_in_a_name_is_found() -> None:
    assert unwritable(["/a", "/b\nExecStart=/bin/sh"]) == "/b\nExecStart=/bin/sh"
    assert unwritable(["/a b", "/в"]) is None


@pytest.fixture
def unit_folder(tmp_path: Path) -> Path:
    """Both units as they are installed, with programs that are there."""
    (tmp_path / "ocrd@.service").write_text(packaged(Kind.SYSTEM))
    below = tmp_path / "ocrd@anna.service.d"
    below.mkdir()
    needs = Needs(command=("/bin/true",), inboxes=NEEDS.inboxes, seen=NEEDS.seen, groups=("docker",))
    (below / units.DROP_IN).write_text(rendered(needs))
    return tmp_path


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:/lib/systemd/system"}
    return subprocess.run([ANALYZE, *words], env=env, capture_output=True, text=True, check=False, timeout=60)


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_installed_service(unit_folder: Path) -> None:
    done = analyze(unit_folder, "verify", str(unit_folder / "ocrd@anna.service"))
    assert (done.returncode, done.stderr) == (0, "")


@needs_analyze
def test_the_machines_service_is_hardened(unit_folder: Path) -> None:
    done = analyze(
        unit_folder, "security", "--offline=true", "--threshold=20", str(unit_folder / "ocrd@.service")
    )
    assert done.returncode == 0, done.stdout


def test_every_line_that_restricts_stands_under_a_comment() -> None:
    below = packaged(Kind.SYSTEM).split("# --- what it may not do")[1]
    block_has_comment = False
    for line in below.splitlines()[1:]:
        if not line:
            block_has_comment = False
        elif line.startswith("#"):
            block_has_comment = True
        elif not line.startswith("["):
            assert block_has_comment or line.startswith("WantedBy"), line
