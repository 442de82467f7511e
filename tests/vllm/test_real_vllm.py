"""What only the real server can show: its templates, its tokens, its processors, its errors.

The tests stand in the order in which the servers are started, so that each is started once.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image, ImageDraw
from support.real_vllm import DOTS_FLAGS, RealServer, Servers

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import PageFault, ReasonCode, ServerFault
from ocrd.domain.geometry import image_tokens, smart_resize
from ocrd.domain.models import PROFILES, PromptMode, profile_of
from ocrd.pipeline.recognizer.chat import ChatServer, Question
from ocrd.pipeline.recognizer.guarded_http import Guard
from ocrd.pipeline.recognizer.picture import OpenPage
from ocrd.pipeline.recognizer.probe import EXPECTED
from ocrd.pipeline.recognizer.vllm import ServerOptions, VllmRecognizer

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

DOTS, QWEN2, QWEN3 = "tiny-dots.ocr", "tiny-qwen2-vl", "tiny-qwen3-vl"
FLAGS = {DOTS: DOTS_FLAGS, QWEN2: (), QWEN3: ()}
PLACEHOLDER = {DOTS: "<|imgpad|>", QWEN2: "<|image_pad|>", QWEN3: "<|image_pad|>"}
"""What stands in a prompt for the image."""
SIZES = [
    (28, 28), (56, 56), (57, 57), (60, 300), (64, 64), (100, 100), (123, 456), (256, 256), (300, 200), (333, 777),
    (400, 90), (480, 640), (500, 500), (561, 559), (600, 799), (640, 480), (700, 1000), (768, 768), (800, 600), (827, 1170),
    (841, 1189), (900, 100), (960, 1280), (1000, 50), (1024, 1024), (1103, 1559), (1123, 794), (1240, 1754), (1366, 768),
    (1654, 2339), (2000, 300), (2339, 1654),
]  # fmt: skip
"""32 sizes of images; the last ones are A4 at 150 and 200 DPI."""


def guard(seconds: float = 120.0) -> Guard:
    return Guard(Event(), time.monotonic() + seconds)


def recognizer(server: RealServer, **more: Any) -> VllmRecognizer:
    return VllmRecognizer(ServerOptions(base_url=server.base_url, model=server.model, slots=2, **more))


@pytest.fixture
def page(tmp_path: Path) -> PageImage:
    return draw(tmp_path, 1654, 2339)


def draw(folder: Path, width: int, height: int, dpi: float = 200) -> PageImage:
    image = Image.new("L", (width, height), 255)
    ImageDraw.Draw(image).rectangle((width // 4, height // 4, width // 2, height // 2), fill=0)
    path = folder / f"{width}x{height}.pgm"
    image.save(path)
    return PageImage(path=str(path), number=1, width=width, height=height, dpi=dpi, ink=0.06)


def read(one: VllmRecognizer, page: PageImage, **changes: Any) -> Recognition:
    return one.recognize(page, Request(languages=("rus", "eng"), timeout_s=120, **changes), Event())


def rendered(server: RealServer, prompt: str, size: tuple[int, int]) -> str:
    """The text that the server makes of a question of ours, with the placeholder repeated for each of the image's tokens."""
    profile = profile_of(server.model)
    picture = OpenPage(Image.new("L", size, 200)).cut(None, size)
    question = Question(picture=picture, prompt=prompt, sampling=profile.sampling, max_tokens=4)
    with closing(ChatServer(server.base_url, "")) as chat:
        messages = chat._request(server.model, question)["messages"]
    tokens = post(server, "tokenize", {"model": server.model, "messages": messages})["tokens"]
    text = post(server, "detokenize", {"model": server.model, "tokens": tokens})["prompt"]
    assert isinstance(text, str)
    return text


def post(server: RealServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What vLLM answers beside the interface of OpenAI."""
    request = urllib.request.Request(
        server.base_url.removesuffix("v1") + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        told: dict[str, Any] = json.load(response)
    return told


def finish_or_fault(one: VllmRecognizer, page: PageImage, **changes: Any) -> str:
    """How a page's answer ended, or why there was none."""
    try:
        return read(one, page, **changes).finish
    except PageFault as fault:
        return str(fault)


# --- at 16,384 tokens of context, one start an architecture -------------------------------------------------


@pytest.fixture(params=[DOTS, QWEN2, QWEN3], scope="module")
def server(request: pytest.FixtureRequest, servers: Servers) -> RealServer:
    model: str = request.param
    return servers.get(model, *FLAGS[model])


def test_prompt_tokens_are_the_computed_ones_for_images_of_all_sizes(server: RealServer) -> None:
    profile = profile_of(server.model)
    mode = PromptMode.OCR
    prompt = profile.prefix + profile.prompts[mode]
    with closing(ChatServer(server.base_url, "")) as chat:
        around = chat.count_tokens(server.model, profile.template.replace("{prompt}", prompt), guard())
        assert around is not None
        for width, height in SIZES:
            size = smart_resize(
                width,
                height,
                factor=profile.factor,
                min_pixels=profile.min_pixels,
                max_pixels=profile.max_pixels,
            )
            for sent in {(width, height), size}:
                picture = OpenPage(Image.new("L", sent, 200)).cut(None, sent)
                question = Question(picture=picture, prompt=prompt, sampling=profile.sampling, max_tokens=4)
                answer = chat.ask(server.model, question, guard())
                expected = around - 1 + image_tokens(*size, factor=profile.factor)
                assert answer.prompt_tokens == expected, f"{sent} of {server.model}"


@pytest.mark.parametrize("size", [(280, 280), (1652, 2352)], ids=str)
def test_the_server_makes_of_our_messages_what_the_profile_says(
    server: RealServer, size: tuple[int, int]
) -> None:
    """To the letter, for each prompt; the placeholder stands once, and as often repeated as the image has tokens."""
    profile = profile_of(server.model)
    size = smart_resize(
        *size, factor=profile.factor, min_pixels=profile.min_pixels, max_pixels=profile.max_pixels
    )
    tokens = image_tokens(*size, factor=profile.factor)
    for prompt in profile.prompts.values():
        whole = profile.template.replace("{prompt}", profile.prefix + prompt)
        assert whole.count(PLACEHOLDER[server.model]) == 1
        expected = whole.replace(PLACEHOLDER[server.model], PLACEHOLDER[server.model] * tokens)
        assert rendered(server, profile.prefix + prompt, size) == expected


def test_the_server_passes_the_probe_and_reads_a_page(server: RealServer, page: PageImage) -> None:
    with closing(recognizer(server)) as one:
        served = one.check(timeout_s=120)
        assert served.checked_tokens
        assert served.context == 16384
        assert served.version.startswith("0.32")
        recognition = read(one, page)
    assert recognition.finish == "stop"
    for line in EXPECTED:
        assert line.split()[-1] in recognition.text.replace("\xa0", " ")
    assert recognition.prompt_mode == profile_of(server.model).first_mode


def test_every_mode_and_turn_gets_a_complete_answer(server: RealServer, page: PageImage) -> None:
    with closing(recognizer(server)) as one:
        for mode in profile_of(server.model).prompts:
            if mode is not PromptMode.GROUNDING:
                assert read(one, page, prompt_mode=mode).finish == "stop"
        turned = read(one, page, rotation=90)
        assert all(block.box[2] <= page.width and block.box[3] <= page.height for block in turned.blocks)
        assert len(read(one, page, strips=True).text) >= len(turned.text) // 2


def test_a_picture_that_no_server_can_open_is_the_pages_fault(server: RealServer, tmp_path: Path) -> None:
    with closing(recognizer(server)) as one:
        sliver = draw(tmp_path, 10, 3000)
        assert read(one, sliver).finish == "stop", "slivers are squeezed before they are sent"
        (tmp_path / "broken.pgm").write_bytes(b"P5\n10 10\n255\nabc")
        broken = PageImage(path=str(tmp_path / "broken.pgm"), number=2, width=10, height=10, dpi=200, ink=0.1)
        with pytest.raises(PageFault) as caught:
            read(one, broken)
        assert caught.value.code is ReasonCode.ENGINE_FAILED


def test_an_unknown_model_is_told_with_the_known_ones(server: RealServer) -> None:
    with (
        closing(VllmRecognizer(ServerOptions(base_url=server.base_url, model="nobody/knows"))) as one,
        pytest.raises(ServerFault, match=server.model),
    ):
        one.check(timeout_s=60)


# --- processors ---------------------------------------------------------------------------------------------

COMPARE = """
import json, sys
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize
for line in sys.stdin:
    width, height, factor, least, most = json.loads(line)
    try:
        high, wide = smart_resize(height, width, factor, least, most)
        print(json.dumps([wide, high]))
    except ValueError:
        print("null")
"""


def test_images_are_resized_as_the_processors_do(vllm_python: Path) -> None:
    cases = list(_sizes_to_compare())
    ours: list[Sequence[int] | None] = []
    for width, height, factor, least, most in cases:
        try:
            ours.append(list(smart_resize(width, height, factor=factor, min_pixels=least, max_pixels=most)))
        except ValueError:
            ours.append(None)
    told = subprocess.run(
        [vllm_python, "-c", COMPARE],
        input="\n".join(map(json.dumps, cases)),
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(theirs) == len(cases) > 5000
    assert [case for case, one, other in zip(cases, ours, theirs, strict=True) if one != other] == []


def _sizes_to_compare() -> Iterator[tuple[int, int, int, int, int]]:
    sides = [
        1,
        2,
        13,
        14,
        15,
        27,
        28,
        29,
        41,
        42,
        43,
        56,
        70,
        84,
        98,
        99,
        100,
        141,
        500,
        1013,
        1654,
        2339,
        3360,
        3361,
        5000,
        9000,
        30000,
    ]
    for profile in PROFILES.values():
        for width in sides:
            for height in sides:
                for most in (profile.max_pixels, 1_003_520):
                    yield width, height, profile.factor, profile.min_pixels, most


# --- the wrong template -------------------------------------------------------------------------------------


def test_dots_ocr_that_was_started_without_its_content_format_is_refused_by_name(servers: Servers) -> None:
    """vLLM then finds the branch for content in parts: nobody speaks, and our placeholder stands beside its own."""
    server = servers.get(DOTS, "--trust-remote-code")
    prefix, pad = profile_of(DOTS).prefix, PLACEHOLDER[DOTS]
    image = prefix.replace(pad, pad * 100)
    assert rendered(server, prefix + "Read.", (280, 280)) == f"{image}{prefix}Read.<|assistant|>"
    with closing(recognizer(server)) as one, pytest.raises(ServerFault, match="chat template") as caught:
        one.check(timeout_s=120)
    assert "--chat-template-content-format string" in caught.value.hint


def test_a_loop_is_ended_and_told(servers: Servers, page: PageImage) -> None:
    server = servers.get("tiny-qwen2-vl-loop")
    with closing(ChatServer(server.base_url, "")) as chat:
        profile = profile_of(server.model)
        picture = OpenPage(Image.new("L", (280, 280), 255)).cut(None, (280, 280))
        question = Question(picture=picture, prompt="x", sampling=profile.sampling, max_tokens=12_000)
        assert chat.ask(server.model, question, guard()).finish == "length"
        chat.look_at_version(guard())
        assert chat.ask(server.model, question, guard()).finish == "repetition"
        seen: list[str] = []
        answer = chat.ask(
            server.model, question, guard(), lambda chunk: seen.append(chunk) is None and len(seen) > 50
        )
        assert answer.finish == "loop"
        late = chat.ask(server.model, question, guard(0.5))
        assert late.finish in {"deadline", "repetition"}
    with closing(recognizer(server)) as one, pytest.raises(ServerFault, match="does not read"):
        one.check(timeout_s=120)


# --- small contexts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("context", "model"), [(1024, QWEN3), (2048, QWEN2), (4096, DOTS)])
def test_no_request_of_ours_passes_a_small_context(
    servers: Servers, tmp_path: Path, context: int, model: str
) -> None:
    """Whatever the page: it is read, or the reason is that it does not fit, told before the server is asked."""
    server = servers.get(model, *FLAGS[model], context=context)
    with closing(recognizer(server)) as one:
        one.check(timeout_s=120)
        for width, height, dpi in [
            (1654, 2339, 200),
            (2480, 3508, 300),
            (600, 400, 200),
            (3508, 2480, 300),
            (700, 6000, 150),
        ]:
            sheet = draw(tmp_path, width, height, dpi)
            for strips in (False, True):
                outcome = finish_or_fault(one, sheet, strips=strips)
                assert outcome == "stop" or "does not fit into" in outcome
