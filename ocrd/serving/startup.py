"""Reading a starting server's log: which phase, how far, when it last got on, and what it measured. No clock, no I/O.

The wordings are vLLM's of 0.11.2 to 0.33.0, for GPUs and for the CPU build (`v1/engine/core.py`,
`v1/worker/gpu_worker.py`, `v1/worker/gpu_model_runner.py`, `v1/core/kv_cache_utils.py`, `compilation/monitor.py`,
`model_executor/model_loader`), matched loosely. The CPU build's were seen here; the GPU's come from the source.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ocrd.serving.causes import plain_line

KEEP_LINES = 1000
"""Of the newest lines: the cause of a failure stands 50 to 100 lines above the last one."""

KEEP_BYTES = 512 * 1024
MAX_LINE_BYTES = 8 * 1024
"""What follows on the same line is dropped."""

MAX_REPEATS = 20
"""So often the same line, its numbers aside, counts as progress."""

MAX_SHAPES = 500
"""Different lines that are counted; later ones are no progress unless they tell of a phase."""

_SPLIT = re.compile(rb"[\r\n]+")


class StartPhase(StrEnum):
    """What a starting server is doing, in the order of a start."""

    CONTAINER = "container"
    """Docker has started it; it has printed nothing yet."""
    IMPORTING = "importing"
    """Python, PyTorch, the model's configuration; the GPU is found."""
    LOADING = "loading"
    """The weights."""
    COMPILING = "compiling"
    PROFILING = "profiling"
    """A largest page is tried, to see what is left for the KV cache."""
    CAPTURING = "capturing"
    """CUDA graphs."""
    WARMING = "warming"
    """The engine stands; the server around it is set up."""
    SERVING = "serving"
    """It takes requests."""


ORDER: tuple[StartPhase, ...] = tuple(StartPhase)

_PHASES: tuple[tuple[StartPhase, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(pattern, re.IGNORECASE))
    for phase, pattern in (
        (StartPhase.SERVING, r"Application startup complete"),
        (
            StartPhase.WARMING,
            r"init engine \(.{0,80}\) took|Starting vLLM (?:API )?server|Started server process",
        ),
        (StartPhase.CAPTURING, r"Capturing (?:CUDA|cudagraph)|Graph capturing finished"),
        (
            StartPhase.PROFILING,
            (
                r"(?:Encoder cache will be init|Available KV cache mem|KV cache size:|Maximum concurrency for|Warming up model"
                r"|\) GiB for KV cache|Memory profiling takes|Initial profiling|Profiling CUDA graph)"
            ),
        ),
        (
            StartPhase.COMPILING,
            (
                r"Dynamo bytecode transform|Compiling a graph|Cache the graph|Directly load(?:ing)? the compiled graph"
                r"|torch\.compile (?:takes|took)|Using cache directory: .{0,200}for vLLM's torch\.compile"
            ),
        ),
        (
            StartPhase.LOADING,
            (
                r"Starting to load model|Loading .{0,60}checkpoint shards|Loading weights took|Model loading took"
                r"|Prefetching checkpoint|Auto-prefetch|Multi-thread loading shards"
            ),
        ),
    )
)
"""The first that matches counts. A phase only moves on, but for the two of `_ORIGINS`: vLLM compiles within the
profiling run, after the encoder's line, and from 0.20 on captures some graphs to learn what they will take."""

_ORIGINS: Mapping[StartPhase, frozenset[StartPhase]] = {
    StartPhase.PROFILING: frozenset({StartPhase.CAPTURING}),
    StartPhase.COMPILING: frozenset({StartPhase.PROFILING}),
}

_SHARDS = re.compile(
    r"(?:checkpoint|loading) shards:?\s{0,8}(?P<percent>\d{1,3})%(?:.{0,60}?\|\s*(?P<done>\d{1,5})/(?P<all>\d{1,5}))?",
    re.IGNORECASE,
)
_CAPTURED = re.compile(r"Capturing (?:CUDA|cudagraph).{0,120}?(?P<percent>\d{1,3})%\|", re.IGNORECASE)
_NUMBER = r"(?P<value>\d[\d,]{0,15}(?:\.\d{1,12})?)"
_NUMBERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("weights_gib", rf"Model loading took {_NUMBER} ?Gi?B"),
        ("load_s", rf"Model loading took .{{1,40}}? and {_NUMBER} ?s"),
        ("load_s", rf"Loading weights took {_NUMBER} ?s"),
        ("kv_gib", rf"Available KV cache memory: {_NUMBER} ?GiB"),
        ("kv_gib", rf"(?:Explicitly|Auto) set \({_NUMBER}/.{{1,24}}?GiB for KV cache"),
        ("kv_tokens", rf"KV cache size: {_NUMBER} tokens"),
        ("max_concurrency", rf"Maximum concurrency for .{{1,24}}? tokens per request: {_NUMBER}x"),
        ("compile_s", rf"torch\.compile (?:takes|took) {_NUMBER} ?s"),
        ("capture_s", rf"Graph capturing finished in {_NUMBER} ?s"),
        ("capture_gib", rf"Graph capturing finished .{{1,30}}? took {_NUMBER} GiB"),
        ("init_s", rf"init engine \(.{{0,80}}?\) took {_NUMBER} ?s"),
    )
)
_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "version",
        re.compile(
            r"(?:LLM engine \(v|vLLM (?:API )?(?:server )?version:? v?)(?P<value>\d[\w.+-]{0,40})",
            re.IGNORECASE,
        ),
    ),
    ("architecture", re.compile(r"Resolved architectures?: (?P<value>[\w.]{1,80})", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a start told of itself; None where it did not say. The measured truth that corrects a plan."""

    weights_gib: float | None = None
    """Memory of the GPU after the weights were loaded."""
    load_s: float | None = None
    kv_gib: float | None = None
    """What is left for the KV cache."""
    kv_tokens: int | None = None
    max_concurrency: float | None = None
    """Pages of full length at the same time."""
    compile_s: float | None = None
    capture_s: float | None = None
    capture_gib: float | None = None
    init_s: float | None = None
    """Profiling, KV cache and warm-up."""
    version: str | None = None
    architecture: str | None = None


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the phases of one start took, in seconds, in their order."""

    seconds: Mapping[StartPhase, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """The whole start."""
        return sum(self.seconds.values())


class StartupLog:
    """Fed with the log's bytes as they come; where they are cut does not matter. Bounded in memory.

    Progress is a line that moves the phase or a percentage on, or that tells something new: the same line, its
    numbers aside, at most MAX_REPEATS times. So 'waiting 10 s', 'waiting 20 s' … resets no stall timer for ever,
    and neither does a loop that prints something random, after MAX_SHAPES lines.
    """

    def __init__(self, now: float) -> None:
        """`now`: seconds of any clock that does not jump; the container's start."""
        self.phase = StartPhase.CONTAINER
        self.percent: int | None = None
        """Of the weights loaded or the graphs captured, 0 to 100; None in other phases."""
        self.last_progress = now
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._rest = bytearray()
        self._shapes: dict[str, int] = {}
        self._since = now
        self._newest = now
        self._spent: dict[StartPhase, float] = {}
        self._numbers: dict[str, float] = {}
        self._words: dict[str, str] = {}

    def feed(self, chunk: bytes, now: float) -> bool:
        """Take in what was printed until `now`; whether it showed progress. Never raises."""
        self._newest = max(self._newest, now)
        before = self.last_progress
        progressed = False
        *whole, rest = _SPLIT.split(chunk)
        for part in whole:
            self._append(part)
            progressed = self._end_line(now) or progressed
        self._append(rest)
        self.last_progress = max(before, now) if progressed else before
        return progressed

    def close(self, now: float) -> None:
        """The log has ended: what stands on an unfinished line counts as well."""
        if self._end_line(now):
            self.last_progress = max(self.last_progress, now)

    @property
    def text(self) -> str:
        """The newest lines, an unfinished one included: what `causes.diagnose` reads."""
        return "\n".join([*self._lines, self._rest.decode("utf-8", "replace")] if self._rest else self._lines)

    @property
    def measured(self) -> Measured:
        """The numbers seen so far."""
        tokens = self._numbers.get("kv_tokens")
        rest = {name: value for name, value in self._numbers.items() if name != "kv_tokens"}
        return Measured(
            **rest,
            kv_tokens=None if tokens is None else int(tokens),
            version=self._words.get("version"),
            architecture=self._words.get("architecture"),
        )

    def elapsed_in_phase(self, now: float) -> float:
        """Seconds since the phase began."""
        return max(0.0, now - self._since)

    def stalled_s(self, now: float) -> float:
        """Seconds since the last progress."""
        return max(0.0, now - self.last_progress)

    def durations(self, now: float) -> Durations:
        """Of every phase so far; the current one until `now`, serving left out."""
        spent = dict(self._spent)
        if self.phase is not StartPhase.SERVING:
            spent[self.phase] = spent.get(self.phase, 0.0) + self.elapsed_in_phase(now)
        return Durations({phase: spent[phase] for phase in ORDER if phase in spent})

    def _append(self, part: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._rest)
        self._rest += part[:room]

    def _end_line(self, now: float) -> bool:
        raw = self._rest.decode("utf-8", "replace")
        self._rest.clear()
        if not raw.strip():
            return False
        self._keep(raw)
        return self._read(plain_line(raw), now)

    def _keep(self, line: str) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        while len(self._lines) > KEEP_LINES or self._bytes > KEEP_BYTES:
            self._bytes -= len(self._lines.popleft())

    def _read(self, line: str, now: float) -> bool:
        if not line:
            return False
        moved = self._enter(self._phase_of(line), now)
        counted = self._count(line)
        for name, pattern in _NUMBERS:
            if (match := pattern.search(line)) is not None:
                self._numbers[name] = float(match["value"].replace(",", ""))
        for name, pattern in _WORDS:
            if (match := pattern.search(line)) is not None:
                self._words[name] = match["value"].rstrip(").,:")
        new = self._is_new(line)
        return moved or counted or new

    def _phase_of(self, line: str) -> StartPhase:
        for phase, pattern in _PHASES:
            if pattern.search(line):
                return phase
        return StartPhase.IMPORTING

    def _enter(self, phase: StartPhase, now: float) -> bool:
        forward = ORDER.index(phase) > ORDER.index(self.phase) or self.phase in _ORIGINS.get(phase, ())
        if not forward:
            return False
        self._spent[self.phase] = self._spent.get(self.phase, 0.0) + self.elapsed_in_phase(now)
        self.phase, self._since, self.percent = phase, max(now, self._since), None
        return True

    def _count(self, line: str) -> bool:
        """Take the percentage of a progress bar; whether it is higher than before."""
        match = _SHARDS.search(line) if self.phase is StartPhase.LOADING else None
        if match is None and self.phase is StartPhase.CAPTURING:
            match = _CAPTURED.search(line)
        if match is None:
            return False
        percent = min(100, int(match["percent"]))
        higher = self.percent is None or percent > self.percent
        if higher:
            self.percent = percent
        return higher

    def _is_new(self, line: str) -> bool:
        shape = re.sub(r"\d+", "0", line[:200])
        seen = self._shapes.get(shape, 0)
        if seen == 0 and len(self._shapes) >= MAX_SHAPES:
            return False
        self._shapes[shape] = min(seen + 1, MAX_REPEATS)
        return seen < MAX_REPEATS


_USUAL_SHARES: Mapping[StartPhase, float] = {
    StartPhase.CONTAINER: 0.05,
    StartPhase.IMPORTING: 0.35,
    StartPhase.LOADING: 0.25,
    StartPhase.COMPILING: 0.10,
    StartPhase.PROFILING: 0.15,
    StartPhase.CAPTURING: 0.05,
    StartPhase.WARMING: 0.05,
}
"""Of a start that was never seen; shares of the catalogue's whole time. A guess, until a start was measured."""


def eta_s(
    phase: StartPhase,
    elapsed_in_phase_s: float,
    learned: Mapping[StartPhase, float] | None,
    expected_total_s: float | None,
) -> float | None:
    """Seconds until the server is ready; 0 if it is, None if nothing is known of such a start.

    `learned`: seconds a phase of earlier starts of the same model, image and settings; `expected_total_s`: the
    catalogue's figure for the whole start. A phase that takes longer than it should counts as about to end, not as
    negative.
    """
    if phase is StartPhase.SERVING:
        return 0.0
    usual = _usual(learned, expected_total_s)
    if usual is None:
        return None
    rest = max(0.0, usual.get(phase, 0.0) - max(0.0, elapsed_in_phase_s))
    return rest + sum(usual.get(later, 0.0) for later in ORDER[ORDER.index(phase) + 1 :])


def _usual(
    learned: Mapping[StartPhase, float] | None, expected_total_s: float | None
) -> dict[StartPhase, float] | None:
    if learned:
        return {
            phase: max(0.0, seconds) for phase, seconds in learned.items() if phase is not StartPhase.SERVING
        }
    if expected_total_s is None or expected_total_s <= 0:
        return None
    return {phase: share * expected_total_s for phase, share in _USUAL_SHARES.items()}
