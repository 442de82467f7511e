from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.users import NOBODY

from ocrd.host import files, runtime


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    if os.path.isdir("/run/ocrd"):
        pytest.skip("a system unit of ocrd runs on this machine")
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[str]:
    """A state folder whose daemon's lock is held."""
    folder = tmp_path / "live"
    folder.mkdir()
    lock = files.try_lock(runtime.lock_path(str(folder)))
    assert lock is not None
    yield str(folder)
    os.close(lock)


def test_a_daemon_that_announced_itself_is_found_while_it_holds_its_lock(
    env: dict[str, str], live: str
) -> None:
    path = runtime.announce(live, env)
    assert path is not None
    assert runtime.live_state(env) == live
    os.unlink(path)
    assert runtime.live_state(env) is None


def test_what_a_killed_daemon_left_is_not_believed(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    assert runtime.announce(str(tmp_path / "dead"), env) is not None
    assert runtime.live_state(env) is None


def test_of_two_live_stores_none_is_chosen(env: dict[str, str], live: str, tmp_path: Path) -> None:
    runtime.announce(live, env)
    other = tmp_path / "other"
    other.mkdir()
    lock = files.try_lock(runtime.lock_path(str(other)))
    assert lock is not None
    Path(runtime.folders(env)[0], "daemon-2.json").write_text(json.dumps({"state": str(other)}))
    assert runtime.live_state(env) is None
    os.close(lock)
    assert runtime.live_state(env) == live


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 3}', "{}", "\udcff"])
def test_a_damaged_announcement_is_passed_over(env: dict[str, str], live: str, text: str) -> None:
    runtime.announce(live, env)
    broken = Path(runtime.folders(env)[0], "daemon-2.json")
    broken.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert runtime.live_state(env) == live


@pytest.mark.parametrize("foreign", ["announcement", "state", "both"])
def test_what_somebody_else_announced_or_owns_is_not_believed(
    env: dict[str, str], live: str, foreign: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    path = runtime.announce(live, env)
    assert path is not None
    for given in {"announcement": [path], "state": [live]}.get(foreign, [path, live]):
        os.chown(given, NOBODY, -1)
    assert runtime.live_state(env) is None
    os.chown(runtime.folders(env)[0], NOBODY, -1)
    believed = live if foreign == "both" else None
    assert runtime.live_state(env) == believed, "root believes each user of that user's own store"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_an_announcement_that_is_no_file_is_passed_over(
    env: dict[str, str], live: str, tmp_path: Path, kind: str
) -> None:
    path = runtime.announce(live, env)
    assert path is not None
    if kind == "link":
        os.rename(path, tmp_path / "elsewhere.json")
        os.symlink(tmp_path / "elsewhere.json", path)
    else:
        os.unlink(path)
        os.mkfifo(path)
    assert runtime.live_state(env) is None


def test_the_folder_of_the_unit_comes_before_the_users(
    env: dict[str, str], live: str, tmp_path: Path
) -> None:
    unit = tmp_path / "unit"
    path = runtime.announce(live, {**env, "RUNTIME_DIRECTORY": f"{unit}:/run/other"})
    assert path == str(unit / f"daemon-{os.getpid()}.json")


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert runtime.announce("/state", {"XDG_RUNTIME_DIR": str(tmp_path / "file")}) is None


def test_without_any_announcement_no_daemon_runs(env: dict[str, str]) -> None:
    assert runtime.live_state(env) is None
