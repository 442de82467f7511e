"""`ocrd models plan`: what each model needs of the GPU, whether it fits, and the settings that follow."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ocrd.cli.common import Subparsers, add_command, clean, load_settings, print_json
from ocrd.domain.errors import ExitCode, UsageError
from ocrd.domain.planning import LEGIBLE_PIXELS, Card, Plan, make_plan, reserve_of
from ocrd.host.wsl import is_wsl
from ocrd.serving import gpu
from ocrd.serving.catalog import Catalog, CatalogEntry, load_catalog, uncatalogued
from ocrd.serving.hf_cache.cached_model import CachedModel
from ocrd.serving.hf_cache.inspection import inspect_cache
from ocrd.serving.hf_cache.layout import CacheUnreadable, hub_folder
from ocrd.settings import Settings

SCHEMA = "ocrd.models.plan/1"
WIDTH = 100
FROM_CATALOGUE = "not in the cache: measures from the catalogue"
_MOST_MIB = 2**24


@dataclass(frozen=True, slots=True)
class Planned:
    """A model's plan, or why there is none; and where its measures come from."""

    entry: CatalogEntry
    plan: Plan | None
    source: str
    """`cache`, `catalogue` or ''."""
    note: str = ""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to `ocrd models`."""
    parser = add_command(
        subparsers,
        "plan",
        "work out what models need of the GPU, and whether they fit",
        handle,
        has_json=True,
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="one model, in detail (default: the catalogue)"
    )
    parser.add_argument(
        "--gpu", type=int, metavar="N", help="plan for the card of that number (default: by [server] gpus)"
    )
    parser.add_argument(
        "--gpu-mib", type=int, metavar="N", help="plan for a card of N MiB instead of this machine's"
    )
    parser.add_argument(
        "--free-mib", type=int, metavar="N", help="of which N MiB are free (default: as measured, else all)"
    )
    parser.add_argument("--wsl", action="store_true", help="plan for WSL2, where more has to stay free")


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run; 1 if the one model that was asked about does not fit."""
    settings = load_settings(arguments)
    card = _card(arguments, settings)
    catalog = load_catalog(settings.server.catalog or None)
    cached = cached_models(settings)
    asked: str | None = arguments.model
    entries = list(catalog) if asked is None else [_asked_entry(asked, catalog, cached)]
    planned = [_plan(entry, cached.get(entry.model.lower()), card, settings) for entry in entries]
    if arguments.json:
        print_json({"schema": SCHEMA, "plans": [as_json(one) for one in planned]})
    elif asked is None:
        _print_table(card, planned)
    else:
        _print_details(card, planned[0])
    fits = all(one.plan is not None and one.plan.fits for one in planned)
    return ExitCode.OK if fits or asked is None else ExitCode.FAILED


# --- what is planned with -----------------------------------------------------------------------------------


def cached_models(settings: Settings) -> Mapping[str, CachedModel]:
    """The models of the Hugging Face cache by name in lower case; none if it cannot be read."""
    hub = hub_folder(settings.server.hf_home, os.environ)
    try:
        return {found.model.lower(): found for found in inspect_cache(hub)}
    except CacheUnreadable:
        return {}


def _card(arguments: argparse.Namespace, settings: Settings) -> Card:
    """The card of the options, else the one that the server is to use. Raises GpuMissing."""
    for name, value in (("--gpu-mib", arguments.gpu_mib), ("--free-mib", arguments.free_mib)):
        if value is not None and not (name == "--free-mib" and value == 0) and not 1 <= value <= _MOST_MIB:
            raise UsageError(
                f"{name} {value} is no size of a GPU's memory", hint="in MiB: 12 GB are about 12227"
            )
    if arguments.gpu is not None and (arguments.gpu < 0 or arguments.gpu_mib is not None):
        raise UsageError(
            "--gpu takes the number of a card of this machine, and goes without --gpu-mib",
            hint="nvidia-smi lists the cards",
        )
    if arguments.gpu_mib is not None:
        wsl = bool(arguments.wsl) or is_wsl()
        card = Card(name="a card", total_mib=arguments.gpu_mib, free_mib=arguments.gpu_mib, is_wsl=wsl)
    else:
        card = _own_card(arguments.gpu, settings)
        card = replace(card, is_wsl=card.is_wsl or bool(arguments.wsl))
    if arguments.free_mib is not None:
        if arguments.free_mib > card.total_mib:
            raise UsageError(
                f"--free-mib {arguments.free_mib} is more than the card has ({card.total_mib} MiB)",
                hint="give the size of the card by --gpu-mib",
            )
        card = replace(card, free_mib=arguments.free_mib)
    return card


def _own_card(number: int | None, settings: Settings) -> Card:
    try:
        return gpu.named_card(settings.server.gpus if number is None else (str(number),))
    except gpu.GpuMissing as err:
        raise gpu.GpuMissing(
            str(err), hint=f"{err.hint}; or plan for any card: ocrd models plan --gpu-mib 12227"
        ) from err


def _asked_entry(asked: str, catalog: Catalog, cached: Mapping[str, CachedModel]) -> CatalogEntry:
    """A model of the catalogue, or any other of the cache. Raises UsageError that names the nearest."""
    entry = catalog.find(asked)
    if entry is not None:
        return entry
    found = cached.get(asked.lower())
    if found is not None:
        return uncatalogued(found.model)
    near = catalog.nearest(asked)
    raise UsageError(
        f"{asked} is neither in the catalogue nor in the cache",
        hint=f"did you mean {near}?" if near else "see `ocrd models list`",
    )


def _plan(entry: CatalogEntry, cached: CachedModel | None, card: Card, settings: Settings) -> Planned:
    measures = entry.measures(cached)
    if measures.shape is None:
        return Planned(entry, None, measures.source, measures.note)
    wishes = entry.wishes_within(
        card,
        budget_mib=settings.server.vram_budget_mib,
        budget_share=settings.server.vram_budget_share,
        reserve_mib=reserve_of(
            card, settings.server.vram_reserve_mib or None, yield_below_mib=settings.server.yield_below_mib
        ),
    )
    wishes = replace(
        wishes,
        max_num_seqs=min(wishes.max_num_seqs, settings.server.max_num_seqs),
        eager=settings.server.eager,
    )
    plan = make_plan(entry.model, measures.shape, card, wishes)
    return Planned(entry, plan, measures.source, measures.note)


# --- for programs -------------------------------------------------------------------------------------------


def as_json(planned: Planned) -> dict[str, Any]:
    """One plan, as `docs/json.md` describes it. Without measures `fits` and all numbers are null."""
    plan = planned.plan
    terms = plan.terms if plan else None
    return {
        "model": planned.entry.model,
        "fits": plan.fits if plan else None,
        "limit": plan.limit_mib if plan else None,
        "limiting_term": plan.limiting_term if plan else "measures",
        "reason": plan.reason if plan else planned.note,
        "source": planned.source,
        "note": planned.note,
        "servable": planned.entry.min_vllm != "",
        "footprint_mib": plan.footprint_mib if plan else None,
        "free_mib": plan.free_mib if plan else None,
        "total_mib": plan.total_mib if plan else None,
        "budget_mib": plan.budget_mib if plan else None,
        "max_model_len": plan.max_model_len if plan else None,
        "max_num_seqs": plan.max_num_seqs if plan else None,
        "max_pixels": plan.max_pixels if plan else None,
        "image_tokens": plan.image_tokens if plan else None,
        "answer_tokens": plan.answer_tokens if plan else None,
        "kv_cache_mib": plan.kv_cache_mib if plan else None,
        "gpu_memory_utilization": plan.gpu_memory_utilization if plan else None,
        "enforce_eager": plan.eager if plan else None,
        "terms": {name: getattr(terms, name) for name in TERMS} if terms else None,
    }


TERMS = ("weights", "vision_peak", "language_peak", "kv", "overhead", "cudagraphs", "reserve")


# --- for people ---------------------------------------------------------------------------------------------


def card_line(card: Card, plan: Plan) -> str:
    """The card, and how much of it may be used."""
    wsl = " under WSL2" if card.is_wsl else ""
    budget = "" if plan.budget_mib is None else f", budget {plan.budget_mib}"
    return (
        f"{clean(card.name)}{wsl}: {card.total_mib} MiB, {plan.free_mib} free, {plan.terms.reserve} reserved{budget}: "
        f"{plan.limit_mib} may be used"
    )


def _print_table(card: Card, planned: Sequence[Planned]) -> None:
    first = next((one.plan for one in planned if one.plan), None)
    if first:
        print(card_line(card, first))
        print("all in MiB; of VISION and LANGUAGE only the higher counts, the other is in brackets\n")
    heads = ("MODEL", "FITS", "WEIGHTS", "VISION", "LANGUAGE", "OVERHEAD", "GRAPHS", "KV", "SUM", "LEFT")
    width = 1 + max(len(one.entry.model) for one in planned)
    print(f"{heads[0]:<{width}}  {heads[1]:<4}  " + "  ".join(f"{head:>8}" for head in heads[2:]))
    for one in planned:
        starred = one.note == FROM_CATALOGUE
        name = clean(one.entry.model) + ("*" if starred else "")
        if one.plan is None:
            print(f"{name:<{width}}  ?")
        else:
            fits = "yes" if one.plan.fits else "no"
            cells = "  ".join(f"{cell:>8}" for cell in _cells(one.plan))
            print(f"{name:<{width}}  {fits:<4}  {cells}")
        for text in _remarks(one)[: -1 if starred else None]:
            print(textwrap.fill(clean(text), WIDTH, initial_indent="    ", subsequent_indent="      "))

    if any(one.note == FROM_CATALOGUE for one in planned):
        print(f"\n* {FROM_CATALOGUE}")


def _cells(plan: Plan) -> tuple[str, ...]:
    terms = plan.terms
    vision, language = str(terms.vision_peak), str(terms.language_peak)
    if terms.vision_peak >= terms.language_peak:
        language = f"({language})"
    else:
        vision = f"({vision})"
    return (
        str(terms.weights),
        vision,
        language,
        str(terms.overhead),
        str(terms.cudagraphs),
        str(terms.kv),
        str(plan.footprint_mib),
        str(plan.limit_mib - plan.footprint_mib),
    )


def _remarks(one: Planned) -> list[str]:
    plan, remarks = one.plan, []
    if plan is not None and plan.fits:
        remarks.append(_settings_line(plan))
        _, _, less = plan.reason.partition("; ")
        if less:
            remarks.append(less)
    elif plan is not None:
        remarks.append(f"limiting term {plan.limiting_term}: {plan.reason}")
    if plan is not None and plan.max_pixels < LEGIBLE_PIXELS:
        remarks.append("it sees too few pixels for a page of A4 in one piece: pages are read in strips")
    if one.entry.min_vllm == "":
        remarks.append("no version of vLLM is known to serve it")
    if one.note:
        remarks.append(one.note)
    return remarks


def _settings_line(plan: Plan) -> str:
    pages = "1 page" if plan.max_num_seqs == 1 else f"{plan.max_num_seqs} pages"
    how = "eager" if plan.eager else "compiled"
    return (
        f"{plan.max_model_len} tokens, {pages} of {plan.max_pixels / 1e6:.2f} megapixels at once, "
        f"KV cache of {plan.kv_cache_mib} MiB, utilization {plan.gpu_memory_utilization:g}, {how}"
    )


def _print_details(card: Card, one: Planned) -> None:
    plan = one.plan
    if plan is None:
        print(f"{clean(one.entry.model)}: no plan: {clean(one.note)}")
        return
    print(f"{clean(one.entry.model)}: {'fits' if plan.fits else 'does not fit'}")
    print(card_line(card, plan) + "\n")
    for name, mib, said in _rows(plan):
        print(f"  {name:<14} {mib:>7}  {said}".rstrip())
    print()
    for text in _remarks(one):
        print(textwrap.fill(clean(text), WIDTH, initial_indent="  ", subsequent_indent="    "))


def _rows(plan: Plan) -> list[tuple[str, str, str]]:
    terms = plan.terms
    by_vision = terms.vision_peak >= terms.language_peak
    each = -(-terms.kv // plan.max_num_seqs)
    not_added = "; not added, the higher peak counts"
    image = f"an image of {plan.max_pixels / 1e6:.2f} megapixels, {plan.image_tokens} tokens"
    step = "a step of the language model"
    return [
        ("weights", str(terms.weights), "all tensors"),
        ("vision peak", str(terms.vision_peak), image + ("" if by_vision else not_added)),
        ("language peak", str(terms.language_peak), step + (not_added if by_vision else "")),
        ("overhead", str(terms.overhead), "CUDA, its libraries, slack while loading"),
        ("CUDA graphs", str(terms.cudagraphs), "none: eager" if plan.eager else ""),
        (
            "KV cache",
            str(terms.kv),
            f"{plan.max_num_seqs} × {plan.max_model_len} tokens, {each} each",
        ),
        ("sum", str(plan.footprint_mib), f"of {plan.limit_mib} that may be used"),
        ("reserve", str(terms.reserve), "stays free"),
    ]
