from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import recognition

from ocrd.domain.documents import Block, PageImage, Recognition
from ocrd.domain.ink import BLANK_INK, ink_share, is_blank
from ocrd.domain.jobs import Verdict
from ocrd.domain.quality import (
    FEWEST_LETTERS,
    INK_WITHOUT_TEXT,
    LEGIBLE_CONFIDENCE,
    TESSERACT,
    Cause,
    Judgement,
    judge,
    score,
)


def page(ink: float, *notes: str) -> PageImage:
    return PageImage(path="/page.png", number=1, width=10, height=10, dpi=200, ink=ink, notes=notes)


@pytest.mark.parametrize(
    ("ink", "text", "notes", "verdict"),
    [
        (0.1, "text", (), Verdict.OK),
        (0.0, "text", (), Verdict.OK),
        (0.1, "text", ("broken stream",), Verdict.SUSPECT),
        (0.1, " \n\t", (), Verdict.SUSPECT),
        (INK_WITHOUT_TEXT / 2, "", (), Verdict.BLANK),
        (INK_WITHOUT_TEXT, "", (), Verdict.SUSPECT),
        (0.0, "", ("broken stream",), Verdict.SUSPECT),
    ],
)
def test_the_verdict_follows_from_ink_text_and_damage(
    ink: float, text: str, notes: tuple[str, ...], verdict: Verdict
) -> None:
    assert judge(page(ink, *notes), recognition(text)).verdict is verdict


@given(st.floats(0, 1), st.text(), st.lists(st.text(), max_size=2))
def test_only_a_good_page_has_no_reason(ink: float, text: str, notes: list[str]) -> None:
    judgement = judge(page(ink, *notes), recognition(text))
    assert (judgement.reason == "") == (judgement.verdict is Verdict.OK)


@given(st.floats(0, 1), st.text())
def test_a_damaged_page_is_never_called_good_or_blank(ink: float, text: str) -> None:
    assert judge(page(ink, "broken stream"), recognition(text)).verdict is Verdict.SUSPECT


def test_a_damaged_page_without_text_says_what_the_renderer_said() -> None:
    assert "broken stream" in judge(page(0.0, "broken stream"), recognition("")).reason


def test_a_page_is_blank_below_the_ink_of_one_full_stop() -> None:
    assert is_blank(page(0.0))
    assert is_blank(page(BLANK_INK * 0.99))
    assert not is_blank(page(BLANK_INK))


LEGIBLE = replace(recognition("the quick brown fox jumps over it"), engine=TESSERACT, confidence=71.0)


def test_a_page_that_tesseract_is_not_sure_of_is_suspect() -> None:
    judgement = judge(page(0.1), replace(LEGIBLE, confidence=44.0))
    assert (judgement.verdict, judgement.cause) == (Verdict.SUSPECT, Cause.ILLEGIBLE)
    assert "44 of 100" in judgement.reason


@given(st.text(), st.none() | st.floats(0, 100))
def test_a_page_without_a_doubt_and_read_surely_or_hardly_written_on_is_ok(
    text: str, confidence: float | None
) -> None:
    read = replace(LEGIBLE, text=text, confidence=confidence)
    unsure = confidence is not None and confidence < LEGIBLE_CONFIDENCE
    many = sum(map(str.isalpha, text)) >= FEWEST_LETTERS
    verdict = judge(page(0.1), read).verdict
    assert (verdict is Verdict.OK) == (bool(text.strip()) and not (unsure and many))


def test_letters_without_data_make_a_page_suspect_with_the_package_as_reason() -> None:
    judgement = judge(page(0.1), replace(LEGIBLE, doubt="no data: sudo apt install tesseract-ocr-ell"))
    assert judgement == Judgement(
        Verdict.SUSPECT, "no data: sudo apt install tesseract-ocr-ell", Cause.SCRIPTS
    )


@given(st.lists(st.integers(0, 1000), min_size=256, max_size=256))
def test_ink_is_a_share(histogram: list[int]) -> None:
    assert 0 <= ink_share(histogram) <= 1


@given(st.integers(0, 255), st.integers(1, 10**8))
def test_a_page_of_one_colour_has_no_ink(level: int, pixels: int) -> None:
    histogram = [0] * 256
    histogram[level] = pixels
    assert ink_share(histogram) == 0


@pytest.mark.parametrize(("paper", "pen"), [(255, 0), (0, 255), (200, 40)])
def test_ink_is_counted_on_light_and_on_dark_paper(paper: int, pen: int) -> None:
    histogram = [0] * 256
    histogram[paper], histogram[pen] = 900, 100
    assert ink_share(histogram) == pytest.approx(0.1)


def test_noise_around_the_paper_is_no_ink() -> None:
    histogram = [0] * 256
    for level in range(215, 256):
        histogram[level] = 100
    assert ink_share(histogram) == 0


def test_an_image_without_pixels_has_no_ink() -> None:
    assert ink_share([0] * 256) == 0


# --- what generative models do ------------------------------------------------------------------------------

INKED = PageImage(path="/p", number=1, width=1654, height=2339, dpi=200, ink=0.05)
TEXT = (
    "Договор поставки № 15. Поставщик обязуется передать товар, а покупатель принять и оплатить его в срок."
)


def answered(text: str, *, finish: str = "stop", blocks: tuple[Block, ...] = (), **more: Any) -> Recognition:
    blocks = blocks or ((Block(category="Text", box=(10, 10, 900, 90), text=text),) if text else ())
    fields = {
        "model_revision": "m",
        "prompt_mode": "layout",
        "dpi": 200.0,
        "tokens": 1,
        "seconds": 1.0,
        "engine": "vllm",
    }
    return Recognition(text=text, blocks=blocks, finish=finish, **{**fields, **more})


def verdict(text: str, page: PageImage = INKED, **more: Any) -> tuple[Verdict, Cause]:
    judgement = judge(page, answered(text, **more), ("rus", "eng"))
    assert bool(judgement.reason) == (judgement.verdict is not Verdict.OK)
    return judgement.verdict, judgement.cause


def test_a_good_answer_of_a_model_is_ok() -> None:
    assert verdict(TEXT) == (Verdict.OK, Cause.NONE)


@pytest.mark.parametrize("finish", ["length", "abort", "deadline", "cut", "broken", "something_new"])
def test_only_stop_is_the_end_of_an_answer(finish: str) -> None:
    assert verdict(TEXT, finish=finish) == (Verdict.TRUNCATED, Cause.TRUNCATED)


@pytest.mark.parametrize("finish", ["loop", "repetition"])
def test_an_answer_that_was_ended_for_a_loop_is_one(finish: str) -> None:
    assert verdict(TEXT, finish=finish) == (Verdict.LOOP, Cause.LOOP)


def test_a_loop_in_the_text_is_found() -> None:
    assert verdict(TEXT + "и так далее и тому подобное " * 60) == (Verdict.LOOP, Cause.LOOP)


def test_a_loop_over_regions_is_found() -> None:
    blocks = tuple(Block(category="Text", box=(0, n, 9, n + 1), text="Итого к оплате") for n in range(30))
    assert verdict("x", blocks=blocks) == (Verdict.LOOP, Cause.LOOP)


@pytest.mark.parametrize(
    "talk",
    [
        "I'm sorry, but I can't assist with that.",
        "The image shows a scanned invoice with a table.",
        "На изображении показан счёт на оплату.",
        "К сожалению, я не могу прочитать этот документ.",
        "![diagram](image.png)",
        "NO_TEXT",
        "There is no visible text in this image.",
        "Extract the text content from this image.",
        "Read all the text in the image.",
        "Extract the text content from this image.\nText",
        "Here is the text from the image:",
        "Unfortunately, I cannot read the text.",
        "I'm unable to view images.",
        "[image]",
        "Текст отсутствует.",
        "![](a.png)\n\n![](b.png)",
        "I'm sorry, but the image is too blurry to read.",
        "The image does not contain any text.",
        "The provided image is blank.",
        "The text in the image is not readable.",
        "There's no text in the image.",
        "I don't see any text in this image.",
        "It appears that the image is blank.",
        "The document appears to be a scanned receipt.",
        "This page contains no readable text.",
        "На этой странице нет текста.",
        "Страница пуста.",
        "Текст на изображении неразборчив.",
        "Извините, но не удалось распознать текст.",
    ],
)
def test_talk_about_the_page_is_not_its_text(talk: str) -> None:
    assert verdict(talk) == (Verdict.REFUSED, Cause.REFUSED)


def test_a_document_that_begins_like_talk_is_a_document() -> None:
    letter = "I'm sorry, I can't read your hand. " + "".join(f"{n}. {TEXT}\n" for n in range(6))
    assert verdict(letter) == (Verdict.OK, Cause.NONE)


@pytest.mark.parametrize(
    "text",
    [
        "На фото: директор школы Иванова с учениками 5-Б класса",
        "На изображении 4 приведена схема подключения насоса",
        "The image is licensed under CC BY 4.0.",
        "I'm sorry for your loss.",
        "Sorry, this machine is out of order.",
        "This document is not a VAT invoice.",
        "This document contains confidential information intended only for the addressee.",
        "The document is a translation of the original.",
        "This page is not valid without a signature.",
        "This page is intentionally left blank.",
        "К сожалению, я не смогу присутствовать на собрании.",
        "Страница 12",
        "Текст не подлежит изменению",
        "Text",
        "![diagram](image.png)\n" + TEXT,
        TEXT + " I'm sorry, I can't assist with that. " + TEXT,
        "Extract the text content from this image.\n" + TEXT,
    ],
)
def test_captions_letters_and_quotations_are_text(text: str) -> None:
    assert verdict(text) == (Verdict.OK, Cause.NONE)


@pytest.mark.parametrize("text", ["![]()" * 100_000 + "a", "![" * 300_000, "I'm sorry" + " " * 500_000])
@pytest.mark.timeout(20)
def test_marks_without_words_are_judged_in_time(text: str) -> None:
    assert judge(INKED, answered(text), ("rus",)).verdict in set(Verdict)


def test_text_beside_the_page_is_doubted() -> None:
    beyond = tuple(Block(category="Text", box=(9, 5000 + n, 900, 5090 + n), text=TEXT) for n in range(3))
    slivers = tuple(Block(category="Text", box=(9, 2338, 900 + n, 2339), text=TEXT) for n in range(3))
    for blocks in (beyond, slivers):
        assert verdict(TEXT, blocks=blocks) == (Verdict.SUSPECT, Cause.DENSITY)
    inside = tuple(Block(category="Text", box=(9, 90 * n, 900, 90 * n + 80), text=TEXT) for n in range(4))
    assert verdict(TEXT, blocks=(*inside, *slivers)) == (Verdict.OK, Cause.NONE), "most of it is on the page"


def test_a_loop_of_empty_cells_is_found_where_the_text_does_not_show_it() -> None:
    table = "<table>" + "<tr><td></td><td></td></tr>" * 150 + "</table>"
    blocks = (Block(category="Table", box=(10, 10, 900, 900), text=table),)
    assert verdict(TEXT, blocks=blocks) == (Verdict.LOOP, Cause.LOOP)


def test_one_picture_named_twice_covers_no_more_than_once() -> None:
    picture = Block(category="Picture", box=(0, 0, 1650, 820), text="")
    assert verdict("", blocks=(picture, picture)) == (Verdict.SUSPECT, Cause.NO_TEXT)


def test_no_text_on_a_page_with_ink_is_doubted_and_without_ink_it_is_blank() -> None:
    assert verdict("") == (Verdict.SUSPECT, Cause.NO_TEXT)
    assert verdict("", replace(INKED, ink=0.0001)) == (Verdict.BLANK, Cause.NONE)


def test_text_on_a_page_without_ink_was_invented() -> None:
    assert verdict(TEXT, replace(INKED, ink=0.00005)) == (Verdict.SUSPECT, Cause.HALLUCINATED)
    assert verdict("12", replace(INKED, ink=0.00005)) == (Verdict.OK, Cause.NONE), "a page number"


def test_more_text_than_fits_is_doubted() -> None:
    text = "".join(f"{n} {TEXT}\n" for n in range(40))
    small = replace(INKED, width=600, height=400, ink=0.5)
    assert verdict(text, small) == (Verdict.SUSPECT, Cause.DENSITY)
    assert verdict(text, replace(small, dpi_is_exact=False)) == (Verdict.OK, Cause.NONE), (
        "its size is a guess"
    )


def test_a_picture_over_the_whole_page_hides_text() -> None:
    blocks = (Block(category="Picture", box=(0, 0, 1600, 2300), text=""),)
    assert verdict("", blocks=blocks) == (Verdict.SUSPECT, Cause.PICTURE_ONLY)


def test_strange_letters_are_doubted() -> None:
    assert verdict("שלום עולם זה טקסט ארוך מאוד בעברית") == (Verdict.SUSPECT, Cause.SCRIPTS)


def test_tesseract_is_not_suspected_of_what_only_models_do() -> None:
    found = answered("и так далее и тому подобное " * 60, engine="tesseract")
    assert judge(INKED, found, ("rus", "eng")).verdict is Verdict.OK


ALL_ANSWERS = st.builds(
    lambda text, finish: answered(text, finish=finish),
    st.text(max_size=200) | st.just(TEXT) | st.just(TEXT * 30),
    st.sampled_from(["stop", "length", "loop", "abort"]),
)


@given(ALL_ANSWERS, ALL_ANSWERS)
def test_a_good_answer_is_always_better_than_another(one: Recognition, other: Recognition) -> None:
    judged = [(judge(INKED, answer), answer) for answer in (one, other)]
    oks = [score(*pair) for pair in judged if pair[0].verdict is Verdict.OK]
    others = [score(*pair) for pair in judged if pair[0].verdict is not Verdict.OK]
    assert all(ok > bad for ok in oks for bad in others)


@given(st.lists(ALL_ANSWERS, min_size=2, max_size=4))
def test_scores_put_all_answers_in_one_order(answers: list[Recognition]) -> None:
    scores = [score(judge(INKED, answer), answer) for answer in answers]
    assert all((one < other) + (one == other) + (one > other) == 1 for one in scores for other in scores)
    best = max(scores)
    assert all(best >= one for one in scores)


def test_a_row_of_ticks_is_an_answer() -> None:
    cut = answered(TEXT, finish="length")
    assert score(judge(INKED, answered("☐ ☑")), answered("☐ ☑")) > score(judge(INKED, cut), cut)


def test_the_longest_loop_is_not_the_best() -> None:
    loop = Judgement(Verdict.LOOP, "x", Cause.LOOP)
    assert score(loop, answered(TEXT)) > score(loop, answered("и так далее " * 900))
    cut = Judgement(Verdict.TRUNCATED, "x", Cause.TRUNCATED)
    assert score(loop, answered(TEXT)) > score(cut, answered("Дог")), "much was saved of the loop"
    assert score(cut, answered("Дог")) > score(loop, answered(""))


def test_of_two_doubtful_answers_the_one_that_was_seen_wins() -> None:
    doubt = Judgement(Verdict.SUSPECT, "x", Cause.WITNESS)
    seen = replace(answered("abc"), testimony={"recall": 0.9, "precision": 0.9})
    unseen = replace(answered("abc" * 50), testimony={"recall": 0.2, "precision": 0.5})
    assert score(doubt, seen) > score(doubt, unseen)


def test_of_two_good_answers_the_models_wins() -> None:
    good = Judgement(Verdict.OK)
    assert score(good, answered(TEXT)) > score(good, answered(TEXT * 2, engine="tesseract"))
