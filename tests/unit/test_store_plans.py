"""The statements that run for every page must find their rows by an index, not by looking through all of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from support.stores import Stores

Statement = tuple[str, tuple[Any, ...]]


def plans_of(stores: Stores, statements: list[Statement]) -> list[str]:
    """How SQLite goes about each statement."""
    found = []
    with stores.database.write() as tx:
        for sql, values in statements:
            if sql.split()[0] in {"SELECT", "UPDATE", "DELETE"}:
                rows = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
                found.append(" / ".join(row.detail for row in rows))
    return found


def listen(stores: Stores) -> list[Statement]:
    """Every statement that the writing connection runs from now on."""
    heard: list[Statement] = []

    def note(_connection: Any, _cursor: Any, sql: str, values: Any, _context: Any, many: bool) -> None:
        heard.append((sql, tuple(values[0] if many else values)))

    event.listen(stores.database._writer, "before_cursor_execute", note)
    return heard


def test_a_document_is_claimed_by_its_index_without_sorting(stores: Stores) -> None:
    stores.register()
    heard = listen(stores)
    stores.begin()
    claim = plans_of(stores, heard)[0]
    assert "documents USING INDEX ix_documents_claim" in claim
    assert "SEARCH twin USING INDEX" in claim
    assert "TEMP B-TREE" not in claim


def test_pages_are_claimed_by_their_index_without_sorting(stores: Stores) -> None:
    stores.register()
    document = stores.begin().id
    heard = listen(stores)
    stores.pages.claim(document, 2)
    claim = plans_of(stores, heard)[0]
    assert "ix_pages_pending" in claim
    assert "TEMP B-TREE" not in claim


def test_no_statement_of_a_pages_way_looks_through_a_table(stores: Stores) -> None:
    stores.register()
    heard = listen(stores)
    document = stores.begin().id
    stores.pages.claim(document, 3)
    stores.pages.give_back(document, [3])
    stores.land(document, 1)
    stores.documents.release(document)
    stores.begin()
    stores.read_all(document)
    plans = plans_of(stores, heard)
    assert len(plans) > 10
    for plan in plans:
        steps = plan.split(" / ")
        assert not [step for step in steps if step.startswith("SCAN") and "ix_documents_claim" not in step]
