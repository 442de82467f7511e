"""The server: its endpoints, how answers stand on the wire, and its command line."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty
from typing import Any

from . import behaviours, pages, tokens
from .behaviours import Behaviour, Plan
from .records import Records
from .requests import ApiError, Asked, Model, parse
from .scheduler import Capacity, Engine, Sequence

_LOOK_S = 0.2
"""How often it is looked whether a waiting client is still there."""
_PIECE = 4096
"""The most bytes of text within one chunk."""
_DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class Gone(Exception):
    """The client closed its connection."""


@dataclass(slots=True)
class Switches:
    """What `/fake/control` sets. `down`: true resets every connection, a number is the status of every answer."""

    down: bool | int = False
    health: int = 200
    default: Behaviour = "ok"
    unmarked: str = pages.UNMARKED
    scenario: dict[str, Any] = field(default_factory=dict)


class FakeServer(ThreadingHTTPServer):
    """Everything that its handlers share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], model: Model, capacity: Capacity, options: argparse.Namespace
    ) -> None:
        super().__init__(address, Handler)
        self.model = model
        self.options = options
        self.engine = Engine(capacity)
        self.records = Records()
        self.switches = Switches()
        self.in_flight = 0
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | Gone):
            super().handle_error(request, client_address)

    def control(self, changes: dict[str, Any]) -> None:
        """Set switches. Raises TypeError for an unknown one."""
        if "pause" in changes:
            self.engine.pause(bool(changes.pop("pause")))
        if changes.pop("clear", False):
            self.records.clear()
        with self._lock:
            if "scenario" in changes:
                self._attempts.clear()
            self.switches = replace(self.switches, **changes)

    def behaviour(self, asked: Asked) -> tuple[Behaviour, int]:
        """What to do with a request, and which attempt at it this is, from 0."""
        with self._lock:
            scenario = self.switches.scenario
            key = next((key for key in _keys(asked) if key in scenario), None)
            if key is None:
                return self.switches.default, 0
            listed = scenario[key] if isinstance(scenario[key], list) else [scenario[key]]
            counted = f"{key}|{asked.seen.page if asked.seen else None}"
            attempt = self._attempts[counted]
            self._attempts[counted] += 1
            return listed[min(attempt, len(listed) - 1)], attempt

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """A request is in flight."""
        with self._lock:
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


def _keys(asked: Asked) -> list[str]:
    """Where a scenario may speak of a request, the most special first."""
    if asked.seen is None:
        return [f"none/{asked.mode}", "none"]
    page = str(asked.seen.page)
    if asked.seen.is_crop:
        return [f"{page}/crop", "*/crop"]
    return [f"{page}/{asked.mode}", page, f"*/{asked.mode}", "*"]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: FakeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Nothing: a server of tests is quiet."""

    def do_GET(self) -> None:
        self._answer({
            "/health": self._health,
            "/ping": self._health,
            "/v1/models": self._models,
            "/version": lambda: self._json(200, {"version": self.server.options.vllm_version}),
            "/load": lambda: self._json(200, {"server_load": self.server.in_flight}),
            "/metrics": self._metrics,
            "/fake/stats": lambda: self._json(200, self.server.records.stats(self.server.engine)),
        })  # fmt: skip

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer({
            "/tokenize": self._tokenize,
            "/v1/chat/completions": self._chat,
            "/fake/control": self._control,
        })  # fmt: skip

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        path = self.path.partition("?")[0]
        down, key = self.server.switches.down, self.server.options.api_key
        try:
            if path.startswith("/fake/"):
                routes[path]()
            elif down is True:
                self._reset()
            elif down:
                self._json(down, ApiError(down, "The server is down.").body)
            elif path not in routes:
                self._json(404, {"detail": "Not Found"})
            elif key and path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {key}":
                self._json(401, {"error": "Unauthorized"})
            else:
                with self.server.counted():
                    routes[path]()
        except ApiError as err:
            self._json(err.status, err.body)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def _json(self, status: int, data: dict[str, Any]) -> None:
        self._send(status, json.dumps(data, ensure_ascii=False).encode(), "application/json")

    def _reset(self) -> None:
        """End the connection with RST, whatever was not sent yet."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        socket.close(self.connection.detach())
        self.close_connection = True

    def _health(self) -> None:
        self._send(self.server.switches.health, b"", "text/plain")

    def _models(self) -> None:
        model = self.server.model
        row = {
            "id": model.id,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": model.root,
            "parent": None,
            "max_model_len": model.context,
        }
        self._json(200, {"object": "list", "data": [row]})

    def _metrics(self) -> None:
        text = self.server.records.metrics(self.server.engine, self.server.model.id)
        self._send(200, text.encode(), "text/plain; version=0.0.4")

    def _control(self) -> None:
        self.server.control(json.loads(self._body))
        self._json(200, {})

    def _tokenize(self) -> None:
        asked = json.loads(self._body)
        model = self.server.model
        if asked.get("model", model.id) != model.id:
            message = f"The model `{asked['model']}` does not exist. Valid aliases: {model.id}."
            raise ApiError(404, message, "model")
        found = tokens.tokenize(asked["prompt"])
        answer = {"count": len(found), "max_model_len": model.context, "tokens": found, "token_strs": None}
        self._json(200, answer)

    def _chat(self) -> None:
        records = self.server.records
        try:
            asked = parse(self._body, self.server.model)
        except ApiError as err:
            records.end(records.begin(None), f"http_{err.status}")
            raise
        behaviour, attempt = self.server.behaviour(asked)
        row = records.begin(asked)
        row |= {"behaviour": behaviour, "attempt": attempt}
        plan = behaviours.plan(
            behaviour,
            behaviours.truth_of(asked, self.server.switches.unmarked),
            unreadable=self.server.model.array_template or bool(asked.seen and asked.seen.rotation),
        )
        if plan.instant:
            records.end(row, f"http_{plan.instant}" if plan.instant.isdecimal() else plan.instant)
            self._at_once(plan.instant)
            return
        _Reply(self, asked, plan, row).run()

    def _at_once(self, what: str) -> None:
        if what == "die":
            os._exit(1)
        if what == "reset":
            self._reset()
            return
        messages = {
            "429": "Too Many Requests",
            "503": "Service Unavailable",
            "400": "The request is refused.",
        }
        raise ApiError(int(what), messages.get(what, _DEAD))

    def is_gone(self) -> bool:
        """Whether the client closed its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if not readable:
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True


class _Reply:
    """One answer on its way: from the engine onto the wire, in one piece or as a stream."""

    def __init__(self, handler: Handler, asked: Asked, plan: Plan, row: dict[str, Any]) -> None:
        self._handler = handler
        self._server = handler.server
        self._asked = asked
        self._plan = plan
        self._row = row
        total, finish = plan.total(asked.limit)
        most = len(plan.text) if plan.stall else float("inf")
        self._sequence = Sequence(asked.prompt_tokens, total, finish, most, plan.tps)
        self._source = _Source(plan.bytes_of())
        number = f"{id(self):x}{time.monotonic_ns():x}"
        self._head = {"id": f"chatcmpl-{number}", "created": int(time.time()), "model": self._server.model.id}
        self._one_by_one = plan.wire == "bad_sse"

    def run(self) -> None:
        """To its end, or until the client goes away."""
        self._server.engine.submit(self._sequence)
        try:
            if self._asked.stream:
                self._stream()
            else:
                self._whole()
        except (Gone, ConnectionError):
            self._handler.close_connection = True
        finally:
            self._server.engine.cancel(self._sequence)
            self._settle("aborted")

    def _settle(self, finish: str) -> None:
        """Write down what became of it, before the last bytes: who has the answer finds it in the figures."""
        if self._row["finish"] == "running":
            self._server.records.end(self._row, finish, self._sequence.given)

    def _events(self) -> Iterator[tuple[bytes, str | None]]:
        """New bytes, and how it ended. Raises Gone."""
        finish = None
        while finish is None:
            try:
                new, finish = self._sequence.out.get(timeout=_LOOK_S)
            except Empty:
                new = 0
            if finish is None and self._handler.is_gone():
                raise Gone
            if new or finish is not None:
                yield self._source.take(new), finish

    def _whole(self) -> None:
        body, finish = b"", ""
        for new, ended in self._events():
            body += new
            finish = ended or ""
        if finish.startswith("!"):
            self._break(finish, started=False)
            return
        message: dict[str, Any] = {
            "role": "assistant",
            "content": body.decode(errors="ignore"),
            "refusal": None,
            "tool_calls": [],
        }
        choice = {"index": 0, "message": message, "logprobs": None, **_finished(finish)}
        answer = {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}
        data = json.dumps(answer, ensure_ascii=False).encode()
        if self._plan.wire == "invalid_utf8":
            data = data.replace(b'"content": "', b'"content": "\xff\xfe\xd0', 1)
        if self._plan.wire == "wrong_json":
            data = data[: len(data) // 2]
        self._settle(finish)
        self._handler._send(200, data, "application/json")

    def _stream(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        started, finish = False, ""
        for new, ended in self._events():
            finish = ended or ""
            if not started and not (finish.startswith("!") and not new):
                self._start()
                started = True
            text = decoder.decode(new, final=ended is not None)
            for at in range(0, len(text), _PIECE):
                self._chunk({"content": text[at : at + _PIECE]})
        if finish.startswith("!"):
            self._break(finish, started=started)
        else:
            self._finish(finish)

    def _start(self) -> None:
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()
        if self._one_by_one:
            self._write(b": a comment\r\n\r\nretry: 3000\nevent: ping\nno field at all\nid: 7\n\n")
        self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any], **more: Any) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **more}
        self._event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})

    def _event(self, data: dict[str, Any]) -> None:
        line = b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
        content = (data.get("choices") or [{}])[0].get("delta", {}).get("content")
        if content and self._plan.wire == "invalid_utf8":
            line = line.replace(b'"content": "', b'"content": "\xff\xfe\xd0', 1)
        if content and self._plan.wire == "wrong_json":
            line = line[: len(line) // 2] + b"\n\n"
        self._write(line)

    def _finish(self, finish: str) -> None:
        self._settle(finish)
        self._chunk({"content": ""}, **_finished(finish))
        usage = self._usage()
        if self._asked.include_usage and usage is not None:
            self._event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        if not self._one_by_one:
            self._write(b"data: [DONE]\n\n")
        self._handler.wfile.write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        pieces = [data[at : at + 1] for at in range(len(data))] if self._one_by_one else [data]
        for piece in pieces:
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def _usage(self) -> dict[str, Any] | None:
        if self._plan.usage_off_by is None:
            return None
        prompt = self._asked.prompt_tokens + self._plan.usage_off_by
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + self._sequence.given,
            "completion_tokens": self._sequence.given,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        }

    def _break(self, what: str, *, started: bool) -> None:
        """An end that is no end."""
        self._settle({"!end": "no_finish"}.get(what, what[1:]))
        if what == "!die":
            os._exit(1)
        if what == "!reset":
            self._handler._reset()
        elif what == "!error" and not started:
            self._handler._json(500, ApiError(500, _DEAD).body)
        elif what == "!error":
            self._event(ApiError(500, _DEAD).body)
            self._write(b"data: [DONE]\n\n")
            self._handler.wfile.write(b"0\r\n\r\n")
        else:  # the stream ends in due form, without a last word
            if not started:
                self._start()
            self._handler.wfile.write(b"0\r\n\r\n")


class _Source:
    """The bytes of an answer, as many as are wanted at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def take(self, count: int) -> bytes:
        """The next ones; fewer at the end."""
        found = [self._left]
        size = len(self._left)
        while size < count and (piece := next(self._pieces, None)) is not None:
            found.append(piece)
            size += len(piece)
        data = b"".join(found)
        self._left = data[count:]
        return data[:count]


def _finished(finish: str) -> dict[str, Any]:
    return {"finish_reason": finish, "stop_reason": "repetition_detected" if finish == "repetition" else None}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="A server that behaves like vLLM, or not.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--model", default="rednote-hilab/dots.ocr", help="its root; chooses the family")
    parser.add_argument("--served-model-name", default="", help="default: as --model")
    parser.add_argument("--max-model-len", type=int, default=16384)
    parser.add_argument("--min-pixels", type=int, help="default: the family's")
    parser.add_argument("--max-pixels", type=int, help="default: the family's")
    parser.add_argument("--limit-images", type=int, default=1, help="images in one prompt")
    parser.add_argument("--template", choices=("correct", "array"), default="correct")
    parser.add_argument("--vllm-version", default="0.32.0")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--max-num-seqs", type=int, default=8)
    parser.add_argument("--prefill-s-per-1k", type=float, default=0.0)
    parser.add_argument("--decode-tps", type=float, default=0.0, help="of one sequence; 0: no limit")
    parser.add_argument("--total-tps", type=float, default=0.0, help="shared by all that run; 0: no limit")
    parser.add_argument("--step-s", type=float, default=0.1, help="between two chunks of a stream")
    parser.add_argument("--start-s", type=float, default=0.0, help="before the port is opened")
    parser.add_argument("--scenario", default="", help="JSON file: behaviours by page and attempt")
    parser.add_argument("--on-term", choices=("abort", "error", "reset"), default="abort")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input does")
    return parser


def _model(options: argparse.Namespace) -> Model:
    family = tokens.family_of(options.model)
    family = replace(
        family,
        min_pixels=options.min_pixels or family.min_pixels,
        max_pixels=options.max_pixels or family.max_pixels,
    )
    major, minor = options.vllm_version.split(".")[:2]
    return Model(
        id=options.served_model_name or options.model,
        root=options.model,
        context=options.max_model_len,
        family=family,
        version=(int(major), int(minor)),
        array_template=options.template == "array" and family.name == "dots",
        images=options.limit_images,
    )


def _wait_for_stdin(end: threading.Event) -> None:
    sys.stdin.read()
    end.set()


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    options = arguments().parse_args(argv)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    if options.end_with_stdin:
        threading.Thread(target=_wait_for_stdin, args=(end,), daemon=True).start()
    if end.wait(options.start_s):
        return 0
    capacity = Capacity(
        options.max_num_seqs, options.prefill_s_per_1k, options.decode_tps, options.total_tps, options.step_s
    )
    server = FakeServer((options.host, options.port), _model(options), capacity, options)
    if options.scenario:
        with open(options.scenario, encoding="utf-8") as file:
            server.control({"scenario": json.load(file)})
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(f"listening on http://{options.host}:{server.server_address[1]}", flush=True)
    end.wait()
    server.shutdown()
    server.server_close()
    server.engine.end_all("abort" if options.on_term == "abort" else f"!{options.on_term}")
    patience = time.monotonic() + 0.5
    while server.in_flight and time.monotonic() < patience:
        time.sleep(0.01)
    os._exit(0)
