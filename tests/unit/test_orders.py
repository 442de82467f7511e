from __future__ import annotations

from typing import Any

import pytest
from support.stores import FINGERPRINT, Stores

from ocrd.daemon.orders import Orders


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("retry", {}),
        ("retry", {"id": "many"}),
        ("retry", {"id": 10**30}),
        ("cancel", {"id": None}),
        ("cancel", {"path": 7}),
        ("cancel", {"path": "\ud800"}),
        ("cancel", {"path": "nul\0\udcff"}),
        ("dance", {}),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_holds_up_nothing(
    stores: Stores, verb: str, arguments: dict[str, Any]
) -> None:
    number = stores.commands.send(verb, arguments)
    after = stores.commands.send("pause", {})
    Orders(stores.commands, stores.documents, None, fingerprint_of=lambda _: FINGERPRINT).carry_out_waiting()
    refused, done = stores.commands.answer_of(number), stores.commands.answer_of(after)
    assert refused is not None
    assert not refused["ok"]
    assert refused["message"].isprintable()
    assert done is not None
    assert done["ok"]
    assert stores.commands.waiting() == []
