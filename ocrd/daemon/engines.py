"""Which engine reads the pages, which rasterizer renders them, and how both are started.

Apart from `build`, because they need no store: they load in processes of their own while the daemon imports
SQLAlchemy, which takes as long.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ocrd.domain.errors import ConfigError
from ocrd.domain.ports import Recognizer
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy
from ocrd.settings import Settings

ENGINE_GROUP = "ocrd.engines"
"""Entry points of this group are functions from Settings to a Recognizer; `[engine] kind` names one."""
INTAKE_THREADS = 2
"""How many new files are looked into at the same time; each asks the rasterizer for its pages."""


def build_recognizer(settings: Settings) -> Recognizer:
    """The engine that the settings name. Raises ServiceMissing or ConfigError; the engine starts in the background."""
    kind = engine_name(settings)
    if kind == "embedded":
        return _build_embedded(settings)
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENGINE_GROUP)}
    if kind not in plugins:
        known = ", ".join(["auto", "embedded", *sorted(plugins)])
        raise ConfigError(f"[engine] kind: there is no engine {kind!r}", hint=f"known engines: {known}")
    factory: Callable[[Settings], Recognizer] = plugins[kind].load()
    return factory(settings)


def _build_embedded(settings: Settings) -> Recognizer:
    from ocrd.pipeline.recognizer import tessdata
    from ocrd.pipeline.recognizer.embedded import EmbeddedRecognizer

    folder = tessdata.find(settings.engine.languages, settings.engine.tessdata or None)
    recognizer = EmbeddedRecognizer(folder, settings.engine.languages, workers=engine_workers(settings))
    recognizer.warm()
    return recognizer


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
        memory_mib=settings.raster.memory_mib,
    )


def engine_name(settings: Settings) -> str:
    """Which engine `auto` means here."""
    return "embedded" if settings.engine.kind == "auto" else settings.engine.kind


def engine_workers(settings: Settings) -> int:
    """A worker a core that this process may use."""
    return settings.engine.workers or len(os.sched_getaffinity(0))
