from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain import words
from ocrd.domain.words import Term

LETTERS = st.text(
    alphabet="абвгдеёжзийклмнопрстуфхцчшщъыьэюяabcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20
)
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)


def stems(text: str) -> list[str]:
    return [word.stem for word in words.words(words.normalize(text))]


@pytest.mark.parametrize(
    "forms",
    [
        ["договор", "договоры", "Договором", "ДОГОВОРУ", "договорах"],
        ["обработка", "обработки", "обра-\nботкой", "обра\u00adботку", "ОБРА-\n  ботка", "обрабо\u0301тка"],
        ["счёт", "счет", "счета", "счётом"],
        ["contract", "Contracts", "con-\ntracts", "CONTRACTED"],
        ["café", "cafe", "cafe\u0301"],
        ["file", "\ufb01le", "files"],
    ],
)
def test_the_forms_and_spellings_of_a_word_are_one(forms: list[str]) -> None:
    assert {tuple(stems(form)) for form in forms} == {tuple(stems(forms[0]))}
    assert len(stems(forms[0])) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("йод", "иод"), ("дом", "дым"), ("contract", "contrast"), ("12", "13")]
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert stems(one) != stems(other)


def test_a_dash_between_words_and_a_line_that_ends_in_a_number_join_nothing() -> None:
    assert stems("дом -\nсад") == ["дом", "сад"]
    assert stems("с 1-\n2 по 5") == ["с", "1", "2", "по", "5"]
    assert stems("Санкт-\nПетербург") == stems("санкт петербург")


def test_the_halves_of_a_divided_word_are_found_too() -> None:
    index = words.to_index("северо-\nзапад и дом").split()
    assert index[:3] == ["северозапад", "и", "дом"]
    assert index[3:] == stems("северо запад")


@given(ANY_TEXT)
def test_an_index_is_made_of_letters_and_digits_of_any_text(text: str) -> None:
    index = words.to_index(text)
    assert index.split(" ") == [stem for stem in index.split(" ") if stem.isalnum()] or index == ""


@given(ANY_TEXT)
def test_the_two_unicode_forms_of_a_text_have_one_index(text: str) -> None:
    assert words.to_index(unicodedata.normalize("NFD", text)) == words.to_index(text)


@given(LETTERS)
def test_a_word_is_found_by_itself_and_by_each_of_its_beginnings(word: str) -> None:
    (found,) = stems(word)
    (whole,) = words.parse([word])
    assert whole.accepts(0, found)
    (begun,) = words.parse([f"{word[: (len(word) + 1) // 2]}*"])
    assert begun.prefix
    (complete,) = words.parse([f"{word}*"])
    assert complete.accepts(0, found)


@pytest.mark.parametrize(
    ("asked", "terms"),
    [
        (["договор", "Аренды"], (Term(("договор",)), Term(("аренды",)))),
        (["договор аренды"], (Term(("договор", "аренды")),)),
        (['"договор аренды" 2024'], (Term(("договор", "аренды")), Term(("2024",)))),
        (['"договор аренды', ""], (Term(("договор", "аренды")),)),
        (["догов*"], (Term(("догов",), prefix=True),)),
        (["договор ар*"], (Term(("договор", "ар"), prefix=True),)),
        (["№", "--", '""', "*"], ()),
        (["e-mail", "1/2"], (Term(("e", "mail")), Term(("1", "2")))),
    ],
)
def test_what_is_asked_becomes_words_and_phrases(asked: list[str], terms: tuple[Term, ...]) -> None:
    assert words.parse(asked) == terms


def shown(text: str, *asked: str, width: int = 60) -> str:
    parts = words.snippet(text, words.parse(asked), width=width)
    return "".join(f"[{part.text}]" if part.marked else part.text for part in parts)


def test_a_snippet_shows_the_place_with_the_most_words_and_marks_them() -> None:
    text = "Аренда. " + "слово " * 60 + "Подписан договор\nаренды склада. " + "ещё " * 60 + "договор"
    assert (
        shown(text, "аренда", "договоры") == "…слово слово Подписан [договор] [аренды] склада. ещё ещё ещё…"
    )


def test_a_phrase_is_marked_only_where_it_stands_as_one() -> None:
    assert shown("аренда дома и договор аренды", "договоры аренды") == "аренда дома и [договор аренды]"


def test_a_divided_word_is_shown_in_one_piece() -> None:
    assert shown("Вся обра-\nботка\n\n данных", "обработки") == "Вся [обработка] данных"


def test_where_nothing_stands_the_beginning_is_shown() -> None:
    assert shown("Северо-\nЗапад. " + "слово " * 40, "дом").startswith("Северо- Запад. слово")


@given(ANY_TEXT, st.lists(LETTERS, min_size=1, max_size=3), st.integers(20, 200))
def test_a_snippet_is_short_whatever_the_text(text: str, asked: list[str], width: int) -> None:
    joined = "".join(part.text for part in words.snippet(text, words.parse(asked), width=width))
    assert len(joined) <= width + 2
    assert "\n" not in joined


@given(st.lists(st.sampled_from(["aa", "ab", "b", "cccccc"]), max_size=40), st.integers(4, 60))
def test_the_stretch_that_is_shown_is_the_best_of_all(text: list[str], width: int) -> None:
    """Against the plain definition: of the stretches from a hit on, most terms, then most hits, then the first."""
    found = list(words.words(" ".join(text)))
    hits = words._hits(found, words.parse(["a*", "ab", "b aa", "aa cccccc b"]))
    stretches = []
    for start, stop in sorted(hits):
        inside = [
            (first, last)
            for first, last in hits
            if (first, last) >= (start, stop) and found[last].end - found[start].start <= width // 2
        ] or [(start, stop)]
        score = len({hits[place] for place in inside}), len(inside)
        stretches.append((score, (start, max(last for _, last in inside))))
    best = max(stretches, key=lambda one: one[0], default=(None, None))
    assert words._best_window(found, hits, width) == best[1]
