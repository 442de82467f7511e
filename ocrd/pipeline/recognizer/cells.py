r"""Reads the answer of dots.ocr: a JSON array of `{"bbox": [x1, y1, x2, y2], "category": …, "text": …}`, more or less.

Models cut answers off, forget quotes and commas, wrap the array in prose or fences, and write LaTeX without doubling its
backslashes. The reader never raises, on any text; it takes cell after cell, keeps what there is of the last one, keeps
repeated rows and equal boxes, edits nothing inside a text, and notes what it mended. Linear time, also over a
stream in pieces of one character.

A cell that is written as JSON demands is read as JSON says, whatever its keys. In others a quote inside a text ends it only if JSON goes on behind it; a text whose quote is missing ends where the next key
begins. A backslash that begins no JSON escape stays as it is. One that does, but also begins a LaTeX command (`\frac` is
`\f` and `rac` to JSON), stays too: `\b` and `\f` before a Latin letter always, for no document has a backspace or a form
feed in it; `\n`, `\r` and `\t` if the whole run of letters is a command's name, and if that is a short one, only within
a formula or behind a `$`. What the end of the answer leaves undecided, half of a character or of a command's name, is
left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

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
    reader = CellReader()
    reader.feed(answer)
    return reader.finish()


class CellReader:
    """Reads an answer while it comes. How it is cut into chunks changes nothing in what `finish` returns."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._first = 0
        """Where in the answer the parts begin; all before is read for good."""
        self._end = 0
        self._window = ""
        self._patience = 0
        self._found = _Found()

    def feed(self, chunk: str) -> list[Cell]:
        """The next of the cells that `finish` will return. A cell is sure when it is closed and another one has begun:
        the last one never is. Behind a cell that was not closed, as many characters again can be waited for."""
        known = len(self._found.cells)
        window = self._window + chunk
        self._parts.append(chunk)
        self._end += len(chunk)
        if ":" in chunk:
            sure = self._first
            for mark in _CELL_START.finditer(window):
                if mark.end() > len(self._window):
                    begin = self._end - len(window) + mark.start()
                    sure = self._read_on(sure, begin, begin + len(mark[0]))
            self._forget(sure)
        self._window = window[-_CELL_START_LENGTH:]
        return self._found.cells[known:]

    def finish(self) -> Parsed:
        """All that there is, as if the answer ended here. Changes nothing, so it can be asked for at any time."""
        reader = _Reader(self._rest())
        reader.read(len(reader.answer))
        found = _Found()
        found.add(self._found)
        found.add(reader.found)
        return found.result(reader.answer)

    def _read_on(self, sure: int, begin: int, end: int) -> int:
        """Read from `sure` to the cell that begins at `begin` and whose first key ends at `end`; up to where it is sure
        then. A try in vain is repeated with twice as much, so that all of them together take linear time."""
        if begin - sure < self._patience:
            return sure
        reader = _Reader(self._rest()[sure - self._first : end - self._first])
        reader.read(begin - sure)
        self._patience = 0 if reader.sure else 2 * (begin - sure)
        self._found.add(reader.sure_part())
        return sure + reader.sure

    def _forget(self, sure: int) -> None:
        if sure > self._first:
            self._parts = [self._rest()[sure - self._first :]]
            self._first = sure

    def _rest(self) -> str:
        if len(self._parts) != 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0]


_KEYS = frozenset({"bbox", "category", "text"})
_QUOTES = "\"'"
_KEY = r"""["'](?:bbox|category|text)["']\s*+:"""
_KEY_STARTS = "|".join(
    key[:length] for key in ("bbox", "category", "text") for length in range(1, len(key) + 1)
)
_KEY_HERE = re.compile(_KEY)
_CELL_START = re.compile(r"""\{\s{0,16}+["'](?:bbox|category|text)["']\s{0,16}+:""")
"""Decides nothing but when a stream is looked at."""
_CELL_START_LENGTH = 64
_STRING = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')"""
_SIMPLE = r"(?:-?\d[\d.eE+-]*+|true|false|null|True|False|None)"
_LIST = rf"[\[(]\s*+(?:(?:{_STRING}|{_SIMPLE})\s*+,?+\s*+)*+[\])]"
_OBJECT = rf"\{{\s*+(?:{_STRING}\s*+:\s*+(?:{_STRING}|{_SIMPLE}|{_LIST})\s*+,?+\s*+)*+\}}"
_MEMBER = rf"{_STRING}\s*+:\s*+(?:{_STRING}|{_SIMPLE}|{_LIST}|{_OBJECT})"
_EXACT_CELL = re.compile(rf"\{{\s*+{_MEMBER}(?:\s*+,\s*+{_MEMBER})*+\s*+,?+\s*+\}}", re.DOTALL)
_EXACT_MEMBER = re.compile(
    rf"[\s,{{]*+({_STRING})\s*+:\s*+({_STRING}|{_SIMPLE}|{_LIST}|{_OBJECT})", re.DOTALL
)
_INNER_STRING = re.compile(rf"({_STRING})(\s*+:)?+", re.DOTALL)
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
_HALF_KEY = re.compile(rf"""["'](?:{_KEY_STARTS})?["']?\s*\Z""")
_LOOSE_KEY = re.compile(r"""["']?(bbox|category|text)["']?\s*+:""")
"""Also without one of its quotes, or without both."""
_NAME = re.compile(r"[\w.-]{0,40}")
_STRAY = re.compile(r"""\s++|\w++|[^\w\s{}"']++""")
_WORD = re.compile(r"\b(?!(?:true|false|null|True|False|None)\b)[^\W\d_]")
_CATEGORY = re.compile(
    r"""["']?([^\W\d_][\w -]{0,39})(["']?)\s*(?=[,}\]]|["'](?:bbox|text)|(?:bbox|text)["']\s*:|\Z)"""
)
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
_COMMAND_STARTS = frozenset(
    name[:length] for name in _COMMANDS | _SHORT_COMMANDS for length in range(1, len(name) + 1)
)
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
    stray: str = ""
    """What stands between the members."""


@dataclass(slots=True)
class _Found:
    """What was read of an answer, or of a part of it."""

    cells: list[Cell] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    is_list: bool = False

    def add(self, more: _Found) -> None:
        """What was found behind it."""
        self.is_list = self.is_list if self.cells else more.is_list
        self.cells += more.cells
        self.notes |= more.notes
        self.outside += more.outside

    def result(self, rest: str) -> Parsed:
        """`rest` is the end of the answer, the whole of it if there are no cells."""
        if self._was_cut():
            self.notes["the answer was cut off"] = None
        return Parsed(tuple(self.cells), tuple(self.notes), self._leftover(rest))

    def _was_cut(self) -> bool:
        if not self.cells:
            return False
        return not self.cells[-1].complete or (self.is_list and "]" not in self.outside[-1])

    def _leftover(self, rest: str) -> str:
        """What stands outside of cells, without the signs of JSON and Markdown around them; the whole answer as it is if
        it has no cell and says something."""
        parts = (_FENCE.sub("", part).strip(" \t\r\n,[]{}`:\"'") for part in self.outside)
        spoken = [part for part in parts if any(letter.isalnum() for letter in part)]
        if spoken and not self.cells:
            return _FENCE.sub("", rest).strip(" \t\r\n")
        return "\n".join(spoken)


class _Reader:
    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.found = _Found()
        self.sure = 0
        """Behind the last cell that was closed."""
        self._sure_counts = (0, 0, 0)
        self._at = 0

    def read(self, end: int) -> None:
        """Read the cells that begin before `end`; what stands behind it only helps to understand them."""
        while 0 <= (start := self.answer.find("{", self._at)) < end:
            self.found.outside.append(self.answer[self._at : start])
            self._at = start + 1
            self._read_cell(start)
        self.found.outside.append(self.answer[self._at :])

    def sure_part(self) -> _Found:
        """What was found up to `sure`."""
        cells, notes, outside = self._sure_counts
        return _Found(
            self.found.cells[:cells],
            dict.fromkeys(islice(self.found.notes, notes)),
            self.found.outside[:outside],
            self.found.is_list,
        )

    def _note(self, what: str) -> None:
        self.found.notes[what] = None

    # --- a cell ---------------------------------------------------------------------------------------------

    def _read_cell(self, start: int) -> None:
        draft = _Draft()
        complete = self._read_exactly(start, draft) or self._read_members(draft)
        if not draft.keys:
            said = self.answer[start : self._at]
            if not _SILENT.fullmatch(said):
                self.found.outside.append(said)
            return
        if not self.found.cells:
            self.found.is_list = self.answer[:start].rstrip().endswith("[")
        if draft.other and draft.text is None:
            self._note("a text under an unknown key")
            draft.text = "\n".join(draft.other)
        if _WORD.search(draft.stray):
            self._note("words outside of any text")
            self.found.outside.append(draft.stray)
        self.found.cells.append(Cell(draft.box, self._category(draft), draft.text, complete))
        if not complete:
            self._note("the last cell is not complete")
        elif draft.box is None:
            self._note("a cell without a usable box")
        if complete and self.answer[self._at - 1] == "}":
            self.sure = self._at
            self._sure_counts = (len(self.found.cells), len(self.found.notes), len(self.found.outside))

    def _category(self, draft: _Draft) -> str:
        category = draft.category
        if category in CATEGORIES:
            return category
        if category:
            self._note(f"unknown category {category[:40]!r}")
        elif draft.text is not None:
            self._note("a cell without a category")
        return "Text"

    def _read_exactly(self, start: int, draft: _Draft) -> bool:
        """A cell that is JSON, or Python, without fault: where its texts end is out of question. False for others."""
        found = _EXACT_CELL.match(self.answer, start)
        if found is None:
            return False
        members = []
        at = start
        while (member := _EXACT_MEMBER.match(self.answer, at)) is not None:
            members.append((member[1][1:-1], member.start(2), member.end(2)))
            at = member.end()
        if _KEYS.isdisjoint(key for key, _, _ in members):
            return False
        for key, self._at, end in sorted(members, key=lambda one: one[0] == "text"):
            self._take(draft, key, end)
        self._at = found.end()
        return True

    def _read_members(self, draft: _Draft) -> bool:
        """The members up to the closing brace; False if the answer ends before it."""
        answer = self.answer
        while self._at < len(answer):
            letter = answer[self._at]
            if letter == "}":
                self._at += 1
                return True
            if letter == "{":  # a cell that was not closed, or an object around the cells
                if draft.keys:
                    self._note("a cell was not closed")
                return bool(draft.keys)
            loose = _LOOSE_KEY.match(answer, self._at)
            if loose is not None:
                self._at = loose.end()
                self._skip_space()
                self._take(draft, loose[1])
            elif letter in _QUOTES:
                self._read_member(draft)
            else:
                self._skip_bare(draft)
        return False

    def _read_member(self, draft: _Draft) -> None:
        quote = self.answer[self._at]
        end = self.answer.find(quote, self._at + 1)
        key = self.answer[self._at + 1 : end if end >= 0 else len(self.answer)]
        goes_on = _KEY_GOES_ON.match(self.answer, end + 1) if end >= 0 else None
        if goes_on is None:
            self._skip_stray(draft)
            return
        self._at = goes_on.end()
        self._skip_space()
        if not _NAME.fullmatch(key):
            draft.stray += key
        self._take(draft, key)

    def _take(self, draft: _Draft, key: str, end: int | None = None) -> None:
        """A member's value, which is at hand; `end` is where it ends, if that is known."""
        draft.keys += key in _KEYS
        if key == "bbox":
            draft.box = self._read_box()
        elif key == "category":
            category = self._read_category()
            if any(quote in category for quote in _QUOTES):  # it ran on into what stands behind it
                draft.stray += category
            else:
                draft.category = category
        elif key == "text":
            value = self._read_text(in_formula=draft.category == FORMULA, end=end)
            draft.text = value if draft.text is None else f"{draft.text}\n{value}"
        elif self.answer[self._at : self._at + 1] in tuple(_QUOTES):
            draft.other.append(self._read_text(in_formula=False, end=end))

    def _skip_bare(self, draft: _Draft) -> None:
        """Signs between members, and values that are no texts; words are kept."""
        found = _STRAY.match(self.answer, self._at)
        assert found is not None, "it stands before another sign"
        self._at = found.end()
        draft.stray += found[0]

    def _skip_stray(self, draft: _Draft) -> None:
        """A quote that begins no key. Within a cell that has a text it is text that nobody quoted rightly."""
        half = _HALF_KEY.match(self.answer, self._at)
        if half is not None:  # the answer breaks off
            self._at = half.end()
            return
        self._at += 1
        if draft.text is None:
            draft.stray += " "
            return
        rest = self._read_string(self.answer[self._at - 1], in_formula=draft.category == FORMULA)
        if rest.strip():
            self._note("a text was put together from pieces")
            draft.text += rest

    def _skip_space(self) -> None:
        while self._at < len(self.answer) and self.answer[self._at].isspace():
            self._at += 1

    # --- values ---------------------------------------------------------------------------------------------

    def _read_box(self) -> Box | None:
        """Four numbers, however they are written; the reader stands behind them."""
        start = self._at
        end = start
        while end < len(self.answer) and self.answer[end] not in "]{}:":
            end += 1
        inside = self.answer[start:end]
        key = re.search(r"""["']\s*(?:category|text)""", inside)  # the bracket was not closed
        if key is not None:
            end = start + key.start()
            inside = self.answer[start:end]
        if end == len(self.answer):
            self._at = end
            return None  # the last number may be half of one
        self._at = end + (self.answer[end] == "]")
        numbers = [float(number) for number in _NUMBER.findall(inside)]
        if len(numbers) != 4 or any(abs(number) > _MAX_BOX for number in numbers):
            return None
        left, top, right, bottom = (round(number) for number in numbers)
        return left, top, right, bottom

    def _read_category(self) -> str:
        """A word or two, also without one of its quotes; '' if it broke off."""
        found = _CATEGORY.match(self.answer, self._at)
        if found is None:
            return self._read_text(in_formula=False).strip()
        self._at = found.end()
        broke_off = found.end() == len(self.answer) and not found[2]
        return "" if broke_off else found[1].strip()

    def _read_text(self, *, in_formula: bool, end: int | None = None) -> str:
        first = self.answer[self._at : self._at + 1]
        if first in tuple(_QUOTES):
            self._at += 1
            return self._read_string(first, in_formula=in_formula, end=end)
        if end is not None and first in tuple("[({"):
            return self._read_inner_texts(end, in_formula=in_formula)
        if _SCALAR.match(self.answer, self._at) is None:
            self._note("a text without its first quote")
            return self._read_string('"', in_formula=in_formula)
        bare = _BARE_VALUE.match(self.answer, self._at)
        assert bare is not None, "matches the empty text too"
        self._at = bare.end()
        value = bare.group().strip()
        return "" if value in {"null", "None"} else value

    def _read_inner_texts(self, end: int, *, in_formula: bool) -> str:
        """The texts of a list or of an object, a line each."""
        self._note("a text in several parts")
        texts = []
        for found in _INNER_STRING.finditer(self.answer, self._at, end):
            if not found[2]:
                self._at = found.start() + 1
                texts.append(self._read_string(found[0][0], in_formula=in_formula, end=found.end(1)))
        return "\n".join(texts)

    def _read_string(self, quote: str, *, in_formula: bool, end: int | None = None) -> str:
        """The text up to the quote that ends it, up to the key behind a missing one, or up to the end of the answer; if
        it is known that it `end`s before a place, up to the quote there."""
        answer = self.answer
        last = len(answer) if end is None else end - 1
        parts: list[str] = []
        in_math = in_formula
        while (stop := _STOP.search(answer, self._at, last)) is not None:
            start, self._at = self._at, stop.start()
            parts.append(answer[start : self._at])
            if stop[0] == "\\":
                parts.append(self._read_escape(in_formula=in_math))
                continue
            if stop[0] == quote and end is None:
                if _VALUE_GOES_ON.match(answer, self._at + 1):
                    self._at += 1
                    return _join(parts)
                open_end = self._open_end(start)
                if open_end is not None:
                    parts[-1] = answer[start:open_end]
                    self._at = open_end
                    return _join(parts)
                self._note("a quote inside a text was not escaped")
            in_math = in_formula or in_math != stop[0].startswith("$")
            parts.append(stop[0])
            self._at = stop.end()
        parts.append(answer[self._at : last])
        self._at = len(answer) if end is None else end
        return _join(parts, cut_off=end is None)

    def _open_end(self, start: int) -> int | None:
        """Where a text ended whose quote is missing, if the quote at hand begins the next key."""
        if not _KEY_HERE.match(self.answer, self._at):
            return None
        first = max(start, self._at - _OPEN_END_LENGTH)
        found = _OPEN_END.search(self.answer[first : self._at])
        if found is None:
            return None
        self._note("a text without its last quote")
        return first + found.start()

    def _read_escape(self, *, in_formula: bool) -> str:
        """What a backslash and what follows it stand for; the reader goes behind them."""
        answer, at = self.answer, self._at + 1
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
        name = _COMMAND.match(answer, at) if answer[at] in "bfnrt" else None
        if name is not None:
            if name.end() == len(answer) and (name[0] in _COMMAND_STARTS or len(name[0]) == 1):
                self._at = len(answer)
                return ""  # a new line and a word, or a command: cut off before it is known
            if _is_command(name[0], in_formula=in_formula):
                return "\\" + answer[at]
        return _ESCAPES.get(answer[at], "\\" + answer[at])


def _is_command(name: str, *, in_formula: bool) -> bool:
    """Whether the letters behind a backslash are a LaTeX command, although the first one makes a JSON escape of it."""
    if name[0] in "bf":
        return len(name) > 1
    return name in _COMMANDS or (in_formula and name in _SHORT_COMMANDS)


def _join(parts: list[str], *, cut_off: bool = False) -> str:
    """The text; two halves of a character outside of the first plane become one, a lone half a sign of damage."""
    text = "".join(parts)
    if cut_off and "\ud800" <= text[-1:] <= "\udbff":
        text = text[:-1]
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
