"""ICC profiles made from bytes (ICC.1:2001-04), for pictures whose numbers mean something else than usual."""

from __future__ import annotations

import struct
from collections.abc import Callable


def wide_rgb(gamma: float = 1.0) -> bytes:
    """A matrix profile for RGB: sRGB's primaries with another curve, so that grey 128 is not grey 128."""
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = {
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": _xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": _xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": _xyz(0.1431, 0.0606, 0.7141),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _profile(b"RGB ", b"XYZ ", tags)


def cmyk(lightness: Callable[[tuple[int, ...]], int]) -> bytes:
    """A table profile for CMYK: how light (0 to 255) each of the 16 full-or-no mixtures of the inks is; no colours."""
    identity = bytes(range(256))
    table = b""
    for index in range(16):
        inks = tuple(index >> shift & 1 for shift in (3, 2, 1, 0))
        table += bytes((lightness(inks), 128, 128))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + identity * 4 + table + identity * 3
    return _profile(b"CMYK", b"Lab ", {b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"A2B0": lut})


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    name = b"Drawn for a test\0"
    text = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    entries = {b"desc": text, b"cprt": b"text" + bytes(4) + b"Public domain\0", **tags}
    at = 128 + 4 + 12 * len(entries)
    directory, data = struct.pack(">I", len(entries)), b""
    for signature, content in entries.items():
        directory += signature + struct.pack(">II", at + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    kind = b"scnr" if space == b"RGB " else b"prtr"
    head = struct.pack(">I4sI", at + len(data), bytes(4), 0x02400000) + kind + space + connection
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + directory + data
