"""kill -9 around the container and around an exchange of models: one container afterwards, no page lost or doubled."""

from __future__ import annotations

import signal

import pytest
from support.crashes import lost_pages, strike
from support.kept import DOTS, QWEN, Kept
from support.marked import page_lines, write_pdf
from support.running import DEADLINE_S

PAGES = (1, 2, 3)
STARTS = ("container.create", "container.created", "container.start", "container.started")
SWAPS = (
    *("swap.begin:kill", "container.stop:kill", "container.remove:kill", "container.removed:kill"),
    *(f"{point}:kill:2" for point in STARTS),
    "swap.arrived:kill",
)
ATTEMPTS_OF_PAGE_2 = [(DOTS, 3), ("rus+eng", 1), (QWEN, 1)]
"""Refused by the first model in three ways, read with doubt by Tesseract, read by the other model: each once."""

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def containers(kept: Kept) -> dict[str, str]:
    """All of them, running or not: the state of each."""
    return {row["Id"]: row["State"] for row in kept.client.containers(all=True)}


def attempts(kept: Kept, name: str, number: int) -> list[tuple[str, int]]:
    """Which model tried a page how often, in order."""
    page = kept.ocrd.show(name)["page_list"][number - 1]
    tried = [one["model_revision"] for one in page["attempts"]]
    models = [model for model in (DOTS, "rus+eng", QWEN) if any(model in one for one in tried)]
    return [(model, sum(model in one for one in tried)) for model in models]


def assert_read(kept: Kept, name: str, *pages: int) -> None:
    """Every page has its text, and one container of ours is left, which runs."""
    assert kept.ocrd.jobs()[name]["state"] == "done"
    assert kept.lines(name) == [line for page in pages for line in page_lines(page)]
    assert lost_pages(kept.ocrd.state) == 0
    assert kept.ocrd.leftovers() == []
    assert list(containers(kept).values()) == ["running"]


@pytest.mark.parametrize("point", STARTS)
def test_a_kill_around_the_start_of_the_container(kept: Kept, point: str) -> None:
    write_pdf(kept.ocrd.inbox / "scan.pdf", PAGES)
    assert strike(kept.ocrd, f"{point}:kill", "--engine", "vllm")
    before = containers(kept)
    assert len(before) == (0 if point == "container.create" else 1)
    done = kept.ocrd.run_once("--engine", "vllm")
    assert done.returncode == 0, done.stderr
    assert_read(kept, "scan.pdf", *PAGES)
    assert [attempts(kept, "scan.pdf", number) for number in PAGES] == [[(DOTS, 1)]] * len(PAGES)
    assert containers(kept).keys().isdisjoint(before), "one that was never ready is replaced"


@pytest.mark.parametrize("fault", SWAPS)
def test_a_kill_while_the_models_are_exchanged(kept: Kept, fault: str) -> None:
    kept.refuse_page(2)
    write_pdf(kept.ocrd.inbox / "scan.pdf", PAGES)
    assert strike(kept.ocrd, fault, "--engine", "vllm")
    assert len(containers(kept)) <= 1
    done = kept.ocrd.run_once("--engine", "vllm")
    assert done.returncode == 0, done.stderr
    assert_read(kept, "scan.pdf", *PAGES)
    assert attempts(kept, "scan.pdf", 2) == ATTEMPTS_OF_PAGE_2
    assert attempts(kept, "scan.pdf", 1) == attempts(kept, "scan.pdf", 3) == [(DOTS, 1)]


@pytest.mark.parametrize("point", ["swap.begin", "swap.arrived"])
def test_a_kill_on_the_way_back_to_the_main_model(kept: Kept, point: str) -> None:
    kept.refuse_page(2)
    write_pdf(kept.ocrd.inbox / "scan.pdf", PAGES)
    kept.ocrd.env |= {"OCRD_FAULT": f"{point}:kill:2", "OCRD_SERVER__MAX_PARK_S": "1"}
    kept.ocrd.start("--engine", "vllm")
    process = kept.ocrd.process
    assert process is not None
    kept.ocrd.await_state("scan.pdf", "done")
    write_pdf(kept.ocrd.inbox / "next.pdf", [5])
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    del kept.ocrd.env["OCRD_FAULT"]
    assert kept.ocrd.run_once("--engine", "vllm").returncode == 0
    assert_read(kept, "scan.pdf", *PAGES)
    assert attempts(kept, "scan.pdf", 2) == ATTEMPTS_OF_PAGE_2
    assert_read(kept, "next.pdf", 5)
    assert attempts(kept, "next.pdf", 1) == [(DOTS, 1)]
