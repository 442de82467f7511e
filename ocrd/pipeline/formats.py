"""The output formats that are text, and how each is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ocrd.domain.documents import PageText, Source
from ocrd.pipeline.page_json import to_json
from ocrd.pipeline.page_xml import to_alto, to_hocr
from ocrd.pipeline.transcript import Renderer, TableStyle, to_md, to_txt


def _of_pages_alone(render: Callable[[Iterable[PageText]], Iterator[str]]) -> Renderer:
    """For formats that say nothing of the document itself."""

    def whole(pages: Iterable[PageText], source: Source) -> Iterator[str]:
        del source
        return render(pages)

    return whole


RENDERERS: dict[str, Renderer] = {
    "txt": _of_pages_alone(to_txt),
    "md": _of_pages_alone(to_md),
    "json": to_json,
    "hocr": to_hocr,
    "alto": to_alto,
}
"""Output format → how it is rendered."""


def renderers(*, tables: TableStyle, headers: bool) -> dict[str, Renderer]:
    """`RENDERERS` as the settings want them."""
    return RENDERERS | {"md": _of_pages_alone(partial(to_md, tables=tables, headers=headers))}
