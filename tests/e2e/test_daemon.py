"""The daemon as its user meets it: files go in, text comes out beside them."""

from __future__ import annotations

import os
import shutil
import signal

from support import paper, rasterizer_documents
from support.running import Ocrd, wait_until


def test_a_file_that_lies_there_at_the_start_and_one_dropped_later_are_both_read(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_ENGINE__LANGUAGES"] = "rus,eng"
    paper.write_png(ocrd.inbox / "early.png", "Early bird 17")
    ocrd.start()
    paper.write_png(ocrd.inbox / "sub" / "folder" / "later.png", "Поздний гость 23")
    ocrd.await_state("early.png", "done")
    ocrd.await_state("sub/folder/later.png", "done")
    assert "Early bird 17" in ocrd.text("early.png")
    assert "Поздний гость 23" in ocrd.text("sub/folder/later.png")
    assert "Поздний гость 23" in (ocrd.inbox / "sub/folder/later.png.md").read_text()
    assert ocrd.leftovers() == []


def test_the_pages_of_a_document_are_separated_by_form_feeds_and_an_empty_page_is_empty(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "three.pdf", "First page", "", "Third page")
    assert ocrd.run_once().returncode == 0
    first, second, third = ocrd.text("three.pdf").split("\f")
    assert (first.strip(), second.strip(), third.strip()) == ("First page", "", "Third page")
    states = [page["state"] for page in ocrd.show("three.pdf")["page_list"]]
    assert states == ["done", "blank", "done"]


def test_a_file_that_is_still_being_written_is_not_taken(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_INBOX__QUIET_S"] = "4"  # a busy machine takes a second and more from one piece to the next
    whole = paper.write_pdf(ocrd.folder / "whole.pdf", "Slowly written").read_bytes()
    ocrd.start()
    with (ocrd.inbox / "slow.pdf").open("wb") as slow:
        for at in range(0, len(whole), len(whole) // 10 + 1):
            slow.write(whole[at : at + len(whole) // 10 + 1])
            slow.flush()
            seen = ocrd.status()["daemon"]["inboxes"][0]["last_scan"]
            wait_until(
                lambda seen=seen: ocrd.status()["daemon"]["inboxes"][0]["last_scan"] > seen, "another scan"
            )
    ocrd.await_state("slow.pdf", "done")
    assert [event["event"] for event in ocrd.events("document_rejected")] == []
    assert "Slowly written" in ocrd.text("slow.pdf")


def test_changed_content_is_a_new_revision_and_its_text_replaces_the_old_one(ocrd: Ocrd) -> None:
    paper.write_png(ocrd.inbox / "page.png", "Version one")
    ocrd.start()
    ocrd.await_state("page.png", "done")
    paper.write_png(ocrd.inbox / "page.png", "Version two")
    wait_until(lambda: "Version two" in ocrd.text("page.png"), "the new text")
    assert ocrd.await_state("page.png", "done")["revision"] == 2


def test_the_same_content_is_read_once_wherever_it_lies(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "one.pdf", "Only once", "read twice never")
    shutil.copy(ocrd.inbox / "one.pdf", ocrd.inbox / "two.pdf")
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("one.pdf") == ocrd.text("two.pdf") != ""
    attempts = [
        len(page["attempts"]) for name in ("one.pdf", "two.pdf") for page in ocrd.show(name)["page_list"]
    ]
    assert sorted(attempts) == [0, 0, 1, 1]


def test_a_renamed_file_gets_its_text_from_the_pages_that_were_read(ocrd: Ocrd) -> None:
    paper.write_png(ocrd.inbox / "old.png", "Keeps its text")
    assert ocrd.run_once().returncode == 0
    (ocrd.inbox / "old.png").rename(ocrd.inbox / "new.png")
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("new.png") == ocrd.text("old.png")
    assert [len(page["attempts"]) for page in ocrd.show("new.png")["page_list"]] == [0]


def test_dropping_a_file_again_after_its_text_was_deleted_brings_the_text_back(ocrd: Ocrd) -> None:
    path = paper.write_png(ocrd.inbox / "page.png", "Comes back")
    assert ocrd.run_once().returncode == 0
    text = ocrd.text("page.png")
    (ocrd.inbox / "page.png.txt").unlink()
    os.utime(path)
    ocrd.env["OCRD_INBOX__QUIET_S"] = "0.1"
    assert ocrd.run_once().returncode == 0
    assert ocrd.text("page.png") == text
    assert [len(page["attempts"]) for page in ocrd.show("page.png")["page_list"]] == [1]


def test_a_foreign_file_is_never_overwritten(ocrd: Ocrd) -> None:
    paper.write_png(ocrd.inbox / "page.png", "Not over this")
    (ocrd.inbox / "page.png.txt").write_text("somebody's own notes")
    ocrd.run_once()
    assert ocrd.text("page.png") == "somebody's own notes"
    assert ocrd.jobs()["page.png"]["reason_code"] == "output_exists"
    assert "Not over this" in ocrd.command("show", str(ocrd.inbox / "page.png"), "--text").stdout


def test_an_edited_text_stays_unless_the_user_says_overwrite(ocrd: Ocrd) -> None:
    path = paper.write_png(ocrd.inbox / "page.png", "As read")
    ocrd.run_once()
    (ocrd.inbox / "page.png.txt").write_text("corrected by hand")
    ocrd.command("retry", str(path), "--again")
    ocrd.run_once()
    assert ocrd.text("page.png") == "corrected by hand"
    ocrd.command("retry", str(path), "--overwrite")
    assert ocrd.run_once().returncode == 0
    assert "As read" in ocrd.text("page.png")


def test_one_bad_page_never_costs_its_neighbours(ocrd: Ocrd) -> None:
    paper.write_pdf_with_bad_page(ocrd.inbox / "mixed.pdf", "The good page")
    assert ocrd.run_once().returncode == 1
    job = ocrd.jobs()["mixed.pdf"]
    assert (job["state"], job["reason_code"], job["pages_done"]) == ("partial", "pages_failed", 1)
    good, bad = ocrd.text("mixed.pdf").split("\f")
    assert "The good page" in good
    assert bad.startswith("[ocrd: page 2: no text: ")


def test_a_damaged_file_leaves_its_reason_beside_it_until_a_good_one_takes_its_place(ocrd: Ocrd) -> None:
    damaged = ocrd.inbox / "report.pdf"
    damaged.write_bytes(paper.write_pdf(ocrd.folder / "good.pdf", "Now it is whole").read_bytes()[:300])
    ocrd.start()
    job = ocrd.await_state("report.pdf", "rejected")
    assert job["reason_code"] == "damaged"
    assert "(damaged)" in (ocrd.inbox / "report.pdf.ocrd-error.txt").read_text()
    shutil.copy(ocrd.folder / "good.pdf", damaged)
    ocrd.await_state("report.pdf", "done")
    assert "Now it is whole" in ocrd.text("report.pdf")
    assert not (ocrd.inbox / "report.pdf.ocrd-error.txt").exists()


def test_a_rejected_file_is_looked_into_again_on_a_retry(ocrd: Ocrd) -> None:
    path = paper.write_pdf(ocrd.inbox / "long.pdf", "One", "Two", "Three")
    ocrd.env["OCRD_LIMITS__PAGES"] = "2"
    assert ocrd.run_once().returncode == 1
    assert ocrd.jobs()["long.pdf"]["reason_code"] == "too_many_pages"
    del ocrd.env["OCRD_LIMITS__PAGES"]
    assert ocrd.command("retry", "--failed").returncode == 0
    assert ocrd.run_once().returncode == 0
    assert "Three" in ocrd.text("long.pdf")
    assert not path.with_name("long.pdf.ocrd-error.txt").exists()


def test_a_file_that_was_away_for_less_than_a_scan_is_read_when_it_is_back(ocrd: Ocrd) -> None:
    """No scan misses it, so that it looks as if it had been there all along."""
    ocrd.env |= {"OCRD_INBOX__WATCH": "polling", "OCRD_INBOX__SCAN_INTERVAL_S": "4"}
    ocrd.start()
    ocrd.command("pause")
    path = paper.write_png(ocrd.inbox / "letter.png", "All is well")
    ocrd.await_state("letter.png", "queued")
    path.rename(ocrd.folder / "away.png")
    ocrd.command("resume")
    assert ocrd.await_state("letter.png", "cancelled")["reason_code"] == "file_gone"
    (ocrd.folder / "away.png").rename(path)
    assert ocrd.await_state("letter.png", "done")["reason"] == ""


def test_a_deleted_file_ends_as_gone_and_nothing_is_written_where_it_was(ocrd: Ocrd) -> None:
    path = paper.write_png(ocrd.inbox / "short-lived.png", "Gone soon")
    ocrd.start()
    ocrd.command("pause")
    paper.write_png(ocrd.inbox / "other.png", "Stays")
    wait_until(lambda: "other.png" in ocrd.jobs() and "short-lived.png" in ocrd.jobs(), "both are taken in")
    done_before = ocrd.jobs()["short-lived.png"]["state"] == "done"
    path.unlink()
    ocrd.command("resume")
    ocrd.await_state("other.png", "done")
    job = ocrd.await_state("short-lived.png")
    assert done_before or job["reason_code"] == "file_gone"
    assert done_before or not (ocrd.inbox / "short-lived.png.txt").exists()


def test_a_paused_queue_begins_nothing_and_goes_on_after_resume(ocrd: Ocrd) -> None:
    ocrd.start()
    assert ocrd.command("pause").returncode == 0
    paper.write_png(ocrd.inbox / "page.png", "Waits")
    ocrd.await_state("page.png", "queued", "running")
    assert ocrd.status()["paused"] is True
    ocrd.command("resume")
    ocrd.await_state("page.png", "done")


def test_a_cancelled_document_is_not_read_and_can_be_retried(ocrd: Ocrd) -> None:
    ocrd.start()
    ocrd.command("pause")
    path = paper.write_png(ocrd.inbox / "page.png", "Second thoughts")
    ocrd.await_state("page.png", "queued", "running")
    assert ocrd.command("cancel", str(path)).returncode == 0
    ocrd.command("resume")
    assert ocrd.await_state("page.png", "cancelled")["reason_code"] == "cancelled"
    assert not (ocrd.inbox / "page.png.txt").exists()
    ocrd.command("retry", str(path))
    ocrd.await_state("page.png", "done")


def test_sigterm_ends_well_and_the_rest_goes_on_at_the_next_start(ocrd: Ocrd) -> None:
    texts = [f"Page number {number}" for number in range(1, 31)]
    paper.write_pdf(ocrd.inbox / "long.pdf", *texts)
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "the first pages are read")
    assert ocrd.stop(signal.SIGTERM) == 0
    status = ocrd.status()
    assert (status["pages"]["running"], status["documents"]["running"]) == (0, 0)
    assert 2 <= status["pages"]["done"] < 30
    assert ocrd.run_once().returncode == 0
    assert [page.strip() for page in ocrd.text("long.pdf").split("\f")] == texts
    assert all(len(page["attempts"]) == 1 for page in ocrd.show("long.pdf")["page_list"])


def test_a_second_sigint_ends_at_once(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "long.pdf", *[f"Page {number}" for number in range(40)])
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 1, "work has begun")
    ocrd.send_signal(signal.SIGINT)
    ocrd.send_signal(signal.SIGINT)
    assert ocrd.stop(signal.SIGINT) in {0, 130}
    assert ocrd.run_once().returncode == 0


def test_a_killed_engine_child_costs_one_more_attempt_and_no_page(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "long.pdf", *["Survivor"] * 20)
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "work has begun")
    ocrd.kill_children("embedded_child")
    ocrd.await_state("long.pdf", "done")
    assert ocrd.text("long.pdf").split() == ["Survivor"] * 20


def test_a_killed_rasterizer_child_costs_no_page(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "long.pdf", *["Survivor"] * 40)
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "work has begun")
    ocrd.kill_children("rasterizer")
    ocrd.await_state("long.pdf", "done")
    assert ocrd.text("long.pdf").split() == ["Survivor"] * 40
    assert ocrd.events("queue_rests") == []


def test_a_second_daemon_is_refused_by_store_and_by_inbox(ocrd: Ocrd) -> None:
    ocrd.start()
    assert ocrd.run_once().returncode == 75
    elsewhere = Ocrd(ocrd.folder, OCRD_STATE__DIR=str(ocrd.folder / "other-state"))
    elsewhere.state = ocrd.folder / "other-state"
    refused = elsewhere.run_once()
    assert refused.returncode == 75
    assert "another ocrd watches" in refused.stderr


def test_an_inbox_that_vanishes_and_returns_is_watched_again(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_INBOX__SCAN_INTERVAL_S"] = "0.5"
    ocrd.start()
    ocrd.inbox.rename(ocrd.folder / "away")
    wait_until(lambda: ocrd.status()["daemon"]["inboxes"][0]["missing"], "the inbox is missed")
    ocrd.inbox.mkdir()
    paper.write_png(ocrd.inbox / "page.png", "Back again")
    ocrd.await_state("page.png", "done")
    assert "Back again" in ocrd.text("page.png")
    wait_until(lambda: ocrd.status()["daemon"]["inboxes"][0]["mode"] == "events", "events are watched again")


def test_several_inboxes_are_watched(ocrd: Ocrd) -> None:
    second = ocrd.folder / "second"
    paper.write_png(second / "b.png", "In the second")
    paper.write_png(ocrd.inbox / "a.png", "In the first")
    assert ocrd.run_once("--inbox", str(second)).returncode == 0
    assert "In the second" in (second / "b.png.txt").read_text()
    assert "In the first" in ocrd.text("a.png")


def test_links_and_other_things_that_are_no_files_are_passed_over(ocrd: Ocrd) -> None:
    outside = paper.write_png(ocrd.folder / "outside.png", "Secret outside")
    (ocrd.inbox / "link.png").symlink_to(outside)
    os.mkfifo(ocrd.inbox / "pipe.pdf")
    (ocrd.inbox / "loop").symlink_to(ocrd.inbox)
    paper.write_png(ocrd.inbox / "page.png", "Ordinary")
    assert ocrd.run_once().returncode == 0
    assert list(ocrd.jobs()) == ["page.png"]


def test_a_second_run_finds_nothing_to_do(ocrd: Ocrd) -> None:
    paper.write_png(ocrd.inbox / "page.png", "Once is enough")
    ocrd.run_once()
    before = (ocrd.inbox / "page.png.txt").stat().st_mtime_ns
    again = ocrd.run_once()
    assert again.returncode == 0
    assert "0 documents worked on" in again.stdout
    assert (ocrd.inbox / "page.png.txt").stat().st_mtime_ns == before


def test_a_missing_language_is_told_with_the_package_to_install(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_ENGINE__LANGUAGES"] = "xyz"
    refused = ocrd.run_once()
    assert refused.returncode == 69
    assert "tesseract-ocr-xyz" in refused.stderr


def test_outputs_get_the_mode_of_their_folder(ocrd: Ocrd) -> None:
    ocrd.inbox.chmod(0o2775)
    paper.write_png(ocrd.inbox / "page.png", "Shared folder")
    ocrd.run_once()
    assert (ocrd.inbox / "page.png.txt").stat().st_mode & 0o777 == 0o664
    assert (ocrd.state / "ocrd.db").stat().st_mode & 0o777 == 0o600


def test_names_of_any_bytes_get_their_text(ocrd: Ocrd) -> None:
    source = paper.write_png(ocrd.folder / "source.png", "Strange name")
    names = [
        b"-rf.png",
        b"\xff\xfe.png",
        "отчёт №3 (копия).png".encode(),
        b"new\nline.png",
        b"x" * 247 + b".png",
    ]
    for name in names:
        shutil.copy(source, os.path.join(os.fsencode(ocrd.inbox), name))
    assert ocrd.run_once().returncode == 0
    for name in names:
        text = os.path.join(os.fsencode(ocrd.inbox), name + b".txt")
        with open(text) as file:
            assert "Strange name" in file.read()


def test_retry_again_reads_anew_even_what_a_twin_has(ocrd: Ocrd) -> None:
    one = paper.write_png(ocrd.inbox / "one.png", "Read anew")
    shutil.copy(one, ocrd.inbox / "two.png")
    ocrd.run_once()
    ocrd.command("retry", str(ocrd.inbox / "two.png"), "--again")
    assert ocrd.run_once().returncode == 0
    attempts = [len(ocrd.show(name)["page_list"][0]["attempts"]) for name in ("one.png", "two.png")]
    assert sum(attempts) == 2


def test_retry_changed_reads_what_was_read_with_other_settings(ocrd: Ocrd) -> None:
    paper.write_pdf(ocrd.inbox / "page.pdf", "Other settings")
    ocrd.run_once()
    assert "0 documents" in ocrd.command("retry", "--all", "--changed").stdout
    ocrd.env["OCRD_RASTER__DPI"] = "150"
    assert "1 document" in ocrd.command("retry", "--all", "--changed").stdout
    assert ocrd.run_once().returncode == 0
    assert [attempt["dpi"] for attempt in ocrd.show("page.pdf")["page_list"][0]["attempts"]] == [200, 150]


def test_a_file_that_is_touched_while_it_is_worked_on_still_gets_its_text(ocrd: Ocrd) -> None:
    path = paper.write_pdf(ocrd.inbox / "long.pdf", *["Touched"] * 60)
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "work has begun")
    os.utime(path)
    ocrd.await_state("long.pdf", "done")
    assert ocrd.text("long.pdf").split() == ["Touched"] * 60
    assert all(len(page["attempts"]) == 1 for page in ocrd.show("long.pdf")["page_list"])


def test_a_file_that_is_renamed_while_it_is_worked_on_gets_its_text_under_the_new_name(ocrd: Ocrd) -> None:
    path = paper.write_pdf(ocrd.inbox / "long.pdf", *["Renamed"] * 60)
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "work has begun")
    path.rename(ocrd.inbox / "renamed.pdf")
    ocrd.await_state("renamed.pdf", "done")
    assert ocrd.text("renamed.pdf").split() == ["Renamed"] * 60
    assert not (ocrd.inbox / "long.pdf.txt").exists()
    assert ocrd.await_state("long.pdf")["reason_code"] == "file_gone"


def test_a_file_that_is_replaced_while_it_is_worked_on_gets_the_text_of_the_new_content(ocrd: Ocrd) -> None:
    path = paper.write_pdf(ocrd.inbox / "long.pdf", *["Before"] * 60)
    ocrd.start(ready=False)
    wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "work has begun")
    os.replace(paper.write_pdf(ocrd.folder / "new.pdf", "Afterwards"), path)
    wait_until(lambda: ocrd.jobs()["long.pdf"]["revision"] == 2, "the new content is taken in")
    ocrd.await_state("long.pdf", "done")
    assert ocrd.text("long.pdf").split() == ["Afterwards"]


def test_a_document_that_takes_too_long_is_written_as_far_as_it_is_read(ocrd: Ocrd) -> None:
    ocrd.env |= {
        "OCRD_RASTER__PAGE_TIMEOUT_S": "2",
        "OCRD_RASTER__WINDOW_PAGES": "1",
        "OCRD_RASTER__WORKERS": "1",
        "OCRD_LIMITS__DOCUMENT_S": "1",
        "OCRD_ENGINE__TEXT_LAYER": "off",
    }
    slow = rasterizer_documents.pdf(b"", *[rasterizer_documents.HANGING] * 12)
    (ocrd.inbox / "slow.pdf").write_bytes(slow)
    assert ocrd.run_once().returncode == 1
    pages = ocrd.show("slow.pdf")["page_list"]
    assert pages[-1]["reason_code"] == "document_timeout"
    assert "more than the 1 s of work allowed" in pages[-1]["reason"]


def test_a_document_of_hanging_pages_is_given_up_after_a_few(ocrd: Ocrd) -> None:
    ocrd.env |= {"OCRD_RASTER__PAGE_TIMEOUT_S": "1", "OCRD_RASTER__WINDOW_PAGES": "1"}
    hanging = rasterizer_documents.pdf(*[rasterizer_documents.HANGING] * 20)
    (ocrd.inbox / "hanging.pdf").write_bytes(hanging)
    assert ocrd.run_once().returncode == 1
    pages = ocrd.show("hanging.pdf")["page_list"]
    assert {page["reason_code"] for page in pages} == {"render_timeout"}
    tried = [page["number"] for page in pages if "was not tried" not in page["reason"]]
    assert len(tried) <= 8, "each costs its whole time"
