from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.host import mounts

WSL = r"""
21 28 0:20 / /sys rw,nosuid,nodev,noexec,noatime shared:5 - sysfs sysfs rw
28 1 8:32 / / rw,relatime shared:1 - ext4 /dev/sdc rw,discard,errors=remount-ro,data=ordered
60 28 0:54 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs;path=C:\;uid=1000;gid=1000,mmap,trans=fd
61 28 0:55 / /mnt/d rw,noatime - drvfs D: rw,case=off
62 28 0:56 / /mnt/wsl/work rw,relatime shared:7 - virtiofs work rw
63 60 8:48 / /mnt/c/linux rw,relatime - ext4 /dev/sdd rw
64 28 0:57 / /srv/my\040scans rw,relatime - cifs //nas/scans rw
65 28 0:58 / /srv/tab\011and\134backslash rw - nfs4 nas:/x rw
66 28 0:59 / /srv/remote rw - fuse.sshfs me@host: rw
67 28 0:60 / /mnt/cold rw - xfs /dev/sde rw
68 28 0:61 / /srv/vm rw - 9p shared rw,aname=other,trans=virtio
69 28 0:62 / /srv/back rw - fuse /dev/fuse rw,user_id=0
70 28 0:63 / /srv/\303\251t\303\251\043\377 rw - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/me/inbox", "ext4"),
        ("/mnt/c", "drvfs"),
        ("/mnt/c/Users/me", "drvfs"),
        ("/srv/vm/x", "9p"),
        ("/mnt/d/scans", "drvfs"),
        ("/mnt/wsl/work/inbox", "virtiofs"),
        ("/mnt/c/linux/inbox", "ext4"),
        ("/mnt/cold/inbox", "xfs"),
        ("/srv/my scans/2024", "cifs"),
        ("/srv/tab\tand\\backslash", "nfs4"),
        ("/srv/remote/x", "fuse.sshfs"),
        ("/srv/back/x", "fuse"),
        ("/srv/été#\udcff/x", "fuse.sshfs"),
    ],
)
def test_a_path_belongs_to_the_innermost_mount_above_it(path: str, kind: str) -> None:
    assert mounts.file_system_of(path, WSL) == kind


def test_of_two_mounts_at_one_point_the_later_one_counts() -> None:
    table = "1 0 8:1 / /data rw - ext4 /dev/sda rw\n2 1 0:9 / /data rw - tmpfs tmpfs rw\n"
    assert mounts.file_system_of("/data/x", table) == "tmpfs"


@pytest.mark.parametrize("table", ["", "nonsense\n", "1 2 3 - ext4\n", "\n\n"])
def test_a_table_that_cannot_be_read_gives_no_answer(table: str) -> None:
    assert mounts.file_system_of("/data", table) == ""


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    table = f"1 0 8:1 / {tmp_path}/real rw - nfs4 nas:/x rw\n"
    assert mounts.file_system_of(str(tmp_path / "link"), table) == "nfs4"


def test_this_machines_own_table_can_be_read(tmp_path: Path) -> None:
    assert mounts.file_system_of(str(tmp_path)) != ""
    assert mounts.file_system_of("/proc/self") == "proc"


def test_a_mount_that_was_covered_and_freed_again_counts_again() -> None:
    covered = "1 0 8:1 / /data rw - ext4 /dev/sda rw\n2 1 0:9 / /data rw - fuse x rw\n"
    freed = "1 0 8:1 / /data rw - ext4 /dev/sda rw\n"
    assert [mounts.file_system_of("/data/x", table) for table in (covered, freed)] == ["fuse", "ext4"]


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_any_name_that_the_kernel_escapes_is_found(name: bytes) -> None:
    if name in (b".", b".."):
        return
    escaped = "".join(chr(byte) if 48 <= byte < 123 and byte != 92 else f"\\{byte:03o}" for byte in name)
    table = f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / /srv-of-tests/{escaped} rw - nfs4 nas:/x rw\n"
    assert mounts.file_system_of("/srv-of-tests/" + os.fsdecode(name) + "/file", table) == "nfs4"


@pytest.mark.parametrize(
    "kind", ["9p", "drvfs", "virtiofs", "cifs", "nfs4", "fuse", "fuse.sshfs", "fuseblk", "vmhgfs", "davfs"]
)
def test_windows_network_and_user_space_drives_are_polled_and_hold_no_store(kind: str) -> None:
    assert not mounts.has_events(kind)
    assert not mounts.is_safe_for_store(kind)
    assert mounts.store_danger(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "fuse.fuse-overlayfs", "fusectl", ""]
)
def test_local_disks_are_watched_and_hold_a_store(kind: str) -> None:
    assert mounts.has_events(kind)
    assert mounts.is_safe_for_store(kind)
    assert mounts.store_danger(kind) == ""
