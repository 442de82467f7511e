from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.documents import Block
from ocrd.domain.repetition import LoopWatch, find_block_loop, find_loop

RUSSIAN = (
    "Договор поставки № 15 от 1 февраля 2026 года. Общество с ограниченной ответственностью «Ромашка», именуемое в "
    "дальнейшем Поставщик, и индивидуальный предприниматель Лютиков, именуемый Покупатель, заключили настоящий договор. "
    "Поставщик обязуется передать в собственность Покупателя канцелярские товары, а Покупатель принять и оплатить их.\n"
)
ENGLISH = (
    "This agreement is made between the supplier and the customer on the date above. The supplier shall deliver the "
    "goods listed in the schedule, and the customer shall pay for them within thirty days of receipt of the invoice.\n"
)
PARAGRAPH = (
    "Стороны договорились о том, что поставка осуществляется партиями по заявкам покупателя, направленным по электронной "
    "почте не позднее чем за пять рабочих дней до желаемой даты отгрузки, при этом минимальный объём одной партии не "
    "может быть менее десяти упаковок каждого наименования, если иное не согласовано сторонами письменно, а претензии по "
    "количеству и качеству товара принимаются в течение трёх дней с момента подписания накладной обеими сторонами. "
)
NAMES = ("Бумага", "Скрепки", "Клей", "Папка", "Ручка", "Степлер", "Ластик", "Файл", "Тетрадь", "Маркер")


def rows(number: int, seed: int = 1) -> list[tuple[int, str, int, int]]:
    rng = random.Random(seed)
    return [(row + 1, rng.choice(NAMES), rng.randint(1, 99), rng.randint(100, 9999)) for row in range(number)]


FINE = {
    "a Russian page": RUSSIAN * 1 + ENGLISH + PARAGRAPH,
    "an English page": ENGLISH + RUSSIAN,
    "a table of contents": "\n".join(
        f"{n}. Раздел {NAMES[n % 10]} {'.' * (90 - n)} {n * 3 + 1}" for n in range(1, 40)
    ),
    "a form with underscores": "\n".join(f"{name}: {'_' * 70}" for name in NAMES * 2)
    + "\n"
    + "\n".join(["_" * 100] * 12),
    "an empty form of 12 rows": "<table>" + "<tr><td></td><td></td><td></td></tr>" * 12 + "</table>",
    "an empty form of 40 rows": "<table>" + "<tr><td></td><td></td></tr>" * 40 + "</table>",
    "an invoice of 30 rows": "<table>"
    + "".join(
        f"<tr><td>{n}</td><td>Услуги связи</td><td>{p},00</td><td>{p * q},00</td></tr>"
        for n, _, p, q in rows(30)
    )
    + "</table>",
    "a price list of 60 rows": "\n".join(f"{name} № {n * 7 % 100} 150,00 руб." for n, name, _, _ in rows(60)),
    "a statement of 100 rows": "\n".join(
        f"{n % 28 + 1:02d}.02.2026 Перевод {p * q},{p:02d} Итого: 0,00" for n, _, p, q in rows(100)
    ),
    "six equal rows": RUSSIAN + "Итого: 0,00 руб.\n" * 6 + ENGLISH,
    "a chess score": " ".join(f"{n}. e{n % 8 + 1} d{p % 8 + 1}" for n, _, p, _ in rows(60)),
    "a poem with a refrain": "\n".join(
        f"Вот дом номер {name}, который построил Джек.\nА это пшеница, {name}." for name in NAMES
    ),
    "numbered lines": "\n".join(f"{n}." for n in range(1, 60)),
    "a calendar": "\n".join(" ".join(f"{d:2d}" for d in range(w * 7 + 1, w * 7 + 8)) for w in range(5)) * 6,
    "six equal rows of a hundred": "\n".join(
        "Итого: 0,00 руб." if n % 17 == 1 else f"{n % 28 + 1:02d}.02.2026 Перевод {p * q},{p:02d}"
        for n, _, p, q in rows(100)
    ),
    "a price list of equal prices": "\n".join(
        f"{n}\tТовар {p * q}\tшт\t1\t150,00\t150,00" for n, _, p, q in rows(60)
    ),
    "long dotted lines": ("." * 150 + "\n") * 40,
    "a table of contents with spaced dots": "\n".join(
        f"{n}. {name} {'. ' * 70}{p}" for n, name, p, _ in rows(50)
    ),
    "a page of signatures": "________________ (подпись) ________________ (Ф.И.О.)\n" * 25,
    "a sheet of labels": "ООО «Ромашка», г. Москва, ул. Ленина, д. 1, кв. 5\n" * 24,
    "an empty numbered form": "<table>"
    + "".join(f"<tr><td>{n}</td><td></td><td></td></tr>" for n in range(1, 51)),
    "a list of numbers in turn": "\n".join(f"Серийный номер: AB{4100200 + n}" for n in range(45)),
    "a refrain": "Эй, ухнем! Эй, ухнем! Ещё разик, ещё раз!\n" * 20,
    "a sheet of business cards": (
        "ООО «Ромашка»\nИванова Мария Петровна, начальник отдела продаж\nг. Москва, ул. Ленина, д. 1, офис 15\n"
        "тел. (495) 123-45-67, почта m.ivanova@example.org, сайт example.org\n"
    )
    * 10,
    "rows of the same service": (
        "| Услуги связи по договору оказания услуг за отчётный период согласно акту | шт | 1 | 150,00 |\n"
    )
    * 30,
    "columns kept apart by spaces": "\n".join(f"{name}{' ' * 400}{p}" for _, name, p, _ in rows(30)),
    "dashes between parts": ("-" * 120 + "\n" + RUSSIAN) * 3,
}
LOOPS = {
    "dots at the end": RUSSIAN + "." * 900,
    "underscores at the end": RUSSIAN + "_" * 900,
    "a phrase": RUSSIAN + "и так далее и тому подобное " * 60,
    "a sentence": ENGLISH + "The customer shall pay for the goods within thirty days. " * 12,
    "empty cells": "<table>" + "<tr><td></td><td></td></tr>" * 150,
    "a loop that closes well": '[{"bbox": [1,2,3,4], "category": "Text", "text": "' + "оплата счёта " * 80 + '"}]',
    "a long paragraph": RUSSIAN + PARAGRAPH * 8,
    "a counter": RUSSIAN + "".join(f"Позиция номер {n} без изменений. " for n in range(80)),
    "in the middle": RUSSIAN + "Сведения отсутствуют и не представлены. " * 30 + ENGLISH + PARAGRAPH,
    "dots, and the end of the answer": '[{"bbox": [1,2,3,4], "text": "' + RUSSIAN + "." * 500 + '"}]',
    "a short phrase": RUSSIAN + "и так далее " * 60,
    "a short sentence": RUSSIAN + "Товар отгружен и оплачен. " * 12,
    "a sentence on each line": ENGLISH + "The customer shall pay for the goods in full and within thirty days of receipt.\n" * 12,
    "spaces": RUSSIAN + " " * 4000 + ENGLISH,
    "cells in one row": "<table><tr>" + "<td></td>" * 150,
    "a short counter": RUSSIAN + "".join(f"Позиция {n}. " for n in range(80)),
    "a counter of days": "".join(f"{n % 28 + 1:02d}.02.2026 Оплата поставщику\n" for n in range(150)),
    "a very long paragraph": (RUSSIAN + PARAGRAPH + ENGLISH)[:900] * 6,
    "forty cells": json.dumps(
        [{"bbox": [10 + n % 3, 9 * n, 500 - n % 7, 9 * n + 8], "category": "Text", "text": "Итого к оплате"} for n in range(40)], ensure_ascii=False
    ),
    "cells in turn": json.dumps(
        [{"bbox": [n % 9, 9 * n, 500, 9 * n + 8], "category": "Text", "text": ("Итого", "Сумма с НДС")[n % 2]} for n in range(80)], ensure_ascii=False
    ),
    "cells with moving boxes": json.dumps(
        [{"bbox": [10, 9 * n, 500, 9 * n + 8], "category": "Text", "text": "Итого к оплате"} for n in range(80)], ensure_ascii=False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_documents_that_repeat_themselves_are_no_loops(name: str) -> None:
    assert find_loop(FINE[name]) is None


@pytest.mark.parametrize("name", LOOPS)
def test_loops_of_all_forms_are_found(name: str) -> None:
    text = LOOPS[name]
    loop = find_loop(text)
    assert loop is not None
    assert loop.count >= 6
    assert text[loop.start :].startswith(loop.pattern)
    assert 0 <= loop.start < loop.end <= len(text)
    assert loop.share == pytest.approx((loop.end - loop.start) / len(text))


@pytest.mark.parametrize("name", FINE)
def test_a_watch_lets_documents_pass(name: str) -> None:
    watch = LoopWatch()
    raw = json.dumps(FINE[name], ensure_ascii=False)
    assert [watch.feed(raw[at : at + 3]) for at in range(0, len(raw), 3)].count(None) == len(
        range(0, len(raw), 3)
    )


ENDLESS = {
    "dots": ".",
    "spaces": "  ",
    "line ends": "\n",
    "a phrase": "и так далее и тому подобное ",
    "cells": "<tr><td></td><td></td></tr>",
    "a paragraph": PARAGRAPH,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_watch_ends_what_never_ends(name: str) -> None:
    watch = LoopWatch()
    for letter in RUSSIAN * 1 + ENGLISH:
        assert watch.feed(letter) is None
    fed = 0
    while watch.feed(ENDLESS[name]) is None:
        fed += len(ENDLESS[name])
        assert fed < 9000, "it was not seen"


def test_a_watch_ends_a_counter_and_moving_cells() -> None:
    for make in (
        lambda n: f"Позиция номер {n} без изменений. ",
        lambda n: (
            json.dumps({"bbox": [10, 9 * n, 500, 9 * n + 8], "category": "Text", "text": "Итого к оплате"})
            + ", "
        ),
    ):
        watch = LoopWatch()
        assert any(watch.feed(make(n)) is not None for n in range(200))


def test_a_watch_is_cheap() -> None:
    """30,000 characters of a page, three at a time; it takes 0.03 s."""
    text = "".join(f"{n} {RUSSIAN}" for n in range(90))[:30_000]
    watch = LoopWatch()
    began = time.process_time()
    for at in range(0, len(text), 3):
        assert watch.feed(text[at : at + 3]) is None
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10**6,
        "ab " * 300_000,
        "<td></td>" * 100_000,
        "".join(map(str, range(160_000))),
        " " * 10**6,
        f"{random.Random(3).getrandbits(10**6):b}".translate({48: "a", 49: "b"}),
        " ".join(f"{random.Random(3).getrandbits(1_600_000):o}"),
        "<" * 10**6,
        '"bbox":[' * 120_000,
    ],
    ids=["a", "ab", "cells", "digits", "spaces", "two letters", "numbers", "tags", "boxes"],
)
def test_a_million_characters_are_looked_at_in_time(text: str) -> None:
    began = time.process_time()
    find_loop(text)
    assert time.process_time() - began < 4.0, "a quarter of this on a quiet machine"


@given(st.integers(0, 40), st.integers(12, 30))
def test_each_time_is_counted(before: int, times: int) -> None:
    loop = find_loop(RUSSIAN[:before] + "\n" + "Товар отгружен и оплачен. " * times + "#")
    assert loop is not None
    assert loop.count == times


@given(st.text(max_size=300))
def test_a_short_text_is_never_a_loop(text: str) -> None:
    assert find_loop(text) is None


# --- regions ------------------------------------------------------------------------------------------------


def regions(*texts: str) -> list[Block]:
    return [Block(category="Text", box=(0, 9 * n, 100, 9 * n + 8), text=text) for n, text in enumerate(texts)]


def test_regions_with_the_same_text_are_a_loop() -> None:
    loop = find_block_loop(regions("Шапка", *["Итого к оплате"] * 40, "Подпись"))
    assert loop is not None
    assert (loop.start, loop.end, loop.count) == (1, 41, 40)


def test_a_column_of_equal_sums_is_none() -> None:
    assert find_block_loop(regions(*["0,00"] * 30)) is None
    assert find_block_loop(regions(*["Итого: 0,00 руб."] * 6)) is None
    assert find_block_loop(regions(*["ООО «Ромашка», ул. Ленина, д. 1"] * 24)) is None
    assert find_block_loop(regions(*[f"Перевод {n * n}" for n in range(100)])) is None
    assert find_block_loop(regions(*[""] * 200)) is None
    assert find_block_loop([]) is None


def test_regions_in_turn_and_regions_that_count_are_a_loop() -> None:
    loop = find_block_loop(regions("Шапка", *["Итого", "Сумма с НДС"] * 20))
    assert loop is not None
    assert (loop.start, loop.end, loop.count) == (1, 41, 20)
    assert find_block_loop(regions(*[f"Позиция номер {n} без изменений" for n in range(80)])) is not None


@given(st.lists(st.sampled_from(["", "да", "Итого к оплате", "Позиция 1", "Позиция 2"]), max_size=29))
def test_a_few_regions_are_never_a_loop(texts: list[str]) -> None:
    assert find_block_loop(regions(*texts)) is None


@given(st.text(alphabet="аб 1\n", min_size=1, max_size=30), st.integers(0, 400))
def test_a_loop_lies_within_the_text_that_repeats(pattern: str, count: int) -> None:
    text = ENGLISH + pattern * count + RUSSIAN
    loop = find_loop(text)
    if loop is not None:
        assert loop.start >= len(ENGLISH) - len(pattern) - 1
        assert loop.end <= len(ENGLISH) + len(pattern) * (count + 1) + 1


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_watch_is_never_quicker_to_judge_than_the_last_look(size: int) -> None:
    for text in (*FINE.values(), *LOOPS.values()):
        watch = LoopWatch()
        if any(watch.feed(text[at : at + size]) is not None for at in range(0, len(text), size)):
            assert find_loop(text) is not None
