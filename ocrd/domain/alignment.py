"""Which word of one reader is which of the other's: anchors first, then word by word from there, then in any order.

The way of P. Heckel, "A technique for isolating differences between files", CACM 21 (1978), in linear time.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

_LONGEST_GAP = 12
"""Words between two aligned ones that are looked at together."""
_NEAR = 8
"""Matched words that follow each other this closely on both sides stand in the same order."""
_LONGEST_WORD = 40
"""Longer 'words' are compared as wholes only."""
NONE, DIM, LOOSE, ALIGNED = range(4)
"""What became of a word: no partner; none, but the witness saw something there; one in any order; one at its place."""

Gap = tuple[list[int], list[int]]


class Alignment:
    """Which word of the witness (a) is which of the model's (b), found step by step."""

    def __init__(self, a: list[str], a_digits: list[str], b: list[str], b_digits: list[str]) -> None:
        self.a, self.a_digits, self.b, self.b_digits = a, a_digits, b, b_digits
        self.to_b = [-1] * len(a)
        self.state_a = [NONE] * len(a)
        self.state_b = [NONE] * len(b)

    def pair(self, i: int, p: int, state: int) -> None:
        self.to_b[i] = p
        self.state_a[i] = self.state_b[p] = state

    def has_free_words(self) -> bool:
        return NONE in self.state_a

    def order_kept(self) -> float:
        """Of aligned words that follow each other, the share that does so in the model's text too."""
        places = [p for p, state in zip(self.to_b, self.state_a, strict=True) if state == ALIGNED]
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
                self.pair(order[x + k], p + k, ALIGNED)

    def _extend(self, order: list[int], step: int) -> None:
        """Pair the neighbours of paired words if they are alike."""
        for i, following in itertools.pairwise(order):
            if self.state_a[i] != ALIGNED or self.state_a[following]:
                continue
            p = self.to_b[i] + step
            if 0 <= p < len(self.b) and not self.state_b[p] and self._same(following, p):
                self.pair(following, p, ALIGNED)

    def _same(self, i: int, p: int) -> bool:
        """Whether two words at the same place are one, misread at most; digits must be the same."""
        one, other = self.a[i], self.b[p]
        return one == other or (
            self.a_digits[i] == self.b_digits[p] and within(one, other, max(len(one), len(other)) // 3)
        )

    def resolve_gaps(self, order: list[int]) -> list[Gap]:
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
            self.state_a[i] = ALIGNED
        for p in theirs:
            self.state_b[p] = ALIGNED

    def _gaps(self, order: list[int]) -> Iterator[Gap]:
        """Free words between two aligned ones, on both sides, if there are few and some on each.

        The text's start or end may stand for one of the two.
        """
        waiting: list[int] = []
        before = -1
        for i in [*order, -1]:
            if i >= 0 and self.state_a[i] != ALIGNED:
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
                self.pair(i, places[key].pop(), LOOSE)
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
                    self.pair(i, found, LOOSE)

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
                self.pair(i, p, LOOSE)
                self.pair(i + 1, p, LOOSE)
        whole_a = {key: i for i, key in enumerate(self.a) if not self.state_a[i]}
        for p, _ in enumerate(self.b[:-1]):
            i = whole_a.get(self.b[p] + self.b[p + 1], -1)
            if i >= 0 and not (self.state_b[p] or self.state_b[p + 1] or self.state_a[i]):
                self.pair(i, p, LOOSE)
                self.state_b[p + 1] = LOOSE

    def excuse(self, order: list[int], sure: Sequence[bool]) -> None:
        """Count words as seen where the witness read, unsure of it, something else between the same neighbours.

        Letter for letter, as far as those of the witness go.
        """
        letters, before = 0, -1
        for i in [*order, -1]:
            if i >= 0 and self.state_a[i] != ALIGNED:
                letters += 0 if self.state_a[i] or sure[i] else len(self.a[i])
                continue
            after = self.to_b[i] if i >= 0 else len(self.b)
            if letters:
                self._excuse_between(before, after, letters)
            letters, before = 0, after

    def _excuse_between(self, before: int, after: int, letters: int) -> None:
        free = list(itertools.takewhile(lambda p: self.state_b[p] != ALIGNED, range(before + 1, after)))
        if len(free) != after - before - 1:
            return  # not neighbours on the model's side
        for p in free:
            if self.state_b[p] == NONE:
                letters -= len(self.b[p])
                if letters < 0:
                    return
                self.state_b[p] = DIM

    def settle(self, disputes: Iterable[Gap]) -> list[Gap]:
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
