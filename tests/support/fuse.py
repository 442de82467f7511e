"""Mounts the stand-in for a Windows drive, see `fuse_drive.py`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.running import wait_until

_PROGRAM = Path(__file__).with_name("fuse_drive.py")


def needs_fuse() -> None:
    """Skip where no FUSE file system can be mounted, and say why; a CI run can provide it, so there it is a failure."""
    if os.geteuid() != 0:
        why = "needs root, to mount a FUSE file system"
    elif not os.path.exists("/dev/fuse"):
        why = "needs /dev/fuse (modprobe fuse)"
    elif shutil.which("fusermount3") is None:
        why = "needs fusermount3 (apt-get install fuse3)"
    elif importlib.util.find_spec("mfusepy") is None:
        why = "needs the package mfusepy (script/setup --dev)"
    else:
        return
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


class Drive:
    """A plain folder and the FUSE file system over it. Written in `back`, a file is written "by Windows"."""

    def __init__(self, back: Path, mount: Path) -> None:
        self.back = back
        self.mount = mount
        self._quirks = back.with_name(back.name + ".quirks")
        self._process: subprocess.Popen[bytes] | None = None
        back.mkdir(exist_ok=True)
        mount.mkdir(exist_ok=True)

    def quirks(self, *words: str) -> None:
        """From now on the drive has these quirks, and no others."""
        beside = self._quirks.with_suffix(".new")
        beside.write_text(" ".join(words))
        beside.rename(self._quirks)

    def plug_in(self) -> None:
        """Mount it."""
        argv = [sys.executable, str(_PROGRAM), str(self.back), str(self.mount), str(self._quirks)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._is_mounted, "the drive is mounted")

    def _is_mounted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the drive's program ended"
        return os.path.ismount(self.mount)

    def unplug(self) -> None:
        """Unmount it, whoever uses it: the empty folder below comes to light."""
        subprocess.run(["fusermount3", "-u", "-z", str(self.mount)], check=False, capture_output=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def die(self) -> None:
        """It stays mounted, but nobody answers any more."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
