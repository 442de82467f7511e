"""PDF pages, by poppler through pdf2image: runs in the rasterizer's job process.

No call here has a timeout of its own: the job has one deadline for all of them, and its whole process group,
poppler included, is ended there.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pdf2image import convert_from_path, pdfinfo_from_path
from pdf2image.exceptions import PDFPageCountError, PDFSyntaxError, PopplerNotInstalledError
from PIL import Image

from ocrd.domain.documents import PageImage
from ocrd.domain.errors import InputRejected, PageFault, ReasonCode, ServerFault
from ocrd.domain.geometry import LONGEST_SIDE_PX, POINTS_PER_INCH, RenderSize, choose_dpi
from ocrd.domain.ink import FAINT_CONTRAST, ink_share, is_blank
from ocrd.pipeline.rasterizer import RenderPolicy

SIZE_TOLERANCE_PX = 2
NOTE_CHARACTERS = 200
_PAGE_FACT = re.compile(r"Page\s+(\d+) (size|rot)")
_POSITION = re.compile(r"^(Syntax Error|Syntax Warning|Internal Error)\s*(\(\d+\))?\s*:\s*")
_NO_PAGES = "Invalid page count 0"
_WRONG_RANGE = "Command Line Error: Wrong page range"
_BESIDE_THE_POINT = ("Syntax Warning", "Unable to get page count", _WRONG_RANGE)
_REPAIRED = re.compile(r"xref|trailer", re.IGNORECASE)
"""Poppler finds the objects of a file with a broken table by itself; the pages lose nothing."""


def count_pages(source: str, policy: RenderPolicy) -> int:
    """Pages of a PDF, at most `max_pages` + 1. Raises InputRejected, ServerFault without poppler."""
    pages = int(_ask_pdfinfo(source)["Pages"])
    if pages < 1:
        raise explain_refusal(_NO_PAGES)
    return min(pages, policy.max_pages + 1)


def _ask_pdfinfo(source: str, **window: Any) -> dict[str, Any]:
    with _explained():
        facts: dict[str, Any] = pdfinfo_from_path(source, **window)
        return facts


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except PDFPageCountError as err:
        raise explain_refusal(str(err)) from err
    except (PopplerNotInstalledError, FileNotFoundError) as err:
        if getattr(err, "filename", None) not in {None, "pdftoppm"}:  # the folder for the images is gone
            raise
        raise ServerFault("poppler is not installed", hint="sudo apt-get install poppler-utils") from err


def explain_refusal(stderr: str) -> InputRejected:
    """Why poppler does not open a PDF, by what it printed. The one place that reads its error messages."""
    if "Incorrect password" in stderr:
        return InputRejected(
            ReasonCode.ENCRYPTED,
            "the PDF is protected with a password",
        )
    reasons = plain_lines(stderr)
    if reasons == [_NO_PAGES]:
        return InputRejected(ReasonCode.NO_PAGES, "the PDF has no pages")
    unsaid = "it has fewer pages than it said" if _WRONG_RANGE in stderr else "it does not say why"
    return InputRejected(
        ReasonCode.DAMAGED,
        f"poppler cannot open the PDF: {reasons[0][:NOTE_CHARACTERS] if reasons else unsaid}",
    )


def plain_lines(stderr: str) -> list[str]:
    """Poppler's errors without positions, each once; warnings and pdf2image's own line left out."""
    errors = (
        _POSITION.sub("", line).replace("<0a>", "").strip()  # how poppler prints the line feed of a library
        for line in stderr.splitlines()
        if line.strip() and not line.startswith(_BESIDE_THE_POINT)
    )
    return list(dict.fromkeys(error for error in errors if error))


def page_sizes(source: str, first: int, last: int) -> dict[int, tuple[float, float]]:
    """Width and height in points of the pages as they are rendered: crop box, turned."""
    sizes: dict[int, tuple[float, float]] = {}
    turned: set[int] = set()
    for key, value in _ask_pdfinfo(source, first_page=first, last_page=last).items():
        fact = _PAGE_FACT.fullmatch(key)
        if fact is None:
            continue
        number, words = int(fact[1]), str(value).split()
        if fact[2] == "size":
            sizes[number] = (float(words[0]), float(words[2]))
        elif words and words[0] in {"90", "270"}:
            turned.add(number)
    return {number: size[::-1] if number in turned else size for number, size in sizes.items()}


def render_pages(
    source: str, numbers: Sequence[int], policy: RenderPolicy, stem: str
) -> dict[int, PageImage | PageFault]:
    """Render the pages to PGM (PPM in colour) files whose names begin with `stem`; an entry for every number."""
    outcome: dict[int, PageImage | PageFault] = {}
    planned: dict[int, RenderSize] = {}
    sizes = page_sizes(source, min(numbers), max(numbers))
    for number in numbers:
        plan = plan_page(number, sizes.get(number), policy)
        if isinstance(plan, PageFault):
            outcome[number] = plan
        else:
            planned[number] = plan
    for index, run in enumerate(runs_of_equal_dpi(planned)):
        outcome |= _render_run(source, run, planned, policy, f"{stem}-{index:03d}-")
    return outcome


def plan_page(number: int, size: tuple[float, float] | None, policy: RenderPolicy) -> RenderSize | PageFault:
    """How large a page is rendered, from its size in points; a fault if it has none, or a limit forbids it."""
    if size is None or min(size) <= 0:
        return PageFault(ReasonCode.RENDER_FAILED, f"page {number} has no size: the PDF is damaged there")
    width_pt, height_pt = size
    plan = choose_dpi(
        width_pt, height_pt, dpi=policy.dpi, min_dpi=policy.min_dpi, max_pixels=policy.max_page_pixels
    )
    if plan is not None:
        return plan
    longest_px = max(size) * policy.min_dpi / POINTS_PER_INCH
    megapixels = width_pt * height_pt * (policy.min_dpi / POINTS_PER_INCH) ** 2 / 1e6
    if longest_px > LONGEST_SIDE_PX and megapixels <= policy.max_page_pixels / 1e6:
        excess = f"is {longest_px:.0f} pixels long, more than the {LONGEST_SIDE_PX} that can be read"
    else:
        excess = f"has {megapixels:.0f} megapixels, more than the {policy.max_page_pixels / 1e6:.0f} allowed"
    return PageFault(
        ReasonCode.RENDER_LIMIT,
        f"page {number} is {width_pt / POINTS_PER_INCH:.0f} × {height_pt / POINTS_PER_INCH:.0f} inches: even at "
        f"{policy.min_dpi:g} DPI, the lowest that can be read, it {excess}",
    )


def runs_of_equal_dpi(planned: Mapping[int, RenderSize]) -> Iterator[list[int]]:
    """Consecutive pages with one resolution: what a single call of poppler can render."""
    run: list[int] = []
    for number in sorted(planned):
        if run and (number != run[-1] + 1 or planned[number].dpi != planned[run[-1]].dpi):
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _render_run(
    source: str, run: list[int], planned: Mapping[int, RenderSize], policy: RenderPolicy, stem: str
) -> dict[int, PageImage | PageFault]:
    complaints = _convert(source, run, planned[run[0]].dpi, policy, stem)
    if complaints and len(run) > 1:  # whose page? Alone, each of them tells.
        fault = PageFault(ReasonCode.RENDER_FAILED, complaints[0])
        return dict.fromkeys(run, fault)
    images = _images_of(stem)
    return {
        number: _check_image(number, images.get(number), planned[number], complaints, policy, stem)
        for number in run
    }


def _convert(source: str, run: list[int], dpi: float, policy: RenderPolicy, stem: str) -> tuple[str, ...]:
    """Have poppler write the pages; returns what it complained about. Which images there are is seen on disk."""
    folder, prefix = os.path.split(stem)
    resolution: Any = dpi  # pdf2image's annotation says int; poppler takes fractions
    try:
        with _explained():
            convert_from_path(
                source,
                dpi=resolution,
                output_folder=folder,
                output_file=prefix,
                paths_only=True,
                fmt="ppm",
                grayscale=policy.grayscale,
                first_page=run[0],
                last_page=run[-1],
                use_cropbox=True,
                thread_count=1,
                strict=True,
            )
    except PDFSyntaxError as err:  # raised after the pages were written
        return shorten_complaints(str(err))
    return ()


def shorten_complaints(stderr: str) -> tuple[str, ...]:
    """The first two of poppler's complaints that can mean a loss on the page."""
    lines = [line for line in plain_lines(stderr) if not _REPAIRED.search(line)]
    return tuple(line[:NOTE_CHARACTERS] for line in lines[:2])


def _images_of(stem: str) -> dict[int, str]:
    folder, prefix = os.path.split(stem)
    name_of_page = re.compile(re.escape(prefix) + r"\d+-(\d+)\.p[gp]m")
    found = (name_of_page.fullmatch(name) for name in os.listdir(folder))
    return {int(match[1]): os.path.join(folder, match[0]) for match in found if match}


def _check_image(
    number: int,
    path: str | None,
    expected: RenderSize,
    complaints: tuple[str, ...],
    policy: RenderPolicy,
    stem: str,
) -> PageImage | PageFault:
    try:
        page = _read_image(number, path, expected)
    except (OSError, ValueError) as err:
        _raise_if_disk_full(stem, expected, policy)
        return _explain_missing(number, str(err), complaints, policy)
    if complaints and is_blank(page):  # an image that cannot be decoded leaves white paper
        return PageFault(
            ReasonCode.RENDER_FAILED, f"poppler shows nothing of page {number} ({complaints[0]})"
        )
    return replace(page, notes=complaints)


def _read_image(number: int, path: str | None, expected: RenderSize) -> PageImage:
    """Poppler's exit code does not tell whether a page was rendered: look at the image. Raises OSError, ValueError."""
    if path is None:
        raise ValueError("poppler wrote no image")
    with Image.open(path, formats=("PPM",)) as image:
        width, height = image.size
        if max(abs(width - expected.width), abs(height - expected.height)) > SIZE_TOLERANCE_PX:
            raise ValueError(
                f"poppler wrote an image of {width} × {height} pixels, not {expected.width} × {expected.height}"
            )
        histogram = (image if image.mode == "L" else image.convert("L")).histogram()
    return PageImage(
        path=path,
        number=number,
        width=width,
        height=height,
        dpi=expected.dpi,
        ink=ink_share(histogram),
        faint_ink=ink_share(histogram, FAINT_CONTRAST),
    )


def _explain_missing(number: int, what: str, complaints: tuple[str, ...], policy: RenderPolicy) -> PageFault:
    used_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if used_mib > policy.memory_mib * 0.7:
        return PageFault(
            ReasonCode.RENDER_LIMIT,
            f"page {number} needs more than the {policy.memory_mib} MiB of memory allowed for rendering",
        )
    said = f" ({complaints[0]})" if complaints else ""
    return PageFault(ReasonCode.RENDER_FAILED, f"page {number}: {what}{said}")


def _raise_if_disk_full(stem: str, expected: RenderSize, policy: RenderPolicy) -> None:
    """Poppler ends with exit code 0 on a full disk as well, and leaves a short file. Raises ServerFault."""
    status = os.statvfs(os.path.dirname(stem))
    needed = expected.width * expected.height * (1 if policy.grayscale else 3)
    if status.f_bavail * status.f_frsize < needed:
        raise ServerFault(
            f"no space left for page images in {os.path.dirname(stem)}", hint="make room on that disk"
        )
