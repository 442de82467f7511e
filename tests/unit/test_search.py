from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support.stores import Stores, recognition

from ocrd.domain import words
from ocrd.domain.errors import StoreError
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.store import schema, search, snapshot
from ocrd.store.indexer import Indexer
from ocrd.store.pages import Attempt
from ocrd.store.pruning import PruneStore


def read(stores: Stores, name: str, *texts: str) -> int:
    """A finished document with these pages."""
    document = stores.register(name, content=name, pages=len(texts))
    stores.begin()
    for claimed in stores.pages.claim(document, len(texts)):
        text = recognition(texts[claimed.number - 1])
        stores.pages.land(
            document,
            claimed.number,
            PageState.DONE,
            Attempt(engine="fake", seconds=0.1, verdict=Verdict.OK, recognition=text),
        )
    stores.documents.finish(document, DocumentState.DONE)
    return document


def find(stores: Stores, *asked: str) -> list[tuple[str, int]]:
    """Name and page of what is found."""
    with snapshot.opened(stores.folder) as connection:
        assert connection is not None
        hits = search.find(connection, words.parse(asked), width=80)
        return [(os.path.basename(hit.path), hit.page) for hit in hits]


def left(stores: Stores) -> int:
    with snapshot.opened(stores.folder) as connection:
        assert connection is not None
        return search.waiting(connection)


@pytest.fixture
def filled(stores: Stores) -> Stores:
    read(stores, "lease.pdf", "Договор аренды склада", "Подписи сторон", "Аренда. Без договора")
    read(stores, "letter.pdf", "The contracts were signed. Договоры прилагаются.")
    Indexer(stores.database).catch_up(10)
    return stores


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["договорам"], {("lease.pdf", 1), ("lease.pdf", 3), ("letter.pdf", 1)}),
        (["договор", "аренда"], {("lease.pdf", 1), ("lease.pdf", 3)}),
        (["договор аренды"], {("lease.pdf", 1)}),
        (["CONTRACT", "sign"], {("letter.pdf", 1)}),
        (["подп*"], {("lease.pdf", 2)}),
        (["поставка"], set()),
        (['x" OR "договор'], set()),
    ],
)
def test_pages_are_found_by_any_form_of_their_words(
    filled: Stores, asked: list[str], found: set[tuple[str, int]]
) -> None:
    assert set(find(filled, *asked)) == found


def test_the_page_that_says_it_most_comes_first(stores: Stores) -> None:
    read(stores, "a.pdf", "склад " + "слово " * 200, "склад, склады, склада", "нет")
    Indexer(stores.database).catch_up(10)
    assert find(stores, "склад") == [("a.pdf", 2), ("a.pdf", 1)]


def test_a_copy_of_a_document_is_found_too_although_its_text_is_stored_once(filled: Stores) -> None:
    filled.register("copy.pdf", content="letter.pdf", pages=1)
    filled.begin()
    Indexer(filled.database).catch_up(10)
    assert set(find(filled, "contract")) == {("letter.pdf", 1), ("copy.pdf", 1)}
    assert filled.one("SELECT count(*) FROM searched") == filled.one("SELECT count(*) FROM results")


def test_a_document_that_was_replaced_is_not_found_any_more(filled: Stores) -> None:
    filled.register("letter.pdf", content="something else", pages=1)
    assert find(filled, "contract") == []


def test_what_is_new_is_put_in_once_and_counted_until_then(stores: Stores) -> None:
    read(stores, "a.pdf", *(f"страница {number}" for number in range(45)))
    assert left(stores) == 45
    assert find(stores, "страницы") == []
    counted = list(search.catch_up(stores.folder, 10))
    assert counted == [25, 5, 0]
    assert list(search.catch_up(stores.folder, 10)) == []
    assert len(find(stores, "страницы")) == 45


def test_two_who_put_in_the_same_pages_do_it_once(stores: Stores) -> None:
    read(stores, "a.pdf", "первая страница", "вторая страница")
    with closing(sqlite3.connect(f"{stores.folder}/{schema.FILE_NAME}")) as connection, connection:
        batch: Sequence[search.Entry] = search.gather(connection)
        Indexer(stores.database).catch_up(10)
        search.put(connection, batch)
    assert find(stores, "страница") == [("a.pdf", 1), ("a.pdf", 2)]
    assert schema.check(stores.folder).problems == ()


def test_a_text_that_was_deleted_is_not_found_and_its_number_brings_nothing_back(filled: Stores) -> None:
    """The words of a text without a row stay in the index; no other text may get its number."""
    with filled.database.write() as tx:
        newest = tx.exec_driver_sql("SELECT max(id) FROM results").scalar_one()
        tx.exec_driver_sql("DELETE FROM documents WHERE id = (SELECT max(id) FROM documents)")
        tx.exec_driver_sql("DELETE FROM results WHERE id = ?", (newest,))
    assert find(filled, "contract") == []
    read(filled, "new.pdf", "ein neuer Text")
    assert filled.one("SELECT max(id) FROM results") == newest
    Indexer(filled.database).catch_up(10)
    assert find(filled, "contract") == []
    assert find(filled, "neuer") == [("new.pdf", 1)]


@pytest.mark.parametrize(
    "body", [b"", bytes(200), zlib.compress(b"[]"), zlib.compress(b"{"), zlib.compress(b"\xff")]
)
def test_a_damaged_text_costs_only_itself(stores: Stores, body: bytes) -> None:
    read(stores, "a.pdf", "первая страница", "вторая страница")
    with stores.database.write() as tx:
        tx.exec_driver_sql("UPDATE results SET body = ? WHERE id = 1", (body,))
    Indexer(stores.database).catch_up(10)
    assert left(stores) == 0
    assert find(stores, "страница") == [("a.pdf", 2)]


def vocabulary(stores: Stores) -> set[str]:
    """Every stem that the index knows."""
    with closing(sqlite3.connect(f"{stores.folder}/{schema.FILE_NAME}")) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.known USING fts5vocab('main', 'search_words', 'row')")
        return {term for (term,) in connection.execute("SELECT term FROM temp.known")}


def test_the_words_of_forgotten_documents_are_forgotten_and_shared_ones_stay(filled: Stores) -> None:
    filled.register("copy.pdf", content="letter.pdf", pages=1)
    filled.documents.finish(filled.begin().id, DocumentState.DONE)
    late = read(filled, "late.pdf", "позднее слово")
    assert left(filled) == 1
    prune = PruneStore(filled.database)
    assert prune.forget([2, late]) == 2
    assert {"contract", "аренд"} <= vocabulary(filled), "the copy has the same text"
    assert find(filled, "contract") == [("copy.pdf", 1)]
    assert prune.forget([1, 3]) == 2
    assert vocabulary(filled) == set()
    assert schema.check(filled.folder).problems == ()


def test_the_indexer_looks_again_when_something_was_written(stores: Stores) -> None:
    indexer = Indexer(stores.database)
    indexer.catch_up(10)
    read(stores, "a.pdf", "новая страница")
    indexer.catch_up(10)
    assert find(stores, "страница") == [("a.pdf", 1)]


def test_a_store_that_cannot_be_written_is_searched_as_it_is(filled: Stores, tmp_path: Path) -> None:
    read(filled, "late.pdf", "поздний договор")
    with closing(sqlite3.connect(f"{filled.folder}/{schema.FILE_NAME}", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert list(search.catch_up(filled.folder, 10, patience_s=0.01)) == []
    assert left(filled) == 1
    assert len(find(filled, "договор")) == 3


def test_a_store_of_a_version_without_search_says_what_to_do(stores: Stores) -> None:
    with stores.database.write() as tx:
        tx.exec_driver_sql("DROP TABLE search_words")
    with snapshot.opened(stores.folder) as connection:
        assert connection is not None
        with pytest.raises(StoreError, match="older ocrd") as caught:
            search.check_schema(connection, stores.folder)
    assert "ocrd db upgrade" in caught.value.hint


def test_a_snippet_of_a_page_marks_what_was_found(filled: Stores) -> None:
    with snapshot.opened(filled.folder) as connection:
        assert connection is not None
        (hit,) = search.find(connection, words.parse(["contract"]), width=40)
    assert json.dumps([(part.text, part.marked) for part in hit.snippet]).count("true") == 1
    assert [part.text for part in hit.snippet if part.marked] == ["contracts"]
