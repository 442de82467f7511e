"""Metrics: real requests to the real page, read with Prometheus's own parser."""

from __future__ import annotations

import builtins
import http.client
import itertools
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ocrd import __version__
from ocrd.domain.errors import ConfigError, ExitCode, ServiceMissing, TryAgainLater
from ocrd.domain.jobs import DocumentState, PageState, Verdict
from ocrd.domain.serving import ServerState
from ocrd.settings import MetricsSettings
from ocrd.telemetry.metrics import Figures, Metrics, open_metrics, parse_listen

MIB = 1 << 20
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
SOMEWHERE = "127.0.0.1:0"

Open = Callable[..., Metrics]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens metrics, and closes them at the end."""
    all_of_them: list[Metrics] = []

    def open_them(**settings: str) -> Metrics:
        metrics = open_metrics(MetricsSettings(**settings))
        assert metrics is not None
        all_of_them.append(metrics)
        return metrics

    yield open_them
    for metrics in all_of_them:
        metrics.close()


def facts(**more: Any) -> dict[str, Any]:
    """A heartbeat as the daemon without a model server says it."""
    return {"inboxes": [], "server": None, "vram": None, "shifts": None, **more}


def parse(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(figures: Figures) -> Series:
    return parse(generate_latest(figures.registry).decode())


def value(found: Series, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def get(metrics: Metrics, path: str = "/metrics") -> tuple[int, str]:
    assert metrics.address is not None
    connection = http.client.HTTPConnection(*metrics.address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_nothing_is_opened_unless_it_is_asked_for() -> None:
    assert open_metrics(MetricsSettings()) is None


def test_the_page_tells_what_was_handed_in(opened: Open) -> None:
    metrics = opened(listen=SOMEWHERE)
    metrics.page("tesseract", "ok", 1.5)
    metrics.page("tesseract", "suspect", 30.0)
    metrics.update(
        facts(
            inboxes=[
                {"path": '/in/Мои "сканы"', "last_scan": time.time() - 7},
                {"path": "/new", "last_scan": None},
            ],
            server={"state": "ready"},
            vram={"used_mib": 9000, "free_mib": 0, "budget_mib": None},
        ),
        {"document": {"queued": 3}, "page": {"pending": 40, "done": 2}},
    )
    status, text = get(metrics)
    found = parse(text)
    assert status == 200
    assert value(found, "ocrd_documents", state="queued") == 3
    assert value(found, "ocrd_documents", state="failed") == 0
    assert value(found, "ocrd_pages", state="pending") == 40
    assert value(found, "ocrd_pages_read_total", engine="tesseract", verdict="suspect") == 1
    assert value(found, "ocrd_page_seconds_count", engine="tesseract") == 2
    assert value(found, "ocrd_page_seconds_bucket", engine="tesseract", le="2.5") == 1
    assert value(found, "ocrd_server_state", state="ready") == 1
    assert value(found, "ocrd_server_state", state="failed") == 0
    assert value(found, "ocrd_vram_bytes", kind="used") == 9000 * MIB
    assert value(found, "ocrd_vram_bytes", kind="free") == 0
    assert value(found, "ocrd_vram_bytes", kind="budget") is None
    age = value(found, "ocrd_last_scan_age_seconds", inbox='/in/Мои "сканы"')
    assert age is not None
    assert 7 <= age < 60
    assert value(found, "ocrd_last_scan_age_seconds", inbox="/new") is None
    assert value(found, "ocrd_build_info", version=__version__) == 1
    assert value(found, "process_open_fds")


def test_before_the_first_heartbeat_there_is_no_queue_rather_than_an_empty_one() -> None:
    found = series(Figures())
    assert value(found, "ocrd_documents", state="queued") is None
    assert value(found, "ocrd_swaps_total") == 0


def test_a_state_that_is_over_is_not_told_any_more() -> None:
    figures = Figures()
    figures.update(facts(server={"state": "starting"}, inboxes=[{"path": "/a", "last_scan": 1.0}]), {})
    figures.update(facts(server={"state": "ready"}), {})
    found = series(figures)
    assert value(found, "ocrd_server_state", state="starting") == 0
    assert value(found, "ocrd_last_scan_timestamp_seconds", inbox="/a") is None


@given(st.lists(st.sampled_from([None, "main", "fallback"]), max_size=20))
def test_a_swap_is_each_change_of_the_side(sides: list[str | None]) -> None:
    figures = Figures()
    for side in sides:
        figures.update(facts(shifts=None if side is None else {"side": side}), {})
    known = [side for side in sides if side is not None]
    swaps = sum(one is not other for one, other in itertools.pairwise(known))
    assert value(series(figures), "ocrd_swaps_total") == swaps


@given(
    st.dictionaries(st.sampled_from(list(DocumentState)), st.integers(0, 10**6)),
    st.dictionaries(st.sampled_from(list(PageState)), st.integers(0, 10**6)),
    st.sampled_from(list(ServerState)),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_whatever_is_handed_in_prometheus_can_read_it(
    documents: dict[str, int], pages: dict[str, int], state: str, inbox: str
) -> None:
    figures = Figures()
    figures.update(
        facts(server={"state": state}, inboxes=[{"path": inbox, "last_scan": 1.0}]),
        {"document": documents, "page": pages},
    )
    found = series(figures)
    assert all(value(found, "ocrd_documents", state=one) == documents.get(one, 0) for one in DocumentState)
    assert all(value(found, "ocrd_pages", state=one) == pages.get(one, 0) for one in PageState)
    assert sum(value(found, "ocrd_server_state", state=one) or 0 for one in ServerState) == 1
    assert sum(name == "ocrd_last_scan_timestamp_seconds" for name, _ in found) == 1


def test_pages_are_counted_from_many_threads() -> None:
    figures = Figures()
    threads = [
        threading.Thread(target=lambda: [figures.page("e", "ok", 1.0) for _ in range(200)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(series(figures), "ocrd_pages_read_total", engine="e", verdict="ok") == 1600


# --- the page -------------------------------------------------------------------------------------------------------


def test_only_the_figures_are_served(opened: Open) -> None:
    metrics = opened(listen=SOMEWHERE)
    assert get(metrics, "/metrics?x=1")[0] == 200
    assert get(metrics, "/etc/passwd")[0] == 404


def test_openmetrics_is_spoken_where_it_is_asked_for(opened: Open) -> None:
    metrics = opened(listen=SOMEWHERE)
    assert metrics.address is not None
    connection = http.client.HTTPConnection(*metrics.address, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    answer = connection.getresponse()
    assert "openmetrics-text" in answer.getheader("Content-Type", "")
    assert answer.read().endswith(b"# EOF\n")
    connection.close()


def test_clients_that_hang_or_go_away_hold_nobody_up(opened: Open) -> None:
    metrics = opened(listen=SOMEWHERE)
    assert metrics.address is not None
    hanging = [socket.create_connection(metrics.address) for _ in range(20)]
    for number, client in enumerate(hanging):
        client.sendall(b"GET /met" if number % 2 else b"GET /metrics HTTP/1.1\r\n\r\n")
    hanging.pop().close()
    metrics.update(facts(), {"document": {}, "page": {}})
    assert get(metrics)[0] == 200
    metrics.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(metrics.address)
    for client in hanging:
        client.close()


def test_the_port_is_free_again_at_once(opened: Open) -> None:
    first = opened(listen=SOMEWHERE)
    assert first.address is not None
    get(first)
    first.close()
    again = opened(listen=f"127.0.0.1:{first.address[1]}")
    assert get(again)[0] == 200


def test_a_port_that_is_taken_is_told(opened: Open) -> None:
    first = opened(listen=SOMEWHERE)
    assert first.address is not None
    with pytest.raises(TryAgainLater, match=f"another program listens on 127.0.0.1:{first.address[1]}"):
        open_metrics(MetricsSettings(listen=f"127.0.0.1:{first.address[1]}"))


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("127.8.0.1:1", ("127.8.0.1", 1)),
        ("localhost:9464", ("127.0.0.1", 9464)),
        ("[::1]:9464", ("::1", 9464)),
    ],
)
def test_addresses_of_this_machine(listen: str, address: tuple[str, int]) -> None:
    assert parse_listen(listen) == address


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:9464", ":9464", "[::]:9464", "192.168.1.5:9464", "example.org:80", "*:1", "127.0.0.1.:1"],
)
def test_no_other_machine_is_served(listen: str) -> None:
    with pytest.raises(ConfigError, match="on this machine only") as told:
        open_metrics(MetricsSettings(listen=listen))
    assert told.value.exit_code is ExitCode.CONFIG


@pytest.mark.parametrize(
    "listen",
    [
        "9464",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "localhost:-1",
        "localhost:" + 5000 * "9",
    ],
)
def test_what_is_no_address_with_a_port_is_told(listen: str) -> None:
    with pytest.raises(ConfigError, match="is not an address with a port"):
        parse_listen(listen)


@given(st.text())
def test_a_listen_setting_is_an_own_address_or_an_error(listen: str) -> None:
    try:
        host, port = parse_listen(listen)
    except ConfigError:
        return
    assert host.startswith("127.") or ":" in host
    assert 0 <= port <= 65535


# --- the text file --------------------------------------------------------------------------------------------------


def test_the_text_file_is_there_from_the_start_and_holds_the_last_figures_at_the_end(
    opened: Open, tmp_path: Path
) -> None:
    file = tmp_path / "ocrd.prom"
    metrics = opened(textfile=str(file))
    assert value(parse(file.read_text()), "ocrd_build_info", version=__version__) == 1
    first = file.stat().st_ino
    metrics.update(facts(), {"document": {"done": 5}, "page": {}})
    metrics.close()
    assert value(parse(file.read_text()), "ocrd_documents", state="done") == 5
    assert file.stat().st_ino != first, "it is put in place whole, never written over"
    assert os.listdir(tmp_path) == ["ocrd.prom"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o044 == 0o044 & ~_umask(), "the node exporter is another user"


def test_a_text_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing/ocrd\.prom cannot be written: No such file"):
        open_metrics(MetricsSettings(textfile=str(tmp_path / "missing" / "ocrd.prom")))


def test_a_text_file_that_can_no_more_be_written_ends_nothing(
    opened: Open, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "collector"
    folder.mkdir()
    metrics = opened(textfile=str(folder / "ocrd.prom"))
    (folder / "ocrd.prom").unlink()
    folder.rmdir()
    metrics.close()
    assert "metrics_file_failed" in "".join(capfd.readouterr())


def test_a_name_that_the_node_exporter_does_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not end in \.prom"):
        open_metrics(MetricsSettings(textfile=str(tmp_path / "ocrd.txt")))


def test_without_the_package_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ServiceMissing) as told:
        open_metrics(MetricsSettings(listen=SOMEWHERE))
    assert "pip install 'prometheus-client" in told.value.hint


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# --- the document ---------------------------------------------------------------------------------------------------


def test_the_document_lists_every_figure_and_no_other() -> None:
    figures = Figures()
    figures.page("tesseract", "ok", 1.0)
    figures.update(
        facts(inboxes=[{"path": "/a", "last_scan": 1.0}], server={"state": "ready"}, vram={"used_mib": 1}),
        {"document": {}, "page": {}},
    )
    families = text_string_to_metric_families(generate_latest(figures.registry).decode())
    told = {f"{one.name}_total" if one.type == "counter" else one.name for one in families}
    listed = re.findall(r"^\| `(\w+)`", DOCUMENT.read_text(), re.MULTILINE)
    assert {name for name in told if not name.startswith("process_")} == set(listed)


@pytest.mark.parametrize("states", [DocumentState, PageState, Verdict])
def test_the_document_lists_every_state(states: type[StrEnum]) -> None:
    text = DOCUMENT.read_text()
    assert [state for state in states if f"`{state}`" not in text] == []
