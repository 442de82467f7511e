"""The models that ocrd knows: `catalog.toml`, and a file of the user's own over it.

A user's file has the same layout. A model of the same name is changed key by key (`shape` and `wishes` too; settings in
`known` are added); another name is a new model, which needs at least `model`.
"""

from __future__ import annotations

import difflib
import importlib.resources
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from ocrd.domain.errors import ConfigError
from ocrd.domain.models import GENERIC, PROFILES, PromptMode, profile_of
from ocrd.domain.planning import Card, ModelShape, Wishes
from ocrd.serving.hf_cache.cached_model import CachedModel, CacheState
from ocrd.serving.shapes import ShapeUnknown, read_shape

FILE = "catalog.toml"
CONTENT_FORMATS = ("string", "auto", "openai")
PLAN_SOURCE = "plan"
"""Settings that `make_plan` gives for `reference_card`."""
REFERENCE_TOTALS_MIB = {8: 8188, 12: 12_227, 16: 16_376, 24: 24_564}
"""What `nvidia-smi` calls the total of GeForce cards of so many GiB."""
DESKTOP_MIB = 1024
"""What the desktop takes of a card; 0.7 to 2.1 GiB were seen."""


class ModelVerdict(StrEnum):
    """What became of a model when it was tried."""

    WORKS = "works"
    TIMED_OUT = "timed_out"
    INCOMPLETE = "incomplete"
    """Not whole in the cache, so not started."""
    UNTESTED = "untested"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSettings:
    """Settings of a model's server, and where they come from. None: not set, so vLLM's default."""

    source: str
    """`user`: as they were when the verdict was found; `plan`: `PLAN_SOURCE`; else free text."""
    card_gib: int
    port: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_pixels: int | None = None
    gpu_memory_utilization: float | None = None
    enforce_eager: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WishedTokens:
    """What the plan tries to give this model; see `Wishes`."""

    prompt_tokens: int = 128
    answer_tokens: int = 2048
    max_num_seqs: int = 4
    eager: bool = True

    def wishes(self) -> Wishes:
        """For `make_plan`, with nothing of the settings in it yet."""
        return Wishes(
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
            max_num_seqs=self.max_num_seqs,
            eager=self.eager,
        )


@dataclass(frozen=True, slots=True)
class Measures:
    """A model's measures, and where they are from."""

    shape: ModelShape | None
    source: str
    """`cache`, `catalogue`, or '' if there are none."""
    note: str = ""
    """For people: why they are not from the cache."""


_LAYOUT_WISHES = WishedTokens(prompt_tokens=512, answer_tokens=4608)
"""Of models that answer with boxes: the densest usual page of A4 takes 4,000 tokens then."""


def default_wishes(family: str) -> WishedTokens:
    """For a model of this family without wishes of its own."""
    return _LAYOUT_WISHES if PROFILES[family].first_mode is PromptMode.LAYOUT else WishedTokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A model."""

    model: str
    """As Hugging Face names it."""
    family: str = ""
    """A key of `ocrd.domain.models.PROFILES`."""
    architecture: str = ""
    """As `config.json` names it."""
    licence: str = ""
    min_vllm: str | None = None
    """The oldest vLLM that serves it; '' if none does, as far as is known; None: nothing is known."""
    trust_remote_code: bool = False
    content_format: str = "auto"
    """vLLM's `--chat-template-content-format`."""
    notes: str = ""
    verdict: ModelVerdict = ModelVerdict.UNTESTED
    reason: str = ""
    """Of the verdict; what is not certain is called a hypothesis."""
    disk_gb: float | None = None
    """What it took of the disk when it was tried."""
    gave_up_s: float | None = None
    """After how long the start was given up."""
    start_eager_s: float | None = None
    """How long a start took, without and with torch.compile and CUDA graphs."""
    start_compiled_s: float | None = None
    shape: ModelShape | None = None
    """For a plan while the model is not in the cache."""
    wishes: WishedTokens = field(default_factory=WishedTokens)
    known: tuple[KnownSettings, ...] = ()

    @property
    def scales_images(self) -> bool:
        """Whether the model's processor can be told `max_pixels`; the server of another must not be told any."""
        return self.family != GENERIC.family

    def wishes_within(
        self, card: Card, *, budget_mib: int = 0, budget_share: float = 0.0, reserve_mib: int = 0
    ) -> Wishes:
        """What to plan with, within the settings' budgets (the smaller one counts; 0: none) and reserve (0: usual)."""
        budgets = [budget_mib] if budget_mib > 0 else []
        if budget_share > 0:
            budgets.append(int(budget_share * card.total_mib))
        return replace(
            self.wishes.wishes(), budget_mib=min(budgets, default=None), reserve_mib=reserve_mib or None
        )

    def measures(self, cached: CachedModel | None) -> Measures:
        """The model's measures: from its files if they are all there, else from the catalogue."""
        if cached is None:
            why = "not in the cache"
        elif cached.state is not CacheState.COMPLETE:
            why = f"{cached.state.value} in the cache"
        else:
            try:
                return Measures(read_shape(cached.snapshot, cached.weight_bytes), "cache")
            except ShapeUnknown as err:
                why = str(err)
        if self.shape is None:
            return Measures(None, "", f"{why}, and the catalogue has no measures of it")
        return Measures(self.shape, "catalogue", f"{why}: measures from the catalogue")

    def expected_start_s(self, *, eager: bool) -> float | None:
        """How long a start takes; the other way's time where only that is known."""
        first, second = self.start_eager_s, self.start_compiled_s
        if not eager:
            first, second = second, first
        return second if first is None else first


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models, in the order of the files."""

    entries: tuple[CatalogEntry, ...]

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self.entries)

    def find(self, model: str) -> CatalogEntry | None:
        """The entry of a model; names are compared without regard to case, as Hugging Face does."""
        return next((entry for entry in self.entries if entry.model.lower() == model.lower()), None)

    @property
    def unserved_architectures(self) -> frozenset[str]:
        """Architectures that no version of vLLM is known to have."""
        return frozenset(one.architecture for one in self.entries if one.min_vllm == "" and one.architecture)

    def nearest(self, model: str) -> str:
        """A name like it; '' if there is none."""
        names = [entry.model for entry in self.entries]
        return _closest(model, names) or _closest(
            model, [name.partition("/")[2] for name in names], back=names
        )


def uncatalogued(model: str) -> CatalogEntry:
    """A model of the cache that no row speaks of; its measures have to come from its files."""
    family = profile_of(model).family
    return CatalogEntry(model=model, family=family, wishes=default_wishes(family))


def reference_card(gib: int) -> Card:
    """A card of so many GiB (a key of `REFERENCE_TOTALS_MIB`) under WSL2, with a desktop on it."""
    total = REFERENCE_TOTALS_MIB[gib]
    return Card(name=f"{gib} GB", total_mib=total, free_mib=total - DESKTOP_MIB, is_wsl=True)


def load_catalog(extra: str | None = None) -> Catalog:
    """The built-in models, and those of the file `extra` over them. Raises ConfigError, which names file and key."""
    resource = importlib.resources.files("ocrd.serving").joinpath(FILE)
    tables = _read(resource.read_text(encoding="utf-8"), FILE)
    entries = {name.lower(): _entry(table, FILE) for name, table in tables.items()}
    if extra:
        for name, changed in _read(_text_of(extra), extra).items():
            key = name.lower()
            merged = _merge(tables[key], changed) if key in tables else changed
            entries[key] = _entry(merged, extra)
    return Catalog(tuple(entries.values()))


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:  # Notepad puts a byte order mark in front
            return file.read()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"the catalogue {path} cannot be read: {err}", hint="check the path in the settings"
        ) from err


def _read(text: str, origin: str) -> dict[str, dict[str, Any]]:
    """The tables of the models, by name in lower case."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{origin}: this is not valid TOML: {err}") from err
    _check_keys(data, ("model",), origin)
    tables = data.get("model", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{origin}: models are written as [[model]], with two brackets")
    found: dict[str, dict[str, Any]] = {}
    for number, table in enumerate(tables, start=1):
        name = table.get("model")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f'{origin}: model number {number} has no name: model = "owner/name"')
        if name.lower() in found:
            raise ConfigError(f"{origin}: {name} stands there twice")
        found[name.lower()] = table
    return found


def _merge(base: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Key by key, tables too; lists are joined."""
    merged = dict(base)
    for key, value in changed.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[key] = {**old, **value}
        elif isinstance(value, list) and isinstance(old, list):
            merged[key] = [*old, *value]
        else:
            merged[key] = value
    merged["model"] = base["model"]  # however the user's file wrote its letters
    return merged


# --- checked values -----------------------------------------------------------------------------------------


def _entry(table: Mapping[str, Any], origin: str) -> CatalogEntry:
    where = f"{origin}: {table['model']}"
    values = _values(CatalogEntry, table, where, skip=("shape", "wishes", "known", "verdict"))
    values["family"] = values.get("family") or profile_of(values["model"]).family
    values["verdict"] = table.get("verdict", ModelVerdict.UNTESTED.value)
    for key, choices in (
        ("family", tuple(PROFILES)),
        ("verdict", tuple(verdict.value for verdict in ModelVerdict)),
        ("content_format", CONTENT_FORMATS),
    ):
        _check_choice(values.get(key, "auto"), choices, f"{where}: {key}")
    values["verdict"] = ModelVerdict(values["verdict"])
    if "shape" in table:
        values["shape"] = _shape(_table(table["shape"], f"{where}: shape"), f"{where}: shape")
    at = f"{where}: wishes"
    wished = _values(WishedTokens, _table(table.get("wishes", {}), at), at)
    values["wishes"] = replace(default_wishes(values["family"]), **wished)
    values["known"] = tuple(_known(table.get("known", []), where))
    return CatalogEntry(**values)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table, not {value!r}")
    return value


def _shape(table: Mapping[str, Any], where: str) -> ModelShape:
    shape = ModelShape(**_values(ModelShape, table, where))
    if shape.min_pixels > shape.max_pixels:
        raise ConfigError(f"{where}: min_pixels is more than max_pixels")
    return shape


def _known(tables: Any, where: str) -> Iterator[KnownSettings]:
    if not isinstance(tables, list):
        raise ConfigError(f"{where}: settings are written as [[model.known]], with two brackets")
    for table in tables:
        at = f"{where}: known"
        settings = KnownSettings(**_values(KnownSettings, _table(table, at), at))
        if not 0 < (settings.gpu_memory_utilization or 1) <= 1:
            raise ConfigError(f"{at}: gpu_memory_utilization must be above 0 and at most 1")
        yield settings


_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number above 0"),
    "float": ((int, float), "a number above 0"),
}


def _values(kind: type, table: Mapping[str, Any], where: str, *, skip: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of a table that are fields of a dataclass, checked by their types. Numbers are above 0."""
    options = {option.name: option for option in fields(kind)}
    _check_keys(table, options, where)
    values = {}
    for name, option in options.items():
        if name in skip:
            continue
        if name in table:
            values[name] = _checked(table[name], str(option.type), f"{where}: {name}")
        elif option.default is MISSING and option.default_factory is MISSING:
            raise ConfigError(f"{where}: the key {name} is missing")
    return values


def _checked(value: Any, type_name: str, where: str) -> Any:
    types, said = _KINDS[type_name.removesuffix(" | None")]
    wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    if wrong or (isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < 2**62):
        raise ConfigError(f"{where} must be {said}, not {value!r}")
    return value


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            near = _closest(key, known)
            suggestion = f"did you mean {near!r}?" if near else f"known are: {', '.join(known)}"
            raise ConfigError(f"{where}: there is no key {key!r}; {suggestion}")


def _check_choice(value: Any, choices: Sequence[str], where: str) -> None:
    if value not in choices:
        near = _closest(str(value), choices)
        suggestion = f"did you mean {near!r}?" if near else f"known are: {', '.join(choices)}"
        raise ConfigError(f"{where}: {value!r} is unknown; {suggestion}")


def _closest(word: str, known: Sequence[str], *, back: Sequence[str] = ()) -> str:
    """The word most like it, or what stands at its place in `back`; '' if none is."""
    lower = [one.lower() for one in known]
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return (back or known)[lower.index(close[0])] if close else ""
