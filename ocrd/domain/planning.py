"""The VRAM plan: what a model needs of a GPU, and the settings of its server that follow. Pure.

All sizes are in MiB (2**20 bytes), each rounded up. Arithmetic and its sources: docs/serving.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ocrd.domain.geometry import TOKEN_MARGIN

YIELD_MARGIN_MIB = 256
"""What a desktop takes and gives back all the time."""
MIB = 2**20


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

    def image_tokens(self, pixels: int) -> int:
        """Tokens of an image of so many pixels, at most."""
        return math.ceil(pixels / (self.patch * self.merge) ** 2)


PAGE_PIXELS = 4_000_000
"""A page of A4 at 200 DPI has 3.87 million; more is not wished for unless the settings say so."""
LEGIBLE_PIXELS = 1_169_752
"""A page of A4 at 110 DPI: with less, usual print is not legible any more."""
LENGTH_STEP = 256
"""Contexts are multiples of it."""
LINUX_RESERVE_MIB = 308
"""Left free for others: 0.3 GiB."""
WSL_RESERVE_MIB = 1024
"""Under WSL2 a GPU that is too full does not refuse but spills into main memory (WSL issue 11050)."""
OVERHEAD_MIB = 564
"""CUDA context, cuBLAS, memory outside torch (0.45 GiB; Ollama counts 457 MiB a device), and 0.1 GiB of slack while the
weights are loaded."""
CUDAGRAPHS_MIB = 512
"""For up to `FEW_SEQS` sequences at once: vllm issue 20264 saw 0.48 GiB."""
MANY_CUDAGRAPHS_MIB = 1434
"""For more: the highest seen is 1.4 GiB."""
FEW_SEQS = 8
KV_SPARE = 1.1
"""Blocks that are not full, and what the cache needs for itself."""
BATCHED_TOKENS = 2048
"""vLLM's `max_num_batched_tokens` on a GPU below 70 GB."""
_PIXEL_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU, as it is now."""

    name: str
    total_mib: int
    free_mib: int
    is_wsl: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a start's log said of the part that is not KV cache; takes the place of the estimates. See `measure`."""

    weights_mib: int
    overhead_mib: int
    activation_scale: float
    """Measured ÷ estimated activations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is wanted of a server, if there is room."""

    max_pixels: int | None = None
    """None: `PAGE_PIXELS`. Never more than the model's own processor takes."""
    prompt_tokens: int = 512
    answer_tokens: int = 4608
    """The densest usual page of A4 takes 4,000 in layout mode; and some to spare."""
    min_answer_tokens: int = 1024
    """With less, strips would have to be very low."""
    max_num_seqs: int = 4
    eager: bool = True
    """Neither torch.compile nor CUDA graphs: minutes less at the start, slower pages."""
    budget_mib: int | None = None
    """Never exceeded. None: all that is free, but for the reserve."""
    reserve_mib: int | None = None
    """Left free for others. None: 308 MiB, under WSL2 1,024."""
    min_page_pixels: int = LEGIBLE_PIXELS
    free_mib: int | None = None
    """What the server itself saw free; counts where it is less than what the card says."""
    measured: Measured | None = None
    taken: frozenset[str] = field(default=frozenset())
    """The steps of `stepped_down` so far; each is taken once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The parts of a footprint, in MiB. Of the two peaks only the higher counts: they come one after the other."""

    weights: int
    vision_peak: int
    language_peak: int
    kv: int
    overhead: int
    cudagraphs: int
    reserve: int
    """Left free; no part of the footprint."""

    @property
    def activations(self) -> int:
        """The higher peak."""
        return max(self.vision_peak, self.language_peak)

    @property
    def fixed(self) -> int:
        """All but the KV cache."""
        return self.weights + self.overhead + self.cudagraphs + self.activations

    @property
    def footprint(self) -> int:
        """What the server takes of the GPU."""
        return self.fixed + self.kv


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a model's server needs, whether it fits, and the settings that follow. If it does not fit, the settings are
    the smallest ones that were looked at."""

    model: str
    fits: bool
    limiting_term: str
    """The term of `Terms` that goes over the limit, added up as weights, overhead, cudagraphs, a peak, kv; `context` if
    the model's own context holds no page; '' if the plan fits."""
    reason: str
    """A sentence with numbers."""
    terms: Terms
    footprint_mib: int
    limit_mib: int
    """The footprint may be as large: budget, or what is free less the reserve."""
    free_mib: int
    total_mib: int
    budget_mib: int | None
    max_model_len: int
    max_num_seqs: int
    max_pixels: int
    image_tokens: int
    """Of an image of `max_pixels`."""
    answer_tokens: int
    """What is left of the context beside it."""
    gpu_memory_utilization: float
    """Of the total; 0 if the plan does not fit."""
    kv_cache_mib: int
    eager: bool


# --- the terms ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Settings:
    """A rung of the planner's ladder."""

    pixels: int
    answer: int
    seqs: int
    eager: bool


def make_plan(model: str, shape: ModelShape, card: Card, wishes: Wishes) -> Plan:
    """The largest settings up to the wishes that fit the card: fewer sequences at once first, then fewer pixels down to
    the legible limit, then a shorter answer, then eager. Never more than the budget, nor than what is free less the
    reserve.

    The context follows from the page: image tokens, prompt and answer.
    """
    free = min(card.free_mib, card.total_mib)
    if wishes.free_mib is not None:
        free = min(free, wishes.free_mib)
    card = replace(card, free_mib=max(0, free))
    reserve = _reserve(card, wishes)
    limit = _limit(card, wishes, reserve)
    last: Plan | None = None
    for settings in _ladder(shape, wishes):
        plan = _lay_out(model, shape, card, wishes, settings, limit)
        if plan is None:
            continue
        if plan.footprint_mib <= limit:
            return _fitting(plan, wishes, shape)
        last = plan
    if last is None:
        return _no_context(model, shape, card, wishes, limit)
    return _not_fitting(last)


def reserve_of(card: Card, asked_mib: int | None = None, *, yield_below_mib: int = 0) -> int:
    """What stays free for others, in MiB: what was asked for, or what is usual on such a machine. A server that yields
    below some MiB leaves a little more than these itself, or it would yield to nobody."""
    usual = WSL_RESERVE_MIB if card.is_wsl else LINUX_RESERVE_MIB
    asked = usual if asked_mib is None else max(0, asked_mib)
    return max(asked, yield_below_mib + YIELD_MARGIN_MIB if yield_below_mib else 0)


def _reserve(card: Card, wishes: Wishes) -> int:
    return reserve_of(card, wishes.reserve_mib)


def _limit(card: Card, wishes: Wishes, reserve: int) -> int:
    """Less one grain of the utilization, which has three decimals: rounded up, it must not go over either."""
    room = card.free_mib - reserve
    if wishes.budget_mib is not None:
        room = min(room, wishes.budget_mib)
    return max(0, room - _grain(card.total_mib))


def _grain(total_mib: int) -> int:
    return math.ceil(total_mib / 1000) + 1


def _ladder(shape: ModelShape, wishes: Wishes) -> Iterator[_Settings]:
    """All settings that are looked at, from the wishes down. No number ever rises again, so that more free memory
    never makes one smaller."""
    most, least = _pixel_range(shape, wishes)
    seqs, answer, eager = max(1, wishes.max_num_seqs), wishes.answer_tokens, wishes.eager
    for count in range(seqs, 0, -1):
        yield _Settings(most, answer, count, eager)
    for step in range(1, _PIXEL_STEPS + 1):
        yield _Settings(most - (most - least) * step // _PIXEL_STEPS, answer, 1, eager)
    shortest = min(wishes.min_answer_tokens, answer)
    for shorter in range(answer - LENGTH_STEP, shortest, -LENGTH_STEP):
        yield _Settings(least, shorter, 1, eager)
    yield _Settings(least, shortest, 1, eager)
    yield _Settings(least, shortest, 1, eager=True)


def _pixel_range(shape: ModelShape, wishes: Wishes) -> tuple[int, int]:
    """The pixels wished for, and how few they may become."""
    most = PAGE_PIXELS if wishes.max_pixels is None else wishes.max_pixels
    most = max(shape.min_pixels, min(most, shape.max_pixels))
    return most, max(shape.min_pixels, min(most, wishes.min_page_pixels))


def _lay_out(
    model: str, shape: ModelShape, card: Card, wishes: Wishes, settings: _Settings, limit: int
) -> Plan | None:
    """The plan of these settings; None if the model's own context does not hold them."""
    image = shape.image_tokens(settings.pixels)
    before = image + wishes.prompt_tokens + TOKEN_MARGIN
    length = math.ceil((before + settings.answer) / LENGTH_STEP) * LENGTH_STEP
    length = min(length, shape.max_position)
    if length - before < min(wishes.min_answer_tokens, settings.answer):
        return None
    terms = _terms(shape, _reserve(card, wishes), settings, length, wishes.measured)
    return Plan(
        model=model,
        fits=False,
        limiting_term="",
        reason="",
        terms=terms,
        footprint_mib=terms.footprint,
        limit_mib=limit,
        free_mib=card.free_mib,
        total_mib=card.total_mib,
        budget_mib=wishes.budget_mib,
        max_model_len=length,
        max_num_seqs=settings.seqs,
        max_pixels=settings.pixels,
        image_tokens=image,
        answer_tokens=length - before,
        gpu_memory_utilization=0.0,
        kv_cache_mib=terms.kv,
        eager=settings.eager,
    )


def _terms(
    shape: ModelShape, reserve: int, settings: _Settings, length: int, measured: Measured | None
) -> Terms:
    scale = measured.activation_scale if measured else 1.0
    kv_bytes = settings.seqs * length * shape.kv_bytes_per_token * KV_SPARE
    return Terms(
        weights=measured.weights_mib if measured else _mib(shape.weight_bytes),
        vision_peak=_mib(vision_peak_bytes(shape, settings.pixels) * scale),
        language_peak=_mib(language_peak_bytes(shape, settings.seqs) * scale),
        kv=_mib(kv_bytes),
        overhead=measured.overhead_mib if measured else OVERHEAD_MIB,
        cudagraphs=_cudagraphs(settings.seqs, eager=settings.eager),
        reserve=reserve,
    )


def vision_peak_bytes(shape: ModelShape, pixels: int) -> int:
    """Activations while one image of so many pixels is encoded, with flash attention (without, it grows with the
    square). vLLM encodes the largest possible image when it measures, whatever the context's length."""
    patches = math.ceil(pixels / shape.patch**2)
    width, matrices = shape.vision_hidden, 3 if shape.vision_gated else 2
    attention = patches * 3 * width * 4 + patches * width * 16
    mlp = patches * shape.vision_intermediate * 2 * matrices
    image = pixels * 3 * 4
    return patches * width * 4 + max(attention, mlp) + image


def language_peak_bytes(shape: ModelShape, seqs: int) -> int:
    """Activations of one step of the language model, and the sampler's logits."""
    return BATCHED_TOKENS * 3 * (shape.hidden + shape.intermediate) * 2 + seqs * shape.vocab * 12


def _cudagraphs(seqs: int, *, eager: bool) -> int:
    if eager:
        return 0
    return CUDAGRAPHS_MIB if seqs <= FEW_SEQS else MANY_CUDAGRAPHS_MIB


def _mib(count: float) -> int:
    return math.ceil(count / MIB)


# --- verdicts -----------------------------------------------------------------------------------------------


def _fitting(plan: Plan, wishes: Wishes, shape: ModelShape) -> Plan:
    room = plan.free_mib if plan.budget_mib is None else min(plan.free_mib, plan.budget_mib)
    less = ", ".join(_reductions(plan, wishes, shape))
    reason = f"it needs {plan.footprint_mib} of {plan.limit_mib} MiB" + (f"; {less}" if less else "")
    return replace(
        plan,
        fits=True,
        reason=reason,
        gpu_memory_utilization=_utilization(plan.footprint_mib, plan.total_mib, room),
    )


def _utilization(footprint_mib: int, total_mib: int, room_mib: int) -> float:
    """The footprint's share of the total, a little more where there is room for it: vLLM compares it with what is free
    before it looks at the size of the KV cache."""
    share = footprint_mib / total_mib
    for wanted in (share + 0.01, share):
        rounded = math.ceil(wanted * 100) / 100
        if rounded <= 1 and footprint_mib <= rounded * total_mib <= room_mib:
            return rounded
    grains = math.ceil(footprint_mib * 1000 / total_mib)
    if grains / 1000 * total_mib < footprint_mib:  # lost to binary fractions
        grains += 1
    return grains / 1000


def _reductions(plan: Plan, wishes: Wishes, shape: ModelShape) -> Iterator[str]:
    """What is less than was wished for."""
    most, _ = _pixel_range(shape, wishes)
    if plan.max_num_seqs < wishes.max_num_seqs:
        yield f"{plan.max_num_seqs} instead of {wishes.max_num_seqs} pages at once"
    if plan.max_pixels < most:
        yield f"pages of {plan.max_pixels / 1e6:.2f} instead of {most / 1e6:.2f} megapixels"
    if plan.answer_tokens < wishes.answer_tokens:
        yield f"answers of {plan.answer_tokens} instead of {wishes.answer_tokens} tokens"
    if plan.eager and not wishes.eager:
        yield "eager instead of compiled"


_NAMES = {
    "weights": "weights",
    "overhead": "CUDA's own memory",
    "cudagraphs": "CUDA graphs",
    "vision_peak": "the encoding of a page",
    "language_peak": "the language model's activations",
    "kv": "the KV cache",
}


def _not_fitting(plan: Plan) -> Plan:
    terms = plan.terms
    peak = "vision_peak" if terms.vision_peak >= terms.language_peak else "language_peak"
    parts = [(name, getattr(terms, name)) for name in ("weights", "overhead", "cudagraphs", peak, "kv")]
    sums, so_far = [], 0
    for name, mib in parts:
        so_far += mib
        sums.append((name, so_far))
    limiting = next((name for name, total in sums if total > plan.limit_mib), "kv")
    if terms.weights > plan.total_mib:
        reason = f"weights alone need {terms.weights} MiB, the card has {plan.total_mib}"
    elif limiting == "weights":
        reason = f"weights alone need {terms.weights} MiB, {_room(plan)}"
    else:
        reason = (
            f"with {_NAMES[limiting]} it needs {dict(sums)[limiting]} MiB of {plan.footprint_mib} in all, "
            f"even with the smallest settings; {_room(plan)}"
        )
    if terms.weights <= plan.total_mib:
        reason += f": {plan.footprint_mib - plan.limit_mib} MiB are lacking"
    return replace(plan, limiting_term=limiting, reason=reason)


def _room(plan: Plan) -> str:
    """How much there is, and what says so."""
    grain = _grain(plan.total_mib)
    if plan.budget_mib is not None and plan.budget_mib - grain <= plan.limit_mib:
        return f"the budget is {plan.budget_mib} MiB"
    return f"{plan.limit_mib} MiB may be used ({plan.free_mib} free of {plan.total_mib}, {plan.terms.reserve} reserved)"


def _no_context(model: str, shape: ModelShape, card: Card, wishes: Wishes, limit: int) -> Plan:
    """The model's context is shorter than the smallest page, prompt and answer."""
    _, least = _pixel_range(shape, wishes)
    shortest = min(wishes.min_answer_tokens, wishes.answer_tokens)
    settings = _Settings(least, shortest, 1, wishes.eager)
    image = shape.image_tokens(least)
    need = image + wishes.prompt_tokens + TOKEN_MARGIN + shortest
    terms = _terms(shape, _reserve(card, wishes), settings, shape.max_position, wishes.measured)
    return Plan(
        model=model,
        fits=False,
        limiting_term="context",
        reason=f"the smallest page takes {need} tokens ({image} image, {wishes.prompt_tokens} prompt, {shortest} "
        f"answer), the model's context holds {shape.max_position}",
        terms=terms,
        footprint_mib=terms.footprint,
        limit_mib=limit,
        free_mib=card.free_mib,
        total_mib=card.total_mib,
        budget_mib=wishes.budget_mib,
        max_model_len=shape.max_position,
        max_num_seqs=1,
        max_pixels=least,
        image_tokens=image,
        answer_tokens=0,
        gpu_memory_utilization=0.0,
        kv_cache_mib=terms.kv,
        eager=wishes.eager,
    )
