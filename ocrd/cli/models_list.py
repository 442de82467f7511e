"""`ocrd models list`: the models that ocrd knows, and what became of them when they were tried."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ocrd.cli.common import Subparsers, add_command, clean, in_words, load_settings, print_json
from ocrd.cli.models_plan import WIDTH, cached_models
from ocrd.domain.errors import ExitCode
from ocrd.serving.catalog import Catalog, CatalogEntry, load_catalog
from ocrd.serving.hf_cache.cached_model import CachedModel

SCHEMA = "ocrd.models.list/1"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to `ocrd models`."""
    add_command(
        subparsers,
        "list",
        "list the models that are known, and what became of them when they were tried",
        handle,
        has_json=True,
    )


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    settings = load_settings(arguments)
    catalog = load_catalog(settings.server.catalog or None)
    cached = cached_models(settings)
    if arguments.json:
        print_json(
            {
                "schema": SCHEMA,
                "models": [as_json(entry, cached.get(entry.model.lower())) for entry in catalog],
            }
        )
    else:
        _print_models(catalog, cached)
    return ExitCode.OK


def as_json(entry: CatalogEntry, cached: CachedModel | None) -> dict[str, Any]:
    """One model, as `docs/json.md` describes it."""
    return {
        "model": entry.model,
        "verdict": entry.verdict.value,
        "reason": entry.reason,
        "cached": cached.state.value if cached else "absent",
        "family": entry.family,
        "architecture": entry.architecture,
        "licence": entry.licence,
        "min_vllm": entry.min_vllm,
        "trust_remote_code": entry.trust_remote_code,
        "content_format": entry.content_format,
        "notes": entry.notes,
        "disk_gb": entry.disk_gb,
        "gave_up_s": entry.gave_up_s,
        "start_eager_s": entry.start_eager_s,
        "start_compiled_s": entry.start_compiled_s,
        "known": [asdict(known) for known in entry.known],
    }


def _print_models(catalog: Catalog, cached: Mapping[str, CachedModel]) -> None:
    width = max(len(entry.model) for entry in catalog)
    print(f"{'VERDICT':<10}  {'IN THE CACHE':<12}  {'START':<6}  {'MODEL':<{width}}  LICENCE")
    for entry in catalog:
        found = cached.get(entry.model.lower())
        state = found.state.value if found else "absent"
        verdict = entry.verdict.value.replace("_", " ")
        line = f"{verdict:<10}  {state:<12}  {_start(entry):<6}  {clean(entry.model):<{width}}  {clean(entry.licence)}"
        print(line.rstrip())
        for text in (entry.notes, entry.reason):
            if text:
                print(textwrap.fill(clean(text), WIDTH, initial_indent="    ", subsequent_indent="    "))
        print()
    print(
        "verdicts are of one test of 2026-01-24 on a 12 GB card under WSL2, unless the settings' own file says more"
    )


def _start(entry: CatalogEntry) -> str:
    seconds = entry.expected_start_s(eager=True)
    return "" if seconds is None else in_words(seconds)
