"""What the server does with a request: the truth, or one of the many ways in which a model or a server goes wrong.

A behaviour is a name, or `{"do": name, ...}` with its parameters, which its function lists with their defaults.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import pages
from .requests import Asked

Cell = dict[str, Any]
Behaviour = str | dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is going to be sent, and how."""

    text: bytes = b""
    endless: Callable[[], Iterator[bytes]] | None = None
    """Goes on behind the text until the request's limit."""
    finish: str = "stop"
    """`!...`: no word of the protocol, but what happens to the connection."""
    instant: str = ""
    """What happens before the model sees the request."""
    tps: float | None = None
    unlimited: bool = False
    """Whether the request's limit is ignored."""
    stall: bool = False
    """Whether it never ends, behind the text."""
    wire: str = "plain"
    """`bad_sse`, `invalid_utf8`, `wrong_json`."""
    usage_off_by: int | None = 0
    """None: no usage at all."""

    def total(self, limit: int) -> tuple[float, str]:
        """Tokens until it ends, and how; a complete answer has one more, its end."""
        if self.stall:
            return math.inf, self.finish
        size = math.inf if self.endless else len(self.text) + (self.finish == "stop")
        if size <= limit or self.unlimited:
            return size, self.finish
        return limit, "length"

    def bytes_of(self) -> Iterator[bytes]:
        """The answer, piece by piece."""
        yield self.text
        if self.endless:
            yield from self.endless()


@dataclass(frozen=True, slots=True)
class Truth:
    """What stands on the image, and the form that it was asked for in."""

    asked: Asked
    cells: list[Cell]

    @property
    def with_boxes(self) -> bool:
        """Whether JSON is asked for."""
        return self.asked.mode in {"layout", "layout_only"}

    def write(self, cells: list[Cell]) -> bytes:
        """Cells in the form that was asked for."""
        if self.asked.mode == "layout_only":
            cells = [{key: value for key, value in cell.items() if key != "text"} for cell in cells]
        if self.with_boxes:
            return json.dumps(cells, ensure_ascii=False).encode()
        return "\n".join(cell["text"] for cell in cells if "text" in cell).encode()

    def opened(self) -> bytes:
        """The beginning of an answer, up to within its last text."""
        start = self.cells[:2]
        if not self.with_boxes:
            return self.write(start) + b"\n"
        box = self.box(0.6)
        return self.write(start)[:-1] + f', {{"bbox": {box}, "category": "Text", "text": "'.encode()

    def closed(self) -> bytes:
        """The end that fits `opened`."""
        return b'"}]' if self.with_boxes else b"\n"

    def box(self, top: float, height: float = 0.05) -> list[int]:
        """A box at a part of the image's height."""
        width, tall = self.asked.size
        return [width // 10, int(tall * top), width - width // 10, int(tall * (top + height))]


def truth_of(asked: Asked, unmarked: str) -> Truth:
    """What a good model would say."""
    seen = asked.seen
    if asked.sent is None or seen is None:
        width, height = asked.size
        all_of_it = [width // 20, height // 20, width - width // 20, height - height // 20]
        return Truth(asked, [{"bbox": all_of_it, "category": "Text", "text": unmarked}])
    scale = (asked.size[0] / asked.sent[0], asked.size[1] / asked.sent[1])
    texts = pages.page_lines(seen.page)
    cells: list[Cell] = []
    if seen.bar is not None:
        cells.append({"bbox": _resized(seen.bar, scale), "category": "Picture"})
    for line, box in seen.lines.items():
        resized = _resized(box, scale)
        if asked.box is None or _holds(asked.box, resized):
            cells.append({"bbox": resized, "category": pages.category(line), "text": texts[line - 1]})
    return Truth(asked, cells)


def _resized(box: pages.Box, scale: tuple[float, float]) -> list[int]:
    return [round(value * scale[index % 2]) for index, value in enumerate(box)]


def _holds(outer: pages.Box, box: list[int]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]


def junk(truth: Truth) -> Plan:
    """What a model says of a page that it cannot read: letters in both alphabets, and no digit right."""
    dice = random.Random(truth.asked.seen.page if truth.asked.seen else 0)
    words = ["".join(dice.choices("аеиорстлнeutiaosrn", k=dice.randint(2, 9))) for _ in range(24)]
    cells = [
        {
            "bbox": truth.box(index / 10),
            "category": "Text",
            "text": " ".join(words[index * 4 : index * 4 + 4]),
        }
        for index in range(6)
    ]
    return Plan(text=truth.write(cells))


def plan(behaviour: Behaviour, truth: Truth, *, unreadable: bool = False) -> Plan:
    """How this behaviour answers. `unreadable`: the model cannot read the page, so that its truth is junk."""
    name, params = (behaviour, {}) if isinstance(behaviour, str) else (behaviour["do"], dict(behaviour))
    params.pop("do", None)
    if name == "ok" and unreadable:
        return junk(truth)
    return BEHAVIOURS[name](truth, **params)


def ok(truth: Truth) -> Plan:
    return Plan(text=truth.write(truth.cells))


def slow(truth: Truth, tps: float = 5.0) -> Plan:
    return Plan(text=truth.write(truth.cells), tps=tps)


def trickle(truth: Truth, tps: float = 0.5) -> Plan:
    text = truth.write(truth.cells)
    return Plan(text=text, endless=lambda: itertools.repeat(b"x"), tps=tps, unlimited=True)


def hang(_: Truth) -> Plan:
    return Plan(stall=True)


def hang_mid(truth: Truth, after: int = 40) -> Plan:
    return Plan(text=truth.write(truth.cells)[:after], stall=True)


def instant(what: str) -> Callable[..., Plan]:
    """Something that happens before an answer begins."""
    return lambda _: Plan(instant=what)


def cut(what: str) -> Callable[..., Plan]:
    """Something that happens to the connection in the middle of an answer."""

    def behave(truth: Truth, after: int = 40) -> Plan:
        return Plan(text=truth.write(truth.cells)[:after], finish=what)

    return behave


def half(finish: str) -> Callable[..., Plan]:
    """Only a part of the answer."""

    def behave(truth: Truth, part: float = 0.6) -> Plan:
        text = truth.write(truth.cells)
        return Plan(text=text[: int(len(text) * part)], finish=finish)

    return behave


def loop(unit: Callable[[int], str]) -> Callable[..., Plan]:
    """The same again and again; with `times` the answer recovers and is closed in due form."""

    def behave(truth: Truth, times: int = 0) -> Plan:
        if truth.asked.mode == "layout_only":
            return loop_cells(truth, times)
        if times:
            body = "".join(map(unit, range(times))).encode()
            return Plan(text=truth.opened() + body + truth.closed())
        return Plan(text=truth.opened(), endless=lambda: (unit(i).encode() for i in itertools.count()))

    return behave


def loop_cells(truth: Truth, times: int = 0) -> Plan:
    """A cell with the same text at boxes that move."""

    def unit(index: int) -> bytes:
        text = "Итого: 0,00 руб."
        if not truth.with_boxes:
            return f"{text}\n".encode()
        cell: Cell = {"bbox": truth.box(0.3 + index % 600 / 1000, 0.02), "category": "Text", "text": text}
        return b", " + truth.write([cell])[1:-1]

    head = truth.write(truth.cells[:2])
    head = head[:-1] if truth.with_boxes else head + b"\n"
    if times:
        return Plan(text=head + b"".join(map(unit, range(times))) + (b"]" if truth.with_boxes else b""))
    return Plan(text=head, endless=lambda: map(unit, itertools.count()))


def loop_for_ever(truth: Truth) -> Plan:
    """A loop on a server that does not end it at the request's limit either."""
    endless = itertools.repeat
    return Plan(text=truth.opened(), endless=lambda: endless(PHRASE.encode()), unlimited=True)


def repetition(truth: Truth) -> Plan:
    """A loop that the server ends, if the request asks it to."""
    if not truth.asked.repetition:
        return Plan(text=truth.opened(), endless=lambda: itertools.repeat(PHRASE.encode()))
    count = int(truth.asked.repetition.get("min_count", 2))
    return Plan(text=truth.opened() + PHRASE.encode() * count, finish="repetition")


def say(text: str) -> Callable[..., Plan]:
    """Words that are no answer to the question."""
    return lambda _: Plan(text=text.encode())


def blank_hallucination(truth: Truth) -> Plan:
    """Fine words that stand on no page."""
    cells = [
        {"bbox": truth.box(0.1 + index / 10), "category": "Text", "text": text}
        for index, text in enumerate(ART_OF_WAR)
    ]
    return Plan(text=truth.write(cells))


def wrong_usage(truth: Truth, off_by: int = 977) -> Plan:
    return Plan(text=truth.write(truth.cells), usage_off_by=off_by)


def no_usage(truth: Truth) -> Plan:
    return Plan(text=truth.write(truth.cells), usage_off_by=None)


def huge(truth: Truth, size: int = 1_000_000) -> Plan:
    """Far more text than was wanted, and at once."""
    lines = (f"Строка {index} of a very long answer, {index * 7919 % 10007}" for index in itertools.count())
    text, length = [], 0
    while length < size:
        text.append(next(lines))
        length += len(text[-1].encode()) + 2
    box = truth.box(0.2, 0.7)
    body = truth.write([*truth.cells, {"bbox": box, "category": "Text", "text": "\n".join(text)}])
    return Plan(text=body, unlimited=True, tps=1e9)


def on_wire(wire: str) -> Callable[..., Plan]:
    """A true answer in bytes that are wrong."""
    return lambda truth: Plan(text=truth.write(truth.cells), wire=wire)


def wrong_digits(truth: Truth) -> Plan:
    """Every third digit is another one."""
    count = itertools.count(1)

    def change(letter: str) -> str:
        return str((int(letter) + 1) % 10) if letter.isdecimal() and next(count) % 3 == 0 else letter

    cells = [
        {**cell, "text": "".join(map(change, cell["text"]))} if "text" in cell else cell
        for cell in truth.cells
    ]
    return Plan(text=truth.write(cells))


def missing_lines(truth: Truth) -> Plan:
    """Every second line is left out."""
    return Plan(text=truth.write(truth.cells[::2]))


def hallucinated_lines(truth: Truth, lines: int = 4) -> Plan:
    """Lines more than there are, where the paper is empty."""
    more = [
        {
            "bbox": truth.box(0.86 + index / 50, 0.015),
            "category": "Text",
            "text": ART_OF_WAR[index % len(ART_OF_WAR)],
        }
        for index in range(lines)
    ]
    return Plan(text=truth.write(truth.cells + more))


PHRASE = "и так далее, и тому подобное, "
ART_OF_WAR = (
    "The art of war is of vital importance to the State.",
    "It is a matter of life and death, a road either to safety or to ruin.",
    "Hence it is a subject of inquiry which can on no account be neglected.",
    "All warfare is based on deception.",
    "Все счастливые семьи похожи друг на друга.",
)
PROSE = (
    "The image shows a scanned business document with a barcode at the top. Below it there are several lines of "
    "text in Russian and English, which appear to be part of an invoice. The document looks well preserved."
)
REFUSAL = "I'm sorry, but I can't assist with that request."

BEHAVIOURS: dict[str, Callable[..., Plan]] = {
    "ok": ok,
    "slow": slow,
    "trickle": trickle,
    "hang": hang,
    "hang_mid": hang_mid,
    "reset": instant("reset"),
    "http_400": instant("400"),
    "http_429": instant("429"),
    "http_500": instant("500"),
    "http_503": instant("503"),
    "die": instant("die"),
    "reset_mid": cut("!reset"),
    "error_chunk": cut("!error"),
    "die_mid": cut("!die"),
    "no_finish": cut("!end"),
    "abort": half("abort"),
    "length": half("length"),
    "truncated_json": half("stop"),
    "loop_dots": loop(lambda _: "."),
    "loop_phrase": loop(lambda _: PHRASE),
    "loop_rows": loop(lambda _: "<tr><td></td><td></td></tr>"),
    "loop_counter": loop(lambda index: f"Пункт {index + 1}. То же самое условие договора. "),
    "loop_cells": loop_cells,
    "loop_for_ever": loop_for_ever,
    "repetition": repetition,
    "prose": say(PROSE),
    "refusal": say(REFUSAL),
    "empty": say(""),
    "empty_list": say("[]"),
    "blank_hallucination": blank_hallucination,
    "wrong_usage": wrong_usage,
    "no_usage": no_usage,
    "huge": huge,
    "invalid_utf8": on_wire("invalid_utf8"),
    "bad_sse": on_wire("bad_sse"),
    "wrong_json": on_wire("wrong_json"),
    "wrong_digits": wrong_digits,
    "missing_lines": missing_lines,
    "hallucinated_lines": hallucinated_lines,
    "junk": junk,
}
"""By name. Loops take `times`, cuts and `hang_mid` take `after` (tokens), halves take `part`."""
