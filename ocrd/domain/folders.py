"""A folder's own settings: what `.ocrd.toml` in a subfolder of an inbox may say. Pure."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ocrd.domain import page_ranges
from ocrd.domain.errors import ConfigError
from ocrd.domain.page_ranges import Range

FILE_NAME = b".ocrd.toml"
MOST_PRIORITY = 100
AUTO, EMBEDDED, VLLM = "auto", "embedded", "vllm"
"""What a folder may ask for as its engine, besides a plug-in that reads everywhere; `auto`: what reads elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """What counts for the files below a folder; None: what counts above it, in the end the settings."""

    languages: tuple[str, ...] | None = None
    formats: tuple[str, ...] | None = None
    engine: str | None = None
    """Who is to read, by the name that `[engine] kind` has for it."""
    pages: tuple[Range, ...] | None = None
    """Only these pages are read."""
    priority: int | None = None
    """Documents with a higher one are read first; 0 where nothing is said."""

    def below(self, inner: FolderSettings) -> FolderSettings:
        """What counts in a folder below this one, which says `inner`."""
        return FolderSettings(
            languages=inner.languages or self.languages,
            formats=inner.formats or self.formats,
            engine=inner.engine or self.engine,
            pages=self.pages if inner.pages is None else inner.pages,
            priority=self.priority if inner.priority is None else inner.priority,
        )


NOTHING = FolderSettings()


def parse(
    text: str, *, languages: Collection[str], formats: Collection[str], engines: Collection[str]
) -> FolderSettings:
    """Read a file; `languages` are those that can be read (none: unknown), `formats` those that can be written,
    `engines` those that read here.

    Raises ConfigError that says what is wrong.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"it is no TOML: {err}") from err
    known = ("languages", "formats", "engine", "pages", "priority")
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(f"unknown option {key!r}", hint=f"known: {', '.join(near or known)}")
    return FolderSettings(
        languages=_names("languages", data.get("languages"), languages),
        formats=_names("formats", data.get("formats"), formats),
        engine=_engine(data.get("engine"), engines),
        pages=_pages(data.get("pages")),
        priority=_priority(data.get("priority")),
    )


def _names(key: str, value: Any, known: Collection[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ConfigError(
            f"{key} is no list of names", hint=f'for example {key} = ["{next(iter(known), "eng")}"]'
        )
    names: Sequence[str] = tuple(dict.fromkeys(value))
    if known:
        _expect_known(key, names, known)
    return tuple(names)


def _engine(value: Any, known: Collection[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError("engine is no name", hint=f'for example engine = "{EMBEDDED}"')
    _expect_known("engine", [value], known)
    return value


def _expect_known(key: str, names: Sequence[str], known: Collection[str]) -> None:
    strange = [name for name in names if name not in known]
    if strange:
        raise ConfigError(
            f"{key}: {strange[0]!r} is not there", hint=f"there are: {', '.join(sorted(known))}"
        )


def _pages(value: Any) -> tuple[Range, ...] | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError("pages is no text", hint='for example pages = "1-3,7,10-"')
    try:
        return page_ranges.parse(value)
    except ConfigError as err:
        raise ConfigError(f"pages: {err}", hint=err.hint) from err


def _priority(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MOST_PRIORITY:
        raise ConfigError(f"priority is no whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}")
    return value
