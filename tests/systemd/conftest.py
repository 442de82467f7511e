"""Fixtures of the tests on a really booted systemd.

It needs root and what `script/systemd` says. Where none can be booted the tests are skipped with the reason; in CI
that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.booted import Booted, NoBoot, build_wheel, own_folder


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A guest with ocrd's wheel under /opt/ocrd and the user `u1`; one for the whole run."""
    guest = Booted(own_folder())
    try:
        guest.boot()
    except NoBoot as err:
        if os.environ.get("CI"):
            pytest.fail(str(err))
        pytest.skip(f"{err}; the units are still checked by systemd-analyze in the everyday tests")
    try:
        guest.install(build_wheel(tmp_path_factory.mktemp("wheel")))
        yield guest
    finally:
        guest.remove()
