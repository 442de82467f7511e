"""A second reader as a witness: does a model's text say what stands on the page, no less and no more?

The embedded engine reads the page as well. It makes other mistakes than a vision model: it misreads letters, but it
does not invent sentences, leave out paragraphs or repeat rows. So its words are compared with the model's text:
which of them the text lacks, what the text has that nobody saw, which numbers differ.

Both sides are cut into words that are folded until the usual slips of OCR vanish (case, ё, letters that look alike in
two alphabets, O and 0). They are aligned by what occurs once on both sides, three words in a row, then two, then one,
and from there word by word to the left and right: the way of P. Heckel, "A technique for isolating differences between
files", CACM 21 (1978). It takes linear time and follows text that stands elsewhere, so that columns in another order
do no harm. Tables, which Tesseract reads column by column, are aligned once more in the order of their rows. What is
left over is matched in any order.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ocrd.domain.documents import Box, Word

CONFIDENT = 85.0
"""Tesseract's confidence (0 to 100) from which its word counts. On 107 pages 99.7 % of the words that it is so sure of
stand in the truth, of the others 84 %."""
LEAST_WORDS = 4
"""A witness of fewer sure words is not heard."""
LEAST_SURE = 1 / 3
"""Nor one that is sure of a smaller share of its words: of handwriting it is sure of 2 to 9 %, of an invoice in tiny
type of 26 %, of the worst scanned receipt of 50 %."""
LEAST_RECALL = 0.88
"""Below this the text lacks too much. The lowest on an unharmed page of the half that thresholds were chosen on: 0.941
(Belarusian, a language that the witness had not been given); twice as much may be lacking."""
LEAST_PRECISION = 0.8
"""Below this too much of the text is unseen; lowest on such a page: 0.899 (Ukrainian), and twice as much may be."""
LEAST_WRONG = 4
"""So few words are no share: they may be all that the page has."""
MISSING_RUN = 5
"""Sure words in a row that the text lacks; on an unharmed page at most 3."""
UNSEEN_RUN = 6
"""Words of the text in a row that nobody saw; on an unharmed page at most 5 (a faint receipt)."""
RUNS_SHOWN = 3
"""So many stretches of missing and of unseen words are kept."""
RUN_LETTERS = 80
"""And so many characters of each."""
NUMBERS_SHOWN = 50
"""So many differing numbers are kept."""

_LONGEST_GAP = 12
"""Words between two aligned ones that are looked at together."""
_NEAR = 8
"""Matched words that follow each other this closely on both sides stand in the same order."""
_LONGEST_WORD = 40
"""Longer 'words' are compared as wholes only."""
_NONE, _DIM, _LOOSE, _ALIGNED = range(4)
"""What became of a word: no partner; none, but the witness saw something there; one in any order; one at its place."""
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
_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,:/'’-]\d+)*")
_ALIKE = str.maketrans(
    "авекмнорстухѕјіoliзб",
    "abekmh0pctyxsj101136",
)
"""Letters of one shape, of Cyrillic to Latin, and letters that are taken for digits; in small letters, but by the
shape of the capitals too (В, Н)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberDispute:
    """One number that was read in two ways; the box and the confidence (0 to 100) are the witness's."""

    model: str
    witness: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What the witness has to say of a model's text. Shares are from 0 to 1, and 1 where nothing was compared.

    Words of one letter are not counted: they are what Tesseract makes of rulings and specks.
    """

    witness_words: int
    """Words that the witness is sure of."""
    unsure_words: int
    """Its other words."""
    model_words: int
    """Words of the model's text outside formulas."""
    recall: float
    """Share of the witness's sure words that the text has."""
    precision: float
    """Share of the text's words that the witness saw, however dimly."""
    order: float
    """Share of neighbouring words that are neighbours in the text too; near 1 also if columns come in another order.
    Low for tables, which the witness reads by columns: so it has no part in the verdict."""
    missing: tuple[str, ...] = ()
    """The longest stretches, in the witness's words, that the text lacks."""
    missing_run: int = 0
    """Words in the longest of them."""
    unseen: tuple[str, ...] = ()
    """The longest stretches of the text that the witness did not see."""
    unseen_run: int = 0
    """Words in the longest of them."""
    numbers: tuple[NumberDispute, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the witness read enough to be heard at all."""
        return self.witness_words >= max(LEAST_WORDS, LEAST_SURE * (self.witness_words + self.unsure_words))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for the store and the `json` output."""
        return {
            "usable": self.usable,
            "witness_words": self.witness_words,
            "unsure_words": self.unsure_words,
            "model_words": self.model_words,
            "recall": round(self.recall, 4),
            "precision": round(self.precision, 4),
            "order": round(self.order, 4),
            "missing": list(self.missing),
            "unseen": list(self.unseen),
            "numbers": [
                {
                    "model": number.model,
                    "witness": number.witness,
                    "confidence": round(number.confidence, 1),
                    "bbox": list(number.box),
                }
                for number in self.numbers
            ],
        }


def verdict(testimony: Testimony) -> str:
    """Why the text is to be doubted, in plain words; empty if the witness has no reason to."""
    if not testimony.usable:
        return ""
    heard, said = testimony.witness_words, testimony.model_words
    lacking = round((1 - testimony.recall) * heard)
    invented = round((1 - testimony.precision) * said)
    if testimony.missing_run >= MISSING_RUN or _is_much(lacking, heard, LEAST_RECALL):
        return f"the text lacks {lacking} of {heard} words that the second reader saw{_example(testimony.missing)}"
    if testimony.unseen_run >= UNSEEN_RUN or _is_much(invented, said, LEAST_PRECISION):
        return (
            f"the second reader did not see {invented} of the text's {said} words{_example(testimony.unseen)}"
        )
    return ""


def _is_much(wrong: int, words: int, least: float) -> bool:
    return wrong >= LEAST_WRONG and words - wrong < least * words


def _example(runs: Sequence[str]) -> str:
    return f", e.g. «{runs[0]}»" if runs else ""


def compare(model_text: str, witness_words: Sequence[Word], *, confident: float = CONFIDENT) -> Testimony:
    """Compare a model's text (plain, Markdown, HTML tables, LaTeX) with the words of the second reader, in its reading
    order. `confident` is the confidence, 0 to 100, from which its word counts.

    Never raises, whatever the text; takes time linear in the words.
    """
    ours, sure, owner = _witness_side(witness_words, confident)
    theirs, counted = _model_side(model_text)
    match = _Match(ours.keys, ours.digits, theirs.keys, theirs.digits)
    orders = [list(range(len(ours.keys)))]
    match.align(orders[0])
    order = match.order_kept()
    if match.has_free_words():
        orders.append(_by_rows(witness_words, owner))
        match.align(orders[1])
    disputes = [dispute for kept in orders for dispute in match.resolve_gaps(kept)]
    match.take_leftovers()
    disputed = match.settle(disputes)
    for kept in orders:
        match.excuse(kept, sure)
    lacks = _runs(match.state_a, sure, ours)
    extra = _runs(match.state_b, counted, theirs)
    return Testimony(
        witness_words=sum(sure),
        unsure_words=sum(len(key) > 1 for key in ours.keys) - sum(sure),
        model_words=sum(counted),
        recall=_share(match.state_a, sure),
        precision=_share(match.state_b, counted),
        order=order,
        missing=tuple(run for _, run in lacks[:RUNS_SHOWN]),
        missing_run=lacks[0][0] if lacks else 0,
        unseen=tuple(run for _, run in extra[:RUNS_SHOWN]),
        unseen_run=extra[0][0] if extra else 0,
        numbers=tuple(_numbers(disputed, ours, theirs, owner, witness_words, confident))[:NUMBERS_SHOWN],
    )


# ---- both sides as words ----


@dataclass(frozen=True, slots=True)
class _Side:
    """A text as words: the folded key of each, its digits, and where it stands in the text."""

    text: str
    keys: list[str]
    digits: list[str]
    spans: list[tuple[int, int]]


def _cut(text: str) -> _Side:
    """The words of a text; one that is hyphenated at a line's end is one word."""
    side = _Side(text, [], [], [])
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


def _witness_side(words: Sequence[Word], confident: float) -> tuple[_Side, list[bool], list[int]]:
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


def _model_side(text: str) -> tuple[_Side, list[bool]]:
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


def _by_rows(words: Sequence[Word], owner: Sequence[int]) -> list[int]:
    """The witness's words row by row over the whole page, as a table is read."""
    place: dict[int, tuple[int, int]] = {}
    row, middle = -1, 0.0
    for number in sorted(set(owner), key=lambda index: words[index].box[1] + words[index].box[3]):
        left, top, _, bottom = words[number].box
        if row < 0 or (top + bottom) / 2 - middle > (bottom - top) / 2:
            row, middle = row + 1, (top + bottom) / 2
        place[number] = (row, left)
    return sorted(range(len(owner)), key=lambda index: (place[owner[index]], index))


# ---- which word is which ----


_Gap = tuple[list[int], list[int]]


class _Match:
    """Which word of the witness (a) is which of the model's (b), found step by step."""

    def __init__(self, a: list[str], a_digits: list[str], b: list[str], b_digits: list[str]) -> None:
        self.a, self.a_digits, self.b, self.b_digits = a, a_digits, b, b_digits
        self.to_b = [-1] * len(a)
        self.state_a = [_NONE] * len(a)
        self.state_b = [_NONE] * len(b)

    def pair(self, i: int, p: int, state: int) -> None:
        self.to_b[i] = p
        self.state_a[i] = self.state_b[p] = state

    def has_free_words(self) -> bool:
        return _NONE in self.state_a

    def order_kept(self) -> float:
        """Of aligned words that follow each other, the share that does so in the model's text too."""
        places = [p for p, state in zip(self.to_b, self.state_a, strict=True) if state == _ALIGNED]
        steps = len(places) - 1
        if steps < 1:
            return 1.0
        return sum(0 < after - before <= _NEAR for before, after in itertools.pairwise(places)) / steps

    def align(self, order: list[int]) -> None:
        """Align what is still free, reading the witness's words in the given order."""
        for size in (3, 2, 1):
            self._anchor(order, size)
            self._extend(order, 1)
            self._extend(order[::-1], -1)

    def _anchor(self, order: list[int], size: int) -> None:
        """Pair runs of `size` free words that occur once on both sides; a single word must be long enough to tell."""
        ours = _unique_grams(self.a, order, self.state_a, size)
        theirs = _unique_grams(self.b, range(len(self.b)), self.state_b, size)
        for gram, x in ours.items():
            p = theirs.get(gram, -1)
            if x < 0 or p < 0 or (size == 1 and len(gram[0]) < 4):
                continue
            if any(self.state_a[order[x + k]] or self.state_b[p + k] for k in range(size)):
                continue  # an overlapping run took them
            for k in range(size):
                self.pair(order[x + k], p + k, _ALIGNED)

    def _extend(self, order: list[int], step: int) -> None:
        """Pair the neighbours of paired words if they are alike."""
        for i, following in itertools.pairwise(order):
            if self.state_a[i] != _ALIGNED or self.state_a[following]:
                continue
            p = self.to_b[i] + step
            if 0 <= p < len(self.b) and not self.state_b[p] and self._same(following, p):
                self.pair(following, p, _ALIGNED)

    def _same(self, i: int, p: int) -> bool:
        """Whether two words at the same place are one, misread at most; digits must be the same."""
        one, other = self.a[i], self.b[p]
        return one == other or (
            self.a_digits[i] == self.b_digits[p] and within(one, other, max(len(one), len(other)) // 3)
        )

    def resolve_gaps(self, order: list[int]) -> list[_Gap]:
        """Look at what stands between aligned words: the same in other pieces is aligned, numbers are returned."""
        disputes = []
        for ours, theirs in self._gaps(order):
            if "".join(self.a[i] for i in ours) == "".join(self.b[p] for p in theirs):
                self._align_gap(ours, theirs)
            elif len(ours) == len(theirs):
                pairs = [([i], [p]) for i, p in zip(ours, theirs, strict=True) if self.a[i] != self.b[p]]
                disputes += [pair for pair in pairs if self._are_numbers(*pair)]
            elif self._are_numbers(ours, theirs):
                disputes.append((ours, theirs))
        return disputes

    def _are_numbers(self, ours: list[int], theirs: list[int]) -> bool:
        """Whether nothing but digits stands on both sides, and no fewer on the witness's: at a cell's edge it loses one."""
        mine, other = "".join(self.a[i] for i in ours), "".join(self.b[p] for p in theirs)
        return (
            mine == "".join(self.a_digits[i] for i in ours)
            and other == "".join(self.b_digits[p] for p in theirs)
            and mine not in other
        )

    def _align_gap(self, ours: list[int], theirs: list[int]) -> None:
        for i in ours:
            self.to_b[i] = theirs[0]
            self.state_a[i] = _ALIGNED
        for p in theirs:
            self.state_b[p] = _ALIGNED

    def _gaps(self, order: list[int]) -> Iterator[_Gap]:
        """Free words between two aligned ones, on both sides, if there are few and some on each.

        The text's start or end may stand for one of the two.
        """
        waiting: list[int] = []
        before = -1
        for i in [*order, -1]:
            if i >= 0 and self.state_a[i] != _ALIGNED:
                waiting.append(i)
                continue
            after = self.to_b[i] if i >= 0 else len(self.b)
            is_anchored = before >= 0 or i >= 0
            if is_anchored and 0 < len(waiting) <= _LONGEST_GAP and 1 < after - before <= _LONGEST_GAP + 1:
                between = list(range(before + 1, after))
                if not any(self.state_b[p] for p in between):
                    yield waiting, between
            waiting, before = [], after

    def take_leftovers(self) -> None:
        """Match what is free in any order: equal words, then words that differ by a letter, then words in two pieces."""
        places: dict[str, list[int]] = defaultdict(list)
        for p in reversed(range(len(self.b))):
            if not self.state_b[p]:
                places[self.b[p]].append(p)
        for i, key in enumerate(self.a):
            if not self.state_a[i] and places[key]:
                self.pair(i, places[key].pop(), _LOOSE)
        self._take_misread()
        self._take_pieces()

    def _take_misread(self) -> None:
        places: dict[str, list[int]] = defaultdict(list)
        for p in reversed(range(len(self.b))):
            if not self.state_b[p] and not self.b_digits[p]:
                for shorter in _shortened(self.b[p]):
                    places[shorter].append(p)
        for i, key in enumerate(self.a):
            if not self.state_a[i] and not self.a_digits[i]:
                found = self._first_free(places, key)
                if found is not None:
                    self.pair(i, found, _LOOSE)

    def _first_free(self, places: dict[str, list[int]], key: str) -> int | None:
        """The next word that differs from `key` by a letter; those that are taken are dropped on the way."""
        for shorter in _shortened(key):
            waiting = places.get(shorter, [])
            while waiting and self.state_b[waiting[-1]]:
                waiting.pop()
            if waiting:
                return waiting[-1]
        return None

    def _take_pieces(self) -> None:
        whole_b = {key: p for p, key in enumerate(self.b) if not self.state_b[p]}
        for i, _ in enumerate(self.a[:-1]):
            p = whole_b.get(self.a[i] + self.a[i + 1], -1)
            if p >= 0 and not (self.state_a[i] or self.state_a[i + 1] or self.state_b[p]):
                self.pair(i, p, _LOOSE)
                self.pair(i + 1, p, _LOOSE)
        whole_a = {key: i for i, key in enumerate(self.a) if not self.state_a[i]}
        for p, _ in enumerate(self.b[:-1]):
            i = whole_a.get(self.b[p] + self.b[p + 1], -1)
            if i >= 0 and not (self.state_b[p] or self.state_b[p + 1] or self.state_a[i]):
                self.pair(i, p, _LOOSE)
                self.state_b[p + 1] = _LOOSE

    def excuse(self, order: list[int], sure: Sequence[bool]) -> None:
        """Count words as seen where the witness read, unsure of it, something else between the same neighbours.

        Letter for letter, as far as those of the witness go.
        """
        letters, before = 0, -1
        for i in [*order, -1]:
            if i >= 0 and self.state_a[i] != _ALIGNED:
                letters += 0 if self.state_a[i] or sure[i] else len(self.a[i])
                continue
            after = self.to_b[i] if i >= 0 else len(self.b)
            if letters:
                self._excuse_between(before, after, letters)
            letters, before = 0, after

    def _excuse_between(self, before: int, after: int, letters: int) -> None:
        free = list(itertools.takewhile(lambda p: self.state_b[p] != _ALIGNED, range(before + 1, after)))
        if len(free) != after - before - 1:
            return  # not neighbours on the model's side
        for p in free:
            if self.state_b[p] == _NONE:
                letters -= len(self.b[p])
                if letters < 0:
                    return
                self.state_b[p] = _DIM

    def settle(self, disputes: Iterable[_Gap]) -> list[_Gap]:
        """The disputes about numbers that have no partner elsewhere; both readers saw a number there."""
        settled = []
        for ours, theirs in disputes:
            if not any(self.state_a[i] for i in ours) and not any(self.state_b[p] for p in theirs):
                self._align_gap(ours, theirs)
                settled.append((ours, theirs))
        return settled


def _unique_grams(
    keys: Sequence[str], order: Sequence[int], state: Sequence[int], size: int
) -> dict[tuple[str, ...], int]:
    """Runs of free words that occur once, with their place in `order`; -1 for those that occur again."""
    found: dict[tuple[str, ...], int] = {}
    free = 0
    for x, i in enumerate(order):
        free = 0 if state[i] else free + 1
        if free >= size:
            gram = tuple([keys[j] for j in order[x - size + 1 : x + 1]])
            found[gram] = -1 if gram in found else x - size + 1
    return found


def _shortened(key: str) -> list[str]:
    """A word, and the word less each of its letters: words that differ by one letter share one of these."""
    if not 5 <= len(key) <= _LONGEST_WORD:
        return []
    return [key, *(key[:k] + key[k + 1 :] for k in range(len(key)))]


def within(one: str, other: str, most: int) -> bool:
    """Whether two words differ by at most `most` letters put in, left out or changed. Words of more than 40 letters
    do so only if equal."""
    if one == other:
        return True
    if most < 1 or abs(len(one) - len(other)) > most or max(len(one), len(other)) > _LONGEST_WORD:
        return False
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row = row, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != wanted)))
        if min(row) > most:
            return False
    return row[-1] <= most


# ---- what follows from it ----


def _share(state: Sequence[int], counts: Sequence[bool]) -> float:
    """Of the words that count, the share that was matched."""
    total = sum(counts)
    matched = sum(1 for one, counted in zip(state, counts, strict=True) if counted and one)
    return matched / total if total else 1.0


def _runs(state: Sequence[int], counts: Sequence[bool], side: _Side) -> list[tuple[int, str]]:
    """The stretches of words without a partner, the longest first: how many words, and their text, shortened.

    A stretch is not broken by words that do not count, nor by a single one that was matched in any order: a common
    word finds a partner everywhere.
    """
    runs: list[list[int]] = [[]]
    loose = 0
    for i, (one, counted) in enumerate(zip(state, counts, strict=True)):
        if one == _NONE:
            loose = 0
            if counted:
                runs[-1].append(i)
            continue
        if one == _DIM:
            continue
        loose += 1
        if (one == _ALIGNED or loose > 1) and runs[-1]:
            runs.append([])
    runs.sort(key=len, reverse=True)
    return [(len(run), _excerpt(side, run)) for run in runs if run]


def _excerpt(side: _Side, run: Sequence[int]) -> str:
    start, end = side.spans[run[0]][0], side.spans[run[-1]][1]
    text = " ".join(side.text[start : min(end, start + 4 * RUN_LETTERS)].split())
    return text if len(text) <= RUN_LETTERS else text[: RUN_LETTERS - 1].rstrip() + "…"


def _numbers(
    disputed: Iterable[_Gap],
    ours: _Side,
    theirs: _Side,
    owner: Sequence[int],
    words: Sequence[Word],
    confident: float,
) -> Iterator[NumberDispute]:
    """The disputed numbers as both wrote them, in the witness's order, each once."""
    seen = set()
    for mine, other in sorted(disputed):
        confidence = min(words[owner[i]].confidence for i in mine)
        if confidence < confident:
            continue
        where = _printed(ours, mine), _printed(theirs, other)
        if where in seen:
            continue
        seen.add(where)
        (start, end), (first, last) = where
        yield NumberDispute(
            model=theirs.text[first:last],
            witness=ours.text[start:end],
            confidence=confidence,
            box=words[owner[mine[0]]].box,
        )


def _printed(side: _Side, run: Sequence[int]) -> tuple[int, int]:
    """Where the number stands that the words are part of, with its thousands and decimals."""
    start, end = side.spans[run[0]][0], side.spans[run[-1]][1]
    nearby = side.text[max(0, start - 40) : end + 40]
    offset = max(0, start - 40)
    for found in _NUMBER.finditer(nearby):
        if found.start() + offset <= start and end <= found.end() + offset:
            return found.start() + offset, found.end() + offset
    return start, end
