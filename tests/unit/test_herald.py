from __future__ import annotations

from typing import Any

import pytest

from ocrd.daemon.herald import status_line


def facts(**more: Any) -> dict[str, Any]:
    return {"engine": {"problem": ""}, "server": None, "inboxes": [], **more}


@pytest.mark.parametrize(
    ("told", "counts", "paused", "line"),
    [
        ({}, {}, False, "idle; 0 documents done"),
        ({}, {"document": {"done": 12}}, False, "idle; 12 documents done"),
        (
            {},
            {
                "document": {"queued": 5, "running": 1, "done": 2},
                "page": {"pending": 40, "running": 2, "done": 9},
            },
            False,
            "1 running, 5 queued, 42 pages left; 2 documents done",
        ),
        ({}, {"document": {"failed": 1, "rejected": 2}}, True, "paused; 0 documents done; 3 not done"),
        (
            {"engine": {"problem": "no space left"}},
            {"document": {"queued": 1}, "page": {"pending": 1}},
            False,
            "waiting: no space left; 0 running, 1 queued, 1 pages left; 0 documents done",
        ),
        (
            {"server": {"state": "starting", "phase": "weights"}},
            {},
            False,
            "idle; 0 documents done; model server starting (weights)",
        ),
        ({"server": {"state": "absent"}}, {}, False, "idle; 0 documents done"),
        (
            {"inboxes": [{"missing": True}, {"missing": False}]},
            {},
            False,
            "idle; 0 documents done; an inbox is missing",
        ),
    ],
)
def test_the_daemon_in_one_line(
    told: dict[str, Any], counts: dict[str, Any], paused: bool, line: str
) -> None:
    assert status_line(facts(**told), counts, paused=paused) == line
