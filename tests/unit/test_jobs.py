from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.jobs import (
    DOCUMENT_MOVES,
    FINAL_DOCUMENTS,
    FINAL_PAGES,
    PAGE_MOVES,
    READ_PAGES,
    DocumentState,
    IllegalMove,
    PageState,
    check_document_move,
    check_page_move,
    document_outcome,
)

COUNTS = st.dictionaries(st.sampled_from(PageState), st.integers(0, 5))


def test_the_tables_know_every_state_and_lead_only_to_known_ones() -> None:
    assert set(DOCUMENT_MOVES) == set(DocumentState)
    assert set(PAGE_MOVES) == set(PageState)
    assert set().union(*DOCUMENT_MOVES.values()) <= set(DocumentState)
    assert set().union(*PAGE_MOVES.values()) <= set(PageState)


def test_no_state_moves_to_itself() -> None:
    assert not any(state in moves for state, moves in DOCUMENT_MOVES.items())
    assert not any(state in moves for state, moves in PAGE_MOVES.items())


def test_a_final_state_is_left_only_by_going_back_to_the_queue() -> None:
    assert all(DOCUMENT_MOVES[state] == {DocumentState.QUEUED} for state in FINAL_DOCUMENTS)
    assert all(PAGE_MOVES[state] == {PageState.PENDING} for state in FINAL_PAGES)


def test_every_final_state_can_be_reached_from_running() -> None:
    assert DOCUMENT_MOVES[DocumentState.RUNNING] >= FINAL_DOCUMENTS
    assert PAGE_MOVES[PageState.RUNNING] >= FINAL_PAGES


@given(st.sampled_from(DocumentState), st.sampled_from(DocumentState))
def test_a_document_move_passes_exactly_if_the_table_has_it(old: DocumentState, new: DocumentState) -> None:
    if new in DOCUMENT_MOVES[old]:
        check_document_move(old, new)
    else:
        with pytest.raises(IllegalMove, match=f"{old} → {new}"):
            check_document_move(old, new)


@given(st.sampled_from(PageState), st.sampled_from(PageState))
def test_a_page_move_passes_exactly_if_the_table_has_it(old: PageState, new: PageState) -> None:
    if new in PAGE_MOVES[old]:
        check_page_move(old, new)
    else:
        with pytest.raises(IllegalMove, match=f"{old} → {new}"):
            check_page_move(old, new)


@given(COUNTS)
def test_a_document_has_an_outcome_exactly_when_all_its_pages_are_final(counts: dict[PageState, int]) -> None:
    present = {state for state, number in counts.items() if number}
    outcome = document_outcome(counts)
    assert (outcome is None) == (not present or not present <= FINAL_PAGES)


@given(COUNTS)
def test_an_outcome_is_a_legal_end_that_tells_what_became_of_the_pages(counts: dict[PageState, int]) -> None:
    outcome = document_outcome(counts)
    if outcome is None:
        return
    read = any(counts.get(state) for state in READ_PAGES)
    check_document_move(DocumentState.RUNNING, outcome)
    assert (outcome is DocumentState.CANCELLED) == bool(counts.get(PageState.CANCELLED))
    if outcome is DocumentState.DONE:
        assert read
        assert not counts.get(PageState.FAILED)
    elif outcome in {DocumentState.PARTIAL, DocumentState.FAILED}:
        assert counts.get(PageState.FAILED)
        assert read == (outcome is DocumentState.PARTIAL)


def test_states_that_no_page_is_in_do_not_matter() -> None:
    assert document_outcome({PageState.DONE: 2, PageState.RUNNING: 0}) is DocumentState.DONE


def test_a_blank_page_counts_as_read() -> None:
    assert document_outcome({PageState.BLANK: 1, PageState.FAILED: 1}) is DocumentState.PARTIAL
    assert document_outcome({PageState.BLANK: 3}) is DocumentState.DONE
