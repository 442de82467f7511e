"""Are these the letters that the languages are written in, and do words keep to one alphabet? Pure."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LATIN, CYRILLIC, GREEK = "LATIN", "CYRILLIC", "GREEK"
LANGUAGES_OF = {
    "Arabic": ("ara", "fas", "urd", "pus", "snd", "uig"),
    "Armenian": ("hye",),
    "Bengali": ("ben", "asm"),
    "Cyrillic": ("rus", "ukr", "bel", "bul", "srp", "mkd", "kaz", "kir", "mon", "tat", "tgk"),
    "Devanagari": ("hin", "mar", "nep", "san"),
    "Georgian": ("kat",),
    "Greek": ("ell", "grc"),
    "Han": ("chi_sim", "chi_tra", "jpn"),
    "Hangul": ("kor",),
    "Hebrew": ("heb", "yid"),
    "Hiragana": ("jpn",),
    "Japanese": ("jpn",),
    "Katakana": ("jpn",),
    "Korean": ("kor",),
    "Latin": (
        *("eng", "deu", "fra", "spa", "ita", "por", "nld", "pol", "ces", "tur", "fin", "swe"),
        *("dan", "nor", "hun", "ron", "slk", "slv", "hrv", "est", "lav", "lit", "cat", "vie"),
    ),
    "Thai": ("tha",),
}
"""Tesseract's codes of languages by the scripts that its detector names (its `osd` data), the most usual first."""
_SCRIPTS_OF = {
    language: script for script in (LATIN, CYRILLIC, GREEK) for language in LANGUAGES_OF[script.capitalize()]
}
"""Scripts by Tesseract's codes. Of languages that are not listed nothing is known, and nothing is unexpected."""
ALWAYS = frozenset({LATIN, GREEK})
"""Abbreviations, units, names and formulas stand in texts of all languages."""
UNEXPECTED_SHARE, UNEXPECTED_LETTERS = 0.1, 12
"""More letters of other scripts than this: a quotation in Hebrew or a stamp in Chinese is less."""
MIXED_SHARE, MIXED_WORDS = 0.05, 4
"""More words that mix two alphabets than this: on clean text of either language there is none."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_SWAPPED = re.compile(
    r"(?<![\w.,-])(?:\d++[OОoоЗ]\d++|[а-яё]{2,}+[03][а-яё]{2,}+)(?![\w.,-]*[^\W\d_])",
)
"""`2О24` and `дог0вор`. A formula (Al2O3), a code (МС21, 4G) and a size (4х4) look otherwise.

The quantifiers give nothing back: a shorter match would leave a letter or digit behind and fail after another look at
the whole rest of the word, which takes minutes for a megabyte without a space."""


@dataclass(frozen=True, slots=True)
class ScriptReport:
    """Letters by script, words of three letters and more, and what is wrong in words: those that mix Cyrillic and Latin
    letters, and those with a letter for a digit or a digit for a letter (О and 0, З and 3)."""

    letters: Counter[str]
    words: int
    mixed: tuple[str, ...]
    swapped: tuple[str, ...] = ()


def script_report(text: str) -> ScriptReport:
    """Count. Words end at digits and hyphens, so that `USB-кабель` and `МС21` mix nothing."""
    letters = Counter(script_of(letter) for letter in text if letter.isalpha())
    words = _WORD.findall(text)
    mixed = tuple(word for word in words if {LATIN, CYRILLIC} <= {script_of(letter) for letter in word})
    return ScriptReport(letters, len(words), mixed, tuple(_SWAPPED.findall(text)))


@functools.lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """The first word of the letter's name in Unicode: LATIN, CYRILLIC, CJK …; signs of units are Latin."""
    name = unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]
    return (
        LATIN
        if name in {"FEMININE", "MASCULINE", "MICRO", "SCRIPT", "MATHEMATICAL", "MODIFIER", "FULLWIDTH"}
        else name
    )


def unexpected(report: ScriptReport, languages: Iterable[str]) -> str:
    """Why these letters are not those of the languages (Tesseract's codes); '' if they are."""
    languages = tuple(languages)
    if not languages or any(language not in _SCRIPTS_OF for language in languages):
        return ""
    expected = ALWAYS | {_SCRIPTS_OF[language] for language in languages}
    others = {script: number for script, number in report.letters.items() if script not in expected}
    strange, total = sum(others.values()), sum(report.letters.values())
    if strange >= UNEXPECTED_LETTERS and strange > UNEXPECTED_SHARE * total:
        worst = max(others, key=lambda script: others[script]).capitalize()
        return f"{strange} of {total} letters are of scripts that are not expected, most of them {worst}"
    wrong = report.mixed + report.swapped
    if len(wrong) >= MIXED_WORDS and len(wrong) > MIXED_SHARE * report.words:
        what = "mix two alphabets" if report.mixed else "have digits for letters, or letters for digits"
        return f"{len(wrong)} of {max(report.words, len(wrong))} words {what}, e.g. {wrong[0]}"
    return ""
