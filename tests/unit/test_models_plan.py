"""`ocrd models plan` and `ocrd models list`: what people and programs see."""

from __future__ import annotations

import argparse
import ctypes
import json
from pathlib import Path
from typing import Any

import pytest
from support import hf_caches

from ocrd.cli import models_list, models_plan
from ocrd.domain.errors import ExitCode, UsageError
from ocrd.serving.catalog import load_catalog
from ocrd.serving.gpu import GpuMissing


def call(*words: str) -> ExitCode:
    """As `ocrd models` would."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    models_plan.add_parser(subparsers)
    models_list.add_parser(subparsers)
    arguments = parser.parse_args(words)
    code: ExitCode = arguments.handler(arguments)
    return code


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings and an empty cache, whoever runs the tests."""
    for name in ("OCRD_CONFIG", "HF_HOME", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    return tmp_path


@pytest.fixture
def fake_smi(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only program on PATH that is called nvidia-smi; it answers with one card."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        pass
    else:
        pytest.skip("runs on machines without an NVIDIA driver; here the real one answers first")
    folder = home / "bin"
    folder.mkdir()
    path = folder / "nvidia-smi"
    path.write_text("#!/bin/sh\necho '0, NVIDIA GeForce RTX 5070 Ti Laptop GPU, 12227, 11005, 1222'\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return path


def plans(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "ocrd.models.plan/1"
    return {plan["model"]: plan for plan in data["plans"]}


def test_programs_get_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "--gpu-mib", "12227", "--free-mib", "11469", "--wsl", "--json") is ExitCode.OK
    found = plans(capsys)
    assert list(found) == [entry.model for entry in load_catalog()]
    dots = found["rednote-hilab/dots.ocr"]
    assert dots == {
        "model": "rednote-hilab/dots.ocr",
        "fits": True,
        "limit": 10431,
        "limiting_term": "",
        "reason": "it needs 8595 of 10431 MiB",
        "source": "catalogue",
        "note": "not in the cache: measures from the catalogue",
        "servable": True,
        "footprint_mib": 8595,
        "free_mib": 11469,
        "total_mib": 12227,
        "budget_mib": None,
        "max_model_len": 10240,
        "max_num_seqs": 4,
        "max_pixels": 4_000_000,
        "image_tokens": 5103,
        "answer_tokens": 4609,
        "kv_cache_mib": 1232,
        "gpu_memory_utilization": 0.72,
        "enforce_eager": True,
        "terms": {
            "weights": 5796,
            "vision_peak": 1003,
            "language_peak": 130,
            "kv": 1232,
            "overhead": 564,
            "cudagraphs": 0,
            "reserve": 1024,
        },
    }
    large = found["Qwen/Qwen2-VL-7B-Instruct"]
    assert (large["fits"], large["limiting_term"]) == (False, "weights")
    assert large["reason"] == "weights alone need 15811 MiB, the card has 12227"
    unknown = found["deepseek-ai/deepseek-vl-1.3b-chat"]
    assert (unknown["fits"], unknown["limiting_term"], unknown["terms"]) == (None, "measures", None)
    assert found["stepfun-ai/GOT-OCR-2.0-hf"]["servable"] is False


def test_people_see_all_terms_and_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "--gpu-mib", "12227", "--free-mib", "11469", "--wsl") is ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a card under WSL2: 12227 MiB, 11469 free, 1024 reserved: 10431 may be used"
    assert lines[3].split() == [
        "MODEL", "FITS", "WEIGHTS", "VISION", "LANGUAGE", "OVERHEAD", "GRAPHS", "KV", "SUM", "LEFT",
    ]  # fmt: skip
    assert lines[4].split() == [
        "rednote-hilab/dots.ocr*", "yes", "5796", "1003", "(130)", "564", "0", "1232", "8595", "1836",
    ]  # fmt: skip
    assert "10240 tokens, 4 pages of 4.00 megapixels at once" in lines[5]
    text = "\n".join(lines)
    assert "limiting term weights: weights alone need 15811 MiB, the card has 12227" in text
    assert "no version of vLLM is known to serve it" in text
    assert lines[-1] == "* not in the cache: measures from the catalogue"
    assert max(map(len, lines)) <= 120


def test_one_model_is_told_in_detail(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "QWEN/qwen3-vl-2b-instruct", "--gpu-mib", "12227") is ExitCode.OK
    text = capsys.readouterr().out
    assert text.startswith("Qwen/Qwen3-VL-2B-Instruct: fits\n")
    assert "KV cache          1479  2 × 6144 tokens, 740 each" in text
    assert "language peak      100  a step of the language model; not added" in text
    assert "sum               6634  of 11905 that may be used" in text


def test_one_model_that_does_not_fit_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "Qwen/Qwen2-VL-7B-Instruct", "--gpu-mib", "8188") is ExitCode.FAILED
    assert "does not fit" in capsys.readouterr().out


def test_one_model_without_measures_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "deepseek-ai/deepseek-vl-1.3b-chat", "--gpu-mib", "8188") is ExitCode.FAILED
    assert "no plan: not in the cache, and the catalogue has no measures" in capsys.readouterr().out


def test_measures_come_from_the_cache_where_the_model_is_whole(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The synthetic model has 700 bytes of weights: 1 MiB."""
    hf_caches.make(home / "hub")
    call("plan", "Qwen/Qwen2-VL-2B-Instruct", "--gpu-mib", "8188", "--json")
    plan = plans(capsys)["Qwen/Qwen2-VL-2B-Instruct"]
    assert (plan["source"], plan["note"], plan["terms"]["weights"]) == ("cache", "", 1)
    assert (plan["max_model_len"], plan["terms"]["kv"]) == (7424, 894)


def test_names_are_the_same_in_any_case(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf_caches.make(home / "hub")
    call("plan", "qwen/QWEN2-vl-2b-instruct", "--gpu-mib", "8188", "--json")
    assert plans(capsys)["Qwen/Qwen2-VL-2B-Instruct"]["source"] == "cache"


def test_a_cached_model_needs_no_row(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf_caches.make(home / "hub", model="me/some-qwen2-vl")
    assert call("plan", "me/some-qwen2-vl", "--gpu-mib", "8188") is ExitCode.OK
    assert capsys.readouterr().out.startswith("me/some-qwen2-vl: fits\n")


def test_half_a_model_is_planned_by_the_catalogue(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf_caches.make(home / "hub").remove(hf_caches.SHARDS[1])
    call("plan", "Qwen/Qwen2-VL-2B-Instruct", "--gpu-mib", "8188")
    assert "incomplete in the cache: measures from the catalogue" in capsys.readouterr().out


def test_a_config_without_measures_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = hf_caches.make(home / "hub")
    config = {**hf_caches.QWEN2_CONFIG}
    del config["num_hidden_layers"]
    repository.remove("config.json")
    repository.add("config.json", json.dumps(config).encode())
    call("plan", "Qwen/Qwen2-VL-2B-Instruct", "--gpu-mib", "8188", "--json")
    plan = plans(capsys)["Qwen/Qwen2-VL-2B-Instruct"]
    assert plan["source"] == "catalogue"
    assert "the key num_hidden_layers is missing" in plan["note"]


def test_the_cards_own_memory_is_measured(fake_smi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "rednote-hilab/dots.ocr") is ExitCode.OK
    assert "NVIDIA GeForce RTX 5070 Ti Laptop GPU" in capsys.readouterr().out
    call("plan", "rednote-hilab/dots.ocr", "--free-mib", "9000", "--json")
    plan = plans(capsys)["rednote-hilab/dots.ocr"]
    assert (plan["total_mib"], plan["free_mib"]) == (12_227, 9000)


def test_one_of_several_cards(
    fake_smi: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi.write_text("#!/bin/sh\necho '0, Small, 8188, 8000, 188'\necho '2, Large, 24564, 24000, 564'\n")

    def total(*words: str) -> int:
        call("plan", "rednote-hilab/dots.ocr", "--json", *words)
        mib: int = plans(capsys)["rednote-hilab/dots.ocr"]["total_mib"]
        return mib

    assert (total(), total("--gpu", "0"), total("--gpu", "2")) == (8188, 8188, 24_564)
    monkeypatch.setenv("OCRD_SERVER__GPUS", "2")
    assert (total(), total("--gpu", "0")) == (24_564, 8188)
    with pytest.raises(GpuMissing, match="there is no GPU 1") as caught:
        call("plan", "--gpu", "1")
    assert "nvidia-smi" in caught.value.hint


@pytest.mark.parametrize("script", ["exit 9", "echo garbage"])
def test_without_a_gpu_the_option_is_named(fake_smi: Path, script: str) -> None:
    fake_smi.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(GpuMissing, match="no NVIDIA GPU can be used") as caught:
        call("plan")
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert "ocrd models plan --gpu-mib 12227" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gpu-mib", "0"), "--gpu-mib 0 is no size"),
        (("--gpu-mib", "-5"), "--gpu-mib -5 is no size"),
        (("--gpu-mib", "8000", "--free-mib", "-1"), "--free-mib -1 is no size"),
        (("--gpu-mib", "8000", "--free-mib", "9000"), "more than the card has (8000 MiB)"),
        (("--gpu", "-1"), "--gpu takes the number"),
        (("--gpu", "0", "--gpu-mib", "8000"), "goes without --gpu-mib"),
        (("rednote/dots.ocr", "--gpu-mib", "8000"), "neither in the catalogue nor in the cache"),
    ],
)
def test_a_mistake_on_the_command_line(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call("plan", *words)
    assert said in str(caught.value)
    assert caught.value.hint


def test_nothing_free_is_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "--gpu-mib", "8000", "--free-mib", "0") is ExitCode.OK
    assert " yes " not in capsys.readouterr().out


# --- list ---------------------------------------------------------------------------------------------------


def test_the_list_for_people(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf_caches.make(home / "hub")
    assert call("list") is ExitCode.OK
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].split() == ["VERDICT", "IN", "THE", "CACHE", "START", "MODEL", "LICENCE"]
    assert lines[1].split() == ["works", "absent", "55", "s", "rednote-hilab/dots.ocr", "MIT"]
    (row,) = (line.split() for line in lines if "  Qwen/Qwen2-VL-2B-Instruct " in line)
    assert row[:2] == ["works", "complete"]
    for entry in load_catalog():
        assert entry.model in text
    assert max(map(len, lines)) <= 110


def test_the_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--json") is ExitCode.OK
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "ocrd.models.list/1"
    first = data["models"][0]
    assert (first["model"], first["verdict"], first["cached"]) == (
        "rednote-hilab/dots.ocr",
        "works",
        "absent",
    )
    assert first["known"][0] == {
        "source": "user",
        "card_gib": 12,
        "port": 8000,
        "max_model_len": 1024,
        "max_num_seqs": None,
        "max_pixels": None,
        "gpu_memory_utilization": 0.85,
        "enforce_eager": True,
    }
    assert {model["verdict"] for model in data["models"]} == {"works", "timed_out", "incomplete", "untested"}


@pytest.mark.parametrize("command", [("list",), ("plan", "--gpu-mib", "8000")])
def test_a_cache_that_cannot_be_read_is_no_obstacle(
    command: tuple[str, ...], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "file").write_text("no folder")
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "file"))
    assert call(*command) is ExitCode.OK
    assert "dots.ocr" in capsys.readouterr().out
