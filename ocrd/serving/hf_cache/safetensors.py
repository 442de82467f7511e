"""The header of a safetensors file, which tells how long the file has to be."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocrd.serving.hf_cache.json_files import MAX_SIZE, parse_json

_MAX_HEADER = 100_000_000
"""The safetensors library refuses longer headers."""


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
        data = parse_json(_read_exactly(file.fileno(), length))
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
            case {"data_offsets": [int(first), int(last)]} if 0 <= first <= last <= MAX_SIZE:
                end = max(end, last)
                total += last - first
            case _:
                raise BadHeader(f"its header does not say where the tensor {tensor[:80]} is")
    if end != total:
        raise BadHeader("the tensors of its header overlap or leave holes")
    return end
