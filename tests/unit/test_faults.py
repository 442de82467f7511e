from __future__ import annotations

import ast
import errno
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import ConfigError
from ocrd.host.faults import Fault, InjectedError, Points, from_environment, parse
from ocrd.store import commands, documents, engine, outputs, pages, pruning, relocations, servers

ROOT = Path(__file__).parents[2]
STORES = (commands, documents, outputs, pages, pruning, relocations, servers)
"""Imported: their methods are in `engine.WRITES` then."""

NAMES = st.from_regex(r"[a-z]+\.[a-z_]+\.commit", fullmatch=True)


@given(NAMES, st.sampled_from(["kill", "raise", "enospc", "eio", "erofs", "hang"]), st.integers(1, 99))
def test_a_fault_is_read_as_it_is_written(name: str, what: str, nth: int) -> None:
    assert parse(f"{name}:{what}") == Fault(name, what, 1, 1)
    assert parse(f"{name}:{what}:{nth}") == Fault(name, what, nth, nth)
    assert parse(f"{name}:{what}:{nth}-{nth + 3}") == Fault(name, what, nth, nth + 3)


@pytest.mark.parametrize(
    "text", ["page.land", ":kill", "page.land:explode", "page.land:kill:x", "a:kill:1-x"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="OCRD_FAULT"):
        parse(text)


def test_it_acts_at_its_times_and_at_its_place_alone() -> None:
    points = Points(Fault("page.land.commit", "enospc", 2, 3))
    happened = []
    for name in ["page.land.commit", "page.claim.commit"] * 4:
        try:
            points.come_by(name)
        except OSError as err:
            happened.append((name, err.errno))
        else:
            happened.append((name, 0))
    full = ("page.land.commit", errno.ENOSPC)
    passed, other = ("page.land.commit", 0), ("page.claim.commit", 0)
    assert happened == [passed, other, full, other, full, other, passed, other]


def test_an_unexpected_error_is_one_that_nobody_catches_by_type() -> None:
    with pytest.raises(InjectedError):
        Points(Fault("x", "raise")).come_by("x")
    assert not issubclass(InjectedError, OSError)


def test_without_the_variable_nothing_happens() -> None:
    from_environment({}).come_by("page.land.commit")


def points() -> set[str]:
    """All that the code comes by, those of a write without their moment."""
    files = [*(ROOT / "ocrd").rglob("*.py"), *(ROOT / "migrations").rglob("*.py")]
    code = "".join(path.read_text() for path in files)
    there = set(re.findall(r'(?:faults\.point|name_next)\("([a-z._]+)"\)', code))
    return engine.WRITES | there


def killed_at() -> set[str]:
    """The points that stand in a test which kills there, a benchmark's list among them."""
    tests = ROOT / "tests"
    matrices = [*tests.glob("*/test_crash*.py"), tests / "support" / "crashes.py"]
    matrices += [tests / "e2e" / name for name in ("test_after.py", "test_search.py")]
    named = set()
    for path in matrices:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.add(node.value.partition(":")[0])
            if isinstance(node, ast.JoinedStr):  # f"document.release.{moment}:kill"
                named.add(str(getattr(node.values[0], "value", "")).removesuffix("."))
    return named | {name.removesuffix(".commit").removesuffix(".committed") for name in named}


def test_the_documents_name_every_fault_point_and_no_other() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text().partition("## Fault points")[2]
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", table)) == points()
    assert {"page.land", "document.finish"} <= engine.WRITES


def test_a_kill_is_tried_at_every_fault_point() -> None:
    assert points() - killed_at() == set()
