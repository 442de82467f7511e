"""The VRAM plan: golden rows, cards worked out by hand, and what must hold for every model and card."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrd.domain.geometry import TOKEN_MARGIN, plan_parts
from ocrd.domain.models import DOTS_OCR, PromptMode
from ocrd.domain.planning import (
    LEGIBLE_PIXELS,
    LENGTH_STEP,
    MIB,
    Card,
    Measured,
    ModelShape,
    Plan,
    Wishes,
    language_peak_bytes,
    make_plan,
    vision_peak_bytes,
)
from ocrd.domain.replanning import measure, stepped_down
from ocrd.domain.serving import Failure

GIB = 2**30
CARD_12 = Card(name="12 GB", total_mib=12_227, free_mib=11_469, is_wsl=True)  # 11.94 GiB, 11.2 free

DOTS = ModelShape(
    weight_bytes=int(5.66 * GIB),
    layers=28,
    hidden=1536,
    intermediate=8960,
    kv_heads=2,
    head_dim=128,
    vocab=151_936,
    max_position=131_072,
    patch=14,
    merge=2,
    vision_hidden=1536,
    vision_intermediate=4224,
    vision_gated=True,
    min_pixels=3136,
    max_pixels=11_289_600,
)
QWEN2_2B = replace(
    DOTS,
    weight_bytes=int(4.11 * GIB),
    max_position=32_768,
    vision_hidden=1280,
    vision_intermediate=5120,
    vision_gated=False,
    max_pixels=12_845_056,
)
QWEN3_2B = replace(
    DOTS,
    weight_bytes=int(3.96 * GIB),
    hidden=2048,
    intermediate=6144,
    kv_heads=8,
    max_position=262_144,
    patch=16,
    vision_hidden=1024,
    vision_intermediate=4096,
    vision_gated=False,
    min_pixels=65_536,
    max_pixels=16_777_216,
)
QWEN2_7B = replace(
    QWEN2_2B,
    weight_bytes=int(15.44 * GIB),
    hidden=3584,
    intermediate=18_944,
    kv_heads=4,
    vocab=152_064,
)
QWEN2_7B_AWQ = replace(QWEN2_7B, weight_bytes=int(6.45 * GIB))
PHI = ModelShape(
    weight_bytes=int(7.72 * GIB),
    layers=32,
    hidden=3072,
    intermediate=8192,
    kv_heads=32,
    head_dim=96,
    vocab=32_064,
    max_position=131_072,
    patch=14,
    merge=2,
    vision_hidden=1024,
    vision_intermediate=4096,
    vision_gated=False,
    min_pixels=112_896,
    max_pixels=564_480,
)
LAYOUT = Wishes()
PLAIN = Wishes(prompt_tokens=128, answer_tokens=2048)


# --- goldens: 12 GB, within 5 % -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "wishes", "footprint_gib", "utilization", "length", "seqs"),
    [
        pytest.param(DOTS, LAYOUT, 8.1, 0.70, 10_240, 4, id="dots.ocr"),
        pytest.param(QWEN2_2B, PLAIN, 6.2, 0.54, 7_424, 4, id="Qwen2-VL-2B"),
        pytest.param(QWEN3_2B, replace(PLAIN, max_num_seqs=4), 7.8, 0.67, 6_144, 4, id="Qwen3-VL-2B, 4"),
        pytest.param(QWEN3_2B, replace(PLAIN, max_num_seqs=2), 6.4, 0.55, 6_144, 2, id="Qwen3-VL-2B, 2"),
        pytest.param(QWEN2_7B_AWQ, replace(PLAIN, max_num_seqs=2), 8.5, 0.73, 7_424, 2, id="Qwen2-VL-7B-AWQ"),
        pytest.param(
            PHI,
            Wishes(prompt_tokens=128, answer_tokens=3232, max_num_seqs=1),
            10.1,
            0.85,
            4_096,
            1,
            id="Phi-3.5",
        ),
    ],
)
def test_golden_rows_of_a_12_gb_card(
    shape: ModelShape, wishes: Wishes, footprint_gib: float, utilization: float, length: int, seqs: int
) -> None:
    plan = make_plan("m", shape, CARD_12, wishes)
    assert plan.fits, plan.reason
    assert plan.footprint_mib / 1024 == pytest.approx(footprint_gib, rel=0.05)
    assert plan.gpu_memory_utilization == pytest.approx(utilization, rel=0.05)
    assert (plan.max_model_len, plan.max_num_seqs) == (length, seqs)


def test_qwen2_vl_7b_is_impossible_on_12_gb() -> None:
    plan = make_plan("m", QWEN2_7B, CARD_12, PLAIN)
    assert not plan.fits
    assert plan.limiting_term == "weights"
    assert plan.reason == "weights alone need 15811 MiB, the card has 12227"
    assert plan.gpu_memory_utilization == 0


def test_phi_is_marginal_on_12_gb() -> None:
    """It depends on what the desktop leaves: 11.2 GiB are enough, 9.8 are not."""
    wishes = Wishes(prompt_tokens=128, answer_tokens=3232, max_num_seqs=1, min_answer_tokens=3232)
    assert make_plan("m", PHI, CARD_12, wishes).fits
    tight = make_plan("m", PHI, replace(CARD_12, free_mib=int(9.8 * 1024)), wishes)
    assert (tight.fits, tight.limiting_term) == (False, "kv")


# --- other cards, by hand -----------------------------------------------------------------------------------


def test_terms_by_hand() -> None:
    """dots.ocr, 4.0 megapixels, four pages at once.

    patches     4,000,000 / 14² = 20,408.2 → 20,409
    vision      20,409 × 1536 × 4 = 125,392,896; attention 20,409 × (3 × 1536 × 4 + 1536 × 16) = 877,750,272;
                MLP 20,409 × 4224 × 2 × 3 = 517,245,696, less; image 4,000,000 × 12 = 48,000,000;
                sum 1,051,143,168 B = 1002.45 → 1003 MiB
    language    2048 × 3 × (1536 + 8960) × 2 = 128,974,848; logits 4 × 151,936 × 12 = 7,292,928;
                sum 136,267,776 B = 129.96 → 130 MiB
    tokens      4,000,000 / 28² = 5102.04 → 5103; + 512 + 16 + 4608 = 10,239 → 10,240
    KV          2 × 28 × 2 × 128 × 2 = 28,672 B a token; 4 × 10,240 × 28,672 × 1.1 = 1,291,845,632 B = 1232.0 → 1232 MiB
    weights     5.66 GiB = 5795.8 → 5796 MiB
    overhead    0.45 + 0.1 GiB = 563.2 → 564 MiB
    footprint   5796 + 1003 + 1232 + 564 = 8595 MiB
    """
    assert vision_peak_bytes(DOTS, 4_000_000) == 1_051_143_168
    assert language_peak_bytes(DOTS, 4) == 136_267_776
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    terms = plan.terms
    assert (terms.weights, terms.vision_peak, terms.language_peak) == (5796, 1003, 130)
    assert (terms.kv, terms.overhead, terms.cudagraphs, terms.reserve) == (1232, 564, 0, 1024)
    assert (plan.footprint_mib, plan.image_tokens, plan.max_model_len) == (8595, 5103, 10_240)
    assert plan.gpu_memory_utilization == 0.72  # 8595 / 12,227 = 0.703; + 0.01, rounded up


def test_8_gb_by_hand() -> None:
    """An 8 GB card under WSL2: 8188 MiB, 7164 free, 1024 reserved, a grain of 10: 6130 may be used.

    dots.ocr: weights and overhead are 6360 already: it does not fit.
    Qwen2-VL-2B: weights 4.11 GiB = 4208.6 → 4209; vision at 4.0 MP: 20,409 × 1280 × 32 + 48,000,000 = 883,952,640 B → 844;
    KV of one 7424: 7424 × 28,672 × 1.1 = 234,146,611 B → 224; overhead 564.
    Four at once: 4209 + 844 + 894 + 564 = 6511. Three: KV 670 → 6287. Two: KV 447 → 6064, fits.
    """
    card = Card(name="8 GB", total_mib=8188, free_mib=7164, is_wsl=True)
    dots = make_plan("m", DOTS, card, LAYOUT)
    assert (dots.fits, dots.limiting_term, dots.limit_mib) == (False, "overhead", 6130)
    assert "6130 MiB may be used (7164 free of 8188, 1024 reserved)" in dots.reason
    qwen = make_plan("m", QWEN2_2B, card, PLAIN)
    assert (qwen.fits, qwen.footprint_mib, qwen.max_num_seqs) == (True, 6064, 2)
    assert (qwen.max_pixels, qwen.max_model_len) == (4_000_000, 7424)
    assert "2 instead of 4 pages at once" in qwen.reason
    assert qwen.gpu_memory_utilization == 0.76  # 6064 / 8188 = 0.7406; + 0.01, rounded up


def test_8_gb_free_by_hand() -> None:
    """dots.ocr on a bare Linux with 8.0 of 12 GB free: 8192 − 308 − 14 (grain of 12,227: 12.2 → 13, + 1) = 7870.

    Fixed 5796 + 1003 + 564 = 7363; KV of one 10,240: 308. Two at once: 7363 + 616 = 7979; one: 7671, fits.
    """
    card = Card(name="12 GB", total_mib=12_227, free_mib=8192)
    plan = make_plan("m", DOTS, card, LAYOUT)
    assert (plan.limit_mib, plan.footprint_mib, plan.max_num_seqs) == (7870, 7671, 1)


def test_pixels_shrink_before_the_answer() -> None:
    """dots.ocr with a budget of 7400: 7386 may be used.

    One page at 4.0 MP needs 7671. A step down is (4,000,000 − 1,169,752) / 8 = 353,781 pixels: 3,646,219 (patches 18,604;
    18,604 × 49,152 + 43,754,628 = 958,178,436 B → 914 MiB; tokens 4651 + 512 + 16 + 4608 = 9787 → 9984; KV 301):
    5796 + 914 + 564 + 301 = 7575. Two: 3,292,438 → 16,799 patches → 826; 4200 → 9336 → 9472 → 285: 7471.
    Three: 2,938,657 → 14,994 patches → 737; 3749 → 8885 → 8960 → 270: 7367, fits.
    """
    plan = make_plan("m", DOTS, CARD_12, replace(LAYOUT, budget_mib=7400))
    assert (plan.footprint_mib, plan.max_pixels, plan.max_model_len) == (7367, 2_938_657, 8960)
    assert plan.answer_tokens >= 4608


def test_16_gb_by_hand() -> None:
    """Qwen2-VL-7B in bf16: 15,811 + 564 alone are over 16,376 − 1024 − 308; compiled dots.ocr has room: 8595 + 512."""
    card = Card(name="16 GB", total_mib=16_376, free_mib=15_352)
    plan = make_plan("m", QWEN2_7B, card, PLAIN)
    assert (plan.fits, plan.limiting_term) == (False, "weights")
    assert plan.reason.startswith("weights alone need 15811 MiB, 15026 MiB may be used")
    compiled = make_plan("m", DOTS, card, replace(LAYOUT, eager=False))
    assert (compiled.footprint_mib, compiled.eager) == (8595 + 512, False)


def test_24_gb_by_hand() -> None:
    """Qwen2-VL-7B: weights 15.44 GiB → 15,811; vision 844; KV 2·28·4·128·2 = 57,344 B a token: 4 × 7424 × 57,344 × 1.1 =
    1,873,172,889 B → 1787; overhead 564: 19,006. And dots.ocr at its own 11.29 MP, two at once: 57,600 patches × 49,152 +
    135,475,200 = 2,966,630,400 B → 2830; 14,400 + 512 + 16 + 4608 = 19,536 → 19,712; KV 1,243,402,… B → 1186:
    5796 + 2830 + 1186 + 564 = 10,376."""
    card = Card(name="24 GB", total_mib=24_564, free_mib=23_540)
    plan = make_plan("m", QWEN2_7B, card, PLAIN)
    assert (plan.fits, plan.footprint_mib, plan.max_num_seqs) == (True, 19_006, 4)
    wide = make_plan("m", DOTS, card, replace(LAYOUT, max_pixels=99_000_000, max_num_seqs=2))
    assert (wide.max_pixels, wide.max_model_len, wide.footprint_mib) == (11_289_600, 19_712, 10_376)


# --- verdicts and limits ------------------------------------------------------------------------------------


def test_a_short_context_of_the_model_takes_from_the_answer_first() -> None:
    """A model of 2048 tokens: 730 image, 128 prompt, 16 margin; 1174 are left for the answer."""
    shape = replace(DOTS, max_position=2048, patch=14, merge=1, min_pixels=142_884, max_pixels=142_884)
    plan = make_plan("m", shape, CARD_12, PLAIN)
    assert plan.fits
    assert (plan.max_model_len, plan.image_tokens, plan.answer_tokens) == (2048, 729, 2048 - 729 - 128 - 16)


def test_a_context_that_holds_no_page() -> None:
    plan = make_plan("m", replace(DOTS, max_position=1024), CARD_12, LAYOUT)
    assert (plan.fits, plan.limiting_term) == (False, "context")
    assert "the model's context holds 1024" in plan.reason


def test_the_budget_is_named_when_it_is_the_limit() -> None:
    plan = make_plan("m", DOTS, CARD_12, replace(LAYOUT, budget_mib=4000))
    assert (plan.fits, plan.limiting_term) == (False, "weights")
    assert "the budget is 4000 MiB" in plan.reason


def test_compiled_becomes_eager_last() -> None:
    """5796 + 298 (language and vision of the smallest page) … + 512 of graphs is over the budget, without it is not."""
    card = replace(CARD_12, free_mib=12_000)
    smallest = make_plan("m", DOTS, card, replace(LAYOUT, eager=False, budget_mib=7000))
    assert (smallest.fits, smallest.eager, smallest.max_num_seqs) == (True, True, 1)
    assert "eager instead of compiled" in smallest.reason


# --- properties ---------------------------------------------------------------------------------------------

shapes = st.sampled_from((DOTS, QWEN2_2B, QWEN3_2B, QWEN2_7B, QWEN2_7B_AWQ, PHI)).flatmap(
    lambda base: st.builds(
        lambda weights, position: replace(base, weight_bytes=weights, max_position=position),
        st.integers(1, 40 * GIB),
        st.sampled_from((1024, 2048, 4096, 32_768, 131_072)),
    )
)
wishes_ = st.builds(
    Wishes,
    max_pixels=st.none() | st.integers(1, 20_000_000),
    prompt_tokens=st.integers(0, 2000),
    answer_tokens=st.integers(256, 8192),
    min_answer_tokens=st.integers(128, 4096),
    max_num_seqs=st.integers(1, 16),
    eager=st.booleans(),
    budget_mib=st.none() | st.integers(0, 50_000),
    reserve_mib=st.none() | st.integers(0, 4096),
    free_mib=st.none() | st.integers(0, 50_000),
    measured=st.none()
    | st.builds(
        Measured,
        weights_mib=st.integers(0, 30_000),
        overhead_mib=st.integers(0, 2000),
        activation_scale=st.floats(0, 4),
    ),
)
cards = st.integers(1024, 49_152).flatmap(
    lambda total: st.builds(
        Card,
        name=st.just("c"),
        total_mib=st.just(total),
        free_mib=st.integers(0, total),
        is_wsl=st.booleans(),
    )
)


@given(shapes, cards, wishes_)
@settings(max_examples=400)
def test_no_plan_exceeds_its_limits(shape: ModelShape, card: Card, wishes: Wishes) -> None:
    plan = make_plan("m", shape, card, wishes)
    terms = plan.terms
    total = terms.weights + terms.activations + terms.kv + terms.overhead + terms.cudagraphs
    assert plan.footprint_mib == total
    assert plan.kv_cache_mib == terms.kv
    assert plan.reason
    assert plan.fits == (plan.limiting_term == "")
    if not plan.fits:
        return
    used = plan.gpu_memory_utilization * card.total_mib
    assert (
        f"{plan.gpu_memory_utilization:.3f}" == f"{plan.gpu_memory_utilization:.6f}"[:5]
    )  # as it is told to vLLM
    assert plan.footprint_mib <= used <= plan.free_mib <= card.free_mib
    assert plan.footprint_mib + terms.reserve <= plan.free_mib
    if wishes.budget_mib is not None:
        assert used <= wishes.budget_mib
    assert plan.max_pixels <= shape.max_pixels
    assert plan.max_model_len <= shape.max_position
    assert plan.max_model_len == shape.max_position or plan.max_model_len % LENGTH_STEP == 0
    needed = plan.image_tokens + wishes.prompt_tokens + TOKEN_MARGIN
    assert plan.answer_tokens == plan.max_model_len - needed
    assert plan.answer_tokens >= min(wishes.min_answer_tokens, wishes.answer_tokens)
    assert terms.kv * MIB >= plan.max_num_seqs * plan.max_model_len * shape.kv_bytes_per_token


def size(plan: Plan) -> tuple[bool, int, int, int, bool]:
    return plan.fits, plan.max_model_len, plan.max_pixels, plan.max_num_seqs, not plan.eager


@given(shapes, cards, wishes_, st.integers(0, 40_000))
@settings(max_examples=400)
def test_more_free_memory_never_makes_a_plan_smaller(
    shape: ModelShape, card: Card, wishes: Wishes, more: int
) -> None:
    roomier = replace(card, free_mib=min(card.total_mib, card.free_mib + more))
    before, after = make_plan("m", shape, card, wishes), make_plan("m", shape, roomier, wishes)
    if before.limiting_term == "context":
        assert after.limiting_term == "context"
    else:
        assert all(a >= b for a, b in zip(size(after), size(before), strict=True))


@given(st.sampled_from((DOTS,)), cards, st.integers(0, 10_000))
def test_a_dots_plan_that_fits_reads_a_page_of_a4(shape: ModelShape, card: Card, budget: int) -> None:
    """In one part or in strips, in layout mode or at least as plain text."""
    plan = make_plan("m", shape, card, replace(LAYOUT, budget_mib=budget))
    if not plan.fits:
        return
    parts = plan_parts(
        (1654, 2339),
        200.0,
        profile=DOTS_OCR,
        context=plan.max_model_len,
        prompt_tokens=400,
        mode=PromptMode.LAYOUT,
        min_dpi=110,
        max_pixels=plan.max_pixels,
    )
    assert parts
    assert all(part.tokens + 400 + part.max_tokens <= plan.max_model_len for part in parts)


# --- after a start ------------------------------------------------------------------------------------------


def test_measured_takes_the_place_of_the_estimate() -> None:
    """0.72 × 12,227 = 8803.4; 1500 were left for the KV cache: 7303.4 are not. Weights 5700, overhead 564 as estimated,
    so activations are 1039.4, 1.036 times the estimated 1003."""
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    measured = measure(plan, weights_mib=5700, available_kv_mib=1500)
    assert (measured.weights_mib, measured.overhead_mib) == (5700, 564)
    assert measured.activation_scale == pytest.approx(1039.44 / 1003, rel=1e-4)
    again = make_plan("m", DOTS, CARD_12, replace(LAYOUT, measured=measured))
    assert again.terms.fixed == pytest.approx(7303.4, abs=2)


def test_a_fixed_kv_cache_is_measured_from_outside() -> None:
    """The card has 8400 MiB less than before, 1232 of them KV cache: 7168 are not, where 7363 were estimated."""
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    measured = measure(plan, weights_mib=5790, taken_mib=8400)
    again = make_plan("m", DOTS, CARD_12, replace(LAYOUT, measured=measured))
    assert again.terms.fixed == pytest.approx(7168, abs=1)
    assert (again.terms.weights, again.terms.overhead) == (5790, 564)


def test_weights_alone_correct_only_the_weights() -> None:
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    again = make_plan("m", DOTS, CARD_12, replace(LAYOUT, measured=measure(plan, weights_mib=5700.2)))
    assert again.terms == replace(plan.terms, weights=5701)


@given(st.floats(0, 4000), st.none() | st.floats(4500, 6000), st.booleans())
def test_measured_reproduces_what_was_measured(kv: float, weights: float | None, eager: bool) -> None:
    plan = make_plan("m", DOTS, CARD_12, replace(LAYOUT, eager=eager))
    measured = measure(plan, available_kv_mib=kv, weights_mib=weights)
    again = make_plan("m", DOTS, CARD_12, replace(LAYOUT, eager=eager, measured=measured))
    fixed = plan.gpu_memory_utilization * plan.total_mib - kv
    least = measured.weights_mib + plan.terms.cudagraphs
    if again.fits and again.max_num_seqs == plan.max_num_seqs and again.max_pixels == plan.max_pixels:
        assert again.terms.fixed == pytest.approx(max(fixed, least), abs=4)


def test_another_program_that_came_meanwhile_is_not_taken_for_the_servers() -> None:
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    measured = measure(
        plan, weights_mib=5700, taken_mib=plan.footprint_mib + 3 * plan.terms.activations + 100
    )
    assert (measured.weights_mib, measured.activation_scale) == (5700, 1.0)


@given(st.lists(st.integers(6_000, 9_000), min_size=2, max_size=5))
def test_measuring_again_and_again_arrives_at_what_the_last_start_took(taken: list[int]) -> None:
    """A measure corrects the plan that it was made of, not the estimates once more."""
    wishes = LAYOUT
    for taken_mib in taken:
        plan = make_plan("m", DOTS, CARD_12, wishes)
        measured = measure(plan, weights_mib=5790, taken_mib=taken_mib, previous=wishes.measured)
        wishes = replace(LAYOUT, measured=measured)
    fixed = make_plan("m", DOTS, CARD_12, wishes).terms.fixed
    if measured.activation_scale > 0 and plan.fits:
        assert fixed == pytest.approx(max(taken[-1] - plan.kv_cache_mib, 5790), abs=4)


# --- stepping down ------------------------------------------------------------------------------------------


def climb_down(wishes: Wishes, failure: Failure, numbers: dict[str, float] | None = None) -> list[Plan]:
    """All plans until nothing is left."""
    plans = [make_plan("m", DOTS, CARD_12, wishes)]
    lower: Wishes | None = wishes
    while (lower := stepped_down(plans[-1], lower, failure, numbers or {})) is not None:
        plans.append(make_plan("m", DOTS, CARD_12, lower))
        assert len(plans) < 20
    return plans


def test_the_ladder_after_cuda_is_out_of_memory() -> None:
    plans = climb_down(replace(LAYOUT, eager=False), Failure.CUDA_OOM)
    assert [plan.max_pixels for plan in plans] == [4_000_000, 2_400_000, 2_400_000, 2_400_000, 2_400_000]
    assert [plan.max_num_seqs for plan in plans] == [4, 4, 1, 1, 1]
    assert plans[3].answer_tokens < plans[2].answer_tokens
    assert [plan.eager for plan in plans] == [False, False, False, False, True]
    footprints = [plan.footprint_mib for plan in plans]
    assert footprints == sorted(footprints, reverse=True)


def test_busy_memory_is_planned_around_once() -> None:
    plans = climb_down(LAYOUT, Failure.VRAM_BUSY, {"free_mib": 9000.0})
    assert [plan.free_mib for plan in plans] == [11_469, 9000]
    assert plans[1].fits
    assert plans[1].footprint_mib <= 9000 - 1024


@pytest.mark.parametrize("numbers", [{}, {"free_mib": float("nan")}])
def test_busy_memory_without_numbers_is_waited_for(numbers: dict[str, float]) -> None:
    assert stepped_down(make_plan("m", DOTS, CARD_12, LAYOUT), LAYOUT, Failure.VRAM_BUSY, numbers) is None


def test_windows_residency_lowers_by_8_percent_of_the_card_once() -> None:
    """8 % of 12,227 = 978.2 → 979; 8595 − 979 = 7616."""
    plans = climb_down(LAYOUT, Failure.WSL_RESIDENCY)
    assert len(plans) == 2
    assert plans[1].fits
    assert plans[1].footprint_mib <= 7616


def test_a_kv_cache_that_holds_less_shortens_the_answer() -> None:
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    lower = stepped_down(plan, LAYOUT, Failure.KV_TOO_SMALL, {"max_model_len": 8000.0})
    assert lower is not None
    again = make_plan("m", DOTS, CARD_12, lower)
    assert (again.max_model_len, again.max_pixels, again.max_num_seqs) == (7936, 4_000_000, 1)


def test_a_kv_cache_that_holds_much_less_takes_pixels_too() -> None:
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    lower = stepped_down(plan, LAYOUT, Failure.KV_TOO_SMALL, {"max_model_len": 4100.0})
    assert lower is not None
    again = make_plan("m", DOTS, CARD_12, lower)
    assert again.max_model_len <= 4096
    assert LEGIBLE_PIXELS <= again.max_pixels < 4_000_000


def test_a_kv_cache_without_a_legible_page_goes_down_the_ladder() -> None:
    plan = make_plan("m", DOTS, CARD_12, LAYOUT)
    lower = stepped_down(plan, LAYOUT, Failure.KV_TOO_SMALL, {"max_model_len": 1024.0})
    assert lower is not None
    assert (lower.max_pixels, lower.taken) == (2_400_000, frozenset({"pixels"}))


@pytest.mark.parametrize("failure", [Failure.UNSUPPORTED_MODEL, Failure.STALLED, Failure.ENGINE_DIED])
def test_other_failures_are_not_for_smaller_settings(failure: Failure) -> None:
    assert stepped_down(make_plan("m", DOTS, CARD_12, LAYOUT), LAYOUT, failure, {}) is None


numbers_ = st.dictionaries(
    st.sampled_from(("free_mib", "max_model_len")), st.floats(allow_nan=True, allow_infinity=True)
)


@given(shapes, cards, wishes_, st.lists(st.tuples(st.sampled_from(list(Failure)), numbers_), max_size=12))
@settings(max_examples=300)
def test_every_way_down_ends_and_never_goes_up(
    shape: ModelShape, card: Card, wishes: Wishes, failures: list[tuple[Failure, dict[str, float]]]
) -> None:
    plan, steps = make_plan("m", shape, card, wishes), 0
    for failure, numbers in failures:
        lower = stepped_down(plan, wishes, failure, numbers)
        if lower is None:
            continue
        steps += 1
        again = make_plan("m", shape, card, lower)
        assert lower.taken > wishes.taken
        if plan.fits and again.fits:
            assert again.footprint_mib <= plan.footprint_mib
        wishes, plan = lower, again
    assert steps <= 7
