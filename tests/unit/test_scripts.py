from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.scripts import script_report, unexpected

BOTH = ("rus", "eng")


def strange(text: str, *languages: str) -> str:
    return unexpected(script_report(text), languages or BOTH)


@pytest.mark.parametrize(
    "text",
    [
        "Общество с ограниченной ответственностью, invoice and total, 15 кг",
        "USB-кабель, IP-адрес, МС21, АИ-95, C++, Wi-Fi роутер, α и β, 20 мкм, №5" * 5,
        "Цитата из Торы: שלום, и дальше по-русски до самого конца страницы без остановки",
        "",
        "123 456",
    ],
)
def test_texts_of_these_languages_are_as_expected(text: str) -> None:
    assert strange(text) == ""


def test_another_script_is_told_by_name() -> None:
    assert "Hebrew" in strange("שלום עולם זה טקסט ארוך מאוד בעברית")
    assert "Cyrillic" in strange("Общество с ограниченной ответственностью", "eng")


def test_words_of_two_alphabets_are_told() -> None:
    mixed = "Дoгoвop пocтaвки тoвapa мeждy cтopoнaми"
    assert "mix two alphabets" in strange(mixed)


def test_letters_among_digits_and_digits_among_letters_are_told() -> None:
    assert script_report("2О24 год, дог0вор, 12З4").swapped == ("2О24", "дог0вор", "12З4")
    assert "digits" in strange("дог0вор постав0ка тов3ра между ст0ронами")


@pytest.mark.parametrize(
    "word", ["Al2O3", "H2O", "МС21", "5G", "4х4", "АИ-95", "кв. 3а", "XIX", "C++", "1О2-АБ"]
)
def test_codes_and_formulas_are_words(word: str) -> None:
    report = script_report(f"{word} " * 20)
    assert report.swapped == report.mixed == ()


def test_of_an_unknown_language_nothing_is_unexpected() -> None:
    assert strange("שלום עולם זה טקסט ארוך מאוד בעברית", "rus", "heb") == ""


@pytest.mark.parametrize(
    "text", ["аа0" + "а" * 500_000 + "z", "1О" + "1" * 500_000 + "z", "аа0аа-" * 90_000 + "z"]
)
@pytest.mark.timeout(20)
def test_a_word_of_half_a_million_letters_is_looked_at_in_time(text: str) -> None:
    assert script_report(text).swapped == ()


@given(st.text())
def test_any_text_can_be_reported_on(text: str) -> None:
    report = script_report(text)
    assert report.letters.total() == sum(letter.isalpha() for letter in text)
    assert len(report.mixed) <= report.words
