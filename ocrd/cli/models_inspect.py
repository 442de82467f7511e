"""`ocrd models inspect`: which models of the Hugging Face cache are whole, and what the others lack."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from ocrd.cli.common import Subparsers, add_command, agrees, clean, load_settings, print_json
from ocrd.domain.errors import ExitCode, UsageError
from ocrd.serving.catalog import load_catalog
from ocrd.serving.hf_cache.cached_model import CachedModel, servable
from ocrd.serving.hf_cache.inspection import inspect_cache
from ocrd.serving.hf_cache.layout import hub_folder
from ocrd.serving.hf_cache.pruning import Prunable, Pruned, prunable, prune

SCHEMA = "ocrd.models.inspect/1"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to `ocrd models`."""
    parser = add_command(
        subparsers,
        "inspect",
        "list the models of the Hugging Face cache: whole, or what they lack",
        handle,
        has_json=True,
    )
    parser.add_argument(
        "--hub",
        metavar="DIR",
        help="the cache's folder `hub` (default: by the settings, HF_HUB_CACHE, HF_HOME)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="show the remains of interrupted downloads and files that no model uses, and ask whether to delete them",
    )
    parser.add_argument("--yes", action="store_true", help="with --prune: delete without asking")


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run; 1 if something that was to be deleted is still there."""
    if arguments.yes and not arguments.prune:
        raise UsageError("--yes answers the question of --prune", hint="add --prune")
    hub = _hub(arguments)
    unserved = load_catalog(load_settings(arguments).server.catalog or None).unserved_architectures
    found = [servable(one, unserved) for one in inspect_cache(hub)]
    waste = prunable(hub) if arguments.prune else []
    if arguments.json:
        return _handle_json(hub, found, waste, arguments)
    _print_models(hub, found)
    return _ask_and_prune(hub, waste, yes=arguments.yes) if arguments.prune else ExitCode.OK


def _hub(arguments: argparse.Namespace) -> str:
    given: str | None = arguments.hub
    if given:
        return os.path.abspath(given)
    return hub_folder(load_settings(arguments).server.hf_home, os.environ)


# --- for programs -------------------------------------------------------------------------------------------


def model_as_json(found: CachedModel) -> dict[str, Any]:
    """One model, as `docs/json.md` describes it."""
    return {
        "model": found.model,
        "state": found.state.value,
        "missing": [{"name": one.name, "bytes": one.bytes} for one in found.missing],
        "weight_bytes": found.weight_bytes,
        "disk_bytes": found.disk_bytes,
        "reason": found.reason,
        "hint": found.hint,
        "architecture": found.architecture,
        "model_type": found.model_type,
        "needs_remote_code": found.needs_remote_code,
        "revision": found.revision,
        "snapshot": found.snapshot,
        "warnings": list(found.warnings),
    }


def _handle_json(
    hub: str, found: Sequence[CachedModel], waste: Sequence[Prunable], arguments: argparse.Namespace
) -> ExitCode:
    """Nothing is asked here: what can be deleted is listed, and deleted only with --yes."""
    data: dict[str, Any] = {"schema": SCHEMA, "hub": hub, "models": [model_as_json(one) for one in found]}
    done = prune(hub, waste) if arguments.yes else None
    if arguments.prune:
        data["prunable"] = [{"path": one.path, "bytes": one.bytes, "why": one.why} for one in waste]
    if done is not None:
        data["pruned"] = {
            "freed_bytes": done.freed_bytes,
            "deleted": list(done.deleted),
            "kept": list(done.kept),
        }
    print_json(data)
    return _code_of(done)


def _code_of(done: Pruned | None) -> ExitCode:
    return ExitCode.FAILED if done is not None and done.kept else ExitCode.OK


# --- for people ---------------------------------------------------------------------------------------------


def _print_models(hub: str, found: Sequence[CachedModel]) -> None:
    if not found:
        print(f"no models in {clean(hub)}")
        return
    width = max(len(one.model) for one in found)
    print(f"{'STATE':<10}  {'WEIGHTS':>8}  {'ON DISK':>8}  {'MODEL':<{width}}  ARCHITECTURE")
    for one in found:
        sizes = f"{in_bytes(one.weight_bytes):>8}  {in_bytes(one.disk_bytes):>8}"
        line = f"{one.state.value:<10}  {sizes}  {one.model:<{width}}  {clean(one.architecture)}"
        print(line.rstrip())
        for text in (one.reason, *_missing_line(one), one.hint, *one.warnings):
            if text:
                print(f"{'':>12}{clean(text)}")


def _missing_line(found: CachedModel) -> list[str]:
    """Only if there is more to say than the reason does."""
    known = [one.bytes for one in found.missing if one.bytes is not None]
    if not known:
        return []
    least = "" if len(known) == len(found.missing) else "at least "
    lacking = f"{least}{in_bytes(sum(known))} lack, of {_files(len(found.missing))}"
    return [f"{lacking}: {', '.join(one.name for one in found.missing)}"]


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def in_bytes(count: int) -> str:
    """A size for people, as `hf` and file managers show it: decimal units."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def _ask_and_prune(hub: str, waste: Sequence[Prunable], *, yes: bool) -> ExitCode:
    print()
    if not waste:
        print("nothing to delete: no remains of downloads, no files that no model uses")
        return ExitCode.OK
    print("can be deleted:")
    for one in waste:
        print(f"{'':>2}{in_bytes(one.bytes):>8}  {clean(one.path)}: {one.why}")
    total = in_bytes(sum(one.bytes for one in waste))
    if not (yes or agrees(f"delete {_files(len(waste))}, {total}? [y/N] ", "--prune")):
        print("nothing was deleted")
        return ExitCode.OK
    done = prune(hub, waste)
    print(f"deleted {_files(len(done.deleted))}, {in_bytes(done.freed_bytes)}")
    for kept in done.kept:
        print(f"not deleted: {clean(kept)}", file=sys.stderr)
    return _code_of(done)
