"""The system unit's life on a really booted systemd, as a user sees it.

The tests share one installation and go in the order of a service's life; each of them finds it running.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from support import paper
from support.booted import CHECKOUT, COMMAND, USER, Booted, Service
from support.running import wait_until

pytestmark = pytest.mark.systemd

INBOX = f"/home/{USER}/Мои документы 100% %i"
CONFIG = f"/home/{USER}/.config/ocrd/config.toml"
SETTINGS = """
[inbox]
quiet_s = 0.3
settle_s = 1
[engine]
languages = ["eng"]
workers = 1
[output]
formats = ["txt"]
[daemon]
stop_timeout_s = 2
"""
LETTER = CHECKOUT / "samples" / "documents" / "letter_en.jpg"
PAGES = 30


@pytest.fixture(scope="module")
def installed(booted: Booted) -> Iterator[Service]:
    """The system unit of `u1`, by `ocrd service install`."""
    booted.make_folder(str(Path(CONFIG).parent))
    booted.write(CONFIG, SETTINGS)
    service = Service(booted, "system", INBOX)
    service.install()
    service.override("50-test", "[Service]\nRestartSec=500ms\n")
    yield service
    service.command("uninstall", "--yes", check=False)


@pytest.fixture
def service(installed: Service) -> Service:
    """It runs, with the settings of the beginning, and may be restarted as often as a test likes."""
    installed.guest.write(CONFIG, SETTINGS)
    installed.systemctl("reset-failed", check=False)
    installed.systemctl("restart")
    return installed


def many_pages(folder: Path) -> bytes:
    """A scan of many pages, each read in a fraction of a second."""
    return paper.write_pdf(
        folder / "many.pdf", *(f"This is page number {n}" for n in range(1, PAGES + 1))
    ).read_bytes()


def slow_page(folder: Path) -> bytes:
    """A page full of small type: many seconds for any engine."""
    page = Image.new("L", (3508, 4960), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.truetype(paper.FONT, 30)
    for line in range(50):
        draw.text(
            (60, 40 + 37 * line),
            f"{line} the quick brown fox jumps over the lazy dog; " * 5,
            fill=0,
            font=font,
        )
    page.save(folder / "slow.png", dpi=(300, 300))
    return (folder / "slow.png").read_bytes()


def test_it_is_installed_started_and_says_how_it_is(service: Service) -> None:
    assert service.shown("ActiveState") == "active"
    assert service.shown("UnitFileState") == "enabled"
    assert service.shown("User") == USER
    shown = wait_until(
        lambda: re.search(r"Status: \"(idle.*)\"", service.systemctl("status").stdout), "it is idle"
    )
    assert "documents done" in shown[1]


def test_it_needs_no_docker(service: Service) -> None:
    assert (
        service.guest.run(["systemctl", "is-active", "docker.service"], check=False).stdout.strip()
        != "active"
    )
    assert not service.guest.run(["ls", "/run/docker.sock"], check=False).stdout
    assert service.shown("ActiveState") == "active"


def test_it_works_behind_its_walls(service: Service) -> None:
    said = service.guest.run(["systemd-analyze", "security", "--no-pager", service.unit], check=False).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure
    assert float(exposure[1]) <= 2.0
    pid = str(service.main_pid)
    facts = dict(
        line.split(":\t", 1) for line in service.guest.run(["cat", f"/proc/{pid}/status"]).stdout.splitlines()
    )
    assert (int(facts["CapEff"], 16), facts["NoNewPrivs"], facts["Seccomp"]) == (0, "1", "2")
    service.guest.write(f"/home/{USER}/diary.txt", "nobody's business")
    seen = service.guest.run(
        ["nsenter", "-t", pid, "-m", "--", "ls", "-A", f"/home/{USER}"]
    ).stdout.splitlines()
    assert Path(INBOX).name in seen
    assert "diary.txt" not in seen


def test_its_user_looks_after_it_with_ocrd_service(service: Service) -> None:
    shown = service.command("status")
    assert service.unit in shown.stdout
    assert "started" in service.command("logs").stdout
    before = service.main_pid
    service.command("restart")
    service.await_active(other_than=before)
    assert service.json("status")["daemon"]["pid"] == service.main_pid


def test_installing_again_changes_nothing(service: Service) -> None:
    files = service.shown("FragmentPath"), service.shown("DropInPaths").replace("\\x20", " ")
    before = {path: service.guest.path(path).read_bytes() for path in " ".join(files).split()}
    service.install()
    assert {path: service.guest.path(path).read_bytes() for path in before} == before
    assert service.shown("ActiveState") == "active"


def test_a_dropped_file_gets_its_text_beside_it(service: Service) -> None:
    service.drop("письмо 100%.jpg", LETTER.read_bytes())
    assert service.await_state("письмо 100%.jpg")["state"] == "done"
    assert len(service.text("письмо 100%.jpg").split()) > 20
    owner = service.guest.path(f"{INBOX}/письмо 100%.jpg.txt").stat()
    assert owner.st_uid == service.guest.path(INBOX).stat().st_uid


def test_a_killed_daemon_comes_back_and_no_page_is_lost_or_read_twice(
    service: Service, tmp_path: Path
) -> None:
    service.drop("many.pdf", many_pages(tmp_path))
    wait_until(
        lambda: 0 < (service.job("many.pdf") or {"pages_done": 0})["pages_done"] < PAGES - 5,
        "it is in the middle",
    )
    killed = service.kill(signal.SIGKILL)
    service.await_active(other_than=killed)
    assert service.await_state("many.pdf")["state"] == "done"
    text = service.text("many.pdf")
    assert [int(n) for n in re.findall(r"page number (\d+)", text)] == list(range(1, PAGES + 1))
    pages = service.json("show", f"{INBOX}/many.pdf")["page_list"]
    assert [len(page["attempts"]) for page in pages] == [1] * PAGES


def test_a_daemon_that_hangs_is_started_anew(service: Service) -> None:
    service.override("60-watchdog", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\n")
    try:
        service.systemctl("restart")
        since = service.guest.cursor()
        hanging = service.kill(signal.SIGSTOP)
        service.await_active(other_than=hanging)
        said = [str(entry["MESSAGE"]) for entry in service.log(since)]
        assert any("Watchdog timeout" in line for line in said), said
    finally:
        service.override("60-watchdog", "")


def test_a_reload_tells_what_changed(service: Service) -> None:
    since, pid = service.guest.cursor(), service.main_pid
    service.guest.write(CONFIG, SETTINGS.replace('["txt"]', '["txt", "md"]'))
    service.systemctl("reload")
    (told,) = wait_until(lambda: service.events("settings_reloaded", since), "the log tells it")
    assert "[output] formats" in told
    assert service.main_pid == pid


def test_wrong_settings_are_refused_at_a_reload(service: Service) -> None:
    since, pid = service.guest.cursor(), service.main_pid
    service.guest.write(CONFIG, SETTINGS.replace("workers = 1", 'workers = "many"'))
    service.systemctl("reload")
    (told,) = wait_until(lambda: service.events("settings_refused", since), "the log tells it")
    assert "workers" in told
    assert service.main_pid == pid


def test_sigusr1_leaves_a_snapshot_in_the_log(service: Service) -> None:
    since = service.guest.cursor()
    service.kill(signal.SIGUSR1)
    (told,) = wait_until(lambda: service.events("snapshot", since), "the snapshot")
    assert "threads" in told


def test_a_stop_with_a_page_in_hand_is_in_time_and_gives_the_page_back(
    service: Service, tmp_path: Path
) -> None:
    service.drop("slow.png", slow_page(tmp_path))
    wait_until(lambda: "1 running" in service.shown("StatusText"), "the page is in hand")
    started = time.monotonic()
    service.systemctl("stop")
    assert time.monotonic() - started < 15
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
    assert service.json("jobs", "--state", f"/var/lib/ocrd/{USER}")["jobs"][0]["state"] in {
        "queued",
        "running",
    }
    service.systemctl("start")
    assert service.await_state("slow.png")["state"] == "done"


def test_broken_settings_end_it_without_a_loop_and_the_journal_says_why_as_an_error(service: Service) -> None:
    since = service.guest.cursor()
    service.guest.write(CONFIG, SETTINGS.replace("workers = 1", "workers = -1"))
    assert service.systemctl("restart", check=False).returncode != 0
    wait_until(lambda: service.shown("ActiveState") == "failed", "it has failed")
    assert service.shown("ExecMainStatus") == "78"
    assert service.shown("NRestarts") == "0"
    errors = [entry for entry in service.log(since) if "workers" in str(entry["MESSAGE"])]
    assert errors
    assert {entry["PRIORITY"] for entry in errors} == {"3"}


def test_it_is_there_after_a_reboot(service: Service) -> None:
    service.guest.power_off()
    service.guest.boot()
    service.await_active()
    service.drop("after.jpg", LETTER.read_bytes())
    assert service.await_state("after.jpg")["state"] == "done"


def test_uninstalling_leaves_the_data_and_says_where(service: Service) -> None:
    said = service.command("uninstall", "--yes").stdout
    assert f"/var/lib/ocrd/{USER}" in said
    assert service.shown("LoadState") == "not-found" or service.shown("UnitFileState") in {
        "",
        "disabled",
    }
    assert service.shown("ActiveState") == "inactive"
    assert service.guest.path(f"/var/lib/ocrd/{USER}/ocrd.db").is_file()
    assert len(service.text("письмо 100%.jpg").split()) > 20
    assert service.guest.path(CONFIG).is_file()
    assert (
        service.guest.run([COMMAND, "service", "uninstall", "--system", "--for", USER, "--yes"]).returncode
        == 0
    )
