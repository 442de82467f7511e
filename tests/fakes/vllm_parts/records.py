"""What was asked and what became of it: for `/fake/stats` and `/metrics`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from .requests import Asked
from .scheduler import Capacity, Engine

FINISHES = ("stop", "length", "abort", "error", "repetition")
_COMPLETE = frozenset({"stop", "length", "repetition"})


class Records:
    """Every request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[dict[str, Any]] = []
        self._began = time.time()

    def begin(self, asked: Asked | None) -> dict[str, Any]:
        """A row for a request; it is `running` until `end`."""
        row: dict[str, Any] = {"at": time.time(), "page": None, "finish": "running", "completion_tokens": 0}
        if asked is not None:
            seen = asked.seen
            row |= {
                "page": seen.page if seen else None,
                "lines": sorted(seen.lines) if seen else [],
                "crop": bool(seen and seen.is_crop),
                "rotation": seen.rotation if seen else 0,
                "mode": asked.mode,
                "image": asked.sent,
                "prompt_tokens": asked.prompt_tokens,
                "limit": asked.limit,
                **asked.told,
            }
        with self._lock:
            self._rows.append(row)
        return row

    def end(self, row: dict[str, Any], finish: str, tokens: int = 0) -> None:
        """What became of it; `aborted` if the client went away."""
        with self._lock:
            row |= {"finish": finish, "completion_tokens": tokens, "seconds": time.time() - row["at"]}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rows.clear()

    def stats(self, engine: Engine) -> dict[str, Any]:
        """All of it as JSON; pages are strings there, `none` for an image without a mark."""
        with self._lock:
            rows = [dict(row) for row in self._rows]
        by_page = Counter("none" if row["page"] is None else str(row["page"]) for row in rows)
        return {
            "requests": len(rows),
            "by_page": dict(by_page),
            "by_finish": dict(Counter(row["finish"] for row in rows)),
            "aborts": sum(row["finish"] == "aborted" for row in rows),
            "running": len(engine.running),
            "waiting": len(engine.waiting),
            "most_running": engine.most_running,
            "busy_s": engine.busy_s,
            "seat_s": engine.seat_s,
            "capacity": {**asdict(engine.capacity), "pages_per_min": _most(rows, engine.capacity)},
            "list": rows,
        }

    def metrics(self, engine: Engine, model: str) -> str:
        """The figures of vLLM that a client may look at, in Prometheus' format."""
        with self._lock:
            rows = list(self._rows)
        label = f'engine="0",model_name="{model}"'
        done = [row for row in rows if row["finish"] in FINISHES]
        finishes = Counter(row["finish"] for row in done)
        values = [
            ("gauge", "vllm:num_requests_running", label, len(engine.running)),
            ("gauge", "vllm:num_requests_waiting", label, len(engine.waiting)),
            ("gauge", "vllm:kv_cache_usage_perc", label, len(engine.running) / engine.capacity.seats),
            ("counter", "vllm:prompt_tokens_total", label, sum(row.get("prompt_tokens", 0) for row in done)),
            ("counter", "vllm:generation_tokens_total", label, sum(row["completion_tokens"] for row in done)),
            ("gauge", "process_start_time_seconds", "", self._began),
        ]
        reasons = [f'{label},finished_reason="{reason}"' for reason in FINISHES]
        name = "vllm:request_success_total"
        values += [
            ("counter", name, reason, finishes[finish])
            for reason, finish in zip(reasons, FINISHES, strict=True)
        ]
        lines: list[str] = []
        for kind, metric, labels, value in values:
            if f"# TYPE {metric} {kind}" not in lines:
                lines.append(f"# TYPE {metric} {kind}")
            lines.append(f"{metric}{{{labels}}} {float(value)}" if labels else f"{metric} {float(value)}")
        seconds = [row["seconds"] for row in done]
        histogram = "vllm:e2e_request_latency_seconds"
        lines += [
            f"# TYPE {histogram} histogram",
            f'{histogram}_bucket{{{label},le="+Inf"}} {float(len(done))}',
            f"{histogram}_count{{{label}}} {float(len(done))}",
            f"{histogram}_sum{{{label}}} {sum(seconds)}",
        ]
        return "\n".join(lines) + "\n"


def _most(rows: list[dict[str, Any]], capacity: Capacity) -> float | None:
    """Pages a minute like those that were answered, with all seats taken all the time; None if there were none."""
    done = [row for row in rows if row["finish"] in _COMPLETE]
    seconds = sum(capacity.service_s(row["prompt_tokens"], row["completion_tokens"]) for row in done)
    return 60 * capacity.seats * len(done) / seconds if seconds else None
