from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from support.stores import Stores

from ocrd.daemon import pruning
from ocrd.daemon.pruning import DAY_S, Places
from ocrd.host import files
from ocrd.store import schema
from ocrd.store.outputs import Planned
from ocrd.store.pruning import PruneStore


class Desk:
    """A store and an inbox with files in it."""

    def __init__(self, stores: Stores, inbox: Path) -> None:
        self.stores = stores
        self.inbox = inbox
        inbox.mkdir()
        self.prune_store = PruneStore(stores.database)
        root = os.fsencode(inbox)
        self.places = Places({files.display_name(root): root}, frozenset({os.path.join(root, b"done")}))

    def end(self, name: str, content: str = "", *, file: bool = True) -> int:
        """A document of two pages that is done, with an output."""
        path = self.inbox / name
        if file:
            path.parent.mkdir(exist_ok=True)
            path.write_text("scan")
        document = self.stores.register(
            name, content or name, path=os.fsencode(path), inbox=str(self.inbox), pages=2
        )
        assert self.stores.begin().id == document
        text = os.fsencode(path) + b".txt"
        self.stores.outputs.plan(document, [Planned(text, "txt", "a")])
        self.stores.read_all(document)
        return document

    def forget(self, days: float = 0) -> int:
        return pruning.forget(self.prune_store, self.places, days=days)

    @property
    def known(self) -> list[int]:
        return [row[0] for row in self.stores.rows("SELECT id FROM documents ORDER BY id")]

    def count(self, table: str) -> int:
        return int(self.stores.one(f"SELECT count(*) FROM {table}"))


@pytest.fixture
def desk(stores: Stores, tmp_path: Path, clock: FakeClock) -> Desk:
    return Desk(stores, tmp_path / "inbox")


def test_only_what_would_not_be_read_again_is_forgotten(desk: Desk) -> None:
    stays = desk.end("stays.pdf")
    desk.end("gone.pdf", file=False)
    desk.end("done/moved.pdf")
    desk.end("changed.pdf", "before")
    changed = desk.end("changed.pdf", "after")
    desk.stores.register("queued.pdf", "queued", path=b"/nowhere", inbox=str(desk.inbox))
    assert desk.forget() == 3
    assert desk.known == [stays, changed, changed + 1]
    assert desk.forget() == 0
    assert (desk.inbox / "done" / "moved.pdf").exists()


def test_what_belongs_to_a_forgotten_document_goes_and_the_rest_stays_sound(desk: Desk, state: Path) -> None:
    desk.end("stays.pdf")
    rows = {name: desk.count(name) for name in ("pages", "attempts", "events", "results", "outputs")}
    desk.end("gone.pdf", file=False)
    assert desk.forget() == 1
    assert {name: desk.count(name) for name in rows} == rows
    assert schema.check(str(state)).problems == ()


def test_a_text_that_another_document_shares_stays(desk: Desk, state: Path) -> None:
    first = desk.end("gone.pdf", "the same", file=False)
    twin = desk.stores.register(
        "twin.pdf", "the same", path=os.fsencode(desk.inbox / "twin.pdf"), inbox=str(desk.inbox), pages=2
    )
    (desk.inbox / "twin.pdf").write_text("scan")
    assert desk.stores.begin().open_pages == 0
    desk.stores.read_all(twin)
    assert desk.forget() == 1
    assert desk.known == [twin]
    assert first != twin
    shared = desk.stores.one("SELECT count(*) FROM pages JOIN results ON results.id = result_id")
    assert shared == 2
    assert schema.check(str(state)).problems == ()


def test_a_young_document_is_kept(desk: Desk, clock: FakeClock) -> None:
    desk.end("gone.pdf", file=False)
    (desk.inbox / "other").touch()
    ended = desk.stores.one("SELECT finished_at FROM documents")
    age_days = (time.time() - ended) / DAY_S
    assert desk.forget(days=age_days + 1) == 0
    assert desk.forget(days=age_days - 1) == 1


def test_nothing_is_forgotten_of_an_inbox_that_is_away(desk: Desk) -> None:
    document = desk.end("gone.pdf", file=False)
    assert desk.forget() == 0, "it is empty: the place where a drive is mounted, perhaps"
    desk.inbox.rmdir()
    assert desk.forget() == 0
    desk.places = Places({})
    assert desk.forget() == 0
    assert desk.known == [document]


def test_what_is_about_to_move_is_kept(desk: Desk) -> None:
    (desk.inbox / "other").touch()
    document = desk.end("gone.pdf", file=False)
    assert desk.stores.relocations.plan(document, [(b"/a", b"/b")])
    assert desk.forget() == 0
    desk.stores.relocations.drop(document)
    assert desk.forget() == 1
