"""Tesseract inside the daemon's own package: works on every machine, without a GPU and without a server.

A worker is a warm child process with one loaded engine, so that a page that crashes or hangs costs one child and
never the daemon. Threads of one process would be as fast (tesserocr lets go of the GIL), but not as safe.
"""

from __future__ import annotations

import contextlib
import math
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault
from ocrd.domain.geometry import LONGEST_SIDE_PX
from ocrd.host.commands import ChildDied, ChildPlace, ChildStopped, ChildTimeout
from ocrd.host.events import Either
from ocrd.pipeline.recognizer import tessdata
from ocrd.pipeline.recognizer.tsv import View, all_words, mean_confidence, page_text, parse_blocks

ENGINE = "tesseract"
PROMPT_MODE = "psm3"
"""Automatic page layout: the only mode that reads columns; mode 4 is better on tables, and ruins columns."""
START_TIMEOUT_S = 60.0
"""For a child to load Tesseract; takes 0.3 s on a quiet machine."""
_PROGRAM = (sys.executable, "-m", "ocrd.pipeline.recognizer.embedded_child")
_ENVIRONMENT = {
    "OMP_THREAD_LIMIT": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
"""With OpenMP, as in Debian's build, a Tesseract a core fights itself for the cores: 5 to 8 times slower.

glibc gives a page's images back to the kernel at once and gets the same memory again, zeroed, for the next page. Told
to keep up to 64 MiB, a child has half as many page faults and uses 1 % less processor time (20 scanned A4 pages: 8.65
instead of 8.73 s). It peaks at 86 MiB as before, and holds 82 instead of 67 between two pages.
"""
_POLL_S = 0.1


class EmbeddedRecognizer:
    """A Tesseract a worker, behind the `Recognizer` protocol. Thread-safe."""

    def __init__(
        self, folder: str, languages: Sequence[str], *, workers: int, program: Sequence[str] = _PROGRAM
    ) -> None:
        """`folder` holds the language data (see `tessdata.find`); `languages` are loaded ahead of the first page."""
        argv = (*program, folder, "+".join(tessdata.named(languages)))
        self._workers = [_Worker(argv) for _ in range(workers)]
        self._closing = Event()
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)

    @property
    def slots(self) -> int:
        """How many pages it reads at the same time."""
        return len(self._workers)

    def warm(self) -> None:
        """Start every child and return at once: they load while the caller does something else.

        Call it before the first page. Raises ServerFault if no process can be started.
        """
        for worker in self._workers:
            worker.start()

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        """Read a page, the right way up. Boxes and size are in pixels of the image as it stands on disk.

        Raises PageFault: ENGINE_CRASHED (transient), ENGINE_TIMEOUT after `request.timeout_s` (for every 32,700 pixels of
        a page's height), ENGINE_FAILED for an image that cannot be read. Raises ServerFault if the engine does not start or is being closed, and
        ChildStopped if `stop` is set first: the page is then given back, not failed.
        """
        either = Either(stop, self._closing)
        try:
            worker = self._take(either)
            try:
                return self._read(worker, page, request, either)
            finally:
                self._idle.put(worker)
        except ChildStopped:
            if stop.is_set():
                raise
            raise ServerFault("the embedded engine is being closed") from None

    def close(self) -> None:
        """End all children; pages in hand fail with ServerFault. Returns when no child is left."""
        if self._closing.is_set():
            return
        self._closing.set()
        workers = [self._idle.get() for _ in self._workers]
        for worker in workers:
            worker.hang_up()
        for worker in workers:
            worker.close()

    def _take(self, stop: Event) -> _Worker:
        """The worker that was used last, whose memory is warm; waits while all are busy."""
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                return self._idle.get(timeout=_POLL_S)
        raise ChildStopped

    def _read(self, worker: _Worker, page: PageImage, request: Request, stop: Event) -> Recognition:
        languages = "+".join(tessdata.named(request.languages))
        version = worker.ready(stop)
        started = time.monotonic()
        timeout_s = request.timeout_s * math.ceil(page.height / LONGEST_SIDE_PX)
        question = {
            "ask": "read",
            "path": page.path,
            "dpi": page.dpi,
            "exact": page.dpi_is_exact,
            "languages": languages,
            "others": tessdata.AUTO in request.languages,
            "in_strips": page.height > LONGEST_SIDE_PX,
        }
        try:
            answer = worker.ask(question, timeout_s=timeout_s, stop=stop)
        except ChildDied as err:
            raise PageFault(
                ReasonCode.ENGINE_CRASHED,
                f"the OCR engine crashed on page {page.number}: {err}",
                transient=True,
            ) from err
        except ChildTimeout as err:
            raise PageFault(
                ReasonCode.ENGINE_TIMEOUT,
                f"the OCR engine did not finish page {page.number} within {timeout_s:g} s",
            ) from err
        if "fault" in answer:
            raise PageFault(
                ReasonCode.ENGINE_FAILED, f"the OCR engine cannot read page {page.number}: {answer['fault']}"
            )
        return _to_recognition(
            answer,
            revision=f"{version} {answer.get('languages', languages)}",
            dpi=page.dpi,
            seconds=time.monotonic() - started,
        )


def _to_recognition(answer: dict[str, Any], *, revision: str, dpi: float, seconds: float) -> Recognition:
    parts = answer.get("parts", [answer])
    blocks = tuple(block for part in parts for block in parse_blocks(part["tsv"], _view(part)))
    return Recognition(
        text=page_text(blocks),
        blocks=blocks,
        finish="stop",
        engine=ENGINE,
        model_revision=revision,
        prompt_mode=PROMPT_MODE,
        dpi=dpi,
        tokens=0,
        seconds=seconds,
        rotation=answer["rotation"],
        width=answer["width"],
        height=answer["height"],
        confidence=mean_confidence(all_words(blocks)),
        notes=tuple(dict.fromkeys(note for part in parts for note in _notes(part))),
        doubt=next(filter(None, map(_lack, parts)), ""),
    )


def _view(part: dict[str, Any]) -> View:
    return View(
        rotation=part["rotation"],
        width=part["width"],
        height=part["height"],
        skew=part.get("skew", 0.0),
        straight=tuple(part.get("straight", (0, 0))),
        scale=part.get("scale", 1.0),
        top=part.get("top", 0),
    )


def _notes(answer: dict[str, Any]) -> Iterator[str]:
    if answer.get("skew"):
        yield f"the page lay {abs(answer['skew']):.1f}° askew, and was straightened to be read"
    if answer.get("scale", 1.0) != 1.0:
        yield f"the type is small: the page was read {answer['scale']:g} times as large"
    if "languages" in answer:
        yield f"the languages asked for do not read this page; it was read with {answer['languages']}"
    if lack := _lack(answer):
        yield lack


def _lack(answer: dict[str, Any]) -> str:
    """Which data the page lacks, and what to do; empty if none is known to."""
    if "lacking" not in answer:
        return ""
    package = tessdata.debian_package(answer["lacking"])
    return (
        f"the page seems to be in {answer['script']} letters, for which no data is installed: "
        f"sudo apt install {package}, or that of another such language; then: ocrd retry --again FILE"
    )


class _Worker(ChildPlace):
    """A child with a loaded engine."""

    def __init__(self, argv: Sequence[str]) -> None:
        super().__init__(argv, env=_ENVIRONMENT, name="the OCR engine")

    def ready(self, stop: Event) -> str:
        """Wait until the child is loaded and alive; the engine's version.

        Asked before every page (0.1 ms), so that a child that died between two pages is blamed on neither.
        """
        try:
            return self._greet(stop)
        except ChildDied:
            pass
        try:
            return self._greet(stop)
        except ChildDied as err:
            raise self._not_started(err) from err

    def _greet(self, stop: Event) -> str:
        try:
            hello = self.ask({"ask": "hello"}, timeout_s=START_TIMEOUT_S, stop=stop)
        except ChildTimeout as err:
            raise self._not_started(err) from err
        return str(hello["version"])

    def ask(self, question: dict[str, Any], *, timeout_s: float, stop: Event) -> dict[str, Any]:
        """One question, one answer. After ChildDied and ChildTimeout the next child is loading already."""
        child = self.start()
        try:
            answer = child.ask(question, timeout_s=timeout_s, stop=stop)
        except ChildStopped:
            self._child = None
            raise
        except (ChildDied, ChildTimeout):
            self._child = None
            self.start()
            raise
        if "fatal" in answer:
            self.close()
            raise ServerFault(answer["fatal"], hint="ocrd doctor")
        return answer
