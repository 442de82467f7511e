"""The transcript: pages in order as plain text or Markdown, a page without text marked in its place. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias

from ocrd.domain.documents import Block, PageText, Source
from ocrd.domain.models import PromptMode
from ocrd.domain.rendering import FORMULA, PICTURE, TABLE
from ocrd.domain.tables import Piece, split_tables, to_pipe

FORM_FEED = "\f"
Renderer = Callable[[Iterable[PageText], Source], Iterator[str]]
"""Makes an output of the pages of a document."""
TableStyle: TypeAlias = Literal["pipe", "html"]
"""How Markdown shows tables: `pipe` where that loses nothing, or always as the model wrote them, in HTML."""


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
        text = _page_text(page)
        if text:
            yield text + "\n"


def _page_text(page: PageText) -> str:
    """A form feed inside a page would pass for the end of it, and a line like a gap's for a gap."""
    if page.recognition is not None:
        text = _LINE_END.sub("\n", _without_controls(page.recognition.text.strip("\n")))
        return _OUR_LINE.sub(r"\1\[ocrd:", text)
    return "" if page.blank else gap(page)


def to_md(pages: Iterable[PageText], *, tables: TableStyle = "pipe", headers: bool = True) -> Iterator[str]:
    """Markdown: a paragraph a block, its marks escaped unless they were written by a model; each page after the first
    begins with a comment that names it, which a viewer does not show. Without `headers`, page headers and footers are
    left out."""
    for page in pages:
        if page.number > 1:
            yield f"\n<!-- page {page.number} -->\n\n"
        body = _page_markdown(page, tables, frozenset() if headers else _HEADERS)
        if body:
            yield body + "\n"


def _page_markdown(page: PageText, tables: TableStyle, without: frozenset[str]) -> str:
    if page.recognition is None:
        return "" if page.blank else f"> {escape_markdown(gap(page))}"
    is_markdown = page.recognition.prompt_mode in _MARKDOWN_MODES
    blocks = (block for block in page.recognition.blocks if block.category not in without)
    parts = (
        _own_markdown(block, tables) if is_markdown or _is_table(block) else _escaped(block)
        for block in blocks
    )
    return "\n\n".join(part for part in parts if part)


def _is_table(block: Block) -> bool:
    """Whether it is one in HTML, whoever made it."""
    return block.category == TABLE and block.text.startswith("<table>")


_HEADERS = frozenset({"Page-header", "Page-footer"})
_MARKDOWN_MODES = frozenset({PromptMode.LAYOUT.value})
"""Answers to these prompts are Markdown already."""
_LINE_ENDS = r"\n\r\v\x1c-\x1e\x85\u2028\u2029"
_OUR_LINE = re.compile(rf"((?:^|[{_LINE_ENDS}])[^\S{_LINE_ENDS}]*+)\[ocrd:")
_OUR_GAP = re.compile(r"\\?\[ocrd:")
_HARMLESS_TAGS = (
    "table|thead|tbody|tfoot|caption|colgroup|col|tr|td|th|br|p|b|i|u|s|em|strong|small|span|sup|sub|ul|ol|li"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
"""What is neither text nor the end of a line: a terminal would take orders from it."""
_TAG = re.compile(rf"<(/?)({_HARMLESS_TAGS})(\s[^<>]*)?/?>", re.IGNORECASE)
_SPAN = re.compile(
    r"""(?<!\S)(?:colspan|rowspan)\s*=\s*(?:"\d{1,4}"|'\d{1,4}'|\d{1,4})(?![^\s/])""", re.IGNORECASE
)
_LINK = re.compile(r"(?P<formula>\$\$.+?\$\$|\$[^$\n]+\$)|(?:(?<!\\)(?:\\\\)*+\](?=[(:])|!(?=\[))", re.DOTALL)
"""What makes a picture or a link of the brackets before or behind it, or is a formula."""
_LINK_IN_FORMULA = re.compile(r"\](?=[(:])|!(?=\[)")
_ACTIVE_TEX = re.compile(
    r"\\(?=(?:href|url|includegraphics|html[A-Za-z]+|require|input|include|write|openin|style|class|cssId)\s*[{\[])"
)
"""LaTeX that opens, loads or changes things: MathJax and TeX carry it out."""
_FOREIGN_TAG = re.compile(rf"<(?=[!?/a-zA-Z])(?!/?(?:{_HARMLESS_TAGS})(?:\s[^<>]*)?/?>)", re.IGNORECASE)
"""What could hide what stands behind it, run, or pass for the comment of a page: `<!-- page 2 -->`, `<script>`."""
_FENCE = re.compile(r"(```+)([^`]*)|(~~~+)(.*)")
_FENCE_MARK = re.compile(r"^([-+*>\d.) \t]*?)(```|~~~)(.*)$", re.MULTILINE)
_LINE_END = re.compile(r"\r\n?|\f")
_EMPTY_LINES = re.compile(r"\n\s*\n")


def _without_controls(text: str) -> str:
    return _CONTROLS.sub("�", text)


def _escaped(block: Block) -> str:
    lines = _without_controls(block.text).splitlines()
    return "  \n".join(escape_markdown(line) for line in lines if line.strip())


def _own_markdown(block: Block, tables: TableStyle) -> str:
    """A block whose text is Markdown, a formula in LaTeX, or a table in HTML. What could pass for a mark of ours, or
    hide one, or load, open or run anything, is defused."""
    text = _LINE_END.sub("\n", _without_controls(block.text)).strip()
    text = _OUR_GAP.sub("&#91;ocrd:", _ACTIVE_TEX.sub(r"\\ ", text))
    if block.category == FORMULA:
        return _formula(text)
    parts = [shown for piece in split_tables(text) if (shown := _piece(piece, tables))]
    if block.category == PICTURE:
        parts.insert(0, "*[picture]*")
    return "\n\n".join(parts)


def _formula(text: str) -> str:
    """Blanks mean nothing in LaTeX: behind a `<` one keeps it from beginning a tag."""
    text = _LINK_IN_FORMULA.sub(r"\g<0> ", re.sub(r"<(?=[!?/a-zA-Z])", "< ", text))
    text = _without_open_fence(text)
    if not text or "$" in text or text.startswith(("\\[", "\\(")):
        return text
    return f"$$\n{text}\n$$"


def _piece(piece: Piece, tables: TableStyle) -> str:
    pipe = to_pipe(piece.table) if piece.table is not None and tables == "pipe" else None
    if pipe is not None:
        return _without_links(pipe)
    source = _TAG.sub(_bare_tag, _FOREIGN_TAG.sub("&lt;", piece.source.strip()))
    if piece.table is None:
        return _without_open_fence(_without_links(source))
    return _html_table(source)


def _bare_tag(tag: re.Match[str]) -> str:
    """A tag with no attributes but those that make a cell larger: others run, load or hide things."""
    spans = "".join(f" {span}" for span in _SPAN.findall(tag[3] or ""))
    return f"<{tag[1]}{tag[2]}{spans}>"


def _without_links(text: str) -> str:
    """Pictures and links as the characters that they were written with: nothing of them is loaded or opened."""
    return _LINK.sub(_defused, text)


def _defused(mark: re.Match[str]) -> str:
    """Behind a backslash a bracket is just one; within a formula a blank does it, which means nothing there."""
    return f"{mark[0]}\\" if mark["formula"] is None else _LINK_IN_FORMULA.sub(r"\g<0> ", mark[0])


def _html_table(source: str) -> str:
    """To Markdown HTML ends at an empty line: what stands behind it would be code or a list, not rows."""
    whole = _EMPTY_LINES.sub("\n", source).replace("```", "&#96;``").replace("~~~", "&#126;~~")
    return whole if whole.lower().endswith("</table>") else whole + "</table>"


def _without_open_fence(text: str) -> str:
    """Code that does not end would make code of all pages behind it. Code within lists, quotations and HTML ends by
    rules of its own, so that there, too, its marks are shown as they are."""
    marks = [mark[0] for mark in _FENCE_MARK.finditer(text)]
    if not marks or ("<" not in text and _are_paired(marks)):
        return text
    return _FENCE_MARK.sub(r"\1\\\2\3", text)


def _are_paired(marks: list[str]) -> bool:
    fence = ""
    for line in marks:
        found = _FENCE.fullmatch(line)
        if found is None:
            return False
        mark, rest = found[1] or found[3], found[2] or found[4] or ""
        if not fence:
            fence = mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return not fence


_INLINE = re.compile(r"([\\`*_\[\]<>|~])")
_LINE_START = re.compile(r"^([#+\-=:]|\d{1,9}[.)])(?=\s|$|[#+\-=])")


def escape_markdown(line: str) -> str:
    """One line of text so that Markdown shows just these characters (CommonMark, backslash escapes). Blanks at its
    ends go: Markdown shows none there, and four of them would make code of it."""
    escaped = _INLINE.sub(r"\\\1", line.strip().replace("&", "&amp;"))
    return _LINE_START.sub(lambda mark: f"{mark[1][:-1]}\\{mark[1][-1]}", escaped)
