"""What a served model is asked in the acceptance test, and how its answers are judged."""

from __future__ import annotations

import base64
import contextlib
import importlib.resources
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from PIL import Image

from ocrd.domain.documents import PageImage, Recognition, Request
from ocrd.domain.errors import OcrdError, Stopped
from ocrd.pipeline.recognizer.chat import ChatServer
from ocrd.pipeline.recognizer.guarded_http import Guard
from ocrd.pipeline.recognizer.vllm import VllmRecognizer
from ocrd.serving.running import Endpoint

PAGES = ("cyrillic", "latin", "digits", "table")
_FOLDER = importlib.resources.files("ocrd.daemon.acceptance").joinpath("pages")
_DPI = 150.0
CATASTROPHIC_CER = 0.5
"""A page of which more than half the letters are wrong was not read."""
PAGE_TIMEOUT_S = 180.0
VISION_TIMEOUT_S = 120.0
TEXT_TIMEOUT_S = 60.0
"""The user's Qwen2-VL never answered questions without a picture: such a question must not hold up the rest."""
_VISION_QUESTION = "What shape is in this picture, and what colour is it? Answer in three words."
_TEXT_QUESTION = "How much is 17 plus 25? Answer with the number alone."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageResult:
    """One bundled page: the share of wrong letters (edit distance over length, blanks ignored), tokens and seconds."""

    page: str
    cer: float
    catastrophic: bool
    seconds: float
    tokens: int
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionResult:
    """One question: whether the answer is right, and the answer or why there is none."""

    right: bool
    answer: str
    seconds: float
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """All that a model was asked."""

    pages: tuple[PageResult, ...]
    pages_per_min: float
    """Of all pages at once, as the daemon asks."""
    tokens_per_s: float
    """Of one page after the other."""
    vision: QuestionResult
    text: QuestionResult


def ask_everything(recognizer: VllmRecognizer, endpoint: Endpoint, languages: Sequence[str]) -> Readings:
    """Put everything to a model. What it cannot do is in the results; raises nothing but Stopped."""
    request = Request(languages=tuple(languages), timeout_s=PAGE_TIMEOUT_S)
    pages = tuple(_read(recognizer, name, request) for name in PAGES)
    seconds = sum(page.seconds for page in pages)
    with contextlib.closing(ChatServer(endpoint.base_url, "")) as server:
        vision = _ask(server, endpoint.model, _vision_messages(), VISION_TIMEOUT_S, ("circle", "red"))
        text = _ask(
            server, endpoint.model, [{"role": "user", "content": _TEXT_QUESTION}], TEXT_TIMEOUT_S, ("42",)
        )
    return Readings(
        pages=pages,
        pages_per_min=_read_at_once(recognizer, request),
        tokens_per_s=round(sum(page.tokens for page in pages) / seconds, 1) if seconds else 0.0,
        vision=vision,
        text=text,
    )


def _read(recognizer: VllmRecognizer, name: str, request: Request) -> PageResult:
    wanted = _FOLDER.joinpath(f"{name}.txt").read_text(encoding="utf-8")
    began = time.monotonic()
    try:
        recognition = _recognize(recognizer, name, request)
    except OcrdError as err:
        seconds = round(time.monotonic() - began, 2)
        return PageResult(
            page=name, cer=1.0, catastrophic=True, seconds=seconds, tokens=0, text="", problem=str(err)
        )
    cer = error_rate(wanted, recognition.text)
    return PageResult(
        page=name,
        cer=round(cer, 4),
        catastrophic=cer > CATASTROPHIC_CER,
        seconds=round(time.monotonic() - began, 2),
        tokens=recognition.tokens,
        text=recognition.text,
    )


def _recognize(recognizer: VllmRecognizer, name: str, request: Request) -> Recognition:
    with importlib.resources.as_file(_FOLDER.joinpath(f"{name}.png")) as path:
        with Image.open(path) as image:
            width, height = image.size
        page = PageImage(path=str(path), number=1, width=width, height=height, dpi=_DPI, ink=0.05)
        return recognizer.recognize(page, request, Event())


def _read_at_once(recognizer: VllmRecognizer, request: Request) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(recognizer.slots) as pool:
        done = [pool.submit(_recognize, recognizer, name, request) for name in PAGES]
        read = sum(one.exception() is None for one in done)
    return round(read / (time.monotonic() - began) * 60, 1)


def _vision_messages() -> list[dict[str, object]]:
    data = base64.b64encode(_FOLDER.joinpath("circle.png").read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [{"role": "user", "content": [image, {"type": "text", "text": _VISION_QUESTION}]}]


def _ask(
    server: ChatServer,
    model: str,
    messages: list[dict[str, object]],
    timeout_s: float,
    wanted: tuple[str, ...],
) -> QuestionResult:
    began = time.monotonic()
    answer, problem = "", ""
    try:
        answer = server.chat(model, messages, Guard(Event(), began + timeout_s), max_tokens=40)
    except (OcrdError, Stopped) as err:
        problem = str(err) or f"no answer within {timeout_s:g} s"
    return QuestionResult(
        right=all(word in answer.lower() for word in wanted),
        answer=answer.strip()[:200],
        seconds=round(time.monotonic() - began, 2),
        problem=problem,
    )


def error_rate(wanted: str, got: str) -> float:
    """Edit distance over the length of what was wanted, by letters and digits; blanks, marks and case do not count:
    models write tables and signs in several right ways."""
    from rapidfuzz.distance import Levenshtein

    plain_wanted, plain_got = "".join(_letters(wanted)), "".join(_letters(got))
    if not plain_wanted:
        return 0.0 if not plain_got else math.inf
    return Levenshtein.distance(plain_wanted, plain_got) / len(plain_wanted)


def _letters(text: str) -> Iterator[str]:
    return (letter for letter in text.lower().replace("ё", "е") if letter.isalnum())
