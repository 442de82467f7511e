"""The transcript: pages in order as plain text or Markdown, a page without text marked in its place. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from ocrd.domain.documents import PageText

FORM_FEED = "\f"
Renderer = Callable[[Iterable[PageText]], Iterator[str]]


def gap(page: PageText) -> str:
    """The line that stands where a page has no text."""
    return f"[ocrd: page {page.number}: no text: {one_line(page.reason)}]"


def one_line(text: str) -> str:
    """A reason without line breaks and control characters, so that it stays one line wherever it is put."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def to_txt(pages: Iterable[PageText]) -> Iterator[str]:
    """Plain text: the pages separated by a form feed line, each ending with a line feed; a blank page is empty."""
    for index, page in enumerate(pages):
        if index:
            yield FORM_FEED
        text = _page_text(page).strip("\n")
        if text:
            # A form feed inside a page would pass for the end of it.
            yield text.replace(FORM_FEED, "\n") + "\n"


def _page_text(page: PageText) -> str:
    if page.recognition is not None:
        return page.recognition.text
    return "" if page.blank else gap(page)


def to_md(pages: Iterable[PageText]) -> Iterator[str]:
    """Markdown: a paragraph a block, its marks escaped; each page after the first begins with a comment that
    names it, which a viewer does not show."""
    for page in pages:
        if page.number > 1:
            yield f"\n<!-- page {page.number} -->\n\n"
        body = _page_markdown(page)
        if body:
            yield body + "\n"


def _page_markdown(page: PageText) -> str:
    if page.recognition is None:
        return "" if page.blank else f"> {escape_markdown(gap(page))}"
    return "\n\n".join(
        "  \n".join(escape_markdown(line) for line in block.text.splitlines() if line.strip())
        for block in page.recognition.blocks
        if block.text.strip()
    )


_INLINE = re.compile(r"([\\`*_\[\]<>|~])")
_LINE_START = re.compile(r"^([#+\-=:]|\d{1,9}[.)])(?=\s|$|[#+\-=])")


def escape_markdown(line: str) -> str:
    """One line of text so that Markdown shows just these characters (CommonMark, backslash escapes). Blanks at its
    ends go: Markdown shows none there, and four of them would make code of it."""
    escaped = _INLINE.sub(r"\\\1", line.strip().replace("&", "&amp;"))
    return _LINE_START.sub(lambda mark: f"{mark[1][:-1]}\\{mark[1][-1]}", escaped)


RENDERERS: dict[str, Renderer] = {"txt": to_txt, "md": to_md}
"""Output format → how it is rendered. The settings' `[output] formats` are its keys."""
