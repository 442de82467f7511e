"""A canary for each secret: after a day's work in the smallest, with the log at its most talkative, none is to be seen."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support import bad_inputs
from support.fake_vllm import FakeVllm
from support.marked import write_image
from support.running import Ocrd, wait_until

KEY = "canary-key-6f1d"
PASSWORDS = ("canary-first-81c4", "canary-second-2b7e")
BESIDE = "canary-beside-93aa"
UNKNOWN = "nobody-knows"
SECRETS = tuple(secret.encode() for secret in (KEY, *PASSWORDS, BESIDE))


@pytest.fixture
def configured(ocrd: Ocrd) -> Ocrd:
    """Passwords in a file of 0600 and beside a document, the key in the environment, a document that cannot be opened."""
    settings = ocrd.folder / "ocrd.toml"
    settings.write_text(f"[inbox]\npasswords = {list(PASSWORDS)}\n".replace("'", '"'))
    settings.chmod(0o600)
    ocrd.env |= {
        "OCRD_CONFIG": str(settings),
        "OCRD_VLLM__API_KEY": KEY,
        "OCRD_VLLM__WITNESS": "false",
        "OCRD_LOG__FORMAT": "json",
    }
    write_image(ocrd.inbox / "page.png", 7)
    for name, password in (("opens.pdf", PASSWORDS[1]), ("beside.pdf", BESIDE), ("shut.pdf", UNKNOWN)):
        (ocrd.inbox / name).write_bytes(bad_inputs.encrypted("Locked", user=password.encode()))
    beside = ocrd.inbox / "beside.pdf.password"
    beside.write_text(BESIDE)
    beside.chmod(0o600)
    return ocrd


def shown_by(proc: Path) -> bytes:
    """What other users' tools show of a process, or could; nothing of one that is gone."""
    try:
        return (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
    except FileNotFoundError:
        return b""


def held(text: bytes) -> list[bytes]:
    return [secret for secret in SECRETS if secret in text]


def test_no_secret_is_seen_in_log_store_output_or_process(configured: Ocrd) -> None:
    ocrd = configured
    with FakeVllm(api_key=KEY) as fake:
        ocrd.env["OCRD_VLLM__BASE_URL"] = fake.base_url
        ocrd.start("--engine", "vllm")
        ends = {name: ocrd.await_state(name)["state"] for name in ("page.png", "beside.pdf", "shut.pdf")}
        ocrd.await_state("opens.pdf")
        assert (ends["page.png"], ends["shut.pdf"]) == ("done", "rejected")
        assert ends["beside.pdf"] != "rejected", "its password was tried"
        children = ocrd.children()
        assert children
        for pid in children:
            assert held(shown_by(Path(f"/proc/{pid}"))) == []
        assert ocrd.process is not None
        assert held(Path(f"/proc/{ocrd.process.pid}/cmdline").read_bytes()) == []
        ocrd.send_signal(signal.SIGUSR1)
        wait_until(lambda: ocrd.events("snapshot"), "everything that is known is in the log")
        words = [["status"], ["jobs"], ["config", "show"], ["config", "check"], ["doctor"], ["export"]]
        words += [["show", str(ocrd.inbox / name)] for name in ends]
        for line in words:
            for more in ([], ["--json"]):
                done = ocrd.command(*line, *more)
                assert held((done.stdout + done.stderr).encode()) == [], line
        assert ocrd.stop() == 0
    assert held(ocrd.log.read_bytes()) == []
    for path in ocrd.state.rglob("*"):
        assert not path.is_file() or held(path.read_bytes()) == [], path
    wrote = [path for path in ocrd.inbox.iterdir() if path.suffix in {".txt", ".md"}]
    assert [path for path in wrote if held(path.read_bytes())] == []
