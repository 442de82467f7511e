"""The key: only from the environment or from a file of its owner's, and nowhere to be seen afterwards."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ocrd.domain.errors import ConfigError, ExitCode
from ocrd.host import commands
from ocrd.settings import load, secret_variables

CANARY = "canary-key-6f1d"
SETTINGS = f'[vllm]\napi_key = "{CANARY}"\n'


def settings_file(folder: Path, text: str, mode: int) -> str:
    path = folder / "it's here.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_key_in_a_file_that_others_may_read_is_refused_with_the_way_out(tmp_path: Path, mode: int) -> None:
    path = settings_file(tmp_path, SETTINGS, mode)
    with pytest.raises(ConfigError) as told:
        load(path, {})
    assert told.value.exit_code is ExitCode.CONFIG
    assert path in str(told.value)
    assert CANARY not in f"{told.value} {told.value.hint}"
    assert f"chmod 600 {shlex.quote(path)}" in told.value.hint
    subprocess.run(["chmod", "600", path], check=True)
    assert load(path, {}).vllm.api_key == CANARY


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_in_a_file_of_its_owner_is_taken(tmp_path: Path, mode: int) -> None:
    assert load(settings_file(tmp_path, SETTINGS, mode), {}).vllm.api_key == CANARY


def test_files_without_a_key_may_be_read_by_all(tmp_path: Path) -> None:
    path = settings_file(tmp_path, '[vllm]\napi_key = ""\nmodel = "m"\n', 0o644)
    assert load(path, {"OCRD_VLLM__API_KEY": CANARY}).vllm.api_key == CANARY


def test_a_key_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        load(settings_file(tmp_path, "[vllm]\napi_key = 73519264\n", 0o600), {})
    assert "73519264" not in str(told.value)


@pytest.mark.parametrize(
    "url", [f"http://user:{CANARY}@host/v1", f"https://{CANARY}@host", f"http://{CANARY}@h:1"]
)
def test_an_address_with_a_password_in_it_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(None, {"OCRD_VLLM__BASE_URL": url, "XDG_CONFIG_HOME": "/nonexistent"})
    assert CANARY not in f"{told.value} {told.value.hint}"
    assert "OCRD_VLLM__API_KEY" in told.value.hint


def test_an_at_sign_behind_the_host_is_none() -> None:
    url = "http://host/v1/@model"
    assert load(None, {"OCRD_VLLM__BASE_URL": url, "XDG_CONFIG_HOME": "/nonexistent"}).vllm.base_url == url


def test_other_programs_do_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "OCRD_VLLM__API_KEY" in secret_variables()
    for name in secret_variables():
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("OCRD_TEST_KEPT", "kept")
    show = "import os; print(dict(os.environ))"
    for env in (None, {"MORE": "more"}):
        told = commands.run([sys.executable, "-c", show], timeout_s=30, env=env).out
        assert CANARY not in told
        assert "kept" in told
    told = commands.run([sys.executable, "-c", show], timeout_s=30, env={"MORE": "more"}).out
    assert "more" in told


def test_helper_processes_do_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCRD_VLLM__API_KEY", CANARY)
    echo = "import json, os, sys\nfor line in sys.stdin: print(json.dumps(dict(os.environ)), flush=True)"
    child = commands.Child([sys.executable, "-c", echo], env={"MORE": "more"})
    try:
        told = child.ask({}, timeout_s=30)
        assert CANARY not in str(told)
        assert told["MORE"] == "more"
        assert b"canary" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    finally:
        child.kill()
    assert os.environ["OCRD_VLLM__API_KEY"] == CANARY
