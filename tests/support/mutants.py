"""Documents with something wrong in them: good bytes, changed in the ways that disks, networks and attackers do."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ocrd.pipeline import rasterizer_photo
from support import bad_inputs, paper

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"

_NUMBER = re.compile(rb"(?<![\d.])\d{1,10}(?![\d.])")
_NAME = re.compile(rb"/[A-Z][A-Za-z0-9]{1,20}")
_WORDS = (
    b"-1",
    b"0",
    b"4294967295",
    b"99999999999",
    b"1e99",
    b"/Nowhere",
    b"<<",
    b">>",
    b"endobj",
    b"null",
    b"[",
    b"(",
)


def _flip(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 3, 20, 200))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def _drop(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.randrange(1, 4096)]


def _insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    data[at:at] = dice.randbytes(dice.randrange(1, 512))


def _copy(data: bytearray, dice: random.Random) -> None:
    start, to = dice.randrange(len(data)), dice.randrange(len(data))
    block = data[start : start + dice.randrange(1, 2048)]
    data[to : to + len(block)] = block


def _fill(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    length = min(dice.randrange(1, 4096), len(data) - start)
    data[start : start + length] = bytes([dice.choice((0, 255, 32))]) * length


def _extreme(data: bytearray, dice: random.Random) -> None:
    """A field of one, two or four bytes: a length, a size, an offset."""
    width = dice.choice((1, 2, 4))
    at = dice.randrange(max(1, min(len(data) - width, 4096)))
    value = dice.choice((0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1)))
    data[at : at + width] = value.to_bytes(width, dice.choice(("big", "little")))


def _number(data: bytearray, dice: random.Random) -> None:
    _swap_token(data, dice, _NUMBER, dice.choice(_WORDS))


def _name(data: bytearray, dice: random.Random) -> None:
    names = _NAME.findall(data) or [b"/X"]
    _swap_token(data, dice, _NAME, dice.choice((dice.choice(names), dice.choice(_WORDS))))


def _swap_token(data: bytearray, dice: random.Random, pattern: re.Pattern[bytes], new: bytes) -> None:
    found = list(pattern.finditer(data))
    if found:
        token = dice.choice(found)
        data[token.start() : token.end()] = new


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _cut, _drop, _insert, _copy, _fill, _extreme, _number, _name),
)


def mutate(data: bytes, dice: random.Random) -> bytes:
    """The document after one to four changes."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        if changed:
            dice.choice(CHANGES)(changed, dice)
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class Mutant:
    """Number and bytes."""

    number: int
    suffix: str
    data: bytes


PASSWORD = "a password"
_PICTURES = {
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".jp2": "JPEG2000",
    ".ppm": "PPM",
    ".avif": "AVIF",
    ".heic": "HEIF",
}


def _pictures(folder: Path) -> Iterator[tuple[str, bytes]]:
    """One of each format that Pillow can write here: AVIF and HEIF need their libraries."""
    rasterizer_photo.preload()
    Image.init()
    with Image.open(paper.write_png(folder / "small.png", "A picture")) as drawn:
        small = drawn.convert("RGB").resize((240, 60))
    for suffix, name in _PICTURES.items():
        if name in Image.SAVE:
            file = io.BytesIO()
            small.save(file, name)
            yield suffix, file.getvalue()


def sources(folder: Path) -> list[tuple[str, bytes]]:
    """Small good documents of each kind."""
    drawn = [
        paper.write_png(folder / "a.png", "A picture"),
        paper.write_tiff(folder / "b.tif", "First", "Second"),
        paper.write_pdf(folder / "c.pdf", "One", "Two"),
    ]
    kept = [SAMPLES / "born_digital.pdf", SAMPLES / "letter_en.jpg"]
    encoded = [
        make("Encoded") for make in (bad_inputs.ccitt, bad_inputs.jbig2, bad_inputs.jpx, bad_inputs.xfa)
    ]
    encoded += [bad_inputs.encrypted("Open", user=user) for user in (b"", PASSWORD.encode())]
    return [
        *((path.suffix, path.read_bytes()) for path in (*drawn, *kept)),
        *((".pdf", data) for data in encoded),
        *_pictures(folder),
    ]


def mutants(folder: Path, number: int, seed: int) -> Iterator[Mutant]:
    """The same for the same seed."""
    dice = random.Random(seed)
    originals = sources(folder)
    for n in range(number):
        suffix, data = originals[n % len(originals)]
        yield Mutant(n, suffix, mutate(data, dice))
