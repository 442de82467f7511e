"""The transcript: pages in order as plain text or Markdown, a page without text marked in its place. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from ocrd.domain.documents import Block, PageText
from ocrd.domain.models import PromptMode
from ocrd.domain.rendering import FORMULA, PICTURE
from ocrd.domain.tables import around_table, parse_table, to_pipe

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
        return _OUR_LINE.sub(r"\1\[ocrd:", page.recognition.text)
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
    is_markdown = page.recognition.prompt_mode in _MARKDOWN_MODES
    parts = (_own_markdown(block) if is_markdown else _escaped(block) for block in page.recognition.blocks)
    return "\n\n".join(part for part in parts if part)


_MARKDOWN_MODES = frozenset({PromptMode.LAYOUT.value})
"""Answers to these prompts are Markdown already."""
_OUR_COMMENT = re.compile(r"<!--")
_OUR_LINE = re.compile(r"^(\s*)\[ocrd:", re.MULTILINE)


def _escaped(block: Block) -> str:
    return "  \n".join(escape_markdown(line) for line in block.text.splitlines() if line.strip())


def _own_markdown(block: Block) -> str:
    """A block whose text is Markdown, a formula in LaTeX, or a table in HTML. What could pass for a mark of ours, a
    comment or the line of a gap, is defused."""
    text = block.text.replace(FORM_FEED, "\n").strip()
    if block.category == PICTURE:
        return "\n\n".join(part for part in ("*[picture]*", text) if part)
    if not text:
        return ""
    if block.category == FORMULA:
        return text if "$" in text or text.startswith(("\\[", "\\(")) else f"$$\n{text}\n$$"
    text = _OUR_LINE.sub(r"\1\[ocrd:", _OUR_COMMENT.sub("&lt;!--", text))
    table = parse_table(text)
    if table is None:
        return text
    before, behind = around_table(text)
    pipe = to_pipe(table)
    html = text[len(before) : len(text) - len(behind)]
    parts = (before.strip(), html if pipe is None else pipe, behind.strip())
    return "\n\n".join(part for part in parts if part)


_INLINE = re.compile(r"([\\`*_\[\]<>|~])")
_LINE_START = re.compile(r"^([#+\-=:]|\d{1,9}[.)])(?=\s|$|[#+\-=])")


def escape_markdown(line: str) -> str:
    """One line of text so that Markdown shows just these characters (CommonMark, backslash escapes). Blanks at its
    ends go: Markdown shows none there, and four of them would make code of it."""
    escaped = _INLINE.sub(r"\\\1", line.strip().replace("&", "&amp;"))
    return _LINE_START.sub(lambda mark: f"{mark[1][:-1]}\\{mark[1][-1]}", escaped)


RENDERERS: dict[str, Renderer] = {"txt": to_txt, "md": to_md}
"""Output format → how it is rendered. The settings' `[output] formats` are its keys."""
