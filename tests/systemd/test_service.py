"""The service's life on a really booted systemd, as a user sees it."""

from __future__ import annotations

import pytest
from support.booted import COMMAND, USER, Booted

pytestmark = pytest.mark.systemd


def test_the_guest_runs_the_wheel(booted: Booted) -> None:
    assert booted.run(["systemctl", "is-system-running"], check=False).stdout.strip() == "running"
    assert "ocrd" in booted.run([COMMAND, "--version"], user=USER).stdout
