"""Programs that are told of each document: by the real daemon."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from support import paper
from support.running import Ocrd, wait_until
from support.terminals import Terminal


@pytest.fixture
def told(ocrd: Ocrd) -> Path:
    """A program that appends what it is told, and its argument, to a file."""
    program = ocrd.folder / "hook.py"
    target = ocrd.folder / "told"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"with open({str(target)!r}, 'a') as file:\n"
        "    print(sys.argv[1], sys.stdin.read().strip(), file=file)\n"
        "assert 'OCRD_VLLM__API_KEY' not in os.environ\n"
    )
    program.chmod(0o755)
    settings = ocrd.folder / "ocrd.toml"
    settings.write_text(
        f'[hooks]\non_done = ["{program}", "it is; done"]\non_failed = ["{program}", "$(bad)"]\n'
    )
    settings.chmod(0o600)
    ocrd.env |= {"OCRD_CONFIG": str(settings), "OCRD_INBOX__SETTLE_S": "0", "OCRD_VLLM__API_KEY": "secret"}
    return target


def lines(told: Path) -> dict[str, dict[str, object]]:
    """What was told, by the argument."""
    found = {}
    for line in told.read_text().splitlines():
        argument, _, document = line.partition(" {")
        assert argument not in found
        found[argument] = json.loads("{" + document)
    return found


def test_each_document_is_told_to_its_program_without_a_shell(ocrd: Ocrd, told: Path) -> None:
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    paper.write_png(ocrd.inbox / "scan.png", "Tell it")
    (ocrd.inbox / "bad.pdf").write_bytes(b"%PDF-1.4\n")
    assert ocrd.run_once().returncode == 1
    documents = lines(told)
    assert documents.keys() == {"it is; done", "$(bad)"}
    done, bad = documents["it is; done"], documents["$(bad)"]
    assert (done["schema"], done["event"], done["state"]) == ("ocrd.hook/1", "done", "done")
    assert done["path"] == str(ocrd.inbox / "done" / "scan.png"), "it is told when it has arrived"
    assert [output["path"] for output in done["outputs"]] == [
        str(ocrd.inbox / "done" / f"scan.png.{suffix}") for suffix in ("md", "txt")
    ]
    assert (bad["event"], bad["state"], bad["reason_code"]) == ("failed", "rejected", "damaged")
    told.unlink()
    ocrd.run_once()
    assert not told.exists(), "nobody is told twice"


def test_a_slow_program_stalls_nothing_and_is_ended(ocrd: Ocrd) -> None:
    slow = ocrd.folder / "slow"
    slow.write_text("#!/bin/sh\nsleep 600 & wait\n")
    slow.chmod(0o755)
    ocrd.env |= {"OCRD_HOOKS__ON_DONE": str(slow), "OCRD_HOOKS__TIMEOUT_S": "3"}
    ocrd.start()
    for number in range(3):
        paper.write_png(ocrd.inbox / f"{number}.png", f"Number {number}")
    for number in range(3):
        ocrd.await_state(f"{number}.png", "done")
    problem = wait_until(lambda: ocrd.status()["daemon"]["hook_problem"], "the first was ended")
    assert "did not end within 3 s" in problem
    assert "LAST ONE FAILED" in ocrd.command("status").stdout
    began = time.monotonic()
    assert ocrd.stop() == 0
    assert time.monotonic() - began < 10
    assert ocrd.events("hooks_dropped") or ocrd.events("hook_failed")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\necho no disk >&2\nexit 3\n", "exit code 3: no disk"),
        (None, "is not there"),
        ("what\n", ""),
    ],
)
def test_a_program_that_fails_changes_nothing(ocrd: Ocrd, script: str | None, why: str) -> None:
    hook = ocrd.folder / "hook"
    if script is not None:
        hook.write_text(script)
        hook.chmod(0o755)
    ocrd.env["OCRD_HOOKS__ON_DONE"] = str(hook)
    paper.write_png(ocrd.inbox / "scan.png", "All the same")
    done = ocrd.run_once()
    assert done.returncode == 0
    assert why in done.stderr
    assert "hook_failed" in done.stderr
    assert ocrd.text("scan.png").startswith("All the same")


def test_on_a_terminal_what_went_wrong_around_the_documents_is_told_after_the_summary(ocrd: Ocrd) -> None:
    (ocrd.inbox / ".ocrd.toml").write_text('langages = ["eng"]\n')
    paper.write_png(ocrd.inbox / "scan.png", "All the same")
    (ocrd.inbox / "bad.pdf").write_bytes(b"%PDF-1.4\n")
    ocrd.env |= {
        "OCRD_INBOX__SETTLE_S": "0",
        "OCRD_HOOKS__ON_FAILED": str(ocrd.folder / "nowhere"),
        "OCRD_HOOKS__ON_DONE": "/bin/true",
    }
    where = ["--inbox", str(ocrd.inbox), "--state", str(ocrd.state)]
    with Terminal([sys.executable, "-m", "ocrd", "run", "--once", *where], ocrd.env, columns=200) as terminal:
        assert terminal.end() == 1
        summary = terminal.text.partition("2 documents worked on")[2]
    for told in (summary, ocrd.command("status").stdout):
        assert "unknown option 'langages'" in told
        assert "[hooks] on_failed" in told, "what on_done did well hides nothing"
        assert "nowhere is not there" in told
