"""The weights of a snapshot: the index against the files, and each file against its header."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ocrd.serving.hf_cache.cached_model import MissingFile
from ocrd.serving.hf_cache.findings import Entry, Findings
from ocrd.serving.hf_cache.json_files import is_size, load_json
from ocrd.serving.hf_cache.safetensors import BadHeader, read_header

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_INDEX = "model.safetensors.index.json"
_BIN_INDEX = "pytorch_model.bin.index.json"
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler)\b.*")


def check_weights(entries: Mapping[str, Entry], listing: Mapping[str, int], findings: Findings) -> None:
    top = [name for name in entries if "/" not in name]
    if _INDEX in entries or any(name.endswith(".safetensors") for name in top):
        _check_shards(entries, listing, findings, _INDEX, ".safetensors", _read_tensors)
    elif _BIN_INDEX in entries or any(_is_pickle(name) for name in top):
        findings.warnings.append(
            "its weights are PyTorch .bin files, of which only the presence can be checked, not the contents"
        )
        _check_shards(entries, listing, findings, _BIN_INDEX, ".bin", _read_nothing)
    elif any(name.endswith(".gguf") for name in entries):
        findings.unservable = "it has only GGUF weights, which vLLM does not load from a repository"
    else:
        lacking = [name for name in listing if "/" not in name and name.endswith(".safetensors")]
        for name in lacking:
            findings.add_missing(name, listing[name])
        if not lacking:
            findings.add_missing(
                "model.safetensors", None, "it has no weights: there is no .safetensors or .bin file"
            )


def _is_pickle(name: str) -> bool:
    return name.endswith(WEIGHT_SUFFIXES[1:]) and not _NO_WEIGHTS.match(name)


Reader = Callable[[Entry, str, Findings], tuple[int, AbstractSet[str] | None] | None]
"""Of a file of weights: the bytes of its tensors and their names (None: not known). None if it is damaged."""


def _check_shards(
    entries: Mapping[str, Entry],
    listing: Mapping[str, int],
    findings: Findings,
    index_name: str,
    suffix: str,
    read: Reader,
) -> None:
    """The files of weights that the index names, or without one those that lie there."""
    index = _read_index(entries, index_name, findings)
    if index is None:
        return
    wanted = index.shards or _shards_by_name(entries, listing, suffix)
    absent = []
    for name in sorted(wanted):
        entry = entries.get(name)
        if entry is None:
            absent.append(name)
        elif entry.size is None:
            findings.add_dangling(name, listing.get(name))
        else:
            found = read(entry, name, findings)
            if found is None:
                continue
            findings.weight_bytes += found[0]
            _check_names(name, wanted[name], found[1], findings, entry)
    for name in absent:
        findings.add_missing(name, _lacking_bytes(name, absent, listing, index, findings))


@dataclass(frozen=True, slots=True)
class _Index:
    """What an index file says."""

    shards: Mapping[str, AbstractSet[str]]
    """The names of the tensors by file."""
    total_bytes: int | None = None
    """Of all tensors."""


def _read_index(entries: Mapping[str, Entry], name: str, findings: Findings) -> _Index | None:
    """Without shards if there is no index; None if it cannot be used."""
    entry = entries.get(name)
    if entry is None:
        return _Index({})
    if entry.size is None:
        return None
    data = load_json(entry.path)
    weight_map = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        findings.add_damage(f"{name} names no files of weights", entry)
        return None
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str):
            findings.add_damage(f"{name} is damaged: it names no file for the tensor {tensor[:80]}", entry)
            return None
        shards.setdefault(shard, set()).add(tensor)
    metadata = data.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return _Index(shards, total if is_size(total) else None)


def _shards_by_name(
    entries: Mapping[str, Entry], listing: Mapping[str, int], suffix: str
) -> dict[str, AbstractSet[str]]:
    """Without an index: all files of weights on the top level, and those that their numbering tells of."""
    there = {name for name in entries if "/" not in name}
    if "model.safetensors" in listing:  # others of the list may be copies in another format, rightly left out
        there.add("model.safetensors")
    if suffix == ".safetensors":
        names = {name for name in there if name.endswith(suffix)}
    else:
        names = {name for name in there if _is_pickle(name)}
    for name in tuple(names):
        match = _SHARD.fullmatch(name)
        if match and int(match["count"]) <= 2000:
            names |= {
                f"{match['stem']}-{number:05}-of-{match['count']}{match['suffix']}"
                for number in range(1, int(match["count"]) + 1)
            }
    return {name: frozenset() for name in names}


def _lacking_bytes(
    name: str,
    absent: Sequence[str],
    listing: Mapping[str, int],
    index: _Index,
    findings: Findings,
) -> int | None:
    """The size of a file that is not there: of the repository's list, else what the index says beyond the others."""
    if name in listing:
        return listing[name]
    if len(absent) > 1 or index.total_bytes is None or findings.damage:
        return None
    rest = index.total_bytes - findings.weight_bytes
    return rest if rest > 0 else None


def _check_names(
    name: str,
    wanted: AbstractSet[str],
    found: AbstractSet[str] | None,
    findings: Findings,
    entry: Entry,
) -> None:
    lacking = wanted - found if found is not None else frozenset()
    if lacking:
        findings.add_damage(f"{name} has no tensor {min(lacking)[:80]}, which the index says is in it", entry)


def _read_nothing(entry: Entry, name: str, findings: Findings) -> tuple[int, AbstractSet[str] | None] | None:
    if not entry.size:
        findings.add_damage(f"{name} is empty", entry)
        return None
    return entry.size, None


def _read_tensors(entry: Entry, name: str, findings: Findings) -> tuple[int, AbstractSet[str] | None] | None:
    """A safetensors file is 8 bytes of length, a JSON header of that length, and the data, to the byte."""
    size = entry.size or 0
    try:
        header = read_header(entry.path, size)
    except BadHeader as error:
        findings.add_damage(f"{name} is damaged: {error}", entry)
        if error.lacking:
            findings.missing.append(MissingFile(name, None))
        return None
    surplus = size - header.file_bytes
    if surplus < 0:
        findings.add_damage(
            f"{name} is cut short: {-surplus:,} of its {header.file_bytes:,} bytes lack", entry
        )
        findings.missing.append(MissingFile(name, -surplus))
        return None
    if surplus > 0:
        findings.add_damage(f"{name} is damaged: longer than its header says by {surplus:,} bytes", entry)
        return None
    return header.data_bytes, header.tensors
