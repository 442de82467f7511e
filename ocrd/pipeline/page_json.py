"""The JSON output: all that is known of each page, by the schema in `ocrd/schemas/document-1.json`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ocrd import __version__
from ocrd.domain.documents import Block, PageText, Raster, Recognition, Source

SCHEMA_VERSION = 1


def to_json(pages: Iterable[PageText], source: Source) -> Iterator[str]:
    """One object; its pages one after the other, so that a long document is never whole in memory."""
    head = {"schema": SCHEMA_VERSION, "generator": f"ocrd {__version__}", "source": _source(source)}
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "pages": ['
    for number, page in enumerate(pages):
        yield ("\n" if number == 0 else ",\n") + json.dumps(_page(page), ensure_ascii=False)
    yield "\n]}\n"


def _source(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "sha256": source.sha256,
        "media_type": source.media_type.value,
        "pages": source.pages,
    }


def _page(page: PageText) -> dict[str, Any]:
    read, image = page.recognition, page.image
    return {
        "number": page.number,
        "state": "done" if read is not None else "blank" if page.blank else "failed",
        "verdict": page.verdict,
        "reason_code": page.reason_code,
        "reason": page.reason,
        **({} if image is None else {"image": _image(image)}),
        **({} if read is None else _recognition(read)),
    }


def _image(image: Raster) -> dict[str, Any]:
    size = {"width": image.width, "height": image.height} if image.is_known else {}
    return {**size, "dpi": image.dpi, "rotation": image.rotation}


def _recognition(read: Recognition) -> dict[str, Any]:
    return {
        "text": read.text,
        "confidence": read.confidence,
        "blocks": [_block(block) for block in read.blocks],
        "provenance": {
            "engine": read.engine,
            "model_revision": read.model_revision,
            "prompt_mode": read.prompt_mode,
            "sampling": read.sampling,
            "finish": read.finish,
            "tokens": read.tokens,
            "seconds": round(read.seconds, 3),
        },
        "notes": list(read.notes),
        "testimony": read.testimony,
    }


def _block(block: Block) -> dict[str, Any]:
    words = block.words
    return {
        "category": block.category,
        "bbox": list(block.box),
        "text": block.text,
        "confidence": block.confidence,
        "words": None
        if words is None
        else [
            {
                "text": word.text,
                "bbox": list(word.box),
                "confidence": round(word.confidence, 1),
                "line": word.line,
            }
            for word in words
        ],
    }
