"""The fake vLLM server is honest: it counts, limits, fails and tells the truth exactly as it says it does."""

from __future__ import annotations

import base64
import http.client
import io
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.vllm_parts import behaviours, pages, tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.fake_vllm import FakeVllm, cpu_seconds
from support.marked import draw_page, page_lines, page_text, write_documents, write_image, write_tiff
from support.running import wait_until

from ocrd.domain.models import DOTS_OCR, QWEN2_VL, QWEN3_VL, ModelProfile, PromptMode

LAYOUT = DOTS_OCR.prefix + DOTS_OCR.prompts[PromptMode.LAYOUT]
LAYOUT_ONLY = DOTS_OCR.prefix + DOTS_OCR.prompts[PromptMode.LAYOUT_ONLY]
OCR = DOTS_OCR.prefix + DOTS_OCR.prompts[PromptMode.OCR]
GROUNDING = DOTS_OCR.prefix + DOTS_OCR.prompts[PromptMode.GROUNDING]
MODEL = "rednote-hilab/dots.ocr"
SMALL_DPI = 72


@dataclass
class Reply:
    """What came over the wire; `broke` names the error that ended it."""

    status: int = 0
    data: bytes = b""
    broke: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event.get("choices", [])]

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content", "") for choice in self.choices)

    @property
    def finish(self) -> str | None:
        return next((choice["finish_reason"] for choice in self.choices if choice["finish_reason"]), None)

    @property
    def usage(self) -> dict[str, Any] | None:
        return next((event["usage"] for event in self.events if event.get("usage")), None)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.data)["error"]
        return error


def uri_of(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def page_uri(number: int, turned: int = 0) -> str:
    return uri_of(draw_page(number, dpi=SMALL_DPI, turned=turned))


def request_of(uri: str | None, prompt: str, **more: Any) -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
    if uri is not None:
        content.insert(0, {"type": "image_url", "image_url": {"url": uri}})
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": True}
    body |= {"stream_options": {"include_usage": True}, "temperature": 0.1} | more
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


def send(server: FakeVllm, body: bytes, timeout: float = 20.0, **headers: str) -> Reply:
    """Ask, and read as much as comes."""
    reply = Reply()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(
            "POST", "/v1/chat/completions", body, {"Content-Type": "application/json", **headers}
        )
        response = connection.getresponse()
        reply.status = response.status
        while piece := response.read1(65536):
            reply.data += piece
    except (OSError, http.client.HTTPException) as err:
        reply.broke = type(err).__name__
    finally:
        connection.close()
    for line in reply.data.decode(errors="replace").splitlines():
        if line.startswith("data: {"):
            try:
                reply.events.append(json.loads(line[6:]))
            except ValueError:
                reply.events.append({"not": "JSON"})
    return reply


def ask(server: FakeVllm, page: int = 7, prompt: str = LAYOUT, **more: Any) -> Reply:
    return send(server, request_of(page_uri(page), prompt, **more))


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeVllm]:
    with FakeVllm(max_num_seqs=4, step_s=0.02) as server:
        yield server
        assert server.log == ""


@pytest.fixture
def server(shared: FakeVllm) -> FakeVllm:
    """As new."""
    shared.control(scenario={}, default="ok", down=False, health=200, clear=True, pause=False)
    return shared


@pytest.fixture(scope="module")
def small() -> Iterator[FakeVllm]:
    """With a key, and a context that holds no page at 200 DPI."""
    with FakeVllm(max_model_len=2048, api_key="secret") as server:
        yield server


class TestPages:
    @settings(max_examples=12)
    @given(
        number=st.integers(0, 0xFFFF),
        turned=st.sampled_from([0, 90, 180, 270]),
        longest=st.integers(800, 2600),
        kind=st.sampled_from(["PNG", "JPEG"]),
    )
    def test_a_mark_survives_scaling_turning_and_jpeg(
        self, number: int, turned: int, longest: int, kind: str
    ) -> None:
        page = draw_page(number, dpi=150, turned=turned)
        scale = longest / max(page.size)
        page = page.resize((round(page.width * scale), round(page.height * scale)), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        page.save(buffer, kind, quality=50)
        seen = pages.look(Image.open(buffer))
        assert seen is not None
        assert (seen.page, seen.rotation) == (number, turned)
        assert len(seen.lines) == (0 if turned else pages.LINES)

    def test_a_part_of_a_page_tells_its_lines(self) -> None:
        page = draw_page(300)
        whole = pages.look(page)
        assert whole is not None
        line = pages.look(page.crop(whole.lines[5]))
        assert line is not None
        assert (line.page, list(line.lines), line.is_crop) == (300, [5], True)
        top, bottom = whole.lines[3][1], whole.lines[6][3]
        strip = pages.look(page.crop((0, top, page.width, bottom)))
        assert strip is not None
        assert list(strip.lines) == [3, 4, 5, 6]
        assert whole.bar is not None
        upper = pages.look(page.crop((0, 0, page.width, bottom)))
        assert upper is not None
        assert list(upper.lines) == [1, 2, 3, 4, 5, 6]
        assert not upper.is_crop

    def test_what_has_no_whole_bar_has_no_mark(self) -> None:
        page = draw_page(300)
        assert pages.look(page.crop((0, 0, page.width // 2, page.height))) is None
        assert pages.look(page.crop((0, 1500, page.width, page.height))) is None
        assert pages.look(Image.new("RGB", (900, 200), "white")) is None

    def test_a_box_holds_the_line_that_was_drawn(self) -> None:
        page = draw_page(300).point([0] * 128 + [255] * 128)
        seen = pages.look(draw_page(300))
        assert seen is not None
        for left, top, right, bottom in seen.lines.values():
            ink = page.crop((0, top, page.width, bottom)).point(lambda value: 255 - value).getbbox()
            assert ink is not None
            assert left - 2 <= ink[0] < ink[2] <= right
            assert 0 < ink[1] < ink[3] < bottom - top

    def test_bilevel_scans_and_documents_can_be_read(self, tmp_path: Path) -> None:
        with Image.open(write_tiff(tmp_path / "scan.tif", [8, 9])) as scan:
            seen = []
            for frame in range(2):
                scan.seek(frame)
                seen.append(pages.look(scan))
        assert [one and one.page for one in seen] == [8, 9]
        assert all(one is not None and len(one.lines) == pages.LINES for one in seen)
        with Image.open(write_image(tmp_path / "page.jpg", 77)) as photo:
            assert pages.look(photo) is not None
        documents = write_documents(tmp_path / "many", 2, 3, dpi=50)
        assert list(documents.values()) == [[0, 1, 2], [3, 4, 5]]
        assert all(path.read_bytes().endswith(b"%%EOF\n") for path in documents)

    @given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
    def test_pages_have_texts_of_their_own(self, one: int, other: int) -> None:
        assert str(one) in page_text(one)
        assert len(set(page_lines(one))) == pages.LINES
        assert (page_text(one) == page_text(other)) == (one == other)


class TestCounting:
    def test_specials_are_one_token_and_bytes_the_others(self, server: FakeVllm) -> None:
        prompt = "<|user|>Счёт 1<|imgpad|>!"
        body = {"model": MODEL, "prompt": prompt, "add_special_tokens": False}
        told = json.loads(server.fetch("/tokenize", body))
        assert told["count"] == len(told["tokens"]) == 1 + len("Счёт 1".encode()) + 1 + 1
        assert told["max_model_len"] == 16384

    @pytest.mark.parametrize(
        ("family", "dpi", "size", "count"),
        [
            (tokens.DOTS, 72, (588, 840), 630),
            (tokens.DOTS, 200, (1652, 2352), 4956),
            (tokens.DOTS, 300, (2492, 3500), 11125),
            (tokens.QWEN3, 200, (1664, 2336), 3796),
        ],
    )
    def test_images_cost_what_is_published(
        self, family: tokens.Family, dpi: int, size: tuple[int, int], count: int
    ) -> None:
        sides = (round(210 / 25.4 * dpi), round(297 / 25.4 * dpi))
        assert tokens.smart_resize(*sides, family) == size
        assert tokens.image_tokens(size, family) == count

    @pytest.mark.parametrize("profile", [DOTS_OCR, QWEN2_VL, QWEN3_VL], ids=lambda one: one.family)
    def test_a_prompt_counts_as_its_template_and_its_image(self, profile: ModelProfile) -> None:
        prompt = profile.prefix + profile.prompts[profile.first_mode]
        family = tokens.family_of(profile.family)
        expected = len(tokens.tokenize(profile.template.format(prompt=prompt)))
        assert len(tokens.tokenize(tokens.render([None, prompt], family))) == expected
        assert (family.factor, family.min_pixels, family.max_pixels) == (
            profile.factor,
            profile.min_pixels,
            profile.max_pixels,
        )

    def test_usage_tells_prompt_and_answer(self, server: FakeVllm) -> None:
        reply = ask(server)
        size = tokens.smart_resize(595, 842, tokens.DOTS)
        words = len(tokens.tokenize(DOTS_OCR.template.format(prompt=LAYOUT)))
        assert reply.usage is not None
        assert reply.usage["prompt_tokens"] == words - 1 + tokens.image_tokens(size, tokens.DOTS)
        assert reply.usage["completion_tokens"] == len(reply.text.encode()) + 1

    def test_a_text_without_the_prefix_gets_a_line_feed(self, server: FakeVllm) -> None:
        usage = [ask(server, prompt=prompt).usage for prompt in (OCR, OCR.removeprefix(DOTS_OCR.prefix))]
        assert usage[0] is not None
        assert usage[1] is not None
        assert usage[1]["prompt_tokens"] == usage[0]["prompt_tokens"] + 1

    def test_the_array_template_drops_the_roles_doubles_the_image_and_reads_junk(self) -> None:
        with FakeVllm() as right, FakeVllm(template="array") as wrong:
            good, bad = ask(right), ask(wrong)
        assert good.usage is not None
        assert bad.usage is not None
        assert bad.usage["prompt_tokens"] == good.usage["prompt_tokens"] - 2 + 3
        assert "4" in good.text
        assert not set(page_lines(7)) & {cell["text"] for cell in json.loads(bad.text)}


class TestAnswers:
    def test_a_layout_is_the_truth_in_pixels_of_the_image(self, server: FakeVllm) -> None:
        cells = json.loads(ask(server, 41).text)
        assert [cell["category"] for cell in cells[:3]] == ["Picture", "Title", "Section-header"]
        assert "text" not in cells[0]
        assert [cell["text"] for cell in cells[1:]] == page_lines(41)
        for left, top, right, bottom in (cell["bbox"] for cell in cells):
            assert 0 <= left < right <= 588
            assert 0 <= top < bottom <= 840

    def test_other_modes_answer_in_their_form(self, server: FakeVllm) -> None:
        assert ask(server, 41, OCR).text == page_text(41)
        cells = json.loads(ask(server, 41, LAYOUT_ONLY).text)
        assert [set(cell) for cell in cells] == [{"bbox", "category"}] * 9
        found = ask(server, 41, GROUNDING + str(cells[3]["bbox"])).text
        assert found == page_lines(41)[2]
        assert [row["mode"] for row in server.requests(41)] == ["ocr", "layout_only", "grounding"]

    @pytest.mark.parametrize("turned", [90, 180, 270])
    def test_a_turned_page_is_not_read(self, server: FakeVllm, turned: int) -> None:
        reply = send(server, request_of(page_uri(41, turned), OCR))
        assert reply.finish == "stop"
        assert not any(letter.isdigit() for letter in reply.text)
        assert server.requests(41)[0]["rotation"] == turned

    def test_an_unmarked_image_gets_what_was_agreed(self, server: FakeVllm) -> None:
        blank = request_of(uri_of(Image.new("L", (300, 300), 255)), OCR)
        assert send(server, blank).text == pages.UNMARKED
        server.control(unmarked="Проба 1")
        assert send(server, blank).text == "Проба 1"
        assert server.stats()["by_page"] == {"none": 2}

    def test_a_stream_has_the_shape_of_vllm(self, server: FakeVllm) -> None:
        reply = ask(server)
        assert reply.choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert reply.events[-1]["choices"] == []
        assert [choice["finish_reason"] for choice in reply.choices].count("stop") == 1
        assert reply.data.endswith(b"data: [DONE]\n\n")
        assert ask(server, stream_options=None).usage is None

    def test_an_answer_in_one_piece_says_the_same(self, server: FakeVllm) -> None:
        whole = json.loads(ask(server, stream=False).data)
        reply = ask(server)
        assert whole["choices"][0]["message"]["content"] == reply.text
        assert whole["choices"][0]["finish_reason"] == "stop"
        assert whole["usage"] == reply.usage

    def test_max_tokens_ends_an_answer_and_too_many_are_clipped(self, server: FakeVllm) -> None:
        short = ask(server, max_tokens=50)
        assert (short.finish, short.usage and short.usage["completion_tokens"]) == ("length", 50)
        server.control(default="loop_dots")
        clipped = ask(server, max_tokens=16384)
        assert clipped.usage is not None
        assert clipped.usage["total_tokens"] == 16384


class TestRefusals:
    """The words of vLLM 0.32.0, as measured."""

    @staticmethod
    def refused(server: FakeVllm, body: bytes) -> tuple[int, str, str | None, str]:
        reply = send(server, body, Authorization="Bearer secret")
        return reply.status, reply.error["type"], reply.error["param"], reply.error["message"]

    def test_an_image_that_is_too_large(self, small: FakeVllm) -> None:
        body = request_of(uri_of(draw_page(1, dpi=200)), OCR)
        length = len(tokens.tokenize(DOTS_OCR.template.format(prompt=OCR))) - 1 + 4956
        message = f"Input length ({length}) exceeds model's maximum context length (2048)."
        assert self.refused(small, body) == (400, "BadRequestError", None, message)

    def test_a_text_that_is_too_long(self, small: FakeVllm) -> None:
        status, _, param, message = self.refused(small, request_of(None, "x" * 3000))
        assert (status, param) == (400, "input_tokens")
        assert message.startswith(
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049"
        )

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            (3000, "max_tokens=3000 cannot be greater than max_model_len=2048."),
            (0, "max_tokens must be at least 1, got 0."),
        ],
    )
    def test_more_tokens_than_there_are(self, small: FakeVllm, wanted: int, message: str) -> None:
        status, _, param, told = self.refused(small, request_of(None, "x", max_tokens=wanted))
        assert (status, param) == (400, "max_tokens")
        assert told.startswith(message)

    @pytest.mark.parametrize(
        ("make", "status", "message"),
        [
            (lambda: "data:image/png;base64,####", 400, "Non-base64 digit found"),
            (
                lambda: "data:image/png;base64,aGVsbG8=",
                400,
                "Failed to load image: cannot identify image file",
            ),
            (lambda: page_uri(1)[:1022], 400, "Failed to load image: image file is truncated"),
            (
                lambda: uri_of(Image.new("L", (3000, 10))),
                400,
                "Failed to apply Qwen2VLProcessor on data=",
            ),
            (
                lambda: uri_of(Image.new("1", (20000, 20000))),
                500,
                "Image size (400000000 pixels) exceeds limit of",
            ),
            (
                lambda: "file:///etc/passwd",
                500,
                "Cannot load local files without --allowed-local-media-path.",
            ),
            (lambda: "http://127.0.0.1:9/a.png", 500, "Cannot connect to host 127.0.0.1:9"),
        ],
        ids=["base64", "junk", "truncated", "sliver", "bomb", "file", "http"],
    )
    def test_a_bad_image(self, small: FakeVllm, make: Callable[[], str], status: int, message: str) -> None:
        told = self.refused(small, request_of(make(), OCR))
        assert told[0] == status
        assert told[3].startswith(message)

    def test_an_unknown_model_and_two_images(self, small: FakeVllm) -> None:
        told = self.refused(small, request_of(None, "x", model="nope"))
        message = f"The model `nope` does not exist. Valid aliases: {MODEL}."
        assert told == (404, "NotFoundError", "model", message)
        body = json.loads(request_of(page_uri(1), OCR))
        body["messages"][0]["content"] *= 2
        assert self.refused(small, json.dumps(body).encode())[3].startswith("At most 1 image(s)")

    def test_no_request_at_all(self, small: FakeVllm) -> None:
        assert self.refused(small, b"{")[:2] == (400, "Bad Request")
        assert self.refused(small, b"{}")[0] == 400
        assert self.refused(small, request_of(None, "x", mm_processor_kwargs={"a": 1}))[0] == 400

    def test_a_key_is_wanted_for_v1_only(self, small: FakeVllm) -> None:
        assert send(small, request_of(None, "x")).status == 401
        assert send(small, request_of(None, "x"), Authorization="Bearer other").status == 401
        assert small.fetch("/health") == b""

    def test_older_versions_had_other_words(self) -> None:
        with FakeVllm(max_model_len=2048, vllm_version="0.11.0") as old:
            assert json.loads(old.fetch("/version")) == {"version": "0.11.0"}
            long = self.refused(old, request_of(uri_of(draw_page(1, dpi=200)), OCR))
            assert "is longer than the maximum model length of 2048" in long[3]
            many = self.refused(old, request_of(page_uri(1), OCR, max_tokens=2000))
            assert "'max_tokens' or 'max_completion_tokens' is too large: 2000" in many[3]
            old.control(default="repetition")
            assert ask(old, prompt=OCR, repetition_detection={"min_count": 4}).finish == "length"


class TestOtherEndpoints:
    def test_models_tell_what_is_served(self) -> None:
        with FakeVllm(served_model_name="dots", max_model_len=4096) as server:
            (row,) = json.loads(server.fetch("/v1/models"))["data"]
            told = {key: row[key] for key in ("id", "root", "max_model_len", "owned_by")}
        assert told == {"id": "dots", "root": MODEL, "max_model_len": 4096, "owned_by": "vllm"}

    def test_metrics_count_requests_and_tokens(self, server: FakeVllm) -> None:
        reply = ask(server)
        assert reply.usage is not None
        lines = server.fetch("/metrics").decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        label = f'engine="0",model_name="{MODEL}"'
        assert values[f'vllm:request_success_total{{{label},finished_reason="stop"}}'] == "1.0"
        assert float(values[f"vllm:prompt_tokens_total{{{label}}}"]) == reply.usage["prompt_tokens"]
        assert float(values[f"vllm:generation_tokens_total{{{label}}}"]) == reply.usage["completion_tokens"]
        assert values[f"vllm:num_requests_running{{{label}}}"] == "0.0"
        assert values[f"vllm:num_requests_waiting{{{label}}}"] == "0.0"

    def test_an_unknown_path_has_another_shape(self, server: FakeVllm) -> None:
        with server.connection() as connection:
            connection.request("GET", "/nothing")
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())) == (404, {"detail": "Not Found"})


TRUTH = page_lines(7)
ENDS_WELL: dict[str, Callable[[Any], bool]] = {
    "ok": lambda reply: [cell.get("text") for cell in json.loads(reply.text)][1:] == TRUTH,
    "slow": lambda reply: [cell.get("text") for cell in json.loads(reply.text)][1:] == TRUTH,
    "truncated_json": lambda reply: TRUTH[0] in reply.text and not reply.text.endswith("]"),
    "prose": lambda reply: reply.text == behaviours.PROSE,
    "refusal": lambda reply: reply.text == behaviours.REFUSAL,
    "empty": lambda reply: reply.text == "",
    "empty_list": lambda reply: reply.text == "[]",
    "blank_hallucination": lambda reply: json.loads(reply.text)[0]["text"].startswith("The art of war"),
    "wrong_usage": lambda reply: reply.usage["prompt_tokens"] - ask_prompt_tokens() == 977,
    "no_usage": lambda reply: reply.usage is None and TRUTH[0] in reply.text,
    "huge": lambda reply: len(reply.text.encode()) > 1_000_000 and len(json.loads(reply.text)) == 10,
    "bad_sse": lambda reply: len(json.loads(reply.text)) == 9 and b"[DONE]" not in reply.data,
    "wrong_digits": lambda reply: len(json.loads(reply.text)) == 9 and TRUTH[5] not in reply.text,
    "missing_lines": lambda reply: TRUTH[0] not in reply.text and TRUTH[1] in reply.text,
    "hallucinated_lines": lambda reply: len(json.loads(reply.text)) == 13 and TRUTH[7] in reply.text,
    "junk": lambda reply: (
        not any(letter.isdigit() for cell in json.loads(reply.text) for letter in cell["text"])
    ),
}
"""Behaviours that end with `stop`, and what they are known by."""
LOOPS = {
    "loop_dots": ".....",
    "loop_phrase": behaviours.PHRASE * 5,
    "loop_rows": "<tr><td></td><td></td></tr>" * 5,
    "loop_counter": "Пункт 12. То же самое",
    "loop_cells": '"text": "Итого: 0,00 руб."}, {"bbox"',
}
STATUSES = {
    "http_400": 400,
    "http_429": 429,
    "http_500": 500,
    "http_503": 503,
}
BREAKS = {"reset", "reset_mid", "error_chunk", "no_finish", "invalid_utf8", "wrong_json"}
ENDS = {"abort": "abort", "length": "length"}
ENDLESS = {"hang", "hang_mid", "trickle", "loop_for_ever"}
DEATHS = {"die", "die_mid"}


def ask_prompt_tokens() -> int:
    words = len(tokens.tokenize(DOTS_OCR.template.format(prompt=LAYOUT)))
    return words - 1 + tokens.image_tokens(tokens.smart_resize(595, 842, tokens.DOTS), tokens.DOTS)


class TestBehaviours:
    def test_each_one_is_tested_below(self) -> None:
        tested = {*ENDS_WELL, *LOOPS, *STATUSES, *BREAKS, *ENDS, *ENDLESS, *DEATHS, "repetition"}
        assert tested == set(behaviours.BEHAVIOURS)

    @pytest.mark.parametrize("name", ENDS_WELL)
    def test_ends_with_stop(self, server: FakeVllm, name: str) -> None:
        server.control(default={"do": "slow", "tps": 3000} if name == "slow" else name)
        reply = ask(server)
        assert (reply.status, reply.broke, reply.finish) == (200, "", "stop")
        assert ENDS_WELL[name](reply)

    @pytest.mark.parametrize("name", LOOPS)
    def test_loops_until_the_limit(self, server: FakeVllm, name: str) -> None:
        server.control(default=name)
        reply = ask(server, max_tokens=3000)
        assert reply.finish == "length"
        assert LOOPS[name] in reply.text
        server.control(default={"do": name, "times": 20})
        reply = ask(server)
        assert reply.finish == "stop"
        assert len(json.loads(reply.text)) in {3, 22}

    @pytest.mark.parametrize("name", STATUSES)
    def test_refuses_with_a_status(self, server: FakeVllm, name: str) -> None:
        server.control(scenario={"7": [name, "ok"]})
        reply = ask(server)
        assert (reply.status, reply.error["code"]) == (STATUSES[name], STATUSES[name])
        assert ask(server).finish == "stop"

    @pytest.mark.parametrize("name", ENDS)
    def test_ends_in_the_middle_of_the_text(self, server: FakeVllm, name: str) -> None:
        server.control(default=name)
        reply = ask(server)
        assert reply.finish == ENDS[name]
        assert TRUTH[0] in reply.text
        assert TRUTH[7] not in reply.text

    def test_a_reset_is_no_answer(self, server: FakeVllm) -> None:
        server.control(default="reset")
        assert ask(server).broke == "ConnectionResetError"

    def test_a_reset_in_the_middle_follows_tokens(self, server: FakeVllm) -> None:
        server.control(default="reset_mid")
        with pytest.raises(ConnectionResetError):
            read_raw(server, request_of(page_uri(7), LAYOUT))
        assert server.requests(7)[0]["completion_tokens"] == 40

    def test_an_error_comes_within_a_stream_or_as_a_status(self, server: FakeVllm) -> None:
        server.control(default="error_chunk")
        reply = ask(server)
        assert (reply.status, reply.finish) == (200, None)
        assert reply.events[-1]["error"]["code"] == 500
        assert reply.data.endswith(b"data: [DONE]\n\n")
        assert ask(server, stream=False).status == 500

    def test_a_stream_ends_without_a_word(self, server: FakeVllm) -> None:
        server.control(default="no_finish")
        reply = ask(server)
        assert (reply.status, reply.broke, reply.finish) == (200, "", None)
        assert len(reply.text) > 20

    def test_bytes_that_are_no_utf8(self, server: FakeVllm) -> None:
        server.control(default="invalid_utf8")
        for stream in (True, False):
            with pytest.raises(UnicodeDecodeError):
                ask(server, stream=stream).data.decode()

    def test_lines_that_are_no_json(self, server: FakeVllm) -> None:
        server.control(default="wrong_json")
        assert {"not": "JSON"} in ask(server).events
        with pytest.raises(ValueError, match="line 1 column"):
            json.loads(ask(server, stream=False).data.decode(errors="replace"))

    def test_events_come_byte_by_byte_between_junk(self, server: FakeVllm) -> None:
        server.control(default="bad_sse")
        raw = read_raw(server, request_of(page_uri(7), OCR))
        assert b"\r\n1\r\n{\r\n1\r\n" in raw
        assert b"no field at all" in raw.replace(b"\r\n1\r\n", b"")

    def test_repetition_is_found_only_if_asked_for(self, server: FakeVllm) -> None:
        server.control(default="repetition")
        found = ask(server, repetition_detection={"min_count": 6, "max_pattern_size": 64})
        assert found.finish == "repetition"
        assert found.text.endswith(behaviours.PHRASE * 6)
        assert [c["stop_reason"] for c in found.choices if c["finish_reason"]] == ["repetition_detected"]
        assert ask(server, max_tokens=4000).finish == "length"

    @pytest.mark.parametrize("name", sorted(ENDLESS))
    def test_never_ends_and_is_given_up_when_the_client_goes(self, server: FakeVllm, name: str) -> None:
        server.control(default={"do": name, "tps": 50} if name == "trickle" else name)
        body = request_of(page_uri(7), LAYOUT, max_tokens=2000)
        connection = socket.create_connection(("127.0.0.1", server.port))
        with connection:
            connection.sendall(head_of(body) + body)
            server.wait_for("running")
            if name != "hang":
                assert connection.recv(65536)
            assert server.stats()["running"] == 1
        stats = server.wait_for("aborted")
        assert (stats["aborts"], stats["running"]) == (1, 0)
        assert (server.requests(7)[0]["completion_tokens"] == 0) == (name == "hang")

    @pytest.mark.parametrize("name", sorted(DEATHS))
    def test_the_process_dies(self, name: str) -> None:
        with FakeVllm(scenario={"7": [name]}) as server:
            reply = ask(server)
            assert reply.broke
            assert (reply.status, reply.finish) == ({"die": 0, "die_mid": 200}[name], None)
            wait_until(lambda: not server.alive, "it is dead")
            server.restart()
            assert ask(server, 8).finish == "stop"

    def test_attempts_are_counted_by_page_and_the_last_repeats(self, server: FakeVllm) -> None:
        server.control(scenario={"*": ["http_503", "ok"], "8": "empty", "9/ocr": ["refusal"]})
        assert [ask(server, 7).status for _ in range(3)] == [503, 200, 200]
        assert [ask(server, 9).status for _ in range(2)] == [503, 200]
        assert [ask(server, 8).text for _ in range(2)] == ["", ""]
        assert ask(server, 9, OCR).text == behaviours.REFUSAL
        assert [row["attempt"] for row in server.requests(7)] == [0, 1, 2]

    def test_parts_of_a_page_have_a_scenario_of_their_own(self, server: FakeVllm) -> None:
        page = draw_page(7)
        seen = pages.look(page)
        assert seen is not None
        part = request_of(uri_of(page.crop(seen.lines[4])), OCR)
        server.control(scenario={"7": "empty", "8/crop": "empty"})
        assert send(server, part).text == TRUTH[3]
        server.control(scenario={"7/crop": "refusal"})
        assert send(server, part).text == behaviours.REFUSAL
        assert server.requests(7)[1]["crop"] is True


def head_of(body: bytes) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)


def read_raw(server: FakeVllm, body: bytes) -> bytes:
    """The bytes of the answer as they stand on the wire, up to the end of its chunks."""
    data = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head_of(body) + body)
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += connection.recv(65536)
    return data


class TestControl:
    def test_down_comes_as_reset_or_as_a_status(self, server: FakeVllm) -> None:
        server.control(down=True)
        assert ask(server).broke == "ConnectionResetError"
        server.control(down=503)
        assert ask(server).status == 503
        server.control(down=False)
        assert ask(server).finish == "stop"

    def test_health_is_told_apart(self, server: FakeVllm) -> None:
        server.control(health=503)
        with pytest.raises(AssertionError, match="503"):
            server.fetch("/health")
        assert ask(server).finish == "stop"

    def test_paused_it_takes_requests_and_does_nothing(self, server: FakeVllm) -> None:
        server.control(pause=True)
        replies: list[Reply] = []
        thread = threading.Thread(target=lambda: replies.append(ask(server)))
        thread.start()
        stats = server.wait_for("running")
        assert stats["running"] + stats["waiting"] == 1
        assert replies == []
        server.control(pause=False)
        thread.join(20)
        assert replies[0].finish == "stop"

    def test_sigterm_aborts_what_runs_and_frees_the_port(self) -> None:
        with FakeVllm(decode_tps=20, step_s=0.05) as server:
            replies: list[Reply] = []
            threads = [
                threading.Thread(target=lambda s=stream: replies.append(ask(server, stream=s)))
                for stream in (True, False)
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: server.stats()["running"] == 2, "both run")
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 3
            for thread in threads:
                thread.join(20)
            streamed = next(reply for reply in replies if reply.events)
            whole = next(reply for reply in replies if not reply.events)
            assert streamed.finish == "abort"
            assert json.loads(whole.data)["choices"][0]["finish_reason"] == "abort"
            assert ask(server).broke == "ConnectionRefusedError"
            server.start()
            server.kill()
            server.restart(max_model_len=4096)
            assert json.loads(server.fetch("/v1/models"))["data"][0]["max_model_len"] == 4096

    def test_a_container_that_is_stopped_reports_errors(self) -> None:
        with FakeVllm(decode_tps=20, step_s=0.05, on_term="error") as server:
            replies: list[Reply] = []
            thread = threading.Thread(target=lambda: replies.append(ask(server)))
            thread.start()
            wait_until(lambda: server.requests(7), "it runs")
            assert server.stop(signal.SIGINT) == 0
            thread.join(20)
        assert b"EngineCore encountered an issue" in replies[0].data


class TestCapacity:
    @staticmethod
    def run(server: FakeVllm, clients: int, each: int) -> float:
        """So many clients, each asking again and again; the seconds that they were at it."""
        bodies = [request_of(page_uri(client), LAYOUT) for client in range(clients)]

        def work(body: bytes) -> None:
            for _ in range(each):
                assert send(server, body).finish == "stop"

        threads = [threading.Thread(target=work, args=(body,)) for body in bodies]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        seconds = time.monotonic() - began
        assert len(server.requests()) == clients * each
        return seconds

    def test_it_serves_as_many_pages_as_it_says(self) -> None:
        """Four seats at 1,875 tokens a second (of 3,000 that one may have), and 0.1 s for each prompt."""
        options: dict[str, Any] = {
            "prefill_s_per_1k": 0.07,
            "decode_tps": 3000,
            "total_tps": 7500,
            "max_num_seqs": 4,
        }
        with FakeVllm(**options) as server:
            seconds = self.run(server, 8, 3)
            stats = server.stats()
            used = cpu_seconds(server.pid)
        served, most = 60 * 24 / seconds, stats["capacity"]["pages_per_min"]
        prompt = stats["list"][0]["prompt_tokens"]
        answer = sum(row["completion_tokens"] for row in stats["list"]) / 24
        assert most == pytest.approx(60 * 4 / (prompt * 0.07e-3 + answer / 1875), rel=0.001)
        assert 0.8 < served / most < 1.05  # a busy machine only slows it down
        assert stats["most_running"] == 4
        assert stats["busy_s"] == pytest.approx(seconds, rel=0.05)
        assert used < seconds

    def test_one_client_is_served_at_the_rate_of_one_sequence(self) -> None:
        with FakeVllm(prefill_s_per_1k=0.1, decode_tps=2000, total_tps=2000, max_num_seqs=4) as server:
            seconds = self.run(server, 1, 2)
            row = server.requests()[0]
        alone = row["prompt_tokens"] / 1e4 + row["completion_tokens"] / 2000
        assert 0.98 < seconds / 2 / alone < 1.5, "a fourth of the rate would take four times as long"

    def test_others_wait_in_order(self, server: FakeVllm) -> None:
        server.control(scenario={str(page): "hang" for page in range(4)})
        held = []
        for page in range(4):
            body = request_of(page_uri(page), LAYOUT)
            held.append(socket.create_connection(("127.0.0.1", server.port)))
            held[-1].sendall(head_of(body) + body)
        server.wait_for("running", 4)
        thread = threading.Thread(target=ask, args=(server, 9))
        thread.start()
        stats = server.wait_for("running", 5)
        assert wait_until(lambda: server.stats()["waiting"] == 1, "it waits")
        assert stats["by_finish"] == {"running": 5}
        held[0].close()
        thread.join(20)
        assert server.requests(9)[0]["finish"] == "stop"
        for connection in held[1:]:
            connection.close()
        server.wait_for("aborted", 4)
