"""Words as two readers wrote them, folded until the usual slips of OCR vanish, so that they can be compared."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ocrd.domain.documents import Word

_MATH = re.compile(
    r"\$\$[^$]{1,4000}\$\$|\\\[(?:(?!\\\[).){1,4000}?\\\]|\\\((?:(?!\\\().){1,1000}?\\\)"
    r"|\$(?=\S)[^$\n]{1,300}(?<=\S)\$(?!\d)",
    re.DOTALL,
)
"""A sum in dollars is no formula: a formula's `$` stands close to it, and no digit follows the second."""
_INLINE_TAG = re.compile(
    r"</?(?:b|i|u|s|a|em|strong|sup|sub|span|small|mark|del|ins|font|code)(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)
_TAG = re.compile(
    r"</?(?:table|thead|tbody|tfoot|tr|td|th|caption|colgroup|col|br|hr|p|div|ul|ol|li|h[1-6]|img|center|pre|html"
    r"|body)(?:\s[^<>]{0,2000})?/?>",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"!\[[^\[\]]{0,500}\]\([^()]{0,2000}\)")
_LINK = re.compile(r"\[([^\[\]]{1,500})\]\([^()\s]{0,500}\)")
_EMPHASIS = re.compile(r"\*\*|~~|`")
_COMMAND = re.compile(r"\\[A-Za-z]+|[\\{}^_&~]")
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    rf"[{_CJK}]|(?:(?![{_CJK}])[^\W_])(?:(?![{_CJK}])[^\W_]|[\u0300-\u036f\u00ad\u200b-\u200d])*"
)
_HYPHEN = re.compile(r"[-‐‑\u00ad][ \t]*\n\s*")
_ALIKE = str.maketrans(
    "авекмнорстухѕјіoliзб",
    "abekmh0pctyxsj101136",
)
"""Letters of one shape, of Cyrillic to Latin, and letters that are taken for digits; in small letters, but by the
shape of the capitals too (В, Н)."""


@dataclass(frozen=True, slots=True)
class Side:
    """A text as words: the folded key of each, its digits, and where it stands in the text."""

    text: str
    keys: list[str]
    digits: list[str]
    spans: list[tuple[int, int]]


def _cut(text: str) -> Side:
    """The words of a text; one that is hyphenated at a line's end is one word."""
    side = Side(text, [], [], [])
    for found in _TOKEN.finditer(text):
        start, end = found.span()
        key = fold(found.group())
        if not key:
            continue
        digits = "".join(letter for letter in found.group() if letter.isdecimal())
        if side.spans and not digits and not side.digits[-1]:
            before = side.spans[-1]
            if before[1] < start and _HYPHEN.fullmatch(text, before[1], start):
                side.keys[-1] += key
                side.spans[-1] = (before[0], end)
                continue
        side.keys.append(key)
        side.digits.append(digits)
        side.spans.append((start, end))
    return side


def fold(word: str) -> str:
    """A word without what two readers may write differently: case, accents, ё, alphabets of one look, O and 0."""
    if word.isascii():
        return word.casefold().translate(_ALIKE)
    bare = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in bare if letter.isalnum()).translate(_ALIKE)


def witness_side(words: Sequence[Word], confident: float) -> tuple[Side, list[bool], list[int]]:
    """Its words, which of them count, and the number of the `Word` that each comes from."""
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for number, word in enumerate(words):
        if number:
            new_line = word.line != words[number - 1].line or word.box[0] < words[number - 1].box[0]
            parts.append("\n" if new_line else " ")
            length += 1
        starts.append(length)
        parts.append(word.text)
        length += len(word.text)
    side = _cut("".join(parts))
    owner, number = [], 0
    for start, _ in side.spans:
        while number + 1 < len(starts) and starts[number + 1] <= start:
            number += 1
        owner.append(number)
    sure = [
        words[index].confidence >= confident and len(key) > 1
        for index, key in zip(owner, side.keys, strict=True)
    ]
    return side, sure, owner


def model_side(text: str) -> tuple[Side, list[bool]]:
    """Its words, and which of them count: those of formulas, which the witness cannot read, do not."""
    parts: list[str] = []
    formulas: list[tuple[int, int]] = []
    length = 0
    for part, is_formula in _segments(unicodedata.normalize("NFC", text)):
        plain = _COMMAND.sub(" ", part) if is_formula else strip_marks(part)
        if is_formula:
            formulas.append((length, length + len(plain)))
        parts.append(plain)
        length += len(plain)
    side = _cut("".join(parts))
    counted, ahead = [], iter([*formulas, (length + 1, length + 1)])
    first, last = next(ahead)
    for (start, _), key in zip(side.spans, side.keys, strict=True):
        while start >= last:
            first, last = next(ahead)
        counted.append(len(key) > 1 and start < first)
    return side, counted


def _segments(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a formula."""
    done = 0
    for found in _MATH.finditer(text):
        yield text[done : found.start()], False
        yield text[found.start() : found.end()], True
        done = found.end()
    yield text[done:], False


def strip_marks(text: str) -> str:
    """Markdown and HTML without their marks; a table's cells stand on lines of their own."""
    if "<" in text:
        text = _TAG.sub("\n", _INLINE_TAG.sub("", text))
    if "&" in text:
        text = html.unescape(text)
    if "](" in text:
        text = _LINK.sub(r"\1", _IMAGE.sub(" ", text))
    return _EMPHASIS.sub("", text)


def by_rows(words: Sequence[Word], owner: Sequence[int]) -> list[int]:
    """The witness's words row by row over the whole page, as a table is read."""
    place: dict[int, tuple[int, int]] = {}
    row, middle = -1, 0.0
    for number in sorted(set(owner), key=lambda index: words[index].box[1] + words[index].box[3]):
        left, top, _, bottom = words[number].box
        if row < 0 or (top + bottom) / 2 - middle > (bottom - top) / 2:
            row, middle = row + 1, (top + bottom) / 2
        place[number] = (row, left)
    return sorted(range(len(owner)), key=lambda index: (place[owner[index]], index))
