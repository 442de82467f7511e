"""Starting real vLLM servers with tiny checkpoints, one at a time: each takes about 3 GB and 40 s to start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

START_TIMEOUT_S = 300.0
DOTS_FLAGS = ("--trust-remote-code", "--chat-template-content-format", "string")


@dataclass(frozen=True)
class RealServer:
    """A running vLLM: its URL, and the model it serves."""

    base_url: str
    model: str


class Servers:
    """Starts the server that is asked for, and stops the one before."""

    def __init__(self, python: Path, models: Path, logs: Path) -> None:
        self.python = python
        self._models = models
        self._logs = logs
        self._key: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._running: RealServer | None = None

    def get(self, model: str, *flags: str, context: int = 16384) -> RealServer:
        """A server of a tiny model (`tiny-dots.ocr` …) with this `--max-model-len` and these flags."""
        key = (model, str(context), *flags)
        if self._running is not None and key == self._key:
            return self._running
        self.stop()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = self._logs / ("-".join(key).replace("/", "_")[:100] + ".log")
        command = [
            self.python.parent / "vllm", "serve", self._models / model, "--served-model-name", model, "--host", "127.0.0.1",
            "--port", str(port), "--max-model-len", str(context), "--enforce-eager", "--max-num-seqs", "4", *flags,
        ]  # fmt: skip
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "TMPDIR": str(self._logs),  # it leaves sockets and folders there
        }
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        self._wait(port, log)
        self._key, self._running = key, RealServer(f"http://127.0.0.1:{port}/v1", model)
        return self._running

    def _wait(self, port: int, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                pass
            else:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                continue
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-60:])
        self.stop()
        pytest.fail(f"vLLM did not start:\n{tail}")

    def stop(self) -> None:
        """End the running server and all its processes."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(30)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process = None
        self._running = None
