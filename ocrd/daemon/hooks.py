"""Hooks: a program of the user's is told of each document that has ended, one after the other, in a thread of its own.

It gets the document as JSON on standard input, and no shell. What it does wrong is told in the log and by
`ocrd status`, and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from threading import Condition, Event, Thread
from typing import Any

from ocrd.domain.errors import OcrdError, Stopped
from ocrd.domain.jobs import DocumentState
from ocrd.host import commands
from ocrd.settings import HookSettings
from ocrd.store import snapshot
from ocrd.telemetry.logs import get_logger

log = get_logger()

SCHEMA = "ocrd.hook/1"
_EVENTS = {
    DocumentState.DONE: "done",
    DocumentState.PARTIAL: "done",
    DocumentState.FAILED: "failed",
    DocumentState.REJECTED: "failed",
}
_JOIN_S = 10.0


class Hooks:
    """Runs until `stop`. Thread-safe."""

    def __init__(self, settings: HookSettings, state: str) -> None:
        self._programs: dict[str, Sequence[str]] = {"done": settings.on_done, "failed": settings.on_failed}
        self._timeout_s = settings.timeout_s
        self._state = state
        self._changed = Condition()
        self._waiting: list[int] = []
        self._running = False
        self._stop = Event()
        self._problems: dict[str, str] = {}
        self._thread = Thread(target=self._run, name="hooks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the program in hand; who waits is not told any more."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
            dropped = len(self._waiting)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        if dropped:
            log.warning("hooks_dropped", documents=dropped, reason="ocrd was stopped")

    def announce(self, document_id: int) -> None:
        """A document has ended; returns at once."""
        if any(self._programs.values()):
            with self._changed:
                self._waiting.append(document_id)
                self._changed.notify()

    @property
    def idle(self) -> bool:
        """Whether everybody was told; for `--once`."""
        with self._changed:
            return not (self._waiting or self._running) or not self._thread.is_alive()

    @property
    def problem(self) -> str:
        """What the last run of each program did wrong, in words; '' if they were well."""
        return "; ".join(dict(self._problems).values())

    @property
    def dead_thread(self) -> str | None:
        """The name of the thread if it ended although nobody stopped it."""
        return None if self._stop.is_set() or self._thread.is_alive() else self._thread.name

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = False
                self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
                if self._stop.is_set():
                    return
                document_id = self._waiting.pop(0)
                self._running = True
            try:
                self._tell(document_id)
            except OcrdError as err:  # the store cannot be read just now
                self._note_problem(document_id, "hook", str(err))
            except Exception as err:  # whatever is wrong with a program is no reason to read no more
                log.exception("hook_broke", document=document_id)
                self._note_problem(document_id, "hook", f"{type(err).__name__}: {err}")

    def _tell(self, document_id: int) -> None:
        document = self._describe(document_id)
        program = self._programs[document["event"]] if document else ()
        if not program:
            return
        name = f"on_{document['event']}"
        try:
            done = commands.run_alone(
                program, timeout_s=self._timeout_s, stdin=json.dumps(document) + "\n", stop=self._stop
            )
        except commands.CommandMissing:
            self._note_problem(document_id, name, f"{program[0]} is not there, or is no program")
        except (commands.CommandTimeout, Stopped) as err:
            self._note_problem(document_id, name, str(err))
        else:
            if done.code == 0:
                self._problems.pop(name, None)
                log.info("hook_ran", document=document_id, hook=name)
            else:
                said = f": {done.err.strip()[-200:]}" if done.err.strip() else ""
                reason = f"{program[0]} ended with {commands.describe_exit(done.code)}{said}"
                self._note_problem(document_id, name, reason)

    def _describe(self, document_id: int) -> dict[str, Any]:
        """The document as the hook gets it; empty if it is at work again, or was cancelled."""
        with snapshot.opened(self._state) as store:
            job = None if store is None else snapshot.job(store, document_id)
            if store is None or job is None or DocumentState(job["state"]) not in _EVENTS:
                return {}
            event = _EVENTS[DocumentState(job["state"])]
            return {"schema": SCHEMA, "event": event, **job, "outputs": snapshot.outputs(store, document_id)}

    def _note_problem(self, document_id: int, name: str, reason: str) -> None:
        log.warning("hook_failed", document=document_id, hook=name, reason=reason)
        self._problems[name] = f"[hooks] {name}, document {document_id}: {reason}"
