"""The part of `ocrd doctor` that looks at what a model server of our own needs: GPU, Docker, image, models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ocrd.cli import doctor_docker, doctor_models
from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.host import wsl
from ocrd.settings import Settings

if TYPE_CHECKING:
    from ocrd.domain.planning import Card
    from ocrd.domain.ports import ContainerRuntime


def look(settings: Settings) -> Iterator[Finding]:
    """Each check on its own. With `auto` what is missing is no failure: the embedded engine reads then."""
    from ocrd.daemon.engines import find_gpu

    found, why = find_gpu(settings)
    is_wanted = settings.engine.kind == "vllm"
    if not found:
        if not is_wanted:
            yield Finding("gpu", OK, f"{why}; so the embedded engine reads")
            return
        yield Finding("gpu", FAILURE, why, "ocrd run --engine embedded needs none of it")
    elif settings.server.gpus == ("none",):
        yield Finding("gpu", OK, why)
    else:
        yield from _gpu()
    worst = FAILURE if is_wanted else WARNING
    yield from _docker(settings, worst)
    yield from doctor_models.look(settings, worst)


def _gpu() -> Iterator[Finding]:
    from ocrd.serving import gpu

    try:
        yield from judge_cards(gpu.read_cards(), gpu.driver_version())
    except gpu.GpuMissing as err:
        yield Finding("gpu", FAILURE, str(err), err.hint)


def judge_cards(cards: Mapping[int, Card], driver: str) -> Iterator[Finding]:
    """A line a card. What others have taken of one is no fault: a model that then does not fit says so itself."""
    for number, card in cards.items():
        where = f"Windows' driver {driver}" if card.is_wsl else f"driver {driver}"
        message = f"{number}: {card.name}, {card.total_mib} MiB, {card.free_mib} free"
        yield Finding("gpu", OK, f"{message}, {where if driver else 'driver unknown'}")


def _docker(settings: Settings, worst: str) -> Iterator[Finding]:
    from ocrd.serving.container import DockerRuntime

    try:
        runtime = DockerRuntime(settings.server.docker_host)
    except OcrdError as err:
        yield Finding("docker", worst, str(err), err.hint)
        return
    try:
        finding, answers = doctor_docker.look(settings, runtime, worst)
        yield finding
        if answers:
            yield from _image(settings, runtime, worst)
    finally:
        runtime.close()


def _image(settings: Settings, runtime: ContainerRuntime, worst: str) -> Iterator[Finding]:
    from ocrd.serving import versions
    from ocrd.serving.planner import choose_image

    try:
        image, why = choose_image(settings.server, runtime)
    except OcrdError as err:
        yield Finding("image", worst, str(err), err.hint)
        return
    yield Finding("image", OK, why)
    faults = versions.known_faults(versions.image_version(image), is_wsl=wsl.is_wsl())
    for fault in faults:
        fix = "ocrd models test shows whether it works; [server] image names another"
        yield Finding("image", WARNING, fault, fix)
