"""`ocrd status`: is the daemon alive, what does it do, how far is it, what went wrong. Answers at once."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from ocrd.cli import problems
from ocrd.cli.common import Subparsers, add_command, cleaned, find_state, in_words, print_json
from ocrd.domain.errors import ExitCode, hint_of
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.host import files, runtime
from ocrd.store import snapshot

SCHEMA = "ocrd.status/1"
_ERRORS_SHOWN = 5
_DOUBTFUL = (Verdict.SUSPECT, Verdict.TRUNCATED, Verdict.LOOP)
"""Verdicts of pages whose text is written all the same."""
_LOW_SPACE_MIB = 256
_NO_SERVER = {"state": "absent", "phase": None, "eta_s": None, "model": None}
_NO_VRAM = {"used_mib": None, "free_mib": None, "budget_mib": None}


_MORE = """\
It answers at once, whether the daemon runs or not. Exit code 0 also when it
does not: `daemon.alive` of --json says. `ocrd jobs` lists the documents.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "status", "show what the daemon does and how far it is", handle, has_json=True, more=_MORE
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=1.0,
        metavar="SECONDS",
        help="keep showing it, until Ctrl-C: a live screen on a terminal, elsewhere a line (with --json an object) every "
        "so many seconds (default 1)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86_400:
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds (at least 0.1)"  # argparse says it of a wrong one


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    state = find_state(arguments)
    if arguments.watch is not None:
        from ocrd.cli import watch

        return watch.watch(lambda: read(state), every_s=arguments.watch, as_json=arguments.json)
    status = read(state)
    if arguments.json:
        print_json(status)
    else:
        print("\n".join(to_lines(status)))
    return ExitCode.OK


def read(state: str) -> dict[str, Any]:
    """The status as it is documented in docs/json.md."""
    now = time.time()
    alive = files.is_locked(runtime.lock_path(state))
    with snapshot.opened(state) as connection:
        if connection is None:
            return _empty(state, alive=alive)
        counts = snapshot.counts(connection)
        heartbeat, beat_at = snapshot.fact(connection, "heartbeat") or ({}, None)
        paused = snapshot.fact(connection, "paused")
        rate = snapshot.pages_per_minute(connection, now)
        oldest = snapshot.oldest_queued(connection)
        errors = snapshot.last_errors(connection, _ERRORS_SHOWN)
    return {
        **_empty(state, alive=alive),
        "daemon": _daemon(heartbeat, beat_at, alive=alive, now=now),
        "paused": paused is not None,
        "documents": {one.value: counts["document"].get(one, 0) for one in DocumentState},
        "pages": {one.value: counts["page"].get(one, 0) for one in PageState},
        "suspect": sum(counts["verdict"].get(verdict, 0) for verdict in _DOUBTFUL),
        "oldest_queued_s": None if oldest is None else round(now - oldest, 1),
        "pages_per_min": round(rate, 1),
        "eta_s": _eta_s(counts["page"], rate),
        "engine": heartbeat.get("engine") if alive else None,
        "server": (heartbeat.get("server") if alive else None) or _NO_SERVER,
        "shifts": heartbeat.get("shifts") if alive else None,
        "vram": (heartbeat.get("vram") if alive else None) or _NO_VRAM,
        "errors": [
            {key: error[key] for key in ("id", "path", "state", "reason_code", "reason", "finished_at")}
            | {"hint": hint_of(error["reason_code"])}
            for error in errors
        ],
    }


def _empty(state: str, *, alive: bool) -> dict[str, Any]:
    """The status of a store without anything in it; `server` and `vram` are there for the engine on a GPU."""
    return {
        "schema": SCHEMA,
        "state": state,
        "free_mib": files.free_mib(state),
        "daemon": {"alive": alive, "pid": None, "inboxes": []},
        "paused": False,
        "documents": {one.value: 0 for one in DocumentState},
        "pages": {one.value: 0 for one in PageState},
        "suspect": 0,
        "oldest_queued_s": None,
        "pages_per_min": 0.0,
        "eta_s": None,
        "engine": None,
        "server": _NO_SERVER,
        "shifts": None,
        "vram": _NO_VRAM,
        "errors": [],
    }


def _daemon(heartbeat: dict[str, Any], beat_at: float | None, *, alive: bool, now: float) -> dict[str, Any]:
    if not alive:
        ended: dict[str, Any] = {"alive": False, "pid": None, "inboxes": [], "last_seen": beat_at}
        return ended | problems.of(heartbeat)
    return {
        "alive": True,
        "pid": heartbeat.get("pid"),
        "version": heartbeat.get("version"),
        "since_s": round(now - heartbeat["started_at"], 1) if "started_at" in heartbeat else None,
        "heartbeat_age_s": None if beat_at is None else round(now - beat_at, 1),
        "inboxes": heartbeat.get("inboxes", []),
        "restart_for": heartbeat.get("restart_for", []),
        **problems.of(heartbeat),
    }


def _eta_s(pages: dict[str, int], rate: float) -> int | None:
    """Seconds until the known pages are read at the present rate; None where that cannot be said."""
    left = sum(pages.get(one, 0) for one in (PageState.PENDING, PageState.RUNNING, PageState.PARKED))
    if not left:
        return 0
    return round(left / rate * 60) if rate > 0 else None


def to_lines(status: dict[str, Any]) -> Iterator[str]:
    """The status for people."""
    status = cleaned(status)
    yield _daemon_line(status)
    yield f"store      {_store_line(status)}"
    if status["daemon"].get("restart_for"):
        changed = ", ".join(status["daemon"]["restart_for"])
        yield f"settings   changed, and count after a restart: {changed}"
    for inbox in status["daemon"]["inboxes"]:
        yield f"inbox      {_inbox_line(inbox)}"
    yield from problems.to_lines(status["daemon"])
    if status["engine"]:
        yield f"engine     {_engine_line(status['engine'])}"
    yield from _model_lines(status)
    yield f"documents  {_counts_line(status['documents'])}"
    if status["oldest_queued_s"] is not None:
        yield f"           the oldest waits since {in_words(status['oldest_queued_s'])}"
    suspect = f" · suspect {status['suspect']}" if status["suspect"] else ""
    yield f"pages      {_counts_line(status['pages'])}{suspect}"
    yield f"speed      {_speed_line(status)}"
    if status["errors"]:
        yield "last errors"
        for error in status["errors"]:
            yield f"  {error['path']}: {error['state']} ({error['reason_code']})"
            yield f"      {error['reason']}"
            if error["hint"]:
                yield f"      → {error['hint']}"


def _model_lines(status: dict[str, Any]) -> Iterator[str]:
    server, shifts = status["server"], status["shifts"]
    if server.get("off"):
        yield "server     OFF (start it with: ocrd models start)"
    elif server["state"] != "absent" or server.get("wanted"):
        yield f"server     {_server_line(server)}"
        if server.get("hint"):
            yield f"           → {server['hint']}"
    if shifts and (shifts["parked"] or shifts["side"] != "main"):
        yield f"fallback   {_shifts_line(shifts)}"
    if status["vram"]["free_mib"] is not None:
        yield f"vram       {_vram_line(status['vram'])}"


def to_line(status: dict[str, Any]) -> str:
    """The status in one line: alive, documents, pages, speed."""
    daemon = "running" if status["daemon"]["alive"] else "not running"
    paused = ", paused" if status["paused"] else ""
    return (
        f"daemon {daemon}{paused} · documents: {_counts_line(status['documents'])} · "
        f"pages: {_counts_line(status['pages'])} · {_speed_line(status)}"
    )


def _daemon_line(status: dict[str, Any]) -> str:
    daemon = status["daemon"]
    paused = " · PAUSED (go on with: ocrd resume)" if status["paused"] else ""
    if not daemon["alive"]:
        return f"daemon     not running (start it with: ocrd run){paused}"
    since = "" if daemon.get("since_s") is None else f", since {in_words(daemon['since_s'])}"
    late = (daemon.get("heartbeat_age_s") or 0) > 60
    stuck = f" · NO SIGN OF LIFE for {in_words(daemon['heartbeat_age_s'])}" if late else ""
    return f"daemon     running (pid {daemon['pid']}{since}){paused}{stuck}"


def _store_line(status: dict[str, Any]) -> str:
    free_mib = status["free_mib"]
    low = free_mib is not None and free_mib < _LOW_SPACE_MIB
    return f"{status['state']}" + (f" · ONLY {free_mib} MiB FREE" if low else "")


def _inbox_line(inbox: dict[str, Any]) -> str:
    parts = [inbox["mode"]]
    if inbox.get("missing"):
        parts = ["MISSING: the folder cannot be read"]
    if inbox.get("last_scan"):
        parts.append(f"last scan {in_words(max(time.time() - inbox['last_scan'], 0))} ago")
    if inbox.get("waiting"):
        parts.append(f"{inbox['waiting']} not complete yet")
    if inbox.get("skipped"):
        skipped = ", ".join(f"{number} {why}" for why, number in sorted(inbox["skipped"].items()))
        parts.append(f"passed over: {skipped}")
    return f"{inbox['path']} ({'; '.join(parts)})"


def _engine_line(engine: dict[str, Any]) -> str:
    line = f"{engine['kind']}, reads {engine['reading']} of at most {engine['slots']} pages at a time"
    if engine.get("why"):
        line += f" ({engine['why']})"
    return f"{line} · RESTS: {engine['problem']}" if engine["problem"] else line


def _server_line(server: dict[str, Any]) -> str:
    parts = [server["state"]]
    if server.get("phase"):
        parts[0] += f" ({server['phase']})"
    if server.get("eta_s") is not None:
        parts.append(f"about {in_words(server['eta_s'])} left")
    if server.get("retry_in_s") is not None:
        parts.append(f"tried again in {in_words(server['retry_in_s'])}")
    if server["model"]:
        parts.append(server["model"])
    if server.get("context"):
        parts.append(f"context {server['context']}")
    if server.get("version"):
        parts.append(f"vLLM {server['version']}")
    parts.append(server.get("url") or "")
    problem = server.get("problem", "")
    return ", ".join(part for part in parts if part) + (f" · {problem}" if problem else "")


def _shifts_line(shifts: dict[str, Any]) -> str:
    if shifts["swapping"]:
        state = "the models are being exchanged"
    elif shifts["side"] == "fallback":
        state = "has its turn"
    else:
        state = "waits for its turn"
    return f"{state}: {shifts['reason'] or str(shifts['parked']) + ' parked'}"


def _vram_line(vram: dict[str, Any]) -> str:
    budget = f", budget {vram['budget_mib']} MiB" if vram["budget_mib"] else ""
    return f"{vram['used_mib']} MiB used, {vram['free_mib']} MiB free{budget}"


def _counts_line(counts: dict[str, int]) -> str:
    shown = [f"{state} {number}" for state, number in counts.items() if number]
    return " · ".join(shown) or "none"


def _speed_line(status: dict[str, Any]) -> str:
    rate = f"{status['pages_per_min']:g} pages/min"
    if status["eta_s"] == 0:
        return f"{rate}, nothing left to do"
    return f"{rate}, about {in_words(status['eta_s'])} left" if status["eta_s"] else rate
