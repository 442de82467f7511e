from __future__ import annotations

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


def test_the_documents_name_every_fault_point() -> None:
    told = set(re.findall(r"`([a-z]+\.[a-z_]+)`", (ROOT / "docs" / "reliability.md").read_text()))
    code = "".join(path.read_text() for path in (ROOT / "ocrd").rglob("*.py"))
    there = set(re.findall(r'faults\.point\("([a-z._]+)"\)', code))
    assert engine.WRITES | there <= told
    assert {"page.land", "document.finish"} <= engine.WRITES
