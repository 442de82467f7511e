"""The command that a message names installs what is missing, however ocrd itself was installed."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from ocrd.packages import install_command, requirements

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("extra", ["pdf", "heic", "metrics", "gpu"])
def test_the_packages_of_an_extra_are_those_of_the_project(extra: str) -> None:
    assert _names(requirements(extra)) == _names(PROJECT["optional-dependencies"][extra])


def _names(found: list[str]) -> set[str]:
    return {re.split(r"[<>=~! ]", one)[0].lower() for one in found}


def test_the_command_is_for_this_python_and_safe_to_paste() -> None:
    command = install_command("pdf")
    assert command.startswith(f"{sys.executable} -m pip install ")
    assert "pikepdf" in command
    assert "'" in command, "a shell would take < and > for files"
