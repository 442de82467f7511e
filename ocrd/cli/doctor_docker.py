"""The part of `ocrd doctor` that looks at the Docker engine: whether it can be reached, as whom, and its GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocrd.cli.findings import OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.host import machine, wsl
from ocrd.host.machine import Door
from ocrd.settings import Settings

if TYPE_CHECKING:
    from ocrd.domain.ports import ContainerRuntime
    from ocrd.domain.serving import ContainerEngine


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and where."""

    name: str
    is_wsl: bool


def look(settings: Settings, runtime: ContainerRuntime, worst: str) -> tuple[Finding, bool]:
    """The socket, then the engine behind it, and whether that answers. `worst`: what it is if there is none."""
    from ocrd.serving.container import socket_path

    person = Person(machine.own_name(), wsl.is_wsl())
    path = socket_path(settings.server.docker_host)
    door = machine.look_at_door(path) if path else None
    if door is not None and door.refusal:
        return judge_refusal(door, person, worst), False
    try:
        told = runtime.describe()
    except OcrdError as err:
        return Finding("docker", worst, str(err), err.hint.removesuffix("; see: ocrd doctor")), False
    needs_gpu = settings.server.gpus != ("none",)
    return judge_engine(told, door, person, needs_gpu=needs_gpu), True


def is_desktops(door: Door) -> bool:
    """Whether the socket is one that Docker Desktop puts into a distribution of WSL."""
    return "docker-desktop" in door.real


def judge_refusal(door: Door, person: Person, worst: str) -> Finding:
    """Why the engine's socket could not be connected to, and what to do."""
    if not door.is_there:
        fix = "sudo systemctl start docker" + (", or start Docker Desktop" if person.is_wsl else "")
        return Finding("docker", worst, f"there is no Docker engine at {door.path}", fix)
    if "denied" in door.refusal:
        return _judge_denial(door, person, worst)
    if is_desktops(door):
        message = f"Docker Desktop's socket {door.path} is there, and nobody answers: {door.refusal}"
        return Finding(
            "docker", worst, message, "restart Docker Desktop; it has to run for the GPU to be used"
        )
    message = f"the Docker engine at {door.path} does not answer: {door.refusal}"
    return Finding("docker", worst, message, "sudo systemctl restart docker")


def _judge_denial(door: Door, person: Person, worst: str) -> Finding:
    if door.is_member and not door.has_group:
        message = (
            f"{person.name} is in the group {door.group}, but this session does not know it yet, "
            f"so {door.path} may not be used"
        )
        again = (
            "in Windows: wsl --shutdown, then open a terminal again"
            if person.is_wsl
            else "log out and in again"
        )
        return Finding("docker", worst, message, f"{again}; a service: restart it")
    if door.has_group or door.group in {"", "root"}:
        message = (
            f"{person.name} may not use {door.path}, which belongs to the group {door.group or 'unknown'}"
        )
        return Finding("docker", worst, message, "set [server] docker_host to an engine of this user")
    message = f"{person.name} may not use {door.path}: that takes the group {door.group}"
    fix = f"sudo usermod -aG {door.group} {person.name}, then log in again (the group is as good as root)"
    return Finding("docker", worst, message, fix)


def judge_engine(told: ContainerEngine, door: Door | None, person: Person, *, needs_gpu: bool) -> Finding:
    """What the engine said of itself."""
    desktop = "Docker Desktop" in told.operating_system or (door is not None and is_desktops(door))
    at = "" if door is None else f", at {door.path}{_as_whom(door, person)}"
    message = f"{told.version} on {told.operating_system}{at}"
    # Docker Desktop does not list the runtime although GPUs work there (envd issues 1133 and 1134).
    knows = "nvidia" in told.runtimes or told.has_cdi or person.is_wsl or desktop
    if needs_gpu and not knows:
        fix = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
        return Finding("docker", WARNING, f"{message}; it seems to know no NVIDIA GPUs", fix)
    return Finding("docker", OK, message)


def _as_whom(door: Door, person: Person) -> str:
    by = f" through the group {door.group}" if door.has_group and person.name != "root" else ""
    return f" as {person.name}{by}"
