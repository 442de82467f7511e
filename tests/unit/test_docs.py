"""The documents say what the code does: every option, every reason, every file they point to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocrd import settings
from ocrd.domain.errors import ReasonCode
from ocrd.domain.serving import Failure
from ocrd.pipeline.inbox import DEFAULT_IGNORES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_option_stands_in_the_configuration_document_with_its_help() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for section, _, options in settings.sections():
        assert f"## `[{section}]`" in text
        for option in options:
            default = settings.format_value(option.default)
            assert f"| `{option.name}` | `{default}` | {option.metadata['help']} |" in text


def test_the_names_that_are_ignored_are_listed() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text().partition("## Ignored names")[2]
    setting, *listed = re.findall(r"`([^`]+)`", text)
    assert setting == "[inbox] ignore"
    assert sorted(listed) == sorted(DEFAULT_IGNORES)


def test_every_reason_has_its_row_and_every_row_its_reason() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    assert rows == {code.value for code in ReasonCode}


def test_every_cause_of_the_model_server_has_its_row() -> None:
    text = (
        (ROOT / "docs" / "errors.md").read_text().partition("## The model server")[2].partition("## Exit")[0]
    )
    rows = re.findall(r"^\| ([a-z_]+) \|", text, re.MULTILINE)
    assert rows == ["cause", *(failure.value for failure in Failure)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_document_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


@pytest.mark.parametrize("name", ["reliability.md", "security.md", "features.md"])
def test_the_tests_that_a_document_names_exist(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for test in re.findall(r"`(test_[a-z_0-9]+)", text):
        assert test.rstrip("_") in tests, test
    for path in re.findall(r"`((?:tests|benchmarks)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
