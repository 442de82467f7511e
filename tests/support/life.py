"""The daemon's life for a stateful test: the real daemon in a process of its own, forked in milliseconds from one that
has loaded everything, over paper that is read at once and can fail in every way.

`python -m support.life` is that process. What is not real in its children: the rasterizer, the engine, and the
clocks, which run SPEED times as fast and can jump. The daemon's threads, stores, signals and files are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

SPEED = 5.0
"""How much faster than the world the daemon's clocks run."""
END_S = 30.0
"""The queue must drain and a daemon must end within so long; it takes a second."""
OUTPUT_SUFFIXES = (".txt", ".md", ".ocrd-error.txt")
_SHEET = re.compile(r"sheet (\w+) (\d+)")


# --- paper --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paper:
    """What a file holds: `bad` pages cannot be read, a torn one is not whole."""

    tag: str
    pages: int = 1
    bad: tuple[int, ...] = ()
    torn: bool = False

    @property
    def content(self) -> bytes:
        """As bytes that intake takes for a PDF."""
        bad = "".join(f"bad {number}\n" for number in self.bad)
        whole = f"%PDF-1.4\nsheet {self.tag}\npages {self.pages}\n{bad}%%EOF\n".encode()
        return whole[: len(whole) // 2] if self.torn else whole

    @property
    def ends(self) -> str:
        """The state its document has in the end."""
        if self.torn:
            return "rejected"
        if len(self.bad) == self.pages:
            return "failed"
        return "partial" if self.bad else "done"

    @property
    def text(self) -> list[tuple[str, str]]:
        """Tag and number of the pages that its text holds."""
        return [(self.tag, str(number)) for number in range(1, self.pages + 1) if number not in self.bad]


def sheets_of(text: str) -> list[tuple[str, str]]:
    """Tag and number of the pages in an output."""
    return _SHEET.findall(text)


def _read_paper(content: bytes) -> Paper | None:
    found = re.fullmatch(rb"%PDF-1.4\nsheet (\w+)\npages (\d+)\n((?:bad \d+\n)*)%%EOF\n", content)
    if found is None:
        return None
    bad = tuple(int(number) for number in re.findall(rb"\d+", found[3]))
    return Paper(found[1].decode(), int(found[2]), bad)


# --- the faults, as files of a folder that the test and the daemon share ------------------------------------------


class Faults:
    """What is out of order: a file `NAME` in the folder says that it is; `clock` holds the seconds the wall clock is
    off by."""

    NAMES = ("engine_down", "rasterizer_down", "store_full", "inbox_full")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def set(self, name: str, *, on: bool) -> None:
        """Let it happen, or not any more."""
        if on:
            (self._folder / name).touch()
        else:
            (self._folder / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Everything works; the clock stays where it is."""
        for name in self.NAMES:
            self.set(name, on=False)

    def is_on(self, name: str) -> bool:
        """Whether it is out of order."""
        return os.path.exists(os.path.join(self._folder, name))

    def jump(self, seconds: float) -> None:
        """Set the wall clock by so much."""
        text = str(self.clock_off_s + seconds)
        fresh = self._folder / "clock.new"
        fresh.write_text(text)
        fresh.rename(self._folder / "clock")

    @property
    def clock_off_s(self) -> float:
        """How far the wall clock is off."""
        try:
            return float((self._folder / "clock").read_text())
        except FileNotFoundError:
            return 0.0


# --- in the daemon's process --------------------------------------------------------------------------------------


class PaperRasterizer:
    """Renders `Paper` to files that say what is on them. Keeps the promises of `ocrd.pipeline.rasterizer`."""

    def __init__(self, faults: Faults) -> None:
        from ocrd.pipeline.rasterizer import RenderPolicy

        self.policy = RenderPolicy()
        self._faults = faults

    def warm(self) -> None:
        """Nothing to start."""

    def read_below(self, anchors: Any) -> None:
        """Paper is opened by its path."""

    def close(self) -> None:
        """Nothing to end."""

    def limit_s(self, pages: int) -> float:
        """Long enough for any machine."""
        return 60.0 * pages

    def probe(self, path: bytes, identity: Any, media_type: Any) -> Any:
        from ocrd.domain.errors import InputRejected, ReasonCode
        from ocrd.pipeline.rasterizer import Probe

        del media_type
        paper = _read_paper(self._open(path, identity))
        if paper is None:
            raise InputRejected(ReasonCode.DAMAGED, "the paper is torn")
        return Probe(paper.pages)

    def read_layers(self, *source: Any, folder: str, stop: Event) -> dict[int, Any]:
        """Paper has no text layer."""
        del source, folder, stop
        return {}

    def render(
        self, path: bytes, identity: Any, media_type: Any, numbers: Sequence[int], *, folder: str, stop: Event
    ) -> dict[int, Any]:
        from ocrd.domain.documents import PageImage

        del media_type, stop
        content = self._open(path, identity)
        paper = _read_paper(content)
        assert paper is not None, "a torn paper has no pages to render"
        made = {}
        for number in numbers:
            target = os.path.join(folder, f"{hashlib.sha256(path + content).hexdigest()}-{number}")
            sheet = "bad" if number in paper.bad else f"sheet {paper.tag} {number}"
            Path(target).write_text(sheet)
            made[number] = PageImage(
                path=target, number=number, width=100, height=100, dpi=200.0, ink=0.1, faint_ink=0.1
            )
        return made

    def _open(self, path: bytes, identity: Any) -> bytes:
        from ocrd.domain.errors import ReasonCode, ServerFault, SourceChanged
        from ocrd.host import files

        if self._faults.is_on("rasterizer_down"):
            raise ServerFault("the rasterizer is down")
        try:
            with files.open_regular(path) as fd:
                if files.identity_of(os.fstat(fd)) != identity:
                    raise SourceChanged(ReasonCode.SUPERSEDED, "another file stands there")
                return os.pread(fd, 1 << 16, 0)
        except FileNotFoundError as err:
            raise SourceChanged(ReasonCode.FILE_GONE, "the file is gone") from err


class PaperReader:
    """The engine: takes a moment for a page, and a while for one of `f`."""

    slots = 2

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def recognize(self, page: Any, request: Any, stop: Event) -> Any:
        from ocrd.domain.documents import Block, Recognition
        from ocrd.domain.errors import PageFault, ReasonCode, ServerFault

        del request
        text = Path(page.path).read_text()
        stop.wait(0.15 if text.startswith("sheet f") else 0.01)
        if self._faults.is_on("engine_down"):
            raise ServerFault("the engine is down")
        if text == "bad":
            raise PageFault(ReasonCode.ENGINE_FAILED, "nobody can read this")
        return Recognition(
            text=text,
            blocks=(Block(category="Text", box=(0, 0, page.width, page.height), text=text),),
            finish="stop",
            engine="paper",
            model_revision="1",
            prompt_mode="",
            dpi=page.dpi,
            tokens=0,
            seconds=0.01,
        )

    def close(self) -> None:
        """Nothing to release."""


def _own_the_clock(faults: Faults) -> None:
    """SPEED times as fast, and the wall clock where the faults say."""
    from datetime import UTC, datetime, timedelta

    from ocrd.host import clock

    class FastClock:
        def now(self: Any) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=faults.clock_off_s)

        def monotonic(self: Any) -> float:
            return time.monotonic() * SPEED

        def wait(self: Any, event: Event, timeout_s: float) -> bool:
            return event.wait(timeout_s / SPEED)

    for name in ("now", "monotonic", "wait"):
        setattr(clock.SystemClock, name, getattr(FastClock, name))

    def clocks() -> tuple[float, float, float]:
        return time.time() + faults.clock_off_s, time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()

    clock._clocks = clocks  # the seam of the test, in a process of its own


def _own_the_disk(faults: Faults, fault: str) -> None:
    """The fault points, with a disk behind them that can be full."""
    import errno

    from ocrd.host import faults as points

    planned = points.Points(points.parse(fault) if fault else None)

    def come_by(name: str) -> None:
        planned.come_by(name)
        full = "inbox_full" if name.startswith(("file.", "folder.")) else "store_full"
        if not name.endswith((".committed", "ed")) and faults.is_on(full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    points.point = come_by


def _hurry() -> None:
    """Pauses of the daemon that are meant for people and slow machines."""
    from ocrd.daemon import receiver, space, supervisor
    from ocrd.domain import retry

    receiver._TROUBLE_WAIT_S = 1.0
    receiver._LOOK_S = 1.0
    space.RETRY_S = 0.1
    supervisor.TICK_S = 0.2
    retry.outage_pause_s = lambda strikes: min(0.05 * strikes, 0.2)


def _live(folder: Path, fault: str) -> int:
    """A daemon's life, in the forked child."""
    from ocrd import cli
    from ocrd.daemon import engines
    from ocrd.daemon.promises import Promises, PromisingRecognizer
    from ocrd.domain.documents import Request

    faults = Faults(folder / "faults")
    _own_the_clock(faults)
    _own_the_disk(faults, fault)
    _hurry()

    def build_engines(settings: Any) -> Any:
        del settings
        promises = Promises()
        first = PromisingRecognizer(PaperReader(faults), promises)
        request = Request(languages=("eng",), timeout_s=60.0)
        return engines.Engines(first=first, name="paper", request=request, promises=promises)

    engines.build_engines = build_engines
    engines.build_rasterizer = lambda settings: PaperRasterizer(faults)
    names = {"--config": "ocrd.toml", "--state": "state", "--inbox": "inbox"}
    return cli.main(["run", *(word for key, name in names.items() for word in (key, str(folder / name)))])


def _fork(folder: Path, fault: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        log = os.open(folder / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _live(folder, fault)
    except BaseException:  # the edge of the process
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    """Load everything, then fork a daemon for each line that asks for one."""
    import ocrd.cli.run
    import ocrd.daemon.supervisor
    import ocrd.store.snapshot
    import ocrd.telemetry.logs  # noqa: F401

    alive = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            pid = _fork(Path(asked["start"]), asked["fault"])
            alive.add(pid)
            answer: Any = pid
        else:
            pid, status = os.waitpid(asked["wait"], os.WNOHANG)
            alive.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


# --- in the test's process ----------------------------------------------------------------------------------------


class Nursery:
    """Where daemons come from."""

    def __init__(self) -> None:
        tests = Path(__file__).parents[1]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("OCRD_", "XDG_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.life"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tests,
            env=env,
            start_new_session=True,
        )

    def start(self, folder: Path, fault: str) -> int:
        """A daemon over a folder; its process id."""
        return int(self._ask({"start": str(folder), "fault": fault}))

    def code_of(self, pid: int) -> int | None:
        """How a daemon ended; None while it lives. To be asked until it says how, and no longer."""
        code: int | None = self._ask({"wait": pid})
        return code

    def close(self) -> None:
        """End it and every daemon."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(END_S)
        self._process.stdout.close()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], END_S)
        assert readable, "the nursery does not answer"
        return json.loads(self._process.stdout.readline())


@dataclass(slots=True)
class Model:
    """What ought to be, by paths below the inbox; and what is known to be open, because nobody can tell the order in
    which two hands moved."""

    files: dict[str, Paper] = field(default_factory=dict)
    foreign: dict[str, bytes] = field(default_factory=dict)
    had: dict[str, list[Paper]] = field(default_factory=dict)
    """Every paper that ever lay at a path: its text may still stand there."""
    cancelled: set[str] = field(default_factory=set)
    """Somebody asked for it: the document may or may not have been ended by that."""
    may_lack: set[str] = field(default_factory=set)
    """Outputs that somebody deleted, or whose place was taken at times."""
    may_be_old: set[str] = field(default_factory=set)
    """Outputs in a format that was not wanted at times: they are neither written then nor taken away."""

    def put(self, path: str, paper: Paper) -> None:
        """A paper lies at the path now."""
        self.files[path] = paper
        self.had.setdefault(path, []).append(paper)


class Life:
    """A folder with an inbox, a store and at most one daemon; what is asked of them and what is wrong with them."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.outside = folder / "outside"
        self.state = folder / "state"
        self.inbox.mkdir()
        self.outside.mkdir()
        self.faults = Faults(folder / "faults")
        self.nursery = nursery
        self.pid: int | None = None
        self.may_die = False
        """A fault point that kills is armed."""
        self.kills = 0

    def configure(self, *, formats: Sequence[str], watch: str) -> None:
        """Write the settings file."""
        (self.folder / "ocrd.toml").write_text(
            f'[inbox]\nquiet_s = 0.5\nsettle_s = 2.0\nscan_interval_s = 3.0\nwatch = "{watch}"\n'
            f"[output]\nformats = {json.dumps(list(formats))}\n[limits]\nmin_free_mib = 0\n"
            '[log]\nlevel = "debug"\nfile = ""\n'
        )

    # --- the daemon's life ---

    def start(self, fault: str = "") -> None:
        """Let a daemon live; with `fault` it may die."""
        assert self.pid is None
        self.may_die = bool(fault)
        self.pid = self.nursery.start(self.folder, fault)

    @property
    def alive(self) -> bool:
        """Whether there is a daemon. It must not have ended by itself unless a fault point killed it."""
        if self.pid is None:
            return False
        code = self.nursery.code_of(self.pid)
        if code is None:
            return True
        self.pid = None
        assert code == -signal.SIGKILL, f"the daemon ended by itself with {code}: {self.log_tail()}"
        assert self.may_die, "the daemon was killed by nobody"
        self.kills += 1
        return False

    def kill(self) -> None:
        """SIGKILL."""
        if self.alive:
            assert self.pid is not None
            self.kills += 1
            os.kill(self.pid, signal.SIGKILL)
            self._await_end()

    def stop(self) -> int | None:
        """SIGTERM; its exit code."""
        if not self.alive:
            return None
        assert self.pid is not None
        os.kill(self.pid, signal.SIGTERM)
        return self._await_end()

    def signal(self, number: int) -> None:
        """Send a signal, once it is sure that the daemon catches it."""
        if self.alive:
            assert self.pid is not None
            caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{self.pid}/status").read_text())
            if caught and int(caught[1], 16) >> (number - 1) & 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _await_end(self) -> int:
        assert self.pid is not None
        end = time.monotonic() + END_S
        while (code := self.nursery.code_of(self.pid)) is None:
            assert time.monotonic() < end, f"the daemon does not end: {self.log_tail()}"
            time.sleep(0.01)
        self.pid = None
        return code

    def log_tail(self) -> str:
        """The end of the daemon's log."""
        return (self.folder / "daemon.log").read_text()[-6000:]

    # --- orders ---

    @property
    def has_store(self) -> bool:
        """Whether there is one, and it is complete."""
        if not (self.state / "ocrd.db").exists():
            return False
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE name = 'commands'"))

    def order(self, verb: str, **arguments: Any) -> bool:
        """Leave an order in the store, as the command line does; False while there is no store."""
        if not self.has_store:
            return False
        with contextlib.closing(sqlite3.connect(self.state / "ocrd.db", timeout=10)) as store, store:
            store.execute(
                "INSERT INTO commands (verb, arguments, created_at) VALUES (?, ?, ?)",
                (verb, json.dumps(arguments), time.time()),
            )
        return True

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.state / 'ocrd.db'}?mode=ro", uri=True, timeout=10)
        ) as store:
            store.row_factory = sqlite3.Row
            return [dict(row) for row in store.execute(query)]

    # --- the inbox ---

    def drop(self, path: str, content: bytes) -> None:
        """A file appears at once, or takes the place of another."""
        fresh = self.outside / "fresh"
        fresh.write_bytes(content)
        self.touch_at(fresh)
        target = self.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(target)

    def touch_at(self, path: Path) -> None:
        """The modification time is now, by the clock that the machine shows."""
        ns = time.time_ns() + int(self.faults.clock_off_s * 1e9)
        os.utime(path, ns=(ns, ns))

    def present(self) -> dict[str, bytes]:
        """Every file of the inbox with its content; drafts too."""
        found = {}
        for path in self.inbox.rglob("*"):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                found[str(path.relative_to(self.inbox))] = path.read_bytes()
        return found

    # --- what is wrong ---

    def disturbed(self, model: Model) -> list[str]:
        """What may never be: an original or a foreign file that is gone or changed, a file from nowhere."""
        present = self.present()
        wrong = []
        for path, paper in model.files.items():
            if present.get(path) != paper.content:
                wrong.append(f"the original {path} is {present.get(path)!r}, not {paper.content!r}")
        for path, content in model.foreign.items():
            if present.get(path) != content:
                wrong.append(f"the foreign file {path} is {present.get(path)!r}, not {content!r}")
        for path in present.keys() - model.files.keys() - model.foreign.keys():
            suffix = next((one for one in reversed(OUTPUT_SUFFIXES) if path.endswith(one)), "")
            ours = suffix and path.removesuffix(suffix) in model.had
            if not ours and not os.path.basename(path).startswith(".ocrd-"):
                wrong.append(f"{path} came from nowhere")
        return wrong

    def unfinished(self, model: Model) -> list[str]:
        """What is not as it must be in the end."""
        wrong = self.disturbed(model)
        if not self.has_store:
            return [*wrong, "there is no store"]
        documents = {
            os.path.relpath(os.fsdecode(row["path"]), self.inbox): row
            for row in self.rows("SELECT * FROM documents WHERE current")
        }
        open_states = "SELECT count(*) AS n FROM documents WHERE state IN ('queued', 'running')"
        wrong += [f"{row['n']} documents are open" for row in self.rows(open_states) if row["n"]]
        present = self.present()
        for path, paper in model.files.items():
            wrong += _wrong_with(path, paper, documents.get(path), present, model)
        wrong += [f"{path} was left" for path in present if os.path.basename(path).startswith(".ocrd-")]
        return wrong


def _wrong_with(
    path: str, paper: Paper, document: dict[str, Any] | None, present: dict[str, bytes], model: Model
) -> list[str]:
    """What is wrong with one document and what stands beside it."""
    if document is None:
        return [f"{path} was forgotten"]
    if document["sha256"] != hashlib.sha256(paper.content).hexdigest():
        return [f"{path}: the document is not of its present content"]
    state, code = document["state"], document["reason_code"]
    if state == "cancelled" and code == "cancelled" and path in model.cancelled:
        return []
    if state != paper.ends:
        return [f"{path} is {state} ({code}: {document['reason']}), not {paper.ends}"]
    wrong = _wrong_with_error(path + ".ocrd-error.txt", paper, present, model)
    if paper.ends in {"done", "partial"}:
        for suffix in (".txt", ".md"):
            wrong += _wrong_with_text(path + suffix, paper, present, model)
    return wrong


def _wrong_with_text(target: str, paper: Paper, present: dict[str, bytes], model: Model) -> list[str]:
    if target in model.foreign:
        return []
    if target not in present:
        return [] if target in model.may_lack | model.may_be_old else [f"{target} is missing"]
    sheets = sheets_of(present[target].decode())
    path = target.removesuffix(".txt").removesuffix(".md")
    if sheets == paper.text or (
        target in model.may_be_old and any(sheets == old.text for old in model.had[path])
    ):
        return []
    return [f"{target} says {present[target]!r}, not {paper.text}"]


def _wrong_with_error(error: str, paper: Paper, present: dict[str, bytes], model: Model) -> list[str]:
    wanted = paper.ends in {"rejected", "failed"}
    if error in model.foreign or (error in present) == wanted or (wanted and error in model.may_lack):
        return []
    return [f"{error} is {'missing' if wanted else 'there'}"]


if __name__ == "__main__":
    _serve()
