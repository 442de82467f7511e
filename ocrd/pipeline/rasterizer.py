"""Documents to page images, in child processes under limits: no file can take the daemon along.

A child is a warm fork server (`rasterizer_child`): it has Pillow and pdf2image loaded and forks a job for each
request, which costs milliseconds, not the 150 ms of imports. The job reads the untrusted file under limits on
memory, CPU time and file size, and is ended at its deadline together with poppler.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from threading import Event
from time import monotonic
from typing import Any

from ocrd.domain.documents import FileIdentity, MediaType, PageImage, Recognition, block_from_json
from ocrd.domain.errors import InputRejected, PageFault, ReasonCode, ServerFault, SourceChanged
from ocrd.domain.text_layer import ENGINE as TEXT_LAYER
from ocrd.host.anchors import Anchors
from ocrd.host.commands import ChildStopped
from ocrd.host.events import Either
from ocrd.pipeline import unlocking
from ocrd.pipeline.rasterizer_pool import START_TIMEOUT_S, Pool

FURTHER_PAGE_S = 5.0
"""What each further page adds to the deadline of a window; a page takes 20 to 150 ms as a rule."""
OVERLAY_GROWTH, OVERLAY_BYTES = 4, 64 << 20
"""How much larger than document and text together a searchable PDF may become: a picture that is coded anew grows."""
OVERLAY_S_PER_MIB, CONVERSION_S_PER_MIB = 2.0, 20.0
"""Time for a document's size; Ghostscript draws every page anew."""
MAX_HUNG = 3
"""After so many pages in a row that took too long, the others of a document are not tried: each would cost a minute
and more."""
LAYER_TIMEOUT_S = 30.0
"""For the text layers of a window; takes 50 ms a page. Pages that take longer are rendered."""
GRACE_S = 10.0
"""How much later than its job's deadline a child must have answered; then the child itself is stuck."""
HEADER_BYTES = 4096
"""Of an image file: far more than any has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderPolicy:
    """How pages are rendered, and what a document may cost."""

    dpi: float = 200.0
    min_dpi: float = 110.0
    """A page that would need a lower resolution to stay within `max_page_pixels` is not rendered."""
    grayscale: bool = True
    max_page_pixels: int = 50_000_000
    """A page image has at most so many pixels."""
    max_image_pixels: int = 178_956_970
    """An image file is decoded up to so many; Pillow's own hard limit."""
    max_pages: int = 10_000
    page_timeout_s: float = 60.0
    document_timeout_s: float = 86_400.0
    """No page of a document is begun after so much work on its others; those that were read are written."""
    text_layer: str = "off"
    """Which text layers of PDF pages `read_layers` takes: `auto`, `redo`, `skip` or `off`."""
    passwords: tuple[str, ...] = field(default=(), repr=False)
    """Tried on PDFs that ask for one, after the one that lies beside the file."""
    memory_mib: int = 2048
    """Address space of the job and, each by itself, of poppler's programs."""

    @property
    def image_bytes(self) -> int:
        """The largest image of a page."""
        return self.bytes_of(self.max_page_pixels)

    def bytes_of(self, pixels: int) -> int:
        """What the image of a page with so many pixels takes, with its header."""
        return pixels * (1 if self.grayscale else 3) + HEADER_BYTES

    def window_timeout_s(self, pages: int) -> float:
        """Deadline for rendering so many pages at once."""
        return self.page_timeout_s + FURTHER_PAGE_S * (pages - 1)


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a document before it is rendered."""

    pages: int


@dataclass(frozen=True, slots=True)
class _Source:
    """The file of a request."""

    path: bytes
    identity: FileIdentity
    media_type: MediaType
    anchors: Anchors

    def to_json(self) -> dict[str, Any]:
        """As plain data; the paths in hexadecimal, for they need not be text."""
        path = os.path.abspath(self.path)
        return {
            "passwords": self._passwords() if self.media_type is MediaType.PDF else (),
            "root": self.anchors.root_of(path).hex(),
            "path": path.hex(),
            "identity": asdict(self.identity),
            "media_type": self.media_type.value,
        }

    def _passwords(self) -> tuple[str, ...]:
        with contextlib.suppress(OSError), self.anchors.at(self.path) as here:
            return unlocking.sidecar_password(here)
        return ()


class Rasterizer:
    """A pool of warm children. Thread-safe; each call holds one child for its time."""

    def __init__(self, policy: RenderPolicy, *, workers: int) -> None:
        """Starts nothing yet: each of the `workers` children starts with the first request that needs it."""
        self._policy = policy
        self._pool = Pool(workers)
        self._anchors = Anchors()
        self._closing = Event()

    def read_below(self, anchors: Anchors) -> None:
        """From now on documents are opened as these folders have it: on the way to one no link is followed, except to a
        folder that its owner named."""
        self._anchors = anchors

    def _source(self, path: bytes, identity: FileIdentity, media_type: MediaType) -> _Source:
        return _Source(path, identity, media_type, self._anchors)

    def warm(self) -> None:
        """Start a child for the first request and return at once: it loads while the caller does something else.

        The others can load while the first page is rendered. Raises ServerFault if no process can be started.
        """
        self._pool.warm()

    def probe(self, path: bytes, identity: FileIdentity, media_type: MediaType) -> Probe:
        """Open a document and count its pages. May take `page_timeout_s`.

        Raises InputRejected (ENCRYPTED, DAMAGED, NO_PAGES, TOO_MANY_PAGES, TOO_MANY_PIXELS, UNREADABLE),
        SourceChanged if another file stands at the path, ServerFault if the helper cannot work or is closed.
        """
        source = self._source(path, identity, media_type)
        request = {"ask": "probe", **source.to_json()}
        answer = self._ask(request, timeout_s=self._policy.page_timeout_s, stop=Event())
        if "pages" in answer:
            return self._check_pages(answer["pages"])
        raise _rejection(answer, self._policy)

    def _check_pages(self, pages: int) -> Probe:
        if pages > self._policy.max_pages:
            raise InputRejected(
                ReasonCode.TOO_MANY_PAGES,
                f"the document has more than the {self._policy.max_pages} pages allowed",
            )
        return Probe(pages)

    def render(
        self,
        path: bytes,
        identity: FileIdentity,
        media_type: MediaType,
        numbers: Sequence[int],
        *,
        folder: str,
        stop: Event,
    ) -> dict[int, PageImage | PageFault]:
        """Render pages, counted from 1, to files in `folder`, which the caller deletes. An entry for every number.

        A fault's code is RENDER_FAILED, RENDER_TIMEOUT, RENDER_LIMIT, TOO_MANY_PIXELS or a code of `probe`.
        Raises SourceChanged, ServerFault (no page is to blame: helper, poppler, folder or disk space), and
        ChildStopped if `stop` is set first. After an exception no file is left behind.
        """
        call = _Render(self, self._source(path, identity, media_type), folder, stop)
        return call.run(sorted(set(numbers)))

    def overlay(
        self,
        path: bytes,
        identity: FileIdentity,
        media_type: MediaType,
        *,
        layer: str,
        target: str,
        pdf_a: bool = False,
    ) -> None:
        """Write a searchable PDF of the document and a layer (`searchable_pdf.to_layer`) to `target`, as PDF/A if wanted.

        Raises PageFault with the reason, SourceChanged, and ServerFault (no document is to blame). After an exception
        no file is left behind.
        """
        size = identity.size + os.path.getsize(layer)
        request = {
            "ask": "overlay",
            "layer": layer,
            "pdf_a": pdf_a,
            "stem": target,
            "file_bytes": OVERLAY_GROWTH * size + OVERLAY_BYTES,
            **self._source(path, identity, media_type).to_json(),
        }
        s_per_mib = CONVERSION_S_PER_MIB if pdf_a else OVERLAY_S_PER_MIB
        timeout_s = self._policy.page_timeout_s + s_per_mib * (size >> 20)
        try:
            _raise_overlay_fault(
                self._ask(request, timeout_s=timeout_s, stop=Event()), self._policy, timeout_s
            )
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            raise

    def read_layers(
        self,
        path: bytes,
        identity: FileIdentity,
        media_type: MediaType,
        numbers: Sequence[int],
        *,
        folder: str,
        stop: Event,
    ) -> dict[int, Recognition | str]:
        """What the PDF itself says is on its pages, as far as `text_layer` lets it be taken; else why not, or '' for a page
        without such text. A page for which this cannot be found out has no entry: it is rendered.

        Raises as `render` does. Nothing is left in `folder`.
        """
        if self._policy.text_layer == "off" or media_type.is_image or not numbers:
            return {}
        stem = os.path.join(folder, f"layer-{uuid.uuid4().hex}")
        request = {"ask": "text", "numbers": sorted(numbers), "stem": stem}
        source = self._source(path, identity, media_type)
        began = monotonic()
        try:
            answer = self._ask({**request, **source.to_json()}, timeout_s=self._layer_timeout_s, stop=stop)
        finally:
            _sweep(folder, os.path.basename(stem), keep=frozenset())
        found = answer.get("pages", {})
        each_s = (monotonic() - began) / len(numbers)
        return {int(number): _to_layer(layer, each_s) for number, layer in found.items()}

    @property
    def _layer_timeout_s(self) -> float:
        return min(LAYER_TIMEOUT_S, self._policy.page_timeout_s)

    def close(self) -> None:
        """End all children; calls in hand raise ServerFault. Returns when no child is left."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._pool.close()

    @property
    def policy(self) -> RenderPolicy:
        """How it renders."""
        return self._policy

    def limit_s(self, pages: int) -> float:
        """Calls of `read_layers` and `render` for so many pages are over by then, whatever they do: first all at once, then
        each by itself; twice, for the wait until a child is free."""
        alone_s = pages * (self._policy.page_timeout_s + GRACE_S) + self._layer_timeout_s + GRACE_S
        return 2 * (self._policy.window_timeout_s(pages) + GRACE_S + alone_s + START_TIMEOUT_S)

    def _ask(self, request: dict[str, Any], *, timeout_s: float, stop: Event) -> dict[str, Any]:
        """One job of one child. Its own failures come as an answer with `error`; raises what no page is to blame for."""
        policy = asdict(self._policy)
        passwords = [*request["passwords"], *policy.pop("passwords")]
        request = {**request, "passwords": passwords, "policy": policy, "timeout_s": timeout_s}
        if passwords and "file_bytes" not in request:  # there may be a copy without a password to write
            request["file_bytes"] = max(
                self._policy.image_bytes, unlocking.GROWTH * request["identity"]["size"]
            )
        either = Either(stop, self._closing)
        try:
            with self._pool.worker(either) as worker:
                answer = worker.ask(request, timeout_s=timeout_s + GRACE_S, stop=either)
        except ChildStopped:
            if stop.is_set():
                raise
            raise ServerFault("the rasterizer is being closed") from None
        return _raise_if_blameless(answer)


def is_timeout(outcome: PageImage | PageFault) -> bool:
    """Whether a page took too long."""
    return isinstance(outcome, PageFault) and outcome.code == ReasonCode.RENDER_TIMEOUT


def not_tried(number: int) -> PageFault:
    """What becomes of a page after too many that took too long."""
    reason = f"page {number} was not tried, as {MAX_HUNG} pages before it took too long to render"
    return PageFault(ReasonCode.RENDER_TIMEOUT, reason)


class _Render:
    """One call of `Rasterizer.render`: all pages at once, then those that have no image one by one."""

    def __init__(self, rasterizer: Rasterizer, source: _Source, folder: str, stop: Event) -> None:
        self._rasterizer = rasterizer
        self._policy = rasterizer.policy
        self._source = source
        self._folder = folder
        self._stop = stop
        self._prefix = f"page-{uuid.uuid4().hex}"
        self._outcome: dict[int, PageImage | PageFault] = {}
        self._jobs = 0

    def run(self, numbers: list[int]) -> dict[int, PageImage | PageFault]:
        try:
            if len(numbers) > 1:
                self._render(numbers)
            hung = 0
            for number in numbers:
                if isinstance(self._outcome.get(number), PageImage):
                    hung = 0
                elif hung >= MAX_HUNG:
                    self._outcome[number] = not_tried(number)
                else:
                    self._render([number])
                    hung = hung + 1 if is_timeout(self._outcome[number]) else 0
        except BaseException:
            self._outcome.clear()
            raise
        finally:
            self._sweep()
        return self._outcome

    def _render(self, numbers: list[int]) -> None:
        self._jobs += 1
        stem = os.path.join(self._folder, f"{self._prefix}-{self._jobs:05d}")
        request = {"ask": "render", "numbers": numbers, "stem": stem, **self._source.to_json()}
        timeout_s = self._policy.window_timeout_s(len(numbers))
        answer = self._rasterizer._ask(request, timeout_s=timeout_s, stop=self._stop)  # noqa: SLF001
        for number in numbers:
            found = answer.get("pages", {}).get(str(number))
            self._outcome[number] = (
                _fault(number, answer, self._policy) if found is None else _to_page(number, found)
            )

    def _sweep(self) -> None:
        """Delete what no PageImage names: images of killed jobs, and those of pages that were done again."""
        keep = {os.path.basename(page.path) for page in self._outcome.values() if isinstance(page, PageImage)}
        _sweep(self._folder, self._prefix, keep=keep)


def _sweep(folder: str, prefix: str, *, keep: AbstractSet[str]) -> None:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name not in keep:
                os.unlink(os.path.join(folder, name))


def _raise_if_blameless(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, unless it tells of something that is neither the document's nor a page's fault."""
    if answer.get("error") == "source_changed":
        raise SourceChanged(ReasonCode(answer["code"]), answer["message"])
    if answer.get("error") == "server":
        raise ServerFault(answer["message"], hint=answer["hint"])
    return answer


def _raise_overlay_fault(answer: dict[str, Any], policy: RenderPolicy, timeout_s: float) -> None:
    """Why there is no searchable PDF, if there is none."""
    match answer.get("error"):
        case None:
            return
        case "timeout":
            reason = f"it was not made within {timeout_s:g} s"
        case "memory":
            reason = f"making it needs more than the {policy.memory_mib} MiB of memory allowed"
        case "died":
            reason = f"making it crashed ({answer['message']})"
        case _:
            reason = answer["message"]
    raise PageFault(ReasonCode.OUTPUT_FAILED, reason)


def _rejection(answer: dict[str, Any], policy: RenderPolicy) -> InputRejected:
    """Why a document cannot even be opened."""
    match answer["error"]:
        case "rejected":
            return InputRejected(ReasonCode(answer["code"]), answer["message"])
        case "timeout":
            reason = f"it could not be opened within {policy.page_timeout_s:g} s"
        case "memory":
            reason = f"opening it needs more than the {policy.memory_mib} MiB of memory allowed"
        case "died":
            reason = f"it crashes the program that opens it ({answer['message']})"
        case _:
            reason = answer["message"]
    return InputRejected(ReasonCode.DAMAGED, f"the file is damaged: {reason}")


def _fault(number: int, answer: dict[str, Any], policy: RenderPolicy) -> PageFault:
    """Why a page has no image, from an answer about the job as a whole."""
    match answer["error"]:
        case "rejected":
            return PageFault(ReasonCode(answer["code"]), answer["message"])
        case "timeout":
            return PageFault(
                ReasonCode.RENDER_TIMEOUT,
                f"page {number} was not rendered within {policy.page_timeout_s:g} s",
            )
        case "memory":
            return PageFault(
                ReasonCode.RENDER_LIMIT,
                f"page {number} needs more than the {policy.memory_mib} MiB of memory allowed for rendering",
            )
        case "died":
            return PageFault(
                ReasonCode.RENDER_FAILED, f"rendering page {number} crashed ({answer['message']})"
            )
        case _:
            return PageFault(
                ReasonCode.RENDER_FAILED, f"page {number} cannot be rendered: {answer['message']}"
            )


def _to_page(number: int, found: dict[str, Any]) -> PageImage | PageFault:
    if "code" in found:
        return PageFault(ReasonCode(found["code"]), found["message"])
    return PageImage(**{**found, "number": number, "notes": tuple(found["notes"])})


def _to_layer(found: dict[str, Any], seconds: float) -> Recognition | str:
    if "doubt" in found:
        return str(found["doubt"])
    blocks = tuple(block_from_json(block) for block in found["blocks"])
    return Recognition(
        text="\n\n".join(block.text for block in blocks),
        blocks=blocks,
        finish="stop",
        engine=TEXT_LAYER,
        model_revision="",
        prompt_mode=TEXT_LAYER,
        dpi=found["dpi"],
        width=found["width"],
        height=found["height"],
        tokens=0,
        seconds=seconds,
    )
