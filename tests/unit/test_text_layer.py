"""Judging a text layer: sound texts of either language, and what broken encodings make of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.geometry import RenderSize
from ocrd.domain.text_layer import Coverage, clean, doubt_coverage, doubt_text
from ocrd.pipeline.text_layout import parse_layout, to_blocks

RUSSIAN = (
    "Договор вступает в силу с момента его подписания и действует до полного исполнения сторонами своих обязательств. "
    "Стоимость услуг составляет 120 млрд руб., НДС и ВВП не облагаются; оплата производится в течение десяти дней."
)
ENGLISH = (
    "The agreement comes into force when it is signed, and stays so until both parties have done what they promised. "
    "See http://www.example.org/html for the CSR of MPs; invoice No. 4711-A, total 1,234.56 EUR incl. VAT."
)


@pytest.mark.parametrize(
    "text", [RUSSIAN, ENGLISH, "14", "1.234,56 €", "第三条 合同自签字之日起生效", "• one • two"]
)
def test_sound_texts_are_taken(text: str) -> None:
    assert doubt_text(text.split()) == ""


def mojibake(text: str) -> str:
    return text.encode("cp1251").decode("latin-1")


def utf8_as_cp1252(text: str) -> str:
    return text.encode().decode("cp1252", errors="replace").replace("\ufffd", "")


def shifted(text: str) -> str:
    """Numbers of glyphs taken for characters: what a font without a table of its characters gives."""
    return "".join(chr(ord(letter) - 29) if 61 < ord(letter) < 127 else letter for letter in text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither"),
        ("— … ·", "neither"),
        (mojibake(RUSSIAN), "wrong encoding"),
        (utf8_as_cp1252(RUSSIAN), "wrong encoding"),
        (shifted(ENGLISH), ""),
        (RUSSIAN.replace("о", "\ufffd"), "unknown"),
        (ENGLISH.replace("e", "\x03"), "unknown"),
        ("".join(chr(0xF020 + ord(letter) % 90) for letter in ENGLISH), "neither"),
        (RUSSIAN + "".join(f" {chr(0xE000 + number)}" for number in range(40)), "their font only"),
        ("(cid:12) (cid:7) (cid:123) (cid:9)", "numbers instead of names"),
        (" ".join(ENGLISH.replace(" ", "")), "single letters"),
        (RUSSIAN.replace("о", "o").replace("а", "a"), "mix two alphabets"),
        ("qWrTpSdF gHjKlZxC vBnMqWrT pLkJhGfD sDfGhJkL", "no words"),
    ],
)
def test_broken_texts_are_refused(text: str, why: str) -> None:
    found = doubt_text(text.split())
    assert found
    assert why in found


@given(st.lists(st.text(max_size=30), max_size=60))
def test_any_text_is_judged_and_cleaned(words: list[str]) -> None:
    assert isinstance(doubt_text(words), str)
    for word in words:
        once = clean(word)
        assert clean(once) == once
        assert not any(character < " " or "\x7f" <= character < "\xa0" for character in once)


def test_cleaning_spells_ligatures_out_and_keeps_letters() -> None:
    assert clean("o\ufb03ce") == "office"
    assert clean("и\u0306") == "й"
    assert clean("\uf0b7") == "•"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_an_earlier_ocr_is_judged_more_strictly(ink: float, outside: float, bare: float) -> None:
    coverage = Coverage(ink=ink, outside=min(ink, outside), bare=bare)
    if not doubt_coverage(coverage, scan=True):
        assert not doubt_coverage(coverage, scan=False)


def test_a_stamp_does_not_cover_a_scan() -> None:
    assert "outside" in doubt_coverage(Coverage(ink=0.08, outside=0.07, bare=0.0), scan=False)
    assert not doubt_coverage(Coverage(ink=0.08, outside=0.01, bare=0.0), scan=False)
    assert not doubt_coverage(Coverage(ink=0.001, outside=0.0009, bare=0.0), scan=False)
    assert "nothing is printed" in doubt_coverage(Coverage(ink=0.08, outside=0.0, bare=0.6), scan=False)


# --- what poppler prints --------------------------------------------------------------------------------------

WORD = '<word xMin="10.0" yMin="20.0" xMax="30.0" yMax="28.0">{}</word>'
SIZE = RenderSize(144.0, 200, 100)


def printed(*words: str) -> str:
    inner = "\n".join(words)
    return f'<page width="100" height="50">\n<flow>\n<block xMin="0">\n<line xMin="0">\n{inner}\n</line></block></flow></page>'


def test_boxes_are_in_pixels_and_stay_on_the_page() -> None:
    far = '<word xMin="500" yMin="20" xMax="510" yMax="28">away</word>'
    over = '<word xMin="90" yMin="40" xMax="300" yMax="90">edge</word>'
    (page,) = parse_layout(printed(WORD.format("A &lt; B &amp; C"), far, over))
    (block,) = to_blocks(page, SIZE)
    assert block.words is not None
    assert [(word.text, word.box) for word in block.words] == [
        ("A < B & C", (20, 40, 60, 56)),
        ("edge", (180, 80, 200, 100)),
    ]
    assert block.text == "A < B & C edge"


@given(st.text(max_size=400))
def test_whatever_stands_in_a_word_the_parser_goes_on(text: str) -> None:
    pages = parse_layout(printed(WORD.format(text), WORD.format("after")))
    for page in pages:
        for block in to_blocks(page, SIZE):
            left, top, right, bottom = block.box
            assert 0 <= left < right <= SIZE.width
            assert 0 <= top < bottom <= SIZE.height


@given(st.text(alphabet='<>/="page block line word xMin yMax0123456789.-\n&;#x', max_size=600))
def test_any_output_is_parsed(text: str) -> None:
    for page in parse_layout(text):
        assert list(page.words()) is not None
