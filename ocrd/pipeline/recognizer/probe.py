"""Is this server one that reads? Asked once when it appears, with a page whose text is known.

Two checks. The server's own count of prompt tokens must be the one that we compute from the model's template and
the size of the image: a wrong chat template shows there, and it is what makes dots.ocr invent text (61 bad pages
of 300 against 7: intel/llm-scaler, pull request 682). And the known text must come back.
"""

from __future__ import annotations

import difflib
import importlib.resources
import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from ocrd.domain.errors import PageFault, ServerFault
from ocrd.domain.geometry import image_tokens, smart_resize
from ocrd.domain.models import PROFILES, AnswerKind, ModelProfile, PromptMode, profile_of
from ocrd.pipeline.recognizer.cells import parse_cells
from ocrd.pipeline.recognizer.chat import Answer, ChatServer, Question, ServedModel, ServerError
from ocrd.pipeline.recognizer.guarded_http import Guard
from ocrd.pipeline.recognizer.picture import OpenPage, Picture

EXPECTED = ("Счёт № 4711", "Invoice Total: 1 234,56 руб.", "Дата: 01.02.2026")
"""What stands on `probe.png`."""
SIMILAR = 0.6
"""How much of it must come back: a model that reads gets nearly all, one that invents next to nothing."""
SMALL_CONTEXT = 4096
"""Below it the known page is sent at half its size."""
MIN_LAYOUT_CONTEXT = 2048
"""Below it only plain OCR is possible: the layout prompt alone takes 217 tokens, a cell's frame 40."""
_ANSWER_TOKENS = 600
_TOKENS_PER_BYTE = 0.5
"""Of a prompt, where the server does not count: on the safe side for English."""
_MARGIN = 16
_LARGEST = (99_999, 99_999)
"""No picture is larger: the longest box that a prompt may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that passed."""

    model: str
    root: str
    version: str
    profile: ModelProfile
    context: int
    prompt_tokens: Mapping[PromptMode, int]
    """Of the whole prompt without the image, by mode."""
    checked_tokens: bool
    max_pixels: int
    """The area that the server makes larger pictures down to; learned from its counts."""

    @property
    def first_mode(self) -> PromptMode:
        """What a page is asked first: the layout, if the context has room for it."""
        small = self.context < MIN_LAYOUT_CONTEXT and PromptMode.OCR in self.profile.prompts
        return PromptMode.OCR if small else self.profile.first_mode


def conform(server: ChatServer, *, model: str, family: str, guard: Guard) -> Served:
    """Find the model and check the server. Raises ServerFault that says what is wrong, and Stopped."""
    found = _choose(server, server.models(guard), model)
    version = server.look_at_version(guard)
    profile = PROFILES[family] if family else _profile_of(found)
    if not found.context:
        found = ServedModel(found.id, found.root, SMALL_CONTEXT)
    tokens, counted = _count_prompts(server, found.id, profile, guard)
    served = Served(
        model=found.id,
        root=found.root,
        version=version,
        profile=profile,
        context=found.context,
        prompt_tokens=tokens,
        checked_tokens=counted,
        max_pixels=profile.max_pixels,
    )
    ask_known_page(server, served, guard)
    return served


def _choose(server: ChatServer, models: list[ServedModel], wanted: str) -> ServedModel:
    names = ", ".join(one.id for one in models) or "none"
    if wanted:
        for one in models:
            if wanted in {one.id, one.root}:
                return one
        raise ServerFault(
            f"{server.base_url} does not serve {wanted}; it serves: {names}", hint="set [vllm] model"
        )
    if len(models) != 1:
        raise ServerFault(
            f"{server.base_url} serves several models or none: {names}", hint="set [vllm] model"
        )
    return models[0]


def _profile_of(model: ServedModel) -> ModelProfile:
    known = profile_of(model.id)
    return known if known.template else profile_of(model.root)


def _count_prompts(
    server: ChatServer, model: str, profile: ModelProfile, guard: Guard
) -> tuple[dict[PromptMode, int], bool]:
    """Tokens of each prompt without the image, by the server's own tokenizer; and whether it has told them."""
    counts: dict[PromptMode, int] = {}
    for mode in profile.prompts:
        whole = profile.template.replace("{prompt}", profile.question(mode, _LARGEST))
        count = server.count_tokens(model, whole, guard) if whole else None
        if count is None:
            return {
                one: int(len(text.encode()) * _TOKENS_PER_BYTE) + 32 for one, text in profile.prompts.items()
            }, False
        counts[mode] = count - 1  # the image's placeholder stands for the image's tokens
    return counts, True


# --- the known page -----------------------------------------------------------------------------------------


def ask_known_page(server: ChatServer, served: Served, guard: Guard) -> None:
    """Raise ServerFault unless the known page comes back."""
    mode = served.first_mode
    picture, tokens = _known_page(served)
    room = served.context - served.prompt_tokens[mode] - tokens - _MARGIN
    if room < _MARGIN:
        raise ServerFault(
            f"the context of {served.model} is {served.context} tokens: no page fits",
            hint="start the server with a larger --max-model-len; 12288 holds any page of A4",
            lasting=True,
        )
    question = Question(
        picture=picture,
        prompt=served.profile.question(mode, (picture.width, picture.height)),
        sampling=served.profile.sampling,
        max_tokens=min(room, _ANSWER_TOKENS),
    )
    try:
        answer = server.ask(served.model, question, guard)
    except (PageFault, ServerError) as err:
        raise ServerFault(f"{served.model} did not read a known page: {err}") from err
    if answer.finish == "deadline":
        raise ServerFault(f"{served.model} did not answer in time to a known page", in_hand=True)
    if served.checked_tokens:
        _check_tokens(served, answer, served.prompt_tokens[mode] + tokens)
    _check_text(served, answer, served.profile.answers_with(mode))


def _known_page(served: Served) -> tuple[Picture, int]:
    """The picture of the known page, and its tokens."""
    data = importlib.resources.files("ocrd.pipeline.recognizer").joinpath("probe.png").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        half = 2 if served.context < SMALL_CONTEXT else 1
        profile = served.profile
        size = smart_resize(
            image.width // half,
            image.height // half,
            factor=profile.factor,
            min_pixels=profile.min_pixels,
            max_pixels=profile.max_pixels,
        )
        return OpenPage(image).cut(None, size), image_tokens(*size, factor=profile.factor)


def _check_tokens(served: Served, answer: Answer, expected: int) -> None:
    if answer.prompt_tokens is None or answer.prompt_tokens == expected:
        return
    raise ServerFault(
        f"{served.model} was put another question than ours: {answer.prompt_tokens} prompt tokens instead of "
        f"{expected}. The server applies another chat template, or resizes images",
        hint=(
            "start it with --chat-template-content-format string"
            if served.profile.prefix
            else "start it with the model's own chat template"
        ),
        lasting=True,
    )


def _check_text(served: Served, answer: Answer, kind: AnswerKind) -> None:
    text = answer.text
    if kind is AnswerKind.CELLS:
        text = "\n".join(cell.text or "" for cell in parse_cells(text).cells)
    got, wanted = _plain(text), _plain("".join(EXPECTED))
    matched = sum(
        block.size
        for block in difflib.SequenceMatcher(None, wanted, got, autojunk=False).get_matching_blocks()
    )
    if matched < SIMILAR * len(wanted):
        raise ServerFault(
            f"{served.model} does not read: a known page came back as {answer.text[:120]!r}",
            hint="its chat template or its files may be wrong; try another image of vLLM",
            lasting=True,
        )


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())[:400]
