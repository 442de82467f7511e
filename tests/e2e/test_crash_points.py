"""kill -9, a mistake, or a step that never ends at the fault points that a mixed inbox does not come by."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support import paper
from support.crashes import doubled_pages, lost_pages, strike
from support.fake_vllm import FakeVllm
from support.marked import page_lines, write_image
from support.running import Ocrd

MOMENTS = ("commit", "committed")
WITH_A_SERVER = ("page.note_attempt", "page.give_back")
WHEN_IT_BECOMES_READABLE = ("document.complete", "output.forget")
OF_A_COMMAND = ("document.cancel", "command.drop_fact", "prune.forget")
OF_THE_STORE = ("page.park", "output.withdraw", "server.note_start", "server.pin_image")
MISTAKES = ("page.land.commit", "file.sync", "document.finish.commit")

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


def assert_whole(ocrd: Ocrd) -> None:
    """Nothing is lost or doubled, no temporary file is left, the store is sound."""
    assert doubled_pages(ocrd.state) == lost_pages(ocrd.state) == 0
    assert ocrd.leftovers() == []
    checked = ocrd.command("db", "check")
    assert checked.returncode == 0, checked.stdout


def kill(ocrd: Ocrd, fault: str, *words: str) -> None:
    """A command that dies there."""
    ocrd.env["OCRD_FAULT"] = f"{fault}:kill"
    done = ocrd.command(*words)
    del ocrd.env["OCRD_FAULT"]
    assert done.returncode == -signal.SIGKILL, done.stderr


# --- in a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("point", WITH_A_SERVER)
def test_a_kill_when_a_try_is_noted_or_a_page_given_back(ocrd: Ocrd, point: str, moment: str) -> None:
    write_image(ocrd.inbox / "page.png", 7)
    bad = "loop_dots" if point == "page.note_attempt" else "http_503"
    with FakeVllm(scenario={"7": [bad, "ok"]}) as fake:
        ocrd.env |= {
            "OCRD_ENGINE__LANGUAGES": "rus,eng",
            "OCRD_VLLM__BASE_URL": fake.base_url,
            "OCRD_VLLM__WITNESS": "false",
        }
        assert strike(ocrd, f"{point}.{moment}:kill", "--engine", "vllm")
        done = ocrd.run_once("--engine", "vllm")
    assert done.returncode == 0, done.stderr
    assert lost_pages(ocrd.state) == 0
    (page,) = ocrd.show("page.png")["page_list"]
    noted = point == "page.note_attempt" and moment == "committed"
    verdicts = [one["verdict"] for one in page["attempts"]]
    assert verdicts == (["loop", "ok"] if noted else ["ok"]), "a try that was stored is kept, and none twice"
    assert page_lines(7)[0] in ocrd.text("page.png")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("point", WHEN_IT_BECOMES_READABLE)
def test_a_kill_when_a_rejected_document_becomes_readable(ocrd: Ocrd, point: str, moment: str) -> None:
    paper.write_pdf(ocrd.inbox / "scan.pdf", "First", "Second")
    ocrd.env["OCRD_LIMITS__PAGES"] = "1"
    assert ocrd.run_once().returncode == 1
    error = ocrd.inbox / "scan.pdf.ocrd-error.txt"
    assert error.exists()
    del ocrd.env["OCRD_LIMITS__PAGES"]
    assert ocrd.command("retry", str(ocrd.inbox / "scan.pdf")).returncode == 0
    assert strike(ocrd, f"{point}.{moment}:kill")
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("scan.pdf").split() == ["First", "Second"]
    assert not error.exists()
    assert_whole(ocrd)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_when_old_answers_are_forgotten(ocrd: Ocrd, moment: str) -> None:
    paper.write_png(ocrd.inbox / "image.png", "A word")
    assert strike(ocrd, f"command.prune_answered.{moment}:kill")
    assert ocrd.run_once().returncode == 0
    assert_whole(ocrd)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_when_an_original_that_is_gone_is_not_moved(ocrd: Ocrd, moment: str) -> None:
    paper.write_png(ocrd.inbox / "image.png", "A word")
    ocrd.env["OCRD_AFTER__DONE"] = "move:done"
    assert strike(ocrd, "relocation.plan.commit:kill")
    (ocrd.inbox / "image.png").unlink()
    assert strike(ocrd, f"relocation.drop.{moment}:kill")
    assert ocrd.run_once().returncode in {0, 1}
    assert rows(ocrd, "SELECT count(*) FROM relocations") == 0
    assert ocrd.text("image.png").strip() == "A word"
    assert_whole(ocrd)


# --- of a command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_of_cancel_cancels_in_the_end(ocrd: Ocrd, moment: str) -> None:
    paper.write_pdf(ocrd.inbox / "scan.pdf", "First", "Second")
    assert strike(ocrd, "page.claim.commit:kill")
    kill(ocrd, f"document.cancel.{moment}", "cancel", str(ocrd.inbox / "scan.pdf"))
    ocrd.run_once()
    assert ocrd.jobs()["scan.pdf"]["state"] == "cancelled"
    assert not (ocrd.inbox / "scan.pdf.txt").exists()
    assert_whole(ocrd)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_of_resume_resumes_in_the_end(ocrd: Ocrd, moment: str) -> None:
    paper.write_png(ocrd.inbox / "image.png", "A word")
    assert strike(ocrd, "page.claim.commit:kill")
    assert ocrd.command("pause").returncode == 0
    kill(ocrd, f"command.drop_fact.{moment}", "resume")
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("image.png").strip() == "A word"
    assert_whole(ocrd)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_of_prune_forgets_all_of_a_document_or_nothing(ocrd: Ocrd, moment: str) -> None:
    for name in ("gone.png", "stays.png"):
        paper.write_png(ocrd.inbox / name, f"This one {name[:-4]}")
    assert ocrd.run_once().returncode == 0
    (ocrd.inbox / "gone.png").unlink()
    words = ("db", "prune", "--yes", "--older-than", "0")
    ocrd.env["OCRD_INBOX__PATHS"] = str(ocrd.inbox)
    kill(ocrd, f"prune.forget.{moment}", *words)
    assert ("gone.png" in ocrd.jobs()) == (moment == "commit")
    assert ocrd.command(*words).returncode == 0
    assert set(ocrd.jobs()) == {"stays.png"}
    assert_whole(ocrd)


# --- of what only a model server of our own comes by, or a race -----------------------------------------------

_STORE = """
import sys
from support.stores import Stores
from ocrd.domain.jobs import PageState
from ocrd.host.clock import SystemClock
from ocrd.store.outputs import Planned
from ocrd.store.servers import ServerStore
stores = Stores(sys.argv[1], SystemClock())
servers = ServerStore(stores.database, stores.documents._clock)
document = stores.register()
stores.begin()
stores.pages.claim(document, 2)
stores.outputs.plan(document, [Planned(b"/inbox/scan.pdf.txt", "txt", "0" * 64, "")])
start = dict(model="m", image_id="i", spec="s", started_at=1.0, seconds=1.0, failure="", message="", details={})
{
    "page.park": lambda: stores.pages.park(document, 1, "waits"),
    "output.withdraw": lambda: stores.outputs.withdraw(b"/inbox/scan.pdf.txt"),
    "server.note_start": lambda: servers.note_start(**start),
    "server.pin_image": lambda: servers.pin_image("sha256:1"),
}[sys.argv[2]]()
"""
_DONE = {
    "page.park": "SELECT count(*) FROM pages WHERE state = 'parked'",
    "output.withdraw": "SELECT count(*) = 0 FROM outputs",
    "server.note_start": "SELECT count(*) FROM server_starts",
    "server.pin_image": "SELECT count(*) FROM daemon WHERE key LIKE '%image%'",
}
"""Whether it was done: 1 or 0."""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("point", OF_THE_STORE)
def test_a_kill_of_a_write_leaves_it_done_or_not(
    ocrd: Ocrd, empty_store: Path, point: str, moment: str
) -> None:
    ocrd.state.mkdir(mode=0o700)
    shutil.copy2(empty_store, ocrd.state)
    env = ocrd.env | {"OCRD_FAULT": f"{point}.{moment}:kill", "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [sys.executable, "-c", _STORE, ocrd.state, point]
    assert subprocess.run(argv, env=env, check=False).returncode == -signal.SIGKILL
    assert rows(ocrd, _DONE[point]) == (moment == "committed")
    assert_whole(ocrd)


def rows(ocrd: Ocrd, query: str) -> int:
    with closing(sqlite3.connect(ocrd.state / "ocrd.db")) as store:
        return int(store.execute(query).fetchone()[0])


# --- mistakes in our own code ------------------------------------------------------------------------------


@pytest.mark.parametrize("point", MISTAKES)
def test_a_mistake_of_ours_ends_the_daemon_with_an_error_and_the_next_run_is_right(
    ocrd: Ocrd, point: str
) -> None:
    paper.write_png(ocrd.inbox / "image.png", "A word")
    ocrd.env["OCRD_FAULT"] = f"{point}:raise"
    broken = ocrd.run_once()
    assert broken.returncode == 1
    assert "InjectedError" in broken.stderr
    del ocrd.env["OCRD_FAULT"]
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("image.png").strip() == "A word"
    assert_whole(ocrd)
