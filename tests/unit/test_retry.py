from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Request
from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.domain.jobs import Verdict
from ocrd.domain.models import DOTS_OCR, QWEN2_VL, PromptMode
from ocrd.domain.quality import Cause
from ocrd.domain.retry import (
    CAREFUL_CLAIMS,
    FALLBACK_RUNG,
    FIRST_RUNG,
    MAX_ATTEMPTS,
    MAX_CLAIMS,
    MAX_MODEL_ATTEMPTS,
    OUTAGE_PAUSE_MAX_S,
    SECOND_RUNG,
    Engine,
    Means,
    Rung,
    Step,
    Tried,
    leaves_engine,
    next_rung,
    next_step,
    outage_pause_s,
    rung_named,
    runs_alone,
)


def fault(code: ReasonCode, *, transient: bool = True) -> PageFault:
    return PageFault(code, "it went wrong", transient=transient)


@given(st.sampled_from(ReasonCode), st.integers(1, 100))
def test_a_fault_that_will_come_again_ends_the_page_at_once(code: ReasonCode, strikes: int) -> None:
    assert next_step(fault(code, transient=False), strikes) is Step.GIVE_UP


@given(st.sampled_from(ReasonCode))
def test_every_transient_fault_is_given_up_after_a_few_tries(code: ReasonCode) -> None:
    steps = [next_step(fault(code), strikes) for strikes in range(1, 10)]
    assert steps == sorted(steps)
    assert steps.count(Step.AGAIN) == MAX_ATTEMPTS.get(code, 1) - 1


@pytest.mark.parametrize(
    ("code", "strikes", "step"),
    [
        (ReasonCode.ENGINE_CRASHED, 1, Step.AGAIN),
        (ReasonCode.ENGINE_CRASHED, 2, Step.GIVE_UP),
        (ReasonCode.ENGINE_TIMEOUT, 1, Step.GIVE_UP),
        (ReasonCode.RENDER_FAILED, 1, Step.GIVE_UP),
    ],
)
def test_a_crash_gets_a_second_try_and_a_timeout_does_not(code: ReasonCode, strikes: int, step: Step) -> None:
    assert next_step(fault(code), strikes) is step


def test_a_page_is_handled_with_care_before_it_is_given_up() -> None:
    assert 1 < CAREFUL_CLAIMS < MAX_CLAIMS


@given(st.integers(1, 10_000))
def test_the_pause_never_shrinks_and_never_exceeds_a_minute(strikes: int) -> None:
    assert 5 <= outage_pause_s(strikes) <= outage_pause_s(strikes + 1) <= OUTAGE_PAUSE_MAX_S


def test_the_pause_doubles_from_five_seconds() -> None:
    assert [outage_pause_s(strikes) for strikes in range(1, 7)] == [5, 10, 20, 40, 60, 60]


def test_a_page_that_brings_the_engine_down_runs_alone_once_and_then_leaves_it() -> None:
    assert [runs_alone(deaths) for deaths in range(4)] == [False, False, True, False]
    assert [leaves_engine(deaths) for deaths in range(5)] == [False, False, False, True, True]


# --- the ladder ---------------------------------------------------------------------------------------------

VERDICTS = {
    Cause.LOOP: Verdict.LOOP,
    Cause.TRUNCATED: Verdict.TRUNCATED,
    Cause.REFUSED: Verdict.REFUSED,
}
MODES = DOTS_OCR.prompts.keys()
BAD_CAUSES = [cause for cause in Cause if cause is not Cause.NONE]


def came(rung: Rung, cause: Cause, rotation: int = 0) -> Tried:
    return Tried(rung, VERDICTS.get(cause, Verdict.SUSPECT), cause, rotation)


def climb(means: Means, causes: Sequence[Cause], *, turn: int = 0) -> list[Rung]:
    """The rungs of a page whose every answer is bad, for these causes in turn."""
    tried: list[Tried] = []
    while (rung := next_rung(tried, means)) is not None:
        cause = causes[len(tried) % len(causes)]
        tried.append(came(rung, cause, turn if rung.engine is Engine.SECOND else 0))
        assert len(tried) < 50, "the ladder has no end"
    return [one.rung for one in tried]


@given(
    causes=st.lists(st.sampled_from(BAD_CAUSES), min_size=1, max_size=8),
    has_second=st.booleans(),
    has_fallback=st.booleans(),
    turn=st.sampled_from([0, 90, 180, 270]),
)
def test_no_page_is_asked_twice_the_same_way_nor_too_often(
    causes: list[Cause], has_second: bool, has_fallback: bool, turn: int
) -> None:
    rungs = climb(Means(MODES, has_second, has_fallback), causes, turn=turn)
    assert rungs[0] == FIRST_RUNG
    assert len(set(rungs)) == len(rungs)
    assert sum(rung.engine is Engine.FIRST for rung in rungs) <= MAX_MODEL_ATTEMPTS
    assert [rung for rung in rungs if rung.engine is Engine.SECOND] == [SECOND_RUNG] * has_second
    assert rungs.count(FALLBACK_RUNG) == has_fallback
    behind = rungs[rungs.index(FALLBACK_RUNG) + 1 :] if has_fallback else []
    assert all(rung.engine is Engine.SECOND for rung in behind), "no swap back for the same page"


@given(causes=st.lists(st.sampled_from(BAD_CAUSES), min_size=1, max_size=8), cut=st.integers(0, 12))
def test_a_climb_that_is_broken_off_goes_on_where_it_was(causes: list[Cause], cut: int) -> None:
    means = Means(MODES, has_second=True, has_fallback=True)
    whole = climb(means, causes)
    tried = [came(rung, causes[index % len(causes)]) for index, rung in enumerate(whole[:cut])]
    known = [replace(one, rung=rung_named(one.rung.name)) for one in tried]
    assert next_rung(known, means) == (whole[cut] if cut < len(whole) else None)


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_model_is_asked_before_the_second_engines_text_is_taken(rotation: int) -> None:
    means = Means(MODES, has_second=True, has_fallback=True)
    tried = [came(FIRST_RUNG, Cause.REFUSED), Tried(SECOND_RUNG, Verdict.OK, Cause.NONE, rotation)]
    rung = next_rung(tried, means)
    assert rung is not None
    if rotation:
        assert rung.rotation == rotation
        tried.append(came(rung, Cause.REFUSED))
    assert next_rung(tried, means) == FALLBACK_RUNG
    tried.append(came(FALLBACK_RUNG, Cause.REFUSED))
    assert next_rung(tried, means) is None


@pytest.mark.parametrize("cause", BAD_CAUSES)
def test_every_cause_has_another_way_of_asking(cause: Cause) -> None:
    assert len(climb(Means(MODES), [cause])) > 1


def test_a_good_answer_ends_the_climb() -> None:
    assert next_rung([Tried(FIRST_RUNG, Verdict.OK, Cause.NONE)], Means(MODES, has_second=True)) is None
    assert next_rung([Tried(FIRST_RUNG, Verdict.BLANK, Cause.NONE)], Means(MODES, has_second=True)) is None


def test_a_page_that_is_damaged_itself_is_not_asked_again() -> None:
    damaged = Tried(FIRST_RUNG, Verdict.SUSPECT, Cause.NONE)
    assert next_rung([damaged], Means(MODES, has_second=True)) is None


def test_an_engine_without_prompts_is_asked_once() -> None:
    assert climb(Means(), [Cause.NO_TEXT]) == [FIRST_RUNG]


def test_a_fault_goes_to_the_second_engine_at_once() -> None:
    means = Means(MODES, has_second=True)
    assert next_rung([Tried(FIRST_RUNG, Verdict.FAULT, Cause.NONE)], means) == SECOND_RUNG


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_the_second_engine_had_to_turn_is_put_to_the_model_turned(turn: int) -> None:
    means = Means(MODES, has_second=True)
    tried = [came(FIRST_RUNG, Cause.NO_TEXT), Tried(SECOND_RUNG, Verdict.OK, Cause.NONE, turn)]
    rung = next_rung(tried, means)
    assert rung is not None
    assert rung.rotation == turn
    tried.append(came(rung, Cause.NO_TEXT))
    assert next_rung(tried, means) is None, "the second engine's text is good"


@pytest.mark.parametrize("cause", [Cause.NO_TEXT, Cause.REFUSED, Cause.HALLUCINATED, Cause.SCRIPTS])
def test_without_a_second_engine_the_model_is_shown_the_page_all_ways_up(cause: Cause) -> None:
    rungs = climb(Means(MODES), [cause])
    assert {rung.rotation for rung in rungs} >= {0, 90, 180}
    assert len(rungs) == MAX_MODEL_ATTEMPTS
    good = [came(rung, cause) for rung in rungs[:3]]
    assert next_rung([*good, Tried(rungs[3], Verdict.OK, Cause.NONE)], Means(MODES)) is None


def test_loops_are_met_with_another_sampling_then_regions_then_strips() -> None:
    rungs = climb(Means(MODES, has_second=True), [Cause.LOOP])
    assert [rung.name for rung in rungs] == ["first", "sampling", "regions", "strips", "second"]


def test_a_rung_changes_only_what_it_names() -> None:
    request = Request(languages=("rus",), timeout_s=7)
    assert FIRST_RUNG.apply(request) == request
    changed = Rung("x", prompt_mode=PromptMode.OCR, rotation=90, strips=True).apply(request)
    assert (changed.languages, changed.timeout_s) == (("rus",), 7)
    assert (changed.prompt_mode, changed.rotation, changed.strips) == (PromptMode.OCR, 90, True)


@pytest.mark.parametrize("cause", BAD_CAUSES)
def test_a_model_with_one_prompt_is_not_asked_for_another(cause: Cause) -> None:
    rungs = climb(Means(QWEN2_VL.prompts.keys(), has_second=True), [cause])
    assert {rung.prompt_mode for rung in rungs} == {None}
