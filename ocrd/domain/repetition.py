"""Finds text that runs in circles, at the end of an answer or in its middle, and in a stream while it comes. Pure.

Documents repeat themselves too: rows of dots, empty forms, invoices, sheets of labels. What tells a loop from them is
how often, how long, whether lines are broken in between (a page has room for some fifty), and whether anything changes.
Detectors that look at the tail, or at how well a text can be compressed, call forms and tables of contents loops and
miss loops that count up or end well (compared on twenty cases).
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ocrd.domain.documents import Block

MAX_PERIOD = 1000
"""Characters of the longest pattern: a paragraph of ten lines."""
PROSE_LETTERS = 8
"""A pattern with fewer letters is a form's: dots, underscores, empty cells."""
INLINE_COUNT, INLINE_LENGTH = 10, 250
"""So often, and so many characters in all, nobody writes the same words without a line's end."""
PROSE_COUNT, PROSE_LENGTH = 6, 600
"""So often nobody writes a longer sentence without a line's end."""
LINES_COUNT = 40
"""Lines or rows of the same words. A sheet has 24 labels, a form 25 signatures."""
SENTENCE_COUNT, SENTENCE_LETTERS = 12, 60
"""Full lines of the same words, nothing else between: the lines of labels and of cards are shorter than that."""
PASSAGE_COUNT, PASSAGE_LENGTH, PASSAGE_LETTERS = 6, 3000, 200
"""Paragraphs are not printed so often on one page, be there a line's end between them; four coupons are."""
FORM_COUNT, FORM_LENGTH = 60, 1500
"""Rows of an empty form: a page has room for 50."""
MANY_COUNT, MANY_LENGTH = 120, 600
"""Short signs and empty cells; a calendar has 31 columns, a line of spaced dots 75 dots."""
RUN_LENGTH = 300
"""One to three signs over and over, without a line's end: 6 pt dots across an A4 page are 250."""
SPACES_LENGTH = 2000
"""Spaces and tabs in a row; where a model keeps columns apart by them, a line of the page is 200."""
COUNTER_COUNT, COUNTER_LETTERS = 60, 6
"""The same words around numbers that only count up; a list of figures or tickets is a page long at most."""
NUMBERS_COUNT = 120
"""Rows with nothing in them but numbers that count up."""
BARE_COUNT = 250
"""Numbers that count up, and no rows: a table of squares has 100."""
COUNTING_SHARE = 0.9
"""So many of the steps are the same: a counter may begin anew, as days do with each month."""
CELLS_COUNT, SHORT_CELLS_COUNT = 38, 60
"""Cells of JSON with the same text, wherever their boxes are, more if it is short. Between 40 cells are 39 commas."""
BLOCKS_COUNT, SHORT_BLOCKS_COUNT, SHORT_LETTERS = 30, 40, 8
"""Regions in a row with the same text; more if it is short ('0,00', 'да')."""
BLOCKS_PERIOD = 4
"""Regions that come again together."""
_WINDOW = 24
_STEP = 16
_NUMBER = "\ue000"
"""Stands for a number; no document has it."""
_BOX = '"bbox"'
_CHANGING = re.compile(r'"bbox"\s*:\s*\[[\d\s.,-]{0,60}\]|\d+')
_MARKUP = re.compile(r'<[^<>]{0,200}>|&[a-z]{1,8};|\\n|"category"\s*:\s*"[^"]{0,30}"|"(?:bbox|text)"')
_LINE_END = re.compile(r"\n|\\n|<[/bt]|\||\t")
_LONGEST_NUMBER = 18


@dataclass(frozen=True, slots=True)
class Loop:
    """A stretch of a text (or, of blocks, their numbers) in which a pattern repeats."""

    start: int
    end: int
    pattern: str
    count: int
    share: float
    """Of all that was looked at, 0 to 1."""


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    end: int
    pattern: str
    count: int


def find_loop(text: str) -> Loop | None:
    """The first loop of a text, wherever it stands; before those in which numbers change, those in which nothing
    does."""
    return _find(text, 1.0)


def find_block_loop(blocks: Sequence[Block]) -> Loop | None:
    """Regions one after the other with the same text, or the same few texts in turn; only numbers may count up."""
    plain = [_without_numbers("".join(block.text.split())) for block in blocks]
    keys = [text.text for text in plain]
    for period in range(1, BLOCKS_PERIOD + 1):
        for start, end in _stretches(keys, period):
            whole = range(start, end - (end - start) % period)
            if _is_block_loop([plain[index] for index in whole], period):
                pattern = "\n".join(block.text for block in blocks[start : start + period])
                count = len(whole) // period
                return Loop(start, whole.stop, pattern, count, len(whole) / len(blocks))
    return None


class LoopWatch:
    """Looks at a stream as it comes, also at JSON and HTML in the raw.

    It stops a model that may be right, so it wants to see a pattern half as often again as `find_loop` does.
    """

    WINDOW = 10_000
    """Characters that are looked at: 130 cells of JSON, ten paragraphs."""
    EVERY = 800
    """Characters between two looks: 30,000 characters cost 37 looks of one to two milliseconds."""
    PATIENCE = 1.5

    def __init__(self) -> None:
        self._tail = ""
        self._new: list[str] = []
        self._unseen = 0

    def feed(self, chunk: str) -> Loop | None:
        """Add to the text; a loop if one is seen. Positions are those of the last `WINDOW` characters."""
        self._new.append(chunk)
        self._unseen += len(chunk)
        if self._unseen < self.EVERY:
            return None
        self._tail = (self._tail + "".join(self._new))[-self.WINDOW :]
        self._new, self._unseen = [], 0
        return _find(self._tail, self.PATIENCE)


# --- patterns that follow themselves ------------------------------------------------------------------------


def _find(text: str, patience: float) -> Loop | None:
    """Where a pattern is seen `patience` times as often as a loop needs."""
    for run in _runs(text):
        if _is_loop(run, patience):
            return Loop(run.start, run.end, run.pattern, run.count, (run.end - run.start) / len(text))
    plain = _without_numbers(text)
    for run in _runs(plain.text):
        if _is_counter(run, plain, patience):
            start, end = plain.origin(run.start), plain.origin(run.end)
            pattern = text[start : plain.origin(run.start + len(run.pattern))]
            return Loop(start, end, pattern, run.count, (end - start) / len(text))
    return None


def _runs(text: str) -> Iterator[_Run]:
    """Stretches in which a pattern follows itself at least three times."""
    at, last = 0, len(text) - _WINDOW
    while at <= last:
        again = text.find(text[at : at + _WINDOW], at + 1, at + _WINDOW + MAX_PERIOD)
        period = again - at
        count = _repeats(text, at, period) if again >= 0 else 1
        if count >= 3:
            start, end = _begin(text, at, period), _end(text, at + count * period, period)
            whole = (end - start) // period
            yield _Run(start, start + whole * period, text[start : start + period], whole)
        at += max(_STEP, (count - 1) * period)


def _repeats(text: str, at: int, period: int) -> int:
    pattern, count = text[at : at + period], 1
    while text.startswith(pattern, at + count * period):
        count += 1
    return count


def _begin(text: str, at: int, period: int) -> int:
    """Where the pattern begins that was met at `at`: the steps are wide."""
    least = max(0, at - _STEP - min(period, _WINDOW))
    while at > least and text[at - 1] == text[at - 1 + period]:
        at -= 1
    return at


def _end(text: str, end: int, period: int) -> int:
    """Where the pattern ends that goes on until `end` at least: what was met began somewhere within it."""
    most = min(len(text), end + period)
    while end < most and text[end] == text[end - period]:
        end += 1
    return end


def _is_loop(run: _Run, patience: float) -> bool:
    length, count = len(run.pattern) * run.count, run.count / patience
    if len(run.pattern) <= 3 and "\n" not in run.pattern:
        return length / patience >= (SPACES_LENGTH if run.pattern.isspace() else RUN_LENGTH)
    letters = _letters(_MARKUP.sub("", run.pattern))
    if letters < PROSE_LETTERS:
        return (count >= FORM_COUNT and length >= FORM_LENGTH) or (
            count >= MANY_COUNT and length >= MANY_LENGTH
        )
    line_ends = _LINE_END.findall(run.pattern)
    if line_ends:
        return _is_loop_of_lines(letters, count, length, is_one_line=line_ends in (["\n"], ["\\n"]))
    return (count >= INLINE_COUNT and length >= INLINE_LENGTH) or (
        count >= PROSE_COUNT and length >= PROSE_LENGTH
    )


def _is_loop_of_lines(letters: int, count: float, length: int, *, is_one_line: bool) -> bool:
    if is_one_line and letters >= SENTENCE_LETTERS and count >= SENTENCE_COUNT:
        return True
    return count >= LINES_COUNT or (
        letters >= PASSAGE_LETTERS and count >= PASSAGE_COUNT and length >= PASSAGE_LENGTH
    )


# --- patterns in which numbers change -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plain:
    """A text with one sign for each number and `"bbox"` for each box, the numbers, and where those signs stand in it
    and in the text that it was made of."""

    text: str
    numbers: Sequence[int]
    number_places: Sequence[int]
    ends: Sequence[int]
    original_ends: Sequence[int]

    def origin(self, place: int) -> int:
        """A place of this text in the one that it was made of."""
        index = bisect.bisect_right(self.ends, place) - 1
        return place if index < 0 else place - self.ends[index] + self.original_ends[index]

    def numbers_between(self, start: int, end: int) -> Sequence[int]:
        """Those whose signs stand there."""
        return self.numbers[
            bisect.bisect_left(self.number_places, start) : bisect.bisect_left(self.number_places, end)
        ]


def _without_numbers(text: str) -> _Plain:
    text = text.replace(_NUMBER, "?")
    parts: list[str] = []
    numbers: list[int] = []
    places: list[int] = []
    ends: list[int] = []
    original_ends: list[int] = []
    done = length = 0
    for match in _CHANGING.finditer(text):
        start, end = match.span()
        parts.append(text[done:start])
        length += start - done
        if text[start] == '"':
            parts.append(_BOX)
            length += len(_BOX)
        else:
            parts.append(_NUMBER)
            numbers.append(int(text[start : min(end, start + _LONGEST_NUMBER)]))
            places.append(length)
            length += 1
        done = end
        ends.append(length)
        original_ends.append(end)
    parts.append(text[done:])
    return _Plain("".join(parts), numbers, places, ends, original_ends)


def _is_counter(run: _Run, plain: _Plain, patience: float) -> bool:
    """Whether only boxes change, or numbers that count: every row of a statement has other sums."""
    boxes = run.pattern.count(_BOX)
    each = run.pattern.count(_NUMBER)
    if not boxes and not each:
        return False
    letters = _letters(_MARKUP.sub("", run.pattern))
    if boxes:
        least = CELLS_COUNT if letters >= SHORT_LETTERS else SHORT_CELLS_COUNT
        seen = run.count * boxes
    else:
        least = _least_counted(run.pattern, letters)
        seen = run.count
    return seen / patience >= least and _all_count(plain.numbers_between(run.start, run.end), each)


def _least_counted(pattern: str, letters: int) -> int:
    if letters >= COUNTER_LETTERS:
        return COUNTER_COUNT
    return NUMBERS_COUNT if _LINE_END.search(pattern) else BARE_COUNT


def _all_count(numbers: Sequence[int], each: int) -> bool:
    """Whether each of so many columns stays the same or changes by the same amount, nearly always."""
    return all(_counts(numbers[column::each]) for column in range(each))


def _counts(values: Sequence[int]) -> bool:
    steps = Counter(later - earlier for earlier, later in itertools.pairwise(values))
    return not steps or max(steps.values()) >= COUNTING_SHARE * steps.total()


# --- regions ------------------------------------------------------------------------------------------------


def _stretches(keys: Sequence[str], period: int) -> Iterator[tuple[int, int]]:
    """First and end of the stretches in which each key is the one `period` before it."""
    start = 0
    for index in range(period, len(keys) + 1):
        if index == len(keys) or keys[index] != keys[index - period]:
            yield start, index
            start = index - period + 1


def _is_block_loop(texts: Sequence[_Plain], period: int) -> bool:
    """Of regions that are the same but for their numbers."""
    pattern = [text.text for text in texts[:period]]
    if not any(pattern):
        return False
    letters = sum(map(_letters, pattern))
    numbers = [number for text in texts for number in text.numbers]
    least = BLOCKS_COUNT if letters >= SHORT_LETTERS else SHORT_BLOCKS_COUNT
    each = sum(text.count(_NUMBER) for text in pattern)
    if each and any(text.numbers != texts[index % period].numbers for index, text in enumerate(texts)):
        least = COUNTER_COUNT
    return len(texts) >= least and _all_count(numbers, each)


def _letters(text: str) -> int:
    return sum(letter.isalpha() for letter in text)
