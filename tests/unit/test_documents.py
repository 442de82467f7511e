from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import recognition

from ocrd.domain.documents import RESULT_VERSION, Block, Box, MediaType, Recognition, Word

TEXT = st.text(max_size=40)
BOXES: st.SearchStrategy[Box] = st.tuples(*[st.integers(0, 20_000)] * 4)
CONFIDENCES = st.integers(0, 1000).map(lambda tenths: tenths / 10)
WORDS = st.builds(Word, text=TEXT, box=BOXES, confidence=CONFIDENCES, line=st.integers(0, 500))
BLOCKS = st.builds(
    Block,
    category=st.sampled_from(["Text", "Table", "Picture"]),
    box=BOXES,
    text=TEXT,
    words=st.none() | st.lists(WORDS, max_size=4).map(tuple),
    confidence=st.none() | CONFIDENCES,
)
RECOGNITIONS = st.builds(
    Recognition,
    text=TEXT,
    blocks=st.lists(BLOCKS, max_size=4).map(tuple),
    finish=st.sampled_from(["stop", "length"]),
    engine=TEXT,
    model_revision=TEXT,
    prompt_mode=TEXT,
    sampling=st.dictionaries(TEXT, st.floats(0, 2), max_size=2),
    dpi=st.floats(20, 1200),
    tokens=st.integers(0, 100_000),
    seconds=st.integers(0, 10**7).map(lambda ms: ms / 1000),
    rotation=st.sampled_from([0, 90, 180, 270]),
    confidence=st.none() | CONFIDENCES,
)


@given(RECOGNITIONS)
def test_a_result_comes_back_from_its_json_as_it_was(result: Recognition) -> None:
    assert Recognition.from_json(json.loads(json.dumps(result.to_json(), ensure_ascii=False))) == result


def test_what_is_finer_than_a_millisecond_or_a_tenth_of_a_percent_is_not_kept() -> None:
    word = Word(text="a", box=(0, 0, 1, 1), confidence=95.26, line=0)
    block = Block(category="Text", box=(0, 0, 1, 1), text="a", words=(word,))
    stored = replace(recognition("a"), blocks=(block,), seconds=0.12345).to_json()
    assert stored["seconds"] == 0.123
    assert stored["blocks"][0]["words"] == [["a", 0, 0, 1, 1, 95.3, 0]]


def test_a_result_of_a_newer_ocrd_is_refused() -> None:
    data = {**recognition().to_json(), "version": RESULT_VERSION + 1}
    with pytest.raises(ValueError, match=f"version {RESULT_VERSION + 1}"):
        Recognition.from_json(data)


def test_everything_but_a_pdf_is_an_image() -> None:
    assert [media for media in MediaType if not media.is_image] == [MediaType.PDF]
