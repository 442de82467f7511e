"""A vision model behind an OpenAI-compatible server, as a `Recognizer`.

A page is planned before it is sent (`domain/geometry.py`): as large as the model's context allows, in strips where
it would not be legible as a whole. The server is checked before its first page and after each of its faults
(`probe.py`); whether an error is the page's or the server's is found out by asking for a known page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any

from ocrd.domain.documents import Block, Box, PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, Stopped
from ocrd.domain.geometry import Part, box_to_page, plan_parts
from ocrd.domain.models import AnswerKind, PromptMode, Sampling
from ocrd.domain.rendering import blocks_to_text
from ocrd.domain.repetition import LoopWatch
from ocrd.domain.strips import merge_blocks
from ocrd.host.events import Either
from ocrd.pipeline.recognizer import probe
from ocrd.pipeline.recognizer.cells import Cell, CellReader, Parsed, parse_cells
from ocrd.pipeline.recognizer.chat import STOP, Answer, ChatServer, Question, ServerError
from ocrd.pipeline.recognizer.guarded_http import Guard
from ocrd.pipeline.recognizer.picture import OpenPage
from ocrd.pipeline.recognizer.probe import Served

ENGINE = "vllm"
CHECK_TIMEOUT_S = 120.0
"""For a server to read the known page: its first request may compile something (17 s were seen)."""
_LEAST_CHECK_S = 20.0
_CHECK_PAGES = 4
"""A known page that takes as long as four others may is not waited for any longer."""
RECHECK_AFTER_S = 5.0
"""A server that was found out of order is not asked again before."""
_REGION_MARGIN = 6
"""Pixels around a region that is read by itself, so that no letter touches the edge."""
_PICTURE = "Picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Which server, and how it is used."""

    base_url: str
    model: str = ""
    api_key: str = ""
    family: str = ""
    slots: int = 4
    min_dpi: float = 110.0


class VllmRecognizer:
    """Thread-safe."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._server = ChatServer(options.base_url, options.api_key)
        self._closing = Event()
        self._checking = Lock()
        self._served: Served | None = None
        self._fault: tuple[float, ServerFault] | None = None

    @property
    def slots(self) -> int:
        """How many pages it reads at the same time."""
        return self._options.slots

    @property
    def modes(self) -> AbstractSet[PromptMode]:
        """The prompts of the model that is served; none while the server is not known."""
        return frozenset() if self._served is None else self._served.profile.prompts.keys()

    def facts(self) -> dict[str, Any]:
        """What `ocrd status` tells of the server."""
        served, fault = self._served, self._fault
        return {
            "state": "ready" if served else ("failed" if fault else "unknown"),
            "phase": None,
            "eta_s": None,
            "model": served.model if served else (self._options.model or None),
            "url": self._options.base_url,
            "version": served.version if served else None,
            "context": served.context if served else None,
            "problem": str(fault[1]) if fault and not served else "",
        }

    def close(self) -> None:
        """Pages in hand fail with ServerFault."""
        self._closing.set()
        self._server.close()

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        """Read a page. Raises PageFault (ENGINE_TIMEOUT, ENGINE_FAILED, ENGINE_REFUSED, CONTEXT_TOO_SMALL),
        ServerFault, and Stopped. An answer that was cut off is returned as far as it came; its `finish` says so."""
        either = Either(stop, self._closing)
        try:
            served = self._ready(either)
            guard = Guard(either, time.monotonic() + request.timeout_s)
            try:
                return self._read(served, page, request, guard)
            except ServerError as err:
                fault = PageFault(ReasonCode.ENGINE_FAILED, f"the server failed: {err}")
                self._find_blame(served, either, fault, request.timeout_s)
                raise fault from err
            except _InDoubt as err:
                self._find_blame(served, either, err.fault, request.timeout_s)
                if not err.recognition.text.strip():
                    raise err.fault from None
                return err.recognition
            except ServerFault as err:
                if not err.in_hand:
                    self._note_fault(err)
                    raise
                reason = f"the connection broke while page {page.number} was being read"
                fault = PageFault(ReasonCode.ENGINE_CRASHED, reason, transient=True)
                self._find_blame(served, either, fault, request.timeout_s)
                raise fault from err
        except Stopped:
            if stop.is_set():
                raise
            raise ServerFault("the connection to the server is being closed") from None

    def _read(self, served: Served, page: PageImage, request: Request, guard: Guard) -> Recognition:
        """Read the page; once more if the server turns out to make pictures smaller than its model does."""
        while True:
            try:
                return _Page(self._server, served, page, request, guard, self._options.min_dpi).read()
            except _Resized as err:
                served = replace(served, max_pixels=err.pixels)
                if self._served is not None:
                    self._served = served

    # --- the server -----------------------------------------------------------------------------------------

    def check(self, *, timeout_s: float) -> Served:
        """Look at the server at once. Raises ServerFault that says what is wrong with it."""
        return self._conform(Guard(self._closing, time.monotonic() + timeout_s))

    def prepare(self, *, timeout_s: float) -> None:
        """Check the server anew before its first page, or after a doubt. Raises ServerFault."""
        with self._checking:
            self._fault = None
            self._served = None
            self._served = self._conform(Guard(self._closing, time.monotonic() + timeout_s))

    def _conform(self, guard: Guard) -> Served:
        options = self._options
        return probe.conform(self._server, model=options.model, family=options.family, guard=guard)

    def _ready(self, stop: Event) -> Served:
        """The server, checked. Raises ServerFault while it is out of order."""
        served = self._served
        if served is not None:
            return served
        with self._checking:
            if self._served is not None:
                return self._served
            if self._fault is not None and time.monotonic() - self._fault[0] < RECHECK_AFTER_S:
                raise self._fault[1]
            guard = Guard(stop, time.monotonic() + CHECK_TIMEOUT_S)
            try:
                self._served = self._conform(guard)
            except ServerFault as fault:
                self._note_fault(fault)
                raise
            self._fault = None
            return self._served

    def _note_fault(self, fault: ServerFault) -> None:
        self._served = None
        self._fault = (time.monotonic(), fault)

    def _find_blame(self, served: Served, stop: Event, fault: PageFault, timeout_s: float) -> None:
        """Ask for the known page: if it comes back, the fault was the page's; else this raises ServerFault."""
        patience_s = min(CHECK_TIMEOUT_S, max(_LEAST_CHECK_S, _CHECK_PAGES * timeout_s))
        guard = Guard(stop, time.monotonic() + patience_s)
        try:
            probe.ask_known_page(self._server, served, guard)
        except ServerFault as err:
            broken = ServerFault(f"{fault}; then: {err}", hint=err.hint, in_hand=True)
            self._note_fault(broken)
            raise broken from err


class _Resized(Exception):
    """The server has made a picture smaller than it was sent: it was started with a lower `max_pixels`."""

    def __init__(self, pixels: int) -> None:
        super().__init__(f"pictures are made smaller than {pixels} pixels")
        self.pixels = pixels


class _InDoubt(Exception):
    """An answer that ended in a way which may be the page's doing or the server's."""

    def __init__(self, fault: PageFault, recognition: Recognition) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.recognition = recognition


_CUT_OFF = {
    "abort": "the server broke the answer off",
    "deadline": "the answer did not end in time",
    "cut": "the answer ended without its end mark",
    "broken": "a part of the answer was damaged on its way",
}
"""The ways in which an answer may end that may be the page's doing or the server's."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one question brought."""

    blocks: tuple[Block, ...]
    answer: Answer
    notes: tuple[str, ...]


class _Page:
    """One page in work."""

    def __init__(
        self,
        server: ChatServer,
        served: Served,
        page: PageImage,
        request: Request,
        guard: Guard,
        min_dpi: float,
    ) -> None:
        self._server = server
        self._served = served
        self._page = page
        self._request = request
        self._guard = guard
        self._min_dpi = min_dpi
        self._mode = request.prompt_mode or served.first_mode
        self._sampling = request.sampling or served.profile.sampling
        self._open = OpenPage.load(page, request.rotation)
        self._began = time.monotonic()

    def read(self) -> Recognition:
        """All of it."""
        if self._mode is PromptMode.REGIONS:
            pieces, blocks = self._read_regions()
        else:
            parts = self._plan(self._mode, strips=self._request.strips)
            pieces = [self._ask(part, self._mode) for part in parts]
            blocks = pieces[0].blocks if pieces else ()
            if len(pieces) > 1:
                blocks = merge_blocks(
                    [piece.blocks for piece in pieces], [self._upright(part.box) for part in parts]
                )
        return self._finish(pieces, blocks)

    def _plan(self, mode: PromptMode, *, strips: bool = False, box: Box | None = None) -> tuple[Part, ...]:
        """The questions that a mode takes for the page or a part of it. Raises PageFault."""
        if mode not in self._served.profile.prompts:
            raise PageFault(ReasonCode.ENGINE_REFUSED, f"{self._served.model} has no prompt for '{mode}'")
        parts = plan_parts(
            self._open.size,
            self._page.dpi,
            box=box,
            profile=self._served.profile,
            context=self._served.context,
            prompt_tokens=self._served.prompt_tokens[mode],
            mode=mode,
            min_dpi=self._min_dpi,
            max_pixels=self._served.max_pixels,
            strips=strips,
        )
        if not parts:
            raise PageFault(
                ReasonCode.CONTEXT_TOO_SMALL,
                f"page {self._page.number} does not fit into {self._served.context} tokens of context legibly",
            )
        return tuple(part for part in parts if self._open.has_ink(part.box)) if len(parts) > 1 else parts

    def _ask(self, part: Part, mode: PromptMode, *, sampling: Sampling | None = None) -> _Piece:
        picture = self._open.cut(part.box, part.size)
        question = Question(
            picture=picture,
            prompt=self._served.profile.question(mode, part.size),
            sampling=sampling or self._sampling,
            max_tokens=part.max_tokens,
        )
        has_cells = self._served.profile.answers_with(mode) is AnswerKind.CELLS
        loop, cells = LoopWatch(), CellReader()

        def watch(chunk: str) -> bool:
            if has_cells:  # read while the model still writes, so that nothing is left to do at the end
                cells.feed(chunk)
            return loop.feed(chunk) is not None

        answer = self._server.ask(self._served.model, question, self._guard, watch)
        self._check_size(part, mode, answer)
        return self._read_cells(part, answer, cells.finish()) if has_cells else self._read_text(part, answer)

    def _check_size(self, part: Part, mode: PromptMode, answer: Answer) -> None:
        """Boxes are in pixels of what the model saw: it has to be what was sent."""
        if answer.prompt_tokens is None or not self._served.checked_tokens or mode is PromptMode.GROUNDING:
            return
        tokens = answer.prompt_tokens - self._served.prompt_tokens[mode]
        if 0 < tokens < part.tokens:
            raise _Resized(tokens * self._served.profile.factor**2)

    def _read_cells(self, part: Part, answer: Answer, parsed: Parsed) -> _Piece:
        blocks = [self._block(part, cell) for cell in parsed.cells]
        if parsed.leftover:
            blocks.append(self._text_block(part, parsed.leftover))
        return _Piece(tuple(blocks), answer, parsed.salvaged)

    def _read_text(self, part: Part, answer: Answer) -> _Piece:
        text = answer.text.strip()
        return _Piece((self._text_block(part, text),) if text else (), answer, ())

    def _block(self, part: Part, cell: Cell) -> Block:
        box = self._upright(part.box) if cell.bbox is None else self._to_page(part, cell.bbox)
        return Block(category=cell.category, box=box, text=cell.text or "")

    def _text_block(self, part: Part, text: str) -> Block:
        return Block(category="Text", box=self._upright(part.box), text=text)

    def _to_page(self, part: Part, box: Box) -> Box:
        left, top, right, bottom = part.box
        return box_to_page(
            box,
            from_size=part.size,
            to_size=(right - left, bottom - top),
            offset=(left, top),
            page_size=self._open.size,
            rotation=self._request.rotation,
        )

    def _upright(self, box: Box) -> Box:
        """A box of the turned page in the page as it was rendered."""
        return box_to_page(
            box,
            from_size=self._open.size,
            to_size=self._open.size,
            page_size=self._open.size,
            rotation=self._request.rotation,
        )

    # --- region by region -----------------------------------------------------------------------------------

    def _read_regions(self) -> tuple[list[_Piece], tuple[Block, ...]]:
        """Find the regions, then read each by itself: a loop costs one region, not the page."""
        parts = self._plan(PromptMode.LAYOUT_ONLY)
        pieces: list[_Piece] = []
        blocks: list[Block] = []
        for part in parts:
            layout = self._ask(part, PromptMode.LAYOUT_ONLY)
            pieces.append(layout)
            for cell in parse_cells(layout.answer.text).cells:
                for piece in self._read_region(part, cell):
                    pieces.append(piece)
                    blocks += [self._named(block, cell.category) for block in piece.blocks]
        return pieces, tuple(blocks)

    def _read_region(self, part: Part, cell: Cell) -> Iterator[_Piece]:
        if cell.bbox is None:
            return
        box = self._grown(part, cell.bbox)
        if not self._open.has_ink(box):
            return
        for one in self._plan(PromptMode.OCR, box=box):
            yield self._ask(one, PromptMode.OCR)

    def _grown(self, part: Part, box: Box) -> Box:
        """A region of a part in pixels of the turned page, with its margin."""
        left, top, right, bottom = box_to_page(
            box,
            from_size=part.size,
            to_size=(part.box[2] - part.box[0], part.box[3] - part.box[1]),
            offset=part.box[:2],
            page_size=self._open.size,
            rotation=0,
        )
        width, height = self._open.size
        return (
            max(0, left - _REGION_MARGIN),
            max(0, top - _REGION_MARGIN),
            min(width, right + _REGION_MARGIN),
            min(height, bottom + _REGION_MARGIN),
        )

    @staticmethod
    def _named(block: Block, category: str) -> Block:
        kept = category if category not in {_PICTURE, "Table", "Formula"} else "Text"
        return Block(category=kept, box=block.box, text=block.text)

    # --- the result -----------------------------------------------------------------------------------------

    def _finish(self, pieces: Sequence[_Piece], blocks: tuple[Block, ...]) -> Recognition:
        finish = next((piece.answer.finish for piece in pieces if piece.answer.finish != STOP), STOP)
        recognition = Recognition(
            text=blocks_to_text(blocks),
            blocks=blocks,
            finish=finish,
            engine=ENGINE,
            model_revision=f"{self._served.root} vLLM {self._served.version}".removesuffix(" vLLM "),
            prompt_mode=self._mode,
            sampling=self._sampling.as_dict(),
            dpi=self._page.dpi,
            tokens=sum(piece.answer.tokens for piece in pieces),
            seconds=time.monotonic() - self._began,
            rotation=self._request.rotation,
            width=self._page.width,
            height=self._page.height,
            notes=tuple(note for piece in pieces for note in piece.notes),
        )
        if finish in _CUT_OFF:
            code = ReasonCode.ENGINE_TIMEOUT if finish == "deadline" else ReasonCode.ENGINE_FAILED
            fault = PageFault(code, _CUT_OFF[finish], transient=finish != "deadline")
            raise _InDoubt(fault, recognition)
        return recognition
