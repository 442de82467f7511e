"""The VRAM plan: what a model needs of a GPU, and the settings of its server that follow. Pure.

Arithmetic and its sources: docs/serving.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A vision model's measures, from its `config.json`, `preprocessor_config.json` and safetensors headers."""

    weight_bytes: int
    """All tensors, exactly."""
    layers: int
    hidden: int
    intermediate: int
    kv_heads: int
    head_dim: int
    vocab: int
    dtype_bytes: int = 2
    """Of an activation and of a KV entry."""
    max_position: int
    """The longest context that the model was made for, in tokens."""
    patch: int
    merge: int
    """`patch × merge` pixels of a side make one image token."""
    vision_hidden: int
    vision_intermediate: int
    vision_gated: bool
    """Whether the vision tower's MLP has three matrices instead of two."""
    min_pixels: int
    max_pixels: int
    """What the model's own processor resizes images to, at most."""

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype_bytes
