"""Shapes of models: the values of the real checkpoints, every family's way to write them, and every lack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hf_caches import QWEN2_CONFIG, QWEN2_IMAGES

from ocrd.domain.planning import ModelShape
from ocrd.serving import shapes
from ocrd.serving.shapes import ShapeUnknown

DOTS: dict[str, Any] = {
    "architectures": ["DotsOCRForCausalLM"], "model_type": "dots_ocr", "hidden_size": 1536, "intermediate_size": 8960,
    "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "vision_config": {"embed_dim": 1536, "hidden_size": 1536, "intermediate_size": 4224, "patch_size": 14,
                      "spatial_merge_size": 2},
}  # fmt: skip
DOTS_IMAGES = {"min_pixels": 3136, "max_pixels": 11289600}
QWEN25: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"], "hidden_size": 2048, "intermediate_size": 11008,
    "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
    "max_position_embeddings": 128000,
    "vision_config": {"hidden_size": 1280, "intermediate_size": 3420, "patch_size": 14, "spatial_merge_size": 2},
}  # fmt: skip
QWEN3: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
    "text_config": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
                    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
                    "max_position_embeddings": 262144},
    "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "patch_size": 16, "spatial_merge_size": 2},
}  # fmt: skip
QWEN3_IMAGES = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}}
PHI3: dict[str, Any] = {
    "architectures": ["Phi3VForCausalLM"], "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "max_position_embeddings": 131072,
    "img_processor": {"name": "clip_vision_model", "num_img_tokens": 144},
}  # fmt: skip
UNKNOWN: dict[str, Any] = {
    "architectures": ["NewVLForConditionalGeneration"],
    "text_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                    "num_attention_heads": 16, "vocab_size": 50000, "max_position_embeddings": 8192},
}  # fmt: skip


def read(folder: Path, config: Mapping[str, Any], images: Mapping[str, Any] | None) -> ModelShape:
    (folder / "config.json").write_text(json.dumps(config))
    if images is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(images))
    return shapes.read_shape(str(folder), 6_078_300_000)


def test_dots_ocr(tmp_path: Path) -> None:
    shape = read(tmp_path, DOTS, DOTS_IMAGES)
    assert shape == ModelShape(
        weight_bytes=6_078_300_000, layers=28, hidden=1536, intermediate=8960, kv_heads=2, head_dim=128,
        vocab=151936, max_position=131072, patch=14, merge=2, vision_hidden=1536, vision_intermediate=4224,
        vision_gated=True, min_pixels=3136, max_pixels=11289600,
    )  # fmt: skip
    assert shape.kv_bytes_per_token == 28 * 1024


def test_qwen2_vl(tmp_path: Path) -> None:
    shape = read(tmp_path, QWEN2_CONFIG, QWEN2_IMAGES)
    assert (shape.vision_hidden, shape.vision_intermediate, shape.vision_gated) == (1280, 5120, False)
    assert (shape.patch, shape.merge, shape.max_pixels) == (14, 2, 12845056)
    assert shape.kv_bytes_per_token == 28 * 1024


def test_qwen2_vl_leaves_out_the_defaults(tmp_path: Path) -> None:
    sparse = QWEN2_CONFIG | {"vision_config": {"hidden_size": 1536, "in_chans": 3}}
    assert read(tmp_path, sparse, QWEN2_IMAGES) == read(tmp_path, QWEN2_CONFIG, QWEN2_IMAGES)


def test_qwen2_5_vl(tmp_path: Path) -> None:
    shape = read(tmp_path, QWEN25, QWEN2_IMAGES)
    assert (shape.vision_hidden, shape.vision_intermediate, shape.vision_gated) == (1280, 3420, True)
    assert (shape.layers, shape.head_dim, shape.kv_heads) == (36, 128, 2)


def test_qwen3_vl(tmp_path: Path) -> None:
    shape = read(tmp_path, QWEN3, QWEN3_IMAGES)
    assert (shape.patch, shape.merge, shape.min_pixels, shape.max_pixels) == (16, 2, 65536, 16777216)
    assert (shape.vision_hidden, shape.vision_intermediate, shape.vision_gated) == (1024, 4096, False)
    assert shape.kv_bytes_per_token == 112 * 1024


def test_phi_3_5_vision(tmp_path: Path) -> None:
    shape = read(tmp_path, PHI3, {"num_crops": 4})
    assert shape.kv_bytes_per_token == 384 * 1024
    assert (shape.head_dim, shape.vision_hidden, shape.max_pixels) == (96, 1024, 5 * 336 * 336)


@pytest.mark.parametrize(
    "images",
    [
        {"min_pixels": 4096, "max_pixels": 1_000_000},
        {"min_pixels": 4096, "max_pixels": None, "size": {"longest_edge": 1_000_000}},
        {"size": {"shortest_edge": 4096, "longest_edge": 1_000_000}},
        {"size": {"min_pixels": 4096, "max_pixels": 1_000_000}},
        {"min_pixels": 4096, "max_pixels": 1_000_000, "size": {"shortest_edge": 1, "longest_edge": 2}},
    ],
)
def test_every_name_of_the_areas(tmp_path: Path, images: dict[str, Any]) -> None:
    shape = read(tmp_path, DOTS, images)
    assert (shape.min_pixels, shape.max_pixels) == (4096, 1_000_000)


def test_the_processor_of_newer_files(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": QWEN3_IMAGES}))
    assert read(tmp_path, QWEN3, None).max_pixels == 16777216


def test_an_unknown_model_gets_careful_defaults(tmp_path: Path) -> None:
    shape = read(tmp_path, UNKNOWN, None)
    assert (shape.kv_heads, shape.head_dim) == (16, 64)
    assert (shape.patch, shape.merge) == (shapes.GENERIC_PATCH, shapes.GENERIC_MERGE)
    assert (shape.vision_hidden, shape.vision_intermediate, shape.vision_gated) == (1280, 5120, True)
    assert (shape.min_pixels, shape.max_pixels) == (56 * 56, 2048 * 2048)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({"max_pixels": 77_000}, 77_000),
        ({"size": {"height": 448, "width": 336}}, 448 * 336),
        ({"size": {"shortest_edge": 336}}, 336 * 336),
        ({"size": {"longest_edge": 1_003_520}}, 1_003_520),
        ({"size": {"height": 448, "width": 448}, "max_dynamic_patch": 12}, 13 * 448 * 448),
        ({"size": "odd", "max_pixels": "many"}, 378 * 378),
    ],
)
def test_the_pictures_of_an_unknown_model(tmp_path: Path, images: dict[str, Any], expected: int) -> None:
    shape = read(tmp_path, UNKNOWN | {"vision_config": {"image_size": 378}}, images)
    assert shape.max_pixels == expected
    assert shape.min_pixels <= shape.max_pixels


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_key_that_lacks_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ShapeUnknown, match=rf"config\.json: the key {key} is missing") as caught:
        read(tmp_path, {name: value for name, value in DOTS.items() if name != key}, DOTS_IMAGES)
    assert caught.value.hint


def test_a_nested_key_that_lacks_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ShapeUnknown, match=r"the key text_config\.hidden_size is missing"):
        read(
            tmp_path,
            QWEN3 | {"text_config": {"num_attention_heads": 8, "num_hidden_layers": 2}},
            QWEN3_IMAGES,
        )
    with pytest.raises(ShapeUnknown, match=r"the key vision_config\.patch_size is missing"):
        read(tmp_path, QWEN3 | {"vision_config": {"hidden_size": 8}}, QWEN3_IMAGES)


def test_areas_that_lack_are_named(tmp_path: Path) -> None:
    with pytest.raises(ShapeUnknown, match=r"preprocessor_config\.json: the key min_pixels is missing"):
        read(tmp_path, DOTS, None)
    with pytest.raises(ShapeUnknown, match=r"preprocessor_config\.json: the key num_crops is missing"):
        read(tmp_path, PHI3, {})


def test_files_that_are_not_there_or_no_json(tmp_path: Path) -> None:
    with pytest.raises(ShapeUnknown, match=r"config\.json is missing"):
        shapes.read_shape(str(tmp_path), 1)
    for text, says in (("{", "holds no JSON"), ("[]", "no JSON object"), ("[" * 100_000, "holds no JSON")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ShapeUnknown, match=says):
            shapes.read_shape(str(tmp_path), 1)


_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers())
)


@given(
    config=st.sampled_from([DOTS, QWEN2_CONFIG, QWEN25, QWEN3, PHI3, UNKNOWN]),
    key=st.sampled_from(
        ["architectures", "hidden_size", "num_attention_heads", "head_dim", "text_config", "vision_config"]
    ),
    value=_values | st.dictionaries(st.sampled_from(["hidden_size", "patch_size", "embed_dim"]), _values),
    images=st.sampled_from([DOTS_IMAGES, QWEN3_IMAGES, {"num_crops": 4}])
    | st.dictionaries(st.sampled_from(["min_pixels", "max_pixels", "size", "num_crops"]), _values),
)
def test_nonsense_is_refused_or_replaced(
    tmp_path_factory: pytest.TempPathFactory,
    config: dict[str, Any],
    key: str,
    value: object,
    images: dict[str, Any],
) -> None:
    """Whatever stands in the files, there is a shape of positive measures, or an error that names the file."""
    shape = read_or_refuse(tmp_path_factory.mktemp("model"), config | {key: value}, images)
    if isinstance(shape, str):
        assert "config.json" in shape
    else:
        assert shape.kv_bytes_per_token > 0
        assert min(shape.patch, shape.merge, shape.vision_hidden, shape.min_pixels) > 0
        assert shape.min_pixels <= shape.max_pixels


def read_or_refuse(folder: Path, config: Mapping[str, Any], images: Mapping[str, Any]) -> ModelShape | str:
    """The shape, or what the refusal says."""
    try:
        return read(folder, config, images)
    except ShapeUnknown as error:
        return str(error)
