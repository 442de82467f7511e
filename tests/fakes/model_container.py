"""Plays vLLM in a container: the lines of its start-up log, then the fake server; or one of the ways in which it fails.

Arguments are those of `vllm serve`; how it behaves stands in the variable FAKE_MODEL, as JSON:
`{"phase_s": 0.1, "end_in": "loading", "text": "...", "code": 1}`. By model: `{"models": {"a/b": {...}}}`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from vllm_parts.server import main as serve

LINES = {
    "importing": (
        "(APIServer pid=1) INFO 11-23 10:00:00 [model.py:595] Resolved architecture: {architecture}",
    ),
    "engine": (
        "(APIServer pid=1) INFO 11-23 10:00:00 [api_server.py:1] vLLM API server version 0.32.0",
        "(EngineCore pid=2) INFO 11-23 10:00:01 [core.py:105] Initializing a V1 LLM engine (v0.32.0) with config: x",
    ),
    "loading": (
        "(EngineCore pid=2) INFO 11-23 10:00:02 [gpu_model_runner.py:3] Starting to load model {model}...",
        "Loading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]",
        "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.0s/it]",
        "Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:02<00:00,  1.0s/it]",
        "(EngineCore pid=2) INFO 11-23 10:00:04 [default_loader.py:308] Loading weights took 2.10 seconds",
        "(EngineCore pid=2) INFO 11-23 10:00:04 [gpu_model_runner.py:9] Model loading took 5.67 GiB memory and 2.5 seconds",
    ),
    "profiling": (
        "(EngineCore pid=2) INFO 11-23 10:00:05 [gpu_model_runner.py:4] Encoder cache will be initialized",
        "(EngineCore pid=2) INFO 11-23 10:00:08 [gpu_worker.py:298] Available KV cache memory: 1.20 GiB",
        "(EngineCore pid=2) INFO 11-23 10:00:08 [kv_cache_utils.py:1087] GPU KV cache size: 44,928 tokens",
        "(EngineCore pid=2) INFO 11-23 10:00:09 [core.py:210] init engine (profile, warmup model) took 4.35 seconds",
    ),
    "serving": (
        "(APIServer pid=1) INFO 11-23 10:00:10 [api_server.py:2] Starting vLLM server on http://0.0.0.0:8000",
    ),
}


def arguments() -> argparse.ArgumentParser:
    """Those of `vllm serve` that matter to the fake; all others are taken and ignored."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--port", default="8000")
    parser.add_argument("--max-model-len", default="16384")
    parser.add_argument("--max-num-seqs", default="4")
    return parser


def main(argv: list[str]) -> int:
    """Play."""
    options, _ = arguments().parse_known_args(argv)
    name = options.served_model_name or options.model
    told = json.loads(os.environ.get("FAKE_MODEL", "{}"))
    play = {**told, **told.get("models", {}).get(name, {})}
    if play.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for phase, lines in LINES.items():
        for line in lines:
            say(line.format(model=name, architecture=play.get("architecture", "DotsOCRForCausalLM")))
        time.sleep(play.get("phase_s", 0.0))
        if play.get("end_in") == phase:
            return end(play)
        if play.get("stall_in") == phase:
            time.sleep(3600)
    say("(APIServer pid=1) INFO:     Application startup complete.")
    if "exit_after_s" in play:
        Thread(
            target=after, args=(play["exit_after_s"], lambda: os._exit(play.get("code", 0))), daemon=True
        ).start()
    command = ["--host", "0.0.0.0", "--port", options.port, "--model", name, "--served-model-name", name]
    command += ["--max-model-len", options.max_model_len, "--max-num-seqs", options.max_num_seqs]
    for option, value in play.get("server", {}).items():
        command += [f"--{option}", str(value)]
    return serve(command)


def say(line: str) -> None:
    """One line of the log."""
    print(line, file=sys.stderr, flush=True)


def end(play: dict[str, Any]) -> int:
    """Fail as told."""
    if play.get("eat_memory"):
        hoard = []
        while True:
            hoard.append(bytearray(1 << 24))
    say(play.get("text", ""))
    if play.get("text"):
        say("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    return int(play.get("code", 1))


def after(seconds: float, do: Callable[[], Any]) -> None:
    """A thread's life."""
    time.sleep(seconds)
    do()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
