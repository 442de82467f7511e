"""The daemon's life as a game of chance: whatever people, disks, clocks and kills do to it, in whatever order, in the
end every file has its text, and nothing that is not ours was touched."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.life import END_S, Faults, Life, Model, Nursery, Paper
from support.running import wait_until

from ocrd.domain.retry import MAX_CLAIMS
from ocrd.store import schema

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

EXAMPLES = int(os.environ.get("OCRD_TEST_LIVES", "20"))
STEPS = 60

EVERY_PATH = ["a.pdf", "b.pdf", "c.pdf", "sub/a.pdf", "sub/deep/d.pdf"]
PATHS = st.sampled_from(EVERY_PATH)
PAPERS = st.builds(
    Paper,
    tag=st.sampled_from("abcdef"),
    pages=st.integers(1, 4),
    bad=st.sampled_from([(), (), (), (1,)]),
    torn=st.sampled_from([False] * 7 + [True]),
)
SUFFIXES = st.sampled_from([".txt", ".md", ".ocrd-error.txt"])
POINTS = st.sampled_from(
    [
        f"{name}.{moment}"
        for name in (
            "document.register",
            "document.claim",
            "document.release",
            "document.recover",
            "document.finish",
            "document.cancel",
            "document.retry",
            "document.complete",
            "page.claim",
            "page.give_back",
            "page.land",
            "output.plan",
            "output.withdraw",
            "output.forget",
            "command.answer",
        )
        for moment in ("commit", "committed")
    ]
    + ["file.sync", "file.synced", "file.name", "file.named", "file.replace", "file.replaced", "folder.sync"]
)


class LifeMachine(RuleBasedStateMachine):
    """One step is what one hand does; between steps the daemon works, or not."""

    nursery: ClassVar[Nursery]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(
            tempfile.mkdtemp(prefix="ocrd-life-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        )
        self.life = Life(self.folder, self.nursery)
        self.model = Model()
        self.aside: dict[str, Paper] = {}

    @initialize(
        watch=st.sampled_from(["auto", "polling"]),
        papers=st.dictionaries(PATHS, PAPERS, min_size=2, max_size=5),
    )
    def begin(self, watch: str, papers: dict[str, Paper]) -> None:
        """Some files lie there already."""
        self.watch = watch
        for path, paper in papers.items():
            self.drop(path, paper)
        self.life.configure(formats=("txt", "md"), watch=watch)
        self.life.start()

    def _one_of(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model.files)))

    # --- what people do with files ---

    @rule(path=PATHS, paper=PAPERS)
    def drop(self, path: str, paper: Paper) -> None:
        """A new file, or another content in the place of an old one."""
        self.life.drop(path, paper.content)
        self.model.put(path, paper)

    @rule(
        path=PATHS, paper=PAPERS, pauses=st.lists(st.sampled_from([0.0, 0.05, 0.15]), min_size=1, max_size=4)
    )
    def write_slowly(self, path: str, paper: Paper, pauses: list[float]) -> None:
        """In pieces, in place."""
        target = self.life.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        size = len(paper.content) // len(pauses) + 1
        with target.open("wb", buffering=0) as file:
            for number, pause in enumerate(pauses):
                file.write(paper.content[number * size : (number + 1) * size])
                time.sleep(pause)
        self.life.touch_at(target)
        self.model.put(path, paper)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), new=PATHS)
    def rename(self, data: st.DataObject, new: str) -> None:
        """To another name, into another folder, over another file."""
        path = self._one_of(data)
        if path != new:
            (self.life.inbox / new).parent.mkdir(parents=True, exist_ok=True)
            (self.life.inbox / path).rename(self.life.inbox / new)
            self.model.put(new, self.model.files.pop(path))

    @precondition(lambda self: self.model.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = self._one_of(data)
        del self.model.files[path]
        (self.life.inbox / path).unlink()

    @precondition(lambda self: self.model.files)
    @rule(data=st.data())
    def take_away(self, data: st.DataObject) -> None:
        """Out of the inbox; it may come back, with its times as they were."""
        path = self._one_of(data)
        (self.life.inbox / path).rename(self.life.outside / path.replace("/", "_"))
        self.aside[path] = self.model.files.pop(path)

    @precondition(lambda self: self.aside)
    @rule(data=st.data())
    def bring_back(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.aside)))
        (self.life.inbox / path).parent.mkdir(parents=True, exist_ok=True)
        (self.life.outside / path.replace("/", "_")).rename(self.life.inbox / path)
        self.model.put(path, self.aside.pop(path))

    @precondition(lambda self: self.model.files)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self.life.touch_at(self.life.inbox / self._one_of(data))

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), new=PATHS)
    def copy(self, data: st.DataObject, new: str) -> None:
        """A duplicate."""
        path = self._one_of(data)
        if path != new:
            self.life.drop(new, self.model.files[path].content)
            self.model.put(new, self.model.files[path])

    @rule(path=PATHS, suffix=SUFFIXES, number=st.integers(0, 99))
    def put_a_foreign_file(self, path: str, suffix: str, number: int) -> None:
        """Where an output would stand, if nothing stands there."""
        target, content = self.life.inbox / (path + suffix), f"somebody else's {number}\n".encode()
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.life.outside / "foreign"
        fresh.write_bytes(content)
        try:
            target.hardlink_to(fresh)
        except FileExistsError:
            pass
        else:
            self.model.foreign[path + suffix] = content
            self.model.may_lack.add(path + suffix)
        fresh.unlink()

    @precondition(lambda self: not self.life.alive)
    @rule(path=PATHS, suffix=SUFFIXES, number=st.integers(0, 99))
    def edit_an_output(self, path: str, suffix: str, number: int) -> None:
        """Not while a daemon runs: between its look at a text of its own and the renaming lies a moment in which an
        edit would be lost."""
        target, content = self.life.inbox / (path + suffix), f"edited {number}\n".encode()
        if target.exists():
            target.write_bytes(content)
            self.model.foreign[path + suffix] = content
            self.model.may_lack.add(path + suffix)

    @rule(path=PATHS, suffix=SUFFIXES)
    def delete_an_output(self, path: str, suffix: str) -> None:
        """Ours or somebody else's."""
        (self.life.inbox / (path + suffix)).unlink(missing_ok=True)
        self.model.foreign.pop(path + suffix, None)
        self.model.may_lack.add(path + suffix)

    # --- what happens to the daemon ---

    @precondition(lambda self: self.life.pid is None)
    @rule()
    def start(self) -> None:
        if not self.life.alive:
            self.life.start()

    @precondition(lambda self: self.life.kills < MAX_CLAIMS - 2)
    @rule(point=POINTS, times=st.integers(1, 4))
    def start_to_die_at(self, point: str, times: int) -> None:
        """A kill at a fault point, if this daemon comes by it."""
        self.life.stop()
        if self.life.pid is None:
            self.life.start(f"{point}:kill:{times}")

    @precondition(lambda self: self.life.pid is not None and self.life.kills < MAX_CLAIMS - 2)
    @rule()
    def kill(self) -> None:
        self.life.kill()

    @precondition(lambda self: self.life.pid is not None)
    @rule()
    def stop(self) -> None:
        may_fail = self.life.may_die or self.life.faults.is_on("store_full")
        code = self.life.stop()
        early = code == -signal.SIGTERM  # before it catches signals
        assert code in {None, 0} or early or may_fail, f"SIGTERM ended it with {code}: {self.life.log_tail()}"

    @rule(formats=st.sampled_from([("txt",), ("txt", "md")]))
    def reload(self, formats: tuple[str, ...]) -> None:
        """A format that is not wanted any more is not missed, nor taken away."""
        self.life.configure(formats=formats, watch=self.watch)
        self.life.signal(signal.SIGHUP)
        self.model.may_be_old |= {f"{path}.md" for path in EVERY_PATH}

    @rule(verb=st.sampled_from(["pause", "resume", "resume"]))
    def pause_or_resume(self, verb: str) -> None:
        self.life.order(verb)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        path = self._one_of(data)
        if self.life.order("cancel", path=str(self.life.inbox / path)):
            self.model.cancelled.add(path)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), again=st.booleans())
    def retry(self, data: st.DataObject, again: bool) -> None:
        path = self._one_of(data)
        self.life.order("retry", path=str(self.life.inbox / path), again=again)

    @rule(name=st.sampled_from(Faults.NAMES))
    def break_down(self, name: str) -> None:
        """The engine, the rasterizer, or a disk."""
        self.life.faults.set(name, on=True)

    @rule()
    def mend(self) -> None:
        self.life.faults.clear()

    @rule(hours=st.sampled_from([-30, -2, -1, 1, 2, 30]))
    def jump_the_clock(self, hours: int) -> None:
        self.life.faults.jump(hours * 3600.0)

    @rule(seconds=st.sampled_from([0.05, 0.1, 0.2, 0.4]))
    def wait(self, seconds: float) -> None:
        """Let the daemon have its time."""
        time.sleep(seconds)

    @precondition(lambda self: self.life.pid is not None)
    @rule()
    def wait_for_rest(self) -> None:
        """Until everything is done, or for a while where something is in the way."""
        end = time.monotonic() + 1.5
        while self.life.alive and self.life.unfinished(self.model) and time.monotonic() < end:
            time.sleep(0.02)

    # --- what must hold ---

    @invariant()
    def nothing_is_touched(self) -> None:
        time.sleep(0.02)  # a scan is as far from the next one
        _ = self.life.alive
        assert self.life.disturbed(self.model) == []

    def teardown(self) -> None:
        try:
            if hasattr(self, "watch"):
                self._come_to_rest()
        finally:
            self.life.kill()
            shutil.rmtree(self.folder)

    def _come_to_rest(self) -> None:
        """The faults are over: everything is made right within a bounded time, and stays so."""
        self.life.faults.clear()
        if self.life.may_die:
            self.life.stop()
        if not self.life.alive:
            self.life.start()
        wait_until(lambda: self.life.has_store, "there is a store")
        self._await_order("resume")
        self._await_rest()
        if self.model.cancelled:
            self._await_order("retry", all=True)
            self.model.cancelled.clear()
            self._await_rest()
        assert self.life.stop() == 0, self.life.log_tail()
        assert self.life.unfinished(self.model) == []
        assert schema.check(str(self.life.state)).problems == ()
        assert not (self.life.state / "work").exists()

    def _await_order(self, verb: str, **arguments: Any) -> None:
        assert self.life.order(verb, **arguments)
        end = time.monotonic() + END_S
        while self.life.rows("SELECT 1 FROM commands WHERE done_at IS NULL"):
            assert time.monotonic() < end, f"nobody carries out {verb}: {self.life.log_tail()}"
            time.sleep(0.02)

    def _await_rest(self) -> None:
        end = time.monotonic() + END_S
        while wrong := self.life.unfinished(self.model):
            assert self.life.alive, f"the daemon is gone: {self.life.log_tail()}"
            assert time.monotonic() < end, f"{wrong}\n{self.life.log_tail()}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with closing(Nursery()) as one:
        yield one


def test_whatever_happens_nothing_is_lost_and_nothing_foreign_touched(nursery: Nursery) -> None:
    LifeMachine.nursery = nursery
    run_state_machine_as_test(
        LifeMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="OCRD_TEST_LIVES" not in os.environ,
            database=None,
            phases=[Phase.generate],
            verbosity=Verbosity.verbose,  # a life cannot be lived twice: pytest shows the steps of a failing one
            suppress_health_check=list(HealthCheck),
        ),
    )
