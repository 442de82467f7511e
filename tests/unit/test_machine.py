"""What is looked at of this machine: real folders, sockets, limits and clocks."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from ocrd.host import machine

NAME = ".ocrd-doctor-1"


# --- time limits --------------------------------------------------------------------------------------------


def test_what_hangs_is_left_behind() -> None:
    let_go = threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        machine.within(0.05, let_go.wait)
    assert time.monotonic() - began < 2
    let_go.set()


def test_what_fails_fails_here() -> None:
    with pytest.raises(ZeroDivisionError):
        machine.within(5, lambda: 1 // 0)
    assert machine.within(5, lambda: None) is None


# --- people -------------------------------------------------------------------------------------------------


def test_users_and_groups_without_a_name_are_numbers() -> None:
    assert (machine.user_name(0), machine.group_name(0)) == ("root", "root")
    assert (machine.user_name(4_000_123), machine.group_name(4_000_123)) == ("4000123", "4000123")


def test_the_groups_of_this_process() -> None:
    assert machine.has_group(os.getegid())
    assert not machine.has_group(4_000_123)
    assert not machine.is_member(4_000_123)


# --- folders ------------------------------------------------------------------------------------------------


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    probe = machine.probe_folder(str(tmp_path), NAME)
    assert (probe.failed, probe.reason, probe.left) == ("", "", "")
    assert abs(probe.skew_s) < 5
    assert list(tmp_path.iterdir()) == []


def test_a_probe_says_which_step_was_refused(tmp_path: Path) -> None:
    assert machine.probe_folder(str(tmp_path / "gone"), NAME).failed == "create"
    (tmp_path / (NAME + "-2")).mkdir()
    probe = machine.probe_folder(str(tmp_path), NAME)
    assert probe.failed == "rename"
    assert os.listdir(tmp_path) == [NAME + "-2"]


def test_a_folder_that_is_read_only_is_told() -> None:
    assert machine.probe_folder("/proc", NAME).failed == "create"


def test_folders_are_counted_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert machine.count_folders([str(tmp_path)], most=100, seconds=60) == (4, True)
    assert machine.count_folders([str(tmp_path)], most=2, seconds=60) == (3, False)
    assert machine.count_folders([str(tmp_path / "gone")], most=9, seconds=60) == (1, True)


def test_files_are_looked_at_through_their_links(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / "aa"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    blob.chmod(0o600)
    (tmp_path / "snapshot").symlink_to(blob)
    (tmp_path / "broken").symlink_to(tmp_path / "gone")

    def is_open(status: os.stat_result) -> bool:
        return bool(status.st_mode & 0o004)

    tmp_path.chmod(0o755)
    blob.parent.chmod(0o755)
    first, count = machine.first_unreadable(str(tmp_path), is_open)
    assert (os.path.realpath(first), count) == (str(blob), 2)
    blob.chmod(0o644)
    assert machine.first_unreadable(str(tmp_path), is_open) == ("", 0)


# --- limits, sockets, clocks --------------------------------------------------------------------------------


def test_inotify_has_limits_here() -> None:
    assert machine.inotify_limit("max_user_watches") > 0
    assert machine.inotify_limit("no_such_limit") == 0
    assert machine.inotify_refusal() == ""


def test_a_door_that_is_open(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        (tmp_path / "link").symlink_to(path)
        assert machine.look_at_door(path).refusal == "Connection refused"
        listener.listen()
        door = machine.look_at_door(str(tmp_path / "link"))
    assert door == machine.Door(
        str(tmp_path / "link"), True, path, machine.group_name(os.getegid()), True, door.is_member, ""
    )


def test_a_door_where_there_is_none(tmp_path: Path) -> None:
    door = machine.look_at_door(str(tmp_path / "gone"))
    assert not door.is_there
    assert door.refusal == "No such file or directory"


def test_a_door_behind_which_nobody_answers(tmp_path: Path) -> None:
    """A full queue of callers: connecting would wait for ever."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(path)
        listener.listen(0)
        caller.connect(path)
        assert machine.look_at_door(path, timeout_s=0.05).refusal == "too many callers wait there"


def test_the_hardware_clock_is_a_time_or_nothing() -> None:
    told = machine.hardware_clock()
    assert told is None or told > 0
