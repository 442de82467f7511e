"""Synthetic Hugging Face caches in the true layout, whole and broken in every way. No torch: struct and json.

`Repository` writes one; each function of `BROKEN` breaks a whole one and says how it has to be found.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocrd.serving.hf_cache.cached_model import CacheState

MODEL = "Qwen/Qwen2-VL-2B-Instruct"
REVISION = "895c3a49bc3fa70a340399125c650a463535e71c"
OLDER = "1111111111111111111111111111111111111111"
LONG_AGO = 1_700_000_000
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"

QWEN2_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "hidden_size": 1536,
    "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
    "vocab_size": 151936, "max_position_embeddings": 32768, "torch_dtype": "bfloat16", "image_token_id": 151655,
    "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "hidden_size": 1536, "patch_size": 14,
                      "spatial_merge_size": 2},
}  # fmt: skip
QWEN2_IMAGES: dict[str, Any] = {
    "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2,
    "image_processor_type": "Qwen2VLImageProcessor",
}  # fmt: skip


def header_of(tensors: Mapping[str, int]) -> bytes:
    """A safetensors header for tensors of so many bytes each."""
    at = 0
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, size in tensors.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    return json.dumps(header).encode()


def safetensors(tensors: Mapping[str, int]) -> bytes:
    """A whole safetensors file."""
    header = header_of(tensors)
    return struct.pack("<Q", len(header)) + header + b"\7" * sum(tensors.values())


def whole_model() -> dict[str, bytes]:
    """The files of a small model of two shards: 700 bytes of weights."""
    shards = ({"embed": 100, "layers.0": 200}, {"layers.1": 300, "head": 100})
    weight_map = {name: shard for shard, tensors in zip(SHARDS, shards, strict=True) for name in tensors}
    index = {"metadata": {"total_size": 700}, "weight_map": weight_map}
    return {
        "config.json": json.dumps(QWEN2_CONFIG).encode(),
        "preprocessor_config.json": json.dumps(QWEN2_IMAGES).encode(),
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        INDEX: json.dumps(index).encode(),
        SHARDS[0]: safetensors(shards[0]),
        SHARDS[1]: safetensors(shards[1]),
        "README.md": b"# a model\n",
    }


@dataclass(frozen=True)
class Repository:
    """One model's folder in the cache."""

    hub: Path
    model: str = MODEL
    revision: str = REVISION

    @property
    def folder(self) -> Path:
        return self.hub / ("models--" + self.model.replace("/", "--"))

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def snapshot(self) -> Path:
        return self.folder / "snapshots" / self.revision

    def blob(self, name: str) -> Path:
        """Where a file of the snapshot really lies."""
        return (self.snapshot / name).resolve()

    def add(self, name: str, data: bytes) -> Path:
        """A file: its blob, named by its contents, and the link to it."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        blob = self.blobs / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        os.utime(blob, (LONG_AGO, LONG_AGO))
        self.link(name, blob.name)
        return blob

    def link(self, name: str, blob: str) -> None:
        """The link of a file to a blob, relative as huggingface_hub makes it."""
        pointer = self.snapshot / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        up = "../" * (2 + name.count("/"))
        pointer.symlink_to(f"{up}blobs/{blob}")

    def add_ref(self) -> None:
        """`refs/main`."""
        (self.folder / "refs").mkdir(parents=True, exist_ok=True)
        (self.folder / "refs" / "main").write_text(self.revision)

    def add_listing(self, files: Mapping[str, int]) -> None:
        """`trees/<commit>.json`, as huggingface_hub writes it since 1.22."""
        (self.folder / "trees").mkdir(parents=True, exist_ok=True)
        entries = {name: {"size": size, "blob_id": "0" * 40} for name, size in files.items()}
        text = json.dumps({"format_version": 1, "files": entries}, indent=1)
        (self.folder / "trees" / f"{self.revision}.json").write_text(text)

    def remove(self, name: str) -> int:
        """A file is missing, link and blob; its size."""
        blob = self.blob(name)
        size = blob.stat().st_size
        (self.snapshot / name).unlink()
        blob.unlink()
        return size


def make(
    hub: Path,
    files: Mapping[str, bytes] | None = None,
    *,
    model: str = MODEL,
    revision: str = REVISION,
    ref: bool = True,
) -> Repository:
    """A model's folder with these files, by default a whole model."""
    repository = Repository(hub, model, revision)
    for name, data in (whole_model() if files is None else files).items():
        repository.add(name, data)
    if ref:
        repository.add_ref()
    return repository


@dataclass(frozen=True)
class Case:
    """A way for a cache to be broken, and how it has to be found."""

    name: str
    breaks: Callable[[Repository], None]
    state: CacheState
    says: str
    """Part of the reason."""
    missing: tuple[tuple[str, int | None], ...] = ()


def _edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Repository], None]:
    """Replace a file by a changed copy."""
    return lambda repository: _replace(repository, name, change(repository.blob(name).read_bytes()))


def _replace(repository: Repository, name: str, data: bytes) -> None:
    repository.remove(name)
    repository.add(name, data)


def _without(*names: str) -> Callable[[Repository], None]:
    def breaks(repository: Repository) -> None:
        for name in names:
            repository.remove(name)

    return breaks


def _without_blob(name: str) -> Callable[[Repository], None]:
    return lambda repository: repository.blob(name).unlink()


def _interrupted(repository: Repository) -> None:
    repository.remove(SHARDS[1])
    (repository.blobs / "abcdef.01234567.incomplete").write_bytes(b"half of it")


def _listed_shard_missing(repository: Repository) -> None:
    sizes = {path.name: path.stat().st_size for path in repository.snapshot.iterdir()}
    repository.add_listing(sizes)
    for name in SHARDS:
        repository.remove(name)


def _listed_file_missing(repository: Repository) -> None:
    repository.add_listing(
        {"config.json": repository.blob("config.json").stat().st_size, "chat_template.json": 17}
    )


def _listed_file_short(repository: Repository) -> None:
    repository.add_listing({"tokenizer.json": 4711})


def _lost_snapshot(repository: Repository) -> None:
    (repository.folder / "refs" / "main").write_text(OLDER)


def _no_snapshot(repository: Repository) -> None:
    for path in repository.snapshot.iterdir():
        path.unlink()
    repository.snapshot.rmdir()


def _link_in_a_circle(repository: Repository) -> None:
    repository.remove(SHARDS[1])
    (repository.snapshot / SHARDS[1]).symlink_to(SHARDS[1])


def _numbered_without_index(repository: Repository) -> None:
    repository.remove(INDEX)
    repository.remove(SHARDS[0])


def _only_gguf(repository: Repository) -> None:
    _without(INDEX, *SHARDS)(repository)
    repository.add("model-q4.gguf", b"GGUF")


def _pickle_index(repository: Repository) -> None:
    _without(INDEX, *SHARDS)(repository)
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    repository.add("pytorch_model.bin.index.json", json.dumps(index).encode())
    repository.add("pytorch_model-00001-of-00002.bin", b"x" * 50)


def _code_missing(repository: Repository) -> None:
    config = QWEN2_CONFIG | {"auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    _replace(repository, "config.json", json.dumps(config).encode())


def _long_header(data: bytes) -> bytes:
    return struct.pack("<Q", 2**62) + data[8:]


def _header_beyond_end(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data[8:]


def _header_not_json(data: bytes) -> bytes:
    return data[:8] + b"!" + data[9:]


def _holes(data: bytes) -> bytes:
    del data
    header = json.dumps({"head": {"dtype": "U8", "shape": [9], "data_offsets": [10, 19]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(19)


def _no_offsets(data: bytes) -> bytes:
    del data
    header = json.dumps({"head": {"dtype": "U8", "data_offsets": [0]}}).encode()
    return struct.pack("<Q", len(header)) + header


def _tensor_elsewhere(data: bytes) -> bytes:
    del data
    return safetensors({"other": 400})


_SECOND = len(whole_model()[SHARDS[1]])
_INCOMPLETE, _DAMAGED = CacheState.INCOMPLETE, CacheState.DAMAGED

BROKEN = (
    Case("shard missing", _without(SHARDS[1]), _INCOMPLETE, f"{SHARDS[1]} is missing", ((SHARDS[1], 400),)),
    Case("both shards missing", _without(*SHARDS), _INCOMPLETE, f"{SHARDS[0]} is missing (and 1 more)",
         ((SHARDS[0], None), (SHARDS[1], None))),
    Case("both missing, listed", _listed_shard_missing, _INCOMPLETE, f"{SHARDS[0]} is missing",
         ((SHARDS[0], len(whole_model()[SHARDS[0]])), (SHARDS[1], _SECOND))),
    Case("interrupted download", _interrupted, _INCOMPLETE, "download was interrupted", ((SHARDS[1], 400),)),
    Case("dangling link", _without_blob(SHARDS[1]), _DAMAGED, f"{SHARDS[1]} is a link", ((SHARDS[1], None),)),
    Case("link in a circle", _link_in_a_circle, _DAMAGED, f"{SHARDS[1]} is a link", ((SHARDS[1], None),)),
    Case("dangling config", _without_blob("config.json"), _DAMAGED, "config.json is a link",
         (("config.json", None),)),
    Case("dangling index", _without_blob(INDEX), _DAMAGED, f"{INDEX} is a link", ((INDEX, None),)),
    Case("truncated shard", _edit(SHARDS[1], lambda data: data[:-30]), _DAMAGED, f"{SHARDS[1]} is cut short",
         ((SHARDS[1], 30),)),
    Case("shard too long", _edit(SHARDS[1], lambda data: data + b"x"), _DAMAGED, "longer than its header"),
    Case("empty shard", _edit(SHARDS[1], lambda data: b""), _DAMAGED, "shorter than a header",
         ((SHARDS[1], None),)),
    Case("absurd header length", _edit(SHARDS[1], _long_header), _DAMAGED, "absurd"),
    Case("header beyond the end", _edit(SHARDS[1], _header_beyond_end), _DAMAGED, "ends within its header",
         ((SHARDS[1], None),)),
    Case("header no JSON", _edit(SHARDS[1], _header_not_json), _DAMAGED, "no JSON object"),
    Case("header with holes", _edit(SHARDS[1], _holes), _DAMAGED, "holes"),
    Case("header without offsets", _edit(SHARDS[1], _no_offsets), _DAMAGED, "does not say where"),
    Case("tensor of the index not there", _edit(SHARDS[1], _tensor_elsewhere), _DAMAGED, "has no tensor head"),
    Case("index no JSON", _edit(INDEX, lambda data: b"{"), _DAMAGED, f"{INDEX} names no files"),
    Case("index empty", _edit(INDEX, lambda data: b'{"weight_map": {}}'), _DAMAGED, f"{INDEX} names no files"),
    Case("index names a number", _edit(INDEX, lambda data: b'{"weight_map": {"a": 1}}'), _DAMAGED,
         f"{INDEX} is damaged"),
    Case("numbered shard missing, no index", _numbered_without_index, _INCOMPLETE, f"{SHARDS[0]} is missing",
         ((SHARDS[0], None),)),
    Case("no weights", _without(INDEX, *SHARDS), _INCOMPLETE, "no weights", (("model.safetensors", None),)),
    Case("only GGUF", _only_gguf, CacheState.UNSERVABLE, "GGUF"),
    Case("pickled shard missing", _pickle_index, _INCOMPLETE, "pytorch_model-00002-of-00002.bin is missing",
         (("pytorch_model-00002-of-00002.bin", None),)),
    Case("no config", _without("config.json"), _INCOMPLETE, "config.json is missing", (("config.json", None),)),
    Case("config no JSON", _edit("config.json", lambda data: b"<html>"), _DAMAGED, "config.json holds no JSON"),
    Case("config a list", _edit("config.json", lambda data: b"[]"), _DAMAGED, "config.json holds no JSON"),
    Case("no tokenizer", _without("tokenizer.json"), _INCOMPLETE, "tokenizer.json is missing",
         (("tokenizer.json", None),)),
    Case("empty tokenizer", _edit("tokenizer.json", lambda data: b""), _DAMAGED, "tokenizer.json is empty"),
    Case("no processor", _without("preprocessor_config.json"), _INCOMPLETE, "preprocessor_config.json is missing",
         (("preprocessor_config.json", None),)),
    Case("processor no JSON", _edit("preprocessor_config.json", lambda data: b"\xff"), _DAMAGED,
         "preprocessor_config.json holds no JSON"),
    Case("code missing", _code_missing, _INCOMPLETE, "configuration_own.py is missing",
         (("configuration_own.py", None),)),
    Case("listed file missing", _listed_file_missing, _INCOMPLETE, "chat_template.json is missing",
         (("chat_template.json", 17),)),
    Case("listed file short", _listed_file_short, _DAMAGED, "tokenizer.json has 18 bytes instead of 4,711",
         (("tokenizer.json", 4693),)),
    Case("ref to a lost snapshot", _lost_snapshot, _INCOMPLETE, "refs/main names the snapshot"),
    Case("no snapshot", _no_snapshot, _INCOMPLETE, ""),
)  # fmt: skip
