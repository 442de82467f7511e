"""A real Docker engine for tests, and images that hold nothing: the host's own files are mounted into them.

`script/docker` starts the engine. An image is a root file system of links and empty folders, so that it is made in
no time and never pulled; what runs in it, a Python of this machine above all, comes in by mounts.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fakes" / "model_container.py"
_LINKS = ("bin", "lib", "lib64")
# sbin is no link into /usr, which is mounted over: the engine puts its own init there.
_FOLDERS = ("sbin", "usr", "proc", "sys", "dev", "etc", "root", "opt", "home", "tmp", "run", "var")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files\n",
}


def make_image(client: docker.APIClient, tag: str, entrypoint: Sequence[str], **environment: str) -> str:
    """An image of this machine's shape; its id. `tag` is repository:tag."""
    repository, _, version = tag.rpartition(":")
    changes = [f"ENTRYPOINT {json.dumps(list(entrypoint))}", "ENV PATH=/usr/bin:/bin", "ENV HOME=/root"]
    changes += [f"ENV {name}={value}" for name, value in environment.items()]
    client.import_image_from_data(_root_file_system(), repository=repository, tag=version, changes=changes)
    return str(client.inspect_image(tag)["Id"])


def _root_file_system() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in _FOLDERS:
            tar.addfile(_entry(name, tarfile.DIRTYPE))
        for name in _LINKS:
            real = Path("/", name)
            if real.is_symlink():
                tar.addfile(_entry(name, tarfile.SYMTYPE, str(real.readlink())))
        for name, text in _FILES.items():
            entry = _entry(name, tarfile.REGTYPE)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        cache = Path("/etc/ld.so.cache").read_bytes()
        entry = _entry("etc/ld.so.cache", tarfile.REGTYPE)
        entry.size = len(cache)
        tar.addfile(entry, io.BytesIO(cache))
    return buffer.getvalue()


def _entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    entry.mode = 0o1777 if name == "tmp" else 0o755
    return entry


def host_mounts(*more: str | Path) -> list[str]:
    """What of this machine a Python in a container needs, as `[server] mounts` says it; and `more` folders."""
    named = [Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), ROOT / "tests", *map(Path, more)]
    wanted = {target: path.resolve() for path in named for target in (path, path.resolve())}
    outer = [
        one
        for one in sorted(wanted)
        if not any(one != other and one.is_relative_to(other) for other in wanted)
    ]
    return [f"{wanted[one]}:{one}:ro" for one in outer]


def fake_image(client: docker.APIClient, tag: str = "vllm/vllm-openai:v0.32.0") -> str:
    """An image that plays vLLM; its id."""
    return make_image(client, tag, [sys.executable, str(FAKE)])


def engine_address() -> str | None:
    """Where the tests' engine listens; None if there is none."""
    named = os.environ.get("OCRD_TEST_DOCKER")
    if named:
        return named
    path = ROOT / ".docker" / "docker.sock"
    return f"unix://{path}" if path.exists() else None


def settings_for(address: str, hub: Path, **play: Any) -> dict[str, str]:
    """The variables that make a daemon keep the fake in a container of this engine."""
    environment = ["FAKE_MODEL=" + json.dumps(play)] if play else []
    return {
        "OCRD_SERVER__DOCKER_HOST": address,
        "OCRD_SERVER__HF_HOME": str(hub.parent),
        "OCRD_SERVER__GPUS": "none",
        "OCRD_SERVER__MOUNTS": json.dumps(host_mounts()),
        "OCRD_SERVER__ENVIRONMENT": json.dumps(environment),
    }
