"""How far the rasterizer runs ahead of the engine. Pure."""

from __future__ import annotations


def pages_with_room(*, budget: int, held: int, rendering: int, page: int) -> int:
    """How many more pages there is temporary space for. `held` bytes are taken by the images that wait or are being read;
    `rendering` pages may yet become as large as the largest, of `page` bytes.

    So the budget is kept; but one page is always let through, however large, or work would stand still.
    """
    return max((budget - held - rendering * page) // page, 0 if held or rendering else 1)


def pages_to_render(*, waiting: int, slots: int, window: int, with_room: int) -> int:
    """How many pages the next window may hold; 0 if enough wait for the engine already.

    `waiting` are the pages that are rendered or being rendered and that no slot has taken yet. With nothing
    waiting, a window is only as large as the engine's slots, so that the first text comes soon. At most
    `slots + window` pages wait at any time, whatever the number or the length of the documents, and never more
    are begun than `with_room`.
    """
    if waiting > slots:
        return 0
    return min(slots if waiting == 0 else window, window, with_room)
