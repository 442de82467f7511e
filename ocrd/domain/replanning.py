"""What a start has shown of a plan: measures in place of estimates, or a smaller plan after it failed. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ocrd.domain.geometry import TOKEN_MARGIN
from ocrd.domain.planning import LENGTH_STEP, Measured, Plan, Wishes
from ocrd.domain.serving import Failure

LARGEST_SCALE = 4.0
"""The estimates of activations are right within a factor of two for the cards and models that were measured."""


def measure(
    plan: Plan,
    *,
    weights_mib: float | None = None,
    available_kv_mib: float | None = None,
    taken_mib: float | None = None,
    previous: Measured | None = None,
) -> Measured:
    """What a start with this plan has shown; put into `Wishes.measured`, it takes the place of the estimates.

    `weights_mib`: the log's 'Model loading took'. `available_kv_mib`: its 'Available KV cache memory', which vLLM works
    out and tells only if the size of the KV cache was not fixed: what the utilization leaves. `taken_mib`: by how much
    the card's free memory fell until the server had read its first page, for a KV cache of fixed size. Either tells
    the part that is not KV cache: it counts as weights, overhead as estimated, and activations. With neither, only
    the weights are corrected. `previous` is what the plan itself was made with. What is beyond `LARGEST_SCALE` is taken
    for another program's that came or went meanwhile, and only the weights are corrected.
    """
    weights = math.ceil(plan.terms.weights if weights_mib is None else weights_mib)
    planned_scale = 1.0 if previous is None else previous.activation_scale
    as_planned = Measured(
        weights_mib=weights, overhead_mib=plan.terms.overhead, activation_scale=planned_scale
    )
    if available_kv_mib is not None:
        fixed = max(0.0, plan.gpu_memory_utilization * plan.total_mib - available_kv_mib)
    elif taken_mib is not None:
        fixed = max(0.0, taken_mib - plan.kv_cache_mib)
    else:
        return as_planned
    rest = max(0.0, fixed - weights - plan.terms.cudagraphs)
    overhead = min(math.ceil(rest), plan.terms.overhead)
    scale = planned_scale * max(0.0, rest - overhead) / max(1, plan.terms.activations)
    if scale > LARGEST_SCALE:
        return as_planned
    return Measured(weights_mib=weights, overhead_mib=overhead, activation_scale=scale)


WSL_STEP = 0.08
"""Of the total: 0.88 to 0.80 cured it (WSL issue 41176)."""
PIXEL_STEP = 0.6
"""Of the pixels: a page of A4 then has 157 instead of 200 DPI."""
_LADDER_CAUSES = frozenset({Failure.CUDA_OOM, Failure.NO_KV, Failure.KV_TOO_SMALL})


def stepped_down(plan: Plan, wishes: Wishes, failure: Failure, numbers: Mapping[str, float]) -> Wishes | None:
    """The wishes for another try after a start with this plan failed; None: nothing is left that could help.

    `numbers` are those of the `Diagnosis`. Each step is taken once (`Wishes.taken`), so that this ends. The caller
    plans anew: the plan of the new wishes may not fit.
    """
    if failure is Failure.VRAM_BUSY:
        return _with_free(wishes, numbers.get("free_mib"))
    if failure is Failure.WSL_RESIDENCY:
        return _with_less_resident(plan, wishes)
    if failure is Failure.KV_TOO_SMALL and "kv" not in wishes.taken:
        shorter = _shortened(plan, wishes, numbers.get("max_model_len"))
        if shorter is not None:
            return shorter
    return _next_oom_step(plan, wishes) if failure in _LADDER_CAUSES else None


def _take(wishes: Wishes, step: str) -> Wishes:
    return replace(wishes, taken=wishes.taken | {step})


def _with_free(wishes: Wishes, free_mib: float | None) -> Wishes | None:
    if free_mib is None or not math.isfinite(free_mib) or "free" in wishes.taken:
        return None
    known = math.inf if wishes.free_mib is None else wishes.free_mib
    return replace(_take(wishes, "free"), free_mib=max(0, math.floor(min(free_mib, known))))


def _with_less_resident(plan: Plan, wishes: Wishes) -> Wishes | None:
    if "resident" in wishes.taken:
        return None
    budget = plan.footprint_mib - math.ceil(plan.total_mib * WSL_STEP)
    if wishes.budget_mib is not None:
        budget = min(budget, wishes.budget_mib)
    return replace(_take(wishes, "resident"), budget_mib=max(0, budget))


def _shortened(plan: Plan, wishes: Wishes, longest: float | None) -> Wishes | None:
    """One page at once within a context of `longest` tokens: a shorter answer, else fewer pixels too; None if no legible
    page fits in."""
    if longest is None or not math.isfinite(longest):
        return None
    length = int(longest) // LENGTH_STEP * LENGTH_STEP
    shortest = min(wishes.min_answer_tokens, plan.answer_tokens)
    room = length - wishes.prompt_tokens - TOKEN_MARGIN
    wishes = replace(_take(wishes, "kv"), max_num_seqs=1)
    if room - plan.image_tokens >= shortest:
        answer = min(wishes.answer_tokens, room - plan.image_tokens)
        return replace(wishes, max_pixels=plan.max_pixels, answer_tokens=answer)
    pixels = plan.max_pixels * (room - shortest) // max(1, plan.image_tokens)
    if pixels < min(wishes.min_page_pixels, plan.max_pixels):
        return None
    return replace(wishes, max_pixels=pixels, answer_tokens=shortest)


def _next_oom_step(plan: Plan, wishes: Wishes) -> Wishes | None:
    """Fewer pixels, one page at once, a shorter answer, eager: the first that was not taken yet and changes something."""
    least = min(wishes.min_page_pixels, plan.max_pixels)
    pixels = max(least, int(plan.max_pixels * PIXEL_STEP))
    answer = max(min(wishes.min_answer_tokens, plan.answer_tokens), plan.answer_tokens // 2)
    kept = replace(
        wishes,
        max_pixels=plan.max_pixels,
        max_num_seqs=plan.max_num_seqs,
        answer_tokens=min(wishes.answer_tokens, plan.answer_tokens),
        eager=plan.eager,
    )
    steps = (
        ("pixels", pixels < plan.max_pixels, replace(kept, max_pixels=pixels)),
        ("seqs", plan.max_num_seqs > 1, replace(kept, max_num_seqs=1)),
        ("answer", answer < kept.answer_tokens, replace(kept, answer_tokens=answer)),
        ("eager", not plan.eager, replace(kept, eager=True)),
    )
    return next(
        (_take(lower, name) for name, helps, lower in steps if helps and name not in wishes.taken), None
    )
