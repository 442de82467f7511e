"""The daemon with a model server that goes wrong in every way: no page is lost, none hangs, none is asked for ever."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import pytest
from support.fake_vllm import FakeVllm
from support.marked import page_lines, write_documents, write_pdf
from support.running import Ocrd, wait_until

from ocrd.domain.retry import MAX_ATTEMPTS, MAX_MODEL_ATTEMPTS

BAD: tuple[Any, ...] = (
    ["http_500"],
    ["http_400"],
    ["hang"],
    ["trickle"],
    [{"do": "hang_mid", "after": 300}, "ok"],
    ["reset", "ok"],
    ["reset_mid"],
    ["http_503", "ok"],
    ["error_chunk"],
    ["abort", "ok"],
    ["length"],
    ["truncated_json"],
    ["loop_dots", "ok"],
    ["loop_phrase"],
    ["loop_cells", "ok"],
    ["loop_rows"],
    ["loop_counter", "ok"],
    ["loop_for_ever"],
    ["repetition", "ok"],
    ["prose"],
    ["refusal", "ok"],
    ["empty"],
    ["empty_list", "ok"],
    ["wrong_usage"],
    ["no_usage"],
    ["huge"],
    ["invalid_utf8"],
    ["bad_sse"],
    ["wrong_json"],
    ["no_finish", "ok"],
    ["hallucinated_lines"],
    ["missing_lines"],
)
"""What the model does with every sixth page, try by try; the last holds for all later tries."""
UNNOTICED = {"hallucinated_lines", "missing_lines", "truncated_json"}
"""What only the witness can see."""


@pytest.fixture(autouse=True)
def settings(ocrd: Ocrd) -> None:
    """Both languages; no witness, so that only what the model does counts; little patience."""
    ocrd.env |= {
        "OCRD_ENGINE__LANGUAGES": "rus,eng",
        "OCRD_VLLM__WITNESS": "false",
        "OCRD_VLLM__PAGE_TIMEOUT_S": "5",
    }


def lines_of(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def pages_of(ocrd: Ocrd, name: str) -> list[list[str]]:
    return [lines_of(page) for page in ocrd.text(name).split("\f")]


@pytest.mark.slow
def test_two_hundred_pages_of_which_every_sixth_goes_wrong(ocrd: Ocrd) -> None:
    written = write_documents(ocrd.inbox, documents=20, pages_each=10, dpi=100)
    wrong = {page: BAD[index % len(BAD)] for index, page in enumerate(range(3, 200, 6))}
    assert {str(one) for one in wrong.values()} == {str(one) for one in BAD}, "each kind happens"
    with FakeVllm(
        scenario={str(page): behaviour for page, behaviour in wrong.items()}, max_num_seqs=4
    ) as fake:
        ocrd.env["OCRD_VLLM__BASE_URL"] = fake.base_url
        done = ocrd.run_once("--engine", "vllm")
        asked = Counter(row["page"] for row in fake.requests() if not row["crop"])
        overlong = [row for row in fake.requests() if row["prompt_tokens"] + row["limit"] > 16384]
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    assert overlong == []
    most = MAX_MODEL_ATTEMPTS * max(MAX_ATTEMPTS.values())
    assert {page: times for page, times in asked.items() if page is not None and times > most} == {}
    for path, numbers in written.items():
        shown = ocrd.show(path.name)
        assert shown["state"] in {"done", "partial"}
        texts = pages_of(ocrd, path.name)
        for number, row, text in zip(numbers, shown["page_list"], texts, strict=True):
            check_page(number, row, text, wrong.get(number))


def check_page(number: int, row: dict[str, Any], text: list[str], behaviour: Any) -> None:
    """A page that went well has its text; one that did not has it from another try or engine, or says why not."""
    tries = [(one["engine"], one["prompt_mode"], one["verdict"], one["reason"]) for one in row["attempts"]]
    what = f"page {number} ({behaviour}): {row['state']}, {row['verdict']}, {row['reason']}; {tries}"
    assert row["state"] in {"done", "failed"}, what
    by_model = row["attempts"][-1]["engine"] == "vllm"
    if behaviour is None or (behaviour[-1] == "ok" and by_model):
        assert text == page_lines(number), what
        return
    if row["state"] == "failed":
        assert row["reason_code"], what
        return
    if str(behaviour[-1]) not in UNNOTICED:
        assert row["verdict"] == "ok" or row["reason"], what
    assert any(str(number) in line for line in text), what


def test_a_server_that_goes_away_pauses_the_queue_and_coming_back_it_goes_on(ocrd: Ocrd) -> None:
    with FakeVllm(decode_tps=600, max_num_seqs=2) as fake:
        ocrd.env["OCRD_VLLM__BASE_URL"] = fake.base_url
        # On a busy machine a page takes longer than 5 s, and is rightly blamed for that; here nobody is to be.
        ocrd.env["OCRD_VLLM__PAGE_TIMEOUT_S"] = "60"
        write_pdf(ocrd.inbox / "scan.pdf", range(12), dpi=100)
        ocrd.start("--engine", "vllm")
        wait_until(lambda: ocrd.status()["pages"]["done"] >= 2, "the first pages")
        fake.kill()
        status = wait_until(lambda: rests(ocrd), "the queue rests")
        assert status["server"]["state"] == "failed"
        assert "127.0.0.1" in status["engine"]["problem"]
        fake.start()
        ocrd.await_state("scan.pdf", "done")
        assert [page[0] for page in pages_of(ocrd, "scan.pdf")] == [
            page_lines(number)[0] for number in range(12)
        ]
        tries = [
            [(one["verdict"], one["engine"], one["reason"]) for one in page["attempts"]]
            for page in ocrd.show("scan.pdf")["page_list"]
        ]
        assert [one for one in tries if len(one) != 1] == [], "no page is blamed"
        ready = wait_until(
            lambda: ocrd.status()["server"]["state"] == "ready" and ocrd.status(), "the server is shown"
        )
        assert ready["server"]["model"] == "rednote-hilab/dots.ocr"
        assert ready["server"]["context"] == 16384


def rests(ocrd: Ocrd) -> dict[str, Any] | None:
    """The status once the queue rests and no page is in hand: a server that is back before a page's fault is looked
    into would say that the page is to blame."""
    status = ocrd.status()
    engine = status["engine"]
    return status if engine and engine["problem"] and not engine["reading"] else None


def test_a_killed_daemon_goes_on_with_the_next_page(ocrd: Ocrd) -> None:
    with FakeVllm(decode_tps=500, max_num_seqs=2) as fake:
        ocrd.env |= {"OCRD_VLLM__BASE_URL": fake.base_url, "OCRD_VLLM__CONCURRENCY": "1"}
        write_pdf(ocrd.inbox / "scan.pdf", range(10), dpi=100)
        ocrd.start("--engine", "vllm")
        wait_until(lambda: ocrd.status()["pages"]["done"] >= 3, "the first pages")
        ocrd.stop(signal.SIGKILL)
        done = {page["number"] - 1 for page in ocrd.show("scan.pdf")["page_list"] if page["state"] == "done"}
        before = Counter(row["page"] for row in fake.requests())
        ocrd.start("--engine", "vllm")
        ocrd.await_state("scan.pdf", "done")
        after = Counter(row["page"] for row in fake.requests())
        assert {page: after[page] - before[page] for page in done} == dict.fromkeys(done, 0)
        assert pages_of(ocrd, "scan.pdf") == [page_lines(number) for number in range(10)]


def test_with_auto_the_embedded_engine_reads_while_no_server_answers(ocrd: Ocrd) -> None:
    ocrd.env |= {"OCRD_VLLM__BASE_URL": "http://127.0.0.1:9/v1", "OCRD_ENGINE__SERVER_WAIT_S": "0"}
    write_pdf(ocrd.inbox / "scan.pdf", range(2), dpi=150)
    assert ocrd.run_once().returncode == 0
    engines = {page["attempts"][-1]["engine"] for page in ocrd.show("scan.pdf")["page_list"]}
    assert engines == {"tesseract"}


def test_a_named_server_that_is_not_there_ends_a_single_run_with_a_reason(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_VLLM__BASE_URL"] = "http://127.0.0.1:9/v1"
    write_pdf(ocrd.inbox / "scan.pdf", [1], dpi=100)
    ended = ocrd.run_once("--engine", "vllm")
    assert ended.returncode == 69
    assert "no server at http://127.0.0.1:9/v1" in ended.stderr


def test_the_witness_finds_what_the_model_left_out_and_the_page_is_asked_again(ocrd: Ocrd) -> None:
    ocrd.env["OCRD_VLLM__WITNESS"] = "true"
    write_pdf(ocrd.inbox / "scan.pdf", [31, 32], dpi=150)
    with FakeVllm(scenario={"32": ["missing_lines", "ok"]}) as fake:
        ocrd.env["OCRD_VLLM__BASE_URL"] = fake.base_url
        assert ocrd.run_once("--engine", "vllm").returncode == 0
    assert pages_of(ocrd, "scan.pdf") == [page_lines(31), page_lines(32)]
    page = ocrd.show("scan.pdf")["page_list"][1]
    assert page["testimony"]["recall"] > 0.9
    attempts = page["attempts"]
    assert [one["verdict"] for one in attempts] == ["suspect", "ok"]
    assert "second reader" in attempts[0]["reason"]


def test_doctor_puts_the_known_page_to_the_server(ocrd: Ocrd) -> None:
    with FakeVllm(template="array") as fake:
        ocrd.env["OCRD_VLLM__BASE_URL"] = fake.base_url
        told = ocrd.command("doctor")
        assert told.returncode == 1
        assert "--chat-template-content-format string" in told.stdout
        fake.restart(template="correct")
        told = ocrd.command("doctor")
        assert "read the known page" in told.stdout
