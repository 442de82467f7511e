"""Which engine reads the pages, and how it is started.

Apart from `build`, because it needs no store: the engine loads in processes of its own while the daemon imports
SQLAlchemy, which takes as long.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points

from ocrd.domain.errors import ConfigError
from ocrd.domain.ports import Recognizer
from ocrd.settings import Settings

ENGINE_GROUP = "ocrd.engines"
"""Entry points of this group are functions from Settings to a Recognizer; `[engine] kind` names one."""


def build_recognizer(settings: Settings) -> Recognizer:
    """The engine that the settings name. Raises ServiceMissing or ConfigError; the engine starts in the background."""
    kind = engine_name(settings)
    if kind == "embedded":
        return _build_embedded(settings)
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


def engine_name(settings: Settings) -> str:
    """Which engine `auto` means here."""
    return "embedded" if settings.engine.kind == "auto" else settings.engine.kind


def engine_workers(settings: Settings) -> int:
    """A worker a core that this process may use."""
    return settings.engine.workers or len(os.sched_getaffinity(0))
