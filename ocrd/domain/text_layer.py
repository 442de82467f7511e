"""The text that a PDF page carries with it: is it the page's text, or garbage, a stamp on a scan, a part of it? Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ocrd.domain.scripts import CYRILLIC, LATIN, script_of, script_report

ENGINE = "text-layer"
MOST_BROKEN = 0.01
"""Share of the characters that stand for unknown ones (U+FFFD, control characters)."""
MOST_PRIVATE = 0.05
"""Share of the characters from a font's private range: bullets are, and a text of them is none."""
MOST_APART = 0.5
"""Share of the words that are one letter: more of them is a text set with gaps. Russian prose has 0.15."""
MOST_STRANGE = 0.1
"""Share of the words, each counted once, that nobody would write: without a vowel, or with capitals inside."""
MOST_MOJIBAKE = 0.05
MOST_MIXED = 0.05
FEW_WORDS = 4
"""Fewer words of a kind are an abbreviation, a code or a name, not a broken encoding."""
MOST_OUTSIDE = 0.3
"""Share of the page's ink that stands where the layer has no text."""
LEAST_OUTSIDE = 1.5e-3
"""Less ink than this, as a share of the page, is a logo: a line of 12 pt type has as much."""
MOST_BARE = 0.3
"""Share of the words that stand on bare paper: more of them, and the layer is not this page's."""
EARLIER_OCR = 0.3
"""The text of an earlier OCR must be so much better than one that the document was written with: what it missed or
misread can be read again."""

_CID = re.compile(r"\(?cid:\d+\)?")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_VOWELS = frozenset("aeiouyаеёиоуыэюяіїєўј")
_MOJIBAKE = re.compile(r"[À-ÖØ-öø-ÿ]{3,}|(?:[ÐÑ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]){2,}")
"""Cyrillic read as Western European: words of accented letters alone, or pairs that begin with Ð and Ñ."""
_CAPITAL_INSIDE = re.compile(r"[a-zа-яё][A-ZА-ЯЁ][a-zа-яё]*[A-ZА-ЯЁ]|^[a-zа-яё][A-ZА-ЯЁ]{2}")
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_SYMBOLS = {0xF0B7: "•", 0xF0A7: "▪", 0xF0D8: "➢", 0xF0FC: "✓", 0xAD: "-"}
"""What the signs of the fonts Symbol and Wingdings look like that word processors take for lists."""
_DROPPED = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x200B, 0xFEFF))
_CLEANED = _LIGATURES | _SYMBOLS | _DROPPED


@dataclass(frozen=True, slots=True)
class Coverage:
    """The page's ink, without rulings, against the boxes of the layer's words: the shares, from 0 to 1, of the page's area
    that are inked, and inked outside of all boxes; and of the words, those that have no ink in their box."""

    ink: float
    outside: float
    bare: float


def clean(text: str) -> str:
    """A word as it is stored: ligatures as letters, no control characters, one form of each letter."""
    return unicodedata.normalize("NFC", text.translate(_CLEANED)).strip()


def doubt_text(words: Sequence[str]) -> str:
    """Why these words (as the PDF has them) are no text that a reader could use; '' if nothing speaks against it."""
    text = " ".join(words)
    if not any(character.isalnum() for character in text):
        return "it has neither letters nor digits"
    return _doubt_characters("".join(words)) or _doubt_words(text)


def _doubt_characters(text: str) -> str:
    kinds = [unicodedata.category(character) for character in text]
    broken = sum(
        1 for kind, character in zip(kinds, text, strict=True) if kind == "Cc" or character == "\ufffd"
    )
    if broken > MOST_BROKEN * len(text):
        return f"{broken} of {len(text)} characters are unknown"
    private = sum(kind in {"Co", "Cn"} for kind in kinds)
    if private > MOST_PRIVATE * len(text):
        return f"{private} of {len(text)} characters mean something in their font only"
    return "its characters have numbers instead of names" if len(_CID.findall(text)) >= FEW_WORDS else ""


def _doubt_words(text: str) -> str:
    words = _WORD.findall(text.translate(_CLEANED))
    mojibake = len(_MOJIBAKE.findall(text))
    if mojibake >= FEW_WORDS and mojibake > MOST_MOJIBAKE * len(words):
        return f"{mojibake} words are in a wrong encoding"
    apart = sum(len(word) == 1 for word in words)
    if apart >= 5 * FEW_WORDS and apart > MOST_APART * len(words):
        return f"{apart} of {len(words)} words are single letters"
    report = script_report(" ".join(words))
    if len(report.mixed) >= FEW_WORDS and len(report.mixed) > MOST_MIXED * report.words:
        return f"{len(report.mixed)} of {report.words} words mix two alphabets"
    judged = {word for word in words if len(word) > 3 and script_of(word[0]) in {LATIN, CYRILLIC}}
    strange = sum(_is_strange(word) for word in judged)
    if strange >= FEW_WORDS and strange > MOST_STRANGE * len(judged):
        return f"{strange} of {len(judged)} words are no words"
    return ""


def _is_strange(word: str) -> bool:
    """No vowel although it is no abbreviation, or capitals amid small letters."""
    plain = unicodedata.normalize("NFD", word.lower())
    return not _VOWELS.intersection(plain) or _CAPITAL_INSIDE.search(word) is not None


def doubt_coverage(coverage: Coverage, *, scan: bool) -> str:
    """Why the layer is not the text of this page, seen from the ink; '' if it may be. On a scan it is from an earlier
    OCR."""
    strictness = EARLIER_OCR if scan else 1.0
    if coverage.bare > MOST_BARE * strictness:
        return f"{coverage.bare:.0%} of its words stand where nothing is printed"
    if coverage.outside > LEAST_OUTSIDE and coverage.outside > MOST_OUTSIDE * strictness * coverage.ink:
        return f"{coverage.outside / coverage.ink:.0%} of what is on the page stands outside of it"
    return ""
