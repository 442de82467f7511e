"""One snapshot of a model: what a server reads of it, and whether it is there and whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from ocrd.serving.hf_cache.cached_model import CachedModel, MissingFile
from ocrd.serving.hf_cache.findings import Entry, Findings
from ocrd.serving.hf_cache.json_files import is_size, load_json
from ocrd.serving.hf_cache.layout import fetch_command
from ocrd.serving.hf_cache.weights import WEIGHT_SUFFIXES, check_weights

_MAX_DEPTH = 8
"""Of folders in a snapshot that are looked into."""
_TOKENIZERS: tuple[tuple[str, ...], ...] = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("tekken.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)
_VISION_KEYS = ("vision_config", "img_processor", "image_token_id")
"""Of models whose images are prepared by transformers; those with a `vision_tower` of their own bring the code."""
_NEEDED_SUFFIXES = (".json", ".py", ".jinja", ".txt", ".model", ".tiktoken")
"""What of the repository's list a server reads, beside weights. Pictures, papers and examples may be left out."""


def inspect_snapshot(hub: str, folder: str, model: str, revision: str) -> CachedModel:
    snapshot = os.path.join(folder, "snapshots", revision)
    entries = dict(_walk(snapshot, ""))
    listing = _read_listing(os.path.join(folder, "trees", f"{revision}.json"))
    findings = Findings(fetch_command(hub, model))
    config = _check_config(entries, findings)
    check_weights(entries, listing, findings)
    _check_tokenizer(entries, listing, findings)
    _check_processor(entries, listing, config, findings)
    _check_code(entries, config, findings)
    _check_listing(entries, listing, findings)
    _check_links(hub, entries, listing, findings)
    return CachedModel(
        model=model,
        state=findings.state,
        revision=revision,
        snapshot=snapshot,
        weight_bytes=findings.weight_bytes,
        missing=tuple(findings.missing),
        reason=findings.reason,
        hint=findings.hint,
        architecture=_first_string(config.get("architectures")),
        model_type=_string(config.get("model_type")),
        needs_remote_code=bool(config.get("auto_map")),
        warnings=tuple(findings.warnings),
    )


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, Entry]]:
    """All files below, by their names relative to the snapshot. Links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if prefix.count("/") < _MAX_DEPTH:
                    yield from _walk(entry.path, f"{prefix}{entry.name}/")
                continue
            try:
                status = os.stat(entry.path)
            except PermissionError:
                raise
            except OSError:  # a link to nowhere, in a circle, or through what is no folder
                yield prefix + entry.name, Entry(entry.path, None)
                continue
            if stat.S_ISREG(status.st_mode):
                yield prefix + entry.name, Entry(entry.path, status.st_size)


def _read_listing(path: str) -> dict[str, int]:
    """The repository's own list of its files and sizes; empty if there is none that can be understood."""
    data = load_json(path)
    listed = data.get("files") if isinstance(data, dict) and data.get("format_version") == 1 else None
    if not isinstance(listed, dict):
        return {}
    sizes: dict[str, int] = {}
    for name, facts in listed.items():
        size = facts.get("size") if isinstance(facts, dict) else None
        if is_size(size):
            sizes[name] = size
    return sizes


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _first_string(value: object) -> str:
    return _string(value[0]) if isinstance(value, list) and value else ""


def _has(entries: Mapping[str, Entry], name: str) -> bool:
    """Whether a file is there and holds something."""
    return name in entries and bool(entries[name].size)


def _check_config(entries: Mapping[str, Entry], findings: Findings) -> dict[str, Any]:
    entry = entries.get("config.json")
    if entry is None:
        findings.add_missing("config.json", None)
        return {}
    if entry.size is None:
        return {}  # told with the other dangling links
    data = load_json(entry.path)
    if not isinstance(data, dict):
        findings.add_damage("config.json holds no JSON object", entry)
        return {}
    return data


def _check_tokenizer(entries: Mapping[str, Entry], listing: Mapping[str, int], findings: Findings) -> None:
    if any(all(name in entries for name in names) for names in _TOKENIZERS):
        for names in _TOKENIZERS:
            for name in names:
                if name in entries and entries[name].size == 0:
                    findings.add_damage(f"{name} is empty", entries[name])
        return
    if any(name.endswith(".tiktoken") for name in entries):
        return
    listed = [name for names in _TOKENIZERS for name in names if name in listing]
    for name in listed:
        if name not in entries:
            findings.add_missing(name, listing[name])
    if not listed:
        findings.add_missing("tokenizer.json", None, "tokenizer.json is missing, and every other tokenizer")


def _check_processor(
    entries: Mapping[str, Entry],
    listing: Mapping[str, int],
    config: Mapping[str, Any],
    findings: Findings,
) -> None:
    """A model that sees needs the sizes of its images; some tell them in `processor_config.json`."""
    name = "preprocessor_config.json"
    if name in entries:
        entry = entries[name]
        if entry.size is not None and not isinstance(load_json(entry.path), dict):
            findings.add_damage(f"{name} holds no JSON object", entry)
        return
    sees = any(config.get(key) is not None for key in _VISION_KEYS)
    if not sees or _has(entries, "processor_config.json") or (listing and name not in listing):
        return
    findings.add_missing(name, listing.get(name))


def _check_code(entries: Mapping[str, Entry], config: Mapping[str, Any], findings: Findings) -> None:
    """The Python files that `auto_map` names: `module.Class`, or `org/name--module.Class` of another repository."""
    auto_map = config.get("auto_map")
    if not isinstance(auto_map, dict):
        return
    named = [one for value in auto_map.values() for one in (value if isinstance(value, list) else [value])]
    others = set()
    for reference in named:
        if not isinstance(reference, str) or "." not in reference:
            continue
        repository, _, path = reference.rpartition("--")
        if repository:
            others.add(repository)
            continue
        module = path.rpartition(".")[0].replace(".", "/") + ".py"
        if module not in entries:
            findings.add_missing(module, None, f"{module} is missing, which config.json names as its code")
    findings.warnings += [
        f"its code comes from another repository, which has to be in the cache as well: {name[:200]}"
        for name in sorted(others)
    ]


def _check_listing(entries: Mapping[str, Entry], listing: Mapping[str, int], findings: Findings) -> None:
    """Against the repository's own list: what a server reads must be there, and each file as long as listed."""
    left_out = []
    for name, size in listing.items():
        entry = entries.get(name)
        if entry is None:
            if "/" not in name and name.endswith(_NEEDED_SUFFIXES):
                findings.add_missing(name, size)
            elif all(one.name != name for one in findings.missing):
                left_out.append(name)
        elif entry.size is not None and entry.size != size and not name.endswith(".safetensors"):
            findings.add_damage(f"{name} has {entry.size:,} bytes instead of {size:,}", entry)
            if entry.size < size:
                findings.missing.append(MissingFile(name, size - entry.size))
    if left_out:
        few = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        findings.warnings.append(f"{len(left_out)} files of the repository were not downloaded: {few}")


def _check_links(
    hub: str,
    entries: Mapping[str, Entry],
    listing: Mapping[str, int],
    findings: Findings,
) -> None:
    """Links to nowhere, and links that a container with only this cache in it cannot follow."""
    inside = os.path.realpath(hub) + os.sep
    outside = []
    for name, entry in sorted(entries.items()):
        if entry.size is None:
            if "/" not in name and name.endswith((*_NEEDED_SUFFIXES, *WEIGHT_SUFFIXES)):
                findings.add_dangling(name, listing.get(name))
            elif all(one.name != name for one in findings.missing):
                findings.warnings.append(
                    f"{name} is a link to a file that is not there; a server does not need it"
                )
        elif os.path.islink(entry.path) and (
            os.path.isabs(os.readlink(entry.path)) or not os.path.realpath(entry.path).startswith(inside)
        ):
            outside.append(name)
    if outside:
        findings.warnings.append(
            f"{outside[0]} is a link that leads out of the cache or is absolute: a container that is given only the "
            "cache cannot follow it"
        )
