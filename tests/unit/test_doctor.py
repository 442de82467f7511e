"""`ocrd doctor`: what facts mean, on machines that are not here. How it looks at this one: test_cli, test_machine."""

from __future__ import annotations

import datetime as dt
import os
import re
import stat
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocrd.cli import (
    doctor_docker,
    doctor_engine,
    doctor_folders,
    doctor_machine,
    doctor_models,
    doctor_server,
    doctor_service,
    doctor_steps,
    doctor_wsl,
)
from ocrd.cli.doctor_docker import Person
from ocrd.cli.doctor_folders import InboxFolder, StateFolder, Watching
from ocrd.cli.doctor_service import Facts, Unit
from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import StoreError
from ocrd.domain.planning import Card
from ocrd.domain.serving import ContainerEngine
from ocrd.host.machine import Door, Probe
from ocrd.host.systemd import Kind
from ocrd.settings import Settings


def results(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.result) for finding in findings]


def at(year: int) -> float:
    return dt.datetime(year, 7, 1, 12, tzinfo=dt.UTC).timestamp()


# --- the machine --------------------------------------------------------------------------------------------


def test_an_old_sqlite_is_a_failure() -> None:
    assert doctor_machine.judge_sqlite((3, 34, 1)).result == FAILURE
    assert doctor_machine.judge_sqlite((3, 35, 0)).result == OK
    assert "FTS5" in doctor_machine.judge_sqlite((3, 35, 0), has_search=False).message


@pytest.mark.parametrize(
    ("now", "hardware", "result"),
    [
        (0.0, None, FAILURE),  # no battery, no network
        (at(2023), at(2023), FAILURE),
        (at(2026), None, OK),
        (at(2026), at(2026) + 2, OK),
        (at(2026), at(2026) + 3 * 3600 - 5, OK),  # the hardware clock keeps local time
        (at(2026), at(2026) + 3000, WARNING),  # slept for 50 minutes
        (at(2026), at(2026) - 400, WARNING),
    ],
)
def test_the_clock_is_held_against_reason_and_against_the_hardware(
    now: float, hardware: float | None, result: str
) -> None:
    assert doctor_machine.judge_clock(now, hardware, is_wsl=False).result == result
    finding = doctor_machine.judge_clock(now, hardware, is_wsl=True)
    assert finding.fix == ("" if result == OK else "sudo hwclock -s")


# --- WSL ----------------------------------------------------------------------------------------------------


def test_wsl_1_is_a_failure_and_nothing_more_is_said() -> None:
    (finding,) = doctor_wsl.judge(doctor_wsl.Facts(1, stays_alive=False, is_mirrored=True))
    assert finding.result == FAILURE
    assert "wsl --set-version" in finding.fix


def test_wsl_2_stops_after_its_last_terminal_unless_told_otherwise() -> None:
    asleep = list(doctor_wsl.judge(doctor_wsl.Facts(2, stays_alive=False, is_mirrored=False)))
    assert results(asleep) == [("wsl", OK), ("wsl", WARNING)]
    assert "docs/wsl.md" in asleep[1].fix
    awake = doctor_wsl.judge(doctor_wsl.Facts(2, stays_alive=True, is_mirrored=False))
    assert results(awake) == [("wsl", OK), ("wsl", OK)]


def test_a_mirrored_network_is_told() -> None:
    found = list(doctor_wsl.judge(doctor_wsl.Facts(2, stays_alive=True, is_mirrored=True)))
    assert [one.result for one in found] == [OK, OK, WARNING]
    assert "127.0.0.1" in found[2].message


# --- the store ----------------------------------------------------------------------------------------------

STATE = StateFolder(
    path="/var/lib/ocrd/ivan",
    exists=True,
    file_system="ext4",
    there="/var/lib/ocrd/ivan",
    owner="ivan",
    mode=0o700,
    may_write=True,
    free_mib=50_000,
    has_daemon=False,
    me="ivan",
)


@pytest.mark.parametrize(
    ("change", "result", "words"),
    [
        ({}, OK, "no daemon runs with it"),
        ({"has_daemon": True}, OK, "a daemon runs with it"),
        ({"file_system": "drvfs"}, FAILURE, "local Linux disk"),
        ({"file_system": "nfs4"}, FAILURE, "local Linux disk"),
        ({"may_write": False, "owner": "root"}, FAILURE, "chown -R ivan"),
        (
            {"may_write": False, "exists": False, "there": "/var/lib", "owner": "root"},
            FAILURE,
            "sudo install -d -m 700 -o ivan /var/lib/ocrd/ivan",
        ),
        ({"me": "root"}, WARNING, "sudo -u ivan ocrd doctor"),
        ({"mode": 0o755}, WARNING, "chmod 700"),
        ({"exists": False, "there": "/var/lib", "owner": "root", "mode": 0o755}, OK, "MiB free"),
        ({"free_mib": 800}, WARNING, "800 MiB"),
        ({"free_mib": None}, OK, "free space unknown"),
    ],
)
def test_the_folder_of_the_store(change: dict[str, Any], result: str, words: str) -> None:
    finding = doctor_folders.judge_state(replace(STATE, **change))
    assert finding.result == result
    assert words in f"{finding.message} {finding.fix}"


# --- inboxes ------------------------------------------------------------------------------------------------

INBOX = InboxFolder(
    path="/srv/my inbox",
    file_system="ext4",
    has_events=True,
    owner="ivan",
    group="scans",
    mode=0o2775,
    free_mib=9000,
    probe=Probe(),
    me="ivan",
)


@pytest.mark.parametrize(
    ("change", "expected", "words"),
    [
        ({}, [("inbox", OK)], "ivan:scans, mode 2775"),
        ({"file_system": "drvfs", "has_events": False}, [("inbox", OK)], "drvfs, polling"),
        (
            {"probe": Probe("create", "Permission denied")},
            [("inbox", FAILURE)],
            "chmod u+rwx '/srv/my inbox'",
        ),
        (
            {"probe": Probe("create", "Permission denied"), "owner": "olga"},
            [("inbox", FAILURE)],
            "setfacl -m u:ivan:rwx '/srv/my inbox', or run ocrd as olga",
        ),
        ({"probe": Probe("create", "Read-only file system")}, [("inbox", FAILURE)], "mount it for writing"),
        ({"probe": Probe("create", "No space left on device")}, [("inbox", FAILURE)], "free some space"),
        ({"probe": Probe("rename", "Operation not permitted")}, [("inbox", FAILURE)], "cannot rename"),
        (
            {"probe": Probe("delete", "Operation not permitted", "/srv/my inbox/.ocrd-doctor-1-2")},
            [("inbox", FAILURE), ("inbox", WARNING)],
            "rm '/srv/my inbox/.ocrd-doctor-1-2'",
        ),
        ({"me": "root"}, [("inbox", WARNING)], "sudo -u ivan ocrd doctor"),
        ({"free_mib": 12}, [("inbox", OK), ("inbox", WARNING)], "only 12 MiB free"),
        ({"probe": Probe(skew_s=-7200.0)}, [("inbox", OK), ("clock", WARNING)], "7200 s in the past"),
    ],
)
def test_an_inbox(change: dict[str, Any], expected: list[tuple[str, str]], words: str) -> None:
    found = list(doctor_folders.judge_inbox(replace(INBOX, **change)))
    assert results(found) == expected
    assert any(words in f"{one.message} {one.fix}" for one in found)


WATCHING = Watching(watches=65_536, instances=128, refusal="", folders=10, counted_all=True)


@pytest.mark.parametrize(
    ("change", "result", "words"),
    [
        ({}, OK, "10"),
        ({"refusal": "Too many open files"}, WARNING, "max_user_instances=512"),
        ({"folders": 65_537, "counted_all": False}, WARNING, "at least 65537 folders"),
        ({"watches": 4096}, WARNING, "max_user_watches=524288"),
    ],
)
def test_limits_of_inotify(change: dict[str, Any], result: str, words: str) -> None:
    finding = doctor_folders.judge_watching(replace(WATCHING, **change))
    assert finding.result == result
    assert words in f"{finding.message} {finding.fix}"


# --- Docker -------------------------------------------------------------------------------------------------

IVAN = Person("ivan", is_wsl=False)
DENIED = Door(
    "/var/run/docker.sock",
    is_there=True,
    real="/run/docker.sock",
    group="docker",
    refusal="Permission denied",
)


@pytest.mark.parametrize(
    ("door", "person", "words"),
    [
        (Door("/run/docker.sock", refusal="No such file or directory"), IVAN, "systemctl start docker"),
        (
            Door("/run/docker.sock", refusal="No such file or directory"),
            Person("ivan", True),
            "Docker Desktop",
        ),
        (DENIED, IVAN, "sudo usermod -aG docker ivan"),
        (replace(DENIED, is_member=True), IVAN, "log out and in again"),
        (replace(DENIED, is_member=True), Person("ivan", True), "wsl --shutdown"),
        (replace(DENIED, is_member=True, has_group=True), IVAN, "docker_host"),
        (replace(DENIED, group="root"), IVAN, "docker_host"),
        (replace(DENIED, refusal="Connection refused"), IVAN, "systemctl restart docker"),
        (
            replace(DENIED, refusal="timed out", real="/mnt/wsl/docker-desktop/shared-sockets/docker.sock"),
            Person("ivan", True),
            "restart Docker Desktop",
        ),
    ],
)
@pytest.mark.parametrize("worst", [WARNING, FAILURE])
def test_why_docker_cannot_be_reached(door: Door, person: Person, words: str, worst: str) -> None:
    finding = doctor_docker.judge_refusal(door, person, worst)
    assert finding.result == worst
    assert words in finding.fix


def test_a_member_whose_session_is_older_is_not_told_to_join_again() -> None:
    finding = doctor_docker.judge_refusal(replace(DENIED, is_member=True), IVAN, FAILURE)
    assert "does not know it yet" in finding.message
    assert "usermod" not in finding.fix


ENGINE = ContainerEngine(
    version="29.1.0",
    api_version="1.52",
    runtimes=("io.containerd.runc.v2", "runc"),
    has_cdi=False,
    kernel="6.1.0-18-amd64",
    operating_system="Debian GNU/Linux 12",
)
OPEN = replace(DENIED, refusal="", has_group=True, is_member=True)


@pytest.mark.parametrize(
    ("told", "person", "needs_gpu", "result"),
    [
        (ENGINE, IVAN, True, WARNING),
        (ENGINE, IVAN, False, OK),
        (replace(ENGINE, runtimes=("nvidia", "runc")), IVAN, True, OK),
        (replace(ENGINE, has_cdi=True), IVAN, True, OK),
        (ENGINE, Person("ivan", True), True, OK),  # Docker Desktop lists no runtime
        (replace(ENGINE, operating_system="Docker Desktop"), IVAN, True, OK),
    ],
)
def test_whether_docker_knows_gpus(
    told: ContainerEngine, person: Person, needs_gpu: bool, result: str
) -> None:
    finding = doctor_docker.judge_engine(told, OPEN, person, needs_gpu=needs_gpu)
    assert finding.result == result
    assert "as ivan through the group docker" in finding.message
    assert ("nvidia-ctk" in finding.fix) is (result == WARNING)


# --- GPUs and models ----------------------------------------------------------------------------------------


def test_each_gpu_is_told_with_its_memory_and_driver() -> None:
    cards = {
        0: Card(name="A", total_mib=12_227, free_mib=11_469),
        2: Card(name="B", total_mib=8188, free_mib=3000, is_wsl=True),
    }
    found = list(doctor_server.judge_cards(cards, "560.35"))
    assert results(found) == [("gpu", OK), ("gpu", OK)]
    assert found[0].message == "0: A, 12227 MiB, 11469 free, driver 560.35"
    assert found[1].message == "2: B, 8188 MiB, 3000 free, Windows' driver 560.35"
    assert all("unknown" in one.message for one in doctor_server.judge_cards(cards, ""))


def status(mode: int, *, uid: int, gid: int) -> Any:
    return cast("Any", SimpleNamespace(st_mode=mode, st_uid=uid, st_gid=gid))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "readable"),
    [
        (stat.S_IFREG | 0o600, 1000, 1000, False),  # CAP_DAC_OVERRIDE is dropped
        (stat.S_IFREG | 0o644, 1000, 1000, True),
        (stat.S_IFREG | 0o600, 0, 0, True),
        (stat.S_IFREG | 0o640, 1000, 0, True),
        (stat.S_IFREG | 0o604, 1000, 0, False),
        (stat.S_IFDIR | 0o700, 1000, 1000, False),
        (stat.S_IFDIR | 0o744, 1000, 1000, False),
        (stat.S_IFDIR | 0o755, 1000, 1000, True),
    ],
)
def test_root_without_capabilities_reads_what_everybody_may(
    mode: int, uid: int, gid: int, readable: bool
) -> None:
    assert doctor_models.may_read(status(mode, uid=uid, gid=gid)) is readable


def test_model_files_that_a_container_cannot_read_are_told() -> None:
    folder = "/home/ivan/my cache/models--org--name"
    assert list(doctor_models.judge_readable(folder, "", 0)) == []
    (finding,) = doctor_models.judge_readable(folder, f"{folder}/blobs/aa", 3)
    assert finding.result == WARNING
    assert "and 2 more" in finding.message
    assert finding.fix == f"chmod -R a+rX '{folder}'"


def test_a_cache_on_a_drive_of_windows_is_slow() -> None:
    assert results(doctor_models.judge_cache("/mnt/c/hf", "drvfs")) == [("cache", WARNING)]
    assert list(doctor_models.judge_cache("/home/ivan/hf", "ext4")) == []


# --- the service --------------------------------------------------------------------------------------------

BOOTED = Facts(is_booted=True, is_wsl=False, wsl_conf_has_systemd=False, user="ivan")
SYSTEM = Unit(Kind.SYSTEM, "ocrd@ivan.service", is_installed=True, active="active", is_enabled=True)
USER = Unit(Kind.USER, "ocrd.service", is_installed=True, active="active", is_enabled=True)


def test_no_systemd_is_no_fault_but_under_wsl() -> None:
    facts = replace(BOOTED, is_booted=False)
    assert results(doctor_service.judge(facts)) == [("systemd", OK)]
    (off,) = doctor_service.judge(replace(facts, is_wsl=True))
    assert off.result == WARNING
    assert "systemd=true" in off.fix
    (pending,) = doctor_service.judge(replace(facts, is_wsl=True, wsl_conf_has_systemd=True))
    assert pending.result == WARNING
    assert "systemd=true" not in pending.fix


@pytest.mark.parametrize(
    ("unit", "result", "words"),
    [
        (SYSTEM, OK, "starts by itself"),
        (replace(SYSTEM, active="reloading"), OK, "starts by itself"),
        (replace(SYSTEM, active="failed", result="watchdog"), FAILURE, "journalctl --unit ocrd@ivan.service"),
        (replace(SYSTEM, active="activating"), WARNING, "again and again"),
        (replace(SYSTEM, active="inactive"), WARNING, "sudo systemctl enable --now ocrd@ivan.service"),
        (replace(SYSTEM, is_enabled=False), WARNING, "sudo systemctl enable ocrd@ivan.service"),
        (replace(USER, active=doctor_service.SILENT), WARNING, "log in as this user"),
        (replace(USER, active="inactive"), WARNING, "systemctl --user enable --now ocrd.service"),
    ],
)
def test_a_unit(unit: Unit, result: str, words: str) -> None:
    found = [one for one in doctor_service.judge(replace(BOOTED, units=(unit,))) if one.check == "service"]
    assert [one.result for one in found] == [result]
    assert words in f"{found[0].message} {found[0].fix}"


def test_a_service_of_a_user_lingers_or_ends_with_the_login() -> None:
    facts = replace(BOOTED, units=(USER,))
    found = {one.check: one for one in doctor_service.judge(facts)}
    assert found["linger"].fix == "sudo loginctl enable-linger ivan"
    assert ("linger", OK) in results(doctor_service.judge(replace(facts, lingers=True)))
    assert "linger" not in {one.check for one in doctor_service.judge(replace(BOOTED, units=(SYSTEM,)))}


def test_services_of_both_kinds_are_one_too_many() -> None:
    found = results(doctor_service.judge(replace(BOOTED, units=(SYSTEM, USER), lingers=True)))
    assert ("service", WARNING) in found
    assert ("service", WARNING) not in results(doctor_service.judge(replace(BOOTED, units=(SYSTEM,))))


@pytest.mark.parametrize(
    ("shown", "is_installed", "active", "is_enabled"),
    [
        (("loaded", "failed", "enabled", "exit-code", ""), True, "failed", True),
        (("loaded", "active", "enabled-runtime", "success", ""), True, "active", True),
        (("loaded", "inactive", "disabled", "success", "/etc/…/10-ocrd.conf"), True, "inactive", False),
        (
            ("loaded", "inactive", "disabled", "success", ""),
            False,
            "inactive",
            False,
        ),  # another user's template
        (("not-found", "inactive", "", "success", ""), False, "inactive", False),
        (("", "", "", "", ""), False, "inactive", False),
    ],
)
def test_a_unit_by_its_properties(
    shown: tuple[str, ...], is_installed: bool, active: str, is_enabled: bool
) -> None:
    properties = dict(zip(doctor_service.PROPERTIES, shown, strict=True))
    unit = doctor_service.unit_of(Kind.SYSTEM, "u", properties)
    assert (unit.is_installed, unit.active, unit.is_enabled) == (is_installed, active, is_enabled)


def test_what_the_daemon_says_of_itself() -> None:
    told = {
        "paused": False,
        "daemon": {"alive": True, "pid": 7, "heartbeat_age_s": 1.0},
        "engine": {"problem": ""},
    }
    assert results(doctor_service.judge_daemon(told)) == [("daemon", OK)]
    late = told | {"daemon": {"alive": True, "pid": 7, "heartbeat_age_s": 300.0}}
    assert results(doctor_service.judge_daemon(late)) == [("daemon", FAILURE)]
    resting = told | {"engine": {"problem": "no server"}}
    assert results(doctor_service.judge_daemon(resting)) == [("daemon", WARNING)]
    paused = told | {"paused": True, "daemon": {"alive": False}, "engine": None}
    assert results(doctor_service.judge_daemon(paused)) == [("daemon", WARNING), ("daemon", OK)]


def test_figures_without_the_extra_are_a_failure() -> None:
    assert doctor_service.judge_metrics("127.0.0.1:9464", has_extra=True).result == OK
    finding = doctor_service.judge_metrics("127.0.0.1:9464", has_extra=False)
    assert finding.result == FAILURE
    assert "pip install 'prometheus-client" in finding.fix


# --- formats and folders that the settings ask for ----------------------------------------------------------


def test_a_searchable_pdf_is_told_where_it_is_asked_for() -> None:
    assert list(doctor_engine.look_at_formats(Settings())) == []
    asked = Settings().with_value("output", "formats", ["txt", "pdf"], "here")
    assert results(doctor_engine.look_at_formats(asked, lambda name: name)) == [("formats", OK)]
    (finding,) = doctor_engine.look_at_formats(asked, lambda name: None if name == "img2pdf" else name)
    assert (finding.check, finding.result) == ("formats", FAILURE)
    assert "img2pdf is not installed" in finding.message
    assert finding.fix


def test_archival_pdfs_without_ghostscript_are_warned_of() -> None:
    asked = (
        Settings().with_value("output", "formats", ["pdf"], "here").with_value("output", "pdf_a", True, "")
    )
    there, missing = (
        list(doctor_engine.look_at_formats(asked, lambda name: name, lambda name, path=path: path))
        for path in ("/usr/bin/gs", None)
    )
    assert results(there) == [("formats", OK)]
    assert results(missing) == [("formats", OK), ("formats", WARNING)]
    assert "apt-get install ghostscript" in missing[1].fix


@pytest.mark.parametrize("is_there", [True, False])
def test_the_folder_that_originals_go_to_is_tried(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "archive"
    if is_there:
        folder.mkdir()
    settings = Settings().with_value("after", "done", f"move:{folder}", "here")
    (finding,) = doctor_folders.look_at_after(settings)
    assert (finding.check, finding.result) == ("after", OK if is_there else WARNING)
    assert str(folder) in finding.message + finding.fix
    assert not is_there or os.listdir(folder) == [], "nothing is left"


def test_a_folder_below_the_inbox_is_made_when_it_is_needed() -> None:
    assert (
        list(doctor_folders.look_at_after(Settings().with_value("after", "done", "move:done", "here"))) == []
    )


# --- steps --------------------------------------------------------------------------------------------------


def test_a_check_that_fails_is_a_finding_of_its_own(tmp_path: Path) -> None:
    def refused() -> list[Finding]:
        raise StoreError("it is damaged", hint="ocrd db check")

    def unreadable() -> list[Finding]:
        return [Finding("x", OK, (tmp_path / "gone").read_text())]

    (finding,) = doctor_steps.take(doctor_steps.Step("store", "store", refused))
    assert (finding.result, finding.fix) == (FAILURE, "ocrd db check")
    (finding,) = doctor_steps.take(doctor_steps.Step("store", "store", unreadable))
    assert str(tmp_path / "gone") in finding.message


def test_a_check_that_hangs_is_given_up() -> None:
    let_go = threading.Event()

    def hang() -> list[Finding]:
        let_go.wait()
        return []

    step = doctor_steps.Step("inbox", "inbox", hang, seconds=0.05, what="/mnt/nas/in")
    (finding,) = doctor_steps.take(step)
    let_go.set()
    assert (finding.check, finding.result) == ("inbox", FAILURE)
    assert finding.message == "/mnt/nas/in: no answer within 0.05 s"


def test_every_check_has_its_row_in_the_documents() -> None:
    root = Path(__file__).resolve().parents[2]
    code = "".join(path.read_text() for path in (root / "ocrd" / "cli").glob("doctor_*.py"))
    rows = (root / "docs" / "errors.md").read_text().partition("## What `ocrd doctor` finds")[2]
    told = {name for row in re.findall(r"^\| ([a-z, ]+) \|", rows, re.MULTILINE) for name in row.split(", ")}
    assert told == {"check", *re.findall(r'Finding\(\s*"([a-z]+)"', code)}
