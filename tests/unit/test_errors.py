from __future__ import annotations

import pytest

from ocrd.domain.errors import InputRejected, ReasonCode, hint_of

NOTHING_TO_DO = {ReasonCode.FILE_GONE, ReasonCode.SUPERSEDED, ReasonCode.NO_TEXT_FOUND}


@pytest.mark.parametrize("code", ReasonCode)
def test_every_reason_says_what_to_do_where_there_is_something(code: ReasonCode) -> None:
    assert bool(hint_of(code)) is (code not in NOTHING_TO_DO)


def test_a_hint_names_how_the_file_is_tried_again_where_that_helps() -> None:
    assert hint_of("too_many_pages") == "raise [limits] pages, or split it; then: ocrd retry FILE"
    assert hint_of("cancelled") == "ocrd retry FILE"
    assert hint_of("engine_crashed", again="once more") == "once more"
    assert "retry" not in hint_of("unsupported_type")
    assert hint_of("") == ""


def test_a_rejection_carries_the_hint_of_its_code() -> None:
    assert InputRejected(ReasonCode.NO_PAGES, "the PDF has no pages").hint == hint_of("no_pages")
