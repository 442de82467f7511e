"""The models in the container that ocrd keeps: as `Recognizer`s that borrow the server for each page, and how they
are put together from the settings."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

from ocrd.daemon.promises import Promises, PromisingRecognizer
from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import ConfigError, ServerFault, Stopped
from ocrd.domain.models import PROFILES, ModelProfile, PromptMode, profile_of
from ocrd.pipeline.recognizer.vllm import ServerOptions, VllmRecognizer
from ocrd.serving.catalog import Catalog, load_catalog
from ocrd.serving.container import DockerRuntime
from ocrd.serving.hf_cache.cached_model import CacheState
from ocrd.serving.hf_cache.inspection import inspect_model
from ocrd.serving.hf_cache.layout import hub_folder
from ocrd.serving.keeper import Patience
from ocrd.serving.planner import CataloguePlanner, Past
from ocrd.serving.running import Endpoint
from ocrd.serving.server import ModelServer
from ocrd.settings import Settings

_LOOK_AGAIN_S = 60.0
"""A model that is not in the cache may be fetched meanwhile."""
CHECK_TIMEOUT_S = 180.0
"""For a new server to read the known page: its first request compiles kernels."""


class Clients:
    """A client for each server that comes up; the one before is closed. Thread-safe."""

    def __init__(
        self, options: ServerOptions, families: Mapping[str, str], promises: Promises | None = None
    ) -> None:
        self._options = options
        self.promises = promises or Promises()
        self._families = families
        self._lock = Lock()
        self._current: tuple[Endpoint, VllmRecognizer] | None = None

    def of(self, endpoint: Endpoint) -> VllmRecognizer:
        """The client of a server."""
        with self._lock:
            if self._current is None or self._current[0] != endpoint:
                if self._current is not None:
                    self._current[1].close()
                options = replace(
                    self._options,
                    base_url=endpoint.base_url,
                    model=endpoint.model,
                    family=self._families.get(endpoint.model, ""),
                )
                self._current = (endpoint, VllmRecognizer(options))
            return self._current[1]

    def profile_of(self, model: str) -> ModelProfile:
        """What is known of a model: as the catalogue says, else as its name does."""
        family = self._families.get(model, "")
        return PROFILES[family] if family else profile_of(model)

    def check(self, endpoint: Endpoint) -> None:
        """Put the known page to it. Raises ServerFault."""
        try:
            self.of(endpoint).prepare(timeout_s=CHECK_TIMEOUT_S)
        except Stopped:
            raise ServerFault("the check was broken off") from None

    def close(self) -> None:
        """Close the client; pages in its hands fail with ServerFault."""
        with self._lock:
            if self._current is not None:
                self._current[1].close()


class ManagedRecognizer:
    """One model of the server. Thread-safe."""

    def __init__(
        self, server: ModelServer, clients: Clients, model: str, *, slots: int, patience_s: float
    ) -> None:
        self._server = server
        self._clients = clients
        self._model = model
        self._slots = slots
        self._patience_s = patience_s
        self._profile = clients.profile_of(model)

    @property
    def slots(self) -> int:
        """How many pages it reads at the same time."""
        return self._slots

    @property
    def modes(self) -> AbstractSet[PromptMode]:
        """The prompts of the model."""
        return self._profile.prompts.keys()

    @property
    def model(self) -> str:
        """Its name."""
        return self._model

    def facts(self) -> dict[str, Any]:
        """What `ocrd status` tells of the server."""
        return self._server.facts()

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        """Read a page, when the server is there. Raises as `VllmRecognizer` does."""
        with self._server.lease(self._model, stop, patience_s=self._patience_s) as endpoint:
            reader = PromisingRecognizer(self._clients.of(endpoint), self._clients.promises)
            try:
                return reader.recognize(page, request, stop)
            except ServerFault as fault:
                self._server.doubt(endpoint, fault)
                raise

    def close(self) -> None:
        """The server is closed by whoever made it."""


class ManagedFallback(ManagedRecognizer):
    """The model that takes its turns. One that is not in the cache is not waited for, and a start that failed is not
    tried again."""

    def __init__(self, *arguments: Any, is_cached: Callable[[], bool], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._is_cached = is_cached
        self._looked_at: tuple[float, bool] | None = None
        self._given_up = False

    @property
    def is_usable(self) -> bool:
        """Whether it can be served at all; waiting for it makes sense."""
        if self._given_up:
            return False
        now = time.monotonic()
        if self._looked_at is None or now - self._looked_at[0] > _LOOK_AGAIN_S:
            self._looked_at = (now, self._is_cached())
        return self._looked_at[1]

    def give_up(self) -> None:
        """It does not come: pages that wait for it go on without it, until ocrd starts again."""
        self._given_up = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """A server with its two models, put together and not started."""

    server: ModelServer
    planner: CataloguePlanner
    clients: Clients
    main: ManagedRecognizer
    fallback: ManagedFallback | None

    def begin(self, past: Past, instance: str) -> None:
        """Start the server's thread; what it learns goes into the store, whose daemon this is."""
        self.planner.bind(past)
        self.server.start(past, instance)


def build_managed(
    settings: Settings,
    options: ServerOptions,
    *,
    slots: int,
    patience_s: float,
    promises: Promises | None = None,
) -> Managed:
    """Raises ServiceMissing (no docker package) and ConfigError (catalogue, mounts, variables)."""
    catalog = load_catalog(settings.server.catalog or None)
    families = {entry.model: entry.family for entry in catalog.entries}
    runtime = DockerRuntime(settings.server.docker_host)
    planner = build_planner(settings, runtime, catalog)
    clients = Clients(options, families, promises)
    server = ModelServer(
        runtime,
        planner,
        check=clients.check,
        patience=patience_of(settings),
        yield_below_mib=settings.server.yield_below_mib,
        sleep_mode=settings.server.sleep_mode,
    )
    main, fallback = chosen_models(settings)

    return Managed(
        server=server,
        planner=planner,
        clients=clients,
        main=ManagedRecognizer(server, clients, main, slots=slots, patience_s=patience_s),
        fallback=_fallback(settings, server, clients, fallback, slots=slots, patience_s=patience_s)
        if fallback and fallback != main
        else None,
    )


def _fallback(
    settings: Settings, server: ModelServer, clients: Clients, model: str, *, slots: int, patience_s: float
) -> ManagedFallback:
    hub = hub_folder(settings.server.hf_home, os.environ)

    def is_cached() -> bool:
        return inspect_model(hub, model).state is CacheState.COMPLETE

    return ManagedFallback(server, clients, model, slots=slots, patience_s=patience_s, is_cached=is_cached)


def chosen_models(settings: Settings) -> tuple[str, str]:
    """The model that reads, and the fallback ('' for none). Raises ConfigError."""
    path = settings.server.working_models
    if not path:
        return settings.server.model, settings.server.fallback
    hint = "make one with: ocrd models test --cached"
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            models = [str(row["model"]) for row in json.load(file)["models"]]
    except (OSError, ValueError, LookupError, TypeError) as err:
        raise ConfigError(
            f"[server] working_models: {path} is no list of working models: {err}", hint=hint
        ) from err
    if not models:
        raise ConfigError(f"[server] working_models: in {path} no model works", hint=hint)
    return models[0], models[1] if len(models) > 1 else ""


def build_planner(settings: Settings, runtime: DockerRuntime, catalog: Catalog) -> CataloguePlanner:
    """The planner of the settings. Raises ConfigError."""
    return CataloguePlanner(
        settings.server, runtime, catalog, hub=hub_folder(settings.server.hf_home, os.environ)
    )


def patience_of(settings: Settings) -> Patience:
    """How long the server may take for what."""
    server = settings.server
    return Patience(
        start_s=server.start_timeout_s,
        stall_s=server.stall_timeout_s,
        drain_s=settings.vllm.page_timeout_s + 30.0,
        idle_stop_s=server.idle_stop_after_s,
    )
