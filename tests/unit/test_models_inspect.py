"""`ocrd models inspect`: what people and programs see, and that nothing is deleted unasked."""

from __future__ import annotations

import argparse
import json
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import hf_caches
from support.hf_caches import LONG_AGO, MODEL, REVISION, SHARDS, Repository

from ocrd.cli import models_inspect, models_test
from ocrd.domain.errors import ExitCode, OcrdError, UsageError
from ocrd.serving.hf_cache.cached_model import CacheState
from ocrd.settings import Settings


def call(*words: str) -> ExitCode:
    """As `ocrd models` would."""
    parser = argparse.ArgumentParser()
    models_inspect.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["inspect", *words])
    code: ExitCode = arguments.handler(arguments)
    return code


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A whole model, one that lacks a shard, and one that is nothing but a folder."""
    hf_caches.make(tmp_path)
    hf_caches.make(tmp_path, model="org/half").remove(SHARDS[1])
    (tmp_path / "models--org--nothing").mkdir()
    return tmp_path


@pytest.fixture
def waste(hub: Path) -> Path:
    path = Repository(hub).blobs / "abc.01234567.incomplete"
    path.write_bytes(b"x" * 1500)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_people_see_each_model_with_its_reason(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--hub", str(hub)) is ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["STATE", "WEIGHTS", "ON", "DISK", "MODEL", "ARCHITECTURE"]
    assert lines[1].split()[:3] == ["complete", "700", "B"]
    assert lines[1].endswith(f"{MODEL}  Qwen2VLForConditionalGeneration")
    assert lines[2].startswith("incomplete")
    assert lines[3].strip() == f"{SHARDS[1]} is missing"
    assert lines[4].strip() == f"400 B lack, of 1 file: {SHARDS[1]}"
    assert lines[5].strip() == f"fetch what lacks: hf download org/half --cache-dir {hub}"
    assert "it has no snapshot" in lines[7]


def test_programs_see_all(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--hub", str(hub), "--json") is ExitCode.OK
    data = json.loads(capsys.readouterr().out)
    assert (data["schema"], data["hub"]) == ("ocrd.models.inspect/1", str(hub))
    whole, half, nothing = data["models"]
    assert whole == {
        "model": MODEL,
        "state": "complete",
        "missing": [],
        "weight_bytes": 700,
        "disk_bytes": whole["disk_bytes"],
        "reason": "",
        "hint": "",
        "architecture": "Qwen2VLForConditionalGeneration",
        "model_type": "qwen2_vl",
        "needs_remote_code": False,
        "revision": REVISION,
        "snapshot": str(Repository(hub).snapshot),
        "warnings": [],
    }
    assert half["missing"] == [{"name": SHARDS[1], "bytes": 400}]
    assert (nothing["model"], nothing["state"]) == ("org/nothing", "incomplete")
    assert "prunable" not in data


def test_an_empty_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--hub", str(tmp_path / "nowhere")) is ExitCode.OK
    assert capsys.readouterr().out == f"no models in {tmp_path}/nowhere\n"


def test_a_cache_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OcrdError, match="cannot be read") as caught:
        call("--hub", str(tmp_path / "file"))
    assert caught.value.hint


def test_the_environment_names_the_cache(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    (hub / "ocrd.toml").write_text("")
    assert call("--json", "--config", str(hub / "ocrd.toml")) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["hub"] == str(hub)


def test_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.dumps({"architectures": ["\x1b[2J"]}).encode()
    hf_caches.make(tmp_path, hf_caches.whole_model() | {"config.json": config})
    call("--hub", str(tmp_path))
    assert "\x1b" not in capsys.readouterr().out


# --- deletion -----------------------------------------------------------------------------------------------


class Terminal:
    """Standard input as a terminal at which a person types an answer."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.file = os.fdopen(theirs)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal()
    monkeypatch.setattr(sys, "stdin", made.file)
    yield made
    made.file.close()
    os.close(made.ours)


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


def test_who_agrees_gets_it_deleted(
    hub: Path, waste: Path, terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.type("y\n")
    assert call("--hub", str(hub), "--prune") is ExitCode.OK
    out = capsys.readouterr().out
    assert f"1.5 kB  {waste}: left of an interrupted download" in out
    assert "delete 1 file, 1.5 kB?" in out
    assert "deleted 1 file, 1.5 kB" in out
    assert not waste.exists()


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "\x04"])
def test_who_does_not_agree_keeps_it(
    hub: Path, waste: Path, terminal: Terminal, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.type(answer)
    assert call("--hub", str(hub), "--prune") is ExitCode.OK
    assert "nothing was deleted" in capsys.readouterr().out
    assert waste.exists()


@pytest.mark.usefixtures("no_terminal")
def test_without_a_terminal_nothing_is_deleted(hub: Path, waste: Path) -> None:
    with pytest.raises(UsageError, match="no terminal") as caught:
        call("--hub", str(hub), "--prune")
    assert caught.value.hint == "add --yes to agree"
    assert waste.exists()


@pytest.mark.usefixtures("no_terminal")
def test_yes_needs_no_terminal(hub: Path, waste: Path) -> None:
    assert call("--hub", str(hub), "--prune", "--yes") is ExitCode.OK
    assert not waste.exists()
    assert {path.name for path in hub.iterdir() if path.name.startswith("models--")} == {
        Repository(hub).folder.name,
        "models--org--half",
        "models--org--nothing",
    }


@pytest.mark.usefixtures("no_terminal")
def test_nothing_to_delete_asks_nothing(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--hub", str(hub), "--prune") is ExitCode.OK
    assert "nothing to delete" in capsys.readouterr().out


def test_yes_alone_makes_no_sense(hub: Path, waste: Path) -> None:
    with pytest.raises(UsageError):
        call("--hub", str(hub), "--yes")
    assert waste.exists()


def test_programs_list_first_and_delete_with_yes(
    hub: Path, waste: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(*words: str) -> dict[str, Any]:
        assert call("--hub", str(hub), "--json", "--prune", *words) is ExitCode.OK
        data: dict[str, Any] = json.loads(capsys.readouterr().out)
        return data

    listed = answer()
    assert listed["prunable"] == [
        {"path": str(waste), "bytes": 1500, "why": "left of an interrupted download"}
    ]
    assert "pruned" not in listed
    assert waste.exists()
    assert answer("--yes")["pruned"] == {"freed_bytes": 1500, "deleted": [str(waste)], "kept": []}
    assert not waste.exists()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (6_078_300_000, "6.1 GB"),
        (2 * 10**12, "2.0 TB"),
    ],
)
def test_sizes_for_people(count: int, expected: str) -> None:
    assert models_inspect.in_bytes(count) == expected


# --- names for `ocrd models test` ---------------------------------------------------------------------------


def test_a_name_is_spelled_as_the_cache_does_else_as_the_catalogue(tmp_path: Path) -> None:
    hf_caches.make(tmp_path / "hub", model="me/Some-Qwen2-VL")
    settings = Settings()
    there = models_test.named(str(tmp_path / "hub"), "ME/some-qwen2-vl", settings)
    assert (there.model, there.state) == ("me/Some-Qwen2-VL", CacheState.COMPLETE)
    absent = models_test.named(str(tmp_path / "hub"), "Rednote-HILAB/Dots.OCR", settings)
    assert (absent.model, absent.state) == ("rednote-hilab/dots.ocr", CacheState.INCOMPLETE)
    assert "hf download rednote-hilab/dots.ocr" in absent.hint
