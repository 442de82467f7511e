"""Comparing a text with the truth: the same normalisation on both sides, then character errors and words found."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

CATASTROPHIC_CER = 0.5
"""From here on a page counts as not read at all."""
_FOLDED = {
    "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st",
    "\u00a0": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ",
    "\u00ad": "", "\u200b": "", "\u200c": "", "\u200d": "", "\ufeff": "",
}  # fmt: skip
_MARKS = {
    **dict.fromkeys("«»„“”", '"'),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("‐‑–—−", "-"),
    "…": "...",
}
_FOLD = str.maketrans(_FOLDED)
_MARK = str.maketrans(_MARKS)


@dataclass(frozen=True)
class Score:
    """`cer` is capped at 1; `recall` is the share of the truth's words that were found, in any order."""

    cer: float
    recall: float
    length_ratio: float

    @property
    def catastrophic(self) -> bool:
        return self.cer > CATASTROPHIC_CER


def normalise(text: str) -> str:
    """NFC, ligatures and odd blanks folded, words joined at line ends, plain quotes and dashes, one space for any."""
    text = unicodedata.normalize("NFC", text).translate(_FOLD)
    text = re.sub(r"(\w)[-‐]\n(\w)", r"\1\2", text)
    text = text.translate(_MARK)
    text = re.sub(r"_{3,}|\.{4,}", " ", text)
    return " ".join(text.split())


def score(text: str, truth: str, *, fold_case: bool = False) -> Score:
    """How good a text is. Both are normalised first."""
    read, wanted = normalise(text), normalise(truth)
    if fold_case:
        read, wanted = read.casefold(), wanted.casefold()
    if not wanted:
        return Score(float(bool(read)), 1.0, 1.0)
    cer = min(Levenshtein.distance(read, wanted) / len(wanted), 1.0)
    return Score(cer, word_recall(read, wanted), len(read) / len(wanted))


def word_recall(read: str, wanted: str) -> float:
    """The share of the wanted words that were read, as a multiset."""
    words = Counter(re.findall(r"\w+", wanted))
    if not words:
        return 1.0
    return (words & Counter(re.findall(r"\w+", read))).total() / words.total()
