"""The daemon as its service manager meets it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support import paper
from support.running import Ocrd, wait_until

from ocrd.daemon.herald import HEARTBEAT_S

PLUGIN = Path(__file__).parents[1] / "fakes" / "plugin"


def test_a_dead_thread_ends_the_daemon_with_an_error(ocrd: Ocrd) -> None:
    ocrd.start()
    with closing(sqlite3.connect(ocrd.state / "ocrd.db", timeout=30)) as store:
        store.execute("ALTER TABLE documents RENAME TO taken_away")
    assert ocrd.process is not None
    assert ocrd.process.wait(30) == 1
    assert ocrd.events("thread_died") != [] or "documents" in ocrd.log.read_text()


class Manager:
    """systemd's end of the socket."""

    def __init__(self, ocrd: Ocrd) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(ocrd.folder / "notify")
        self._socket.bind(address)
        self._socket.settimeout(60)
        ocrd.env["NOTIFY_SOCKET"] = address
        self.heard: list[dict[str, str]] = []

    def listen(self) -> dict[str, str]:
        """The next message."""
        message = dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))
        self.heard.append(message)
        return message

    def await_message(self, name: str, containing: str = "") -> dict[str, str]:
        """The next message that has a field, with this in it."""
        end = time.monotonic() + 60
        while name not in (message := self.listen()) or containing not in message[name]:
            assert time.monotonic() < end, f"no {name} with {containing!r} in {self.heard}"
        return message

    def drain(self) -> list[dict[str, str]]:
        """What was said since, without waiting for more."""
        told = []
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                told.append(self.listen())
        self._socket.settimeout(60)
        return told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(ocrd: Ocrd) -> Iterator[Manager]:
    """Who listens as systemd would."""
    listening = Manager(ocrd)
    yield listening
    listening.close()


def test_systemd_hears_that_the_daemon_is_ready_lives_works_and_stops(ocrd: Ocrd, manager: Manager) -> None:
    paper.write_pdf(ocrd.inbox / "two.pdf", "First", "Second")
    ocrd.start(ready=False)
    assert "EXTEND_TIMEOUT_USEC" in manager.listen(), "an upgrade of the store may take its time"
    assert manager.listen()["READY"] == "1"
    manager.await_message("WATCHDOG")
    manager.await_message("STATUS", "idle; 1 documents done")
    assert ocrd.process is not None
    ocrd.process.terminate()
    assert "STATUS" in manager.await_message("STOPPING")
    assert int(manager.await_message("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) > 20e6
    assert ocrd.process.wait(30) == 0


def test_a_hanging_engine_starves_the_watchdog_and_is_named(ocrd: Ocrd, manager: Manager) -> None:
    ocrd.env |= {
        "PYTHONPATH": str(PLUGIN),
        "OCRD_ENGINE__PAGE_TIMEOUT_S": "1",
        "OCRD_DAEMON__HANG_GRACE_S": "1",
        "OCRD_ENGINE__KIND": "hanging",
    }
    paper.write_pdf(ocrd.inbox / "one.pdf", "A")
    ocrd.start()
    hangs = wait_until(lambda: ocrd.events("work_hangs"), "the log says what hangs")
    assert hangs[0]["what"] == ["reading page 1"]
    wait_until(lambda: ocrd.status()["daemon"]["heartbeat_age_s"] < 3, "the rest goes on")
    manager.drain()
    ocrd.send_signal(signal.SIGUSR1)
    wait_until(lambda: ocrd.events("snapshot"), "the loop goes on")
    assert not [message for message in manager.drain() if "WATCHDOG" in message]
    (snapshot,) = ocrd.events("snapshot")
    assert snapshot["promises_broken"] == ["reading page 1"]
    assert "recognize" in " ".join(snapshot["threads"].values())
    ocrd.send_signal(signal.SIGTERM)
    manager.await_message("STOPPING")
    ocrd.send_signal(signal.SIGTERM)  # a second one does not wait for what hangs
    assert ocrd.process is not None
    assert ocrd.process.wait(10) == 128 + signal.SIGTERM


def test_a_write_that_never_ends_starves_the_watchdog_and_shows_in_status(
    ocrd: Ocrd, manager: Manager
) -> None:
    ocrd.env["OCRD_FAULT"] = "page.land.commit:hang"
    ocrd.start()
    paper.write_pdf(ocrd.inbox / "one.pdf", "Scan sheet one")

    def age_s() -> float:
        heard.extend(manager.drain())  # a full socket would hold the daemon up, too
        return float(ocrd.status()["daemon"]["heartbeat_age_s"])

    heard: list[dict[str, str]] = []
    wait_until(lambda: age_s() > 2 * HEARTBEAT_S, "nothing is written any more")
    heard.clear()
    before = age_s()
    wait_until(lambda: age_s() > before + HEARTBEAT_S / 2, "nor later")
    assert not [message for message in heard if "WATCHDOG" in message]
    ocrd.stop(signal.SIGKILL)
    del ocrd.env["OCRD_FAULT"]
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("one.pdf").strip() == "Scan sheet one"


def test_sighup_reads_the_settings_again_and_tells_what_counts_when(ocrd: Ocrd, manager: Manager) -> None:
    settings = ocrd.folder / "settings.toml"
    settings.write_text('[output]\nformats = ["txt"]\n')
    ocrd.env["OCRD_CONFIG"] = str(settings)
    ocrd.start()
    settings.write_text('[output]\nformats = ["md"]\n[raster]\ndpi = 150\n')
    ocrd.send_signal(signal.SIGHUP)
    assert int(manager.await_message("RELOADING")["MONOTONIC_USEC"]) > 0
    manager.await_message("READY")
    (told,) = wait_until(lambda: ocrd.events("settings_reloaded"), "the log tells what changed")
    assert told["changed"] == ["[raster] dpi: 200 → 150", '[output] formats: ["txt"] → ["md"]']
    assert told["needs_restart"] == ["[raster] dpi"]
    wait_until(lambda: ocrd.status()["daemon"]["restart_for"] == ["[raster] dpi"], "status tells it too")
    paper.write_pdf(ocrd.inbox / "one.pdf", "A")
    ocrd.await_state("one.pdf", "done")
    assert sorted(path.name for path in ocrd.inbox.iterdir()) == ["one.pdf", "one.pdf.md"]


def test_wrong_settings_are_refused_at_a_reload_and_the_old_ones_stay(ocrd: Ocrd, manager: Manager) -> None:
    settings = ocrd.folder / "settings.toml"
    settings.write_text("")
    ocrd.env["OCRD_CONFIG"] = str(settings)
    ocrd.start()
    settings.write_text("[raster]\ndpi = 3\n")
    ocrd.send_signal(signal.SIGHUP)
    (told,) = wait_until(lambda: ocrd.events("settings_refused"), "the log tells what is wrong")
    assert "raster.dpi must be at least 50" in told["reason"]
    manager.await_message("RELOADING")
    manager.await_message("READY")
    paper.write_pdf(ocrd.inbox / "one.pdf", "A")
    ocrd.await_state("one.pdf", "done")


def test_a_format_whose_packages_are_missing_is_refused_at_a_reload(ocrd: Ocrd) -> None:
    hidden = ocrd.folder / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'img2pdf' else find(name, *more)\n"
    )
    settings = ocrd.folder / "settings.toml"
    settings.write_text("")
    known = [ocrd.env["PYTHONPATH"]] if "PYTHONPATH" in ocrd.env else []
    ocrd.env |= {"OCRD_CONFIG": str(settings), "PYTHONPATH": os.pathsep.join([str(hidden), *known])}
    ocrd.start()
    settings.write_text('[output]\nformats = ["txt", "pdf"]\n')
    ocrd.send_signal(signal.SIGHUP)
    (told,) = wait_until(lambda: ocrd.events("settings_refused"), "the log tells what is missing")
    assert "img2pdf is not installed" in told["reason"]
    assert "pip install" in told["next"]
    paper.write_png(ocrd.inbox / "one.png", "Hello")
    ocrd.await_state("one.png", "done")
    assert ocrd.stop() == 0


def test_a_page_and_a_document_leave_one_line_each_in_the_log(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "two.pdf", "First", "Second")
    ocrd.start()
    ocrd.await_state("two.pdf", "done")
    ocrd.stop()
    assert sorted(event["page"] for event in ocrd.events("page_settled")) == [1, 2]
    (finished,) = ocrd.events("document_finished")
    assert (finished["state"], finished["pages"]) == ("done", 2)
    assert finished["file"].endswith("two.pdf")
    assert "First" not in ocrd.log.read_text(), "page text does not belong into logs"


def test_the_figures_for_prometheus_follow_the_work(ocrd: Ocrd) -> None:
    figures = ocrd.folder / "ocrd.prom"
    ocrd.env["OCRD_METRICS__TEXTFILE"] = str(figures)
    paper.write_pdf(ocrd.inbox / "two.pdf", "First", "Second")
    ocrd.start()
    ocrd.await_state("two.pdf", "done")
    assert ocrd.stop() == 0
    text = figures.read_text()
    assert 'ocrd_documents{state="done"} 1.0' in text
    assert 'ocrd_pages_read_total{engine="tesseract",verdict="ok"} 2.0' in text
    assert "ocrd_last_scan_timestamp_seconds" in text
