"""The part of `ocrd doctor` that looks at the service: systemd, the unit, linger, the daemon that runs, metrics."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ocrd.cli import status
from ocrd.cli.common import in_words
from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.host import machine, systemd, wsl
from ocrd.host.systemd import Kind
from ocrd.packages import install_command
from ocrd.settings import Settings

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "Result", "DropInPaths")
"""Of a unit, as `systemctl show` has them."""
SILENT = "not to be asked"
"""The state of a user's unit while the user's systemd does not run."""
_USER_UNIT = "systemd/user"
_LATE_S = 60.0


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of ours as `systemctl show` tells it."""

    kind: Kind
    name: str
    is_installed: bool
    active: str
    """`active`, `inactive`, `failed`, `activating`, …; or `SILENT`."""
    is_enabled: bool
    result: str = ""
    """`success`, or why it ended: `exit-code`, `watchdog`, …"""

    @property
    def systemctl(self) -> str:
        """The command for it."""
        return "systemctl --user" if self.kind is Kind.USER else "sudo systemctl"

    @property
    def journal(self) -> str:
        """The command that shows its log."""
        return " ".join(systemd.journal(self.kind, self.name, "-n", "30"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about systemd."""

    is_booted: bool
    is_wsl: bool
    wsl_conf_has_systemd: bool
    user: str
    units: tuple[Unit, ...] = ()
    lingers: bool = False


# --- systemd ------------------------------------------------------------------------------------------------


def look() -> Iterator[Finding]:
    """systemd, and the units of this user."""
    user, is_booted = _whom(), systemd.is_booted()
    kinds = (Kind.SYSTEM, Kind.USER) if user == machine.own_name() else (Kind.SYSTEM,)
    units = [_unit(kind, user) for kind in kinds] if is_booted else []
    yield from judge(
        Facts(
            is_booted=is_booted,
            is_wsl=wsl.is_wsl(),
            wsl_conf_has_systemd=wsl.has_systemd(),
            user=user,
            units=tuple(unit for unit in units if unit is not None),
            lingers=systemd.lingers(user),
        )
    )


def _whom() -> str:
    """Whose service it is: with sudo that of the person."""
    return (os.environ.get("SUDO_USER") if os.geteuid() == 0 else None) or machine.own_name()


def _unit(kind: Kind, user: str) -> Unit | None:
    """None if systemd does not answer, and no file of a unit is there."""
    name = systemd.unit_of(kind, user)
    with contextlib.suppress(OcrdError):
        return unit_of(kind, name, systemd.show(kind, name, PROPERTIES))
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if kind is Kind.USER and os.path.exists(os.path.join(home, _USER_UNIT, name)):
        return Unit(kind, name, is_installed=True, active=SILENT, is_enabled=True)
    return None


def unit_of(kind: Kind, name: str, shown: Mapping[str, str]) -> Unit:
    """A unit by its properties; '' for those that systemd does not know.

    The template of the system's kind is there for every user; it is installed for those who have a drop-in, too.
    """
    active, is_enabled = shown["ActiveState"] or "inactive", shown["UnitFileState"].startswith("enabled")
    is_set_up = is_enabled or bool(shown["DropInPaths"]) or active != "inactive"
    return Unit(
        kind=kind,
        name=name,
        is_installed=shown["LoadState"] not in {"", "not-found"} and is_set_up,
        active=active,
        is_enabled=is_enabled,
        result=shown["Result"],
    )


def judge(facts: Facts) -> Iterator[Finding]:
    """Whether a service can run here, and does."""
    if not facts.is_booted:
        yield _judge_unbooted(facts)
        return
    yield Finding("systemd", OK, "it runs this machine")
    installed = [unit for unit in facts.units if unit.is_installed]
    if not installed:
        yield Finding("service", OK, "not installed (ocrd service install); ocrd run works without")
    if len([unit for unit in installed if unit.is_enabled]) > 1:
        both = " and ".join(unit.name for unit in installed)
        message = f"{both} are both switched on, and only one of them can have the inbox"
        yield Finding("service", WARNING, message, "ocrd service uninstall --user")
    for unit in installed:
        yield _judge_unit(unit)
        if unit.kind is Kind.USER and unit.is_enabled:
            yield _judge_linger(facts)


def _judge_unbooted(facts: Facts) -> Finding:
    if not facts.is_wsl:
        return Finding("systemd", OK, "it does not run here, so there is no service; ocrd run works without")
    if facts.wsl_conf_has_systemd:
        message = "it is switched on in /etc/wsl.conf, and does not run yet"
        return Finding("systemd", WARNING, message, "in Windows: wsl --shutdown, then open a terminal again")
    return Finding(
        "systemd",
        WARNING,
        "it is not switched on in WSL, so ocrd cannot run as a service",
        "put the lines [boot] and systemd=true into /etc/wsl.conf, then in Windows: wsl --shutdown",
    )


def _judge_unit(unit: Unit) -> Finding:
    if unit.active == SILENT:
        message = f"{unit.name} is installed, and this user's systemd does not run (or not for this session)"
        return Finding("service", WARNING, message, "log in as this user, not by su or sudo")
    if unit.active == "failed":
        message = f"{unit.name} failed ({unit.result or 'no reason given'})"
        return Finding(
            "service", FAILURE, message, f"{unit.journal}; then {unit.systemctl} restart {unit.name}"
        )
    if unit.active == "activating":
        return Finding(
            "service", WARNING, f"{unit.name} is not ready yet, or starts again and again", unit.journal
        )
    if unit.active not in {"active", "reloading"}:
        message = f"{unit.name} is installed and {unit.active}"
        return Finding("service", WARNING, message, f"{unit.systemctl} enable --now {unit.name}")
    if not unit.is_enabled:
        message = f"{unit.name} runs, and will not after the next start of this machine"
        return Finding("service", WARNING, message, f"{unit.systemctl} enable {unit.name}")
    return Finding("service", OK, f"{unit.name} runs, and starts by itself")


def _judge_linger(facts: Facts) -> Finding:
    if facts.lingers:
        return Finding("linger", OK, f"the services of {facts.user} start with the machine")
    message = f"the services of {facts.user} start at the first login, and end with the last"
    return Finding("linger", WARNING, message, f"sudo loginctl enable-linger {facts.user}")


# --- the daemon ---------------------------------------------------------------------------------------------


def look_at_daemon(state: str) -> Iterator[Finding]:
    """What the daemon of a store says of itself. Raises StoreError."""
    yield from judge_daemon(status.read(state))


def judge_daemon(told: Mapping[str, Any]) -> Iterator[Finding]:
    """What `ocrd status --json` says, as far as something is to be done about it."""
    daemon, engine = told["daemon"], told["engine"] or {}
    if told["paused"]:
        yield Finding("daemon", WARNING, "the queue is paused: nothing is read", "ocrd resume")
    if not daemon["alive"]:
        yield Finding("daemon", OK, "not running (ocrd run, or ocrd service install)")
        return
    late_s = daemon.get("heartbeat_age_s") or 0.0
    if late_s > _LATE_S:
        message = f"pid {daemon['pid']} gave no sign of life for {in_words(late_s)}"
        yield Finding("daemon", FAILURE, message, "ocrd service restart, or end it and start it again")
    elif engine.get("problem"):
        yield Finding("daemon", WARNING, f"it rests: {engine['problem']}", "ocrd status")
    else:
        yield Finding("daemon", OK, f"runs, pid {daemon['pid']}")


# --- metrics ------------------------------------------------------------------------------------------------


def look_at_metrics(settings: Settings) -> Iterator[Finding]:
    """Nothing where no figures are asked for."""
    places = [place for place in (settings.metrics.listen, settings.metrics.textfile) if place]
    if places:
        has_extra = importlib.util.find_spec("prometheus_client") is not None
        yield judge_metrics(" and ".join(places), has_extra=has_extra)


def judge_metrics(places: str, *, has_extra: bool) -> Finding:
    """Whether figures can be made."""
    if not has_extra:
        message = (
            f"[metrics] asks for figures at {places}, and the extra is not installed: ocrd does not start"
        )
        return Finding("metrics", FAILURE, message, install_command("metrics"))
    return Finding("metrics", OK, f"figures at {places}")
