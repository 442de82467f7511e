from __future__ import annotations

import pytest
from support.stores import Stores

from ocrd.domain.jobs import DocumentState
from ocrd.store.outputs import Planned

TEXT = b"/inbox/scan.pdf.txt"


@pytest.fixture
def document(stores: Stores) -> int:
    stores.register(pages=1)
    return stores.begin().id


def plan(stores: Stores, document: int, checksum: str) -> None:
    stores.outputs.plan(document, [Planned(TEXT, "txt", checksum)])


def test_a_path_that_we_never_wrote_is_not_ours(stores: Stores) -> None:
    assert stores.outputs.checksums(TEXT) == frozenset()
    assert not stores.outputs.is_ours(TEXT)


def test_an_output_is_known_for_ours_from_the_moment_it_is_planned(stores: Stores, document: int) -> None:
    plan(stores, document, "new")
    assert stores.outputs.checksums(TEXT) == {"new"}
    assert stores.rows("SELECT sha256, planned_sha256 FROM outputs") == [("", "new")]


def test_finishing_confirms_what_was_written(stores: Stores, document: int) -> None:
    plan(stores, document, "new")
    stores.read_all(document)
    stores.documents.retry(document)
    stores.begin()
    stores.documents.finish(document, DocumentState.DONE, written=[TEXT])
    assert stores.rows("SELECT sha256, planned_sha256 FROM outputs") == [("new", "")]


def test_until_it_is_confirmed_both_the_old_and_the_new_content_are_ours(
    stores: Stores, document: int
) -> None:
    plan(stores, document, "old")
    stores.documents.finish(document, DocumentState.CANCELLED, written=[TEXT])
    plan(stores, document, "new")
    assert stores.outputs.checksums(TEXT) == {"old", "new"}


def test_a_planned_output_that_was_not_written_is_not_confirmed(stores: Stores, document: int) -> None:
    plan(stores, document, "new")
    stores.documents.finish(document, DocumentState.CANCELLED)
    assert stores.rows("SELECT sha256, planned_sha256 FROM outputs") == [("", "new")]


def test_a_forgotten_output_is_nobodys(stores: Stores, document: int) -> None:
    plan(stores, document, "new")
    stores.outputs.forget(TEXT)
    assert not stores.outputs.is_ours(TEXT)


def test_planning_nothing_writes_nothing(stores: Stores, document: int) -> None:
    stores.outputs.plan(document, [])
    assert stores.rows("SELECT * FROM outputs") == []


def test_a_file_stays_ours_although_two_plans_in_a_row_were_killed(stores: Stores) -> None:
    document = stores.register()
    path = b"/in/page.png.txt"
    stores.outputs.plan(document, [Planned(path, "txt", "first")])
    stores.outputs.plan(document, [Planned(path, "txt", "second", standing="first")])
    assert stores.outputs.checksums(path) == {"first", "second"}


def test_a_withdrawn_plan_makes_nobody_elses_file_ours(stores: Stores) -> None:
    document = stores.register()
    stores.outputs.plan(document, [Planned(b"/in/new.txt", "txt", "x")])
    stores.outputs.withdraw(b"/in/new.txt")
    assert stores.outputs.checksums(b"/in/new.txt") == frozenset()
