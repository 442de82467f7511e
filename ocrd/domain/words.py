"""Words as the search knows them: folded, cut to their stems in Russian and English, and found again in a text.

Index and query go through the same functions, so they always agree. A change here that makes other stems, also one of
the stemmer's, needs a migration that empties the index.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from snowballstemmer.english_stemmer import EnglishStemmer
from snowballstemmer.russian_stemmer import RussianStemmer

_LONGEST = 64
"""Characters of a word that count; what is longer is no word but a scanner's noise."""
_LINE_END = r"(?<=[^\W\d_])[-\u2010\u00ad\u00ac]\r?[ \t]*\n[ \t]*(?=[^\W\d_A-ZА-ЯЁ])"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[\u0300-\u036f\u00ad](?!\s)|{_LINE_END})*")
_HYPHENATED = re.compile(_LINE_END)
_QUERY = re.compile(r'"([^"]*)"?|(\S+)')

_russian, _english = RussianStemmer(), EnglishStemmer()


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: where it stands (`end` exclusive), and its stem."""

    start: int
    end: int
    stem: str


@dataclass(frozen=True, slots=True)
class Term:
    """Words that must follow one another, as folded words; mostly one. With `prefix` the last is only a beginning."""

    words: tuple[str, ...]
    prefix: bool = False

    def accepts(self, index: int, stem: str) -> bool:
        """Whether a stem of the text may stand at this place of the term."""
        if stem_of(self.words[index]) == stem:
            return True
        return self.prefix and index == len(self.words) - 1 and stem.startswith(self.words[index])


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a snippet; `marked` where it is what was looked for."""

    text: str
    marked: bool


def normalize(text: str) -> str:
    """The text in the form that all functions here count in (NFC)."""
    return unicodedata.normalize("NFC", text)


def fold(word: str) -> str:
    """Small letters, ё as е, no accents, no hyphen at a line's end: two spellings of a word become one."""
    word = word.casefold()
    if not word.isascii():
        word = "".join(map(_fold_letter, word)).replace("ё", "е")
    return "".join(filter(str.isalnum, word))[:_LONGEST]


def _fold_letter(letter: str) -> str:
    # й and ї are letters of their own; é and ﬁ are spellings.
    return letter if "\u0400" <= letter <= "\u04ff" else unicodedata.normalize("NFKD", letter)


@lru_cache(1 << 16)
def stem_of(folded: str) -> str:
    """What all forms of a word have in common: Russian for Cyrillic letters, English for Latin ones."""
    if any("а" <= letter <= "я" for letter in folded):
        return str(_russian.stemWord(folded))
    return str(_english.stemWord(folded)) if folded.isascii() and folded.isalpha() else folded


@lru_cache(1 << 14)
def _stem(word: str) -> str:
    return stem_of(fold(word))


def words(text: str) -> Iterator[Word]:
    """The words of a normalized text. One that is divided at a line's end is one word."""
    for match in _WORD.finditer(text):
        stem = _stem(match[0])
        if stem:
            yield Word(match.start(), match.end(), stem)


def to_index(text: str) -> str:
    """The stems of a text with blanks between them. The halves of a divided word stand at the end once more:
    nobody knows whether its hyphen belongs to it."""
    text = normalize(text)
    found = [word.stem for word in words(text)]
    for match in _WORD.finditer(text):
        if "\n" in match[0]:
            found += [_stem(half) for half in _HYPHENATED.split(match[0])]
    return " ".join(filter(None, found))


def parse(asked: Sequence[str]) -> tuple[Term, ...]:
    """What a user looks for. An argument with blanks is a phrase (a shell took its quotes away), and so is what
    stands in quotes; a star at the end stands for any ending."""
    terms: list[Term] = []
    for argument in map(normalize, asked):
        whole = '"' not in argument and len(argument.split()) > 1
        pieces = [argument] if whole else [a or b for a, b in _QUERY.findall(argument)]
        for piece in pieces:
            folded = tuple(filter(None, (fold(match[0]) for match in _WORD.finditer(piece))))
            if folded:
                terms.append(Term(folded, prefix=piece.rstrip().endswith("*")))
    return tuple(terms)


def to_match(terms: Sequence[Term]) -> str:
    """The terms, all of which must be there, in the query language of SQLite's FTS5."""
    return " AND ".join(map(_one_match, terms))


def _one_match(term: Term) -> str:
    stems = [stem_of(word) for word in term.words]
    phrase = f'"{" ".join(stems)}"'
    if not term.prefix:
        return phrase
    begun = f'"{" ".join([*stems[:-1], term.words[-1]])}" *'
    return f"({phrase} OR {begun})"


def snippet(text: str, terms: Sequence[Term], *, width: int) -> tuple[Part, ...]:
    """The stretch of a text, about `width` characters, with the most of what was looked for; blanks are made one."""
    text = normalize(text)
    found = list(words(text))
    hits = _hits(found, terms)
    begin, end = _with_surroundings(text, found, _best_window(found, hits, width), width)
    parts = [Part("…", marked=False)] if text[:begin].strip() else []
    at = begin
    for start, stop in sorted(hits):
        if found[start].start >= at and found[stop].end <= end:
            parts.append(Part(_squeeze(text[at : found[start].start]), marked=False))
            parts.append(Part(_squeeze(text[found[start].start : found[stop].end]), marked=True))
            at = found[stop].end
    parts.append(Part(_squeeze(text[at:end]), marked=False))
    if text[end:].strip():
        parts.append(Part("…", marked=False))
    return tuple(part for part in parts if part.text)


def _hits(found: Sequence[Word], terms: Sequence[Term]) -> dict[tuple[int, int], Term]:
    """First and last word of each place where a term stands."""
    hits = {}
    for at in range(len(found)):
        for term in terms:
            last = at + len(term.words) - 1
            if last < len(found) and all(
                term.accepts(index, found[at + index].stem) for index in range(len(term.words))
            ):
                hits[at, last] = term
    return hits


def _best_window(
    found: Sequence[Word], hits: dict[tuple[int, int], Term], width: int
) -> tuple[int, int] | None:
    """First and last word of the hits that are worth showing together: most terms, then most hits, then the first."""
    places = sorted(hits)
    best: tuple[tuple[int, int], tuple[int, int]] | None = None
    beyond = 0  # the first place that begins behind the window: a page may be full of hits, a window is not
    for index, (start, stop) in enumerate(places):
        limit = found[start].start + width // 2
        while beyond < len(places) and found[places[beyond][0]].start < limit:
            beyond += 1
        inside = [place for place in places[index:beyond] if found[place[1]].end <= limit] or [(start, stop)]
        score = len({hits[place] for place in inside}), len(inside)
        if best is None or score > best[0]:
            best = score, (start, max(place[1] for place in inside))
    return None if best is None else best[1]


def _with_surroundings(
    text: str, found: Sequence[Word], window: tuple[int, int] | None, width: int
) -> tuple[int, int]:
    """Where the snippet begins and ends: at words, with the hits in its middle."""
    if window is None:
        begin, end = 0, min(width, len(text))
    else:
        first, last = window
        spare = max(width - (found[last].end - found[first].start), 0)
        begin = max(found[first].start - spare // 2, 0)
        end = min(max(begin + width, found[last].end), len(text))
    inside = [word for word in found if word.start >= begin and word.end <= end]
    if not inside:
        return begin, end
    if begin > 0:
        begin = inside[0].start
    return begin, inside[-1].end if end < len(text) else end


def _squeeze(text: str) -> str:
    """One blank for each white space; a word that was divided at a line's end in one piece."""
    return re.sub(r"\s+", " ", _HYPHENATED.sub("", text))
