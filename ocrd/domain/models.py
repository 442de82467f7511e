"""Vision models as a client must know them: their pixels per token, their prompts, and what they answer with.

A `ModelProfile` is chosen by the model's name (`profile_of`). Prompts are part of a model's interface: those of
dots.ocr are quoted to the letter, with their line breaks, from `dots_ocr/utils/prompts.py` of the model's
repository; the message format from `dots_ocr/model/inference.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum


class PromptMode(StrEnum):
    """What a model is asked for. Stored with every attempt."""

    LAYOUT = "layout"
    """Every region with its box, category and text."""
    LAYOUT_ONLY = "layout_only"
    """Regions without texts."""
    OCR = "ocr"
    """The text of the image."""
    GROUNDING = "grounding"
    """The text within a given box."""
    REGIONS = "regions"
    """Ours, of two steps: `LAYOUT_ONLY`, then `OCR` on each region by itself."""


class AnswerKind(StrEnum):
    """How an answer is to be read."""

    CELLS = "cells"
    """A JSON array of `{"bbox", "category", "text"}`."""
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Always sent in full: a model's own defaults are another one's surprise."""

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """A family of models behind one wire format."""

    family: str
    factor: int
    """Pixels of a side that make one image token: patch size × merge size."""
    min_pixels: int
    max_pixels: int
    """The area that the model's own processor resizes images to."""
    prompts: Mapping[PromptMode, str]
    """By mode; the first one is what a page is asked first."""
    sampling: Sampling
    """Of the first attempt."""
    prefix: str = ""
    """What stands before the prompt within the user's message."""
    template: str = ""
    """The whole prompt as the model must see it, with `{prompt}` for prefix and prompt, and one token for
    the image; '' if it is not known: the number of tokens is not checked then."""

    @property
    def first_mode(self) -> PromptMode:
        """What a page is asked first."""
        return next(iter(self.prompts))

    def question(self, mode: PromptMode, size: tuple[int, int]) -> str:
        """What stands behind the image: prefix and prompt; for `GROUNDING` the box of the whole picture, in its
        pixels."""
        box = str([0, 0, *size]) if mode is PromptMode.GROUNDING else ""
        return self.prefix + self.prompts[mode] + box

    def answers_with(self, mode: PromptMode) -> AnswerKind:
        """How an answer to this prompt is to be read."""
        return AnswerKind.CELLS if mode in _CELL_MODES else AnswerKind.TEXT


_CELL_MODES = frozenset({PromptMode.LAYOUT, PromptMode.LAYOUT_ONLY})

CATEGORIES = (
    "Caption",
    "Footnote",
    "Formula",
    "List-item",
    "Page-footer",
    "Page-header",
    "Picture",
    "Section-header",
    "Table",
    "Text",
    "Title",
)
"""The categories of dots.ocr, which all blocks use."""

_DOTS_PROMPTS = {
    PromptMode.LAYOUT: (
        "Please output the layout information from the PDF image, including each layout element's bbox, its "
        "category, and the corresponding text content within the bbox.\n\n"
        "1. Bbox format: [x1, y1, x2, y2]\n\n"
        "2. Layout Categories: The possible categories are ['Caption', 'Footnote', 'Formula', 'List-item', "
        "'Page-footer', 'Page-header', 'Picture', 'Section-header', 'Table', 'Text', 'Title'].\n\n"
        "3. Text Extraction & Formatting Rules:\n"
        "    - Picture: For the 'Picture' category, the text field should be omitted.\n"
        "    - Formula: Format its text as LaTeX.\n"
        "    - Table: Format its text as HTML.\n"
        "    - All Others (Text, Title, etc.): Format their text as Markdown.\n\n"
        "4. Constraints:\n"
        "    - The output text must be the original text from the image, with no translation.\n"
        "    - All layout elements must be sorted according to human reading order.\n\n"
        "5. Final Output: The entire output must be a single JSON object.\n"
    ),
    PromptMode.LAYOUT_ONLY: (
        "Please output the layout information from this PDF image, including each layout's bbox and its "
        "category. The bbox should be in the format [x1, y1, x2, y2]. The layout categories for the PDF "
        "document include ['Caption', 'Footnote', 'Formula', 'List-item', 'Page-footer', 'Page-header', "
        "'Picture', 'Section-header', 'Table', 'Text', 'Title']. Do not output the corresponding text. "
        "The layout result should be in JSON format."
    ),
    PromptMode.OCR: "Extract the text content from this image.",
    PromptMode.GROUNDING: (
        "Extract text from the given bounding box on the image (format: [x1, y1, x2, y2]).\nBounding Box:\n"
    ),
}
DOTS_OCR = ModelProfile(
    family="dots.ocr",
    factor=28,
    min_pixels=3136,
    max_pixels=11_289_600,
    prompts=_DOTS_PROMPTS,
    sampling=Sampling(temperature=0.1, top_p=0.9),
    prefix="<|img|><|imgpad|><|endofimg|>",
    template="<|user|>{prompt}<|endofuser|><|assistant|>",
)

_PLAIN_PROMPT = "Read all the text in the image."
"""From vLLM's recipe for Qwen3-VL."""
_QWEN_USER = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\n"
)
QWEN2_VL = ModelProfile(
    family="qwen2-vl",
    factor=28,
    min_pixels=3136,
    max_pixels=12_845_056,
    prompts={PromptMode.OCR: _PLAIN_PROMPT},
    sampling=Sampling(),
    template="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + _QWEN_USER,
)
QWEN3_VL = ModelProfile(
    family="qwen3-vl",
    factor=32,
    min_pixels=65_536,
    max_pixels=16_777_216,
    prompts={PromptMode.OCR: _PLAIN_PROMPT},
    sampling=Sampling(),
    template=_QWEN_USER,
)
GENERIC = ModelProfile(
    family="openai-compatible",
    factor=28,
    min_pixels=3136,
    max_pixels=3_211_264,
    prompts={PromptMode.OCR: _PLAIN_PROMPT},
    sampling=Sampling(),
)
"""Any other vision model: its tokens per image are a guess on the safe side, and are not checked."""

PROFILES = {profile.family: profile for profile in (DOTS_OCR, QWEN2_VL, QWEN3_VL, GENERIC)}
_NAMES = (
    (("dots.ocr", "dots-ocr", "dotsocr", "dots.mocr", "dots-mocr", "dots_ocr"), DOTS_OCR),
    (("qwen2-vl", "qwen2_vl", "qwen2vl", "qwen2.5-vl", "qwen2_5_vl"), QWEN2_VL),
    (("qwen3-vl", "qwen3_vl", "qwen3vl"), QWEN3_VL),
)


def profile_of(model: str) -> ModelProfile:
    """The profile that a model's name, or the path that it was loaded from, speaks of; `GENERIC` for others."""
    name = model.lower()
    for parts, profile in _NAMES:
        if any(part in name for part in parts):
            return profile
    return GENERIC
