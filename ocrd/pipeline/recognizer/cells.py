r"""Reads the answer of dots.ocr: a JSON array of `{"bbox": [x1, y1, x2, y2], "category": …, "text": …}`, more or less.

Models cut answers off, forget quotes and commas, wrap the array in prose or fences, and write LaTeX without doubling its
backslashes. The reader never raises, on any text; it takes cell after cell, keeps what there is of the last one, keeps
repeated rows and equal boxes, edits nothing inside a text, and notes what it mended. One pass, linear time.

A quote inside a text ends it only if JSON goes on behind it. A backslash that begins no JSON escape stays as it is. One
that does, but also begins a LaTeX command (`\frac` is `\f` and `rac` to JSON), stays too: no document has a form feed
or a backspace in it, and tab and new line are told apart by the command's whole name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ocrd.domain.documents import Box
from ocrd.domain.models import CATEGORIES


@dataclass(frozen=True, slots=True)
class Cell:
    """A region. The box is in pixels of the picture that was sent, None if it makes no sense; `text` is None where there
    was none (pictures); `complete` is False for the one that the answer broke off in."""

    bbox: Box | None
    category: str
    text: str | None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Parsed:
    """All that an answer holds. `leftover` is text outside of any cell, if it says anything."""

    cells: tuple[Cell, ...]
    salvaged: tuple[str, ...]
    leftover: str


def parse_cells(answer: str) -> Parsed:
    """Read an answer. Never raises."""
    return _Reader(answer).read()


_KEYS = frozenset({"bbox", "category", "text"})
_QUOTES = "\"'"
_VALUE_GOES_ON = re.compile(
    r"""\s*(?:,\s*(?:["'](?:bbox|category|text)["']\s*:|\{|\}|\]|$)|\}\s*(?:,|\]|\{|\}|`|$)|\]\s*(?:\}|,|$)|$)"""
)
"""What may stand behind the quote that ends a value: the next known key, the end of the cell, the end of the answer."""
_KEY_GOES_ON = re.compile(r"\s*:")
_BARE_VALUE = re.compile(r"[^,}\]\[{\"']*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
_FENCE = re.compile(r"```[a-zA-Z]*")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "'": "'"}
_UNICODE = re.compile(r"u([0-9a-fA-F]{4})")
_COMMAND = re.compile(r"[A-Za-z]+")
_COMMANDS = frozenset(
    [
        "bar",
        "bbox",
        "begin",
        "beta",
        "between",
        "big",
        "bigcap",
        "bigcup",
        "bigl",
        "bigr",
        "bigg",
        "binom",
        "bmatrix",
        "bmod",
        "boldsymbol",
        "bot",
        "boxed",
        "brace",
        "bullet",
        "fbox",
        "flat",
        "forall",
        "frac",
        "frown",
        "nabla",
        "natural",
        "nearrow",
        "neg",
        "neq",
        "newline",
        "nexists",
        "nmid",
        "nolimits",
        "nonumber",
        "not",
        "notin",
        "nparallel",
        "nrightarrow",
        "nsubseteq",
        "nwarrow",
        "rangle",
        "rbrace",
        "rceil",
        "ref",
        "rfloor",
        "rho",
        "right",
        "rightarrow",
        "rightleftharpoons",
        "rmoustache",
        "root",
        "tan",
        "tanh",
        "tau",
        "tbinom",
        "text",
        "textbf",
        "textit",
        "textrm",
        "textstyle",
        "tfrac",
        "therefore",
        "theta",
        "tilde",
        "times",
        "top",
        "triangle",
        "triangleq",
        "triangleleft",
        "triangleright",
    ]  # a list of words is read as words
)
_SHORT_COMMANDS = frozenset({"ne", "nu", "ni", "to", "bf", "rm", "tt", "bm"})
"""Only within a formula: else they are a new line or a tab before a word."""
_MAX_BOX = 10**6


@dataclass(slots=True)
class _Draft:
    """A cell as it is being read."""

    box: Box | None = None
    category: str = ""
    text: str | None = None
    keys: int = 0
    notes: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, answer: str) -> None:
        self._answer = answer
        self._at = 0
        self._cells: list[Cell] = []
        self._notes: dict[str, None] = {}
        self._outside: list[str] = []

    def read(self) -> Parsed:
        while (start := self._answer.find("{", self._at)) >= 0:
            self._outside.append(self._answer[self._at : start])
            self._at = start + 1
            self._read_cell()
        self._outside.append(self._answer[self._at :])
        closed = self._answer.rstrip().rstrip("`").rstrip().endswith(("]", "}"))
        if self._cells and not closed:
            self._note("the answer was cut off")
        return Parsed(tuple(self._cells), tuple(self._notes), self._leftover())

    def _note(self, what: str) -> None:
        self._notes[what] = None

    def _leftover(self) -> str:
        """What stands outside of cells, without the signs of JSON and Markdown around them."""
        parts = (_FENCE.sub("", part).strip(" \t\r\n,[]{}`:\"'") for part in self._outside)
        return "\n".join(part for part in parts if any(letter.isalnum() for letter in part))

    # --- a cell ---------------------------------------------------------------------------------------------

    def _read_cell(self) -> None:
        draft = _Draft()
        complete = self._read_members(draft)
        if not draft.keys:
            return
        if not complete:
            self._note("the last cell is not complete")
        category = draft.category
        if category not in CATEGORIES:
            if category or draft.text is not None:
                self._note(f"unknown category {category[:40]!r}" if category else "a cell without a category")
            category = "Text"
        if draft.box is None:
            self._note("a cell without a usable box")
        self._cells.append(Cell(draft.box, category, draft.text, complete))

    def _read_members(self, draft: _Draft) -> bool:
        """The members up to the closing brace; False if the answer ends before it."""
        answer = self._answer
        while self._at < len(answer):
            letter = answer[self._at]
            if letter == "}":
                self._at += 1
                return True
            if letter == "{":  # a cell that was not closed, or an object around the cells
                if draft.keys:
                    self._note("a cell was not closed")
                return bool(draft.keys)
            if letter in _QUOTES:
                self._read_member(draft)
            else:
                self._at += 1
        return False

    def _read_member(self, draft: _Draft) -> None:
        quote = self._answer[self._at]
        end = self._answer.find(quote, self._at + 1)
        key = self._answer[self._at + 1 : end if end >= 0 else len(self._answer)]
        goes_on = _KEY_GOES_ON.match(self._answer, end + 1) if end >= 0 else None
        if goes_on is None:
            self._skip_stray(draft)
            return
        self._at = goes_on.end()
        self._skip_space()
        if key in _KEYS:
            draft.keys += 1
        if key == "bbox":
            draft.box = self._read_box()
        elif key in _KEYS:
            value = self._read_value(in_formula=draft.category == "Formula")
            if key == "text":
                draft.text = value if draft.text is None else f"{draft.text}\n{value}"
            else:
                draft.category = value.strip()

    def _skip_stray(self, draft: _Draft) -> None:
        """A quote that begins no key. Within a cell that has a text it is text that nobody quoted rightly."""
        self._at += 1
        if draft.text is None:
            return
        rest = self._read_string(self._answer[self._at - 1], in_formula=draft.category == "Formula")
        if rest.strip():
            self._note("a text was put together from pieces")
            draft.text += rest

    def _skip_space(self) -> None:
        while self._at < len(self._answer) and self._answer[self._at].isspace():
            self._at += 1

    # --- values ---------------------------------------------------------------------------------------------

    def _read_box(self) -> Box | None:
        """Four numbers, however they are written; the reader stands behind them."""
        start = self._at
        end = start
        while end < len(self._answer) and self._answer[end] not in "]{}:":
            end += 1
        inside = self._answer[start:end]
        key = re.search(r"""["']\s*(?:category|text)""", inside)  # the bracket was not closed
        if key is not None:
            end = start + key.start()
            inside = self._answer[start:end]
        self._at = end + 1 if end < len(self._answer) and self._answer[end] == "]" else end
        numbers = [float(number) for number in _NUMBER.findall(inside)]
        if len(numbers) != 4 or any(abs(number) > _MAX_BOX for number in numbers):
            return None
        left, top, right, bottom = (round(number) for number in numbers)
        return left, top, right, bottom

    def _read_value(self, *, in_formula: bool) -> str:
        if self._at < len(self._answer) and self._answer[self._at] in _QUOTES:
            self._at += 1
            return self._read_string(self._answer[self._at - 1], in_formula=in_formula)
        bare = _BARE_VALUE.match(self._answer, self._at)
        assert bare is not None, "matches the empty text too"
        self._at = bare.end()
        value = bare.group().strip()
        return "" if value in {"null", "None"} else value

    def _read_string(self, quote: str, *, in_formula: bool) -> str:
        """The text up to the quote that ends it, or up to the end of the answer."""
        answer = self._answer
        parts: list[str] = []
        start = self._at
        while self._at < len(answer):
            letter = answer[self._at]
            if letter == "\\":
                parts.append(answer[start : self._at])
                parts.append(self._read_escape(in_formula=in_formula))
                start = self._at
            elif letter == quote and _VALUE_GOES_ON.match(answer, self._at + 1):
                parts.append(answer[start : self._at])
                self._at += 1
                return _join(parts)
            else:
                if letter == quote:
                    self._note("a quote inside a text was not escaped")
                self._at += 1
        parts.append(answer[start:])
        return _join(parts)

    def _read_escape(self, *, in_formula: bool) -> str:
        """What a backslash and what follows it stand for; the reader goes behind them."""
        answer, at = self._answer, self._at + 1
        self._at = min(at + 1, len(answer))
        if at >= len(answer):
            return ""  # cut off within the escape
        if answer[at] == "u":
            code = _UNICODE.match(answer, at)
            if code is not None:
                self._at = code.end()
                return chr(int(code[1], 16))
            if len(answer) - at < 5 and all(digit in "0123456789abcdefABCDEF" for digit in answer[at + 1 :]):
                self._at = len(answer)
                return ""
        if _is_command(answer, at, in_formula=in_formula):
            return "\\" + answer[at]
        return _ESCAPES.get(answer[at], "\\" + answer[at])


def _is_command(answer: str, at: int, *, in_formula: bool) -> bool:
    """Whether a LaTeX command stands here, behind its backslash."""
    if answer[at] not in "bfnrt":
        return False
    name = _COMMAND.match(answer, at)
    return name is not None and (name[0] in _COMMANDS or (in_formula and name[0] in _SHORT_COMMANDS))


def _join(parts: list[str]) -> str:
    """The text; two halves of a character outside of the first plane become one, a lone half a sign of damage."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
