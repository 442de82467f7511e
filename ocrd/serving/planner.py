"""From a model's name to what is started: cache, GPU, plan, image and container, or the reason why not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from threading import Lock, Thread
from typing import Any, Literal, Protocol, TypeAlias, cast

from ocrd.domain import lifecycle
from ocrd.domain.errors import ConfigError, OcrdError, ServiceMissing
from ocrd.domain.planning import Card, Measured, Plan, Wishes, make_plan, reserve_of
from ocrd.domain.ports import ContainerRuntime
from ocrd.domain.replanning import measure, stepped_down
from ocrd.domain.serving import Diagnosis, Failure, Image
from ocrd.host import mounts, wsl
from ocrd.serving import gpu, versions
from ocrd.serving.catalog import Catalog, CatalogEntry, uncatalogued
from ocrd.serving.hf_cache.cached_model import CachedModel, CacheState
from ocrd.serving.hf_cache.inspection import inspect_model
from ocrd.serving.orders import Records, Refusal, StartOrder
from ocrd.serving.shapes import read_shape
from ocrd.serving.spec import ServedModel, ServeOptions, build_spec
from ocrd.serving.startup import StartPhase, StartupLog
from ocrd.settings import ServerSettings
from ocrd.telemetry.logs import get_logger

log = get_logger()

ContentFormat: TypeAlias = Literal["", "auto", "string", "openai"]
REPOSITORY = "vllm/vllm-openai"
_MEMORY_AGE_S = 10.0
CACHE_VOLUME = "ocrd-vllm-cache"
"""What vLLM compiles is kept in this volume of the engine, so that the next start is quicker."""


class PastStart(Protocol):
    """A start as the store remembers it."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    @property
    def spec(self) -> str:
        """Hash of the container's specification."""

    @property
    def failure(self) -> str:
        """Empty if it became ready."""

    @property
    def message(self) -> str:
        """What went wrong."""

    @property
    def details(self) -> Mapping[str, Any]:
        """Plan, phases and measures."""


class Past(Records, Protocol):
    """What the store knows of earlier starts; also where new ones are noted."""

    def last_start(self, model: str, image_id: str, *, good: bool | None = None) -> PastStart | None:
        """The newest start of a model from an image."""

    def pinned_image(self) -> str | None:
        """The id of the image that was chosen."""

    def pin_image(self, image_id: str) -> None:
        """Stay with this image."""


class CataloguePlanner:
    """The `Planner` of the model server. Used by its owner thread alone, but for `bind`."""

    def __init__(
        self, settings: ServerSettings, runtime: ContainerRuntime, catalog: Catalog, *, hub: str
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._catalog = catalog
        self._hub = hub
        self._past: Past | None = None
        self._memory: tuple[float, dict[str, int | None]] | None = None
        self._looking = Lock()
        self._forgiven = False
        self._wishes: dict[str, Wishes] = {}
        self._plans: dict[str, Plan] = {}

    def bind(self, past: Past) -> None:
        """Where earlier starts are remembered."""
        self._past = past

    # --- what to start --------------------------------------------------------------------------------------

    def order(self, model: str) -> StartOrder:
        """What to start now. Raises Refusal, and ContainerFault if the engine does not answer."""
        entry = self._entry(model)
        image, why = self._image()
        cached = self._cached(model)
        plan = self._plan(model, image, cached, entry)
        order = self._order(entry, image, why, cached, plan)
        self._refuse_hopeless(model, image, order.spec.hash)
        return order

    def recall(self, model: str, spec: str) -> StartOrder | None:
        """The order that a running container of this specification was started by, if image, model and settings are
        still the same. The GPU is not looked at: the container itself fills it."""
        try:
            image, why = self._image()
            cached = self._cached(model)
            entry = self._entry(model)
            good = None if self._past is None else self._past.last_start(model, image.id, good=True)
            if good is None or good.spec != spec:
                return None
            if good.details.get("asked") != _plain(self.first_wishes(entry)):
                return None
            plan = good.details.get("plan")
            order = self._order(entry, image, why, cached, None if plan is None else _Sizes.recorded(plan))
        except Refusal:
            return None
        if order.spec.hash != spec:
            return None
        kept = {key: good.details[key] for key in ("plan", "wishes", _MEASURED) if key in good.details}
        return replace(order, details={**order.details, **kept})

    def _order(
        self,
        entry: CatalogEntry,
        image: Image,
        why: str,
        cached: CachedModel,
        plan: Plan | _Sizes | None,
    ) -> StartOrder:
        model = cached.model
        version = versions.image_version(image)
        # A processor without such a setting would refuse it.
        sizes = plan if plan is None or entry.scales_images else _Sizes.of(plan, max_pixels=0)
        served = ServedModel(
            model=model,
            snapshot_revision=cached.revision,
            trust_remote_code=entry.trust_remote_code,
            content_format=cast("ContentFormat", entry.content_format),
        )
        try:
            spec = build_spec(served, sizes, image, version, self._options())
        except ConfigError as err:
            raise _refusal(Failure.BAD_ARGUMENT, str(err), err.hint) from err
        known = None if self._past is None else self._past.last_start(model, image.id, good=True)
        details = {
            "image": why,
            "version": None if version is None else str(version),
            "plan": asdict(plan) if isinstance(plan, Plan) else None,
            "asked": _plain(self.first_wishes(entry)),
            "wishes": _plain(self._wishes.get(model)),
        }
        return StartOrder(
            model=model,
            image_id=image.id,
            spec=spec,
            learned=_phases(known),
            expected_s=known.seconds if known is not None else self._expected_s(entry),
            details=details,
        )

    def forgive(self) -> None:
        """Try again what could not work: someone asks for it, so something may have changed."""
        self._forgiven = True
        self._wishes.clear()

    def _refuse_hopeless(self, model: str, image: Image, spec: str) -> None:
        """The same container failed before for a reason that stays."""
        last = None if self._past is None else self._past.last_start(model, image.id)
        if self._forgiven or last is None or last.spec != spec or last.failure not in lifecycle.PERMANENT:
            return
        raise _refusal(
            Failure(last.failure),
            f"it was tried before, and failed: {last.message}",
            "when something has changed: ocrd models start",
        )

    def _image(self) -> tuple[Image, str]:
        """The image of the settings; else the one that was chosen before, for as long as it is there: a tag may come to
        mean another one at any pull."""
        if self._settings.image or self._past is None:
            return choose_image(self._settings, self._runtime)
        pinned = self._past.pinned_image()
        image = None if pinned is None else self._runtime.find_image(pinned)
        if image is not None:
            name = image.tags[0] if image.tags else image.id[:19]
            return image, f"{name}, as chosen before; to choose anew: ocrd models pin"
        image, why = choose_image(self._settings, self._runtime)
        self._past.pin_image(image.id)
        return image, why

    def _entry(self, model: str) -> CatalogEntry:
        return self._catalog.find(model) or uncatalogued(model)

    def _cached(self, model: str) -> CachedModel:
        cached = inspect_model(self._hub, model)
        if cached.state is not CacheState.COMPLETE:
            message = cached.reason if model in cached.reason else f"{model}: {cached.reason}"
            raise _refusal(Failure.MODEL_INCOMPLETE, message, cached.hint)
        return cached

    def _expected_s(self, entry: CatalogEntry) -> float | None:
        return entry.expected_start_s(eager=self._settings.eager)

    # --- the plan -------------------------------------------------------------------------------------------

    def _plan(self, model: str, image: Image, cached: CachedModel, entry: CatalogEntry) -> Plan | None:
        """None without a GPU: there is nothing to plan."""
        card = self._card()
        if card is None:
            return None
        try:
            shape = read_shape(cached.snapshot, cached.weight_bytes)
        except OcrdError as err:
            raise _refusal(Failure.UNSUPPORTED_MODEL, str(err), err.hint) from err
        wishes = self._wishes.get(model) or self._remembered(model, image, entry)
        plan = make_plan(model, shape, card, wishes)
        # What was free when a start failed counts for this one alone: other programs come and go.
        self._wishes[model] = replace(wishes, free_mib=None)
        if not plan.fits:
            hint = "close programs that use the GPU, or choose a smaller model: ocrd models plan"
            raise _refusal(Failure.VRAM_BUSY, plan.reason, hint)
        self._plans[model] = plan
        return plan

    def _card(self) -> Card | None:
        if self._settings.gpus == ("none",):
            return None
        try:
            return gpu.named_card(self._settings.gpus)
        except gpu.GpuMissing as err:
            raise _refusal(Failure.NO_GPU, str(err), err.hint) from err

    def _remembered(self, model: str, image: Image, entry: CatalogEntry) -> Wishes:
        """The wishes that led to a server last time, if the same was asked for then."""
        first = self.first_wishes(entry)
        good = None if self._past is None else self._past.last_start(model, image.id, good=True)
        if (
            self._forgiven
            or good is None
            or good.details.get("asked") != _plain(first)
            or not good.details.get("wishes")
        ):
            return first
        kept = {key: good.details["wishes"][key] for key in _KEPT_WISHES if key in good.details["wishes"]}
        measured = good.details.get(_MEASURED)
        return replace(first, **kept, measured=None if measured is None else Measured(**measured))

    def first_wishes(self, entry: CatalogEntry) -> Wishes:
        """What is asked of the plan before anything was tried."""
        settings, card = self._settings, self._card()
        usual = Wishes()
        if card is not None:
            usual = entry.wishes_within(
                card,
                budget_mib=settings.vram_budget_mib,
                budget_share=settings.vram_budget_share,
                reserve_mib=reserve_of(
                    card, settings.vram_reserve_mib or None, yield_below_mib=settings.yield_below_mib
                ),
            )
        return replace(
            usual, max_num_seqs=min(usual.max_num_seqs, settings.max_num_seqs), eager=settings.eager
        )

    def step_down(self, model: str, diagnosis: Diagnosis) -> bool:
        """Whether the next order will be a smaller one, because of this failure."""
        plan, wishes = self._plans.get(model), self._wishes.get(model)
        if plan is None or wishes is None:
            return False
        smaller = stepped_down(plan, wishes, diagnosis.failure, diagnosis.numbers)
        if smaller is None:
            return False
        log.info("plan_steps_down", model=model, failure=diagnosis.failure)
        self._wishes[model] = smaller
        return True

    def worked(self, order: StartOrder, seen: StartupLog, *, taken_mib: int | None) -> Mapping[str, Any]:
        """The server of this order became ready: what it measured takes the place of the estimates from now on. A server
        that was taken over has told it at its own start."""
        plan, wishes = self._plans.get(order.model), self._wishes.get(order.model)
        if plan is None or wishes is None or order.details.get("plan") != asdict(plan):
            return {}
        told = seen.measured
        measured = measure(
            plan,
            weights_mib=_in_mib(told.weights_gib),
            available_kv_mib=None if plan.kv_cache_mib else _in_mib(told.kv_gib),
            taken_mib=taken_mib,
            previous=wishes.measured,
        )
        log.debug("plan_worked", model=order.model, told=told, taken_mib=taken_mib, measured=measured)
        self._wishes[order.model] = replace(wishes, taken=wishes.taken - {"free"}, measured=measured)
        return {_MEASURED: asdict(measured)}

    def free_mib(self) -> int | None:
        """Free memory of the GPU now; None without one."""
        try:
            card = self._card()
        except Refusal:
            return None
        return None if card is None else card.free_mib

    def memory(self) -> dict[str, int | None]:
        """The GPU's memory for `ocrd status`, as it was seen at most ten seconds ago."""
        if self._memory is None:
            self._remember_memory()
        elif time.monotonic() - self._memory[0] > _MEMORY_AGE_S and not self._looking.locked():
            # A driver that hangs must not hold up whoever asks.
            Thread(target=self._remember_memory, name="gpu-memory", daemon=True).start()
        assert self._memory is not None, "remembered before"
        return self._memory[1]

    def _remember_memory(self) -> None:
        if self._looking.acquire(blocking=False):
            try:
                self._memory = (time.monotonic(), self._look_at_memory())
            finally:
                self._looking.release()

    def _look_at_memory(self) -> dict[str, int | None]:
        try:
            card = self._card()
        except Refusal:
            card = None
        budget = self._settings.vram_budget_mib or None
        if card is None:
            return {"used_mib": None, "free_mib": None, "budget_mib": budget}
        return {"used_mib": card.total_mib - card.free_mib, "free_mib": card.free_mib, "budget_mib": budget}

    def _options(self) -> ServeOptions:
        settings = self._settings
        return ServeOptions(
            hf_hub=self._hub,
            cache_volume=CACHE_VOLUME,
            gpus=() if settings.gpus == ("none",) else settings.gpus,
            extra_mounts=settings.mounts,
            extra_environment=settings.environment,
            extra_arguments=settings.arguments,
            hardening="standard" if settings.hardening == "standard" else "strict",
            memory_mib=settings.memory_mib,
            sleep_mode=settings.sleep_mode,
            is_wsl=wsl.is_wsl(),
            slow_cache=not mounts.has_events(mounts.file_system_of(self._hub)),
        )


def choose_image(settings: ServerSettings, runtime: ContainerRuntime) -> tuple[Image, str]:
    """The image that is run, and why. Raises Refusal, and ContainerFault if the engine does not answer."""
    wanted = settings.image
    if wanted:
        image = runtime.find_image(wanted)
        if image is None:
            raise _refusal(
                Failure.IMAGE_MISSING, f"there is no local image {wanted}", f"docker pull {wanted}"
            )
        return image, f"{wanted}, as [server] image says"
    try:
        return versions.choose_image(runtime.images(REPOSITORY), "")
    except ServiceMissing as err:
        raise _refusal(Failure.IMAGE_MISSING, str(err), err.hint) from err


def _refusal(failure: Failure, message: str, hint: str) -> Refusal:
    return Refusal(Diagnosis(failure=failure, message=message, hint=hint))


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The numbers of a plan that a container is made of."""

    max_model_len: int
    max_num_seqs: int
    max_pixels: int
    gpu_memory_utilization: float
    kv_cache_mib: int
    eager: bool

    @classmethod
    def of(cls, plan: Plan | _Sizes, *, max_pixels: int) -> _Sizes:
        """Of a plan, with other pixels."""
        values = {name: getattr(plan, name) for name in _SIZES}
        return cls(**{**values, "max_pixels": max_pixels})

    @classmethod
    def recorded(cls, plan: Mapping[str, Any]) -> _Sizes:
        """Of a plan as the store remembers it."""
        return cls(**{name: plan[name] for name in _SIZES})


_MEASURED = "measured_plan"
_SIZES = ("max_model_len", "max_num_seqs", "max_pixels", "gpu_memory_utilization", "kv_cache_mib", "eager")
_KEPT_WISHES = ("max_pixels", "prompt_tokens", "answer_tokens", "max_num_seqs", "eager", "budget_mib")
"""What a ladder of failed starts may have made smaller."""


def _plain(wishes: Wishes | None) -> dict[str, Any] | None:
    """As the store keeps them."""
    if wishes is None:
        return None
    return {name: getattr(wishes, name) for name in _KEPT_WISHES}


def _in_mib(gib: float | None) -> float | None:
    return None if gib is None else gib * 1024.0


def _phases(known: PastStart | None) -> dict[StartPhase, float]:
    """Seconds by phase of a good start; phases that this version does not know are left out."""
    if known is None:
        return {}
    phases = known.details.get("phases", {})
    names = {phase.value: phase for phase in StartPhase}
    return {names[name]: float(seconds) for name, seconds in phases.items() if name in names}
