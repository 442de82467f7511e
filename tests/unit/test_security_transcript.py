"""Whatever a model writes: its Markdown loads nothing, opens nothing, runs nothing, and orders no terminal about."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.stores import recognition

from ocrd.domain.documents import Block, PageText
from ocrd.domain.models import CATEGORIES
from ocrd.pipeline.transcript import to_md, to_txt

TAGS = {
    *(
        "table",
        "thead",
        "tbody",
        "tfoot",
        "caption",
        "colgroup",
        "col",
        "tr",
        "td",
        "th",
        "br",
        "p",
        "b",
        "i",
        "u",
    ),
    *(
        "s",
        "em",
        "strong",
        "small",
        "span",
        "sup",
        "sub",
        "ul",
        "ol",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ),
    *("blockquote", "code", "pre", "hr", "del"),
}
"""What may be in a page: the tags of tables and of plain Markdown."""
VIEWERS = [MarkdownIt("commonmark"), MarkdownIt("commonmark").enable(["table", "strikethrough"])]
ORDERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1b\x7f-\x84\x86-\x9f]")

ATTACKS = [
    "<script>alert(1)</script>",
    '<img src="http://evil.example/x.png">',
    '<td onmouseover="alert(1)">x</td>',
    '<table background="http://evil.example/x"><tr><td style="background:url(file:///etc/passwd)">x</table>',
    "<p onclick=alert(1)>x</p>",
    "<span style='position:fixed;inset:0'>x</span>",
    "<td title='a>b' onclick='x'>x",
    "<td/onclick=alert(1)>",
    "<td\nonclick=alert(1)\n>",
    "<iframe src=file:///etc/passwd>",
    "<svg/onload=alert(1)>",
    "<style>@import 'http://evil.example'</style>",
    "<a href='javascript:alert(1)'>x</a>",
    "<\x00script>",
    "<scr\x1bipt>",
    "<!-- hidden -->",
    "![x](http://evil.example/x.png)",
    "![x](file:///etc/passwd)",
    "![x][r]\n\n[r]: http://evil.example/x.png",
    "![r]\n\n[r]: <http://evil.example/x.png> 'title'",
    "[x](javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x\\\\](http://evil.example)",
    "[x\\](http://evil.example)](http://evil.example)",
    "[x](http://evil.example 'title')",
    "<http://evil.example>",
    "<b@evil.example>",
    "$x$ ![x](http://evil.example)",
    "$![x](http://evil.example)$",
    "$$\n![x](http://evil.example)\n$$",
    "$ [x](javascript:alert(1))",
    "\\[ [x](http://evil.example) \\]",
    "<table><tr><td>$x$ ![x](http://evil.example)</td></tr><tr><td>y</td></tr></table>",
    "<table><tr><td colspan=2>![x](http://evil.example)</td></tr></table>",
    "<table><tr><td>\n\n![x](http://evil.example)\n\n</td></tr></table>",
    "text <table><tr><td>x</td></tr></table> ![x](http://evil.example)",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m\x90q\x9c",
    "a\rb",
]


class Page(HTMLParser):
    """What a viewer makes of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)


def written(text: str, category: str, mode: str, tables: str) -> str:
    block = Block(category=category, box=(0, 0, 9, 9), text=text)
    page = PageText(number=1, recognition=replace(recognition(text), blocks=(block,), prompt_mode=mode))
    return "".join(to_md([page], tables=tables))  # type: ignore[arg-type]


def assert_harmless(markdown: str) -> None:
    for viewer in VIEWERS:
        page = Page(viewer.render(markdown))
        assert page.tags <= TAGS, markdown
        for name, value in page.attributes:
            allowed = name in {"colspan", "rowspan"} and value and value.isdigit()
            aligned = name == "start" or (name == "class" and str(value).startswith("language-"))
            assert allowed or aligned, markdown


attacks = st.lists(
    st.sampled_from(ATTACKS)
    | st.sampled_from(
        ["[", "]", "(", ")", ":", "!", "\\", "<", ">", "\n", "\n\n", "$", "$$", "`", "```", "|", " ", "x"]
    )
    | st.sampled_from(
        ["<table>", "</table>", "<tr>", "<td>", "<td ", "<", "onclick=x", '"', "'", "&lt;", "&#91;", "-->"]
    )
    | st.sampled_from(
        ["http://evil.example", "javascript:x", "[r]: x", "![", "](", "]:", "> ", "- ", "1. ", "    "]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)
categories = st.sampled_from(sorted(CATEGORIES))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("category", ["Text", "Table", "Formula", "Picture", "Title"])
@pytest.mark.parametrize("tables", ["pipe", "html"])
@pytest.mark.parametrize("mode", ["layout", "ocr"])
def test_known_attacks_do_nothing(attack: str, category: str, tables: str, mode: str) -> None:
    assert_harmless(written(attack, category, mode, tables))


@settings(max_examples=400, deadline=None)
@given(attacks, categories, st.sampled_from(["layout", "ocr"]), st.sampled_from(["pipe", "html"]))
@example("$]($[x](y)", "Text", "layout", "pipe")
@example("$$ [x](y)", "Text", "layout", "pipe")
def test_nothing_that_a_model_writes_loads_opens_or_runs(
    text: str, category: str, mode: str, tables: str
) -> None:
    assert_harmless(written(text, category, mode, tables))


@given(st.text() | attacks, categories, st.sampled_from(["layout", "ocr"]))
def test_no_text_gives_a_terminal_orders(text: str, category: str, mode: str) -> None:
    assert not ORDERS.search(written(text, category, mode, "pipe"))
    page = PageText(number=1, recognition=recognition(text))
    plain = "".join(to_txt([page]))
    assert not ORDERS.search(plain)
    assert "\r" not in plain


@pytest.mark.parametrize(
    "attack",
    ["\\href{javascript:alert(1)}{x}", "\\includegraphics{http://evil.example}", "\\input{/etc/passwd}"],
)
@pytest.mark.parametrize("category", ["Text", "Formula", "Table"])
def test_no_formula_opens_or_loads(attack: str, category: str) -> None:
    for text in (attack, f"$x {attack}$", f"<table><tr><td colspan=2>${attack}$</td></tr></table>"):
        assert not re.search(r"\\(href|includegraphics|input)\b", written(text, category, "layout", "html"))


def test_what_is_harmless_stays_as_it_was() -> None:
    text = "f[0] and (x), n! and a\\]b, $f(x)[0]$; see chapter [3]."
    assert written(text, "Text", "layout", "pipe") == text + "\n"
    table = '<table><tr><td colspan="2">a</td></tr><tr><td rowspan="3">b</td><td>c<br>d</td></tr></table>'
    assert written(table, "Table", "layout", "html") == table + "\n"
