"""The part of `ocrd doctor` that looks at what a model server of our own needs: GPU, Docker, image, model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.host import wsl
from ocrd.settings import Settings

if TYPE_CHECKING:
    from ocrd.domain.ports import ContainerRuntime


def look(settings: Settings) -> Iterator[Finding]:
    """Each check on its own. With `auto` what is missing is no failure: the embedded engine reads then."""
    from ocrd.daemon.engines import find_gpu

    found, why = find_gpu(settings)
    wanted = settings.engine.kind == "vllm"
    if not found:
        hint = "ocrd run --engine embedded needs none of it" if wanted else ""
        yield Finding("gpu", FAILURE if wanted else OK, f"{why}; so the embedded engine reads", hint)
        return
    worst = FAILURE if wanted else WARNING
    yield Finding("gpu", OK, why)
    from ocrd.serving.container import DockerRuntime

    try:
        runtime = DockerRuntime(settings.server.docker_host)
        yield _engine(settings, runtime)
        yield from _image(settings, runtime)
    except OcrdError as err:
        yield Finding("docker", worst, str(err), err.hint)
    yield from _models(settings, worst)


def _engine(settings: Settings, runtime: ContainerRuntime) -> Finding:

    told = runtime.describe()
    message = f"{told.version} on {told.operating_system}"
    needs_gpu = settings.server.gpus != ("none",)
    # Docker Desktop does not list the runtime although GPUs work there (envd issues 1133 and 1134).
    knows = (
        "nvidia" in told.runtimes or told.has_cdi or wsl.is_wsl() or "Docker Desktop" in told.operating_system
    )
    if needs_gpu and not knows:
        fix = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
        return Finding("docker", WARNING, f"{message}; it seems to know no NVIDIA GPUs", fix)
    return Finding("docker", OK, message)


def _image(settings: Settings, runtime: ContainerRuntime) -> Iterator[Finding]:
    from ocrd.serving import versions
    from ocrd.serving.planner import choose_image
    from ocrd.serving.server import Refusal

    try:
        image, why = choose_image(settings.server, runtime)
    except Refusal as err:
        yield Finding("image", FAILURE if settings.engine.kind == "vllm" else WARNING, str(err), err.hint)
        return
    version = versions.image_version(image)
    yield Finding("image", OK, why)
    for fault in versions.known_faults(version, is_wsl=wsl.is_wsl()):
        yield Finding("image", WARNING, fault)


def _models(settings: Settings, worst: str) -> Iterator[Finding]:
    from ocrd.daemon.managed import chosen_models
    from ocrd.host import mounts
    from ocrd.serving.hf_cache import CacheState, hub_folder, inspect_model

    hub = hub_folder(settings.server.hf_home, os.environ)
    if not mounts.has_events(mounts.file_system_of(hub)):
        kind = mounts.file_system_of(hub)
        message = f"the models lie on a {kind} file system ({hub}), from which they load slowly"
        yield Finding("cache", WARNING, message, "move them to a disk of Linux, and set [server] hf_home")
    try:
        main, fallback = chosen_models(settings)
    except OcrdError as err:
        yield Finding("model", FAILURE, str(err), err.hint)
        return
    for model, result in ((main, worst), (fallback, WARNING)):
        if not model:
            continue
        cached = inspect_model(hub, model)
        if cached.state is CacheState.COMPLETE:
            yield Finding("model", OK, f"{model} is complete, {cached.weight_bytes / 2**30:.1f} GiB")
        else:
            message = cached.reason if model in cached.reason else f"{model}: {cached.reason}"
            yield Finding("model", result, message, cached.hint)
