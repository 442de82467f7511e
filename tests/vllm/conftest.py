"""Fixtures of the tests against real vLLM servers.

They need `script/vllm`; OCRD_TEST_VLLM names another folder that it has made. Without it the tests are skipped with
the command that would make them run; in CI that is a failure.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.real_vllm import Servers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The Python of the virtual environment that vLLM is installed in."""
    folder = Path(os.environ.get("OCRD_TEST_VLLM") or ROOT / ".vllm")
    if not (folder / "bin" / "vllm").exists():
        reason = f"no vLLM in {folder}; install it with: script/vllm"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def tiny_models(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the tiny checkpoints."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([vllm_python, Path(__file__).parent / "tiny_models.py", folder], check=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def servers(
    vllm_python: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """The one place that starts servers."""
    started = Servers(vllm_python, tiny_models, tmp_path_factory.mktemp("logs"))
    yield started
    started.stop()
