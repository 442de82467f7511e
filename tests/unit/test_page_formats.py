"""JSON, hOCR and ALTO hold what was read, whatever that is, and are read by tools that nobody here wrote."""

from __future__ import annotations

import io
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import hocr.parse
import jsonschema
import pytest
from alto_tools import alto_tools
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

import ocrd
from ocrd.domain.documents import Block, MediaType, PageText, Raster, Recognition, Source, Word
from ocrd.pipeline.page_json import to_json
from ocrd.pipeline.page_xml import to_alto, to_hocr
from ocrd.pipeline.transcript import Renderer

XHTML = "{http://www.w3.org/1999/xhtml}"
ALTO = "{http://www.loc.gov/standards/alto/ns-v4#}"
SOURCE = Source(name="Счёт.pdf", sha256="0" * 64, media_type=MediaType.PDF, pages=2)
SIDES = st.integers(0, 3000)
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(
    lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
WORDS = st.builds(Word, text=TEXTS, box=BOXES, confidence=st.floats(0, 100), line=st.integers(0, 3))
BLOCKS = st.builds(
    Block,
    category=st.sampled_from(["Text", "Table", "Picture", "Title"]),
    box=BOXES,
    text=TEXTS,
    words=st.none()
    | st.lists(WORDS, max_size=5).map(lambda words: tuple(sorted(words, key=lambda word: word.line))),
    confidence=st.none() | st.floats(0, 100),
)
PAGES = st.lists(
    st.builds(
        Recognition,
        text=TEXTS,
        blocks=st.lists(BLOCKS, max_size=4).map(tuple),
        finish=st.just("stop"),
        engine=st.just("tesseract"),
        model_revision=TEXTS,
        prompt_mode=st.just("psm3"),
        sampling=st.dictionaries(st.sampled_from(["temperature", "top_p"]), st.floats(0, 1)),
        dpi=st.floats(50, 600),
        tokens=st.integers(0, 5000),
        seconds=st.floats(0, 100),
        rotation=st.sampled_from([0, 90, 180, 270]),
        width=st.integers(0, 5000),
        height=st.integers(0, 5000),
    )
    | st.none(),
    min_size=1,
    max_size=4,
).map(
    lambda found: [
        PageText(
            number=number,
            recognition=read,
            raster=Raster(width=10 * number, height=20, dpi=150.0)
            if read is None and number % 2 == 0
            else None,
            blank=read is None and number % 2 == 0,
            reason="it hung <&>",
        )
        for number, read in enumerate(found, 1)
    ]
)


@cache
def validator() -> Any:
    schema = json.loads((Path(ocrd.__file__).parent / "schemas" / "document-1.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def two_words() -> PageText:
    words = tuple(
        Word(text=text, box=(left, 20, left + 50, 40), confidence=91.5, line=0)
        for text, left in (("Счёт", 10), ("R&D", 70))
    )
    block = Block(category="Text", box=(10, 20, 120, 40), text="Счёт R&D", words=words, confidence=91.5)
    read = Recognition(
        text=block.text,
        blocks=(block,),
        finish="stop",
        engine="tesseract",
        model_revision="5.5",
        prompt_mode="psm3",
        dpi=200.0,
        tokens=0,
        seconds=0.5,
        width=1654,
        height=2339,
    )
    return PageText(number=1, recognition=read, verdict="ok")


def joined(chunks: Iterable[str]) -> bytes:
    return "".join(chunks).encode()


@given(PAGES)
def test_json_is_what_its_schema_says(pages: list[PageText]) -> None:
    data = json.loads(joined(to_json(pages, SOURCE)))
    validator().validate(data)
    assert [page["number"] for page in data["pages"]] == [page.number for page in pages]


def test_json_tells_what_was_read_where_and_by_whom() -> None:
    (page,) = json.loads(joined(to_json([two_words()], SOURCE)))["pages"]
    assert page["state"] == "done"
    assert page["image"] == {"width": 1654, "height": 2339, "dpi": 200.0, "rotation": 0}
    assert page["provenance"]["engine"] == "tesseract"
    assert page["blocks"][0]["words"][1] == {
        "text": "R&D",
        "bbox": [70, 20, 120, 40],
        "confidence": 91.5,
        "line": 0,
    }


def test_json_tells_why_a_page_has_no_text() -> None:
    (page,) = json.loads(
        joined(to_json([PageText(number=1, reason_code="render_timeout", reason="it hung")], SOURCE))
    )["pages"]
    assert (page["state"], page["reason_code"], page["reason"]) == ("failed", "render_timeout", "it hung")


def test_the_schema_refuses_what_is_wrong() -> None:
    data = json.loads(joined(to_json([two_words()], SOURCE)))
    del data["pages"][0]["provenance"]
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(data)


@given(PAGES)
def test_hocr_is_sound_xhtml_with_every_word(pages: list[PageText]) -> None:
    root = ET.fromstring(joined(to_hocr(pages, SOURCE)))
    classes = [element.get("class") for element in root.iter()]
    assert classes.count("ocr_page") == len(pages)
    blocks = [block for page in pages if page.recognition for block in page.recognition.blocks]
    words = sum(len(block.words) for block in blocks if block.words and block.category != "Picture")
    assert classes.count("ocrx_word") >= words
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_hocr_is_read_by_the_tools_of_the_internet_archive() -> None:
    page = next(hocr.parse.hocr_page_iterator(io.BytesIO(joined(to_hocr([two_words()], SOURCE)))))
    assert hocr.parse.hocr_page_get_dimensions(page) == (1654, 2339)
    (paragraph,) = hocr.parse.hocr_page_to_word_data(page)
    (line,) = paragraph["lines"]
    assert [(word["text"], word["bbox"]) for word in line["words"]] == [
        ("Счёт", [10, 20, 60, 40]),
        ("R&D", [70, 20, 120, 40]),
    ]


@pytest.mark.parametrize("render", [to_hocr, to_alto])
def test_a_page_without_text_says_why(render: Renderer) -> None:
    pages = [
        PageText(number=1, blank=True),
        PageText(number=2, reason_code="engine_timeout", reason="it took --> too long"),
        PageText(number=3, reason_code="engine_timeout"),
    ]
    root = etree.fromstring(joined(render(pages, SOURCE)))
    told = [str(comment.text).strip() for comment in root.iter(etree.Comment)]
    assert told == [
        "no text: the page is blank",
        "no text: it took \u2011\u2011> too long",
        "no text: engine_timeout",
    ]


@pytest.mark.parametrize("render", [to_hocr, to_alto])
@given(reason=st.text(max_size=60))
def test_no_reason_breaks_the_document(render: Renderer, reason: str) -> None:
    root = etree.fromstring(joined(render([PageText(number=1, reason_code="x", reason=reason)], SOURCE)))
    assert len(list(root.iter(etree.Comment))) == 1


@given(PAGES)
def test_alto_is_sound_xml_with_every_page(pages: list[PageText]) -> None:
    root = etree.fromstring(joined(to_alto(pages, SOURCE)))
    assert [page.get("PHYSICAL_IMG_NR") for page in root.iter(f"{ALTO}Page")] == [
        str(page.number) for page in pages
    ]
    schema = alto_schema()
    if schema is not None:
        schema.assertValid(root)


@cache
def alto_schema() -> Any:
    """The published schema, which is no part of this project: OCRD_TEST_ALTO_XSD names a copy of alto-4-4.xsd, beside which
    lies the xlink.xsd that it imports."""
    path = os.environ.get("OCRD_TEST_ALTO_XSD")
    return None if path is None else etree.XMLSchema(etree.parse(path))


def test_alto_is_valid_against_the_published_schema() -> None:
    schema = alto_schema()
    if schema is None:
        pytest.skip("OCRD_TEST_ALTO_XSD names no copy of the Library of Congress' alto-4-4.xsd")
    schema.assertValid(
        etree.fromstring(joined(to_alto([two_words(), PageText(number=2, blank=True)], SOURCE)))
    )


def test_alto_is_read_by_alto_tools(capsys: pytest.CaptureFixture[str]) -> None:
    _, tree, namespace = alto_tools.alto_parse(io.BytesIO(joined(to_alto([two_words()], SOURCE))))
    alto_tools.alto_text(tree, namespace)
    assert capsys.readouterr().out.split() == ["Счёт", "R&D"]


def test_an_engine_without_words_has_lines() -> None:
    page = two_words()
    assert page.recognition is not None
    block = Block(category="Text", box=(0, 0, 100, 40), text="First line\nsecond")
    read = Recognition.from_json({**page.recognition.to_json(), "blocks": []})
    lines = PageText(number=1, recognition=Recognition(**{**_fields(read), "blocks": (block,)}))
    root = etree.fromstring(joined(to_alto([lines], SOURCE)))
    assert [string.get("CONTENT") for string in root.iter(f"{ALTO}String")] == ["First line", "second"]
    assert b"WC=" not in joined(to_alto([lines], SOURCE))
    assert b"x_wconf" not in joined(to_hocr([lines], SOURCE))
    (paragraph,) = hocr.parse.hocr_page_to_word_data(
        next(hocr.parse.hocr_page_iterator(io.BytesIO(joined(to_hocr([lines], SOURCE)))))
    )
    assert [line["words"][0]["text"] for line in paragraph["lines"]] == ["First line", "second"]


@pytest.mark.parametrize(
    "name",
    ["scan.pdf", 'a "b" & <c>; d.pdf', "it's.pdf", r"\x1b[31m.pdf", "a--b.pdf", "\ufffe\x00.pdf"],
)
def test_outputs_name_the_document_and_no_name_breaks_them(name: str) -> None:
    source = replace(SOURCE, name=name)
    data = json.loads(joined(to_json([two_words()], source)))
    validator().validate(data)
    assert data["source"] == {
        "name": name,
        "sha256": "0" * 64,
        "media_type": "application/pdf",
        "pages": 2,
    }
    shown = name.translate({0xFFFE: "\ufffd", 0: "\ufffd"})
    html = etree.fromstring(joined(to_hocr([two_words()], source)))
    assert html.findtext(f"{XHTML}head/{XHTML}title") == shown
    (title,) = (div.get("title", "") for div in html.iter(f"{XHTML}div") if div.get("class") == "ocr_page")
    properties = title.split("; ")
    assert [words.split()[0] for words in properties] == ["bbox", "image", "ppageno", "scan_res"]
    assert properties[1] == 'image "' + shown.replace('"', "%22").replace(";", "%3B") + '"'
    alto = etree.fromstring(joined(to_alto([two_words()], source)))
    assert alto.findtext(f"{ALTO}Description/{ALTO}sourceImageInformation/{ALTO}fileName") == shown
    schema = alto_schema()
    if schema is not None:
        schema.assertValid(alto)


def test_a_blank_page_that_was_rendered_has_its_size() -> None:
    page = PageText(number=1, blank=True, raster=Raster(width=1654, height=2339, dpi=200.0))
    (said,) = json.loads(joined(to_json([page], SOURCE)))["pages"]
    assert said["image"] == {"width": 1654, "height": 2339, "dpi": 200.0, "rotation": 0}
    assert b"title='bbox 0 0 1654 2339; image \"" in joined(to_hocr([page], SOURCE))
    assert b"; scan_res 200 200'" in joined(to_hocr([page], SOURCE))
    alto = etree.fromstring(joined(to_alto([page], SOURCE)))
    for kind in ("Page", "PrintSpace"):
        (found,) = alto.iter(f"{ALTO}{kind}")
        assert (found.get("WIDTH"), found.get("HEIGHT")) == ("1654", "2339")


def test_nothing_is_said_of_the_size_of_a_page_that_was_not_rendered() -> None:
    page = PageText(number=1, reason_code="render_failed", reason="it is damaged")
    (said,) = json.loads(joined(to_json([page], SOURCE)))["pages"]
    assert "image" not in said
    assert b"bbox 0 0 0 0" in joined(to_hocr([page], SOURCE))  # hOCR demands one
    assert b"scan_res" not in joined(to_hocr([page], SOURCE))
    for side in (b"WIDTH", b"HEIGHT", b"HPOS"):
        assert side not in joined(to_alto([page], SOURCE))


def test_a_result_of_an_older_ocrd_that_noted_no_size_is_rendered_without_one() -> None:
    page = two_words()
    assert page.recognition is not None
    old = page.recognition.to_json()
    del old["width"], old["height"]
    page = replace(page, recognition=Recognition.from_json(old))
    data = json.loads(joined(to_json([page], SOURCE)))
    validator().validate(data)
    assert data["pages"][0]["image"] == {"dpi": 200.0, "rotation": 0}
    assert b"bbox 0 0 120 40; image" in joined(to_hocr([page], SOURCE))  # what its blocks reach to
    alto = etree.fromstring(joined(to_alto([page], SOURCE)))
    assert [found.get("WIDTH") for found in alto.iter(f"{ALTO}Page", f"{ALTO}PrintSpace")] == [None, None]


def _fields(read: Recognition) -> dict[str, Any]:
    return {name: getattr(read, name) for name in Recognition.__dataclass_fields__}
