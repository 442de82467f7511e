"""Tiny checkpoints of three architectures, with an answer that is known beforehand.

Usage: python tiny_models.py FOLDER     (with a Python that has numpy, safetensors and tokenizers: that of script/vllm)

The vision tower, the processor, the scheduler and the wire are vLLM's own and really run; but attention and MLP
of the language model give zero, and its head maps each token to the next one of a fixed text. So every image gets
the same answer: this tests the plumbing, never recognition. A token is a byte, or a special token, or a piece of the answer.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
DOTS_SPECIAL = (
    *QWEN_SPECIAL, "<|img|>", "<|imgpad|>", "<|endofimg|>", "<|user|>", "<|endofuser|>", "<|assistant|>",
    "<|endofassistant|>",
)  # fmt: skip
PLAIN_ANSWER = (
    "Счёт",
    " №",
    " 4711",
    "\nInvoice",
    " Total:",
    " 1 234,56",
    " руб.\n",
    "Дата:",
    " 01.02.2026",
    "\nTiny",
    " model",
    " done.",
)
CELLS_ANSWER = (
    '[{"bbox": [10, 10, 200, 40],', ' "category": "Title",', ' "text": "Счёт № 4711"},',
    ' {"bbox": [10, 60, 300, 90],', ' "category": "Text",', ' "text": "Invoice Total: 1 234,56 руб."},',
    ' {"bbox": [10, 110, 300, 140],', ' "category": "Text", ', ' "text": "Дата: 01.02.2026"}', "]",
)  # fmt: skip
LOOP_ANSWER = ("Повтор", " loop")
VOCABULARY = 320
HIDDEN = 64

QWEN_TEMPLATE = (
    "{% for m in messages %}SYSTEM<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' or c['type'] == 'image_url' or 'image' in c %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN2_SYSTEM = "{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
DOTS_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}<|system|>{{ m.content }}<|endofsystem|>\n"
    "{% elif m.role == 'user' %}USER"
    "{% else %}<|assistant|>{{ m.content }}{% if not loop.last %}<|endofassistant|>{% endif %}{% endif %}{% endfor %}"
    "{% if messages[-1].role != 'assistant' %}<|assistant|>{% endif %}"
)
DOTS_STRING = "<|user|>{{ m.content }}<|endofuser|>"
"""In the model's `tokenizer_config.json`: the content is a string."""
DOTS_PARTS = (
    "{% if m.content is string %}" + DOTS_STRING + "{% else %}{% for c in m.content %}"
    "{% if c['type'] == 'image' or 'image' in c or 'image_url' in c %}<|img|><|imgpad|><|endofimg|>"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
)
"""In its `chat_template.json`, the file that vLLM takes: content in parts is put without a word of who speaks, and the
real model then invents text (intel/llm-scaler, pull request 682)."""

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
IMAGES: dict[str, Any] = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "merge_size": 2,
    "temporal_patch_size": 2, "rescale_factor": 1 / 255, "resample": 3,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_act": "silu", "hidden_size": HIDDEN, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "vocab_size": VOCABULARY,
}  # fmt: skip

Weights = dict[str, np.ndarray]
_random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return (_random.standard_normal(shape) * 0.05).astype(np.float32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def with_bias(name: str, *shape: int) -> Weights:
    return {f"{name}.weight": noise(*shape), f"{name}.bias": zeros(shape[0])}


def norm(name: str, size: int, *, bias: bool) -> Weights:
    return {f"{name}.weight": ones(size)} | ({f"{name}.bias": zeros(size)} if bias else {})


# --- the tokenizer ------------------------------------------------------------------------------------------


def write_tokenizer(
    folder: Path, special: Sequence[str], answer: Sequence[str], template: str, eos: str
) -> dict[str, int]:
    """Bytes, special tokens, and the pieces of the answer; their numbers."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(piece, special=False, normalized=False) for piece in answer])
    tokenizer.save(str(folder / "tokenizer.json"))
    numbers = {token: tokenizer.token_to_id(token) for token in (*special, *answer)}
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = {
        str(number): {"content": token, **plain, "special": token in special}
        for token, number in numbers.items()
    }
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32768, "eos_token": eos,
        "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False, "chat_template": template,
        "added_tokens_decoder": added,
    })  # fmt: skip
    numbers["\n"] = tokenizer.encode("\n").ids[-1]
    return numbers


def write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False))


def save(weights: Weights, folder: Path) -> None:
    halves = {name: tensor.astype(np.float16) for name, tensor in weights.items()}
    save_file(halves, str(folder / "model.safetensors"), metadata={"format": "pt"})


# --- the language model -------------------------------------------------------------------------------------


def language_model(
    prefix: str, chain: Sequence[int], *, layers: int, head_size: int, qk_norm: bool
) -> Weights:
    """A model that answers with the tokens of the chain, each after the one before."""
    embedding = _random.standard_normal((VOCABULARY, HIDDEN)).astype(np.float32)
    embedding *= np.sqrt(HIDDEN) / np.linalg.norm(embedding, axis=1, keepdims=True)
    head = zeros(VOCABULARY, HIDDEN)
    for token, following in itertools.pairwise(chain):
        head[following] += embedding[token]
    weights = {
        f"{prefix}embed_tokens.weight": embedding,
        f"{prefix}norm.weight": ones(HIDDEN),
        "lm_head.weight": head,
    }
    for layer in range(layers):
        at = f"{prefix}layers.{layer}."
        weights |= {
            f"{at}input_layernorm.weight": ones(HIDDEN),
            f"{at}post_attention_layernorm.weight": ones(HIDDEN),
            f"{at}self_attn.o_proj.weight": zeros(HIDDEN, 2 * head_size),
            f"{at}mlp.gate_proj.weight": noise(128, HIDDEN),
            f"{at}mlp.up_proj.weight": noise(128, HIDDEN),
            f"{at}mlp.down_proj.weight": zeros(HIDDEN, 128),
        }
        for name, rows in (("q", 2 * head_size), ("k", head_size), ("v", head_size)):
            weights[f"{at}self_attn.{name}_proj.weight"] = noise(rows, HIDDEN)
            if not qk_norm:
                weights[f"{at}self_attn.{name}_proj.bias"] = zeros(rows)
        if qk_norm:
            weights |= {
                f"{at}self_attn.q_norm.weight": ones(head_size),
                f"{at}self_attn.k_norm.weight": ones(head_size),
            }
    return weights


# --- the three architectures --------------------------------------------------------------------------------


def make_qwen2_vl(folder: Path, answer: Sequence[str] = PLAIN_ANSWER, *, loop: bool = False) -> None:
    template = QWEN_TEMPLATE.replace("SYSTEM", QWEN2_SYSTEM)
    ids = write_tokenizer(folder, QWEN_SPECIAL, answer, template, "<|im_end|>")
    write(folder / "config.json", {
        **TEXT, "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl",
        "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"], "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"], "max_position_embeddings": 32768, "rope_theta": 1e6,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "initializer_range": 0.02,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "vision_config": {
            "model_type": "qwen2_vl", "depth": 2, "embed_dim": 64, "hidden_size": HIDDEN, "num_heads": 2, "in_channels": 3,
            "in_chans": 3, "mlp_ratio": 2, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
    })  # fmt: skip
    write(folder / "preprocessor_config.json", {
        **IMAGES, **CLIP, "patch_size": 14, "min_pixels": 3136, "max_pixels": 12845056,
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor",
    })  # fmt: skip
    write(folder / "generation_config.json", {
        "bos_token_id": ids["<|endoftext|>"], "pad_token_id": ids["<|endoftext|>"], "do_sample": True,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]], "temperature": 0.01, "top_p": 0.001, "top_k": 1,
    })  # fmt: skip
    weights = language_model(
        "model.", chain(ids, "\n", answer, "<|im_end|>", loop=loop), layers=2, head_size=32, qk_norm=False
    )
    weights |= {"visual.patch_embed.proj.weight": noise(64, 3, 2, 14, 14)}
    weights |= norm("visual.merger.ln_q", 64, bias=True)
    weights |= with_bias("visual.merger.mlp.0", 256, 256) | with_bias("visual.merger.mlp.2", HIDDEN, 256)
    for layer in range(2):
        at = f"visual.blocks.{layer}."
        weights |= norm(f"{at}norm1", 64, bias=True) | norm(f"{at}norm2", 64, bias=True)
        weights |= with_bias(f"{at}attn.qkv", 192, 64) | with_bias(f"{at}attn.proj", 64, 64)
        weights |= with_bias(f"{at}mlp.fc1", 128, 64) | with_bias(f"{at}mlp.fc2", 64, 128)
    save(weights, folder)


def make_dots_ocr(folder: Path) -> None:
    of_tokenizer, of_processor = (DOTS_TEMPLATE.replace("USER", user) for user in (DOTS_STRING, DOTS_PARTS))
    ids = write_tokenizer(folder, DOTS_SPECIAL, CELLS_ANSWER, of_tokenizer, "<|endofassistant|>")
    write(folder / "chat_template.json", {"chat_template": of_processor})
    # Like the real checkpoint: vLLM knows the architecture, but not the configuration, which comes as remote code.
    (folder / "configuration_dots.py").write_text(
        "from vllm.transformers_utils.configs.dotsocr import DotsOCRConfig as _Base\n\n\n"
        'class DotsOCRConfig(_Base):\n    model_type = "dots_ocr"\n'
    )
    write(folder / "config.json", {
        **TEXT, "architectures": ["DotsOCRForCausalLM"], "model_type": "dots_ocr",
        "auto_map": {"AutoConfig": "configuration_dots.DotsOCRConfig"}, "attention_bias": True, "attention_dropout": 0.0,
        "bos_token_id": None, "eos_token_id": ids["<|endofassistant|>"], "pad_token_id": ids["<|endoftext|>"],
        "image_token_id": ids["<|imgpad|>"], "video_token_id": ids["<|video_pad|>"], "max_position_embeddings": 131072,
        "max_window_layers": 2, "sliding_window": 131072, "use_sliding_window": False, "rope_theta": 1e6,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "initializer_range": 0.02, "use_cache": True,
        "vision_config": {
            "embed_dim": 64, "hidden_size": HIDDEN, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_channels": 3, "patch_size": 14, "post_norm": True, "rms_norm_eps": 1e-5,
            "spatial_merge_size": 2, "temporal_patch_size": 1, "use_bias": False, "is_causal": False,
        },
    })  # fmt: skip
    # The real one names a class of its remote code, derived from this. Where it can be loaded, its template is taken.
    write(folder / "preprocessor_config.json", {
        **IMAGES, **CLIP, "temporal_patch_size": 1, "patch_size": 14, "min_pixels": 3136, "max_pixels": 11289600,
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor",
    })  # fmt: skip
    write(folder / "generation_config.json", {
        "eos_token_id": [ids["<|endoftext|>"], ids["<|endofassistant|>"]], "max_length": 32768,
    })  # fmt: skip
    weights = language_model(
        "model.",
        chain(ids, "<|assistant|>", CELLS_ANSWER, "<|endofassistant|>"),
        layers=2,
        head_size=32,
        qk_norm=False,
    )
    at = "vision_tower."
    weights |= with_bias(f"{at}patch_embed.patchifier.proj", 64, 3, 14, 14)
    weights |= norm(f"{at}patch_embed.patchifier.norm", 64, bias=False) | norm(
        f"{at}post_trunk_norm", 64, bias=False
    )
    weights |= norm(f"{at}merger.ln_q", 64, bias=True)
    weights |= with_bias(f"{at}merger.mlp.0", 256, 256) | with_bias(f"{at}merger.mlp.2", HIDDEN, 256)
    for layer in range(2):
        at = f"vision_tower.blocks.{layer}."
        weights |= norm(f"{at}norm1", 64, bias=False) | norm(f"{at}norm2", 64, bias=False)
        weights |= {f"{at}attn.qkv.weight": noise(192, 64), f"{at}attn.proj.weight": noise(64, 64)}
        weights |= {
            f"{at}mlp.fc{n}.weight": noise(*s) for n, s in ((1, (128, 64)), (3, (128, 64)), (2, (64, 128)))
        }
    save(weights, folder)


def make_qwen3_vl(folder: Path) -> None:
    ids = write_tokenizer(
        folder, QWEN_SPECIAL, PLAIN_ANSWER, QWEN_TEMPLATE.replace("SYSTEM", ""), "<|im_end|>"
    )
    write(folder / "config.json", {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
        "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
        "text_config": {
            **TEXT, "num_hidden_layers": 3, "model_type": "qwen3_vl_text", "dtype": "bfloat16",
            "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"], "attention_bias": False,
            "head_dim": 32, "max_position_embeddings": 262144, "rope_theta": 5e6, "use_cache": True,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 6, 6], "rope_type": "default"},
        },
        "vision_config": {
            "model_type": "qwen3_vl", "depth": 3, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2,
            "in_channels": 3, "out_hidden_size": HIDDEN, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "num_position_embeddings": 2304, "deepstack_visual_indexes": [0, 1],
            "hidden_act": "gelu_pytorch_tanh", "initializer_range": 0.02,
        },
    })  # fmt: skip
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 16}
    write(folder / "preprocessor_config.json", {
        **IMAGES, **half, "size": {"shortest_edge": 65536, "longest_edge": 16777216},
        "image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor",
    })  # fmt: skip
    write(folder / "video_preprocessor_config.json", {
        **IMAGES, **half, "size": {"shortest_edge": 4096, "longest_edge": 25165824},
        "video_processor_type": "Qwen3VLVideoProcessor", "processor_class": "Qwen3VLProcessor",
    })  # fmt: skip
    write(folder / "generation_config.json", {
        "bos_token_id": ids["<|endoftext|>"], "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
    })  # fmt: skip
    weights = language_model(
        "model.language_model.",
        chain(ids, "\n", PLAIN_ANSWER, "<|im_end|>"),
        layers=3,
        head_size=32,
        qk_norm=True,
    )
    save(weights | _qwen3_vision(), folder)


def _qwen3_vision() -> Weights:
    at = "model.visual."
    weights = with_bias(f"{at}patch_embed.proj", 64, 3, 2, 16, 16) | {
        f"{at}pos_embed.weight": noise(2304, 64)
    }
    for layer in range(3):
        block = f"{at}blocks.{layer}."
        weights |= norm(f"{block}norm1", 64, bias=True) | norm(f"{block}norm2", 64, bias=True)
        weights |= with_bias(f"{block}attn.qkv", 192, 64) | with_bias(f"{block}attn.proj", 64, 64)
        weights |= with_bias(f"{block}mlp.linear_fc1", 128, 64) | with_bias(f"{block}mlp.linear_fc2", 64, 128)
    mergers = [(f"{at}merger.", 64), *((f"{at}deepstack_merger_list.{index}.", 256) for index in range(2))]
    for merger, size in mergers:
        weights |= norm(f"{merger}norm", size, bias=True)
        weights |= with_bias(f"{merger}linear_fc1", 256, 256) | with_bias(f"{merger}linear_fc2", HIDDEN, 256)
    return weights


def chain(
    ids: Mapping[str, int], start: str, answer: Sequence[str], end: str, *, loop: bool = False
) -> list[int]:
    """Start token, answer, end token; with `loop` it begins anew instead of ending."""
    pieces = [ids[piece] for piece in answer]
    return [ids[start], *pieces, pieces[0] if loop else ids[end]]


def main() -> None:
    target = Path(sys.argv[1])
    for name, make in (
        ("tiny-qwen2-vl", make_qwen2_vl),
        ("tiny-dots.ocr", make_dots_ocr),
        ("tiny-qwen3-vl", make_qwen3_vl),
    ):
        (target / name).mkdir(parents=True, exist_ok=True)
        make(target / name)
    (target / "tiny-qwen2-vl-loop").mkdir(exist_ok=True)
    make_qwen2_vl(target / "tiny-qwen2-vl-loop", LOOP_ANSWER, loop=True)


if __name__ == "__main__":
    main()
