from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ocrd.daemon.engines import find_gpu
from ocrd.daemon.managed import ManagedFallback, chosen_models
from ocrd.domain.errors import ConfigError
from ocrd.domain.models import ModelProfile, profile_of
from ocrd.settings import Settings


def named(path: Path) -> Settings:
    return Settings().with_value("server", "working_models", str(path), "test")


def test_the_models_are_those_of_the_settings() -> None:
    assert chosen_models(Settings()) == ("rednote-hilab/dots.ocr", "Qwen/Qwen2-VL-2B-Instruct")


@pytest.mark.parametrize(
    ("models", "chosen"), [(["a/b", "c/d", "e/f"], ("a/b", "c/d")), (["a/b"], ("a/b", ""))]
)
def test_the_best_two_of_the_acceptance_test_take_their_place(
    tmp_path: Path, models: list[str], chosen: tuple[str, str]
) -> None:
    path = tmp_path / "working_models.json"
    path.write_text(json.dumps({"models": [{"model": model} for model in models]}))
    assert chosen_models(named(path)) == chosen


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": [1]}', '{"models": []}', None])
def test_a_list_that_is_none_is_refused_by_name(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "working_models.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"working_models\.json") as caught:
        chosen_models(named(path))
    assert "ocrd models test" in caught.value.hint


def test_a_gpu_that_a_program_tells_of_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA GeForce RTX 5070 Ti Laptop GPU, 12227, 10700, 1527'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_gpu(Settings()) == (True, "there is a GPU: NVIDIA GeForce RTX 5070 Ti Laptop GPU")


def test_without_any_sign_of_a_gpu_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if any(map(os.path.exists, ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"))):
        pytest.skip("this machine has a GPU; runs on one without")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpu(Settings()) == (False, "there is no NVIDIA GPU here")


def test_a_server_without_a_gpu_has_to_be_asked_for() -> None:
    settings = Settings()
    found, why = find_gpu(replace(settings, server=replace(settings.server, gpus=("none",))))
    assert found
    assert "none" in why


class Nobody:
    """What a recognizer of a model that is never asked needs of its clients."""

    def profile_of(self, model: str) -> ModelProfile:
        return profile_of(model)


def fallback(*cached: bool) -> ManagedFallback:
    answers = iter(cached)
    return ManagedFallback(
        None,  # never asked
        Nobody(),
        "a/b",
        slots=1,
        patience_s=1.0,
        is_cached=lambda: next(answers),
    )


def test_a_fallback_that_is_not_in_the_cache_is_not_waited_for() -> None:
    assert not fallback(False).is_usable
    assert fallback(True).is_usable


def test_the_cache_is_not_looked_at_for_every_page() -> None:
    one = fallback(True)
    assert [one.is_usable for _ in range(100)] == [True] * 100


def test_a_fallback_that_was_given_up_stays_so() -> None:
    one = fallback(True, True)
    one.give_up()
    assert not one.is_usable
