"""The herald: says how the daemon is, to `ocrd status` through the store, to systemd, to metrics and to the log."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ocrd import __version__
from ocrd.daemon.orders import PAUSED
from ocrd.domain.jobs import DocumentState, PageState
from ocrd.domain.ports import Clock
from ocrd.host.notify import Notifier
from ocrd.telemetry.logs import get_logger

if TYPE_CHECKING:
    from ocrd.daemon.build import Parts
    from ocrd.daemon.warm import Warm
    from ocrd.telemetry.metrics import Metrics

log = get_logger()

HEARTBEAT_S = 15.0
LOOK_S = 1.0
"""How often it is looked whether there is anything new to say."""

Counts = Mapping[str, Mapping[str, int]]


class Herald:
    """Used by the supervisor's thread alone."""

    def __init__(self, notifier: Notifier, clock: Clock, *, once: bool) -> None:
        self._notifier = notifier
        self._clock = clock
        self._once = once
        self._started_at = clock.now().timestamp()
        self._looked_at = float("-inf")
        self._told: tuple[float, dict[str, Any]] = (float("-inf"), {})
        self._counts: Counts = {}
        self._broken: tuple[str, ...] = ()
        self.warm: Warm | None = None
        self.metrics: Metrics | None = None
        self.restart_for: tuple[str, ...] = ()
        """Settings that were changed and count only after a restart."""

    def tell(self, parts: Parts, *, force: bool = False) -> None:
        """Say what is new, at most once a second."""
        now = self._clock.monotonic()
        if not force and now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        self._tell_watchdog(parts)
        facts = self.facts(parts)
        at, last = self._told
        lasting = _without_counters(facts)
        due = force or now - at >= HEARTBEAT_S
        if due or lasting != last:
            parts.stores.commands.set_fact("heartbeat", facts)
            self._told = (now, lasting)
        if due or parts.worker.busy:
            self._counts = parts.stores.documents.counts()
        self._notifier.status(status_line(facts, self._counts, paused=parts.worker.paused))
        if self.metrics is not None:
            self.metrics.update(facts, self._counts)

    def _tell_watchdog(self, parts: Parts) -> None:
        """systemd hears of life only while everybody keeps to what they promised."""
        broken = parts.engines.promises.broken()
        if broken and broken != self._broken:
            log.error("work_hangs", what=list(broken), next="without a sign of life systemd starts ocrd anew")
        self._broken = broken
        if not broken:
            self._notifier.alive()

    def snapshot(self, parts: Parts) -> None:
        """Everything that is known, into the log."""
        counts = parts.stores.documents.counts()
        log.info(
            "snapshot",
            **self.facts(parts),
            documents=counts["document"],
            pages=counts["page"],
            paused=parts.stores.commands.fact(PAUSED) is not None,
            promises_broken=list(parts.engines.promises.broken()),
            threads=_threads(),
        )

    def facts(self, parts: Parts) -> dict[str, Any]:
        """What `ocrd status` shows of the daemon, as plain data."""
        managed = parts.engines.managed
        return {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": self._started_at,
            "once": self._once,
            "restart_for": list(self.restart_for),
            "inboxes": parts.receiver.facts(),
            "folder_problems": parts.folders.problems,
            "hook_problem": parts.hooks.problem,
            "move_problem": parts.mover.problem,
            "engine": {
                "kind": parts.engines.name,
                "slots": parts.engines.first.slots,
                "reading": min(parts.worker.reading, parts.engines.first.slots),
                "problem": parts.worker.problem,
                "why": parts.engines.why,
            },
            "server": self._server_facts(parts),
            "vram": None if managed is None else managed.planner.memory(),
            "shifts": None if parts.worker.shifts is None else parts.worker.shifts.facts(),
        }

    def _server_facts(self, parts: Parts) -> dict[str, Any] | None:
        if parts.engines.server is None:
            return None
        return parts.engines.server.facts() | ({} if self.warm is None else self.warm.facts())


_COUNTERS = {"eta_s", "phases", "retry_in_s", "oldest_parked_s", "reason"}


def _without_counters(facts: dict[str, Any]) -> dict[str, Any]:
    """What is worth a write to the disk at once: not a time that runs."""
    plain = dict(facts)
    for part in ("server", "shifts"):
        if plain[part] is not None:
            plain[part] = {key: value for key, value in plain[part].items() if key not in _COUNTERS}
    return plain


def status_line(facts: Mapping[str, Any], counts: Counts, *, paused: bool) -> str:
    """The daemon in one line, for `systemctl status`."""
    documents, pages = counts.get("document", {}), counts.get("page", {})
    queued, running = documents.get(DocumentState.QUEUED, 0), documents.get(DocumentState.RUNNING, 0)
    parts = []
    if paused:
        parts.append("paused")
    elif facts["engine"]["problem"]:
        parts.append(f"waiting: {facts['engine']['problem']}")
    elif not queued and not running:
        parts.append("idle")
    if queued or running:
        left = sum(pages.get(state, 0) for state in (PageState.PENDING, PageState.RUNNING, PageState.PARKED))
        parts.append(f"{running} running, {queued} queued, {left} pages left")
    parts.append(f"{documents.get(DocumentState.DONE, 0)} documents done")
    unwell = sum(
        documents.get(one, 0) for one in (DocumentState.FAILED, DocumentState.PARTIAL, DocumentState.REJECTED)
    )
    if unwell:
        parts.append(f"{unwell} not done")
    server = facts["server"]
    if server is not None and server.get("state", "absent") != "absent":
        phase = f" ({server['phase']})" if server.get("phase") else ""
        parts.append(f"model server {server['state']}{phase}")
    missing = sum(1 for inbox in facts["inboxes"] if inbox["missing"])
    if missing:
        parts.append("an inbox is missing" if missing == 1 else f"{missing} inboxes are missing")
    return "; ".join(parts)


_STANDARD_LIBRARY = os.path.dirname(threading.__file__)


def _threads() -> dict[str, str]:
    """Where each thread is: its innermost line that is not the standard library's."""
    frames = sys._current_frames()  # noqa: SLF001  # the documented way, with a name that says it is CPython's
    found = {}
    for thread in threading.enumerate():
        stack = traceback.extract_stack(frames.get(thread.ident or 0))
        ours = [line for line in stack if os.path.dirname(line.filename) != _STANDARD_LIBRARY] or stack
        found[thread.name] = f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno} {ours[-1].name}"
    return found
