"""How a prompt is put together and counted: templates of the model families, and tokens of texts and images.

The tokenizer is that of the tiny test models: a special token `<|...|>` is one token, and so is any other byte.
Geometry: `smart_resize` as described for Qwen2-VL and dots.ocr (transformers' `image_processing_qwen2_vl.py`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SPECIAL = re.compile(r"<\|[^|<>]*\|>")
_MAX_ASPECT = 200
_DOTS_IMAGE = "<|img|><|imgpad|><|endofimg|>"
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True, slots=True)
class Family:
    """What sets one kind of model apart."""

    name: str
    factor: int
    min_pixels: int
    max_pixels: int
    processor: str


DOTS = Family("dots", 28, 3136, 11_289_600, "Qwen2VLProcessor")
QWEN2 = Family("qwen2", 28, 3136, 12_845_056, "Qwen2VLProcessor")
QWEN3 = Family("qwen3", 32, 65_536, 16_777_216, "Qwen3VLProcessor")


def family_of(model: str) -> Family:
    """By the model's name."""
    name = model.lower()
    if "dots" in name:
        return DOTS
    return QWEN3 if "qwen3" in name else QWEN2


def tokenize(text: str) -> list[int]:
    """Token numbers: a byte is its own, special tokens stand from 256 on."""
    tokens: list[int] = []
    at = 0
    for special in _SPECIAL.finditer(text):
        tokens += text[at : special.start()].encode()
        tokens.append(256 + sum(special.group().encode()) % 64)
        at = special.end()
    return tokens + list(text[at:].encode())


def smart_resize(width: int, height: int, family: Family) -> tuple[int, int]:
    """The size that an image gets. Raises ValueError for a sliver."""
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ValueError("absolute aspect ratio must be smaller than 200")
    factor = family.factor
    sides = [max(factor, round(side / factor) * factor) for side in (width, height)]
    if sides[0] * sides[1] > family.max_pixels:
        scale = math.sqrt(width * height / family.max_pixels)
        sides = [max(factor, math.floor(side / scale / factor) * factor) for side in (width, height)]
    elif sides[0] * sides[1] < family.min_pixels:
        scale = math.sqrt(family.min_pixels / (width * height))
        sides = [math.ceil(side * scale / factor) * factor for side in (width, height)]
    return sides[0], sides[1]


def image_tokens(size: tuple[int, int], family: Family) -> int:
    """Tokens of an image that was resized."""
    return (size[0] // family.factor) * (size[1] // family.factor)


def render(parts: list[str | None], family: Family, *, array: bool = False) -> str:
    """The prompt of one user message; None stands for an image.

    `array`: the template of dots.ocr for contents that are a list, which leaves out who speaks.
    """
    if family.name != DOTS.name:
        content = "".join(_QWEN_IMAGE if part is None else part for part in parts)
        system = (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            if family.name == QWEN2.name
            else ""
        )
        return f"{system}<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
    if array:
        return "".join(_DOTS_IMAGE if part is None else part for part in parts) + "<|assistant|>"
    content = "\n".join(part for part in parts if part is not None)
    missing = parts.count(None) - content.count(_DOTS_IMAGE)
    content = "".join(f"{_DOTS_IMAGE}\n" for _ in range(missing)) + content
    return f"<|user|>{content}<|endofuser|><|assistant|>"
