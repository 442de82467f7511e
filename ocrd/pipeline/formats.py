"""The output formats that are text, and how each is rendered."""

from __future__ import annotations

from functools import partial

from ocrd.pipeline.page_json import to_json
from ocrd.pipeline.page_xml import to_alto, to_hocr
from ocrd.pipeline.transcript import Renderer, TableStyle, to_md, to_txt

RENDERERS: dict[str, Renderer] = {
    "txt": to_txt,
    "md": to_md,
    "json": to_json,
    "hocr": to_hocr,
    "alto": to_alto,
}
"""Output format → how it is rendered."""


def renderers(*, tables: TableStyle, headers: bool) -> dict[str, Renderer]:
    """`RENDERERS` as the settings want them."""
    return RENDERERS | {"md": partial(to_md, tables=tables, headers=headers)}
