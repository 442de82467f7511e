"""The recognizer against the fake server: what it sends, what it makes of answers, whom it blames for faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.fake_vllm import FakeVllm
from support.marked import draw_page, page_lines

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault, Stopped
from ocrd.domain.models import PromptMode, Sampling
from ocrd.pipeline.recognizer.vllm import ServerOptions, VllmRecognizer

Page = Callable[..., PageImage]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """Draws page N as the rasterizer would leave it."""

    def make(number: int, *, dpi: int = 200, turned: int = 0) -> PageImage:
        image = draw_page(number, dpi=dpi, turned=turned)
        path = tmp_path / f"page-{number}-{dpi}-{turned}.pgm"
        image.convert("L").save(path)
        return PageImage(
            path=str(path), number=number, width=image.width, height=image.height, dpi=dpi, ink=0.03
        )

    return make


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[FakeVllm]:
    """A fake server; `@pytest.mark.parametrize("fake", [...], indirect=True)` gives it options."""
    with FakeVllm(**getattr(request, "param", {})) as server:
        yield server


def recognizer(server: FakeVllm, **more: Any) -> VllmRecognizer:
    return VllmRecognizer(ServerOptions(base_url=server.base_url, **more))


def read(one: VllmRecognizer, page: PageImage, *, timeout_s: float = 20, **changes: Any) -> Recognition:
    return one.recognize(
        page, Request(languages=("rus", "eng"), timeout_s=timeout_s, **changes), threading.Event()
    )


def read_once(server: FakeVllm, page: PageImage, **changes: Any) -> Recognition:
    with closing(recognizer(server)) as one:
        return read(one, page, **changes)


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


# --- what is sent, and what comes back ----------------------------------------------------------------------


def test_a_page_comes_back_with_its_text_its_boxes_and_its_origin(fake: FakeVllm, page: Page) -> None:
    sheet = page(7)
    found = read_once(fake, sheet)
    assert squeezed(found.text) == page_lines(7)
    assert (found.finish, found.prompt_mode, found.engine) == ("stop", "layout", "vllm")
    assert found.model_revision == "rednote-hilab/dots.ocr vLLM 0.32.0"
    tops = [block.box[1] for block in found.blocks if block.category != "Picture"]
    assert tops == sorted(tops)
    assert all(block.box[2] <= sheet.width and block.box[3] <= sheet.height for block in found.blocks)
    assert found.tokens > 0


def test_the_request_says_everything_that_matters(fake: FakeVllm, page: Page) -> None:
    read_once(fake, page(3), sampling=Sampling(temperature=0.3, repetition_penalty=1.05))
    asked = fake.requests(3)[-1]
    assert asked["mode"] == "layout"
    assert asked["sampling"]["temperature"] == 0.3
    assert asked["sampling"]["repetition_penalty"] == 1.05
    assert asked["prompt_tokens"] + asked["max_tokens"] <= 16384
    assert all(side % 28 == 0 for side in asked["image"])


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_page_is_read_when_it_is_turned_back(fake: FakeVllm, page: Page, turned: int) -> None:
    sheet = page(9, turned=turned)
    found = read_once(fake, sheet, rotation=360 - turned)
    assert squeezed(found.text) == page_lines(9)
    assert found.rotation == 360 - turned
    widths = [block.box[2] - block.box[0] for block in found.blocks if block.category == "Text"]
    heights = [block.box[3] - block.box[1] for block in found.blocks if block.category == "Text"]
    assert all(wide > high for wide, high in zip(widths, heights, strict=True)) == (turned == 180)


@pytest.mark.parametrize("mode", [PromptMode.OCR, PromptMode.GROUNDING, PromptMode.REGIONS])
def test_other_modes_read_the_same_text(fake: FakeVllm, page: Page, mode: PromptMode) -> None:
    found = read_once(fake, page(4), prompt_mode=mode)
    assert squeezed(found.text) == page_lines(4)
    assert found.prompt_mode == mode


def test_strips_read_the_same_text_once(fake: FakeVllm, page: Page) -> None:
    found = read_once(fake, page(12), strips=True)
    assert len(fake.requests(12)) > 1
    assert sorted(set(squeezed(found.text))) == sorted(squeezed(found.text)), "no line twice"
    assert squeezed(found.text) == page_lines(12)


@pytest.mark.parametrize("fake", [{"max_model_len": length} for length in (2048, 4096, 8192)], indirect=True)
def test_a_small_context_means_smaller_pictures_or_strips_and_never_an_overflow(
    fake: FakeVllm, page: Page
) -> None:
    found = read_once(fake, page(5, dpi=300))
    assert squeezed(found.text) == page_lines(5)
    for asked in fake.requests():
        assert asked["prompt_tokens"] + asked["max_tokens"] <= fake.options["max_model_len"]


@pytest.mark.parametrize("fake", [{"max_model_len": 700}], indirect=True)
def test_a_context_that_holds_no_page_is_told_as_such(fake: FakeVllm, page: Page) -> None:
    with (
        closing(recognizer(fake, min_dpi=200.0)) as one,
        pytest.raises((PageFault, ServerFault), match="context"),
    ):
        read(one, page(1))


@pytest.mark.parametrize("fake", [{"max_pixels": 1_500_000}], indirect=True)
def test_a_server_that_makes_pictures_smaller_is_sent_smaller_ones(fake: FakeVllm, page: Page) -> None:
    """Else the boxes would be in pixels of a picture that we do not know."""
    sheet = page(6)
    with closing(recognizer(fake)) as one:
        found = read(one, sheet)
        read(one, page(8))
    assert squeezed(found.text) == page_lines(6)
    assert len(fake.requests(6)) == 2
    assert len(fake.requests(8)) == 1, "it is learned once"
    width, height = fake.requests(8)[0]["image"]
    assert width * height <= 1_500_000


# --- is this a server that reads? ---------------------------------------------------------------------------


@pytest.mark.parametrize("fake", [{"template": "array"}], indirect=True)
def test_a_wrong_chat_template_is_refused_by_name(fake: FakeVllm, page: Page) -> None:
    with closing(recognizer(fake)) as one:
        with pytest.raises(ServerFault, match="chat template") as caught:
            read(one, page(1))
        assert "--chat-template-content-format string" in caught.value.hint
        assert one.facts()["state"] == "failed"
    assert fake.requests(1) == [], "no page is put to it"


def test_a_server_that_does_not_read_is_refused(fake: FakeVllm, page: Page) -> None:
    fake.control(scenario={"none": ["refusal"]})
    with pytest.raises(ServerFault, match="does not read"):
        read_once(fake, page(1))


@pytest.mark.parametrize("fake", [{"api_key": "secret"}], indirect=True)
def test_a_key_is_sent_and_its_lack_is_told(fake: FakeVllm, page: Page) -> None:
    with pytest.raises(ServerFault, match="key"):
        read_once(fake, page(1))
    with closing(recognizer(fake, api_key="secret")) as one:
        assert read(one, page(1)).finish == "stop"


def test_a_model_that_is_not_served_is_told_with_those_that_are(fake: FakeVllm, page: Page) -> None:
    with (
        closing(recognizer(fake, model="other/model")) as one,
        pytest.raises(ServerFault, match=r"it serves: rednote-hilab/dots\.ocr"),
    ):
        read(one, page(1))


@pytest.mark.parametrize(
    "fake", [{"model": "Qwen/Qwen2-VL-2B-Instruct"}, {"model": "Qwen/Qwen3-VL-2B-Instruct"}], indirect=True
)
def test_other_families_are_read_with_their_own_prompts(fake: FakeVllm, page: Page) -> None:
    with closing(recognizer(fake)) as one:
        found = read(one, page(2))
        assert one.modes == {PromptMode.OCR}
        assert one.facts()["state"] == "ready"
        with pytest.raises(PageFault) as caught:
            read(one, page(2), prompt_mode=PromptMode.LAYOUT)
    assert caught.value.code is ReasonCode.ENGINE_REFUSED
    assert squeezed(found.text) == page_lines(2)
    assert found.prompt_mode == "ocr"


def test_nobody_at_the_door_is_the_servers_fault(page: Page) -> None:
    with closing(VllmRecognizer(ServerOptions(base_url="http://127.0.0.1:9/v1"))) as one:
        with pytest.raises(ServerFault, match="no server at"):
            read(one, page(1))
        assert "no server" in one.facts()["problem"]


def test_a_server_that_comes_back_is_used_again(
    fake: FakeVllm, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocrd.pipeline.recognizer.vllm.RECHECK_AFTER_S", 0.0)
    with closing(recognizer(fake)) as one:
        assert read(one, page(1)).finish == "stop"
        fake.kill()
        with pytest.raises(ServerFault):
            read(one, page(1))
        fake.restart()
        assert read(one, page(1)).finish == "stop"


# --- whose fault ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("http_500", ReasonCode.ENGINE_FAILED),
        ("http_400", ReasonCode.ENGINE_REFUSED),
        ("error_chunk", ReasonCode.ENGINE_FAILED),
        ("reset", ReasonCode.ENGINE_CRASHED),
        ("reset_mid", ReasonCode.ENGINE_CRASHED),
        ("hang", ReasonCode.ENGINE_TIMEOUT),
        ("trickle", ReasonCode.ENGINE_TIMEOUT),
        ("wrong_json", ReasonCode.ENGINE_FAILED),
    ],
)
def test_a_fault_on_one_page_of_a_healthy_server_is_the_pages(
    fake: FakeVllm, page: Page, behaviour: str, code: ReasonCode
) -> None:
    fake.control(scenario={"7": [behaviour]})
    with closing(recognizer(fake)) as one:
        with pytest.raises(PageFault) as caught:
            read(one, page(7), timeout_s=2)
        assert caught.value.code is code
        assert read(one, page(8)).finish == "stop"


@pytest.mark.parametrize("behaviour", ["http_429", "http_503"])
def test_a_busy_server_is_no_fault_of_the_page(fake: FakeVllm, page: Page, behaviour: str) -> None:
    fake.control(scenario={"7": [behaviour]})
    with pytest.raises(ServerFault):
        read_once(fake, page(7))


@pytest.mark.parametrize("behaviour", ["http_500", "reset", "die", "die_mid", "hang"])
def test_when_the_known_page_does_not_come_back_either_it_is_the_servers(
    fake: FakeVllm, page: Page, behaviour: str
) -> None:
    with closing(recognizer(fake)) as one:
        read(one, page(1))
        fake.control(scenario={"*": [behaviour], "none": ["http_500"]})
        with pytest.raises(ServerFault) as caught:
            read(one, page(7), timeout_s=2)
        assert caught.value.in_hand


@pytest.mark.parametrize(
    ("behaviour", "finish"),
    [
        ("abort", "abort"),
        ({"do": "hang_mid", "after": 300}, "deadline"),
        ({"do": "no_finish", "after": 300}, "cut"),
        ("length", "length"),
    ],
)
def test_an_answer_that_is_not_complete_is_kept_as_far_as_it_came(
    fake: FakeVllm, page: Page, behaviour: Any, finish: str
) -> None:
    fake.control(scenario={"7": [behaviour]})
    found = read_once(fake, page(7), timeout_s=3)
    assert found.finish == finish
    lines = squeezed(found.text)
    assert lines
    assert page_lines(7)[0].startswith(lines[0][:20])


@pytest.mark.parametrize(
    "behaviour",
    ["loop_dots", "loop_phrase", "loop_rows", "loop_counter", "loop_cells", "loop_for_ever", "repetition"],
)
def test_an_answer_in_circles_is_ended_before_the_room_is_full(
    fake: FakeVllm, page: Page, behaviour: str
) -> None:
    fake.control(scenario={"7": [behaviour]})
    found = read_once(fake, page(7))
    assert found.finish in {"loop", "repetition", "stop", "length"}
    assert found.tokens < 11_000


@pytest.mark.parametrize("behaviour", ["bad_sse", "no_usage", "wrong_usage", "invalid_utf8"])
def test_oddities_on_the_wire_cost_no_text(fake: FakeVllm, page: Page, behaviour: str) -> None:
    fake.control(scenario={"7": [behaviour]})
    found = read_once(fake, page(7))
    assert squeezed(found.text.replace("\ufffd", "")) == page_lines(7)


def test_a_page_that_trickles_ends_at_its_deadline(fake: FakeVllm, page: Page) -> None:
    fake.control(scenario={"7": ["trickle"]})
    with closing(recognizer(fake)) as one:
        read(one, page(1))
        began = time.monotonic()
        with pytest.raises(PageFault):
            read(one, page(7), timeout_s=2)
        assert time.monotonic() - began < 10


def test_a_stop_ends_a_page_at_once_and_the_server_is_told(fake: FakeVllm, page: Page) -> None:
    fake.control(scenario={"7": ["hang_mid"]})
    stop = threading.Event()
    outcome: list[BaseException] = []
    with closing(recognizer(fake)) as one:
        sheet = page(7)

        def work() -> None:
            try:
                one.recognize(sheet, Request(languages=("rus",), timeout_s=60), stop)
            except BaseException as err:
                outcome.append(err)

        thread = threading.Thread(target=work)
        thread.start()
        while not fake.requests(7):
            thread.join(0.05)
        stop.set()
        thread.join(5)
        assert not thread.is_alive()
    assert isinstance(outcome[0], Stopped)
    assert fake.wait_for("aborted")
