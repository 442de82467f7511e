r"""Reads the answer of dots.ocr: a JSON array of `{"bbox": [x1, y1, x2, y2], "category": …, "text": …}`, more or less.

Models cut answers off, forget quotes and commas, wrap the array in prose or fences, and write LaTeX without doubling its
backslashes. The reader never raises, on any text; it takes cell after cell, keeps what there is of the last one, keeps
repeated rows and equal boxes, edits nothing inside a text, and notes what it mended. One pass, linear time.

A quote inside a text ends it only if JSON goes on behind it; a text whose quote is missing ends where the next key
begins. A backslash that begins no JSON escape stays as it is. One that does, but also begins a LaTeX command (`\frac` is
`\f` and `rac` to JSON), stays too: `\b` and `\f` before a Latin letter always, for no document has a backspace or a form
feed in it; `\n`, `\r` and `\t` if the whole run of letters is a command's name, and if that is a short one, only within
a formula or behind a `$`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ocrd.domain.documents import Box
from ocrd.domain.models import CATEGORIES
from ocrd.domain.rendering import FORMULA


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
_KEY = r"""["'](?:bbox|category|text)["']\s*+:"""
_KEY_STARTS = "|".join(
    key[:length] for key in ("bbox", "category", "text") for length in range(1, len(key) + 1)
)
_KEY_HERE = re.compile(_KEY)
_VALUE_GOES_ON = re.compile(
    rf"""\s*+(?:,\s*+)?(?:
        (?:\{{\s*+)?{_KEY}  # the next member, or the next cell
        | [\]}}][\s,\]}}]*+(?:\{{\s*+(?:["']|\Z)|`|\Z)  # the end of the cell
        | \}}[^"{{}}]{{0,300}}(?:\{{\s*+{_KEY}|\Z)  # the same, and somebody talks behind it
        | (?:["'](?:{_KEY_STARTS})?["']?\s*+)?\Z  # the end of the answer, also within the next key
    )""",
    re.VERBOSE,
)
"""What may stand behind the quote that ends a value. Possessive, so that no run of blanks is gone through twice."""
_OPEN_END = re.compile(r"\s*(?=[},{])(?:\}\s*)?(?:,\s*)?(?:\{\s*)?\Z")
"""What stands between a text whose quote is missing and the next key."""
_OPEN_END_LENGTH = 60
_CATEGORY = re.compile(r"""["']?([^\W\d_][\w -]{0,39})(["']?)\s*(?=[,}\]]|["'](?:bbox|text)|\Z)""")
_SCALAR = re.compile(r"(?:null|None|true|false|-?\d[\d.]*)?\s*(?=[,}\]\[{]|\Z)")
_SILENT = re.compile(r"""[\s{\[]*+(?:["']\w*+["']?\s*+:?[\s\[\]{},]*+)?""")
"""An object around the cells, an empty one, or one that broke off in its first key."""
_STOP = re.compile(r"""[\\"']|\$+""")
_KEY_GOES_ON = re.compile(r"\s*:")
_BARE_VALUE = re.compile(r"[^,}\]\[{\"']*+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
_FENCE = re.compile(r"```[a-zA-Z]*")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "'": "'"}
_UNICODE = re.compile(r"u([0-9a-fA-F]{4})")
_COMMAND = re.compile(r"[A-Za-z]+")
_COMMAND_NAMES = """
    nabla natural nearrow neg neq newcommand newline nexists ngeq ngtr nleftarrow nleq nless nmid
    nobreak noindent nolimits nonumber normalsize not notin nparallel nprec nrightarrow nsim nsubseteq
    nsupseteq nvdash nwarrow rVert raisebox rangle rbrace rbrack rceil ref renewcommand rfloor rgroup
    rho right rightarrow rightarrowtail rightharpoondown rightharpoonup rightleftarrows
    rightleftharpoons rmoustache root rtimes rule rvert tan tanh tau tbinom text textbf textdegree
    textit textmd textnormal textrm textsc textsf textstyle textsubscript textsuperscript texttt textup
    tfrac therefore theta thickapprox thinspace tilde times tiny top triangle triangledown triangleleft
    triangleq triangleright twoheadrightarrow
"""
_COMMANDS = frozenset(_COMMAND_NAMES.split())
_SHORT_COMMANDS = frozenset({"ne", "nu", "ni", "to", "rm", "tt", "tg"})
r"""Only within a formula: else they are a new line or a tab before a word. `\tg` is the Russian tangent."""
_MAX_BOX = 10**6


@dataclass(slots=True)
class _Draft:
    """A cell as it is being read."""

    box: Box | None = None
    category: str = ""
    text: str | None = None
    keys: int = 0
    other: list[str] = field(default_factory=list)
    """Texts under keys that we do not know."""


class _Reader:
    def __init__(self, answer: str) -> None:
        self._answer = answer
        self._at = 0
        self._cells: list[Cell] = []
        self._notes: dict[str, None] = {}
        self._outside: list[str] = []
        self._is_list = False

    def read(self) -> Parsed:
        while (start := self._answer.find("{", self._at)) >= 0:
            self._outside.append(self._answer[self._at : start])
            self._at = start + 1
            self._read_cell(start)
        self._outside.append(self._answer[self._at :])
        if self._was_cut():
            self._note("the answer was cut off")
        return Parsed(tuple(self._cells), tuple(self._notes), self._leftover())

    def _was_cut(self) -> bool:
        if not self._cells:
            return False
        return not self._cells[-1].complete or (self._is_list and "]" not in self._outside[-1])

    def _note(self, what: str) -> None:
        self._notes[what] = None

    def _leftover(self) -> str:
        """What stands outside of cells, without the signs of JSON and Markdown around them; the whole answer as it is if
        it has no cell and says something."""
        parts = (_FENCE.sub("", part).strip(" \t\r\n,[]{}`:\"'") for part in self._outside)
        spoken = [part for part in parts if any(letter.isalnum() for letter in part)]
        if spoken and not self._cells:
            return _FENCE.sub("", self._answer).strip(" \t\r\n")
        return "\n".join(spoken)

    # --- a cell ---------------------------------------------------------------------------------------------

    def _read_cell(self, start: int) -> None:
        draft = _Draft()
        complete = self._read_members(draft)
        if not draft.keys:
            said = self._answer[start : self._at]
            if not _SILENT.fullmatch(said):
                self._outside.append(said)
            return
        if not self._cells:
            self._is_list = self._answer[:start].rstrip().endswith("[")
        if draft.other and draft.text is None:
            self._note("a text under an unknown key")
            draft.text = "\n".join(draft.other)
        self._cells.append(Cell(draft.box, self._category(draft), draft.text, complete))
        if not complete:
            self._note("the last cell is not complete")
        elif draft.box is None:
            self._note("a cell without a usable box")

    def _category(self, draft: _Draft) -> str:
        category = draft.category
        if category in CATEGORIES:
            return category
        if category:
            self._note(f"unknown category {category[:40]!r}")
        elif draft.text is not None:
            self._note("a cell without a category")
        return "Text"

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
        elif key == "category":
            draft.category = self._read_category()
        elif key == "text":
            value = self._read_text(in_formula=draft.category == FORMULA)
            draft.text = value if draft.text is None else f"{draft.text}\n{value}"
        elif self._answer[self._at : self._at + 1] in tuple(_QUOTES):
            draft.other.append(self._read_text(in_formula=False))

    def _skip_stray(self, draft: _Draft) -> None:
        """A quote that begins no key. Within a cell that has a text it is text that nobody quoted rightly."""
        self._at += 1
        if draft.text is None:
            return
        rest = self._read_string(self._answer[self._at - 1], in_formula=draft.category == FORMULA)
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
        if end == len(self._answer):
            self._at = end
            return None  # the last number may be half of one
        self._at = end + (self._answer[end] == "]")
        numbers = [float(number) for number in _NUMBER.findall(inside)]
        if len(numbers) != 4 or any(abs(number) > _MAX_BOX for number in numbers):
            return None
        left, top, right, bottom = (round(number) for number in numbers)
        return left, top, right, bottom

    def _read_category(self) -> str:
        """A word or two, also without one of its quotes; '' if it broke off."""
        found = _CATEGORY.match(self._answer, self._at)
        if found is None:
            return self._read_text(in_formula=False).strip()
        self._at = found.end()
        broke_off = found.end() == len(self._answer) and not found[2]
        return "" if broke_off else found[1].strip()

    def _read_text(self, *, in_formula: bool) -> str:
        if self._answer[self._at : self._at + 1] in tuple(_QUOTES):
            self._at += 1
            return self._read_string(self._answer[self._at - 1], in_formula=in_formula)
        if _SCALAR.match(self._answer, self._at) is None:
            self._note("a text without its first quote")
            return self._read_string('"', in_formula=in_formula)
        bare = _BARE_VALUE.match(self._answer, self._at)
        assert bare is not None, "matches the empty text too"
        self._at = bare.end()
        value = bare.group().strip()
        return "" if value in {"null", "None"} else value

    def _read_string(self, quote: str, *, in_formula: bool) -> str:
        """The text up to the quote that ends it, up to the key behind a missing one, or up to the end of the answer."""
        answer = self._answer
        parts: list[str] = []
        in_math = in_formula
        while (stop := _STOP.search(answer, self._at)) is not None:
            start, self._at = self._at, stop.start()
            parts.append(answer[start : self._at])
            if stop[0] == "\\":
                parts.append(self._read_escape(in_formula=in_math))
                continue
            if stop[0] == quote:
                if _VALUE_GOES_ON.match(answer, self._at + 1):
                    self._at += 1
                    return _join(parts)
                end = self._open_end(start)
                if end is not None:
                    parts[-1] = answer[start:end]
                    self._at = end
                    return _join(parts)
                self._note("a quote inside a text was not escaped")
            in_math = in_formula or in_math != stop[0].startswith("$")
            parts.append(stop[0])
            self._at = stop.end()
        parts.append(answer[self._at :])
        self._at = len(answer)
        return _join(parts)

    def _open_end(self, start: int) -> int | None:
        """Where a text ended whose quote is missing, if the quote at hand begins the next key."""
        if not _KEY_HERE.match(self._answer, self._at):
            return None
        first = max(start, self._at - _OPEN_END_LENGTH)
        found = _OPEN_END.search(self._answer[first : self._at])
        if found is None:
            return None
        self._note("a text without its last quote")
        return first + found.start()

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
    name = _COMMAND.match(answer, at) if answer[at] in "bfnrt" else None
    if name is None:
        return False
    if answer[at] in "bf":
        return len(name[0]) > 1
    return name[0] in _COMMANDS or (in_formula and name[0] in _SHORT_COMMANDS)


def _join(parts: list[str]) -> str:
    """The text; two halves of a character outside of the first plane become one, a lone half a sign of damage."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
