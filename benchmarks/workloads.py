"""The documents that the speed is measured on: pages of `samples/`, each with noise of its own, composed anew."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass

from PIL import Image
from processes import REPOSITORY

SAMPLES = os.path.join(REPOSITORY, "samples")
DPI = 200
NOISE = 3.0
"""As in samples/draw.py: grain of a good scanner."""
_SOURCES = (
    "letter_ru.png",
    "report_3_pages.pdf",
    "letter_en.jpg",
    "minutes.tif",
    "two_columns_en.png",
    "noisy_scan_ru.jpg",
    "invoice_ru.png",
)


@dataclass(frozen=True)
class Page:
    """A grey page at 200 DPI and the text that stands on it."""

    image: Image.Image
    text: str


@dataclass(frozen=True)
class Workload:
    """Files and the true text of each; all pages differ in their bytes."""

    name: str
    files: dict[str, bytes]
    truth: dict[str, str]
    pages: int

    def write(self, folder: str) -> None:
        """Lay the files into a folder."""
        os.makedirs(folder, exist_ok=True)
        for name, data in self.files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)


def sample_pages() -> list[Page]:
    """The pages of the samples that have an expected text."""
    pages: list[Page] = []
    for name in _SOURCES:
        with open(os.path.join(SAMPLES, "expected", name + ".txt"), encoding="utf-8") as file:
            texts = file.read().split("\f")
        images = _images_of(os.path.join(SAMPLES, "documents", name))
        pages += [Page(image, text) for image, text in zip(images, texts, strict=True)]
    return pages


def _images_of(path: str) -> list[Image.Image]:
    if path.endswith(".pdf"):
        from pdf2image import convert_from_path

        return [image.convert("L") for image in convert_from_path(path, dpi=DPI, grayscale=True)]
    with Image.open(path) as image:
        frames = []
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            frames.append(image.convert("L"))
        return frames


def varied(pages: list[Page], number: int) -> list[Page]:
    """So many pages in turn; each is shifted a little and has its own grain, so that no two are the same."""
    sys.path.insert(0, SAMPLES)
    import draw

    made = []
    for index in range(number):
        page = pages[index % len(pages)]
        shifted = Image.new("L", page.image.size, 250)
        shifted.paste(page.image, (index // len(pages), index % 5))
        made.append(Page(draw.with_noise(shifted, index, NOISE), page.text))
    return made


def scan(pages: list[Page], number: int) -> Workload:
    """One PDF as an office scanner makes it: grey JPEG pages."""
    drawn = varied(pages, number)
    buffer = io.BytesIO()
    drawn[0].image.save(
        buffer,
        "PDF",
        save_all=True,
        append_images=[page.image for page in drawn[1:]],
        resolution=DPI,
        quality=70,
    )
    text = "\f".join(page.text for page in drawn)
    return Workload(f"scan{number}", {"scan.pdf": buffer.getvalue()}, {"scan.pdf": text}, number)


def images(pages: list[Page], number: int) -> Workload:
    """Single pages, half of them PNG, half JPEG."""
    files, truth = {}, {}
    for index, page in enumerate(varied(pages, number)):
        kind, ending = (("PNG", "png"), ("JPEG", "jpg"))[index % 2]
        buffer = io.BytesIO()
        page.image.save(buffer, kind, dpi=(DPI, DPI), **({"quality": 80} if kind == "JPEG" else {}))
        name = f"page-{index:03d}.{ending}"
        files[name], truth[name] = buffer.getvalue(), page.text
    return Workload(f"images{number}", files, truth, number)


def make(name: str) -> Workload:
    """`scan20`, `images100`: the kind and the number of pages."""
    kind = name.rstrip("0123456789")
    if kind not in {"scan", "images"} or kind == name:
        raise ValueError(f"no such workload: {name}; say scan20 or images100")
    return {"scan": scan, "images": images}[kind](sample_pages(), int(name.removeprefix(kind)))
