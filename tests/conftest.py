"""Fixtures for every test: an owned clock, a fresh store. Hypothesis is the same in every run."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fakes.clock import FakeClock
from hypothesis import HealthCheck, settings
from support.stores import Stores

from ocrd.store import schema

# Hundreds of processes are started: each would compile the program anew, as no user's does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile(
    "everyday",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("everyday")


@pytest.fixture
def clock() -> FakeClock:
    """Stands still until it is told to go on."""
    return FakeClock()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated store without rows, to be copied: the migration itself costs a quarter of a second."""
    folder = tmp_path_factory.mktemp("store")
    schema.upgrade(str(folder))
    return folder / schema.FILE_NAME


@pytest.fixture
def state(tmp_path: Path, empty_store: Path) -> Path:
    """A state folder with an empty store at the newest schema."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    shutil.copy2(empty_store, folder / schema.FILE_NAME)
    return folder


@pytest.fixture
def stores(state: Path, clock: FakeClock) -> Iterator[Stores]:
    """The open store of `state`, empty."""
    opened = Stores(str(state), clock)
    yield opened
    opened.close()


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Logging is the process's own; the next test finds it as it was."""
    before, handlers, shown = structlog.get_config(), logging.getLogger().handlers[:], warnings.showwarning
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.captureWarnings(capture=False)
    warnings.showwarning = shown
