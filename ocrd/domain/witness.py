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

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ocrd.domain.alignment import ALIGNED, DIM, NONE, Alignment, Gap
from ocrd.domain.documents import Box, Word
from ocrd.domain.witness_words import Side, by_rows, model_side, witness_side

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
_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,:/'’-]\d+)*")


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
    ours, sure, owner = witness_side(witness_words, confident)
    theirs, counted = model_side(model_text)
    match = Alignment(ours.keys, ours.digits, theirs.keys, theirs.digits)
    orders = [list(range(len(ours.keys)))]
    match.align(orders[0])
    order = match.order_kept()
    if match.has_free_words():
        orders.append(by_rows(witness_words, owner))
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


def _share(state: Sequence[int], counts: Sequence[bool]) -> float:
    """Of the words that count, the share that was matched."""
    total = sum(counts)
    matched = sum(1 for one, counted in zip(state, counts, strict=True) if counted and one)
    return matched / total if total else 1.0


def _runs(state: Sequence[int], counts: Sequence[bool], side: Side) -> list[tuple[int, str]]:
    """The stretches of words without a partner, the longest first: how many words, and their text, shortened.

    A stretch is not broken by words that do not count, nor by a single one that was matched in any order: a common
    word finds a partner everywhere.
    """
    runs: list[list[int]] = [[]]
    loose = 0
    for i, (one, counted) in enumerate(zip(state, counts, strict=True)):
        if one == NONE:
            loose = 0
            if counted:
                runs[-1].append(i)
            continue
        if one == DIM:
            continue
        loose += 1
        if (one == ALIGNED or loose > 1) and runs[-1]:
            runs.append([])
    runs.sort(key=len, reverse=True)
    return [(len(run), _excerpt(side, run)) for run in runs if run]


def _excerpt(side: Side, run: Sequence[int]) -> str:
    start, end = side.spans[run[0]][0], side.spans[run[-1]][1]
    text = " ".join(side.text[start : min(end, start + 4 * RUN_LETTERS)].split())
    return text if len(text) <= RUN_LETTERS else text[: RUN_LETTERS - 1].rstrip() + "…"


def _numbers(
    disputed: Iterable[Gap],
    ours: Side,
    theirs: Side,
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


def _printed(side: Side, run: Sequence[int]) -> tuple[int, int]:
    """Where the number stands that the words are part of, with its thousands and decimals."""
    start, end = side.spans[run[0]][0], side.spans[run[-1]][1]
    nearby = side.text[max(0, start - 40) : end + 40]
    offset = max(0, start - 40)
    for found in _NUMBER.finditer(nearby):
        if found.start() + offset <= start and end <= found.end() + offset:
            return found.start() + offset, found.end() + offset
    return start, end
