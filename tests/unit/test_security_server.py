"""A model server that is hostile or out of its mind: it costs its pages, never the daemon, and nothing leaks."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ocrd.domain.errors import PageFault, ServerFault, Stopped
from ocrd.domain.models import Sampling
from ocrd.pipeline.recognizer.chat import ChatServer, Question, ServerError
from ocrd.pipeline.recognizer.guarded_http import MOST_BYTES, Guard, TimeOver, guarded, make_client
from ocrd.pipeline.recognizer.picture import OpenPage

Script = Callable[[socket.socket], None]
KEY = "canary-key-6f1d"


class Hostile:
    """Answers every request with one script. Remembers what it was sent."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with suppress(OSError), closing(client):
                self.requests.append(self._read(client))
                self._script(client)

    @staticmethod
    def _read(client: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(1 << 16)
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        while lengths and len(body) < int(lengths[0]):
            body += client.recv(1 << 16)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def hostile(script: Script) -> Iterator[tuple[Hostile, ChatServer]]:
    server = Hostile(script)
    with closing(server), closing(ChatServer(f"http://127.0.0.1:{server.port}/v1", KEY)) as chat:
        yield server, chat


def guard(seconds: float = 20) -> Guard:
    return Guard(threading.Event(), time.monotonic() + seconds)


def question() -> Question:
    picture = OpenPage(Image.new("L", (56, 56), 255)).cut(None, (56, 56))
    return Question(picture=picture, prompt="Read", sampling=Sampling(), max_tokens=100)


def answered(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    kinds = (
        ""
        if any(header.startswith("Content-Type") for header in headers)
        else "Content-Type: application/json\r\n"
    )
    head = f"HTTP/1.1 {status}\r\n{kinds}Content-Length: {len(body)}\r\n" + "".join(
        f"{one}\r\n" for one in headers
    )
    return lambda client: client.sendall(head.encode() + b"\r\n" + body)


def streamed(*chunks: Any) -> Script:
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()
    return answered(body + b"data: [DONE]\n\n", "Content-Type: text/event-stream")


def endless(piece: bytes) -> Script:
    """Begins a stream that never ends."""

    def send(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            client.sendall(piece)

    return send


CALLS: dict[str, Callable[[ChatServer], object]] = {
    "models": lambda chat: chat.models(guard()),
    "version": lambda chat: chat.look_at_version(guard()),
    "tokens": lambda chat: chat.count_tokens("m", "text", guard()),
    "chat": lambda chat: chat.chat("m", [], guard(), max_tokens=5),
    "ask": lambda chat: chat.ask("m", question(), guard()),
}
KNOWN = (ServerFault, ServerError, PageFault)
"""What a caller is told of; anything else would end the thread that reads pages, and with it the daemon."""


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent"]
)
def test_no_page_and_no_key_follows_a_redirect(call: str, status: str) -> None:
    with hostile(answered(b"{}")) as (other, _):
        away = f"Location: http://localhost:{other.port}/v1/steal"
        with hostile(answered(b"", away, status=status)) as (server, chat):
            with pytest.raises(ServerFault, match="redirect"):
                CALLS[call](chat)
            assert len(server.requests) == 1
        assert other.requests == []


def test_the_key_goes_to_the_server_and_into_no_message() -> None:
    with hostile(answered(b'{"error": {"message": "no"}}', status="401 Unauthorized")) as (server, chat):
        with pytest.raises(ServerFault) as told:
            chat.models(guard())
        assert KEY.encode() in server.requests[0]
        assert KEY not in f"{told.value} {told.value!r} {told.value.hint} {told.value.__cause__!r}"


def test_nothing_of_the_environment_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy nor what the `openai` package reads for its own service."""
    with hostile(answered(b'{"data": []}')) as (proxy, _):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY", "WEBHOOK_SECRET", "CUSTOM_HEADERS"):
            monkeypatch.setenv(f"OPENAI_{name}", "X-Canary: canary-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{proxy.port}/v1")
        with hostile(answered(b'{"data": []}')) as (server, chat):
            assert chat.models(guard()) == []
            assert b"canary-environment" not in server.requests[0].lower()
        assert proxy.requests == []


@pytest.mark.parametrize("call", CALLS)
def test_a_compressed_answer_is_refused_unopened(call: str) -> None:
    """A bomb: 200 MB of blanks in 200 KB."""
    bomb = gzip.compress(b" " * 200_000_000, compresslevel=9)
    with hostile(answered(bomb, "Content-Encoding: gzip")) as (server, chat):
        with pytest.raises(ServerFault, match="compressed"):
            CALLS[call](chat)
        assert b"accept-encoding: identity" in server.requests[0].lower()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "piece",
    [b"x" * 65536, b'data: {"x": "%s"}\n\n' % (b"x" * 4000) * 16, (b":" + b" " * 500 + b"\n") * 128],
    ids=["line", "chunks", "comments"],
)
def test_an_answer_without_end_ends_at_its_limit(call: str, piece: bytes) -> None:
    began = time.monotonic()
    with hostile(endless(piece)) as (_, chat), pytest.raises(ServerFault, match=f"{MOST_BYTES >> 20} MiB"):
        CALLS[call](chat)
    assert time.monotonic() - began < 20


def test_headers_without_end_end_too() -> None:
    def send(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            client.sendall(b"X-Header: " + b"x" * 8000 + b"\r\n")

    with hostile(send) as (_, chat), pytest.raises(ServerFault):
        chat.models(guard())


def test_interim_answers_without_end_end_with_the_time() -> None:
    def send(client: socket.socket) -> None:
        while True:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with hostile(send) as (_, chat), pytest.raises(ServerFault):
        chat.models(guard(0.5))


@contextmanager
def slow_reader(when_begun: Callable[[], None]) -> Iterator[str]:
    """Reads a little of a request, says so, and then a byte now and then: what is sent to it fills every buffer."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with closing(client):
            client.recv(1000)
            when_begun()
            while not over.wait(0.1):
                client.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()
        thread.join(10)


@pytest.mark.parametrize(("ends", "error"), [("stop", Stopped), ("deadline", TimeOver)])
def test_a_server_that_hardly_reads_keeps_nobody_beyond_the_deadline_or_a_stop(
    ends: str, error: type[Exception]
) -> None:
    stop = threading.Event()
    began = time.monotonic()
    with slow_reader(stop.set if ends == "stop" else lambda: None) as url, closing(make_client()) as client:
        patient = Guard(stop, began + (60 if ends == "stop" else 1))
        with guarded(patient), pytest.raises(error):
            client.post(url, content=b"x" * (32 << 20))
    assert time.monotonic() - began < 10


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def misfits(*keys: str) -> st.SearchStrategy[Any]:
    """Objects with the names that we look for, and anything behind them."""
    return st.recursive(
        json_values,
        lambda inner: st.dictionaries(st.sampled_from(keys), inner, max_size=4) | st.lists(inner, max_size=2),
        max_leaves=8,
    )


chunks = misfits("choices", "delta", "content", "finish_reason", "usage", "prompt_tokens", "completion_tokens", "error",
                 "message")  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(told=st.lists(chunks, max_size=3))
def test_a_stream_of_wrong_types_is_an_answer_or_a_fault(told: list[Any]) -> None:
    with hostile(streamed(*told)) as (_, chat):
        try:
            answer = chat.ask("m", question(), guard())
        except KNOWN:
            return
    assert isinstance(answer.text, str)
    assert isinstance(answer.finish, str)
    assert answer.prompt_tokens is None or 0 <= answer.prompt_tokens < 2**31
    assert 0 <= answer.tokens < 2**31


@settings(max_examples=60, deadline=None)
@given(call=st.sampled_from([call for call in CALLS if call != "ask"]), told=misfits(
    "data", "id", "root", "max_model_len", "version", "count", "choices", "message", "content"))  # fmt: skip
def test_an_object_of_wrong_types_is_an_answer_or_a_fault(call: str, told: Any) -> None:
    with hostile(answered(json.dumps(told).encode())) as (_, chat):
        try:
            answer = CALLS[call](chat)
        except KNOWN:
            return
    if call == "models":
        assert all(0 <= model.context < 2**31 for model in answer)  # type: ignore[attr-defined]


HUGE = [
    b'{"data": [{"id": "m", "max_model_len": 1e999}]}',
    b'{"data": [{"id": "m", "max_model_len": "many"}]}',
    b'{"data": [{"id": "m", "max_model_len": -5}]}',
    b'{"data": [{"id": "m", "max_model_len": ' + b"9" * 4000 + b"}]}",
]


@pytest.mark.parametrize("body", HUGE, ids=["infinite", "text", "negative", "huge"])
def test_a_context_that_cannot_be_is_none(body: bytes) -> None:
    with hostile(answered(body)) as (_, chat):
        assert [model.context for model in chat.models(guard())] == [0]


@pytest.mark.parametrize("call", CALLS)
def test_deep_nesting_is_a_fault_or_nothing(call: str) -> None:
    deep = b"[" * 500_000
    with hostile(answered(b"data: " + deep + b"\n\n" if call == "ask" else deep)) as (_, chat):
        try:
            answer = CALLS[call](chat)
        except KNOWN:
            return
    assert call != "ask" or answer.text == ""  # type: ignore[attr-defined]
