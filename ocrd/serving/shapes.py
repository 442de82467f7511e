"""A vision model's measures, read from the files of its snapshot; the VRAM plan is made from them.

Keys as of the model classes in vLLM (`vllm/model_executor/models/{dots_ocr,qwen2_vl,qwen2_5_vl,qwen3_vl,phi3v}.py`)
and the configurations of transformers. An architecture that is not known by name is read by the keys that most
vision models share; where one of its picture's measures lacks, the default below errs on the side of more memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ocrd.domain.errors import OcrdError
from ocrd.domain.planning import ModelShape

_MAX_JSON = 64 * 2**20
_MAX_MEASURE = 2**40
"""No measure of a model is larger; a file that says so is damaged."""

_TEXT_PARTS = ("text_config", "llm_config", "language_config")
_CONFIG = "config.json"
_PREPROCESSOR = "preprocessor_config.json"
_PROCESSOR = "processor_config.json"

GENERIC_VISION_HIDDEN = 1280
"""Of an unknown model's vision tower: that of the largest towers of small models (Qwen2-VL's)."""
GENERIC_MLP_RATIO = 4
GENERIC_PATCH = 14
GENERIC_MERGE = 1
"""No merging: more image tokens than there may be."""
GENERIC_MIN_PIXELS = 56 * 56
GENERIC_MAX_PIXELS = 2048 * 2048
_LEAST_PIXELS = 8192
"""Unknown processors write an edge or an area under one name: what is less is an edge."""


class ShapeUnknown(OcrdError):
    """The files of a model do not say how large it is; the message names the file and the key."""


def read_shape(snapshot: str, weight_bytes: int) -> ModelShape:
    """The measures of the model in the folder `snapshot`, whose tensors take `weight_bytes`.

    Raises `ShapeUnknown` if a file lacks or does not say what is needed.
    """
    config = _read(snapshot, _CONFIG)
    images = _read_images(snapshot)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    vision = _READERS.get(architecture, _generic)(config, images)
    text = _text_part(config)
    heads = text.measure("num_attention_heads")
    hidden = text.measure("hidden_size")
    return ModelShape(
        weight_bytes=weight_bytes,
        layers=text.measure("num_hidden_layers"),
        hidden=hidden,
        intermediate=text.measure("intermediate_size"),
        kv_heads=text.measure("num_key_value_heads", heads),
        head_dim=text.measure("head_dim", max(hidden // heads, 1)),
        vocab=text.measure("vocab_size"),
        max_position=text.measure("max_position_embeddings"),
        patch=vision.patch,
        merge=vision.merge,
        vision_hidden=vision.hidden,
        vision_intermediate=vision.intermediate,
        vision_gated=vision.gated,
        min_pixels=vision.min_pixels,
        max_pixels=vision.max_pixels,
    )


# --- files and keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """An object of a file, and where it stands."""

    snapshot: str
    file: str
    values: Mapping[str, Any]
    prefix: str = ""
    fallback: Mapping[str, Any] | None = None
    """Where a key may stand as well."""

    def get(self, key: str) -> Any:
        """What the file says; None if nothing."""
        value = self.values.get(key)
        if value is None and self.fallback is not None:
            return self.fallback.get(key)
        return value

    def measure(self, key: str, default: int | None = None) -> int:
        """A whole number above 0; `default` if it is not there and there is one."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_MEASURE:
            raise self.unknown(key, value)
        return value

    def part(self, key: str) -> _Part:
        """The object below `key`, empty if there is none."""
        value = self.get(key)
        inner = value if isinstance(value, dict) else {}
        return _Part(self.snapshot, self.file, inner, f"{self.prefix}{key}.")

    def unknown(self, key: str, value: object) -> ShapeUnknown:
        """The error for a key that is not there or makes no sense."""
        at = os.path.join(self.snapshot, self.file)
        wrong = "is missing" if value is None else "is not a number that can be right"
        return ShapeUnknown(
            f"{at}: the key {self.prefix}{key} {wrong}, so the model's need of memory cannot be worked out",
            hint="see `ocrd models inspect` whether the model is whole; else use a model of the catalogue",
        )


def _read(snapshot: str, name: str) -> _Part:
    """A file's object. Raises `ShapeUnknown` if there is none."""
    found = _read_if_there(snapshot, name)
    if found is None:
        raise ShapeUnknown(
            f"{os.path.join(snapshot, name)} is missing, so the model's measures are not known",
            hint="see `ocrd models inspect` for what the model lacks",
        )
    return found


def _read_if_there(snapshot: str, name: str) -> _Part | None:
    path = os.path.join(snapshot, name)
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            data = json.loads(file.read(_MAX_JSON))
    except OSError as error:
        raise ShapeUnknown(
            f"{path} cannot be read: {error.strerror or error}", hint="check its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ShapeUnknown(f"{path} holds no JSON", hint="see `ocrd models inspect`") from error
    if not isinstance(data, dict):
        raise ShapeUnknown(f"{path} holds no JSON object", hint="see `ocrd models inspect`")
    return _Part(snapshot, name, data)


def _read_images(snapshot: str) -> _Part:
    """What the image processor does: its own file, or the part of `processor_config.json` of newer transformers."""
    own = _read_if_there(snapshot, _PREPROCESSOR)
    if own is not None:
        return own
    shared = _read_if_there(snapshot, _PROCESSOR)
    if shared is not None:
        return shared.part("image_processor")
    return _Part(snapshot, _PREPROCESSOR, {})


def _text_part(config: _Part) -> _Part:
    """Where the language model's measures stand: nested, or on the top level."""
    for key in _TEXT_PARTS:
        nested = config.get(key)
        if isinstance(nested, dict):
            return _Part(config.snapshot, config.file, nested, f"{key}.", config.values)
    return config


# --- the eyes of each family --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vision:
    patch: int
    merge: int
    hidden: int
    intermediate: int
    gated: bool
    min_pixels: int
    max_pixels: int


def _pixels(images: _Part) -> tuple[int, int]:
    """The least and the largest area of a processor of the Qwen2-VL kind, under any of its three names.

    transformers writes `min_pixels`, `size.min_pixels` or `size.shortest_edge`, which is an area too.
    """
    size = images.part("size")
    least = _first(images.get("min_pixels"), size.get("min_pixels"), size.get("shortest_edge"))
    most = _first(images.get("max_pixels"), size.get("max_pixels"), size.get("longest_edge"))
    found = _Part(images.snapshot, images.file, {"min_pixels": least, "max_pixels": most}, images.prefix)
    low, high = found.measure("min_pixels"), found.measure("max_pixels")
    if low > high:
        raise found.unknown("min_pixels", low)
    return low, high


def _first(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _dots(config: _Part, images: _Part) -> _Vision:
    """dots.ocr: `embed_dim` is the tower's width, `hidden_size` what it hands on. SwiGLU: three matrices."""
    vision = config.part("vision_config")
    low, high = _pixels(images)
    return _Vision(
        patch=vision.measure("patch_size"),
        merge=vision.measure("spatial_merge_size"),
        hidden=vision.measure("embed_dim"),
        intermediate=vision.measure("intermediate_size"),
        gated=True,
        min_pixels=low,
        max_pixels=high,
    )


def _qwen2(config: _Part, images: _Part) -> _Vision:
    """Qwen2-VL: its checkpoints leave out what is the class's default."""
    vision = config.part("vision_config")
    low, high = _pixels(images)
    width = vision.measure("embed_dim", 1280)
    return _Vision(
        patch=vision.measure("patch_size", 14),
        merge=vision.measure("spatial_merge_size", 2),
        hidden=width,
        intermediate=width * vision.measure("mlp_ratio", 4),
        gated=False,
        min_pixels=low,
        max_pixels=high,
    )


def _qwen_later(config: _Part, images: _Part, *, gated: bool) -> _Vision:
    vision = config.part("vision_config")
    low, high = _pixels(images)
    return _Vision(
        patch=vision.measure("patch_size"),
        merge=vision.measure("spatial_merge_size"),
        hidden=vision.measure("hidden_size"),
        intermediate=vision.measure("intermediate_size"),
        gated=gated,
        min_pixels=low,
        max_pixels=high,
    )


def _qwen2_5(config: _Part, images: _Part) -> _Vision:
    """Qwen2.5-VL: a gated MLP, and `hidden_size` is the tower's width."""
    return _qwen_later(config, images, gated=True)


def _qwen3(config: _Part, images: _Part) -> _Vision:
    """Qwen3-VL: two matrices."""
    return _qwen_later(config, images, gated=False)


def _phi3(config: _Part, images: _Part) -> _Vision:
    """Phi-3-vision, roughly: CLIP ViT-L/14 over crops of 336 × 336 and one of the whole, 2 × 2 patches a token."""
    del config
    crops = images.measure("num_crops")
    return _Vision(
        patch=14,
        merge=2,
        hidden=1024,
        intermediate=4096,
        gated=False,
        min_pixels=336 * 336,
        max_pixels=(crops + 1) * 336 * 336,
    )


def _generic(config: _Part, images: _Part) -> _Vision:
    """Any other: the usual names, else the defaults above. The MLP counts as gated, which needs more."""
    vision = config.part("vision_config")
    width = _lenient(vision, ("embed_dim", "hidden_size", "width"), GENERIC_VISION_HIDDEN)
    most = _generic_max_pixels(vision, images)
    return _Vision(
        patch=_lenient(vision, ("patch_size",), _lenient(images, ("patch_size",), GENERIC_PATCH)),
        merge=_lenient(vision, ("spatial_merge_size",), _lenient(images, ("merge_size",), GENERIC_MERGE)),
        hidden=width,
        intermediate=_lenient(vision, ("intermediate_size",), width * GENERIC_MLP_RATIO),
        gated=True,
        min_pixels=min(_lenient(images, ("min_pixels",), GENERIC_MIN_PIXELS), most),
        max_pixels=most,
    )


def _generic_max_pixels(vision: _Part, images: _Part) -> int:
    """An area; an edge squared, times the number of tiles that a picture may be cut into, and one of the whole."""
    area = _lenient(images, ("max_pixels",), 0)
    if area:
        return area
    size = images.part("size")
    height, width = (_lenient(size, (key,), 0) for key in ("height", "width"))
    if not (height and width):
        edge = _lenient(size, ("longest_edge", "shortest_edge", "max_pixels"), 0)
        if edge >= _LEAST_PIXELS:
            return edge
        height = width = edge or _lenient(vision, ("image_size",), 0)
    if not height:
        return GENERIC_MAX_PIXELS
    tiles = _lenient(images, ("max_image_tiles", "max_dynamic_patch", "max_patches", "num_crops"), 0)
    return height * width * (tiles + 1)


def _lenient(part: _Part, keys: tuple[str, ...], default: int) -> int:
    """The first of the keys that holds a measure; nothing is refused."""
    for key in keys:
        value = part.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_MEASURE:
            return value
    return default


_READERS: Mapping[str, Callable[[_Part, _Part], _Vision]] = {
    "DotsOCRForCausalLM": _dots,
    "Qwen2VLForConditionalGeneration": _qwen2,
    "Qwen2_5_VLForConditionalGeneration": _qwen2_5,
    "Qwen3VLForConditionalGeneration": _qwen3,
    "Phi3VForCausalLM": _phi3,
}

KNOWN_ARCHITECTURES = frozenset(_READERS)
"""Those whose vision tower is read by its own rules; the others' measures are estimates."""
