"""Whatever is done in whatever order, the store keeps its promises: counts, sums, and a history without gaps."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fakes.clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stores import Stores, arrival, attempt, rejected

from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import (
    DOCUMENT_MOVES,
    FINAL_PAGES,
    PAGE_MOVES,
    DocumentState,
    PageState,
)
from ocrd.store import schema

ENDS = (PageState.DONE, PageState.BLANK, PageState.FAILED)


def some(stores: Stores, query: str, pick: int) -> int | None:
    """One of the numbers that a query finds."""
    found = [row[0] for row in stores.rows(query)]
    return found[pick % len(found)] if found else None


def running(stores: Stores, pick: int) -> int | None:
    return some(stores, "SELECT id FROM documents WHERE state = 'running' ORDER BY id", pick)


def register(stores: Stores, one: int, other: int) -> None:
    stores.documents.register(arrival(f"{one % 4}.pdf", content=str(other % 3)))


def register_rejected(stores: Stores, one: int, other: int) -> None:
    stores.documents.register(rejected(f"{one % 4}.pdf", sha256=str(other % 3)))


def claim(stores: Stores, one: int, other: int) -> None:
    stores.documents.claim()


def claim_pages(stores: Stores, one: int, other: int) -> None:
    if (document := running(stores, one)) is not None:
        stores.pages.claim(document, other % 4)


def land(stores: Stores, one: int, other: int) -> None:
    if (document := running(stores, one)) is None:
        return
    for number in (1, 2, 3)[: 1 + other % 3]:
        if stores.page_states(document)[number - 1 : number] == ["running"]:
            state = ENDS[(one + other) % 3]
            stores.pages.land(document, number, state, attempt(state))


def give_back(stores: Stores, one: int, other: int) -> None:
    if (document := running(stores, one)) is not None:
        stores.pages.give_back(document, [1 + other % 3])


def release(stores: Stores, one: int, other: int) -> None:
    if (document := running(stores, one)) is not None:
        stores.documents.release(document)


def recover(stores: Stores, one: int, other: int) -> None:
    stores.documents.recover()


def finish(stores: Stores, one: int, other: int) -> None:
    if (document := running(stores, one)) is not None:
        outcome = stores.documents.outcome(document)
        stores.documents.finish(document, outcome or DocumentState.CANCELLED, code=ReasonCode.FILE_GONE)


def cancel(stores: Stores, one: int, other: int) -> None:
    if (document := some(stores, "SELECT id FROM documents", one)) is not None:
        stores.documents.cancel(document)


def retry(stores: Stores, one: int, other: int) -> None:
    if (document := some(stores, "SELECT id FROM documents", one)) is not None:
        stores.documents.retry(document, reread_as="again" if other % 2 else None)


Operation = Callable[[Stores, int, int], None]
OPERATIONS: list[Operation] = [
    register,
    register,
    register_rejected,
    claim,
    claim,
    claim_pages,
    claim_pages,
    land,
    land,
    give_back,
    release,
    recover,
    finish,
    cancel,
    retry,
]
STEPS = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 20), st.integers(0, 20))


def real_counts(stores: Stores) -> dict[tuple[str, str], int]:
    counted = stores.rows(
        "SELECT 'document', state, count(*) FROM documents GROUP BY state "
        "UNION ALL SELECT 'page', state, count(*) FROM pages GROUP BY state "
        "UNION ALL SELECT 'verdict', verdict, count(*) FROM pages GROUP BY verdict"
    )
    return {(kind, value): number for kind, value, number in counted}


def kept_counts(stores: Stores) -> dict[tuple[str, str], int]:
    rows = stores.rows("SELECT kind, value, n FROM counts WHERE n <> 0")
    return {(kind, value): number for kind, value, number in rows}


def check_histories(stores: Stores) -> None:
    """Each row's events lead by legal moves, without a gap, from its first state to the one it is in."""
    states: dict[tuple[int, int | None], str]
    states = {(row[0], None): row[1] for row in stores.rows("SELECT id, state FROM documents")}
    states |= {
        (row[0], row[1]): row[2] for row in stores.rows("SELECT document_id, number, state FROM pages")
    }
    histories: dict[tuple[int, int | None], list[tuple[str, str]]] = {key: [] for key in states}
    for document, page, old, new in stores.rows("SELECT document_id, page, old, new FROM events ORDER BY id"):
        histories[document, page].append((old, new))
    for key, moves in histories.items():
        for old, new in moves:
            if key[1] is None:
                assert DocumentState(new) in DOCUMENT_MOVES[DocumentState(old)]
            else:
                assert PageState(new) in PAGE_MOVES[PageState(old)]
        assert all(before[1] == after[0] for before, after in pairwise(moves)), (key, moves)
        if moves:
            assert moves[-1][1] == states[key], (key, moves)
        else:
            assert states[key] in {"queued", "running"} if key[1] is None else states[key] == "pending"


@settings(max_examples=25)
@given(st.lists(STEPS, min_size=10, max_size=50))
def test_after_any_operations_the_counts_the_sums_and_the_history_are_right(
    empty_store: Path, steps: list[tuple[Operation, int, int]]
) -> None:
    with TemporaryDirectory(dir=empty_store.parent) as folder:
        shutil.copy2(empty_store, Path(folder, schema.FILE_NAME))
        stores = Stores(folder, FakeClock())
        try:
            for operation, one, other in steps:
                operation(stores, one, other)
            assert kept_counts(stores) == real_counts(stores)
            check_histories(stores)
            assert stores.rows("SELECT * FROM pages WHERE claims < 0") == []
            settled, all_pages = stores.pages.progress()
            assert all_pages == stores.one("SELECT count(*) FROM pages")
            assert settled == sum(kept_counts(stores).get(("page", state), 0) for state in FINAL_PAGES)
            assert schema.check(folder).problems == ()
        finally:
            stores.close()


def test_deleting_a_document_takes_everything_of_it_along_and_out_of_the_counts(stores: Stores) -> None:
    document = stores.register()
    stores.read_all(stores.begin().id)
    with stores.database.write() as tx:
        tx.exec_driver_sql("DELETE FROM documents WHERE id = ?", (document,))
    assert stores.one("SELECT count(*) FROM pages") == 0
    assert stores.one("SELECT count(*) FROM events") == 0
    assert kept_counts(stores) == {}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE counts SET n = n + 1 WHERE kind = 'page' AND value = 'done'", "the counts are wrong"),
        ("DELETE FROM counts WHERE kind = 'document'", "the counts are wrong"),
        ("UPDATE documents SET pages_done = 1", "pages_done of a document is wrong"),
        ("UPDATE pages SET result_id = NULL", "a page that was read has no result"),
        ("UPDATE pages SET state = 'running' WHERE number = 1", "a finished document has an unfinished page"),
        ("UPDATE pages SET result_id = 99", "foreign key of pages"),
    ],
)
def test_the_check_finds_what_must_not_be(stores: Stores, damage: str, problem: str) -> None:
    stores.register()
    stores.read_all(stores.begin().id)
    assert schema.check(stores.folder).problems == ()
    by_hand = sqlite3.connect(stores.database.path)
    with by_hand:
        by_hand.execute(damage)
    by_hand.close()
    assert any(problem in found for found in schema.check(stores.folder).problems)
