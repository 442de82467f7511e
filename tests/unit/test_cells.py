from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.models import CATEGORIES
from ocrd.pipeline.recognizer.cells import parse_cells


def cell(text: str | None = "Счёт № 1", category: str = "Text", bbox: Any = (1, 2, 30, 40)) -> dict[str, Any]:
    return {"bbox": list(bbox), "category": category, **({} if text is None else {"text": text})}


def dumped(*cells: dict[str, Any], **how: Any) -> str:
    return json.dumps(cells, **{"ensure_ascii": False, **how})


def texts(answer: str) -> list[str | None]:
    return [one.text for one in parse_cells(answer).cells]


ANSWER = dumped(
    cell("# Договор № 15", "Title"),
    cell('Стороны: ООО «Ромашка» и "Лютик";\nдата 01.02.2026', "Text"),
    cell("\\frac{a}{b} + x_{1} \\neq \\beta", "Formula"),
    cell("<table><tr><td>Итого</td><td>1 234,56</td></tr></table>", "Table"),
    cell(None, "Picture"),
    cell("Итого: 0,00 руб.", "List-item"),
    cell("Итого: 0,00 руб.", "List-item"),
    cell("C:\\new\\table {не ключ: [1]}", "Page-footer"),
)


def test_a_whole_answer_comes_out_as_it_is() -> None:
    parsed = parse_cells(ANSWER)
    assert [(list(one.bbox or ()), one.category, one.text) for one in parsed.cells] == [
        (one["bbox"], one["category"], one.get("text")) for one in json.loads(ANSWER)
    ]
    assert (parsed.salvaged, parsed.leftover) == ((), "")
    assert all(one.complete for one in parsed.cells)


@pytest.mark.parametrize("how", [{"ensure_ascii": True}, {"indent": 2}, {"separators": (",", ":")}])
def test_the_way_it_is_written_does_not_matter(how: dict[str, Any]) -> None:
    assert parse_cells(dumped(*json.loads(ANSWER), **how)).cells == parse_cells(ANSWER).cells


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "bbox": st.lists(st.integers(0, 9999), min_size=4, max_size=4),
                "category": st.sampled_from(CATEGORIES),
                "text": st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\b\f\n\r\t")),
            }
        ),
        max_size=6,
    )
)
def test_whatever_json_says_is_read(cells: list[dict[str, Any]]) -> None:
    """Of the control characters JSON's escapes are letters too, which `test_latex…` is about."""
    found = parse_cells(json.dumps(cells)).cells
    assert [(list(one.bbox or ()), one.category, one.text) for one in found] == [
        (one["bbox"], one["category"], one["text"]) for one in cells
    ]


@given(st.text())
def test_no_text_can_make_it_raise_and_prose_is_kept(text: str) -> None:
    parsed = parse_cells(text)
    if not set("{}[]\"'`:\\,") & set(text) and any(letter.isalnum() for letter in text):
        assert parsed.leftover == text.strip(" \t\r\n")
        assert parsed.cells == ()


SIGNS = [*"{}[]\":,\\`\n'ab1 ", '"text"', '"bbox"', '"category"', "[1,2,3,4]"]


@given(st.lists(st.sampled_from(SIGNS), max_size=60).map("".join))
def test_no_heap_of_json_signs_can_make_it_raise(text: str) -> None:
    for one in parse_cells(text).cells:
        assert one.category in CATEGORIES


TURNED = dumped(*[dict(reversed(one.items())) for one in json.loads(ANSWER)])
ANSWERS = [ANSWER, dumped(*json.loads(ANSWER), ensure_ascii=True), dumped(*json.loads(ANSWER), indent=1)]


@pytest.mark.parametrize("answer", ANSWERS, ids=["letters", "escapes", "indented"])
@given(st.data())
def test_an_answer_that_is_cut_anywhere_keeps_all_that_had_come(answer: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(answer)))
    whole = parse_cells(answer).cells
    parsed = parse_cells(answer[:length])
    found = parsed.cells
    complete = [one for one in found if one.complete]
    assert complete == list(whole[: len(complete)])
    assert len(found) - len(complete) <= 1
    if len(found) > len(complete) and found[-1].text is not None:
        expected = whole[len(complete)].text
        assert expected is not None
        assert expected.startswith(found[-1].text.removesuffix("\\"))
        assert found[-1].bbox == whole[len(complete)].bbox
    assert parsed.leftover == ""
    assert ("the answer was cut off" in parsed.salvaged) is (bool(found) and length < len(answer))


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        '"',
        "'",
        "$",
        "\\",
        '{"text":"',
        '" ',
        '"' + " " * 50,
        '{"bbox":',
        '"},',
        '{"category":"',
        '"text":',
        "{'",
    ],
)
def test_no_piece_that_comes_again_and_again_takes_more_than_its_time(piece: str) -> None:
    heap = piece * (200_000 // len(piece))
    begun = time.process_time()
    for start in ("", '[{"text":"', '[{"text":"a" '):
        parse_cells(start + heap)
    assert time.process_time() - begun < 10, "seconds; in proportion it is less than one"


def test_a_long_answer_takes_time_in_proportion() -> None:
    many = dumped(*[cell(f'строка {index} с "кавычками" и {{скобками}}') for index in range(20_000)])
    assert len(parse_cells(many).cells) == 20_000


# --- what models do to JSON ---------------------------------------------------------------------------------


def test_latex_of_a_cut_answer_is_not_edited() -> None:
    answer = dumped(cell("a"), cell("\\frac{a}{b}+x_{1}", "Formula"), cell("ещё не всё"))[:-5]
    assert texts(answer)[:2] == ["a", "\\frac{a}{b}+x_{1}"]
    assert (texts(answer)[2] or "").startswith("ещё")


@pytest.mark.parametrize(
    "formula",
    [
        "\\alpha + \\frac{1}{2}",
        "\\backslash \\because \\footnotesize",
        "\\nu \\to \\rm",
        "\\tg x \\texttt{a}",
        "\\nabla \\times \\beta",
        "x \\neq y \\to z",
        "\\rho_{1} \\text{кг}",
    ],
)
def test_latex_without_doubled_backslashes_keeps_them(formula: str) -> None:
    answer = f'[{{"bbox": [1, 2, 3, 4], "category": "Formula", "text": "{formula}"}}]'
    assert texts(answer) == [formula]


def test_a_short_command_behind_a_dollar_is_one_and_before_a_word_it_is_a_line() -> None:
    answer = r'[{"bbox": [1, 2, 3, 4], "category": "Text", "text": "$\nu$ и $$\to$$\ni \tg"}]'
    assert texts(answer) == ["$\\nu$ и $$\\to$$\ni \tg"]


def test_new_lines_and_tabs_before_words_stay_what_they_are() -> None:
    assert texts(dumped(cell("a\nto b\tone\nnext\nновая\nrat"))) == ["a\nto b\tone\nnext\nновая\nrat"]


def test_one_quote_that_is_not_escaped_costs_nothing() -> None:
    answer = (
        '[{"bbox":[1,2,3,4],"category":"Text","text":"до"},'
        '{"bbox":[1,2,3,4],"category":"Text","text":"фирма "Лютик", г. Тверь"},'
        '{"bbox":[1,2,3,4],"category":"Formula","text":"\\\\frac{a}{b}"},'
        '{"bbox":[1,2,3,4],"category":"Text","text":"после"}]'
    )
    assert texts(answer) == ["до", 'фирма "Лютик", г. Тверь', "\\frac{a}{b}", "после"]
    assert "a quote inside a text was not escaped" in parse_cells(answer).salvaged


def test_equal_rows_and_equal_boxes_are_all_kept() -> None:
    assert texts(dumped(*[cell("Итого: 0,00 руб.")] * 6)) == ["Итого: 0,00 руб."] * 6


def test_a_fence_and_prose_around_the_list_cost_nothing() -> None:
    parsed = parse_cells("Вот результат:\n```json\n" + dumped(cell("a"), cell("b")) + "\n```\n")
    assert [one.text for one in parsed.cells] == ["a", "b"]
    assert parsed.leftover == "Вот результат"
    assert parsed.salvaged == ()


def test_one_long_cut_cell_keeps_its_text_with_quotes() -> None:
    answer = '[{"bbox": [1, 2, 3, 4], "category": "Text", "text": "Слово \\"в кавычках\\" и дальше, и ещё'
    parsed = parse_cells(answer)
    assert [one.text for one in parsed.cells] == ['Слово "в кавычках" и дальше, и ещё']
    assert not parsed.cells[0].complete


def test_a_refusal_is_no_empty_page() -> None:
    parsed = parse_cells("I'm sorry, I can't read this image.")
    assert (parsed.cells, parsed.leftover) == ((), "I'm sorry, I can't read this image.")


@pytest.mark.parametrize("said", ['{"error": "cannot read"}', "Площадь {кв. м} \\frac{a}{b}", '["Иванов"]'])
def test_braces_around_it_do_not_make_an_answer_without_cells_empty(said: str) -> None:
    parsed = parse_cells(f"```json\n{said}\n```")
    assert (parsed.cells, parsed.leftover) == ((), said)


@pytest.mark.parametrize("answer", [" [] ", "", "{}", '{"layout": []}', "```json\n[]\n```"])
def test_an_empty_list_is_one(answer: str) -> None:
    parsed = parse_cells(answer)
    assert (parsed.cells, parsed.salvaged, parsed.leftover) == ((), (), "")


@pytest.mark.parametrize(
    "answer",
    [
        '{"bbox": [1,2,3,4], "category": "Text", "text": "a"}',
        '{"layout": [{"bbox": [1,2,3,4], "category": "Text", "text": "a"}]}',
        '[{"bbox": [1,2,3,4], "category": "Text", "text": "a"},]',
        "[{'bbox': [1,2,3,4], 'category': 'Text', 'text': 'a'}]",
        '[{"text": "a", "category": "Text", "bbox": [1,2,3,4]}]',
        '[{"bbox": [1.0, 2, "3", 4.2], "category": "Text", "text": "a"}]',
        '[{"bbox": [1,2,3,4, "category": "Text", "text": "a"}]',
        '[{"bbox": [1,2,3,4], "score": 0.5, "category": "Text", "text": "a"}]',
        '[{"bbox": [1,2,3,4], "language": "ru", "category": "Text", "text": "a"}]',
        '[{"bbox": [1,2,3,4], "category": "Text", "content": "a"}]',
        '[{"bbox": [1,2,3,4], "category": "Text, "text": "a"}]',
        '[{"bbox": [1,2,3,4], "category": Text, "text": "a"}]',
        '[{"bbox": [1,2,3,4], "category": "Text" "text": "a"}]',
        '[{"bbox": [1,2,3,4], "category": "Text", "text": a"}]',
        '[{"bbox": [1,2,3,4], "category": "Text", "text": "a"}\n```\nThat is the whole page; it\'s done.',
    ],
)
def test_other_ways_to_write_a_cell(answer: str) -> None:
    (one,) = parse_cells(answer).cells
    assert (one.bbox, one.category, one.text, one.complete) == ((1, 2, 3, 4), "Text", "a", True)


@pytest.mark.parametrize(
    ("text", "signs"), [("x_{1}", "}, "), ("x_{1}", "}\n"), ("итого", "},"), ("итого", ", "), ("итого", "")]
)
def test_a_text_without_its_last_quote_ends_before_the_next_key(text: str, signs: str) -> None:
    first, second = f'{{"bbox":[1,2,3,4],"text":"{text}', '{"bbox":[5,6,7,8],"text":"b"}'
    parsed = parse_cells(f"[{first}{signs}{second}]")
    assert [one.text for one in parsed.cells] == [text, "b"]
    assert "a text without its last quote" in parsed.salvaged


@pytest.mark.parametrize(
    "inside", ['код {"a": "b"}, потом', '"да"}, нет', '["x"], y', '{"a", {"b"}}, "c"', "'"]
)
def test_quotes_beside_braces_do_not_end_a_text(inside: str) -> None:
    one = f'{{"bbox":[1,2,3,4],"category":"Text","text":"{inside}"}}'
    assert texts(f"[{one},{one}]") == [inside, inside]


def test_text_between_cells_is_kept() -> None:
    one = json.dumps(cell("a"))
    parsed = parse_cells(f"[{one} и ещё {one}]")
    assert ([one.text for one in parsed.cells], parsed.leftover) == (["a", "a"], "и ещё")


@pytest.mark.parametrize("between", ["", " ", "\n", ",,", "}, "])
def test_cells_need_no_commas_between_them(between: str) -> None:
    one = json.dumps(cell("a"))
    assert texts(f"[{one}{between}{one}]") == ["a", "a"]


@pytest.mark.parametrize("bbox", ["[1, 2, 3]", "[1,2,3,4,5]", "[]", '"x"', "null", "[1,2,3,1e300]"])
def test_a_box_that_makes_no_sense_costs_the_box_only(bbox: str) -> None:
    parsed = parse_cells(f'[{{"bbox": {bbox}, "category": "Title", "text": "a"}}]')
    assert [(one.bbox, one.category, one.text) for one in parsed.cells] == [(None, "Title", "a")]
    assert "a cell without a usable box" in parsed.salvaged


def test_an_unknown_category_is_text_and_is_noted() -> None:
    parsed = parse_cells(dumped(cell("a", "Stamp")))
    assert parsed.cells[0].category == "Text"
    assert parsed.salvaged == ("unknown category 'Stamp'",)


def test_raw_line_breaks_and_control_characters_are_text() -> None:
    assert texts('[{"bbox": [1,2,3,4], "category": "Text", "text": "a\nb\x01c"}]') == ["a\nb\x01c"]


def test_escapes_of_characters_outside_of_the_first_plane() -> None:
    assert texts('[{"bbox":[1,2,3,4],"category":"Text","text":"\\ud83d\\ude00 \\ud83d"}]') == ["😀 \ufffd"]
