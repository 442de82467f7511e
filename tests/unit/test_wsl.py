"""WSL is told by its kernel, its version by the kernel's name, its settings as it reads them itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.host import wsl


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("5.15.167.4-microsoft-standard-WSL2", 2),
        ("6.18.3.1-microsoft-standard-WSL2+", 2),
        ("4.19.84-microsoft-standard", 2),
        ("4.4.0-19041-Microsoft", 1),
        ("6.1.0-18-amd64", None),
        ("", None),
    ],
)
def test_the_kernel_tells_which_wsl_it_is(release: str, version: int | None) -> None:
    assert wsl.is_wsl(release) is (version is not None)
    assert wsl.version(release) == version


def test_this_machine_is_told_by_its_kernel_or_its_files() -> None:
    assert wsl.version() in ({1, 2} if wsl.is_wsl() else {None})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[boot]\nsystemd=true\n", True),
        ("[automount]\nroot = /\n\n[Boot]\n  Systemd = TRUE  # since today\n", True),
        ('[boot]\r\nsystemd="true"\r\n', True),
        ("[boot]\nsystemd=1", True),
        ("[boot]\n#systemd=true\n", False),
        ("[boot]\nsystemd=true\nsystemd=false\n", False),
        ("[automount]\nsystemd=true\n", False),
        ("systemd=true\n", False),
        ("[boot]\ncommand=systemd=true\n", False),
        ("", False),
    ],
)
def test_wsl_conf_switches_systemd_on(text: str, expected: bool) -> None:
    assert wsl.conf_has_systemd(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[general]\ninstanceIdleTimeout=-1\n", True),
        ("[wsl2]\nvmIdleTimeout=-1\n", False),  # ends the distribution all the same (microsoft/WSL #8654)
        ("[general]\ninstanceIdleTimeout=15000\n", False),
    ],
)
def test_a_wslconfig_lets_a_distribution_run_on(text: str, expected: bool) -> None:
    assert wsl.conf_stays_alive(text) is expected


@given(st.text(alphabet="[]=#bootsystemdtrue\n \"'\\é"))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert isinstance(wsl.conf_has_systemd(text), bool)
