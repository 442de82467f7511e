from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocrd.domain.models import CATEGORIES
from ocrd.pipeline.recognizer.cells import Cell, CellReader, parse_cells


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


CONTRACT = [
    cell("# Договор № 15", "Title"),
    cell('ООО «Ромашка» и "Лютик";\n\tг. Тверь, C:\\new, "x"\n"y", z }, {x: [1]}'),
    cell(None, "Picture"),
    cell("Итого: 0,00 руб.\nto be or\nother", "List-item"),
    cell("Итого: 0,00 руб.\nto be or\nother", "List-item"),
]
ARTICLE = [
    cell(
        "\\begin{aligned}\n\\frac{a}{b} &= \\nabla \\times \\beta_{1} \\\\\nx &\\to \\nu\n\\end{aligned}",
        "Formula",
    ),
    cell("где $\\alpha \\neq 0$ и 😀 \u2028 \U0001d6fc", "Text"),
    cell("Рис. 1", "Caption"),
]
BILL = [
    cell('<table><tr><td colspan="2">Итого</td><td>1 "а"</td></tr><tr><td></td></tr></table>', "Table"),
    cell("стр. 1 из 2", "Page-footer"),
]
CUT = [
    dumped(*cells, **how)
    for cells in (CONTRACT, ARTICLE, BILL)
    for how in ({}, {"ensure_ascii": True}, {"indent": 1})
]


def said(answer: str) -> str:
    return "".join(one.text or "" for one in parse_cells(answer).cells)


@pytest.mark.parametrize("answer", CUT, ids=range(len(CUT)))
def test_an_answer_that_is_cut_anywhere_keeps_all_that_had_come(answer: str) -> None:
    whole = json.loads(answer)
    longest = 0
    for length in range(len(answer)):
        parsed = parse_cells(answer[:length])
        closed = [one for one in parsed.cells if one.complete]
        assert [(list(one.bbox or ()), one.category, one.text) for one in closed] == [
            (one["bbox"], one["category"], one.get("text")) for one in whole[: len(closed)]
        ]
        assert len(parsed.cells) - len(closed) <= 1
        for one in parsed.cells[len(closed) :]:
            assert (whole[len(closed)].get("text") or "").startswith(one.text or "")
            assert one.bbox in {None, tuple(whole[len(closed)]["bbox"])}
        assert parsed.leftover == ""
        assert ("the answer was cut off" in parsed.salvaged) is bool(parsed.cells)
        longest = max(longest, len(closed))
    assert longest == len(whole)


@pytest.mark.parametrize("formula", ["x \\nabla \\times \\beta", "\\frac{a}{b} \\to \\nu \\rightarrow"])
def test_a_command_that_is_cut_in_its_name_makes_no_tab_of_it(formula: str) -> None:
    answer = f'[{{"bbox": [1, 2, 3, 4], "category": "Formula", "text": "{formula}'
    for length in range(len(answer)):
        assert formula.startswith(said(answer[:length]))


@pytest.mark.parametrize("end", ["\\", "\\u", "\\u04", "\\u041", "\\ud83d", "\\ud83d\\", "\\ud83d\\ude0"])
def test_half_of_a_character_is_left_out(end: str) -> None:
    parsed = parse_cells('[{"bbox": [1, 2, 3, 4], "category": "Text", "text": "слово' + end)
    assert [(one.text, one.complete) for one in parsed.cells] == [("слово", False)]


# --- while the answer comes ---------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([*SIGNS, "'", *CUT[:2], '{"bbox":', '"},{"text":"']), max_size=30), st.randoms()
)
def test_how_an_answer_is_cut_into_chunks_changes_nothing(pieces: list[str], chance: random.Random) -> None:
    answer = "".join(pieces)
    reader, fed = CellReader(), list[Cell]()
    at = 0
    while at < len(answer):
        length = chance.choice([1, 1, 3, 20, 500])
        fed += reader.feed(answer[at : at + length])
        at += length
    assert reader.finish() == parse_cells(answer)
    assert reader.finish().cells[: len(fed)] == tuple(fed)


@pytest.mark.parametrize("answer", CUT, ids=range(len(CUT)))
def test_a_cell_comes_as_soon_as_the_next_one_has_begun(answer: str) -> None:
    reader = CellReader()
    fed = [(length, one) for length, letter in enumerate(answer) for one in reader.feed(letter)]
    assert tuple(one for _, one in fed) == parse_cells(answer).cells[:-1]
    for number, (length, _) in enumerate(fed):
        assert answer[: length + 1].count("bbox") == number + 2


def test_what_there_is_can_be_asked_for_at_any_time() -> None:
    reader = CellReader()
    for length, letter in enumerate(CUT[0][:200]):
        reader.feed(letter)
        assert reader.finish() == parse_cells(CUT[0][: length + 1])


@pytest.mark.parametrize(
    "answer",
    [
        dumped(*[cell(f"строка {index}, {{}}: сумма") for index in range(2500)]),
        dumped(cell("{" + '{"text": ' * 20_000)),
        "[{'text':'" + '{"text": ' * 20_000,
        '{"text":"a" ' * 16_000,
    ],
    ids=["cells", "one text", "within quotes", "never closed"],
)
def test_a_stream_of_single_characters_takes_time_in_proportion(answer: str) -> None:
    assert len(answer) > 180_000
    reader = CellReader()
    begun = time.process_time()
    for letter in answer:
        reader.feed(letter)
    assert reader.finish() == parse_cells(answer)
    assert time.process_time() - begun < 10, "seconds; in proportion it is less than one"


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


def test_equal_rows_are_all_kept() -> None:
    rows = [cell("Итого: 0,00 руб.", bbox=(1, top, 30, top + 9)) for top in range(6)]
    assert texts(dumped(*rows)) == ["Итого: 0,00 руб."] * 6


def test_cells_with_the_same_box_are_all_kept() -> None:
    assert texts(dumped(cell("a"), cell("b"))) == ["a", "b"]


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
        '[{"bbox": [1,2,3,4], "category": "Text" text": "a"}]',
        '[{bbox: [1,2,3,4], category: "Text", text: "a"}]',
        "[{'bbox': (1,2,3,4), 'category': 'Text', 'text': 'a', 'score': None},]",
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


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"text": "a"}', "a"),
        ('{"ru": "a", "score": 1}', "a"),
        ('["a", "b \\"c\\""]', 'a\nb "c"'),
        ('"a", "meta": {"k": "v"}', "a"),
        ('"a", "lines": ["x", "y"], "ok": true', "a"),
        ("12.50", "12.50"),
        ("null", ""),
        ("None", ""),
    ],
)
def test_json_is_read_as_json_says_whatever_its_keys_and_values(text: str, read: str) -> None:
    one = f'{{"bbox": [1,2,3,4], "category": "Text", "text": {text}}}'
    parsed = parse_cells(f"[{one},{one}]")
    assert [(cell.text, cell.complete) for cell in parsed.cells] == [(read, True)] * 2
    assert parsed.leftover == ""


WORDS = ["альфа", "бета", "гамма", "дельта {x}", 'тета "q" т', "мю ню"]


@settings(max_examples=300)
@given(st.data())
def test_no_word_is_lost_with_the_signs_of_json(data: st.DataObject) -> None:
    answer = dumped(*[cell(word, data.draw(st.sampled_from(["Text", "Formula"]))) for word in WORDS[:4]])
    signs = [at for at, letter in enumerate(answer) if letter in '{}[],:"\\']
    gone = data.draw(st.sets(st.sampled_from(signs), max_size=4))
    parsed = parse_cells("".join(letter for at, letter in enumerate(answer) if at not in gone))
    kept = " ".join([*(one.text or "" for one in parsed.cells), parsed.leftover])
    assert [word.split()[0] in kept for word in WORDS[:4]] == [True] * 4


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
