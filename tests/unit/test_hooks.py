"""The thread that tells programs of documents outlives whatever is wrong with one."""

from __future__ import annotations

from pathlib import Path

from support.running import wait_until
from support.stores import Stores

from ocrd.daemon.hooks import Hooks
from ocrd.settings import HookSettings


def test_a_program_that_cannot_even_be_named_ends_no_thread(stores: Stores, state: Path) -> None:
    stores.register()
    document = stores.begin().id
    stores.read_all(document)
    hooks = Hooks(HookSettings(on_done=("no\0program",)), str(state))
    hooks.start()
    hooks.announce(document)
    wait_until(lambda: hooks.idle, "it was told")
    assert hooks.dead_thread is None
    assert "null byte" in hooks.problem
    hooks.stop()
