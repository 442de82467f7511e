"""Mutated documents through intake and rasterizer, and some through the whole daemon: nothing hangs, breaks or leaks.

`OCRD_TEST_MUTANTS=N` tries more, `OCRD_TEST_SEED=N` others. A document that goes wrong is kept; the message says where.
"""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support import paper
from support.mutants import PASSWORD, Mutant, mutants
from support.running import Ocrd, wait_until

from ocrd.domain.documents import PageImage
from ocrd.domain.errors import InputRejected, PageFault
from ocrd.pipeline import intake
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy

MUTANTS = int(os.environ.get("OCRD_TEST_MUTANTS", "2000"))
SEED = int(os.environ.get("OCRD_TEST_SEED", "20261123"))
THROUGH_THE_DAEMON = max(MUTANTS // 20, 1)
MOST_MIB = 512
"""What no child may ever have."""
OFF_MIB = 32
"""So much below is their limit, for what the kernel says of an ended process is off: it counts pages by processor, and adds
them up when a processor has a batch of them (2 MiB were seen, on top of a limit of address space that nobody exceeds)."""
POLICY = RenderPolicy(
    dpi=50,
    min_dpi=20,
    page_timeout_s=10.0,
    memory_mib=MOST_MIB - OFF_MIB,
    max_pages=20,
    text_layer="auto",
    passwords=("wrong", PASSWORD),
)
OVERLAY_EVERY = 10
AT_ONCE = 64
"""So many are kept in memory; all of them are 400 MiB."""
LIMIT_S = 60.0
"""For one document with up to two pages, each once in a window and once alone, and a child that is started anew."""

DAEMON_MIB = 150

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]


class Desk:
    """A rasterizer, and what became of the mutants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        self.rasterizer = Rasterizer(POLICY, workers=4)
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []

    def try_out(self, mutant: Mutant) -> None:
        path = self.folder / f"{mutant.number}{mutant.suffix}"
        path.write_bytes(mutant.data)
        began = time.monotonic()
        try:
            self.outcomes[self._outcome(os.fsencode(path), mutant)] += 1
        except InputRejected as err:
            self.outcomes[str(err.code)] += 1
        except Exception as err:
            self._keep(mutant, f"{type(err).__name__}: {err}")
        if time.monotonic() - began > LIMIT_S:
            self._keep(mutant, f"took {time.monotonic() - began:.0f} s")
        path.unlink()

    def _outcome(self, path: bytes, mutant: Mutant) -> str:
        found = intake.inspect(path, max_bytes=1 << 30)
        if found is None:
            return "passed over"
        pages = self.rasterizer.probe(path, found.identity, found.media_type).pages
        source = (path, found.identity, found.media_type)
        asked = {"folder": str(self.images), "stop": threading.Event()}
        numbers = range(1, min(pages, 2) + 1)
        self.outcomes["layers"] += bool(self.rasterizer.read_layers(*source, numbers, **asked))
        rendered = self.rasterizer.render(*source, numbers, **asked)
        if mutant.number % OVERLAY_EVERY == 0:
            self._overlay(mutant, *source)
        for page in rendered.values():
            if isinstance(page, PageImage):
                assert page.width * page.height <= POLICY.max_page_pixels
                os.unlink(page.path)
        return "rendered" if any(isinstance(page, PageImage) for page in rendered.values()) else "failed"

    def _overlay(self, mutant: Mutant, *source: Any) -> None:
        layer, target = (self.folder / f"{mutant.number}.{end}" for end in ("layer", "ocr.pdf"))
        layer.write_text(
            '{"number": 1, "dpi": 50, "rotation": 0, "size": [9, 9], "lines": [[["a", 1, 1, 8, 8]]]}\n'
        )
        try:
            self.rasterizer.overlay(*source, layer=str(layer), target=str(target))
            self.outcomes["overlaid"] += 1
            target.unlink()
        except PageFault:
            self.outcomes["no overlay"] += 1
        finally:
            layer.unlink()

    def _keep(self, mutant: Mutant, problem: str) -> None:
        kept = Path(tempfile.gettempdir(), f"ocrd-mutant-{SEED}-{mutant.number}{mutant.suffix}")
        kept.write_bytes(mutant.data)
        self.problems.append(f"{kept}: {problem}")


def children() -> set[str]:
    """Processes that we started, and those that they left to us."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def largest_child_kib() -> int:
    """The most memory that any process of ours ever had that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def own_peak_kib() -> int:
    """What a process has had when it starts a program counts as that one's largest size: `ru_maxrss`, getrusage(2)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_intake_and_rasterizer_survive_every_mutant(tmp_path: Path) -> None:
    before, largest_before = children(), largest_child_kib()
    assert own_peak_kib() < MOST_MIB * 1024, "collected with too many others: run tests/fuzz alone"
    desk = Desk(tmp_path)
    originals = tmp_path / "originals"
    originals.mkdir()
    try:
        made = mutants(originals, MUTANTS, SEED)
        with ThreadPoolExecutor(4) as pool:
            while some := list(islice(made, AT_ONCE)):
                list(pool.map(desk.try_out, some))
    finally:
        desk.rasterizer.close()
    assert desk.problems == []
    assert largest_child_kib() <= max(MOST_MIB * 1024, largest_before)
    assert children() == before, "a child that nobody waits for"
    assert list(desk.images.iterdir()) == [], "images that nobody owns"
    print(dict(desk.outcomes.most_common()))
    beside = {name: desk.outcomes.pop(name, 0) for name in ("layers", "overlaid", "no overlay")}
    assert sum(desk.outcomes.values()) == MUTANTS
    assert beside["layers"], "no text layer was reached"
    assert beside["overlaid"], "no searchable PDF was made"
    assert desk.outcomes["rendered"] > MUTANTS // 10, "too few mutants reached the renderer to say anything"


def test_the_daemon_ends_every_mutant_with_a_reason_and_goes_on(tmp_path: Path) -> None:
    ocrd = Ocrd(
        tmp_path,
        OCRD_RASTER__PAGE_TIMEOUT_S="10",
        OCRD_ENGINE__PAGE_TIMEOUT_S="30",
        OCRD_RASTER__DPI="75",
        OCRD_RASTER__MIN_DPI="20",
    )
    originals = tmp_path / "originals"
    originals.mkdir()
    written = {}
    for mutant in mutants(originals, THROUGH_THE_DAEMON, SEED + 1):
        path = ocrd.inbox / f"{mutant.number}{mutant.suffix}"
        path.write_bytes(mutant.data)
        written[path] = mutant.data
    ocrd.start()
    final = {"done", "partial", "failed", "rejected"}

    def all_final() -> bool:
        jobs = ocrd.jobs()
        status = ocrd.status()
        return (
            len(jobs) + sum(status["daemon"]["inboxes"][0]["skipped"].values()) >= len(written)
            and bool(jobs)
            and all(job["state"] in final for job in jobs.values())
        )

    try:
        wait_until(all_final, "every mutant is settled", deadline_s=600)
    except AssertionError as err:
        open_ones = [name for name, job in ocrd.jobs().items() if job["state"] not in final]
        raise AssertionError(f"{err}: still open below {ocrd.inbox}: {open_ones}") from err
    for name, job in ocrd.jobs().items():
        assert job["state"] == "done" or job["reason"], f"{name} is {job['state']} without a reason"
    paper.write_png(ocrd.inbox / "good.png", "All is well")
    ocrd.await_state("good.png", "done")
    assert {path: path.read_bytes() for path in written} == written
    assert ocrd.leftovers() == []
    assert ocrd.process is not None
    peak_kib = int(Path(f"/proc/{ocrd.process.pid}/status").read_text().split("VmHWM:")[1].split()[0])
    assert peak_kib < DAEMON_MIB * 1024
    assert ocrd.stop() == 0
    assert not (ocrd.state / "work").exists() or list((ocrd.state / "work").rglob("*")) == []
    assert ocrd.command("db", "check").returncode == 0
