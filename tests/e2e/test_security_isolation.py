"""Helper processes give up their network and the way to more rights: shown by real ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import paper
from support.running import Ocrd

from ocrd.host.commands import Child

CONNECT = """
import os, socket, sys
from ocrd.host import isolation
if os.geteuid() == 0 and sys.argv[2] != "0":
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
before = os.geteuid(), os.getegid()
isolated = isolation.without_network()
assert (os.geteuid(), os.getegid()) == before
with open(sys.argv[3], "rb") as file:
    print(file.read().decode())
with open(sys.argv[3] + ".written", "w") as file:
    pass
print("isolated" if isolated else "refused")
if os.geteuid() and isolated:
    assert "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
for family, address in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))),
                        (socket.AF_INET, ("192.0.2.1", 9)),
                        (socket.AF_UNIX, "\\0ocrd-test-" + sys.argv[1])):
    try:
        socket.socket(family).connect(address)
    except OSError as err:
        print(type(err).__name__, err.errno)
    else:
        print("connected")
"""


def run(*arguments: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def is_allowed() -> bool:
    probe = "from ocrd.host import isolation; raise SystemExit(not isolation.without_network())"
    return subprocess.run([sys.executable, "-c", probe], timeout=60, check=False).returncode == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users may reach: pytest's own may not."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.parametrize("user", [0, 65534], ids=["as-we-are", "as-nobody"])
def test_a_helper_without_network_reaches_nobody_and_still_reads_and_writes_files(
    user: int, folder: Path
) -> None:
    if user and os.geteuid() != 0:
        pytest.skip("only root can become another user; runs in the tests' container")
    if not is_allowed():
        pytest.skip(
            "this kernel gives no network name space to this user; runs where `unshare -Un true` works"
        )
    page = folder / "page"
    page.write_text("content")
    page.chmod(0o600)
    if user:
        os.chown(folder, user, user)
        os.chown(page, user, user)
    with socket.socket() as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        abstract.bind(f"\0ocrd-test-{port}")
        abstract.listen()
        told = run(port, user, page)
    if user and told[1] == "refused":
        pytest.skip(
            "this kernel gives no user name space to ordinary users; runs where `unshare -Un true` works"
        )
    assert told[:2] == ["content", "isolated"]
    assert len(told) == 5
    assert "connected" not in told
    assert (folder / "page.written").stat().st_uid == (user or os.geteuid())


def test_where_the_kernel_refuses_nothing_has_changed() -> None:
    """A second thread is a reason to refuse a user name space; root is refused nothing by that."""
    script = """
import os, threading
from ocrd.host import isolation
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
done = threading.Event()
threading.Thread(target=done.wait).start()
before = os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/user")
print(isolation.without_network(), before == (os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/user")))
done.set()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "False True\n", done.stderr


def test_no_new_privileges_reach_what_is_started() -> None:
    script = "import subprocess; from ocrd.host import isolation; assert isolation.without_new_privileges();"
    script += "print(subprocess.run(['grep', 'NoNewPrivs', '/proc/self/status'], capture_output=True).stdout)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert "NoNewPrivs:\\t1" in done.stdout, done.stderr


def test_the_processes_that_open_documents_have_no_network_and_gain_no_rights(ocrd: Ocrd) -> None:
    if not is_allowed():
        pytest.skip("this kernel lets nobody give up the network; one that allows unshare(2) would")
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.start()
    ocrd.await_state("one.png", "done")
    helpers = ocrd.children()
    assert len(helpers) >= 2
    for pid in helpers:
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    assert os.readlink(f"/proc/{ocrd.process.pid}/ns/net") == os.readlink("/proc/self/ns/net")


TRY = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5)"


def reaches(port: int, *, as_child: int | None = None) -> bool:
    """Whether a program reaches a listener here; with `as_child` one in that process's network."""
    enter = []
    if as_child is not None:
        enter = ["nsenter", "--preserve-credentials", "-t", str(as_child), "-n"]
        if os.geteuid() != 0:
            enter.append("-U")
    done = subprocess.run(
        [*enter, sys.executable, "-c", TRY, str(port)], capture_output=True, timeout=60, check=False
    )
    if done.returncode:
        assert b"Network is unreachable" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("module", ["rasterizer_child", "recognizer.embedded_child"])
def test_a_child_that_opens_documents_reaches_no_listener_of_this_machine(module: str) -> None:
    if not is_allowed():
        pytest.skip("this kernel lets nobody give up the network; one that allows unshare(2) would")
    child = Child([sys.executable, "-m", f"ocrd.pipeline.{module}", "/nonexistent", "eng"])
    try:
        child.ask({"ask": "hello"}, timeout_s=60)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            port = listening.getsockname()[1]
            assert reaches(port)
            assert not reaches(port, as_child=child.pid)
    finally:
        child.kill()
