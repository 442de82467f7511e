"""The supervisor: takes the locks, starts the threads, watches over them, and ends them in order.

It owns the main thread: signals, commands from the store, the heartbeat, systemd's watchdog. A thread that dies
ends the daemon with an error, so that whoever runs it starts it anew; one bad file never gets so far.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

from ocrd import __version__
from ocrd.daemon import build
from ocrd.daemon.engines import Engines
from ocrd.daemon.orders import PAUSED
from ocrd.domain.errors import ConfigError, ExitCode, TryAgainLater
from ocrd.host import files, runtime
from ocrd.host.clock import SystemClock
from ocrd.host.notify import Notifier
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.settings import Settings
from ocrd.store import schema
from ocrd.telemetry.logs import get_logger

if TYPE_CHECKING:  # only with a model server of our own
    from ocrd.daemon.warm import Warm

log = get_logger()

TICK_S = 0.5
ONCE_TICK_S = 0.05
HEARTBEAT_S = 5.0
LOCK_PATIENCE_S = 1.0
ANSWERS_KEPT_S = 7 * 86400.0
QUIET_SCANS = 2
"""`--once` ends after so many scans in a row that found nothing new."""
ONCE_OUTAGES = 3
"""`--once` gives up after so many failures of the engine in a row; the daemon waits for ever."""

Progress = Callable[[build.Stores], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run is about."""

    settings: Settings
    state: str
    roots: tuple[bytes, ...]
    once: bool
    progress: Progress | None = None


class Supervisor:
    """One daemon's life."""

    def __init__(self, run: Run, rasterizer: Rasterizer, engines: Engines) -> None:
        self._run = run
        self._rasterizer = rasterizer
        self._engines = engines
        self._last_orders = 0.0
        self._clock = SystemClock()
        self._signals = 0
        self._never = Event()
        self._warm: Warm | None = None
        self._notifier = Notifier()
        self._started_at = self._clock.now().timestamp()
        self._last_beat: tuple[float, dict[str, Any]] = (0.0, {})

    def run(self) -> ExitCode:
        """Work until told to stop, or with `once` until nothing is left to do."""
        run = self._run
        schema.prepare_folder(run.state)
        with _locked(run.state, run.roots), self._signals_caught():
            schema.upgrade(run.state)
            stores = build.open_stores(run.state)
            parts = build.build(
                run.settings, stores, self._rasterizer, self._engines, run.roots, once=run.once
            )
            try:
                return self._work(parts)
            finally:
                self._rasterizer.close()  # before the store: a call in hand gives its pages back
                stores.database.close()

    def _work(self, parts: build.Parts) -> ExitCode:
        announced = runtime.announce(self._run.state, os.environ)
        parts.worker.pause(paused=parts.stores.commands.fact(PAUSED) is not None)
        parts.stores.commands.prune_answered(older_than_s=ANSWERS_KEPT_S)
        self._warm = self._begin_server(parts)
        parts.worker.start()
        parts.receiver.start()
        log.info(
            "started",
            version=__version__,
            state=self._run.state,
            inboxes=[root.name for root in parts.receiver.roots],
        )
        self._notifier.send(ready=1)
        try:
            code = self._watch(parts)
        finally:
            self._notifier.send(stopping=1)
            parts.receiver.stop()
            if self._warm is not None:
                self._warm.turn_away()
            parts.worker.stop(self._run.settings.daemon.stop_timeout_s)
            if self._warm is not None:
                parts.engines.close_clients()
                self._warm.close()
            self._beat(parts, force=True)
            if announced is not None:
                files.remove_if_there(os.fsencode(announced))
        log.info("stopped", code=int(code))
        return code

    def _begin_server(self, parts: build.Parts) -> Warm | None:
        """Let the model server come up, if it is ours to start."""
        managed, settings = parts.engines.managed, self._run.settings.server
        if managed is None:
            return None
        from ocrd.daemon.warm import Warm

        managed.begin(parts.stores.servers, parts.stores.commands.instance())
        warm = Warm(
            managed.server, main=managed.main.model, stop_on_exit=settings.stop_on_exit, state=self._run.state
        )
        parts.orders.drive(warm)
        warm.tick()
        return warm

    def _watch(self, parts: build.Parts) -> ExitCode:
        tick_s = ONCE_TICK_S if self._run.once else TICK_S
        while not self._signals:
            dead = parts.worker.dead_thread or parts.receiver.dead_thread
            if dead is not None:
                log.error("thread_died", thread=dead)
                return ExitCode.FAILED
            self._carry_out_orders(parts)
            self._tend_server(parts)
            self._beat(parts)
            if self._run.progress is not None:
                self._run.progress(parts.stores)
            if self._run.once:
                code = self._once_over(parts)
                if code is not None:
                    return code
            if self._run.once and parts.worker.busy:
                parts.worker.wait_until_idle(tick_s)  # the end of the work is not slept over
            else:
                self._clock.wait(self._never, tick_s)
        return ExitCode.OK

    def _tend_server(self, parts: build.Parts) -> None:
        if self._warm is not None:
            self._warm.tick()
        if parts.worker.shifts is not None:
            parts.worker.shifts.tick()

    def _carry_out_orders(self, parts: build.Parts) -> None:
        now = self._clock.monotonic()
        if now - self._last_orders >= TICK_S:
            self._last_orders = now
            parts.orders.carry_out_waiting()

    def _once_over(self, parts: build.Parts) -> ExitCode | None:
        """Whether `--once` has nothing left to do, or cannot go on."""
        outage = parts.worker.outage
        if outage is not None and outage.strikes >= ONCE_OUTAGES:
            log.error("given_up", reason=outage.reason)
            return ExitCode.UNAVAILABLE
        if parts.receiver.quiet_scans < QUIET_SCANS or parts.worker.busy:
            return None
        if not parts.stores.documents.unfinished():
            return ExitCode.OK
        if parts.stores.commands.fact(PAUSED) is not None:
            log.error("given_up", reason="the queue is paused; go on with: ocrd resume")
            return ExitCode.TRY_AGAIN
        return None

    def _beat(self, parts: build.Parts, *, force: bool = False) -> None:
        """Say that the daemon lives and what it does, for `ocrd status` and for systemd."""
        now = self._clock.monotonic()
        at, last = self._last_beat
        if not force and now - at < HEARTBEAT_S / 5:
            return
        self._notifier.send(watchdog=1)
        facts = self._facts(parts)
        lasting = _without_counters(facts)
        if force or lasting != last or now - at >= HEARTBEAT_S:
            parts.stores.commands.set_fact("heartbeat", facts)
            self._last_beat = (now, lasting)

    def _facts(self, parts: build.Parts) -> dict[str, Any]:
        outage = parts.worker.outage
        return {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": self._started_at,
            "once": self._run.once,
            "inboxes": parts.receiver.facts(),
            "engine": {
                "kind": parts.engines.name,
                "slots": parts.engines.first.slots,
                "reading": min(parts.worker.reading, parts.engines.first.slots),
                "problem": "" if outage is None else outage.reason,
                "why": parts.engines.why,
            },
            "server": self._server_facts(parts),
            "vram": None if parts.engines.managed is None else parts.engines.managed.planner.memory(),
            "shifts": None if parts.worker.shifts is None else parts.worker.shifts.facts(),
        }

    def _server_facts(self, parts: build.Parts) -> dict[str, Any] | None:
        if parts.engines.server is None:
            return None
        return parts.engines.server.facts() | ({} if self._warm is None else self._warm.facts())

    # --- signals --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals_caught(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the form signal() asks for
        """First: finish what is in hand and end well. Second: end at once; the store survives that by design."""
        # Only a plain number is touched: setting an Event here could meet the lock of the very wait it interrupts.
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)


_COUNTERS = {"eta_s", "phases", "retry_in_s", "oldest_parked_s", "reason"}


def _without_counters(facts: dict[str, Any]) -> dict[str, Any]:
    """What is worth a write to the disk at once: not a time that runs."""
    plain = dict(facts)
    for part in ("server", "shifts"):
        if plain[part] is not None:
            plain[part] = {key: value for key, value in plain[part].items() if key not in _COUNTERS}
    return plain


@contextlib.contextmanager
def _locked(state: str, roots: Sequence[bytes]) -> Iterator[None]:
    """Hold the state folder and every inbox, so that no two daemons share one. Raises TryAgainLater."""
    with contextlib.ExitStack() as held:
        lock = files.try_lock(runtime.lock_path(state), patience_s=LOCK_PATIENCE_S)
        if lock is None:
            raise TryAgainLater(f"another ocrd works with {state}", hint="see: ocrd status")
        held.callback(os.close, lock)
        for root in roots:
            try:
                lock = files.try_lock_folder(root)
            except OSError as err:
                raise ConfigError(
                    f"the inbox {files.display_name(root)} cannot be opened: {err.strerror}",
                    hint="make the folder, or name another",
                ) from err
            if lock is None:
                raise TryAgainLater(
                    f"another ocrd watches {files.display_name(root)}", hint="see: ocrd status"
                )
            held.callback(os.close, lock)
        yield
