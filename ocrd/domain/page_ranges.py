"""Which pages of a document are to be read, as people write it: `1-3,7,10-`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ocrd.domain.errors import ConfigError

_RANGE = re.compile(r"(?P<only>[0-9]{1,7})|(?P<first>[0-9]{0,7})\s*-\s*(?P<last>[0-9]{0,7})")
_HINT = "for example 1-3,7,10- (from the tenth to the last) or -5 (the first five)"

Range = tuple[int, int | None]
"""The first and the last page, counted from 1; None: to the end."""


def parse(text: str) -> tuple[Range, ...]:
    """The ranges of a list like `1-3,7,10-`; none for an empty text, which means every page. Raises ConfigError."""
    return tuple(_parse_one(part.strip()) for part in text.split(",")) if text.strip() else ()


def _parse_one(part: str) -> Range:
    found = _RANGE.fullmatch(part)
    if found is None or not any(found.groups()):
        raise ConfigError(f"{part[:40]!r} is no range of pages", hint=_HINT)
    first = int(found["only"] or found["first"] or 1)
    last = first if found["only"] else int(found["last"]) if found["last"] else None
    if first < 1 or (last is not None and last < 1):
        raise ConfigError(f"{part!r}: pages are counted from 1", hint=_HINT)
    if last is not None and last < first:
        raise ConfigError(f"{part!r} ends before it begins", hint=f"{last}-{first}")
    return first, last


def chosen(ranges: Sequence[Range], pages: int) -> tuple[int, ...]:
    """The numbers of the pages to read of a document of so many, each once, in their order; none if the ranges name none of
    them. Without ranges: all."""
    if not ranges:
        return tuple(range(1, pages + 1))
    numbers: set[int] = set()
    for first, last in ranges:
        end = pages if last is None else min(last, pages)
        numbers.update(range(first, end + 1))
    return tuple(sorted(numbers))
