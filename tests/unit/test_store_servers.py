from __future__ import annotations

from pathlib import Path

import pytest
from fakes.clock import FakeClock

from ocrd.store.engine import Database
from ocrd.store.servers import ServerStore


@pytest.fixture
def servers(state: Path) -> ServerStore:
    return ServerStore(Database(str(state)), FakeClock())


def note(servers: ServerStore, *, failure: str = "", model: str = "a/b", spec: str = "s") -> None:
    servers.note_start(
        model=model,
        image_id="sha256:1",
        spec=spec,
        started_at=servers._clock.now().timestamp(),
        seconds=41.5,
        failure=failure,
        message="it failed" if failure else "",
        details={"phases": {"loading": 12.5}, "plan": None},
    )


def test_the_newest_start_is_found_and_the_newest_good_one(servers: ServerStore) -> None:
    assert servers.last_start("a/b", "sha256:1") is None
    note(servers, spec="good")
    note(servers, spec="bad", failure="cuda_oom")
    newest, good = servers.last_start("a/b", "sha256:1"), servers.last_start("a/b", "sha256:1", good=True)
    assert newest is not None
    assert good is not None
    assert (newest.spec, newest.failure, newest.message) == ("bad", "cuda_oom", "it failed")
    assert (good.spec, good.seconds, good.details["phases"]) == ("good", 41.5, {"loading": 12.5})
    assert servers.last_start("a/b", "sha256:2") is None
    assert servers.last_start("c/d", "sha256:1") is None


def test_the_newest_failure_is_that_of_any_model(servers: ServerStore) -> None:
    assert servers.last_failure() is None
    note(servers, failure="stalled", model="c/d")
    note(servers)
    failed = servers.last_failure()
    assert failed is not None
    assert failed.model == "c/d"


def test_an_image_stays_pinned_until_another_one_is(servers: ServerStore) -> None:
    assert servers.pinned_image() is None
    for image in ("sha256:1", "sha256:2"):
        servers.pin_image(image)
        assert servers.pinned_image() == image
