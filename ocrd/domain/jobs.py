"""The two state machines: of a document and of its pages. The tables of legal moves stand here and nowhere else.

document: queued → running → done | partial | failed | rejected | cancelled
page:     pending → running → done | blank | failed | parked | cancelled
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DocumentState(StrEnum):
    """Where a document is; the last five are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class PageState(StrEnum):
    """Where a page is. `parked` waits for the fallback model."""

    PENDING = "pending"
    RUNNING = "running"
    PARKED = "parked"
    DONE = "done"
    BLANK = "blank"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """What is thought of a page's text; stands on attempts and on done pages. At most twelve letters."""

    OK = "ok"
    SUSPECT = "suspect"
    """There is text, and a reason to doubt it."""
    TRUNCATED = "truncated"
    """The answer ended before the page did."""
    LOOP = "loop"
    """The model repeated itself."""
    REFUSED = "refused"
    """The model talked about the page, or of the prompt, instead of reading it."""
    BLANK = "blank"
    FAULT = "fault"
    """There was no answer."""


FINAL_DOCUMENTS = frozenset(
    {
        DocumentState.DONE,
        DocumentState.PARTIAL,
        DocumentState.FAILED,
        DocumentState.REJECTED,
        DocumentState.CANCELLED,
    }
)
FINAL_PAGES = frozenset({PageState.DONE, PageState.BLANK, PageState.FAILED, PageState.CANCELLED})
READ_PAGES = frozenset({PageState.DONE, PageState.BLANK})
"""Pages whose result stands: never done again, reused for the same content elsewhere."""

DOCUMENT_MOVES: Mapping[DocumentState, frozenset[DocumentState]] = {
    DocumentState.QUEUED: frozenset({DocumentState.RUNNING, DocumentState.CANCELLED}),
    DocumentState.RUNNING: FINAL_DOCUMENTS | {DocumentState.QUEUED},
    DocumentState.DONE: frozenset({DocumentState.QUEUED}),
    DocumentState.PARTIAL: frozenset({DocumentState.QUEUED}),
    DocumentState.FAILED: frozenset({DocumentState.QUEUED}),
    DocumentState.REJECTED: frozenset({DocumentState.QUEUED}),
    DocumentState.CANCELLED: frozenset({DocumentState.QUEUED}),
}
PAGE_MOVES: Mapping[PageState, frozenset[PageState]] = {
    PageState.PENDING: frozenset({PageState.RUNNING, PageState.DONE, PageState.BLANK, PageState.CANCELLED}),
    PageState.RUNNING: FINAL_PAGES | {PageState.PENDING, PageState.PARKED},
    PageState.PARKED: frozenset({PageState.RUNNING, PageState.CANCELLED}),
    PageState.DONE: frozenset({PageState.PENDING}),
    PageState.BLANK: frozenset({PageState.PENDING}),
    PageState.FAILED: frozenset({PageState.PENDING}),
    PageState.CANCELLED: frozenset({PageState.PENDING}),
}
"""`pending → done | blank` is a page reused from the same content elsewhere; `done | blank → pending` is a
page that the user asked to be read again (`ocrd retry` with changed settings)."""


class IllegalMove(Exception):
    """A move that the table does not have: a mistake in ocrd, never in the input."""


def check_document_move(old: DocumentState, new: DocumentState) -> None:
    """Raise IllegalMove unless the table has the move."""
    if new not in DOCUMENT_MOVES[old]:
        raise IllegalMove(f"document: {old} → {new}")


def check_page_move(old: PageState, new: PageState) -> None:
    """Raise IllegalMove unless the table has the move."""
    if new not in PAGE_MOVES[old]:
        raise IllegalMove(f"page: {old} → {new}")


def document_outcome(pages: Mapping[PageState, int]) -> DocumentState | None:
    """The final state that follows from the pages, or None while one of them is not final.

    All read → done; some read, some failed → partial; none read → failed; a cancelled page → cancelled.
    """
    count = {state: number for state, number in pages.items() if number}
    if not count or any(state not in FINAL_PAGES for state in count):
        return None
    if PageState.CANCELLED in count:
        return DocumentState.CANCELLED
    if PageState.FAILED not in count:
        return DocumentState.DONE
    return DocumentState.PARTIAL if any(state in READ_PAGES for state in count) else DocumentState.FAILED
