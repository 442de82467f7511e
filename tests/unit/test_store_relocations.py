from __future__ import annotations

from support.stores import INBOX, Stores

from ocrd.domain.documents import FileIdentity
from ocrd.domain.jobs import DocumentState
from ocrd.store.outputs import Planned

SCAN = f"{INBOX}/scan.pdf".encode()
TEXT = SCAN + b".txt"
DONE = f"{INBOX}/done/scan.pdf".encode()
IDENTITY = FileIdentity(1, 2, 4, 5_000)


def end(stores: Stores, *, content: str = "scan", move: bool = True) -> int:
    """A document of one page that is done and has a text beside it."""
    document = stores.register(content=content, pages=1)
    assert stores.begin().id == document
    for claimed in stores.pages.claim(document, 1):
        stores.land(document, claimed.number)
    stores.outputs.plan(document, [Planned(TEXT, "txt", content)])
    stores.documents.finish(document, DocumentState.DONE, written=(TEXT,), move=move)
    return document


def plan(stores: Stores, document: int) -> bool:
    return stores.relocations.plan(document, [(SCAN, DONE), (TEXT, DONE + b".txt")])


def arrive(stores: Stores, document: int) -> None:
    moved = stores.relocations.planned(document)
    stores.relocations.arrive(document, moved, name="done/scan.pdf", identity=IDENTITY)


def test_the_wish_is_there_with_the_end(stores: Stores) -> None:
    document = end(stores)
    assert stores.relocations.waiting() == [document]
    assert stores.relocations.planned(document) == []
    stores.relocations.drop(document)
    assert stores.relocations.waiting() == []


def test_who_is_not_to_be_moved_is_not(stores: Stores) -> None:
    end(stores, move=False)
    assert stores.relocations.waiting() == []


def test_the_document_and_its_texts_are_known_where_they_arrived(stores: Stores) -> None:
    document = end(stores)
    assert plan(stores, document)
    assert stores.relocations.planned(document) == [(SCAN, DONE), (TEXT, DONE + b".txt")]
    arrive(stores, document)
    assert stores.relocations.waiting() == []
    found = stores.documents.find_path(DONE)
    assert found is not None
    assert (found.id, found.name, found.size, found.mtime_ns) == (document, "done/scan.pdf", 4, 5_000)
    assert stores.documents.find_path(SCAN) is None
    assert stores.outputs.is_ours(DONE + b".txt")
    assert not stores.outputs.is_ours(TEXT)
    assert stores.rows("SELECT why FROM events ORDER BY id DESC LIMIT 1") == [
        ("moved from scan.pdf to done/scan.pdf",)
    ]


def test_a_document_whose_files_are_moved_is_not_claimed_until_they_arrived(stores: Stores) -> None:
    document = end(stores)
    assert plan(stores, document)
    assert stores.documents.retry(document)
    assert stores.documents.claim() is None
    arrive(stores, document)
    assert stores.begin().path == DONE


def test_a_document_that_is_at_work_again_stays(stores: Stores) -> None:
    document = end(stores)
    assert stores.documents.retry(document)
    assert not plan(stores, document)
    assert stores.relocations.waiting() == []


def test_another_file_may_take_the_old_place_and_then_the_new_one(stores: Stores) -> None:
    revisions = []
    for content in ("first", "second", "third"):
        document = end(stores, content=content)
        assert plan(stores, document)
        arrive(stores, document)  # its owner took the one before away
        revisions.append(stores.one("SELECT revision FROM documents WHERE id = ?", document))
    assert revisions == [1, 2, 3]
    assert stores.rows("SELECT id FROM documents WHERE current") == [(document,)]
    assert stores.rows("SELECT path, document_id FROM outputs") == [(DONE + b".txt", document)]


def test_a_changed_file_moved_away_leaves_its_place_for_the_next(stores: Stores) -> None:
    end(stores, content="one", move=False)
    document = end(stores, content="two")
    assert plan(stores, document)
    arrive(stores, document)
    assert stores.register(content="three", pages=1) > document
    assert stores.rows("SELECT revision FROM documents WHERE path = ? ORDER BY id", SCAN) == [(1,), (2,)]
