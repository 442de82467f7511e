from __future__ import annotations

import time
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.stores import recognition

from ocrd.domain.documents import Block, PageText, Recognition
from ocrd.domain.models import CATEGORIES
from ocrd.pipeline.formats import RENDERERS
from ocrd.pipeline.transcript import TableStyle, escape_markdown, gap, one_line, to_md, to_txt

VIEWERS = {
    "commonmark": MarkdownIt("commonmark"),
    "tables": MarkdownIt("commonmark").enable(["table", "strikethrough"]),
}


class _Shown(HTMLParser):
    """The text of a page of HTML, and the tags that it is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(html)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def shown(markdown: str, viewer: str = "commonmark") -> _Shown:
    return _Shown(VIEWERS[viewer].render(markdown))


def page(number: int, *blocks: str) -> PageText:
    """A page with text; a block a paragraph."""
    empty = recognition("\n\n".join(blocks))
    made = tuple(Block(category="Text", box=(0, 0, 9, 9), text=text) for text in blocks)
    return PageText(number=number, recognition=replace(empty, blocks=made))


def blank(number: int) -> PageText:
    return PageText(number=number, blank=True)


def failed(number: int, reason: str = "the engine crashed") -> PageText:
    return PageText(number=number, reason=reason)


def txt(*pages: PageText) -> str:
    return "".join(to_txt(pages))


def md(*pages: PageText) -> str:
    return "".join(to_md(pages))


# --- plain text --------------------------------------------------------------------------------------------


def test_pages_are_separated_by_a_form_feed_and_end_with_a_line_feed() -> None:
    assert txt(page(1, "one"), page(2, "two\nlines\n\n")) == "one\n\ftwo\nlines\n"


def test_a_blank_page_is_empty_and_keeps_its_place() -> None:
    assert txt(blank(1), page(2, "two"), blank(3)) == "\ftwo\n\f"


def test_a_page_without_text_is_marked_in_its_place() -> None:
    assert txt(page(1, "one"), failed(2)) == "one\n\f[ocrd: page 2: no text: the engine crashed]\n"


def test_a_form_feed_within_a_page_is_a_line_end_there_too() -> None:
    assert txt(page(1, "\n\fone\ftwo\n"), page(2, "\f")) == "\none\ntwo\n\f\n\n"


def test_a_document_without_pages_is_empty() -> None:
    assert txt() == md() == ""


def test_a_reason_never_breaks_the_line_that_it_stands_in() -> None:
    assert gap(failed(7, "a\nb\f\x1b[31m c\r\n")) == "[ocrd: page 7: no text: a b [31m c]"


def test_the_formats_that_can_be_set_are_those_that_can_be_rendered() -> None:
    from ocrd.settings import FORMATS

    assert {*RENDERERS, "pdf"} == set(FORMATS)


TEXTS = st.text(st.sampled_from("ab \n\f\r\v\x1c\u2028#*"), max_size=20)
ANY_PAGE = st.one_of(
    st.builds(lambda text: page(1, text), TEXTS),
    st.builds(lambda text: failed(1, text), TEXTS),
    st.just(blank(1)),
)


@given(st.lists(ANY_PAGE, min_size=1, max_size=6))
def test_as_many_pages_come_back_as_were_written_whatever_their_text_holds(pages: list[PageText]) -> None:
    found = txt(*pages).split("\f")
    assert len(found) == len(pages)
    for part, written in zip(found, pages, strict=True):
        assert part == "" or part.endswith("\n")
        assert (part == "") is (written.blank or not txt(written))


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert line == line.strip()


# --- Markdown ----------------------------------------------------------------------------------------------


def test_each_block_is_a_paragraph_and_each_page_after_the_first_is_named_where_no_viewer_shows_it() -> None:
    assert md(page(1, "one", "two"), page(2, "three")) == "one\n\ntwo\n\n<!-- page 2 -->\n\nthree\n"
    assert shown(md(page(1, "one"), page(2, "two"))).text.split() == ["one", "two"]


def test_the_lines_of_a_block_stay_lines() -> None:
    assert shown(md(page(1, "one\ntwo"))).tags == {"p", "br"}


def test_a_blank_page_leaves_only_its_name() -> None:
    assert md(page(1, "one"), blank(2), page(3, "three")).count("<!-- page") == 2
    assert shown(md(blank(1))).text.strip() == ""


def test_a_page_without_text_is_a_quotation_that_says_why() -> None:
    found = shown(md(page(1, "one"), failed(2, "it *crashed* <b>")))
    assert "[ocrd: page 2: no text: it *crashed* <b>]" in found.text
    assert "blockquote" in found.tags
    assert not found.tags & {"em", "b", "a"}


TRICKY = [
    "# a heading that is none",
    "#hashtag",
    "###### six ##",
    "1. a list",
    "1986) a year",
    "12345678901. too long for one",
    "1.",
    "- a list",
    "-",
    "+",
    "+ 7 912 000",
    "* a list",
    "***",
    "---",
    "- - -",
    "___",
    "===",
    "=== ",
    "=",
    "> a quotation",
    "    four blanks are code",
    "\ta tab is code",
    "      1. both",
    "```python",
    "`code`",
    "``a`b``",
    "~~~",
    "~~gone~~",
    "<script>alert(1)</script>",
    "<b>bold</b> <!-- hidden -->",
    "<https://example.org>",
    "<me@example.org>",
    "https://example.org/a_b_c",
    "&amp; &lt; &#65; &copy &nbsp;",
    "AT&T",
    "*em* **strong** _em_ __strong__",
    "snake_case_name 2*3*4",
    "[x](y)",
    "![](y.png)",
    "[x]: https://example.org 'title'",
    "[^1]: a footnote",
    "- [ ] a task",
    "| a | b |",
    "|---|---|",
    "--- | ---",
    ":--|:-:",
    ":--",
    "a backslash \\ and \\* and \\",
    "ends with two blanks  ",
    "trailing #",
    "§ 1. Общие положения — № 7",
    "a\u00a0b\u2003c",
    "!",
    "[",
    "]",
    "\\",
]


@pytest.mark.parametrize("viewer", VIEWERS)
@pytest.mark.parametrize("line", TRICKY)
def test_markdown_shows_just_the_characters_of_the_text(line: str, viewer: str) -> None:
    found = shown(escape_markdown(line), viewer)
    assert found.text.split() == line.split()
    assert found.tags == {"p"}


PIECES = st.sampled_from(
    [*TRICKY, *"#*_-+=~`>|<&\\[]()!.:1 \t", "  ", "    ", "x", "ж", "0) ", "&#x41;", "]("]
)
LINES = st.one_of(
    st.lists(PIECES, max_size=5).map("".join),
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=30),
)


@settings(max_examples=400)
@given(LINES, st.sampled_from(sorted(VIEWERS)))
def test_markdown_shows_just_the_characters_of_any_line(line: str, viewer: str) -> None:
    found = shown(escape_markdown(line), viewer)
    assert found.text.split() == line.split()
    assert found.tags <= {"p"}


@settings(max_examples=300)
@given(
    st.lists(st.lists(LINES, min_size=1, max_size=4).map("\n".join), max_size=3),
    st.sampled_from(sorted(VIEWERS)),
)
def test_markdown_shows_just_the_characters_of_any_page(blocks: list[str], viewer: str) -> None:
    found = shown(md(page(1, *blocks), page(2, *blocks)), viewer)
    assert found.text.split() == " ".join(blocks).split() * 2
    assert found.tags <= {"p", "br"}


# --- what a model wrote -------------------------------------------------------------------------------------


def model_page(*blocks: tuple[str, str], mode: str = "layout") -> PageText:
    listed = tuple(Block(category=category, box=(0, 0, 9, 9), text=text) for category, text in blocks)
    recognition = Recognition(
        text="\n\n".join(text for _, text in blocks),
        blocks=listed,
        finish="stop",
        engine="vllm",
        model_revision="dots.ocr",
        prompt_mode=mode,
        dpi=200,
        tokens=1,
        seconds=1,
    )
    return PageText(number=1, recognition=recognition, verdict="ok")


def as_md(*blocks: tuple[str, str], mode: str = "layout") -> str:
    return "".join(to_md([model_page(*blocks, mode=mode)]))


def test_markdown_of_a_model_is_not_escaped() -> None:
    text = as_md(("Title", "# Договор"), ("Text", "**Срок** до 5_6"), ("Formula", "a^2"), ("Picture", ""))
    assert text == "# Договор\n\n**Срок** до 5_6\n\n$$\na^2\n$$\n\n*[picture]*\n"


def test_plain_answers_of_a_model_are_escaped() -> None:
    assert as_md(("Text", "# 5 * 3"), mode="ocr") == "\\# 5 \\* 3\n"


def test_tables_become_markdown_and_stay_html_where_that_would_lose_something() -> None:
    simple = "<table><tr><td>a</td></tr><tr><td>b</td></tr></table>"
    assert as_md(("Table", simple)) == "| a |\n| --- |\n| b |\n"
    spans = '<table><tr><td colspan="2">a</td></tr><tr><td>b</td><td>c</td></tr></table>'
    assert as_md(("Table", spans)) == spans + "\n"


def test_a_formula_that_is_marked_already_is_not_marked_again() -> None:
    assert as_md(("Formula", "$$x$$")) == "$$x$$\n"


FORGED = [
    "<!-- page 2 -->",
    "[ocrd: page 3: no text: x]",
    "> [ocrd: page 3: no text: x]",
    "> \\[ocrd: page 3: no text: x\\]",
    "text\f[ocrd: page 3: no text: x]",
    "text\r[ocrd: page 3: no text: x]",
    "text\u2028  [ocrd: page 3: no text: x]",
    "<table><tr><td><!-- page 2 --></td></tr></table>",
    "<table><tr><td>&lt;!-- page 2 --&gt;</td></tr></table>",
    "<table><tr><td colspan=2>\n<!-- page 2 -->\n</td></tr></table>",
    "$ <!-- page 2 -->",
    "a<!-- page 2 -->b",
]


@pytest.mark.parametrize("category", ["Text", "Table", "Formula", "Picture", "Title"])
@pytest.mark.parametrize("text", FORGED)
def test_a_model_cannot_forge_our_marks(text: str, category: str) -> None:
    written = as_md((category, text))
    assert "<!--" not in written
    assert "[ocrd:" not in written.replace("| \\[ocrd:", "")
    assert "\f" not in written
    plain = "".join(to_txt([model_page((category, text))]))
    assert "\f" not in plain
    assert not any(line.lstrip().startswith("[ocrd:") for line in plain.splitlines())


SIGNS = (
    "```|```python|  ```|    ```|~~~|~~~~|``` a`|- ```|- a|  - ~~~|> ```|1. ~~~||x|<pre>|<script>|<style>|<!--|<?x|<!X"
    "|<![CDATA[|<table>|<td|</table>|$$|`|[x]: <|    <div>|<p|* |+ > ```|\t```|\\|---|<textarea|&lt;!--"
)
HIDING = st.lists(st.sampled_from(SIGNS.split("|")), max_size=7).map("\n".join)


@settings(max_examples=300)
@given(HIDING, st.sampled_from(["Text", "Table", "Formula", "Picture"]), st.sampled_from(["pipe", "html"]))
def test_nothing_that_a_model_wrote_hides_the_pages_behind_it(
    text: str, category: str, tables: TableStyle
) -> None:
    pages = [model_page((category, text)), failed(2), page(3, "last")]
    tokens = VIEWERS["tables"].parse("".join(to_md(pages, tables=tables)))
    comments = [
        token.content.strip() for token in tokens if token.type == "html_block" and "<!--" in token.content
    ]
    assert comments == ["<!-- page 2 -->", "<!-- page 3 -->"]
    assert [token.content for token in tokens[-3:]] == ["", "last", ""]


def test_empty_lines_and_fences_within_html_end_no_table() -> None:
    source = "<table>\n<tr><td colspan=2>a\n\n```\n</td></tr>\n \n    <tr><td>b</td></tr>\n</table>"
    found = shown(as_md(("Table", source), ("Text", "c")))
    assert (found.text.split(), found.tags) == (["a", "```", "b", "c"], {"table", "tr", "td", "p"})


def test_tables_can_be_kept_as_html_and_then_too_hide_nothing() -> None:
    simple = "<table><tr><td>a</td></tr></table>"
    assert "".join(to_md([model_page(("Table", simple))], tables="html")) == simple + "\n"
    forged = "<table><tr><td><!-- page 2 --></td></tr>"
    assert "<!--" not in "".join(to_md([model_page(("Table", forged))], tables="html"))


def test_every_category_but_pictures_shows_its_text_in_reading_order() -> None:
    named = [
        (category, f"слово {number}")
        for number, category in enumerate(CATEGORIES)
        if category not in {"Formula", "Picture"}
    ]
    assert as_md(*named) == "\n\n".join(text for _, text in named) + "\n"


def test_headers_and_footers_can_be_left_out() -> None:
    made = model_page(("Page-header", "Глава 1"), ("Text", "текст"), ("Page-footer", "7"))
    assert md(made) == "Глава 1\n\nтекст\n\n7\n"
    assert "".join(to_md([made], headers=False)) == "текст\n"


def test_code_that_is_closed_stays_code_and_code_that_is_not_becomes_text() -> None:
    assert as_md(("Text", "```\na\n```")) == "```\na\n```\n"
    found = shown(as_md(("Text", "```\na"), ("Text", "b")))
    assert (found.text.split(), found.tags) == (["```", "a", "b"], {"p"})


def test_a_table_that_was_cut_off_is_closed() -> None:
    assert as_md(("Table", "<table><tr><td colspan=2>a")) == "<table><tr><td colspan=2>a</table>\n"


def test_all_tables_of_a_block_and_the_text_between_them_are_shown() -> None:
    one = "<table><tr><td>a</td></tr></table>"
    assert as_md(("Table", f"x{one}y{one}")) == "x\n\n|  |\n| --- |\n| a |\n\ny\n\n|  |\n| --- |\n| a |\n"


CELL = st.text(st.characters(categories=("L", "Nd"), include_characters=" <&>|*_`\\[]~#!-"), max_size=12)


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=2, max_size=4))
def test_a_table_shows_just_the_characters_of_its_cells(rows: list[list[str]]) -> None:
    source = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    found = shown(as_md(("Table", f"<table>{source}</table>")), "tables")
    assert found.text.split() == [word for row in rows for cell in row for word in cell.split()]
    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize(
    "piece",
    [
        "\n",
        "\u2028",
        " ",
        "<",
        "<p ",
        "```\n",
        "- ",
        "\\",
        "$",
        "[ocrd:",
        "<table>\n",
        "&",
        "<table>\n \n",
        "~~~",
    ],
)
def test_no_piece_that_comes_again_and_again_takes_more_than_its_time(piece: str) -> None:
    heap = "x" + piece * (60_000 // len(piece)) + "x"
    begun = time.process_time()
    for mode in ("layout", "ocr"):
        assert as_md(("Text", heap), mode=mode)
        assert "".join(to_txt([model_page(("Text", heap), mode=mode)]))
    assert time.process_time() - begun < 5, "seconds; in proportion it is less than one"
