"""What lies in the Hugging Face cache: whole models, half ones, broken ones. Reads headers only, writes nothing.

The layout is that of huggingface_hub: `hub/models--org--name/{blobs/<etag>, refs/main, snapshots/<commit>/file}`,
the files being links to the blobs, and since 1.22 `trees/<commit>.json`, the repository's own list of its files.
huggingface_hub's `scan_cache_dir` and `snapshot_download(local_files_only=True)` take for whole what has no last
shard, a cut one or a link to nowhere (huggingface_hub issue 4624); a model server then fails after a minute, or
minutes. So all of it is looked at here: the index against the files, and each shard's size against its header.
A few KB are read of a file, so that it is quick on a slow file system too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeGuard

from ocrd.domain.errors import OcrdError
from ocrd.host import files

STALE_S = 3600.0
"""What was written to within the last hour may belong to a download that runs; it is not offered for deletion."""

_MAX_HEADER = 100_000_000
"""The safetensors library refuses longer headers."""
_MAX_JSON = 64 * 2**20
_MAX_SIZE = 2**60
"""A file says absurd things if it speaks of more bytes."""
_MAX_DEPTH = 8
"""Of folders in a snapshot that are looked into."""
_MODEL_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_INDEX = "model.safetensors.index.json"
_BIN_INDEX = "pytorch_model.bin.index.json"
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler)\b.*")
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


_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


class CacheState(StrEnum):
    """Whether a server can be started with a model."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """Files are not there."""
    DAMAGED = "damaged"
    """Files are there and cannot be right."""
    UNSERVABLE = "unservable"
    """All is there, and the server cannot load it."""


class CacheUnreadable(OcrdError):
    """The cache's own folder cannot be read."""


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file of the model that is missing, or of which a part is; `bytes` are those that lack, None if unknown."""

    name: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """One model of the cache, as it was found."""

    model: str
    """Its name on the Hub: `org/name`."""
    state: CacheState
    revision: str = ""
    """The commit."""
    snapshot: str = ""
    """The folder with `config.json`; '' if there is none."""
    weight_bytes: int = 0
    """All tensors of the weights that are there, exactly (with .bin weights: the files)."""
    disk_bytes: int = 0
    """What the model's folder takes: other snapshots and unfinished downloads count too."""
    missing: tuple[MissingFile, ...] = ()
    reason: str = ""
    """Why it is not complete: one sentence, naming the file."""
    hint: str = ""
    """What to do about it."""
    architecture: str = ""
    """The first of `config.json`'s `architectures`."""
    model_type: str = ""
    needs_remote_code: bool = False
    """`config.json` has an `auto_map`: its classes are Python files of the repository."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prunable:
    """A file that no model needs."""

    path: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` did."""

    freed_bytes: int
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    """Not deleted, each with the reason."""


# --- where it is, and what is in it -------------------------------------------------------------------------


def hub_folder(hf_home: str, env: Mapping[str, str]) -> str:
    """The cache's folder of models: that of the setting, else by the environment, as huggingface_hub finds it.

    The setting may name the folder `hub` itself or the one it is in.
    """
    if hf_home:
        home = _expand(hf_home, env).rstrip("/") or "/"
        return home if os.path.basename(home) == "hub" else os.path.join(home, "hub")
    direct = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    if direct:
        return _expand(direct, env)
    caches = env.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(_expand(env.get("HF_HOME") or f"{caches}/huggingface", env), "hub")


def _expand(path: str, env: Mapping[str, str]) -> str:
    if path == "~" or path.startswith("~/"):
        return (env.get("HOME") or os.path.expanduser("~")) + path[1:]
    return os.path.abspath(os.path.expanduser(path))


def inspect_cache(hub: str) -> list[CachedModel]:
    """Every model of the cache, by name; datasets and spaces are left out. A cache that is not there is empty.

    Raises `CacheUnreadable` if the folder itself cannot be read.
    """
    return [inspect_model(hub, model) for model in sorted(_model_names(hub))]


def inspect_model(hub: str, model: str) -> CachedModel:
    """One model. One that is not there is incomplete. Raises nothing, whatever the files hold."""
    if not _MODEL_NAME.fullmatch(model):
        return _bare(
            model, f"{model!r} is no name of a Hugging Face model", "names are written ORGANISATION/NAME"
        )
    folder = _model_folder(hub, model)
    try:
        if not os.path.isdir(folder):
            return _absent(hub, model)
        return _inspect_folder(hub, folder, model)
    except OSError as error:
        at = error.filename if isinstance(error.filename, str) else folder
        return CachedModel(
            model=model,
            state=CacheState.DAMAGED,
            reason=f"{at} cannot be read: {error.strerror or error}",
            hint="make it readable for the user that runs ocrd, for instance by: "
            f'sudo chown -R "$USER" {shlex.quote(folder)}',
        )


def spelling(hub: str, model: str) -> str:
    """A model's name as the cache has it. It may differ in case: Hugging Face takes either, a folder only one."""
    with contextlib.suppress(CacheUnreadable):
        names = _model_names(hub)
        if model not in names:
            return next((name for name in names if name.lower() == model.lower()), model)
    return model


def _absent(hub: str, model: str) -> CachedModel:
    there = spelling(hub, model)
    if there != model:
        return _bare(model, f"{model} is not in the cache {hub}, but {there} is", f"write it so: {there}")
    return _bare(model, f"{model} is not in the cache {hub}", f"fetch it: {_fetch(hub, model)}")


def servable(cached: CachedModel, unserved: AbstractSet[str]) -> CachedModel:
    """The same, but unservable if it is complete and no server loads it: `unserved` are the architectures that no
    version of vLLM is known to have."""
    if cached.state is not CacheState.COMPLETE or (
        cached.architecture and cached.architecture not in unserved
    ):
        return cached
    if not cached.architecture:
        reason = "config.json names no architecture, so no server knows how to load it"
    else:
        reason = f"no version of vLLM is known to have the architecture {cached.architecture} of config.json"
    hint = f"use another model; or see for yourself: ocrd models test {cached.model}"
    return replace(cached, state=CacheState.UNSERVABLE, reason=reason, hint=hint)


def _bare(model: str, reason: str, hint: str) -> CachedModel:
    return CachedModel(model=model, state=CacheState.INCOMPLETE, reason=reason, hint=hint)


def _fetch(hub: str, model: str) -> str:
    """The command that completes a model in this very cache."""
    is_usual = os.path.realpath(hub) == os.path.realpath(hub_folder("", os.environ))
    return f"hf download {model}" + ("" if is_usual else f" --cache-dir {shlex.quote(os.path.abspath(hub))}")


def _model_folder(hub: str, model: str) -> str:
    return os.path.join(hub, "models--" + model.replace("/", "--"))


def _model_names(hub: str) -> list[str]:
    """Of all folders `models--…` that can be a model's."""
    try:
        with os.scandir(hub) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("models--") and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheUnreadable(
            f"the Hugging Face cache {hub} cannot be read: {error.strerror or error}",
            hint="check its permissions, or name another by --hub",
        ) from error
    found = (name.removeprefix("models--").replace("--", "/") for name in names)
    return [name for name in found if _MODEL_NAME.fullmatch(name)]


# --- one model's folder -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of a snapshot. `size` is None for a link to nowhere."""

    path: str
    size: int | None


@dataclass(slots=True)
class _Findings:
    """What is collected while a snapshot is looked at."""

    fetch: str
    """The command to fetch it again."""
    missing: list[MissingFile] = field(default_factory=list)
    missing_reasons: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    bad_blobs: list[str] = field(default_factory=list)
    unservable: str = ""
    warnings: list[str] = field(default_factory=list)
    weight_bytes: int = 0

    def add_missing(self, name: str, size: int | None, reason: str = "") -> None:
        """A file is not there; each is told once."""
        if all(one.name != name for one in self.missing):
            self.missing.append(MissingFile(name, size))
            self.missing_reasons.append(reason or f"{name} is missing")

    def add_dangling(self, name: str, size: int | None) -> None:
        """A link leads to nowhere; each is told once."""
        if all(one.name != name for one in self.missing):
            self.missing.append(MissingFile(name, size))
            self.damage.append(f"{name} is a link to a file that is not there")

    def add_damage(self, reason: str, entry: _Entry | None = None) -> None:
        """A file cannot be right; `entry` if it has to be deleted before it is fetched anew."""
        self.damage.append(reason)
        if entry is not None:
            self.bad_blobs.append(os.path.realpath(entry.path))

    @property
    def state(self) -> CacheState:
        """The worst of all that was found."""
        if self.damage:
            return CacheState.DAMAGED
        if self.missing:
            return CacheState.INCOMPLETE
        return CacheState.UNSERVABLE if self.unservable else CacheState.COMPLETE

    @property
    def reason(self) -> str:
        """The first of the worst, and how many more there are."""
        reasons = self.damage + self.missing_reasons
        if not reasons:
            return self.unservable
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return reasons[0] + more

    @property
    def hint(self) -> str:
        """How to mend it. huggingface_hub never fetches a blob again that is there, so a bad one has to go first."""
        if self.bad_blobs:
            bad = " ".join(shlex.quote(path) for path in dict.fromkeys(self.bad_blobs))
            return f"delete the bad copy and fetch it again: rm {bad} && {self.fetch}"
        if self.damage or self.missing:
            return f"fetch what lacks: {self.fetch}"
        return "use another model" if self.unservable else ""


def _inspect_folder(hub: str, folder: str, model: str) -> CachedModel:
    disk_bytes = _disk_bytes(folder)
    partial = _partial_downloads(folder)
    snapshots = _subfolders(os.path.join(folder, "snapshots"))
    named = _read_ref(folder)
    if not snapshots:
        reason = "it has no snapshot: nothing of it was downloaded" + (
            " to its end; a download was interrupted" if partial else ""
        )
        return replace(_bare(model, reason, f"fetch it: {_fetch(hub, model)}"), disk_bytes=disk_bytes)
    if named is not None and named not in snapshots:
        reason = f"refs/main names the snapshot {named[:40]!r}, which is not there"
        return replace(_bare(model, reason, f"fetch it: {_fetch(hub, model)}"), disk_bytes=disk_bytes)
    wanted = [named] if named is not None else _newest_first(folder, snapshots)
    looked = [_inspect_snapshot(hub, folder, model, revision) for revision in wanted]
    best = next((one for one in looked if one.state is CacheState.COMPLETE), looked[0])
    warnings = [*_ref_warnings(named, best.revision, len(snapshots)), *best.warnings]
    warnings += _older_complete(hub, folder, model, best, snapshots)
    reason = best.reason
    if partial and best.state is CacheState.COMPLETE:
        warnings.append(
            f"{partial[0]} in its folder blobs is left of an interrupted download; --prune can delete it"
        )
    elif partial and best.state is CacheState.INCOMPLETE:
        reason += "; its download was interrupted"
    return replace(best, disk_bytes=disk_bytes, warnings=tuple(warnings), reason=reason)


def _older_complete(
    hub: str, folder: str, model: str, best: CachedModel, snapshots: Sequence[str]
) -> list[str]:
    """An update that was interrupted leaves the snapshot before it whole."""
    if best.state is CacheState.COMPLETE:
        return []
    for revision in _newest_first(folder, snapshots):
        if revision == best.revision:
            continue
        if _inspect_snapshot(hub, folder, model, revision).state is CacheState.COMPLETE:
            return [f"another snapshot, {revision}, is complete: an update of the model was not finished"]
    return []


def _ref_warnings(named: str | None, taken: str, count: int) -> list[str]:
    if named is not None:
        return []
    which = "its only snapshot" if count == 1 else f"of its {count} snapshots the newest complete one"
    return [f"it has no refs/main: {which}, {taken}, is taken"]


def _read_ref(folder: str) -> str | None:
    """The commit that `refs/main` names; None if there is no such file."""
    data = _read_start(os.path.join(folder, "refs", "main"), 200)
    return None if data is None else data.decode("ascii", "replace").strip()


def _read_start(path: str, limit: int) -> bytes | None:
    """The first bytes of a file; None if there is none. What is no regular file (a pipe would block) is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _newest_first(folder: str, snapshots: Iterable[str]) -> list[str]:
    def age(name: str) -> tuple[float, str]:
        return -os.stat(os.path.join(folder, "snapshots", name)).st_mtime, name

    return sorted(snapshots, key=age)


def _partial_downloads(folder: str) -> list[str]:
    try:
        names = os.listdir(os.path.join(folder, "blobs"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name.endswith(".incomplete"))


def _disk_bytes(folder: str) -> int:
    """All files of a folder, links not followed, each once even if it has several names."""
    seen: dict[tuple[int, int], int] = {}
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(at, name))
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


# --- one snapshot -------------------------------------------------------------------------------------------


def _inspect_snapshot(hub: str, folder: str, model: str, revision: str) -> CachedModel:
    snapshot = os.path.join(folder, "snapshots", revision)
    entries = dict(_walk(snapshot, ""))
    listing = _read_listing(os.path.join(folder, "trees", f"{revision}.json"))
    findings = _Findings(_fetch(hub, model))
    config = _check_config(entries, findings)
    _check_weights(entries, listing, findings)
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


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, _Entry]]:
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
                yield prefix + entry.name, _Entry(entry.path, None)
                continue
            if stat.S_ISREG(status.st_mode):
                yield prefix + entry.name, _Entry(entry.path, status.st_size)


def _read_listing(path: str) -> dict[str, int]:
    """The repository's own list of its files and sizes; empty if there is none that can be understood."""
    data = _load_json(path)
    listed = data.get("files") if isinstance(data, dict) and data.get("format_version") == 1 else None
    if not isinstance(listed, dict):
        return {}
    sizes: dict[str, int] = {}
    for name, facts in listed.items():
        size = facts.get("size") if isinstance(facts, dict) else None
        if _is_size(size):
            sizes[name] = size
    return sizes


def _load_json(path: str) -> Any:
    """The file's data; None if it is not there, too large, or no JSON."""
    data = _read_start(path, _MAX_JSON + 1)
    return None if data is None or len(data) > _MAX_JSON else _parse_json(data)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SIZE


def _parse_json(data: bytes) -> Any:
    """None for what is no JSON: also for nesting without end, and numbers of thousands of digits."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _first_string(value: object) -> str:
    return _string(value[0]) if isinstance(value, list) and value else ""


def _has(entries: Mapping[str, _Entry], name: str) -> bool:
    """Whether a file is there and holds something."""
    return name in entries and bool(entries[name].size)


# --- its parts ----------------------------------------------------------------------------------------------


def _check_config(entries: Mapping[str, _Entry], findings: _Findings) -> dict[str, Any]:
    entry = entries.get("config.json")
    if entry is None:
        findings.add_missing("config.json", None)
        return {}
    if entry.size is None:
        return {}  # told with the other dangling links
    data = _load_json(entry.path)
    if not isinstance(data, dict):
        findings.add_damage("config.json holds no JSON object", entry)
        return {}
    return data


def _check_weights(entries: Mapping[str, _Entry], listing: Mapping[str, int], findings: _Findings) -> None:
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
    return name.endswith(_WEIGHT_SUFFIXES[1:]) and not _NO_WEIGHTS.match(name)


Reader = Callable[[_Entry, str, _Findings], tuple[int, AbstractSet[str] | None] | None]
"""Of a file of weights: the bytes of its tensors and their names (None: not known). None if it is damaged."""


def _check_shards(
    entries: Mapping[str, _Entry],
    listing: Mapping[str, int],
    findings: _Findings,
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


def _read_index(entries: Mapping[str, _Entry], name: str, findings: _Findings) -> _Index | None:
    """Without shards if there is no index; None if it cannot be used."""
    entry = entries.get(name)
    if entry is None:
        return _Index({})
    if entry.size is None:
        return None
    data = _load_json(entry.path)
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
    return _Index(shards, total if _is_size(total) else None)


def _shards_by_name(
    entries: Mapping[str, _Entry], listing: Mapping[str, int], suffix: str
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
    findings: _Findings,
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
    findings: _Findings,
    entry: _Entry,
) -> None:
    lacking = wanted - found if found is not None else frozenset()
    if lacking:
        findings.add_damage(f"{name} has no tensor {min(lacking)[:80]}, which the index says is in it", entry)


def _read_nothing(
    entry: _Entry, name: str, findings: _Findings
) -> tuple[int, AbstractSet[str] | None] | None:
    if not entry.size:
        findings.add_damage(f"{name} is empty", entry)
        return None
    return entry.size, None


def _read_tensors(
    entry: _Entry, name: str, findings: _Findings
) -> tuple[int, AbstractSet[str] | None] | None:
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


class BadHeader(Exception):
    """The header of a safetensors file cannot be right; `lacking`: because the file ends too early."""

    def __init__(self, message: str, *, lacking: bool = False) -> None:
        super().__init__(message)
        self.lacking = lacking


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file's header says."""

    tensors: frozenset[str]
    header_bytes: int
    data_bytes: int

    @property
    def file_bytes(self) -> int:
        """How long the file has to be."""
        return 8 + self.header_bytes + self.data_bytes


def read_header(path: str, size: int) -> Header:
    """Read the header of the safetensors file `path` of `size` bytes; the data are not touched. Raises `BadHeader`."""
    if size < 8:
        raise BadHeader("it is shorter than a header", lacking=True)
    with open(path, "rb", buffering=0) as file:
        (length,) = struct.unpack("<Q", _read_exactly(file.fileno(), 8))
        if length > _MAX_HEADER:
            raise BadHeader("the length of its header is absurd")
        if 8 + length > size:
            raise BadHeader("it ends within its header", lacking=True)
        data = _parse_json(_read_exactly(file.fileno(), length))
    if not isinstance(data, dict):
        raise BadHeader("its header is no JSON object")
    data.pop("__metadata__", None)
    return Header(frozenset(data), length, _data_bytes(data))


def _read_exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(fd, count - len(data))
        if not more:
            raise BadHeader("it became shorter while it was read", lacking=True)
        data += more
    return data


def _data_bytes(header: Mapping[str, Any]) -> int:
    """Where the last tensor ends. The data have no holes, so their sizes must add up to it."""
    end = total = 0
    for tensor, facts in header.items():
        match facts:
            case {"data_offsets": [int(first), int(last)]} if 0 <= first <= last <= _MAX_SIZE:
                end = max(end, last)
                total += last - first
            case _:
                raise BadHeader(f"its header does not say where the tensor {tensor[:80]} is")
    if end != total:
        raise BadHeader("the tensors of its header overlap or leave holes")
    return end


def _check_tokenizer(entries: Mapping[str, _Entry], listing: Mapping[str, int], findings: _Findings) -> None:
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
    entries: Mapping[str, _Entry],
    listing: Mapping[str, int],
    config: Mapping[str, Any],
    findings: _Findings,
) -> None:
    """A model that sees needs the sizes of its images; some tell them in `processor_config.json`."""
    name = "preprocessor_config.json"
    if name in entries:
        entry = entries[name]
        if entry.size is not None and not isinstance(_load_json(entry.path), dict):
            findings.add_damage(f"{name} holds no JSON object", entry)
        return
    sees = any(config.get(key) is not None for key in _VISION_KEYS)
    if not sees or _has(entries, "processor_config.json") or (listing and name not in listing):
        return
    findings.add_missing(name, listing.get(name))


def _check_code(entries: Mapping[str, _Entry], config: Mapping[str, Any], findings: _Findings) -> None:
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


def _check_listing(entries: Mapping[str, _Entry], listing: Mapping[str, int], findings: _Findings) -> None:
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
    entries: Mapping[str, _Entry],
    listing: Mapping[str, int],
    findings: _Findings,
) -> None:
    """Links to nowhere, and links that a container with only this cache in it cannot follow."""
    inside = os.path.realpath(hub) + os.sep
    outside = []
    for name, entry in sorted(entries.items()):
        if entry.size is None:
            if "/" not in name and name.endswith((*_NEEDED_SUFFIXES, *_WEIGHT_SUFFIXES)):
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


# --- deletion -----------------------------------------------------------------------------------------------


def prunable(hub: str, *, now: float | None = None) -> list[Prunable]:
    """What can be deleted without loss: remains of interrupted downloads, and blobs that no snapshot refers to.

    Nothing younger than `STALE_S`, nothing a download holds the lock of, never a snapshot or a reference.
    """
    moment = time.time() if now is None else now
    found: list[Prunable] = []
    for model in sorted(_model_names(hub)):
        try:
            found += _prunable_of(hub, _model_folder(hub, model), moment)
        except OSError:
            continue  # what cannot be read wholly is left alone
    return found


def _prunable_of(hub: str, folder: str, now: float) -> list[Prunable]:
    blobs = os.path.join(folder, "blobs")
    if not os.path.isdir(blobs):
        return []
    used = _used_blobs(folder)
    found = []
    with os.scandir(blobs) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or now - status.st_mtime < STALE_S:
                continue
            if entry.name.endswith(".incomplete"):
                why = "left of an interrupted download"
            elif (status.st_dev, status.st_ino) not in used and status.st_nlink == 1:
                why = "no snapshot refers to it"
            else:
                continue
            if not _is_in_download(hub, folder, entry.name):
                found.append(Prunable(entry.path, status.st_size, why))
    return found


def _used_blobs(folder: str) -> set[tuple[int, int]]:
    """The files that the snapshots refer to, by device and inode. Raises OSError if one cannot be looked into."""
    used = set()
    for at, folders, names in os.walk(os.path.join(folder, "snapshots"), onerror=_raise):
        for name in (*names, *folders):
            try:
                status = os.stat(os.path.join(at, name))
            except FileNotFoundError:
                continue
            used.add((status.st_dev, status.st_ino))
    return used


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_in_download(hub: str, folder: str, blob: str) -> bool:
    """Whether a download of huggingface_hub holds the blob's lock."""
    etag = blob.split(".", 1)[0]
    lock = os.path.join(hub, ".locks", os.path.basename(folder), f"{etag}.lock")
    return os.path.exists(lock) and files.is_locked(lock)


def prune(hub: str, chosen: Iterable[Prunable], *, now: float | None = None) -> Pruned:
    """Delete exactly those of `chosen` that still can be deleted; what changed since it was shown stays."""
    still = set(prunable(hub, now=now))
    freed = 0
    deleted: list[str] = []
    kept: list[str] = []
    for item in chosen:
        if item not in still:
            kept.append(f"{item.path}: it changed, or is in use")
            continue
        try:
            os.unlink(item.path)
        except OSError as error:
            kept.append(f"{item.path}: {error.strerror or error}")
            continue
        freed += item.bytes
        deleted.append(item.path)
    return Pruned(freed, tuple(deleted), tuple(kept))
