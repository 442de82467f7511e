"""The things that travel: a file's identity, a page's image, what an engine read on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from ocrd.domain.models import PromptMode, Sampling

RESULT_VERSION = 2
"""Version of the JSON that `Recognition.to_json` writes; readers accept every version up to it."""


class MediaType(StrEnum):
    """What a file is, by its content."""

    PDF = "application/pdf"
    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    WEBP = "image/webp"
    BMP = "image/bmp"
    GIF = "image/gif"
    JPEG2000 = "image/jp2"
    HEIF = "image/heif"
    AVIF = "image/avif"
    NETPBM = "image/x-portable-anymap"

    @property
    def is_image(self) -> bool:
        """Whether Pillow opens it (a PDF goes to poppler)."""
        return self is not MediaType.PDF


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file stands at a path, without reading it: equal tuples mean an unchanged file."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """One rendered page on disk: 8-bit grey or RGB, upright as its file says, with its true resolution."""

    path: str
    number: int
    width: int
    height: int
    dpi: float
    ink: float
    """Share of the pixels that stand out clearly from the page's background, 0 to 1."""
    faint_ink: float = 0.0
    """Share of the pixels that stand out from it at all, pale pencil and grey type too; 0 if not measured."""
    dpi_is_exact: bool = True
    """False for an image: what its file says of its resolution is often wrong, and an estimate stays one."""
    notes: tuple[str, ...] = ()
    """What the renderer complained about although it delivered an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted of a page: languages as Tesseract codes (`auto`: and others, where these fail), and how long it may take.

    The other fields are for engines that know them; None leaves the choice to the engine.
    """

    languages: tuple[str, ...]
    timeout_s: float
    prompt_mode: PromptMode | None = None
    sampling: Sampling | None = None
    rotation: int = 0
    """How far the page is to be turned clockwise before it is read: 0, 90, 180 or 270."""
    strips: bool = False
    """Read the page in strips at full resolution, even if it fits as a whole."""


Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the page image; right and bottom are exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word; confidence from 0 to 100."""

    text: str
    box: Box
    confidence: float
    line: int
    """Number of the word's line within its block, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A region of a page in reading order; categories are those of dots.ocr (`Text`, `Table`, `Picture` …)."""

    category: str
    box: Box
    text: str
    words: tuple[Word, ...] | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What one engine read on one page. `rotation` is how far the image was turned clockwise to be read;
    boxes always stand in the page image as it was rendered."""

    text: str
    blocks: tuple[Block, ...]
    finish: str
    engine: str
    model_revision: str
    prompt_mode: str
    sampling: dict[str, float] = field(default_factory=dict)
    dpi: float
    tokens: int
    seconds: float
    rotation: int = 0
    width: int = 0
    height: int = 0
    """Size of the page's image in pixels, as it was rendered; 0: not noted."""
    confidence: float | None = None
    notes: tuple[str, ...] = ()
    """What was mended or doubted on the way from the answer to the text, in words."""
    testimony: dict[str, Any] | None = None
    """What a second reader of the page said to the text (see `domain/witness.py`)."""
    doubt: str = ""
    """Why the engine itself takes its text for none of the page's, in words. Not stored: the verdict's reason says it."""

    def to_json(self) -> dict[str, Any]:
        """As versioned plain data, for the store and the `json` output."""
        return {
            "version": RESULT_VERSION,
            "text": self.text,
            "blocks": [block_to_json(block) for block in self.blocks],
            "finish": self.finish,
            "engine": self.engine,
            "model_revision": self.model_revision,
            "prompt_mode": self.prompt_mode,
            "sampling": self.sampling,
            "dpi": self.dpi,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "rotation": self.rotation,
            "width": self.width,
            "height": self.height,
            "confidence": self.confidence,
            "notes": list(self.notes),
            "testimony": self.testimony,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recognition:
        """The reverse of `to_json`; raises ValueError for a version that is too new."""
        if data["version"] > RESULT_VERSION:
            raise ValueError(
                f"page result has version {data['version']}, this ocrd reads up to {RESULT_VERSION}"
            )
        fields = {key: value for key, value in data.items() if key not in {"version", "blocks", "notes"}}
        blocks = tuple(block_from_json(block) for block in data["blocks"])
        return cls(blocks=blocks, notes=tuple(data.get("notes", ())), **fields)


def block_to_json(block: Block) -> dict[str, Any]:
    """As plain data."""
    words = None
    if block.words is not None:
        words = [[word.text, *word.box, round(word.confidence, 1), word.line] for word in block.words]
    return {
        "category": block.category,
        "bbox": list(block.box),
        "text": block.text,
        "words": words,
        "confidence": block.confidence,
    }


def block_from_json(data: dict[str, Any]) -> Block:
    """The reverse of `block_to_json`."""
    words = None
    if data["words"] is not None:
        words = tuple(
            Word(text=text, box=(left, top, right, bottom), confidence=confidence, line=line)
            for text, left, top, right, bottom, confidence, line in data["words"]
        )
    left, top, right, bottom = data["bbox"]
    return Block(
        category=data["category"],
        box=(left, top, right, bottom),
        text=data["text"],
        words=words,
        confidence=data["confidence"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file that outputs are made of. Nothing of its folder: they stay the same where it is moved."""

    name: str
    """Of the file, printable (`files.display_name`)."""
    sha256: str
    """Of its content, in hexadecimal."""
    media_type: MediaType
    pages: int
    """How many were to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """The image of a page as it was rendered: what its boxes refer to."""

    width: int
    height: int
    """In pixels; 0: not known."""
    dpi: float
    rotation: int = 0

    @property
    def is_known(self) -> bool:
        """Whether its size is."""
        return bool(self.width and self.height)

    @classmethod
    def of(cls, read: Recognition) -> Raster:
        """That of the page on which this was read."""
        return cls(width=read.width, height=read.height, dpi=read.dpi, rotation=read.rotation)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """One page as the outputs see it: its text, or the reason why there is none."""

    number: int
    recognition: Recognition | None = None
    raster: Raster | None = None
    """Of a page without text; None if it was not rendered, or nobody noted it."""
    blank: bool = False
    verdict: str = ""
    reason_code: str = ""
    reason: str = ""

    @property
    def image(self) -> Raster | None:
        """The page as it was rendered, with text or without."""
        return self.raster if self.recognition is None else Raster.of(self.recognition)
