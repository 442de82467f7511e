from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain import witness
from ocrd.domain.alignment import within
from ocrd.domain.documents import Word
from ocrd.domain.witness import (
    LEAST_WORDS,
    NUMBERS_SHOWN,
    RUN_LETTERS,
    RUNS_SHOWN,
    compare,
    verdict,
)
from ocrd.domain.witness_words import fold, strip_marks

LETTER = """Уважаемый Иван Петрович, направляем вам договор поставки оборудования в двух экземплярах.
Просим подписать оба экземпляра, заверить печатью организации и вернуть один из них по почте.
Оплата производится в течение десяти рабочих дней после получения счёта и накладной.
Если у вас возникнут вопросы, обращайтесь к нашему менеджеру по телефону или письмом."""
FOREIGN = "Зимой медведи спят глубоко под снегом, поэтому охотники редко встречают их следы возле реки"
WORDS = [
    "договор",
    "поставка",
    "оборудование",
    "экземпляр",
    "печать",
    "организация",
    "почта",
    "оплата",
    "накладная",
    "менеджер",
    "телефон",
    "письмо",
    "winter",
    "mountain",
    "bridge",
    "gallery",
    "kitchen",
    "thunder",
    "voyage",
    "pilgrim",
    "harvest",
    "quarrel",
    "sapphire",
    "journal",
]
"""No two of them are alike, nor are two of them together a third."""
ALIEN = ["щщщъъъ", "жжжыыы", "ццццэээ", "ффффююю", "xxxqqq", "zzzvvv"]


def spoken(text: str, confidence: float = 95.0) -> list[Word]:
    """A text as the witness reads it: ten pixels a letter, twenty a line."""
    words = []
    for line, row in enumerate(text.split("\n")):
        left = 0
        for word in row.split():
            box = (left, 20 * line, left + 10 * len(word), 20 * line + 15)
            words.append(Word(text=word, box=box, confidence=confidence, line=line))
            left += 10 * len(word) + 8
    return words


texts = st.lists(st.sampled_from(WORDS), max_size=60)
anything = st.lists(
    st.builds(
        Word,
        text=st.text(min_size=1, max_size=8),
        box=st.tuples(*[st.integers(0, 3000)] * 4),
        confidence=st.floats(0, 100),
        line=st.integers(0, 50),
    ),
    max_size=30,
)
pieces = st.sampled_from(
    [
        "$",
        "$$",
        "\\[",
        "\\]",
        "<td>",
        "</table",
        "&amp;",
        "![",
        "](",
        "12",
        " 345",
        ",",
        "-\n",
        "ё",
        "слово",
        "\\frac{",
    ]
)
marked = st.lists(pieces | st.text(max_size=4), max_size=40).map("".join)


@given(texts, st.data())
def test_the_same_words_agree_whatever_the_line_breaks(words: list[str], data: st.DataObject) -> None:
    blanks = st.sampled_from([" ", "\n", "\n\n"])
    model = "".join(word + data.draw(blanks) for word in words)
    heard = "".join(word + data.draw(blanks) for word in words)
    testimony = compare(model, spoken(heard))
    assert (testimony.recall, testimony.precision, testimony.numbers) == (1.0, 1.0, ())
    assert verdict(testimony) == ""


@given(st.lists(st.integers(0, 10**9).map(str) | st.sampled_from(WORDS), max_size=60))
def test_the_same_numbers_are_never_disputed(words: list[str]) -> None:
    testimony = compare(" ".join(words), spoken("\n".join(words)))
    assert testimony.numbers == ()
    assert testimony.recall == 1.0


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), st.data())
def test_a_word_hyphenated_at_a_line_end_is_one_word(words: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(words) - 1))
    half = len(words[cut]) // 2
    broken = " ".join([*words[:cut], f"{words[cut][:half]}-\n{words[cut][half:]}", *words[cut + 1 :]])
    assert compare(" ".join(words), spoken(broken)).recall == 1.0
    assert compare(broken, spoken(" ".join(words))).precision == 1.0


@given(texts, st.integers(0, 60), st.lists(st.sampled_from(ALIEN), max_size=20))
def test_words_that_nobody_saw_lower_precision_by_their_share(
    words: list[str], place: int, alien: list[str]
) -> None:
    testimony = compare(" ".join([*words[:place], *alien, *words[place:]]), spoken(" ".join(words)))
    total = len(words) + len(alien)
    assert testimony.recall == 1.0
    assert testimony.precision == pytest.approx(len(words) / total if total else 1.0)
    assert testimony.unseen_run == len(alien)


@given(texts, st.integers(0, 60), st.integers(0, 60))
def test_the_more_is_left_out_the_lower_is_recall(words: list[str], one: int, other: int) -> None:
    less, more = sorted((one, other))
    long, short = (compare(" ".join(words[:kept]), spoken(" ".join(words))) for kept in (more, less))
    assert short.recall <= long.recall
    assert short.precision == long.precision == 1.0


@given(texts, texts)
def test_what_one_lacks_the_other_has_too_much(ours: list[str], theirs: list[str]) -> None:
    there = compare(" ".join(theirs), spoken(" ".join(ours)))
    back = compare(" ".join(ours), spoken(" ".join(theirs)))
    assert there.recall == pytest.approx(back.precision)
    assert there.precision == pytest.approx(back.recall)


@given(marked, anything)
def test_any_text_and_any_words_can_be_compared(text: str, words: list[Word]) -> None:
    testimony = compare(text, words)
    assert min(testimony.recall, testimony.precision, testimony.order) >= 0
    assert max(testimony.recall, testimony.precision, testimony.order) <= 1
    assert len(testimony.missing) <= RUNS_SHOWN
    assert all(len(run) <= RUN_LETTERS for run in (*testimony.missing, *testimony.unseen))
    assert len(testimony.numbers) <= NUMBERS_SHOWN
    assert verdict(testimony) == "" or testimony.usable


@given(marked)
def test_any_text_agrees_with_itself(text: str) -> None:
    plain = strip_marks(text).replace("$", "").replace("\\", "")
    assert compare(plain, spoken(plain)).numbers == ()


@pytest.mark.parametrize(
    ("model", "heard"),
    [
        ("ёлка счёт", "елка счет"),
        ("«Ромашка» — цветок…", '"Ромашка" - цветок...'),
        ("МОСКВА", "Москва"),
        ("ООО Север", "000 Cевep"),
        ("организация", "организацня"),
        ("Министерство обороны", "Министерст во обороны"),
        ("какой-то", "какой-\nто"),
        ("8 747,50 руб", "8747,50 руб"),
        ("1,250.00 total", "1.250,00 total"),
        ("кафе\u0301 и\u0306од", "кафе́ йод"),
        ("# **Итого** по `счёту`", "Итого по счёту"),
        ("<table><tr><td>Итого</td><td>м<sup>2</sup> &amp; шт</td></tr></table>", "Итого м2 & шт"),
        ("[сайт](https://example.org/x) ![](pic.png)", "сайт"),
    ],
)
def test_what_two_readers_may_write_differently_is_the_same(model: str, heard: str) -> None:
    testimony = compare(model, spoken(heard))
    assert (testimony.recall, testimony.precision, testimony.numbers) == (1.0, 1.0, ())


def test_formulas_are_not_held_against_the_model() -> None:
    testimony = compare(
        rf"{LETTER} $$\frac{{alpha beta gamma}}{{delta epsilon zeta}}$$ \(eta theta\)", spoken(LETTER)
    )
    assert testimony.precision == 1.0
    assert compare("Between $100 and $200 altogether", spoken("Between 100 and 200")).model_words == 5


def test_a_paragraph_left_out_is_named() -> None:
    lines = LETTER.split("\n")
    reason = verdict(compare("\n".join([lines[0], *lines[2:]]), spoken(LETTER)))
    assert reason.startswith("the text lacks 13 of ")
    assert "«Просим подписать оба экземпляра" in reason


def test_an_invented_sentence_is_named() -> None:
    lines = LETTER.split("\n")
    reason = verdict(compare("\n".join([*lines[:2], FOREIGN, *lines[2:]]), spoken(LETTER)))
    assert reason.startswith("the second reader did not see 14 of ")
    assert "«Зимой медведи спят" in reason


def test_a_repeated_row_is_suspect() -> None:
    lines = LETTER.split("\n")
    assert verdict(compare("\n".join([*lines, lines[-1]]), spoken(LETTER)))


def test_another_page_is_suspect() -> None:
    assert verdict(compare(FOREIGN, spoken(LETTER)))


def test_an_empty_answer_to_a_written_page_is_suspect() -> None:
    assert verdict(compare("", spoken(LETTER)))


def test_columns_in_another_order_do_no_harm() -> None:
    lines = LETTER.split("\n")
    testimony = compare("\n".join([*lines[2:], *lines[:2]]), spoken(LETTER))
    assert (testimony.recall, testimony.precision) == (1.0, 1.0)
    assert testimony.order > 0.95
    assert verdict(testimony) == ""


def test_words_in_disorder_keep_no_order() -> None:
    words = LETTER.split()
    assert compare(" ".join(words[::-1]), spoken(LETTER)).order < 0.2


def test_a_witness_of_few_words_says_nothing() -> None:
    few = spoken(" ".join(WORDS[: LEAST_WORDS - 1]))
    testimony = compare(LETTER, few)
    assert not testimony.usable
    assert verdict(testimony) == ""


def test_a_witness_that_is_mostly_unsure_says_nothing() -> None:
    words = [*spoken(" ".join(WORDS)), *spoken(" ".join(WORDS * 3), confidence=40)]
    assert verdict(compare(LETTER, words)) == ""


def test_what_the_witness_read_dimly_is_seen_and_not_required() -> None:
    lines = LETTER.split("\n")
    words = [*spoken("\n".join(lines[:3])), *spoken(lines[3], confidence=30)]
    assert compare(LETTER, words).precision == 1.0
    assert compare("\n".join(lines[:3]), words).recall == 1.0


def test_garbled_words_between_the_same_neighbours_are_ink_that_the_model_read() -> None:
    lines = LETTER.split("\n")
    garbled = spoken("#рсу лвлз!! щукд ршшр мнгн хцхц ыюыю тдтд зжзж", confidence=20)
    words = [*spoken("\n".join(lines[:2])), *garbled, *spoken("\n".join(lines[2:]))]
    inserted = "\n".join([*lines[:2], "Подпись руки начальника отдела", *lines[2:]])
    assert compare(inserted, words).precision == 1.0
    assert compare(inserted, spoken(LETTER)).precision < 1.0


def test_a_number_that_differs_is_listed_with_both_readings() -> None:
    words = spoken("Итого к оплате 8 747,50 рублей по счёту\n№ 1847 от 14 марта")
    (number,) = compare("Итого к оплате 8 741,50 рублей по счёту № 1847 от 14 марта", words).numbers
    assert (number.model, number.witness, number.confidence) == ("8 741,50", "8 747,50", 95.0)
    assert number.box == words[4].box


@pytest.mark.parametrize(
    ("model", "heard", "numbers"),
    [
        ("Федерального закона N 158 ФЗ", "Федерального закона М 152 ФЗ", ("158", "152")),
        ("Это ему непонятно 1.2.4", "Это ему непонятно 123", ("1.2.4", "123")),
        ("1847 счёт на оплату", "1841 счёт на оплату", ("1847", "1841")),
    ],
)
def test_a_number_is_found_beside_a_misread_word_and_at_either_end(
    model: str, heard: str, numbers: tuple[str, str]
) -> None:
    (number,) = compare(model, spoken(heard)).numbers
    assert (number.model, number.witness) == numbers


def test_a_disputed_number_is_neither_missing_nor_unseen_and_no_reason_for_doubt() -> None:
    testimony = compare(LETTER + " Сумма 1250 рублей", spoken(LETTER + " Сумма 1290 рублей"))
    assert len(testimony.numbers) == 1
    assert (testimony.recall, testimony.precision, verdict(testimony)) == (1.0, 1.0, "")


@pytest.mark.parametrize(
    ("model", "heard", "confidence"),
    [
        ("Сумма договора 1250 рублей ровно", "Сумма договора 1290 рублей ровно", 60.0),
        ("Сумма договора 1250 рублей ровно", "Сумма договора 250 рублей ровно", 95.0),
        ("Сумма договора СF259A рублей ровно", "Сумма договора CE258A рублей ровно", 95.0),
        ("первый 1250 второй", "третий 1290 четвёртый", 95.0),
        ("Сумма 1250 рублей и залог 1290 тенге", "Сумма 1290 рублей и залог 1250 тенге", 95.0),
    ],
)
def test_a_number_is_not_disputed_if_the_witness_may_be_wrong_or_it_may_be_another(
    model: str, heard: str, confidence: float
) -> None:
    assert compare(model, spoken(heard, confidence)).numbers == ()


def test_numbers_of_a_table_are_compared_though_the_witness_reads_by_columns() -> None:
    rows = [("Бумага", "25", "349"), ("Картридж", "3", "8450"), ("Папка", "40", "187"), ("Скоба", "7", "96")]
    words = [
        Word(
            text=cell, box=(200 * column, 40 * row, 200 * column + 90, 40 * row + 20), confidence=95, line=row
        )
        for column in range(3)
        for row, cell in enumerate(cells[column] for cells in rows)
    ]
    html = "<table>" + "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for cells in rows
    ).replace("8450", "8456")
    (number,) = compare(html + "</table>", words).numbers
    assert (number.model, number.witness) == ("8456", "8450")


def test_a_testimony_is_plain_data() -> None:
    data = compare("Сумма 1250 рублей", spoken("Сумма 1290 рублей")).to_json()
    assert data["recall"] == 1.0
    assert data["usable"] is False
    assert data["numbers"] == [
        {"model": "1250", "witness": "1290", "confidence": 95.0, "bbox": [58, 0, 98, 15]},
    ]


@pytest.mark.parametrize(
    ("recall", "missing_run", "precision", "unseen_run", "word"),
    [
        (0.95, 2, 0.95, 3, ""),
        (0.80, 2, 0.95, 3, "lacks 20 of 100"),
        (0.95, 5, 0.95, 3, "lacks 5 of 100"),
        (0.95, 2, 0.70, 3, "did not see 30 of the text's 100"),
        (0.95, 2, 0.93, 7, "did not see 7 of the text's 100"),
    ],
)
def test_the_verdict_goes_by_shares_and_by_stretches(
    recall: float, missing_run: int, precision: float, unseen_run: int, word: str
) -> None:
    reason = verdict(
        witness.Testimony(
            witness_words=100,
            unsure_words=5,
            model_words=100,
            recall=recall,
            precision=precision,
            order=1.0,
            missing_run=missing_run,
            unseen_run=unseen_run,
        )
    )
    assert word in reason
    assert bool(word) == bool(reason)


@given(st.text(max_size=12), st.text(max_size=12), st.integers(0, 4))
def test_a_distance_is_the_same_both_ways_and_grows_with_its_limit(one: str, other: str, most: int) -> None:
    assert within(one, other, most) == within(other, one, most)
    assert not within(one, other, most) or within(one, other, most + 1)
    assert within(one, one, 0)


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing_more(word: str) -> None:
    assert fold(fold(word)) == fold(word)
