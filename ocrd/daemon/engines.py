"""Which engine reads the pages, which one stands by it, which rasterizer renders them, and how they are started.

Apart from `build`, because they need no store: they load in processes of their own while the daemon imports
SQLAlchemy, which takes as long.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ocrd.daemon.promises import Promises, PromisingRecognizer
from ocrd.domain.documents import Request
from ocrd.domain.errors import ConfigError, ServiceMissing
from ocrd.domain.models import PromptMode
from ocrd.domain.ports import Recognizer
from ocrd.packages import install_command
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy
from ocrd.settings import Settings

if TYPE_CHECKING:  # imported where they are used: the engine starts the sooner
    from ocrd.daemon.managed import Managed, ManagedFallback
    from ocrd.daemon.witnessing import Witnesses
    from ocrd.domain.retry import Means
    from ocrd.pipeline.recognizer.vllm import ServerOptions

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
"""One of them is there with any driver, the last under WSL2: to look is quicker than to ask NVML."""
ENGINE_GROUP = "ocrd.engines"
"""Entry points of this group are functions from Settings to a Recognizer; `[engine] kind` names one."""
INTAKE_THREADS = 2
"""How many new files are looked into at the same time; each asks the rasterizer for its pages."""


class Server(Protocol):
    """A model server as `ocrd status` shows it."""

    @property
    def modes(self) -> AbstractSet[PromptMode]:
        """The prompts that its model knows; none while the server is not known."""

    def facts(self) -> dict[str, Any]:
        """`state`, `model` and what else is known, as plain data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """Who reads: the first engine by its name; the fallback model in its turns; the second, if there is one, as last
    resort and as witness."""

    first: Recognizer
    name: str
    request: Request
    second: Recognizer | None = None
    second_request: Request | None = None
    witnesses: Witnesses | None = None
    server: Server | None = None
    fallback: ManagedFallback | None = None
    managed: Managed | None = None
    why: str = ""
    """Why `auto` chose these."""
    promises: Promises = field(default_factory=Promises)
    """What the work of these engines, and with them, is held to."""

    def reading(self, languages: tuple[str, ...]) -> Engines:
        """The same engines, asked to read other languages."""
        second = self.second_request
        return replace(
            self,
            request=replace(self.request, languages=languages),
            second_request=None if second is None else replace(second, languages=languages),
        )

    @property
    def may_park(self) -> bool:
        """Whether pages may wait for a fallback model: there is one, and it can be served."""
        return self.fallback is not None and self.fallback.is_usable

    @property
    def means(self) -> Means:
        """What there is to climb the ladder with."""
        from ocrd.domain.retry import Means

        modes = frozenset[PromptMode]() if self.server is None else self.server.modes
        return Means(modes=modes, has_second=self.second is not None, has_fallback=self.may_park)

    def close_clients(self) -> None:
        """Break off what is being asked of a model server of our own; a check that is under way too."""
        if self.managed is not None:
            self.managed.clients.close()

    def close(self) -> None:
        """End all of them."""
        self.close_clients()
        self.first.close()
        if self.fallback is not None:
            self.fallback.close()
        if self.second is not None:
            self.second.close()
        if self.witnesses is not None:
            self.witnesses.close()


def build_engines(settings: Settings) -> Engines:
    """The engines that the settings name. Raises ServiceMissing or ConfigError; they start in the background."""
    kind, why = choose_engine(settings)
    promises = Promises(grace_s=settings.daemon.hang_grace_s)
    if kind == "vllm":
        build = _build_vllm if settings.vllm.base_url else _build_managed
        return build(settings, why, promises)
    first = (
        _build_embedded(settings, engine_workers(settings))
        if kind == "embedded"
        else _build_plugin(settings, kind)
    )
    return Engines(
        first=PromisingRecognizer(first, promises),
        name=kind,
        request=_embedded_request(settings),
        why=why,
        promises=promises,
    )


def _build_vllm(settings: Settings, why: str, promises: Promises) -> Engines:
    from ocrd.pipeline.recognizer.vllm import VllmRecognizer

    first = VllmRecognizer(server_options(settings))
    return Engines(
        first=PromisingRecognizer(first, promises),
        name="vllm",
        server=first,
        why=why,
        promises=promises,
        **_beside_a_model(settings, promises),
    )


def _build_managed(settings: Settings, why: str, promises: Promises) -> Engines:
    """A model in a container of ours. The container is started later, by whoever has the store."""
    from ocrd.daemon.managed import build_managed

    managed = build_managed(
        settings,
        server_options(settings),
        patience_s=server_wait_s(settings),
        slots=settings.server.max_num_seqs,
        promises=promises,
    )
    return Engines(
        first=managed.main,
        name="vllm",
        server=managed.main,
        fallback=managed.fallback,
        managed=managed,
        why=why,
        promises=promises,
        **_beside_a_model(settings, promises),
    )


def _beside_a_model(settings: Settings, promises: Promises) -> dict[str, Any]:
    """The embedded engine as second reader and as witness, and what a model is asked."""
    from ocrd.daemon.witnessing import Witnesses

    embedded, second_request = _build_second(settings), _embedded_request(settings)
    second = None if embedded is None else PromisingRecognizer(embedded, promises)
    return {
        "request": Request(languages=settings.engine.languages, timeout_s=settings.vllm.page_timeout_s),
        "second": second,
        "second_request": second_request,
        "witnesses": Witnesses(second, second_request) if second and settings.vllm.witness else None,
    }


def server_options(settings: Settings) -> ServerOptions:
    """The recognizer's part of the settings."""
    from ocrd.pipeline.recognizer.vllm import ServerOptions

    return ServerOptions(
        base_url=settings.vllm.base_url,
        model=settings.vllm.model,
        api_key=settings.vllm.api_key,
        family=settings.vllm.family,
        slots=settings.vllm.concurrency,
        min_dpi=settings.raster.min_dpi,
    )


def _build_second(settings: Settings) -> Recognizer | None:
    """The embedded engine beside a model; without its language data there is none, which doctor tells."""
    try:
        return _build_embedded(settings, max(1, engine_workers(settings) - 1))
    except ServiceMissing:
        return None


def _build_plugin(settings: Settings, kind: str) -> Recognizer:
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENGINE_GROUP)}
    if kind not in plugins:
        known = ", ".join(["auto", "embedded", "vllm", *sorted(plugins)])
        raise ConfigError(f"[engine] kind: there is no engine {kind!r}", hint=f"known engines: {known}")
    factory: Callable[[Settings], Recognizer] = plugins[kind].load()
    return factory(settings)


def _build_embedded(settings: Settings, workers: int) -> Recognizer:
    from ocrd.pipeline.recognizer import tessdata
    from ocrd.pipeline.recognizer.embedded import EmbeddedRecognizer

    folder = tessdata.find(settings.engine.languages, settings.engine.tessdata or None)
    recognizer = EmbeddedRecognizer(folder, settings.engine.languages, workers=workers)
    recognizer.warm()
    return recognizer


def _embedded_request(settings: Settings) -> Request:
    return Request(languages=settings.engine.languages, timeout_s=settings.engine.page_timeout_s)


def build_rasterizer(settings: Settings) -> Rasterizer:
    """The rasterizer. Raises ServerFault; a child starts in the background."""
    rasterizer = Rasterizer(render_policy(settings), workers=raster_workers(settings) + INTAKE_THREADS)
    rasterizer.warm()
    return rasterizer


def raster_workers(settings: Settings) -> int:
    """Rendering costs a tenth of reading, so a few helpers feed many workers; two, so that one may hang."""
    return settings.raster.workers or max(2, engine_workers(settings) // 4)


def render_policy(settings: Settings) -> RenderPolicy:
    """The rasterizer's part of the settings."""
    return RenderPolicy(
        dpi=settings.raster.dpi,
        min_dpi=settings.raster.min_dpi,
        max_page_pixels=round(settings.limits.page_megapixels * 1e6),
        max_image_pixels=round(settings.limits.image_megapixels * 1e6),
        max_pages=settings.limits.pages,
        page_timeout_s=settings.raster.page_timeout_s,
        document_timeout_s=settings.limits.document_s,
        memory_mib=settings.raster.memory_mib,
        text_layer=settings.engine.layers_taken,
        passwords=settings.inbox.passwords,
    )


def choose_engine(settings: Settings) -> tuple[str, str]:
    """Which engine `auto` means here, and why: a server if one is named, a container of ours if there is a GPU,
    else the embedded engine."""
    if settings.engine.kind != "auto":
        return settings.engine.kind, ""
    if settings.vllm.base_url:
        return "vllm", "[vllm] base_url names a server"
    found, why = find_gpu(settings)
    return ("vllm" if found else "embedded"), why


def find_gpu(settings: Settings) -> tuple[bool, str]:
    """Whether a model server of our own can be thought of here, and why (not)."""
    needs_gpu = settings.server.gpus != ("none",)
    if needs_gpu and not any(map(os.path.exists, _GPU_DEVICES)) and shutil.which("nvidia-smi") is None:
        return False, "there is no NVIDIA GPU here"
    if importlib.util.find_spec("docker") is None:
        return False, f"the docker package is not installed: {install_command('gpu')}"
    if not needs_gpu:
        return True, "[server] gpus is none: the model is served without a GPU"
    from ocrd.serving import gpu

    try:
        return True, f"there is a GPU: {gpu.named_card(settings.server.gpus).name}"
    except gpu.GpuMissing as err:
        return False, str(err)


def server_wait_s(settings: Settings) -> float:
    """For how long pages wait for the first engine before the second reads them; for ever if it was named."""
    return settings.engine.server_wait_s if settings.engine.kind == "auto" else float("inf")


def engine_workers(settings: Settings) -> int:
    """A worker a core that this process may use."""
    return settings.engine.workers or len(os.sched_getaffinity(0))
