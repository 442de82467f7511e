"""The embedded engine's child program: one warm Tesseract that reads one page at a time.

Started as `python -m ocrd.pipeline.recognizer.embedded_child TESSDATA LANGUAGES`, with LANGUAGES as in `rus+eng`.
It answers a JSON line with a JSON line:

    {"ask": "hello"}                          → {"version": "5.5.4"} | {"fatal": why}
    {"ask": "read", "path", "dpi", "exact", "languages", "others", "in_strips"} → {"tsv", "rotation", "skew", "straight", "width", "height", "scale"} | {"fault": why} | {"fatal": why}

A page that is higher than Tesseract can read is asked for `in_strips`. The answer then is {"parts", "rotation", "width",
"height"}, where each part is an answer of its own with the `top` of its strip.

With `others`, an answer may also name the `languages` that the page was read with instead of those of the question, or the
`script` of its letters and a language that is `lacking` to read them.

A fault is the page's, a fatal answer the engine's. The daemon keeps the time and kills a child that is late.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, TextIO

from PIL import Image

from ocrd.host.isolation import isolate
from ocrd.pipeline.recognizer import tessdata

if TYPE_CHECKING:
    from ocrd.domain.documents import Word

WRONG_WAY_CONFIDENCE = 65.0
"""Tesseract's mean confidence (0 to 100, 0 without words) below which a page may be the wrong way up. Measured on 57
images in four orientations each: the wrong way up it reaches 60, upright it starts at 71, bar one bad photograph (58)."""
SURE_ORIENTATION = 8.0
"""Tesseract's orientation confidence from which its word is taken. On the same images it was wrong at up
to 4.7 (small receipts); its documentation calls 15 'reasonably confident'."""
POOR_WORDS = 30
"""With fewer, and none of them in a long line, the ink is asked for the page's skew."""
SMALL_LINE_PX, SMALL_LINES = 18, 3
"""So low is the middle one of a page's lines, of so many at least, that the page is enlarged before it is read."""
ENLARGED = 1.5
"""Of seven pages with lines of 14 to 17 pixels, wrong characters fell on six (mean of all: from 6.7 to 5.9 %), in 1.3 times the
time; from 20 pixels on nothing is gained, and twice as large is no better. A fax was read worse (6.5 and 12.4 %): between black
and white pixels there are no shades to go by."""
SURE_CONFIDENCE, SURE_SMALL_CONFIDENCE, LARGE_LINE_PX, MORE_LEGIBLE = 80.0, 90.0, 28, 1.03
"""A page that was read with less confidence (the second, where its type is small) is read once more, enlarged, if its lines are
no higher; that reading is taken if it is surer and so many times as legible. Of six such receipts two were taken, and their wrong
characters fell from 12.4 to 5.8 and from 14.7 to 9.2 %; the other four would have been read worse. Of eleven drawn pages of small
type in black and white all were taken, and ten read better: 7.2 and 5.0 % wrong characters (mean)."""
MOST_ENLARGED_PIXELS, MOST_ENLARGED_SIDE = 20_000_000, 32_000
"""Tesseract takes no side of more than 32,767 pixels."""
SHADES = 0.005
"""Fewer pixels than this share that are neither dark nor light: a picture in black and white."""
PROFILE_PX, PROFILE_DEG = 500, 12
PROFILE_CONTRAST = 1.5
CLEARLY_BETTER = 1.25
"""How many times more legible a turned page must be. On those images the right way up
measured at least 1.48 times the wrong one."""
SURE_SCRIPT = 1.0
"""Tesseract's script confidence from which a script that cannot be read is spoken of. On 27 pages it was right from 0.2 to
15, and wrong at 0.2, 0.3 and 4.0; the last page was legible, and nobody would have asked."""
MOST_OTHERS = 3
"""More languages at once take longer and read worse."""
_TURNS = {
    90: Image.Transpose.ROTATE_270,  # Pillow turns counter-clockwise, we count clockwise
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
_HALF_TURN = 180
_CHANNELS = {"L": 1, "RGB": 3}


class EngineUnusable(Exception):
    """Tesseract cannot be loaded; no page is to blame."""


class Reader:
    """A Tesseract for some languages, and, once a page asks for it, one for the orientation of pages."""

    def __init__(self, folder: str, languages: str) -> None:
        self._folder = folder
        self._orientation: Any = None
        self._script: tuple[str, float] | None = None
        """Of the page in hand, with how sure it is: known only where it was hardly legible."""
        self._open(languages)

    def _open(self, languages: str) -> None:
        import tesserocr

        try:
            api = tesserocr.PyTessBaseAPI(
                path=self._folder, lang=languages, oem=tesserocr.OEM.LSTM_ONLY, psm=tesserocr.PSM.AUTO
            )
        except RuntimeError as err:
            raise EngineUnusable(f"Tesseract does not start with '{languages}': {err}") from err
        unread = set(languages.split("+")) - set(api.GetLoadedLanguages())
        if unread:  # Tesseract goes on with the languages that it could load
            raise EngineUnusable(f"Tesseract could not load '{'+'.join(sorted(unread))}' from {self._folder}")
        self._api, self._languages = api, languages

    def read(
        self, path: str, dpi: float, exact: bool, languages: str, *, others: bool, in_strips: bool = False
    ) -> dict[str, Any]:
        """Read a page image the right way up; with `others` in other languages than those named, if these cannot read
        it; `in_strips` if it is higher than Tesseract can read. Raises what Pillow raises for an image that it cannot
        open."""
        image = _load(path)
        if not in_strips:
            return self._read_image(image, dpi, exact, languages, others=others)
        from ocrd.domain.geometry import cut_at_blank_rows

        parts = []
        for top, bottom in cut_at_blank_rows(row_ink(image)):
            strip = image.crop((0, top, image.width, bottom))
            parts.append({**self._read_image(strip, dpi, exact, languages, others=others), "top": top})
        return put_together(parts, image.size)

    def _read_image(
        self, image: Image.Image, dpi: float, exact: bool, languages: str, *, others: bool
    ) -> dict[str, Any]:
        reading = self._read_in(languages, image, dpi, exact)
        if not others or self._script is None:
            return reading
        script, confidence = self._script
        further, lacking = languages_of(script, languages, tessdata.installed_languages(self._folder))
        if further:
            try:
                second = self._read_in(further, image, dpi, exact)
            except EngineUnusable:  # what nobody asked for by name may be damaged
                return reading
            if is_clearly_better(second["tsv"], reading["tsv"]):
                return {**second, "languages": further}
        elif lacking and confidence >= SURE_SCRIPT:
            return {**reading, "script": script, "lacking": lacking}
        return reading

    def _read_in(self, languages: str, image: Image.Image, dpi: float, exact: bool) -> dict[str, Any]:
        self._script = None
        if languages != self._languages:
            self._open(languages)
        # Told a resolution that is not true, Tesseract reads worse than with its own estimate from the type's height.
        known = dpi if exact else 0.0
        askew, line_px = self._lay_out(image, known)
        if is_to_be_enlarged(image, line_px):
            return self._read_enlarged(image, dpi, known)[0]
        reading, confidence = self._read_as_it_is(image, dpi, known, askew)
        if is_doubtful(image, line_px, confidence):
            larger, surer = self._read_enlarged(image, dpi, known)
            if surer > confidence and is_as_legible(larger["tsv"], reading["tsv"], MORE_LEGIBLE):
                return larger
            self._script = None  # asked of the larger one, if at all
        return reading

    def _read_enlarged(self, image: Image.Image, dpi: float, known: float) -> tuple[dict[str, Any], int]:
        larger = _enlarged(image, ENLARGED)
        askew, _ = self._lay_out(larger, known * ENLARGED)
        reading, confidence = self._read_as_it_is(larger, dpi * ENLARGED, known * ENLARGED, askew)
        # The sides of what was seen are told in pixels of the page.
        straight = [round(side / ENLARGED) for side in reading["straight"]]
        size = {"width": image.width, "height": image.height}
        return {**reading, **size, "straight": straight, "scale": ENLARGED}, confidence

    def _read_as_it_is(
        self, image: Image.Image, dpi: float, known: float, askew: float
    ) -> tuple[dict[str, Any], int]:
        """The reading of a page that is laid out, in the size it has, and the first confidence in it. `askew`: by how much
        its layout says it is to be turned; `known` is its resolution, 0 unless that is sure."""
        if askew:
            straight = _turned(image, askew)
            tsv, confidence = self._recognize(straight, known)
            if confidence >= WRONG_WAY_CONFIDENCE:
                return _reading(image, tsv, skew=askew, straight=straight.size), confidence
        tsv, confidence = self._recognize(image, known, laid_out=not askew)
        rotation = turn = 0
        if confidence < WRONG_WAY_CONFIDENCE:
            from ocrd.pipeline.recognizer.tsv import parse_blocks

            turn = choose_turn(self._detect_orientation(image, dpi), has_words=bool(parse_blocks(tsv)))
        if turn:
            turned, _ = self._recognize(image.transpose(_TURNS[turn]), known)
            if is_clearly_better(turned, tsv):
                tsv, rotation = turned, turn
        upright = image.transpose(_TURNS[rotation]) if rotation else image
        tsv, skew, size = self._straighten(upright, tsv, known)
        return _reading(image, tsv, rotation=rotation, skew=skew, straight=size), confidence

    def _lay_out(self, image: Image.Image, dpi: float) -> tuple[float, float]:
        """Find the lines of a page, which takes a sixth of the time of reading it, and is not done again when it is read
        next. By how many degrees it has to be turned first, if its lines leave no doubt, else 0; and how many pixels high
        the middle one of its lines is, 0 if there are too few."""
        from tesserocr import RIL, iterate_level

        from ocrd.domain import skew

        _hand_over(self._api, image, dpi)
        layout = self._api.AnalyseLayout()
        baselines, heights = [], []
        for line in () if layout is None else iterate_level(layout, RIL.TEXTLINE):
            baseline, box = line.Baseline(RIL.TEXTLINE), line.BoundingBox(RIL.TEXTLINE)
            if baseline and box:
                baselines.append(baseline)
                (_, y), (_, to_y) = baseline
                heights.append(box[3] - box[1] - abs(to_y - y))  # a line that rises is no higher for that
        found = skew.sure_skew(baselines)
        degrees = found if found is not None and skew.needs_turning(found) else 0.0
        return degrees, median(heights) if len(heights) >= SMALL_LINES else 0.0

    def _straighten(self, image: Image.Image, tsv: str, dpi: float) -> tuple[str, float, tuple[int, int]]:
        """The reading of a page that lies askew once it is straight, by how much it was turned, and its size then; the first
        reading if the page is straight, or is not read better so. For pages whose layout did not tell."""
        from ocrd.domain import skew
        from ocrd.pipeline.recognizer.tsv import parse_lines

        lines = parse_lines(tsv)
        seen = skew.skew_of(lines)
        degrees = profile_skew(image) if seen is None and is_poor(lines) else seen or 0.0
        if not skew.needs_turning(degrees):
            return tsv, 0.0, image.size
        straight = _turned(image, degrees)
        straight_tsv, _ = self._recognize(straight, dpi)
        share = skew.AS_LEGIBLE if seen is not None else CLEARLY_BETTER
        if is_as_legible(straight_tsv, tsv, share):
            return straight_tsv, degrees, straight.size
        return tsv, 0.0, image.size

    def _recognize(self, image: Image.Image, dpi: float, *, laid_out: bool = False) -> tuple[str, int]:
        """The page's TSV and its mean confidence. `laid_out`: the engine has the page, and its layout, already.

        What was learned on the page is forgotten, so that no page depends on the ones before.
        """
        if not laid_out:
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
        if found is not None:
            self._script = (found["script_name"], found["script_conf"])
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


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """The page turned counter-clockwise; it grows, and its corners are paper.

    Bilinear: as good as bicubic or better (14 pages at three angles: 0.64, 0.61, 0.67 % wrong characters to 0.64, 0.62,
    0.71 %), and takes less time.
    """
    return image.rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor=_paper_of(image))


def _enlarged(image: Image.Image, scale: float) -> Image.Image:
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def is_to_be_enlarged(image: Image.Image, line_px: float) -> bool:
    """Whether a page whose middle line is so high (0: not known) is read better when it is larger."""
    return 0 < line_px <= SMALL_LINE_PX and _may_be_enlarged(image) and has_shades(image)


def is_doubtful(image: Image.Image, line_px: float, confidence: float) -> bool:
    """Whether a page, read with so much confidence, may be read better when it is larger: it is to be tried."""
    sure = SURE_SMALL_CONFIDENCE if line_px <= SMALL_LINE_PX else SURE_CONFIDENCE
    is_poor = WRONG_WAY_CONFIDENCE <= confidence < sure
    return is_poor and 0 < line_px <= LARGE_LINE_PX and _may_be_enlarged(image)


def _may_be_enlarged(image: Image.Image) -> bool:
    return (
        image.width * image.height * ENLARGED**2 <= MOST_ENLARGED_PIXELS
        and max(image.size) * ENLARGED <= MOST_ENLARGED_SIDE
    )


def has_shades(image: Image.Image) -> bool:
    """Whether a picture is more than black and white."""
    levels = image.convert("L").histogram()
    return sum(levels[64:192]) > SHADES * sum(levels)


def _reading(
    image: Image.Image, tsv: str, *, rotation: int = 0, skew: float, straight: tuple[int, int]
) -> dict[str, Any]:
    """`straight` is the size of what the engine saw."""
    return {
        "tsv": tsv,
        "rotation": rotation,
        "skew": skew,
        "straight": list(straight),
        "scale": 1.0,
        "width": image.width,
        "height": image.height,
    }


def row_ink(image: Image.Image) -> list[int]:
    """How far each row's mean grey is from the paper's."""
    grey = image.convert("L")
    paper = _paper_of(grey)
    assert isinstance(paper, int)
    return [abs(row - paper) for row in grey.resize((1, grey.height), Image.Resampling.BOX).tobytes()]


def put_together(parts: list[dict[str, Any]], size: tuple[int, int]) -> dict[str, Any]:
    """The answer for a page of `size` that was read in strips, from top to bottom; if all of them stood on their head, from
    bottom to top."""
    turns = {part["rotation"] for part in parts}
    rotation = turns.pop() if len(turns) == 1 else 0
    in_order = parts[::-1] if rotation == _HALF_TURN else parts
    languages = {key: part[key] for part in parts for key in ("languages",) if key in part}
    return {"parts": in_order, "rotation": rotation, "width": size[0], "height": size[1], **languages}


def choose_turn(orientation: dict[str, Any] | None, *, has_words: bool) -> int:
    """How far clockwise to turn a page that was read badly, in degrees; 0 to leave it.

    Unless the detector is sure, half a turn is tried: Tesseract by itself reads a page that lies on its right
    side, so half a turn makes each of the two orientations that it cannot read into one that it can.
    """
    if orientation is not None and orientation["orient_conf"] >= SURE_ORIENTATION:
        return (360 - int(orientation["orient_deg"])) % 360
    return 180 if has_words else 0


def languages_of(script: str, named: str, installed: Sequence[str]) -> tuple[str, str]:
    """The languages to try a page of this script with, as in `ukr+bel`, when those named do not read it; and the one
    that is lacking where there is none at all. Scripts that are not Latin come with English, for names and numbers."""
    from ocrd.domain.scripts import LANGUAGES_OF

    known, asked = LANGUAGES_OF.get(script, ()), named.split("+")
    found = [language for language in known if language in installed and language not in asked]
    if not found:
        return "", "" if set(known) & set(asked) else next(iter(known), "")
    english = ["eng"] if script != "Latin" and "eng" in installed else []
    return "+".join(found[:MOST_OTHERS] + english), ""


def is_clearly_better(turned_tsv: str, tsv: str) -> bool:
    """Whether the turned page was read with so much more confidence that it is the right way up."""
    return is_as_legible(turned_tsv, tsv, CLEARLY_BETTER)


def is_as_legible(turned_tsv: str, tsv: str, share: float) -> bool:
    """Whether the turned page is more than so many times as legible as the page as it was."""
    from ocrd.pipeline.recognizer.tsv import legibility, parse_blocks

    return legibility(parse_blocks(turned_tsv)) > share * legibility(parse_blocks(tsv))


def is_poor(lines: Sequence[Sequence[Word]]) -> bool:
    """Whether so little was read on a page that it may lie further askew than Tesseract can read at all."""
    return sum(map(len, lines)) < POOR_WORDS


def profile_skew(image: Image.Image) -> float:
    """By how many degrees a page is to be turned counter-clockwise so that its lines are level, by its ink alone: then
    dark and light rows differ most. 0 where no angle stands out."""
    small = image.convert("L")
    small.thumbnail((PROFILE_PX, PROFILE_PX), Image.Resampling.BOX)
    paper = _paper_of(small)

    def contrast(degrees: float) -> float:
        turned = small.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=paper)
        rows = turned.resize((1, turned.height), Image.Resampling.BOX).tobytes()
        return float(sum((below - above) ** 2 for above, below in pairwise(rows)))

    angles = [step / 2 for step in range(-2 * PROFILE_DEG, 2 * PROFILE_DEG + 1)]
    best = max(angles, key=contrast)
    return best if contrast(best) > PROFILE_CONTRAST * contrast(0.0) else 0.0


def _paper_of(image: Image.Image) -> int | tuple[int, ...]:
    """The grey of the paper: the most frequent one. White for a picture in colour."""
    if image.mode != "L":
        return (255,) * len(image.getbands())
    levels = image.histogram()
    return max(range(256), key=levels.__getitem__)


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
            question["path"],
            question["dpi"],
            question.get("exact", True),
            question["languages"],
            others=question.get("others", False),
            in_strips=question.get("in_strips", False),
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
