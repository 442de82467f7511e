"""The embedded engine's child program: one warm Tesseract that reads one page at a time.

Started as `python -m ocrd.pipeline.recognizer.embedded_child TESSDATA LANGUAGES`, with LANGUAGES as in `rus+eng`.
It answers a JSON line with a JSON line:

    {"ask": "hello"}                          → {"version": "5.5.4"} | {"fatal": why}
    {"ask": "read", "path", "dpi", "exact", "languages"} → {"tsv", "rotation", "width", "height"} | {"fault": why} | {"fatal": why}

A fault is the page's, a fatal answer the engine's. The daemon keeps the time and kills a child that is late.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any, TextIO

from PIL import Image

from ocrd.host.isolation import isolate
from ocrd.pipeline.recognizer import tessdata

WRONG_WAY_CONFIDENCE = 65.0
"""Tesseract's mean confidence (0 to 100, 0 without words) below which a page may be the wrong way up. Measured on 57
images in four orientations each: the wrong way up it reaches 60, upright it starts at 71, bar one bad photograph (58)."""
SURE_ORIENTATION = 8.0
"""Tesseract's orientation confidence from which its word is taken. On the same images it was wrong at up
to 4.7 (small receipts); its documentation calls 15 'reasonably confident'."""
CLEARLY_BETTER = 1.25
"""How many times more legible a turned page must be. On those images the right way up
measured at least 1.48 times the wrong one."""
_TURNS = {
    90: Image.Transpose.ROTATE_270,  # Pillow turns counter-clockwise, we count clockwise
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
_CHANNELS = {"L": 1, "RGB": 3}


class EngineUnusable(Exception):
    """Tesseract cannot be loaded; no page is to blame."""


class Reader:
    """A Tesseract for some languages, and, once a page asks for it, one for the orientation of pages."""

    def __init__(self, folder: str, languages: str) -> None:
        self._folder = folder
        self._orientation: Any = None
        self._open(languages)

    def _open(self, languages: str) -> None:
        import tesserocr

        try:
            self._api = tesserocr.PyTessBaseAPI(
                path=self._folder, lang=languages, oem=tesserocr.OEM.LSTM_ONLY, psm=tesserocr.PSM.AUTO
            )
        except RuntimeError as err:
            raise EngineUnusable(f"Tesseract does not start with '{languages}': {err}") from err
        unread = set(languages.split("+")) - set(self._api.GetLoadedLanguages())
        if unread:  # Tesseract goes on with the languages that it could load
            raise EngineUnusable(f"Tesseract could not load '{'+'.join(sorted(unread))}' from {self._folder}")
        self._languages = languages

    def read(self, path: str, dpi: float, exact: bool, languages: str) -> dict[str, Any]:
        """Read a page image the right way up. Raises what Pillow raises for an image that it cannot open."""
        if languages != self._languages:
            self._open(languages)
        image = _load(path)
        # Told a resolution that is not true, Tesseract reads worse than with its own estimate from the type's height.
        known = dpi if exact else 0.0
        tsv, confidence = self._recognize(image, known)
        rotation = turn = 0
        if confidence < WRONG_WAY_CONFIDENCE:
            from ocrd.pipeline.recognizer.tsv import parse_blocks

            turn = choose_turn(self._detect_orientation(image, dpi), has_words=bool(parse_blocks(tsv)))
        if turn:
            turned, _ = self._recognize(image.transpose(_TURNS[turn]), known)
            if is_clearly_better(turned, tsv):
                tsv, rotation = turned, turn
        return {"tsv": tsv, "rotation": rotation, "width": image.width, "height": image.height}

    def _recognize(self, image: Image.Image, dpi: float) -> tuple[str, int]:
        """The page's TSV and its mean confidence.

        What was learned on the page is forgotten, so that no page depends on the ones before.
        """
        _hand_over(self._api, image, dpi)
        try:
            if not self._api.Recognize():
                raise ValueError("Tesseract gave up on the page")
            return self._api.GetTSVText(0), self._api.MeanTextConf()
        finally:
            self._api.ClearAdaptiveClassifier()
            self._api.Clear()

    def _detect_orientation(self, image: Image.Image, dpi: float) -> dict[str, Any] | None:
        """What Tesseract thinks of the page's orientation; None without its data or with too few characters.

        Looks at the full image: on one of half the size it was wrong on 5 to 12 pages of 24.
        """
        if tessdata.missing(self._folder, [tessdata.ORIENTATION]):
            return None
        try:
            api = self._orientation_api()
            _hand_over(api, image, dpi)
            found: dict[str, Any] | None = api.DetectOrientationScript()
            api.ClearAdaptiveClassifier()
            api.Clear()
        except RuntimeError:
            return None
        return found

    def _orientation_api(self) -> Any:
        import tesserocr

        if self._orientation is None:
            self._orientation = tesserocr.PyTessBaseAPI(
                path=self._folder, lang=tessdata.ORIENTATION, psm=tesserocr.PSM.OSD_ONLY
            )
        return self._orientation


def _load(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        if image.mode in _CHANNELS:
            return image
        return image.convert("L" if image.mode == "1" else "RGB")


def _hand_over(api: Any, image: Image.Image, dpi: float) -> None:
    """Give the pixels as they are: 2 ms for an A4 page at 200 DPI, against 55 ms for `SetImage` and `SetImageFile`."""
    channels = _CHANNELS[image.mode]
    api.SetImageBytes(image.tobytes(), image.width, image.height, channels, image.width * channels)
    if dpi > 0:
        api.SetSourceResolution(round(dpi))


def choose_turn(orientation: dict[str, Any] | None, *, has_words: bool) -> int:
    """How far clockwise to turn a page that was read badly, in degrees; 0 to leave it.

    Unless the detector is sure, half a turn is tried: Tesseract by itself reads a page that lies on its right
    side, so half a turn makes each of the two orientations that it cannot read into one that it can.
    """
    if orientation is not None and orientation["orient_conf"] >= SURE_ORIENTATION:
        return (360 - int(orientation["orient_deg"])) % 360
    return 180 if has_words else 0


def is_clearly_better(turned_tsv: str, tsv: str) -> bool:
    """Whether the turned page was read with so much more confidence that it is the right way up."""
    from ocrd.pipeline.recognizer.tsv import legibility, parse_blocks

    return legibility(parse_blocks(turned_tsv)) > CLEARLY_BETTER * legibility(parse_blocks(tsv))


def claim_stdout() -> TextIO:
    """Keep standard output for answers: whatever C libraries print goes to standard error from here on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def read_questions() -> queue.SimpleQueue[bytes]:
    """Collect standard input in a thread that ends the program when the daemon's side closes.

    So a child is gone within moments of its daemon, also in the middle of a page: tesserocr lets other threads
    run while it recognizes.
    """
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def collect() -> None:
        for line in sys.stdin.buffer:
            questions.put(line)
        os._exit(0)

    threading.Thread(target=collect, name="stdin", daemon=True).start()
    return questions


def start(folder: str, languages: str) -> tuple[Reader | None, dict[str, Any]]:
    """Load Tesseract; the second value answers the first question."""
    try:
        import tesserocr

        tesserocr.set_leptonica_log_level(tesserocr.LeptLogLevel.NONE)
        reader = Reader(folder, languages)
    except (ImportError, EngineUnusable) as err:
        return None, {"fatal": str(err)}
    return reader, {"version": tesserocr.tesseract_version().split()[1]}


def answer(reader: Reader, question: dict[str, Any]) -> dict[str, Any]:
    """Read the page of a question; an exception becomes a fault of the page."""
    try:
        return reader.read(
            question["path"], question["dpi"], question.get("exact", True), question["languages"]
        )
    except EngineUnusable as err:
        return {"fatal": str(err)}
    except MemoryError:
        raise  # a new child has more of it
    except Exception as err:  # noqa: BLE001 - the loop's edge: one page never costs the warm engine
        return {"fault": f"{type(err).__name__}: {err}"}


def main() -> None:
    """Answer questions until standard input closes."""
    isolate()
    answers = claim_stdout()
    questions = read_questions()
    reader, hello = start(*sys.argv[1:3])
    while True:
        question = json.loads(questions.get())
        reply = hello if reader is None or question["ask"] == "hello" else answer(reader, question)
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
