"""kill -9 at every fault point that a mixed inbox comes by: the next run makes everything right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.crashes import (
    BEFORE_RECOVERY,
    COMMITS,
    POINTS,
    RECOVERY_POINTS,
    UNFINISHED,
    Harm,
    calm_run,
    copy_unread,
    harm,
    originals,
    strike,
)
from support.running import Ocrd

TIMES = (1, 3)

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Ocrd:
    """The same inbox, worked off without a fault."""
    return calm_run(tmp_path_factory.mktemp("calm"))


@pytest.fixture
def struck(calm: Ocrd, tmp_path: Path) -> Ocrd:
    """The inbox before its work."""
    return copy_unread(calm, tmp_path)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_there_is_made_right_by_the_next_run(point: str, times: int, calm: Ocrd, struck: Ocrd) -> None:
    before = originals(struck.inbox)
    killed = strike(struck, f"{point}:kill:{times}")
    assert killed or times > 1, f"the run did not come by {point}"
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()


@pytest.mark.parametrize("point", RECOVERY_POINTS)
def test_a_kill_while_a_kill_is_being_made_right(point: str, calm: Ocrd, struck: Ocrd) -> None:
    before = originals(struck.inbox)
    for fault in (BEFORE_RECOVERY, f"{point}:kill"):
        assert strike(struck, fault)
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()


@pytest.mark.parametrize("what", ["enospc:1-2", "erofs:1-2"])
@pytest.mark.parametrize("name", COMMITS)
def test_a_store_that_cannot_be_written_for_a_while_loses_nothing(
    name: str, what: str, calm: Ocrd, struck: Ocrd
) -> None:
    before = originals(struck.inbox)
    struck.env["OCRD_FAULT"] = f"{name}.commit:{what}"
    assert struck.run_once().returncode == UNFINISHED
    assert harm(struck, calm, before) == Harm()


def test_texts_are_durable_before_the_store_says_that_they_are_written(struck: Ocrd) -> None:
    for path in struck.inbox.iterdir():
        if path.name != "image.png":
            path.unlink()
    struck.env |= {"OCRD_FAULT": "*:trace", "OCRD_OUTPUT__FORMATS": "txt"}
    done = struck.run_once()
    assert done.returncode == 0
    order = " ".join(re.findall(r"came by ((?:file|folder|output|document\.finish)\S*)", done.stderr))
    assert order.endswith(
        "file.sync file.synced output.plan.commit output.plan.committed file.name file.named "
        "folder.sync folder.synced document.finish.commit document.finish.committed"
    )
