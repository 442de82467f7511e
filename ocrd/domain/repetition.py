"""Finds text that runs in circles, at the end of an answer or in its middle, and in a stream while it comes. Pure.

Documents repeat themselves too: rows of dots, empty forms, invoices, statements. What tells a loop from them is how
often, how long, and whether anything changes. Detectors that look at the tail, or at how well a text can be compressed,
call forms and tables of contents loops and miss loops that count up or end well (compared on twenty cases).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ocrd.domain.documents import Block

MAX_PERIOD = 700
"""Characters of the longest pattern: a paragraph of half a page's width, seven lines."""
PROSE_LETTERS = 10
"""A pattern with fewer letters is a form's: dots, underscores, empty cells."""
PROSE_COUNT, PROSE_LENGTH = 6, 600
"""So often, and so many characters in all, no document says the same words without a break."""
FORM_COUNT, FORM_LENGTH = 60, 1500
"""Rows of an empty form: a page has room for 50."""
RUN_LENGTH = 400
"""One to three signs over and over, without a line break: a line of dots has 150 at most."""
COUNTER_COUNT = 40
"""The same words around numbers that only count up."""
CELLS_COUNT = 60
"""The same words in cells with any boxes."""
BLOCKS_COUNT, SHORT_BLOCKS_COUNT, SHORT_LETTERS = 12, 40, 8
"""Regions in a row with the same text; more if it is short ('0,00', 'да')."""
_WINDOW = 24
_STEP = 16
_NUMBER = re.compile(r"\d+")
_TAG = re.compile(r"<[^<>]*>|&[a-z]+;|\\n")


@dataclass(frozen=True, slots=True)
class Loop:
    """A stretch of a text (or, of blocks, their numbers) in which a pattern repeats."""

    start: int
    end: int
    pattern: str
    count: int


def find_loop(text: str) -> Loop | None:
    """The first loop of a text, wherever it stands. Positions are those of the text (with digits, of one in which each
    number is one sign)."""
    for run in _runs(text):
        if _is_loop(run):
            return run
    plain, numbers = _without_numbers(text)
    for run in _runs(plain):
        if _is_counter(run, plain, numbers):
            return run
    return None


def find_block_loop(blocks: Sequence[Block]) -> Loop | None:
    """Regions one after the other with the same text."""
    start = 0
    keys = ["".join(block.text.split()) for block in blocks]
    for index in range(1, len(keys) + 1):
        if index < len(keys) and keys[index] == keys[start]:
            continue
        count = index - start
        most = BLOCKS_COUNT if _letters(keys[start]) >= SHORT_LETTERS else SHORT_BLOCKS_COUNT
        if keys[start] and count >= most:
            return Loop(start, index, blocks[start].text, count)
        start = index
    return None


class LoopWatch:
    """Looks at a stream as it comes, also at JSON and HTML in the raw."""

    WINDOW = 8000
    """Characters that are looked at; 60 cells of JSON."""
    EVERY = 600
    """Characters between two looks: 30,000 characters cost 50 looks of about a millisecond."""

    def __init__(self) -> None:
        self._tail = ""
        self._new: list[str] = []
        self._unseen = 0

    def feed(self, chunk: str) -> Loop | None:
        """Add to the text; a loop if one is seen."""
        self._new.append(chunk)
        self._unseen += len(chunk)
        if self._unseen < self.EVERY:
            return None
        self._tail = (self._tail + "".join(self._new))[-self.WINDOW :]
        self._new, self._unseen = [], 0
        return find_loop(self._tail)


def _runs(text: str) -> Iterator[Loop]:
    """Stretches in which a pattern follows itself at least twice."""
    at, end = 0, len(text) - _WINDOW
    while at <= end:
        window = text[at : at + _WINDOW]
        again = text.find(window, at + 1, at + _WINDOW + MAX_PERIOD)
        if again < 0:
            at += _STEP
            continue
        period = again - at
        pattern = text[at:again]
        count = 2
        while text.startswith(pattern, at + count * period):
            count += 1
        yield Loop(at, at + count * period, pattern, count)
        at = max(at + _STEP, at + (count - 1) * period)


def _is_loop(run: Loop) -> bool:
    length = run.end - run.start
    if len(run.pattern) <= 3 and "\n" not in run.pattern:
        return length >= RUN_LENGTH and not run.pattern.isspace()
    if _letters(_TAG.sub("", run.pattern)) >= PROSE_LETTERS:
        return run.count >= PROSE_COUNT and length >= PROSE_LENGTH
    return run.count >= FORM_COUNT and length >= FORM_LENGTH


def _is_counter(run: Loop, plain: str, numbers: Sequence[int]) -> bool:
    """Whether only numbers change, and they count: every row of a statement has other sums. Cells of JSON may stand
    anywhere."""
    each = run.pattern.count("#")
    if run.count < COUNTER_COUNT or each == 0 or _letters(run.pattern) < PROSE_LETTERS:
        return False
    if '"bbox"' in run.pattern and run.count >= CELLS_COUNT:
        return True
    first = plain.count("#", 0, run.start)
    rows = [numbers[first + index * each : first + (index + 1) * each] for index in range(run.count)]
    return all(_counts([row[column] for row in rows]) for column in range(each))


def _counts(values: Sequence[int]) -> bool:
    """Whether numbers stay the same or change by the same amount each time."""
    step = values[1] - values[0]
    return all(later - earlier == step for earlier, later in itertools.pairwise(values))


def _without_numbers(text: str) -> tuple[str, list[int]]:
    """The text with a sign for each number, and the numbers; signs that stood there before are taken out."""
    text = text.replace("#", "")
    return _NUMBER.sub("#", text), [int(number[:18]) for number in _NUMBER.findall(text)]


def _letters(text: str) -> int:
    return sum(letter.isalpha() for letter in text)
