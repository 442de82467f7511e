"""The user unit's life on a really booted systemd: no root, linger, an upgrade from an older store."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support import paper
from support.booted import CHECKOUT, PREFIX, USER, Booted, Service
from support.running import wait_until

from ocrd.store import schema

pytestmark = pytest.mark.systemd

INBOX = f"/home/{USER}/Вход 50% %h"
CONFIG = f"/home/{USER}/.config/ocrd/config.toml"
STATE = f"/home/{USER}/.local/state/ocrd"
SETTINGS = '[inbox]\nquiet_s = 0.3\n[engine]\nlanguages = ["eng"]\nworkers = 1\n[output]\nformats = ["txt"]\n'
LETTER = CHECKOUT / "samples" / "documents" / "letter_en.jpg"
MAKE_OLD_STORE = """
import sys
from alembic import command
from alembic.config import Config
from ocrd.store import schema
config = Config()
config.set_main_option("script_location", schema.migrations_folder())
config.attributes["path"] = sys.argv[1]
command.upgrade(config, "0001")
"""


@pytest.fixture(scope="module")
def installed(booted: Booted) -> Iterator[Service]:
    """The user unit of `u1`, who lingers; its first start finds a store of the first version, which is paused."""
    booted.make_folder(str(Path(CONFIG).parent))
    booted.write(CONFIG, SETTINGS)
    booted.run(["loginctl", "enable-linger", USER])
    booted.await_user_manager()
    booted.make_folder(STATE)
    booted.run([f"{PREFIX}/bin/python", "-c", MAKE_OLD_STORE, f"{STATE}/ocrd.db"], user=USER)
    with closing(sqlite3.connect(booted.path(f"{STATE}/ocrd.db"))) as store, store:
        store.execute("INSERT INTO daemon (key, value, at) VALUES ('paused', 'true', 0)")
    service = Service(booted, "user", INBOX)
    service.install()
    service.override("50-test", "[Service]\nRestartSec=500ms\n")
    yield service
    service.command("uninstall", "--yes", check=False)


@pytest.fixture
def service(installed: Service) -> Service:
    """It runs, and may be restarted as often as a test likes."""
    installed.systemctl("reset-failed", check=False)
    if installed.shown("ActiveState") != "active":
        installed.systemctl("start")
    return installed


def test_without_a_service_manager_of_the_users_it_is_told_what_to_do(booted: Booted) -> None:
    booted.make_folder(INBOX)
    asked = Service(booted, "user", INBOX).command("install", "--inbox", INBOX, "--yes", check=False)
    assert asked.returncode == 1
    assert "loginctl enable-linger" in asked.stderr


def test_an_older_store_is_backed_up_and_upgraded_before_the_service_is_ready(service: Service) -> None:
    state = service.guest.path(STATE)
    (copy,) = (state / "backups").glob(f"ocrd-*-before-{schema.HEAD}.db")
    assert schema.revision_of(str(copy)) == "0001"
    with closing(sqlite3.connect(state / "ocrd.db")) as store:
        assert store.execute("SELECT version_num FROM alembic_version").fetchone() == (schema.HEAD,)
    wait_until(lambda: service.shown("StatusText").startswith("paused"), "what was in it counts")
    service.guest.run([f"{PREFIX}/bin/ocrd", "resume"], user=USER)
    wait_until(lambda: service.shown("StatusText").startswith("idle"), "it goes on")


def test_it_reads_what_is_dropped_and_comes_back_when_killed(service: Service, tmp_path: Path) -> None:
    service.drop(
        "many.pdf",
        paper.write_pdf(tmp_path / "many.pdf", *(f"Page number {n}" for n in range(20))).read_bytes(),
    )
    wait_until(
        lambda: 0 < (service.job("many.pdf") or {"pages_done": 0})["pages_done"] < 15, "it is in the middle"
    )
    killed = service.kill(signal.SIGKILL)
    service.await_active(other_than=killed)
    assert service.await_state("many.pdf")["state"] == "done"
    assert [int(n) for n in re.findall(r"Page number (\d+)", service.text("many.pdf"))] == list(range(20))


def test_a_reload_reaches_it(service: Service) -> None:
    since = service.guest.cursor()
    service.guest.write(CONFIG, SETTINGS.replace('["txt"]', '["md"]'))
    service.systemctl("reload")
    (told,) = wait_until(lambda: service.events("settings_reloaded", since), "the log tells it")
    assert "[output] formats" in told
    service.guest.write(CONFIG, SETTINGS)
    service.systemctl("reload")


def test_it_is_there_after_a_reboot_though_nobody_logs_in(service: Service) -> None:
    service.guest.power_off()
    service.guest.boot()
    service.guest.await_user_manager()
    service.await_active()
    service.drop("after.jpg", LETTER.read_bytes())
    assert service.await_state("after.jpg")["state"] == "done"


def test_uninstalling_leaves_the_data_and_says_where(service: Service) -> None:
    said = service.command("uninstall", "--yes").stdout
    assert STATE in said
    assert service.shown("ActiveState") == "inactive"
    assert service.shown("UnitFileState") in {"", "disabled"}
    assert service.guest.path(f"{STATE}/ocrd.db").is_file()
    assert "Page number 7" in service.text("many.pdf")
    assert service.guest.path(CONFIG).is_file()
