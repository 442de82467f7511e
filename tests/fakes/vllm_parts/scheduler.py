"""Continuous batching, simulated: so many sequences run at once, the others wait in order.

A sequence that runs is read in (`prefill_s_per_1k` for 1,000 prompt tokens), then produces `decode_tps` tokens a
second, or its share of `total_tps` if that is less: the share of all that run, whatever they are at. So the most that
the server can do is known: while all seats are taken, a page takes its prefill plus its tokens at that rate.

One thread does it, and reckons with the time at which something was due, not with the time at which it woke up: a busy
machine makes tokens late, but never the seats slower.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the pretended graphics card can do; 0 tokens a second is no limit."""

    seats: int = 8
    prefill_s_per_1k: float = 0.0
    decode_tps: float = 0.0
    total_tps: float = 0.0
    step_s: float = 0.1
    """How often tokens are handed out: a chunk carries those of one step."""

    def rate(self, running: int, own_tps: float | None = None) -> float:
        """Tokens a second of one sequence among so many."""
        shares = (
            own_tps or self.decode_tps or math.inf,
            self.total_tps / running if self.total_tps else math.inf,
        )
        return min(1e9, *shares)

    def prefill_s(self, prompt_tokens: int) -> float:
        """How long a prompt is read in."""
        return self.prefill_s_per_1k * prompt_tokens / 1000

    def service_s(self, prompt_tokens: int, tokens: int) -> float:
        """How long an answer takes while all seats are taken."""
        return self.prefill_s(prompt_tokens) + tokens / self.rate(self.seats)


@dataclass(slots=True, eq=False)
class Sequence:
    """One answer being made. `out` gets (new tokens, finish or None)."""

    prompt_tokens: int
    total: float
    """Tokens until it ends; infinite for one that never does."""
    finish: str
    most: float = math.inf
    """Tokens after which it stalls."""
    tps: float | None = None
    out: SimpleQueue[tuple[int, str | None]] = field(default_factory=SimpleQueue)
    prefill_left: float = 0.0
    produced: float = 0.0
    given: int = 0


class Engine:
    """Runs sequences. Thread-safe."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.most_running = 0
        self.busy_s = 0.0
        """Seconds with at least one running."""
        self.seat_s = 0.0
        """Summed over the seats."""
        self._paused = False
        self._clock = time.monotonic()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="scheduler", daemon=True).start()

    def submit(self, sequence: Sequence) -> None:
        """Let it wait for a seat."""
        with self._changed:
            self._advance(time.monotonic())
            self.waiting.append(sequence)
            self._changed.notify()

    def cancel(self, sequence: Sequence) -> None:
        """Take it out; its seat is free at once."""
        with self._changed:
            self._advance(time.monotonic())
            if sequence in self.running:
                self.running.remove(sequence)
            if sequence in self.waiting:
                self.waiting.remove(sequence)
            self._changed.notify()

    def pause(self, paused: bool) -> None:
        """Stand still; what runs keeps its seat."""
        with self._changed:
            self._advance(time.monotonic())
            self._paused = paused
            self._changed.notify()

    def end_all(self, finish: str) -> None:
        """End everything with the tokens that it has."""
        with self._changed:
            self._advance(time.monotonic())
            for sequence in [*self.running, *self.waiting]:
                self._end(sequence, finish)
            self.running.clear()
            self.waiting.clear()

    def _run(self) -> None:
        with self._changed:
            while True:
                self._advance(time.monotonic())
                for sequence in self.running:
                    self._hand_out(sequence)
                self._changed.wait(self._next_s())

    def _next_s(self) -> float | None:
        """Seconds until something is due; None: until something changes."""
        if self._paused or not self.running:
            return None
        return max(0.0, min(self.capacity.step_s, self._due_s()))

    def _advance(self, now: float) -> None:
        """Let time go on to `now`, from one end of a sequence to the next."""
        while not self._paused:
            self._admit()
            if not self.running:
                break
            due = self._clock + self._due_s()
            if due > now:
                self._produce(now - self._clock)
                break
            self._produce(due - self._clock)
            self._clock = due
            for sequence in [one for one in self.running if self._left_s(one) <= 1e-9]:
                self.running.remove(sequence)
                sequence.produced = sequence.total
                self._end(sequence, sequence.finish)
        self._clock = max(self._clock, now)

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self.capacity.seats:
            sequence = self.waiting.popleft()
            sequence.prefill_left = self.capacity.prefill_s(sequence.prompt_tokens)
            self.running.append(sequence)
            self.most_running = max(self.most_running, len(self.running))

    def _produce(self, seconds: float) -> None:
        self.busy_s += seconds
        self.seat_s += seconds * len(self.running)
        for sequence in self.running:
            reading = min(seconds, sequence.prefill_left)
            sequence.prefill_left -= reading
            sequence.produced += (seconds - reading) * self._rate(sequence)

    def _rate(self, sequence: Sequence) -> float:
        return self.capacity.rate(len(self.running), sequence.tps)

    def _left_s(self, sequence: Sequence) -> float:
        return sequence.prefill_left + (sequence.total - sequence.produced) / self._rate(sequence)

    def _due_s(self) -> float:
        return max(0.0, min(map(self._left_s, self.running)))

    def _hand_out(self, sequence: Sequence) -> None:
        new = int(min(sequence.produced, sequence.most)) - sequence.given
        if new > 0:
            sequence.given += new
            sequence.out.put((new, None))

    def _end(self, sequence: Sequence, finish: str) -> None:
        new = int(min(sequence.produced, sequence.total, sequence.most)) - sequence.given
        sequence.given += new
        sequence.out.put((new, finish))
