"""The supervisor: takes the locks, starts the threads, watches over them, and ends them in order.

It owns the main thread: signals, commands from the store, the heartbeat, systemd's watchdog. A thread that dies
ends the daemon with an error, so that whoever runs it starts it anew; one bad file never gets so far.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from ocrd import __version__
from ocrd.daemon import build, reloading
from ocrd.daemon.engines import Engines
from ocrd.daemon.herald import Herald
from ocrd.daemon.orders import PAUSED
from ocrd.daemon.space import LOOK_S, Space
from ocrd.domain.errors import ConfigError, ExitCode, OcrdError, StoreFull, TryAgainLater
from ocrd.host import files, runtime
from ocrd.host.clock import SleepWatch, SystemClock
from ocrd.host.notify import Notifier
from ocrd.pipeline.inbox import folder_at
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.settings import Settings
from ocrd.store import schema
from ocrd.telemetry.logs import get_logger

if TYPE_CHECKING:  # only with a model server of our own
    from ocrd.daemon.warm import Warm
    from ocrd.telemetry.metrics import Metrics

log = get_logger()

TICK_S = 0.5
ONCE_TICK_S = 0.05
BAR_TICK_S = 0.2
LOCK_PATIENCE_S = 1.0
UPGRADE_S = 1800.0
"""For a big store to be copied and brought up to date, before systemd loses its patience."""
ENDING_S = 60.0
"""For threads, children and the container's stop, beside the pages in hand."""
INDEX_S = 0.04
"""Of each half second, for the index of `ocrd search`, until all new pages are in it: some 50 a second."""
INDEX_EVERY_S = 5.0
"""Then new ones are let gather: a page by itself costs a dozen times its share of a batch, and a search puts in what is
lacking before it looks."""
INDEX_REST_S = 60.0
"""After a failure: text that cannot be searched is no reason to stop reading."""
DAY_S = 86400.0
ANSWERS_KEPT_S = 7 * DAY_S
QUIET_SCANS = 2
"""`--once` ends after so many scans in a row that found nothing new."""
ONCE_OUTAGES = 3
"""`--once` gives up after so many failures of the engine in a row; the daemon waits for ever."""
ONCE_PATIENCE_S = 10.0
"""And after so long on a full disk."""

Progress = Callable[[build.Stores], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run is about."""

    settings: Settings
    state: str
    roots: tuple[bytes, ...]
    once: bool
    private: bool = False
    """Not to be found by other commands: its store is nobody's job store."""
    progress: Progress | None = None
    notifier: Notifier = field(default_factory=Notifier)
    reread: Callable[[], Settings] | None = None
    """Reads the settings again, in the way they were read first. Raises ConfigError."""
    configure_logs: Callable[[Settings], None] | None = None


class Supervisor:
    """One daemon's life."""

    def __init__(self, run: Run, rasterizer: Rasterizer, engines: Engines) -> None:
        self._run = run
        self._settings = run.settings
        self._on_disk = run.settings
        self._rasterizer = rasterizer
        self._engines = engines
        self._last_orders = 0.0
        self._next_indexing = 0.0
        self._tidied_at = float("-inf")
        self._clock = SystemClock()
        self._caught: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()
        self._sleeps = SleepWatch()
        self._never = Event()
        self._warm: Warm | None = None
        self._notifier = run.notifier
        self._herald = Herald(run.notifier, self._clock, once=run.once)
        self._space = Space(
            run.state,
            reserve_mib=run.settings.limits.min_free_mib,
            patience_s=ONCE_PATIENCE_S if run.once else float("inf"),
            clock=self._clock,
            while_waiting=self._wait_for_space,
        )

    def run(self) -> ExitCode:
        """Work until told to stop, or with `once` until nothing is left to do."""
        run = self._run
        schema.prepare_folder(run.state)
        with _locked(run.state, run.roots) as locks, self._signals_caught():
            self._await_room()
            self._notifier.takes_longer(UPGRADE_S)
            schema.upgrade(run.state)
            stores = build.open_stores(run.state, waiter=self._space)
            with contextlib.ExitStack() as closing:
                closing.callback(stores.database.close)
                closing.callback(
                    self._rasterizer.close
                )  # before the store: a call in hand gives its pages back
                metrics = self._herald.metrics = _open_metrics(run.settings)
                if metrics is not None:
                    closing.callback(metrics.close)
                parts = build.build(
                    run.settings,
                    stores,
                    self._rasterizer,
                    self._engines,
                    run.roots,
                    once=run.once,
                    locks=locks,
                    on_page=None if metrics is None else metrics.page,
                )
                return self._work(parts)

    def _await_room(self) -> None:
        """A start on a full disk waits for room instead of failing again and again. Raises StoreFull with `--once`."""
        while problem := self._space.look():
            if self._run.once:
                raise StoreFull(problem, hint="free some space, or lower [limits] min_free_mib")
            if not self._wait_for_space(problem):
                raise TryAgainLater(problem, hint="free some space")
            self._notifier.takes_longer(2 * LOOK_S + ENDING_S)
            self._clock.wait(self._never, LOOK_S)

    def _wait_for_space(self, problem: str) -> bool:
        """The main thread waits for space, and still says that it lives."""
        self._notifier.status(f"waiting: {problem}")
        self._notifier.alive()
        return not self._told_to_stop

    def _work(self, parts: build.Parts) -> ExitCode:
        announced = None if self._run.private else runtime.announce(self._run.state, os.environ)
        parts.worker.pause(paused=parts.stores.commands.fact(PAUSED) is not None)
        self._warm = self._herald.warm = self._begin_server(parts)
        parts.worker.start()
        parts.hooks.start()
        parts.mover.start()
        parts.receiver.start()
        log.info(
            "started",
            version=__version__,
            state=self._run.state,
            inboxes=[root.name for root in parts.receiver.roots],
        )
        self._notifier.ready("started")
        try:
            code = self._watch(parts)
        finally:
            self._end(parts)
            if announced is not None:
                files.remove_if_there(os.fsencode(announced))
        log.info("stopped", code=int(code))
        return code

    def _end(self, parts: build.Parts) -> None:
        """Finish or give back what is in hand, and say so while it lasts."""
        drain_s = self._settings.daemon.stop_timeout_s
        self._notifier.stopping("stopping: the pages in hand are finished or given back")
        self._notifier.takes_longer(drain_s + ENDING_S)
        self._space.close()
        parts.receiver.stop()
        if self._warm is not None:
            self._warm.turn_away()
        parts.worker.stop(drain_s)
        if self._warm is not None:
            parts.engines.close_clients()
            self._warm.close()
        parts.mover.stop()
        parts.pruner.stop()
        parts.hooks.stop()
        with contextlib.suppress(StoreFull):
            self._herald.tell(parts, force=True)

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
        while not self._told_to_stop:
            dead = parts.dead_thread
            if dead is not None:
                log.error("thread_died", thread=dead)
                return ExitCode.FAILED
            self._heed_signals(parts)
            self._tidy_up(parts)
            parts.worker.starve(self._space.look())
            self._carry_out_orders(parts)
            self._wake_up(parts)
            self._tend_server(parts)
            self._tend_index(parts)
            self._herald.tell(parts)
            if self._run.progress is not None:
                self._run.progress(parts.stores)
            if self._run.once:
                code = self._once_over(parts)
                if code is not None:
                    return code
            if self._run.once and parts.worker.busy:
                parts.worker.wait_until_idle(self._busy_tick_s)  # the end of the work is not slept over
            else:
                self._clock.wait(self._never, ONCE_TICK_S if self._run.once else TICK_S)
        return ExitCode.OK

    @property
    def _busy_tick_s(self) -> float:
        """A bar moves five times a second; nobody waits for anything else."""
        return TICK_S if self._run.progress is None else BAR_TICK_S

    def _tend_server(self, parts: build.Parts) -> None:
        if self._warm is not None:
            self._warm.tick()
        if parts.worker.shifts is not None:
            parts.worker.shifts.tick()

    def _tend_index(self, parts: build.Parts) -> None:
        now = self._clock.monotonic()
        if now < self._next_indexing or self._space.look():
            return
        try:
            caught_up = parts.stores.indexer.catch_up(INDEX_S)
        except (OcrdError, OSError) as err:
            self._next_indexing = now + INDEX_REST_S
            log.warning("index_not_written", reason=str(err), next=getattr(err, "hint", None))
        else:
            self._next_indexing = now + (INDEX_EVERY_S if caught_up else TICK_S)

    def _tidy_up(self, parts: build.Parts) -> None:
        """Once a day, and at the start, forget what nobody asks for any more."""
        now = self._clock.monotonic()
        if now - self._tidied_at >= DAY_S:
            self._tidied_at = now
            parts.stores.commands.prune_answered(older_than_s=ANSWERS_KEPT_S)
            parts.pruner.begin()

    def _wake_up(self, parts: build.Parts) -> None:
        """After a sleep of the machine nothing is where it was: mounts, the container, the GPU."""
        asleep_s = self._sleeps.slept_s()
        if asleep_s and not self._run.once:
            log.info("woken", asleep_s=round(asleep_s))
            parts.receiver.look_now()
            if self._warm is not None:
                self._warm.wake_up()

    def _carry_out_orders(self, parts: build.Parts) -> None:
        now = self._clock.monotonic()
        if now - self._last_orders >= TICK_S:
            self._last_orders = now
            if parts.stores.commands.may_be_waiting():
                parts.orders.carry_out_waiting()

    def _once_over(self, parts: build.Parts) -> ExitCode | None:
        """Whether `--once` has nothing left to do, or cannot go on."""
        outage = parts.worker.outage
        if outage is not None and outage.strikes >= ONCE_OUTAGES:
            log.error("given_up", reason=outage.reason)
            return ExitCode.UNAVAILABLE
        short = self._space.look()
        if short and not parts.worker.busy:
            log.error("given_up", reason=short)
            return ExitCode.UNAVAILABLE
        if parts.receiver.quiet_scans < QUIET_SCANS or parts.worker.busy:
            return None
        if not parts.stores.documents.unfinished():
            return ExitCode.OK if parts.mover.idle and parts.hooks.idle else None
        if parts.stores.commands.fact(PAUSED) is not None:
            log.error("given_up", reason="the queue is paused; go on with: ocrd resume")
            return ExitCode.TRY_AGAIN
        return None

    # --- signals --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals_caught(self) -> Iterator[None]:
        handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._on_signal)
        if not self._run.once:  # there, they do what they always do
            handlers |= dict.fromkeys((signal.SIGHUP, signal.SIGUSR1), self._on_signal)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the form signal() asks for
        """SIGTERM and SIGINT, first: finish what is in hand and end well. Second: end at once; the store survives
        that by design. SIGHUP: read the settings again. SIGUSR1: a snapshot into the log."""
        # Only plain numbers are touched: setting an Event here could meet the lock of the very wait it interrupts.
        self._caught[number] += 1
        if self._caught[signal.SIGTERM] + self._caught[signal.SIGINT] > 1:
            os._exit(128 + number)

    @property
    def _told_to_stop(self) -> bool:
        return self._caught[signal.SIGTERM] + self._caught[signal.SIGINT] > 0

    def _heed_signals(self, parts: build.Parts) -> None:
        if self._is_new(signal.SIGHUP):
            self._reload(parts)
        if self._is_new(signal.SIGUSR1):
            self._herald.snapshot(parts)

    def _is_new(self, number: int) -> bool:
        caught = self._caught[number]
        seen, self._answered[number] = self._answered[number], caught
        return caught > seen

    def _reload(self, parts: build.Parts) -> None:
        """Read the settings again. Wrong ones are refused, and the old ones stay."""
        self._notifier.reloading()
        try:
            assert self._run.reread is not None, "SIGHUP is caught only where the settings can be read again"
            new = self._run.reread()
            build.check_outputs(new)
        except OcrdError as err:
            log.warning("settings_refused", reason=str(err), next=err.hint)
        else:
            self._take_settings(parts, new)
        self._notifier.ready("the settings were read again")

    def _take_settings(self, parts: build.Parts, new: Settings) -> None:
        changed = reloading.changes(self._on_disk, new)
        self._on_disk = new
        self._settings = reloading.with_changes_at_once(self._settings, new)
        if self._run.configure_logs is not None:
            self._run.configure_logs(self._settings)
        parts.reconfigure(self._settings)
        self._herald.restart_for = tuple(
            one.name for one in reloading.changes(self._settings, new) if not one.at_once
        )
        log.info(
            "settings_reloaded",
            changed=[str(one) for one in changed],
            needs_restart=list(self._herald.restart_for) or None,
        )


def _open_metrics(settings: Settings) -> Metrics | None:
    """The figures for Prometheus, if they are wanted: their import is not every run's burden."""
    if not (settings.metrics.listen or settings.metrics.textfile):
        return None
    from ocrd.telemetry.metrics import open_metrics

    return open_metrics(settings.metrics)


@contextlib.contextmanager
def _locked(state: str, roots: Sequence[bytes]) -> Iterator[files.FolderLocks]:
    """Hold the state folder and every inbox, so that no two daemons share one. Raises TryAgainLater.

    An inbox that is not there, a drive to be plugged in, is locked by the receiver when it comes.
    """
    with contextlib.ExitStack() as held:
        lock = files.try_lock(runtime.lock_path(state), patience_s=LOCK_PATIENCE_S)
        if lock is None:
            raise TryAgainLater(f"another ocrd works with {state}", hint="see: ocrd status")
        held.callback(os.close, lock)
        locks = held.enter_context(contextlib.closing(files.FolderLocks()))
        for root in roots:
            try:
                ours = folder_at(root) is None or locks.take(root)
            except OSError as err:
                raise ConfigError(
                    f"the inbox {files.display_name(root)} cannot be opened: {err.strerror}",
                    hint="make the folder, or name another",
                ) from err
            if not ours:
                raise TryAgainLater(
                    f"another ocrd watches {files.display_name(root)}", hint="see: ocrd status"
                )
        yield locks
