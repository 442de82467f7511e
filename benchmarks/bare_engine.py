"""The bare engine: what a script of a page's length makes of the same files, without a queue, a store or a guard.

Usage: python benchmarks/bare_engine.py --out DIR [--dpi N] [--languages L] FILE|DIR ...

pdf2image renders PDFs in chunks of eight pages, grey; a pool with a process a core reads page after page with
tesserocr; the text of FILE goes to DIR/FILE.txt, pages separated by form feeds. Of a folder the paths below are kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

CHUNK_PAGES = 8
_api: Any = None


def find_tessdata() -> str:
    """The first folder of the usual ones that holds Russian and English."""
    from ocrd.pipeline.recognizer import tessdata

    return tessdata.find(("rus", "eng"), None)


def start(folder: str, languages: str) -> None:
    """Load the engine, once a process."""
    global _api  # noqa: PLW0603 - a worker of a pool has no other place for it
    import tesserocr

    _api = tesserocr.PyTessBaseAPI(path=folder, lang=languages, psm=tesserocr.PSM.AUTO)


def read_page(task: tuple[str, int, str, int, int]) -> tuple[str, int, str]:
    """(document, page number, image, frame of the image, dpi) to (document, page number, text)."""
    from PIL import Image

    name, number, path, frame, dpi = task
    with Image.open(path) as image:
        image.seek(frame)
        grey = image.convert("L")
    _api.SetImageBytes(grey.tobytes(), grey.width, grey.height, 1, grey.width)
    _api.SetSourceResolution(dpi)
    text = _api.GetUTF8Text()
    if path.endswith(".pgm"):
        os.unlink(path)
    return name, number, text


def pages_of(name: str, path: str, dpi: int, folder: str) -> Iterator[tuple[str, int, str, int, int]]:
    """The pages of a file, rendered as they are asked for."""
    if not path.lower().endswith(".pdf"):
        yield from _frames_of(name, path, dpi)
        return
    import pdf2image

    pages = pdf2image.pdfinfo_from_path(path)["Pages"]
    for first in range(1, pages + 1, CHUNK_PAGES):
        last = min(first + CHUNK_PAGES - 1, pages)
        images = pdf2image.convert_from_path(
            path,
            dpi=dpi,
            first_page=first,
            last_page=last,
            grayscale=True,
            use_cropbox=True,
            fmt="ppm",
            output_folder=folder,
            paths_only=True,
        )
        for image in images:
            number = int(re.findall(r"(\d+)\.p[gp]m$", image)[0])
            yield name, number, image, 0, dpi


def _frames_of(name: str, path: str, dpi: int) -> Iterator[tuple[str, int, str, int, int]]:
    from PIL import Image

    with Image.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        own_dpi = round(float(image.info.get("dpi", (dpi, dpi))[0]))
    for frame in range(frames):
        yield name, frame + 1, path, frame, own_dpi if own_dpi >= 70 else dpi


def listed(inputs: list[str]) -> Iterator[tuple[str, str]]:
    """(name below the output folder, path) of every file."""
    for given in inputs:
        if not os.path.isdir(given):
            yield os.path.basename(given), given
            continue
        for folder, _, names in sorted(os.walk(given)):
            for name in sorted(names):
                path = os.path.join(folder, name)
                yield os.path.relpath(path, given), path


def tasks_of(
    files: list[tuple[str, str]], dpi: int, folder: str, broken: list[str]
) -> Iterator[tuple[str, int, str, int, int]]:
    """The pages of all files; a file that does not open is noted in `broken`."""
    for name, path in files:
        try:
            yield from pages_of(name, path, dpi, folder)
        except Exception as err:  # noqa: BLE001 - the next file may be better
            broken.append(f"{name}: {type(err).__name__}: {err}")


def write(out: str, name: str, texts: dict[int, str]) -> None:
    """The text of a document, pages in their order."""
    target = os.path.join(out, name + ".txt")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        file.write("\f".join(texts[number] for number in sorted(texts)))


def main() -> int:
    """Read all files."""
    parser = argparse.ArgumentParser(description="Read documents with pdf2image and tesserocr alone.")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the texts go")
    parser.add_argument("--dpi", type=int, default=200, help="of PDF pages, and of images that tell none")
    parser.add_argument("--languages", default="rus+eng", help="as Tesseract names them")
    parser.add_argument("--tessdata", metavar="DIR", help="default: where ocrd finds it")
    parser.add_argument("inputs", nargs="+", metavar="FILE|DIR")
    options = parser.parse_args()
    os.environ["OMP_THREAD_LIMIT"] = "1"
    engine = (options.tessdata or find_tessdata(), options.languages)
    cores = len(os.sched_getaffinity(0))
    texts: dict[str, dict[int, str]] = {}
    broken: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(cores, start, engine) as pool,
    ):
        tasks = tasks_of(list(listed(options.inputs)), options.dpi, folder, broken)
        current = None
        for name, number, text in pool.imap(read_page, tasks):
            if current not in {None, name}:
                write(options.out, current, texts.pop(current))
            current = name
            texts.setdefault(name, {})[number] = text
        if current is not None:
            write(options.out, current, texts.pop(current))
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
