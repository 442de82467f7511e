from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pytest

from ocrd.daemon.climber import Climber
from ocrd.daemon.engines import Engines
from ocrd.daemon.witnessing import Witnesses
from ocrd.domain.documents import Block, PageImage, Recognition, Request, Word
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, Stopped
from ocrd.domain.jobs import PageState, Verdict
from ocrd.domain.models import DOTS_OCR, PromptMode
from ocrd.store.pages import Attempt, StoredTry

REQUEST = Request(languages=("rus", "eng"), timeout_s=5)
PAGE = PageImage(path="/nowhere", number=3, width=1654, height=2339, dpi=200, ink=0.05)
GOOD = "Общество с ограниченной ответственностью «Ромашка» прислало счёт на оплату поставки бумаги"
WORDS = GOOD.split()

Answer = Recognition | Exception


def recognition(text: str, *, engine: str = "model", finish: str = "stop", **more: Any) -> Recognition:
    words = tuple(
        Word(text=word, box=(10 * i, 0, 10 * i + 9, 10), confidence=96, line=0)
        for i, word in enumerate(text.split())
    )
    block = Block(
        category="Text", box=(0, 0, 1600, 40), text=text, words=words if engine == "tesseract" else None
    )
    fields = {"model_revision": "r", "prompt_mode": "layout", "dpi": 200.0, "tokens": 1, "seconds": 0.1}
    blocks = (block,) if text else ()
    return Recognition(text=text, blocks=blocks, finish=finish, engine=engine, **{**fields, **more})


@dataclass
class Scripted:
    """An engine that answers what it is told to, and remembers what it was asked."""

    answer: Callable[[Request, int], Answer]
    slots: int = 1
    asked: list[Request] = field(default_factory=list)

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        assert page == PAGE
        self.asked.append(request)
        answer = self.answer(request, len(self.asked))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        pass


class Known:
    modes = DOTS_OCR.prompts.keys()

    def facts(self) -> dict[str, Any]:
        return {}


def always(answer: Answer) -> Scripted:
    return Scripted(lambda _, __: answer)


def in_turn(*answers: Answer) -> Scripted:
    return Scripted(lambda _, number: answers[min(number, len(answers)) - 1])


def climber(first: Scripted, second: Scripted | None = None, *, witness: bool = False) -> Climber:
    witnesses = Witnesses(second, REQUEST) if witness and second is not None else None
    return Climber(
        Engines(
            first=first,
            name="vllm",
            request=REQUEST,
            second=second,
            second_request=REQUEST,
            witnesses=witnesses,
            server=Known(),
        )
    )


class Notes:
    """The tries that were stored on the way; each gets a number."""

    def __init__(self) -> None:
        self.kept: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> int | None:
        self.kept.append(attempt)
        return len(self.kept) if attempt.recognition is not None else None

    @property
    def verdicts(self) -> Sequence[Verdict]:
        return [one.verdict for one in self.kept]


def test_a_good_answer_is_taken_at_once() -> None:
    notes = Notes()
    reading = climber(always(recognition(GOOD))).climb(PAGE, Event(), notes)
    assert (reading.state, reading.attempt.verdict, reading.stored) == (PageState.DONE, Verdict.OK, None)
    assert not notes.kept


def test_a_cut_off_answer_is_asked_for_again_and_both_tries_are_kept() -> None:
    notes = Notes()
    first = in_turn(recognition("Общество с", finish="length"), recognition(GOOD))
    reading = climber(first).climb(PAGE, Event(), notes)
    assert reading.attempt.verdict is Verdict.OK
    assert reading.attempt.recognition is not None
    assert reading.attempt.recognition.text == GOOD
    assert notes.verdicts == [Verdict.TRUNCATED]
    assert first.asked[1] != first.asked[0], "asked another way"


def test_the_best_answer_wins_even_if_it_was_an_earlier_one() -> None:
    notes = Notes()
    first = in_turn(recognition(GOOD, finish="length"), recognition("Общ", finish="length"))
    reading = climber(first).climb(PAGE, Event(), notes)
    assert reading.state is PageState.DONE
    assert reading.attempt.verdict is Verdict.TRUNCATED
    assert reading.stored == 1
    assert len(notes.kept) == len(first.asked), "every try is stored once"


def test_the_second_engine_is_the_last_resort() -> None:
    notes = Notes()
    second = always(recognition(GOOD, engine="tesseract"))
    reading = climber(always(PageFault(ReasonCode.ENGINE_FAILED, "500")), second).climb(PAGE, Event(), notes)
    assert reading.state is PageState.DONE
    assert reading.attempt.engine == "tesseract"
    assert notes.verdicts == [Verdict.FAULT]


def test_a_page_that_nobody_can_read_fails_with_the_last_reason() -> None:
    notes = Notes()
    first = always(PageFault(ReasonCode.ENGINE_TIMEOUT, "too slow"))
    second = always(ServerFault("the engine does not start"))
    reading = climber(first, second).climb(PAGE, Event(), notes)
    assert reading.state is PageState.FAILED
    assert reading.attempt.reason_code == ReasonCode.ENGINE_UNAVAILABLE


def test_a_fault_that_may_pass_is_tried_twice_on_the_same_rung() -> None:
    notes = Notes()
    first = in_turn(PageFault(ReasonCode.ENGINE_CRASHED, "gone", transient=True), recognition(GOOD))
    reading = climber(first).climb(PAGE, Event(), notes)
    assert reading.attempt.verdict is Verdict.OK
    assert first.asked[0] == first.asked[1]
    assert [one.reason_code for one in notes.kept] == [ReasonCode.ENGINE_CRASHED]


def test_an_engine_that_breaks_its_promise_costs_its_page_two_tries() -> None:
    notes = Notes()
    reading = climber(always(ZeroDivisionError("oops"))).climb(PAGE, Event(), notes)
    assert reading.state is PageState.FAILED
    assert "ZeroDivisionError: oops" in reading.attempt.reason
    assert len(notes.kept) == 1


@pytest.mark.parametrize("fault", [ServerFault("down"), Stopped()])
def test_a_fault_of_the_server_is_no_try_of_the_page(fault: Exception) -> None:
    notes = Notes()
    with pytest.raises(type(fault)):
        climber(always(fault), always(recognition(GOOD))).climb(PAGE, Event(), notes)
    assert not notes.kept


def test_without_the_first_engine_the_second_reads() -> None:
    first, second = always(recognition(GOOD)), always(recognition(GOOD, engine="tesseract"))
    reading = climber(first, second).climb(PAGE, Event(), Notes(), without_first=True)
    assert reading.attempt.engine == "tesseract"
    assert not first.asked


def test_a_page_that_lies_on_its_head_is_put_to_the_model_turned() -> None:
    first = Scripted(lambda request, _: recognition(GOOD if request.rotation == 180 else ""))
    second = always(recognition(GOOD, engine="tesseract", rotation=180))
    reading = climber(first, second).climb(PAGE, Event(), Notes())
    assert reading.attempt.engine == "model"
    assert [request.rotation for request in first.asked] == [0, 0, 180]
    assert first.asked[1].prompt_mode is PromptMode.OCR


# --- the witness --------------------------------------------------------------------------------------------


def test_the_witness_is_heard_and_its_testimony_is_kept() -> None:
    second = always(recognition(GOOD, engine="tesseract"))
    reading = climber(always(recognition(GOOD)), second, witness=True).climb(PAGE, Event(), Notes())
    assert reading.attempt.verdict is Verdict.OK
    assert reading.attempt.recognition is not None
    assert reading.attempt.recognition.testimony is not None
    assert reading.attempt.recognition.testimony["recall"] == 1.0


def test_a_text_that_lacks_what_the_witness_saw_goes_up_the_ladder() -> None:
    notes = Notes()
    first = in_turn(recognition(" ".join(WORDS[:3])), recognition(GOOD))
    second = always(recognition(GOOD, engine="tesseract"))
    reading = climber(first, second, witness=True).climb(PAGE, Event(), notes)
    assert reading.attempt.verdict is Verdict.OK
    assert notes.verdicts == [Verdict.SUSPECT]
    assert "second reader" in notes.kept[0].reason
    assert len(second.asked) == 1, "a witness reads a page once"


@pytest.mark.parametrize(
    "fault", [PageFault(ReasonCode.ENGINE_CRASHED, "gone"), OSError("a mistake of its own")]
)
def test_a_witness_that_fails_is_no_hindrance(fault: Exception) -> None:
    second = always(fault)
    reading = climber(always(recognition(GOOD)), second, witness=True).climb(PAGE, Event(), Notes())
    assert reading.attempt.verdict is Verdict.OK


def test_a_page_that_brings_the_only_engine_down_is_given_up_with_a_reason() -> None:
    reading = climber(always(recognition(GOOD))).climb(PAGE, Event(), Notes(), without_first=True)
    assert reading.state is PageState.FAILED
    assert reading.attempt.reason_code == ReasonCode.ENGINE_CRASHED
    assert "there is no other one" in reading.attempt.reason


# --- the fallback model -------------------------------------------------------------------------------------


@dataclass
class ScriptedFallback(Scripted):
    """A fallback model that is there."""

    is_usable: bool = True


def with_fallback(first: Scripted, fallback: ScriptedFallback, second: Scripted | None = None) -> Climber:
    return Climber(
        Engines(
            first=first,
            name="vllm",
            request=REQUEST,
            second=second,
            second_request=REQUEST,
            server=Known(),
            fallback=fallback,
        )
    )


def remembered(notes: Notes) -> list[StoredTry]:
    """What the store would give back of these notes."""
    return [
        StoredTry(attempt=one, result_id=number if one.recognition is not None else None)
        for number, one in enumerate(notes.kept, 1)
        if one.rung
    ]


def fallback_model(answer: Answer) -> ScriptedFallback:
    return ScriptedFallback(lambda _, __: answer)


def test_a_page_that_the_model_cannot_read_is_parked_with_all_its_tries() -> None:
    notes = Notes()
    first = always(recognition("Общество с", finish="length"))
    reading = with_fallback(first, fallback_model(recognition(GOOD))).climb(PAGE, Event(), notes)
    assert reading.state is PageState.PARKED
    assert len(notes.kept) == len(first.asked), "every try is stored before the page waits"
    assert all(one.rung for one in notes.kept)


def test_a_parked_page_climbs_on_where_it_stopped() -> None:
    notes = Notes()
    first = always(recognition("Общество с", finish="length"))
    fallback = fallback_model(recognition(GOOD, engine="qwen"))
    engines = with_fallback(first, fallback)
    engines.climb(PAGE, Event(), notes)
    tries = len(first.asked)
    reading = engines.climb(PAGE, Event(), notes, before=remembered(notes), fallback_now=True)
    assert reading.state is PageState.DONE
    assert reading.attempt.recognition is not None
    assert reading.attempt.recognition.engine == "qwen"
    assert (len(first.asked), len(fallback.asked)) == (tries, 1)
    assert len(notes.kept) == tries


def test_the_best_of_both_models_wins() -> None:
    notes = Notes()
    first = always(recognition(GOOD, finish="length"))
    engines = with_fallback(first, fallback_model(recognition("", finish="length")))
    engines.climb(PAGE, Event(), notes)
    reading = engines.climb(PAGE, Event(), notes, before=remembered(notes), fallback_now=True)
    assert (reading.state, reading.stored) == (PageState.DONE, 1)
    assert reading.attempt.recognition is not None
    assert reading.attempt.recognition.text == GOOD


def test_a_page_given_back_is_not_asked_again_what_it_was_asked_before() -> None:
    notes = Notes()
    first = always(recognition("Общество с", finish="length"))
    engines = climber(first)
    engines.climb(PAGE, Event(), notes)
    asked = list(first.asked)
    first.asked.clear()
    engines.climb(PAGE, Event(), notes, before=remembered(notes)[:1])
    assert first.asked == asked[1:]


def test_without_a_fallback_that_works_parked_pages_go_on_to_the_second_engine() -> None:
    notes = Notes()
    first = always(recognition("Общество с", finish="length"))
    second = always(recognition(GOOD, engine="tesseract"))
    fallback = fallback_model(recognition(GOOD))
    engines = with_fallback(first, fallback, second)
    assert engines.climb(PAGE, Event(), notes).state is PageState.PARKED
    fallback.is_usable = False
    reading = engines.climb(PAGE, Event(), notes, before=remembered(notes))
    assert reading.attempt.engine == "tesseract"
    assert not fallback.asked


def test_a_parked_page_for_which_nothing_is_left_keeps_its_best_text() -> None:
    notes = Notes()
    first = always(recognition(GOOD, finish="length"))
    fallback = fallback_model(recognition(GOOD))
    engines = with_fallback(first, fallback)
    engines.climb(PAGE, Event(), notes)
    fallback.is_usable = False
    before, kept = remembered(notes), len(notes.kept)
    reading = engines.climb(PAGE, Event(), notes, before=before)
    assert (reading.state, reading.stored) == (PageState.DONE, 1)
    assert len(notes.kept) == kept
