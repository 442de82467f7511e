"""An HTTP client whose every read and write ends when its caller's time is over or a stop event is set.

A time-out of an HTTP library counts from byte to byte, so a server that trickles keeps a caller for ever; and a
blocked call does not see a stop event. Here each read and write waits in short slices, and between two of them the guard
of the calling thread is asked. Leaving a response half-way closes its connection, which a vLLM server takes for
an abort: it stops generating.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from threading import Event
from typing import Any

import httpcore2
import httpx2

from ocrd.domain.errors import Stopped

MOST_BYTES = 64 << 20
"""The longest answer: 128,000 tokens, each in a chunk of its own, take 35 MiB."""
_SLICE_S = 0.2
_PIECE_BYTES = 1 << 16
_CONNECT_S = 5.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class TimeOver(Exception):
    """The total time of a request is over."""


class Guard:
    """How long the requests of a thread may take, and what ends them early."""

    def __init__(self, stop: Event, deadline: float) -> None:
        """`deadline` is monotonic."""
        self._stop = stop
        self._deadline = deadline

    def check(self) -> None:
        """Raise Stopped or TimeOver if it is time."""
        if self._stop.is_set():
            raise Stopped
        if self.left_s() <= 0:
            raise TimeOver

    def left_s(self) -> float:
        """Seconds that are left."""
        return self._deadline - time.monotonic()


_thread = threading.local()


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """All requests of this thread obey the guard from here on."""
    before = getattr(_thread, "guard", None)
    _thread.guard = guard
    try:
        yield
    finally:
        _thread.guard = before


class _Stream(httpcore2.NetworkStream):
    """A connection that asks the guard between two slices of waiting."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        guard: Guard | None = getattr(_thread, "guard", None)
        if guard is None:
            return self._inner.read(max_bytes, timeout)
        while True:
            guard.check()
            with contextlib.suppress(httpcore2.ReadTimeout):
                return self._inner.read(max_bytes, _SLICE_S)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        guard: Guard | None = getattr(_thread, "guard", None)
        if guard is None:
            self._inner.write(buffer, timeout)
            return
        # The stream of the library tells nobody how much it wrote before it timed out; the socket does.
        connection: socket.socket = self._inner.get_extra_info("socket")
        connection.settimeout(_SLICE_S)
        rest = memoryview(buffer)
        while rest:
            guard.check()
            with contextlib.suppress(TimeoutError), _as_write_error():
                rest = rest[connection.send(rest[:_PIECE_BYTES]) :]

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


@contextlib.contextmanager
def _as_write_error() -> Iterator[None]:
    """What breaks a connection, in the library's words: it then looks whether the server has answered early."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as err:
        raise httpcore2.WriteError(str(err)) from err


class _Backend(httpcore2.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))


class _Body(httpx2.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MOST_BYTES
        with _translated():
            for piece in self._stream:
                left -= len(piece)
                if left < 0:
                    raise httpx2.NetworkError(f"the answer is longer than {MOST_BYTES >> 20} MiB")
                yield piece

    def close(self) -> None:
        self._stream.close()


class _Transport(httpx2.BaseTransport):
    """httpx's own transport has no place for a network back end."""

    def __init__(self) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=None,
            keepalive_expiry=5.0,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.SyncByteStream)
        url = request.url
        raw = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _translated():
            response = self._pool.handle_request(raw)
        answer = httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )
        refusal = _refusal(answer)
        if refusal:
            answer.close()
            raise httpx2.NetworkError(refusal)
        return answer

    def close(self) -> None:
        self._pool.close()


def _refusal(answer: httpx2.Response) -> str:
    """Why an answer is not read; '' if it is. Pages and the key go to the server that was named, and nowhere else;
    what is small on the wire must be small in memory."""
    if answer.status_code in _REDIRECTS:
        return "it sends its callers elsewhere (a redirect), which is not followed"
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        return "the answer is compressed, although it was asked not to be"
    return ""


_FAILURES = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The errors of the connection as those of the HTTP client."""
    try:
        yield
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as err:
        raise httpx2.ConnectError(str(err) or "connecting took too long") from err
    except httpcore2.TimeoutException as err:
        raise httpx2.TimeoutException(str(err)) from err
    except _FAILURES as err:
        raise httpx2.NetworkError(str(err)) from err


def make_client() -> httpx2.Client:
    """A client whose requests obey the guard of their thread. No proxy: the server is on this machine or named."""
    timeout = httpx2.Timeout(30.0, connect=_CONNECT_S)
    headers = {"Accept-Encoding": "identity"}
    return httpx2.Client(transport=_Transport(), timeout=timeout, headers=headers, trust_env=False)
