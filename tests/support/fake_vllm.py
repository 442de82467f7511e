"""The fake vLLM server as a process, and what a test does with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from support.running import wait_until

PROGRAM = Path(__file__).parents[1] / "fakes" / "vllm_server.py"
_START_S = 30.0


class FakeVllm:
    """A server that is started with the block or by `start`; it keeps its port through stops and starts.

    `options` are those of the program, with underscores: `FakeVllm(max_model_len=4096, decode_tps=50)`.
    `scenario`: for a page's number as a string, `*` (every page) or `none` (an image without a mark) a list of
    behaviours by attempt, of which the last repeats. `7/ocr` (or `/layout`, `/layout_only`, `/grounding`) speaks
    of requests in that mode only and goes before `7`; `7/crop`, `*/crop` of parts of a page, which nothing else does.
    """

    def __init__(self, *, scenario: dict[str, Any] | None = None, port: int = 0, **options: Any) -> None:
        self.port = port
        self.options = options
        self.process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="fake-vllm-")
        self._scenario = scenario

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def root_url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """As an OpenAI client wants it."""
        return f"{self.root_url}/v1"

    @property
    def log(self) -> str:
        """What the program wrote to standard error."""
        path = Path(self._folder.name, "stderr")
        return path.read_text() if path.exists() else ""

    def start(self, **changes: Any) -> None:
        """Start it, and wait until it listens. `changes` of the options stay."""
        assert self.process is None, "it runs already"
        self.options |= changes
        argv = [sys.executable, str(PROGRAM), "--port", str(self.port), "--end-with-stdin"]
        for name, value in self.options.items():
            argv += [f"--{name.replace('_', '-')}", str(value)]
        if self._scenario is not None:
            path = Path(self._folder.name, "scenario.json")
            path.write_text(json.dumps(self._scenario))
            argv += ["--scenario", str(path)]
        with Path(self._folder.name, "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), f"the fake server did not start: {self.log}"
        self.port = int(line.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        process, self.process = self.process, None
        assert process is not None, "it does not run"
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with process:
            return process.wait(_START_S)

    def kill(self) -> None:
        """End it without a word."""
        self.stop(signal.SIGKILL)

    def restart(self, **changes: Any) -> None:
        """Stop it and start it again, on the same port."""
        if self.process is not None:
            self.stop()
        self.start(**changes)

    def close(self) -> None:
        """Stop it for good."""
        if self.process is not None:
            self.kill()
        self._folder.cleanup()

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None
        return self.process.pid

    def control(self, **changes: Any) -> None:
        """Set switches: down (True, or a status), health, default, unmarked, scenario, pause, clear (forget all)."""
        self.fetch("/fake/control", changes)

    def stats(self) -> dict[str, Any]:
        """All figures and the list of requests."""
        stats: dict[str, Any] = json.loads(self.fetch("/fake/stats"))
        return stats

    def requests(self, page: int | None = None) -> list[dict[str, Any]]:
        """The requests, in the order of their arrival; those for a page, if one is named."""
        return [row for row in self.stats()["list"] if page is None or row["page"] == page]

    def wait_for(self, finish: str, count: int = 1) -> dict[str, Any]:
        """Wait until so many requests ended in this way (`running`: have begun); the figures then."""

        def ended() -> dict[str, Any] | None:
            stats = self.stats()
            return stats if stats["by_finish"].get(finish, 0) >= count else None

        found: dict[str, Any] = wait_until(ended, f"{count} requests: {finish}")
        return found

    def fetch(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """GET, or POST of JSON; the body of a good answer."""
        with self.connection() as connection:
            if body is None:
                connection.request("GET", path)
            else:
                connection.request(
                    "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"}
                )
            response = connection.getresponse()
            data = response.read()
            assert response.status == 200, (response.status, data)
            return data

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        """A connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_S)
        try:
            yield connection
        finally:
            connection.close()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, of the kernel's and its own."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
