"""The catalogue: every model of the user's test is in it, its numbers are those of the planner, and errors say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocrd.domain.errors import ConfigError
from ocrd.domain.geometry import plan_parts
from ocrd.domain.models import PROFILES, profile_of
from ocrd.domain.planning import make_plan
from ocrd.serving.catalog import (
    PLAN_SOURCE,
    REFERENCE_TOTALS_MIB,
    CatalogEntry,
    ModelVerdict,
    load_catalog,
    reference_card,
    uncatalogued,
)
from ocrd.serving.versions import MINIMUM, VllmVersion

CATALOG = load_catalog()
ENTRIES = pytest.mark.parametrize("entry", list(CATALOG), ids=[entry.model for entry in CATALOG])

WORKS, TIMED_OUT, INCOMPLETE = ModelVerdict.WORKS, ModelVerdict.TIMED_OUT, ModelVerdict.INCOMPLETE


@pytest.mark.parametrize(
    ("model", "verdict", "disk_gb", "seconds"),
    [
        ("rednote-hilab/dots.ocr", WORKS, 5.8, 55),
        ("Qwen/Qwen3-VL-2B-Instruct", WORKS, 4.1, 240),
        ("Qwen/Qwen2-VL-2B-Instruct", WORKS, 4.2, 240),
        ("Qwen/Qwen2-VL-7B-Instruct", TIMED_OUT, 7.8, 360),
        ("microsoft/Phi-3.5-vision-instruct", TIMED_OUT, 7.9, 360),
        ("stepfun-ai/GOT-OCR-2.0-hf", TIMED_OUT, 1.1, 240),
        ("vikhyatk/moondream2", TIMED_OUT, 3.7, 240),
        ("deepseek-ai/deepseek-ocr", INCOMPLETE, None, None),
        ("deepseek-ai/deepseek-vl-1.3b-chat", INCOMPLETE, None, None),
        ("stepfun-ai/GOT-OCR2_0", INCOMPLETE, None, None),
        ("ucaslcl/GOT-OCR2_0", INCOMPLETE, None, None),
    ],
)
def test_the_users_test_is_all_there(
    model: str, verdict: ModelVerdict, disk_gb: float | None, seconds: float | None
) -> None:
    entry = CATALOG.find(model)
    assert entry is not None
    assert (entry.verdict, entry.disk_gb) == (verdict, disk_gb)
    assert seconds in {entry.start_eager_s, entry.start_compiled_s, entry.gave_up_s}
    assert entry.reason


@pytest.mark.parametrize(
    ("model", "port", "length", "utilization", "eager"),
    [
        ("rednote-hilab/dots.ocr", 8000, 1024, 0.85, True),
        ("Qwen/Qwen3-VL-2B-Instruct", 8010, 2048, 0.7, None),
        ("Qwen/Qwen2-VL-2B-Instruct", 8011, 4096, 0.7, None),
    ],
)
def test_the_users_settings_are_there(
    model: str, port: int, length: int, utilization: float, eager: bool | None
) -> None:
    entry = CATALOG.find(model)
    assert entry is not None
    (known,) = (known for known in entry.known if known.source == "user")
    assert (known.card_gib, known.port, known.max_model_len) == (12, port, length)
    assert (known.gpu_memory_utilization, known.enforce_eager) == (utilization, eager)


@ENTRIES
def test_right_sized_settings_are_those_of_the_planner(entry: CatalogEntry) -> None:
    written = {known.card_gib: known for known in entry.known if known.source == PLAN_SOURCE}
    for gib in REFERENCE_TOTALS_MIB:
        if entry.shape is None:
            assert gib not in written
            continue
        plan = make_plan(entry.model, entry.shape, reference_card(gib), entry.wishes.wishes())
        assert (gib in written) == plan.fits, plan.reason
        if plan.fits:
            known = written[gib]
            assert (known.max_model_len, known.max_num_seqs) == (plan.max_model_len, plan.max_num_seqs)
            assert (known.max_pixels, known.enforce_eager) == (plan.max_pixels, plan.eager)
            assert known.gpu_memory_utilization == plan.gpu_memory_utilization


@ENTRIES
def test_a_row_agrees_with_the_rest_of_the_program(entry: CatalogEntry) -> None:
    assert entry.family == profile_of(entry.model).family
    assert entry.licence
    assert entry.notes
    profile = PROFILES[entry.family]
    if entry.shape is not None and entry.family != "openai-compatible":
        shape = entry.shape
        assert profile.factor == shape.patch * shape.merge
        assert (profile.min_pixels, profile.max_pixels) == (shape.min_pixels, shape.max_pixels)
    if entry.min_vllm:
        version = VllmVersion.parse(entry.min_vllm)
        assert version is not None
        assert version.is_at_least(MINIMUM)


@ENTRIES
def test_the_planned_context_reads_a_page_of_a4(entry: CatalogEntry) -> None:
    """Whole or in strips, as the recognizer cuts it; for models whose pixels a token are known."""
    profile = PROFILES[entry.family]
    for known in entry.known:
        if known.source != PLAN_SOURCE or entry.family == "openai-compatible":
            continue
        assert known.max_model_len is not None
        parts = plan_parts(
            (1654, 2339),
            200.0,
            profile=profile,
            context=known.max_model_len,
            prompt_tokens=entry.wishes.prompt_tokens,
            mode=profile.first_mode,
            min_dpi=110,
            max_pixels=known.max_pixels,
        )
        assert len(parts) == 1


def test_start_times_stand_in_for_each_other() -> None:
    entry = CATALOG.find("RedNote-HiLab/DOTS.ocr")
    assert entry is not None
    assert (entry.expected_start_s(eager=True), entry.expected_start_s(eager=False)) == (55, 55)
    untested = CATALOG.find("rednote-hilab/dots.mocr")
    assert untested is not None
    assert untested.expected_start_s(eager=True) is None


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("rednote/dots.ocr", "rednote-hilab/dots.ocr"),
        ("moondream", "vikhyatk/moondream2"),
        ("zzzzzz", ""),
    ],
)
def test_a_name_is_nearly_found(asked: str, near: str) -> None:
    assert CATALOG.nearest(asked) == near


def test_a_model_without_a_row_gets_its_familys_wishes() -> None:
    dots, other = uncatalogued("me/dots.ocr-finetuned"), uncatalogued("me/my-vision-model")
    assert (dots.family, dots.wishes.answer_tokens, dots.scales_images) == ("dots.ocr", 4608, True)
    assert (other.family, other.wishes.answer_tokens, other.scales_images) == (
        "openai-compatible",
        2048,
        False,
    )
    assert (other.shape, other.min_vllm) == (None, None)


@pytest.mark.parametrize(
    ("mib", "share", "budget"),
    [(0, 0.0, None), (9000, 0.0, 9000), (0, 0.5, 6113), (9000, 0.5, 6113), (5000, 0.5, 5000)],
)
def test_the_smaller_budget_counts(mib: int, share: float, budget: int | None) -> None:
    entry, card = uncatalogued("me/model"), reference_card(12)
    wishes = entry.wishes_within(card, budget_mib=mib, budget_share=share)
    assert (wishes.budget_mib, wishes.reserve_mib) == (budget, None)
    assert entry.wishes_within(card, reserve_mib=2048).reserve_mib == 2048


# --- the user's file ----------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> str:
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_users_file_changes_single_keys(tmp_path: Path) -> None:
    extra = write(
        tmp_path,
        """
        [[model]]
        model = "Rednote-hilab/dots.OCR"
        start_eager_s = 40
        [model.shape]
        layers = 29
        [model.wishes]
        max_num_seqs = 2
        [[model.known]]
        source = "mine"
        card_gib = 12
        max_model_len = 8192
        """,
    )
    catalog = load_catalog(extra)
    before, after = CATALOG.find("rednote-hilab/dots.ocr"), catalog.find("rednote-hilab/dots.ocr")
    assert before is not None
    assert before.shape is not None
    assert after is not None
    assert after.shape is not None
    assert (after.model, after.start_eager_s, after.verdict) == (before.model, 40, before.verdict)
    assert (after.shape.layers, after.shape.hidden) == (29, before.shape.hidden)
    assert (after.wishes.max_num_seqs, after.wishes.answer_tokens) == (2, before.wishes.answer_tokens)
    assert [known.source for known in after.known] == [
        *(known.source for known in before.known),
        "mine",
    ]
    assert len(catalog.entries) == len(CATALOG.entries)


def test_a_users_file_adds_a_model_by_its_name_alone(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, '\ufeff[[model]]\nmodel = "me/My-Qwen2.5-VL-3B"\n'))
    entry = catalog.find("me/my-qwen2.5-vl-3b")
    assert entry is not None
    assert (entry.family, entry.verdict, entry.shape) == ("qwen2-vl", ModelVerdict.UNTESTED, None)
    assert (entry.wishes.answer_tokens, entry.min_vllm) == (2048, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[modle]]\nmodel='a/b'", "there is no key 'modle'; did you mean 'model'?"),
        ("[model]\nmodel='a/b'", "with two brackets"),
        ("model = 3", "with two brackets"),
        ("[[model]]\nfamily='dots.ocr'", "model number 1 has no name"),
        ("[[model]]\nmodel='a/b'\n[[model]]\nmodel='A/B'", "A/B stands there twice"),
        ("[[model]]\nmodel='a/b'\nlicense='MIT'", "a/b: there is no key 'license'; did you mean 'licence'?"),
        ("[[model]]\nmodel='a/b'\nxyzzy=1", "there is no key 'xyzzy'; known are: model, family"),
        ("[[model]]\nmodel='a/b'\nfamily='qwen2vl'", "'qwen2vl' is unknown; did you mean 'qwen2-vl'?"),
        ("[[model]]\nmodel='a/b'\nverdict='work'", "did you mean 'works'?"),
        ("[[model]]\nmodel='a/b'\nverdict=3", "verdict: 3 is unknown"),
        ("[[model]]\nmodel='a/b'\ncontent_format='str'", "did you mean 'string'?"),
        ("[[model]]\nmodel='a/b'\ntrust_remote_code='yes'", "must be true or false, not 'yes'"),
        ("[[model]]\nmodel='a/b'\nstart_eager_s=true", "must be a number above 0, not True"),
        ("[[model]]\nmodel='a/b'\nstart_eager_s=nan", "must be a number above 0, not nan"),
        ("[[model]]\nmodel='a/b'\n[model.shape]\nlayers=3", "a/b: shape: the key weight_bytes is missing"),
        ("[[model]]\nmodel='a/b'\nshape=3", "shape must be a table"),
        (
            "[[model]]\nmodel='rednote-hilab/dots.ocr'\n[model.shape]\nlayers=0",
            "a whole number above 0, not 0",
        ),
        (
            "[[model]]\nmodel='rednote-hilab/dots.ocr'\n[model.shape]\nmin_pixels=99999999",
            "min_pixels is more than max_pixels",
        ),
        (
            "[[model]]\nmodel='a/b'\n[model.wishes]\nseqs=1",
            "there is no key 'seqs'; did you mean 'max_num_seqs'?",
        ),
        ("[[model]]\nmodel='a/b'\nknown=3", "[[model.known]], with two brackets"),
        ("[[model]]\nmodel='a/b'\n[[model.known]]\nsource='x'", "known: the key card_gib is missing"),
        (
            "[[model]]\nmodel='a/b'\n[[model.known]]\nsource='x'\ncard_gib=8\ngpu_memory_utilization=1.5",
            "above 0 and at most 1",
        ),
        ("[[model", "this is not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_catalog(path)
    assert said in str(caught.value)
    assert path in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml cannot be read"):
        load_catalog(str(tmp_path / "nothing.toml"))


def test_architectures_that_no_server_has_are_told() -> None:
    unserved = load_catalog(None).unserved_architectures
    assert "HfMoondream" in unserved
    assert not unserved & {"DotsOCRForCausalLM", "Qwen2VLForConditionalGeneration"}
