"""Figures for Prometheus: a page on this machine's own address, a text file for the node exporter, or both.

The daemon hands plain values in; this module knows neither the store nor the server. What is asked for is made up
from the last values at that moment, so that a slow or hanging reader never waits for the daemon, nor it for them.
Names and units are listed in docs/metrics.md.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socketserver
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar

from ocrd import __version__
from ocrd.domain.errors import ConfigError, ServiceMissing, TryAgainLater
from ocrd.domain.jobs import DocumentState, PageState
from ocrd.domain.serving import ServerState
from ocrd.packages import install_command
from ocrd.settings import MetricsSettings
from ocrd.telemetry.logs import get_logger

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

log = get_logger()

TEXTFILE_S = 15.0
REQUEST_S = 10.0
"""A client that asks for nothing, or does not take its answer, is let go after this time."""
SECONDS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Upper bounds of the histogram: a plain page takes 1 s with Tesseract, a bad one minutes with a model."""
_MIB = 1 << 20

Facts = Mapping[str, Any]
Counts = Mapping[str, Mapping[str, int]]


class Figures:
    """All figures of this process. Thread-safe. Counters begin at 0 with the process, as Prometheus expects."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector

        self.registry = CollectorRegistry(auto_describe=False)
        self._state = _State()
        self._read = Counter(
            "ocrd_pages_read",
            "Pages settled by this process, by what read them and what is thought of the text.",
            ("engine", "verdict"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ocrd_page_seconds",
            "Time of the last try at a page.",
            ("engine",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._swaps = Counter("ocrd_swaps", "Exchanges of the model in the server.", registry=self.registry)
        Info("ocrd_build", "What runs.", registry=self.registry).info({"version": __version__})
        self.registry.register(self._state)
        ProcessCollector(registry=self.registry)
        self._side: str | None = None

    def page(self, engine: str, verdict: str, seconds: float) -> None:
        """Count a page that settled."""
        self._read.labels(engine=engine, verdict=str(verdict)).inc()
        self._seconds.labels(engine=engine).observe(seconds)

    def update(self, facts: Facts, counts: Counts) -> None:
        """Take the heartbeat's facts, and how many documents and pages are in each state
        (`{"document": {state: n}, "page": {state: n}}`)."""
        self._state.seen = (facts, counts)
        side = (facts.get("shifts") or {}).get("side")
        if side != self._side and side is not None:
            if self._side is not None:
                self._swaps.inc()
            self._side = side


class _State:
    """What is as it is, made up from the last values when it is asked for. Absent values are absent figures."""

    def __init__(self) -> None:
        self.seen: tuple[Facts, Counts] = ({}, {})

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's interface of a collector."""
        facts, counts = self.seen
        if counts:
            documents, pages = counts.get("document", {}), counts.get("page", {})
            yield _gauge("ocrd_documents", "Documents by state.", "state", _each(DocumentState, documents))
            yield _gauge("ocrd_pages", "Pages by state.", "state", _each(PageState, pages))
        server = facts.get("server")
        if server is not None:
            states = _each(ServerState, {server["state"]: 1})
            yield _gauge("ocrd_server_state", "1 for the state that the model server is in.", "state", states)
        memory = facts.get("vram") or {}
        sizes = {kind: memory.get(f"{kind}_mib") for kind in ("used", "free", "budget")}
        known = {kind: mib for kind, mib in sizes.items() if mib is not None}
        if known:
            bytes_of = ((kind, mib * _MIB) for kind, mib in known.items())
            yield _gauge(
                "ocrd_vram_bytes", "The GPU's memory, and what ocrd may use of it.", "kind", bytes_of
            )
        scans = {inbox["path"]: inbox["last_scan"] for inbox in facts.get("inboxes", ())}
        scanned = {path: at for path, at in scans.items() if at is not None}
        if scanned:
            help_text = "When the inbox was last looked through, seconds since 1970."
            yield _gauge("ocrd_last_scan_timestamp_seconds", help_text, "inbox", scanned.items())
            now = time.time()
            ages = ((path, max(0.0, now - at)) for path, at in scanned.items())
            yield _gauge("ocrd_last_scan_age_seconds", "How long ago that was.", "inbox", ages)


def _each(states: Iterable[str], numbers: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    return ((str(state), numbers.get(state, 0)) for state in states)


def _gauge(name: str, help_text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


# --- handing out ----------------------------------------------------------------------------------------------------


class Metrics(Figures):
    """The figures, handed out in threads of their own until they are closed."""

    def __init__(self, settings: MetricsSettings) -> None:
        super().__init__()
        self._ending = threading.Event()
        self._textfile = settings.textfile and _check_textfile(settings.textfile)
        self._failing = False
        if self._textfile:
            self._write_first(self._textfile)
        self._server = _open_server(settings.listen, self.registry) if settings.listen else None
        self._writer = threading.Thread(target=self._write_on, name="metrics file", daemon=True)
        if self._textfile:
            self._writer.start()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the page is served: the host and the port."""
        if self._server is None:
            return None
        host, port, *_ = self._server.server_address
        return str(host), int(port)

    def close(self) -> None:
        """Stop handing out. The text file stays: its time tells how old it is."""
        self._ending.set()
        if self._writer.is_alive():
            self._writer.join(REQUEST_S)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _write_first(self, path: str) -> None:
        try:
            self._write(path)
        except OSError as err:
            raise ConfigError(
                f"the metrics file {path} cannot be written: {err.strerror or err}",
                hint="mend the folder's permissions, or change [metrics] textfile",
            ) from err

    def _write_on(self) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(TEXTFILE_S)
            try:
                self._write(self._textfile)
            except OSError as err:
                if not self._failing:
                    log.warning("metrics_file_failed", file=self._textfile, reason=err.strerror or str(err))
                self._failing = True
            else:
                self._failing = False

    def _write(self, path: str) -> None:
        from prometheus_client import write_to_textfile

        write_to_textfile(path, self.registry)  # a draft beside it, renamed: never half a file


def open_metrics(settings: MetricsSettings) -> Metrics | None:
    """Begin to hand figures out as the settings say; None if they do not want any.

    Raises ServiceMissing without the extra `metrics`, ConfigError for an address that is not this machine's own or
    a file that cannot be written, TryAgainLater for a port that is taken.
    """
    if not settings.listen and not settings.textfile:
        return None
    try:
        import prometheus_client
    except ImportError as err:
        raise ServiceMissing(
            "[metrics] is switched on, and the package prometheus-client is not installed",
            hint=install_command("metrics"),
        ) from err
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # else a second series for each
    return Metrics(settings)


def parse_listen(listen: str) -> tuple[str, int]:
    """The host, an address of this machine only, and the port. Raises ConfigError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise ConfigError(
            f"[metrics] listen: {listen!r} is not an address with a port",
            hint='write it so: listen = "127.0.0.1:9464"',
        )
    host = "127.0.0.1" if host == "localhost" else host
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own:
        raise ConfigError(
            f"[metrics] listen: {listen!r}: metrics are served on this machine only",
            hint='write listen = "127.0.0.1:9464"; for other machines put a proxy with a password before it',
        )
    return host, int(port)


def _check_textfile(path: str) -> str:
    path = os.path.abspath(os.path.expanduser(path))
    if not path.endswith(".prom"):
        raise ConfigError(
            f"[metrics] textfile: {path} does not end in .prom",
            hint="the node exporter reads no other files: name it ocrd.prom",
        )
    return path


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each request; none of them keeps the daemon from ending."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 32
    registry: ClassVar[CollectorRegistry]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or hung, is not our trouble."""
        log.debug("metrics_request_failed", client=str(client_address))
        del request


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version = "ocrd"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with all figures."""
        from prometheus_client.exposition import choose_encoder

        if self.path.partition("?")[0] not in {"/", "/metrics"}:
            self.send_error(404, explain="the figures are at /metrics")
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        assert isinstance(self.server, _Server), "only it starts handlers"
        body = encode(self.server.registry)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """A scrape every few seconds is no news."""


def _open_server(listen: str, registry: CollectorRegistry) -> _Server:
    import socket

    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = type("_Served", (_Server,), {"address_family": family, "registry": registry})
    try:
        server: _Server = kind((host, port), _Handler)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            raise TryAgainLater(
                f"[metrics] listen: another program listens on {listen}",
                hint=f"see: ss -ltnp sport = :{port}",
            ) from err
        raise ConfigError(
            f"[metrics] listen: {listen} cannot be opened: {err.strerror or err}",
            hint="choose another port: from 1024 on",
        ) from err
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
