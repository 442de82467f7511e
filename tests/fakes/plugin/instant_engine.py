"""An engine that answers at once, installed as a plug-in would be: by an entry point."""

from __future__ import annotations

from threading import Event

from ocrd.domain.documents import Block, PageImage, Recognition, Request
from ocrd.settings import Settings


class InstantRecognizer:
    """Reads nothing and says the page's number."""

    slots = 2

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        text = f"page {page.number}"
        box = (0, 0, page.width, page.height)
        return Recognition(
            text=text,
            blocks=(Block(category="Text", box=box, text=text),),
            finish="stop",
            engine="instant",
            model_revision="1",
            prompt_mode="",
            dpi=page.dpi,
            tokens=0,
            seconds=0.0,
        )

    def close(self) -> None:
        """Nothing to release."""


class BrokenRecognizer(InstantRecognizer):
    """Raises what no engine should, on every second page."""

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        if page.number % 2 == 0:
            raise LookupError("a mistake of the plug-in")
        return super().recognize(page, request, stop)


class HangingRecognizer(InstantRecognizer):
    """Never comes back, whatever its deadline says."""

    def recognize(self, page: PageImage, request: Request, stop: Event) -> Recognition:
        while True:
            Event().wait(3600)


def hanging(settings: Settings) -> HangingRecognizer:
    """The factory of the one that hangs."""
    return HangingRecognizer()


def instant(settings: Settings) -> InstantRecognizer:
    """The factory that the entry point names."""
    return InstantRecognizer()


def broken(settings: Settings) -> BrokenRecognizer:
    """The factory of the broken one."""
    return BrokenRecognizer()
