"""How far the rasterizer runs ahead of the engine. Pure."""

from __future__ import annotations


def pages_to_render(*, waiting: int, slots: int, window: int) -> int:
    """How many pages the next window may hold; 0 if enough wait for the engine already.

    `waiting` are the pages that are rendered or being rendered and that no slot has taken yet. With nothing
    waiting, a window is only as large as the engine's slots, so that the first text comes soon. At most
    `slots + window` pages wait at any time, whatever the number or the length of the documents.
    """
    if waiting > slots:
        return 0
    return min(slots, window) if waiting == 0 else window
