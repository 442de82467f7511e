"""Every error that ocrd tells, and every reason a document or page can end with.

    OcrdError                    exit code   meaning
    ├── UsageError                   2       the command line makes no sense
    ├── ServiceMissing              69       a program, package or language data is not installed
    ├── TryAgainLater               75       another daemon holds the lock, or the store is busy
    ├── ConfigError                 78       the settings are wrong
    ├── StoreError                   1       the store cannot be opened, is damaged, or is too new
    ├── OrderRefused                 1       an order to the queue or the daemon makes no sense now
    ├── InputRejected                1       this input can never work; carries a ReasonCode
    ├── SourceChanged                1       the input was replaced, renamed or removed while it was worked on
    ├── PageFault                    1       one page could not be read; its neighbours go on
    ├── ContainerFault               1       the container engine did not do what it was asked to (domain/serving.py)
    └── ServerFault                  1       the engine itself is out of order; no page is to blame

The class decides what happens; the message is for people: what, which file, what to do next. Each
`ReasonCode` has its row in `docs/errors.md`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What a process says at its end (sysexits.h where a number is above 2)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 69
    TRY_AGAIN = 75
    CONFIG = 78


class ReasonCode(StrEnum):
    """Why a document or a page is not simply done. A closed list: `docs/errors.md` explains each."""

    EMPTY_FILE = "empty_file"
    UNSUPPORTED_TYPE = "unsupported_type"
    DECODER_MISSING = "decoder_missing"
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    TOO_LARGE = "too_large"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_MANY_PIXELS = "too_many_pixels"
    NO_PAGES = "no_pages"
    PAGES_NOT_THERE = "pages_not_there"
    NAME_TOO_LONG = "name_too_long"
    UNREADABLE = "unreadable"
    FILE_GONE = "file_gone"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    RENDER_FAILED = "render_failed"
    RENDER_TIMEOUT = "render_timeout"
    DOCUMENT_TIMEOUT = "document_timeout"
    RENDER_LIMIT = "render_limit"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_TIMEOUT = "engine_timeout"
    ENGINE_FAILED = "engine_failed"
    ENGINE_REFUSED = "engine_refused"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    CONTEXT_TOO_SMALL = "context_too_small"
    CLAIMED_TOO_OFTEN = "claimed_too_often"
    NO_TEXT_FOUND = "no_text_found"
    PAGES_FAILED = "pages_failed"
    OUTPUT_EXISTS = "output_exists"
    OUTPUT_FAILED = "output_failed"


_REMEDIES: dict[str, str] = {
    ReasonCode.EMPTY_FILE: "copy or scan it again",
    ReasonCode.UNSUPPORTED_TYPE: "convert it to PDF, PNG, JPEG or TIFF",
    ReasonCode.DECODER_MISSING: "do as the reason says, and restart ocrd",
    ReasonCode.DAMAGED: "copy or scan it again; qpdf in.pdf out.pdf mends many PDFs",
    ReasonCode.ENCRYPTED: "write the password into a file beside it with .password behind its name (scan.pdf.password), "
    "or into [inbox] passwords",
    ReasonCode.TOO_LARGE: "raise [limits] file_mib, or split the file",
    ReasonCode.TOO_MANY_PAGES: "raise [limits] pages, or split it",
    ReasonCode.TOO_MANY_PIXELS: "raise [limits] image_megapixels, or scan it at a lower resolution",
    ReasonCode.NO_PAGES: "export or scan it again",
    ReasonCode.PAGES_NOT_THERE: "change pages in .ocrd.toml or [inbox] pages, or --pages",
    ReasonCode.NAME_TOO_LONG: "give the file a shorter name",
    ReasonCode.UNREADABLE: "make it readable for the user that runs ocrd",
    ReasonCode.RENDER_FAILED: "look at the page in a viewer, and print it to a new PDF",
    ReasonCode.RENDER_TIMEOUT: "raise [raster] page_timeout_s, or simplify the page",
    ReasonCode.DOCUMENT_TIMEOUT: "raise [limits] document_s, or split the document",
    ReasonCode.RENDER_LIMIT: "raise [limits] page_megapixels or [raster] memory_mib, or split the page",
    ReasonCode.ENGINE_TIMEOUT: "raise [engine] page_timeout_s (of a model: [vllm] page_timeout_s)",
    ReasonCode.ENGINE_UNAVAILABLE: "see ocrd doctor",
    ReasonCode.CONTEXT_TOO_SMALL: "start the server with a larger --max-model-len",
    ReasonCode.PAGES_FAILED: "ocrd show FILE tells of each page",
    ReasonCode.OUTPUT_EXISTS: "move the file of that name away (--overwrite replaces an edited one of ocrd's)",
    ReasonCode.OUTPUT_FAILED: "let the user that runs ocrd write into the folder",
}
NOT_THERE: frozenset[str] = frozenset({ReasonCode.FILE_GONE, ReasonCode.SUPERSEDED})
"""Cancelled because the content was not at its path any more; it is queued again when it is."""
_OFFER_NO_RETRY: frozenset[str] = frozenset(
    {
        *(ReasonCode.EMPTY_FILE, ReasonCode.UNSUPPORTED_TYPE, ReasonCode.DAMAGED, ReasonCode.NO_PAGES),
        *(ReasonCode.NAME_TOO_LONG, ReasonCode.RENDER_FAILED, ReasonCode.PAGES_FAILED),
        *(ReasonCode.NO_TEXT_FOUND, ReasonCode.FILE_GONE, ReasonCode.SUPERSEDED),
    }
)
"""There the same file gives the same result, or there is nothing to be done."""


def hint_of(code: str, *, again: str = "ocrd retry FILE") -> str:
    """What to do about a reason; '' if nothing. `again` is how the file is tried once more."""
    if not code:
        return ""
    steps = (_REMEDIES.get(code, ""), "" if code in _OFFER_NO_RETRY else again)
    return "; then: ".join(filter(None, steps))


class OcrdError(Exception):
    """The root: `hint` is the next thing to do, printed on a line of its own."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(OcrdError):
    """The command line makes no sense."""

    exit_code = ExitCode.USAGE


class ServiceMissing(OcrdError):
    """Something that has to be installed is not."""

    exit_code = ExitCode.UNAVAILABLE


class TryAgainLater(OcrdError):
    """Someone else holds what is needed; the same call may work later."""

    exit_code = ExitCode.TRY_AGAIN


class ConfigError(OcrdError):
    """The settings are wrong; the message names the file, the key and the nearest known one."""

    exit_code = ExitCode.CONFIG


class OrderRefused(OcrdError):
    """An order was understood, and cannot be carried out as things are."""


class StoreError(OcrdError):
    """The job store cannot be used."""


class StoreFull(StoreError):
    """The disk of the job store is full, or read-only: what was to be written can be written later."""


class InputRejected(OcrdError):
    """This input can never work as it is. What to do follows from the code."""

    def __init__(self, code: ReasonCode, message: str) -> None:
        super().__init__(message, hint=hint_of(code))
        self.code = code


class SourceChanged(OcrdError):
    """The input is not the file any more that was taken in (`code`: FILE_GONE or SUPERSEDED)."""

    def __init__(self, code: ReasonCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class PageFault(OcrdError):
    """This page could not be rendered or read; `transient` says that another try may help."""

    def __init__(self, code: ReasonCode, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient


class ServerFault(OcrdError):
    """The engine is out of order: pause the queue, blame no page. `in_hand` says that it went out of order while
    it had the page: twice, and the page may be the cause. `lasting` says that waiting will not mend it."""

    code = ReasonCode.ENGINE_UNAVAILABLE

    def __init__(self, message: str, *, hint: str = "", in_hand: bool = False, lasting: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.in_hand = in_hand
        self.lasting = lasting


class Stopped(Exception):
    """The stop event was set while we waited: what was in hand is given back, nobody is to blame."""
