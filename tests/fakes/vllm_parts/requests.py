"""A chat request as the server takes it: read, checked in vLLM's order, refused in vLLM's words."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from . import pages, tokens

_BOX = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
)
_TYPES = {
    400: "BadRequestError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}
OLD = (0, 17)
"""Versions below have other words for what is too long, and no `repetition_detection`."""


class ApiError(Exception):
    """An answer that is no answer."""

    def __init__(self, status: int, message: str, param: str | None = None, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        kind = kind or _TYPES.get(status, "InternalServerError")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True, slots=True)
class Model:
    """What is served."""

    id: str
    root: str
    context: int
    family: tokens.Family
    version: tuple[int, int] = (0, 32)
    array_template: bool = False
    images: int = 1


@dataclass(slots=True)
class Asked:
    """A request that was found good."""

    mode: str
    prompt_tokens: int
    limit: int
    """The tokens that an answer may have."""
    stream: bool
    include_usage: bool
    told: dict[str, Any]
    """For the list of requests."""
    seen: pages.Seen | None = None
    sent: tuple[int, int] | None = None
    """The size of the image in pixels, as it came."""
    size: tuple[int, int] = (0, 0)
    """And after the server's own resizing; boxes are in these pixels."""
    box: pages.Box | None = None
    """The box that is asked for."""
    repetition: dict[str, Any] = field(default_factory=dict)
    """What the request says of `repetition_detection`."""


def parse(body: bytes, model: Model) -> Asked:
    """Read a request. Raises ApiError."""
    try:
        request = json.loads(body)
    except ValueError as err:
        message = f"[{{'type': 'json_invalid', 'loc': ('body', 0), 'msg': 'JSON decode error: {err}'}}]"
        raise ApiError(400, message, kind="Bad Request") from err
    if not isinstance(request, dict) or not request.get("messages"):
        raise ApiError(400, "list index out of range")
    if request.get("model", model.id) != model.id:
        name = request["model"]
        message = f"The model `{name}` does not exist. Valid aliases: {model.id}."
        raise ApiError(404, message, "model")
    if request.get("mm_processor_kwargs"):
        raise ApiError(400, "mm_processor_kwargs in requests is disabled. Set --trust-request-mm-kwargs.")
    wanted = request.get("max_completion_tokens", request.get("max_tokens"))
    _check_wanted(wanted, model)
    parts = _parts(request["messages"])
    return _asked(request, parts, wanted, model)


def _check_wanted(wanted: int | None, model: Model) -> None:
    if wanted is None or model.version < OLD:
        return
    if wanted < 1:
        detail = f"(parameter=max_tokens, value={wanted})"
        raise ApiError(400, f"max_tokens must be at least 1, got {wanted}. {detail}", "max_tokens")
    if wanted > model.context:
        message = (
            f"max_tokens={wanted} cannot be greater than max_model_len={model.context}. "
            f"Please request fewer output tokens. (parameter=max_tokens, value={wanted})"
        )
        raise ApiError(400, message, "max_tokens")


def _parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contents of all messages, one after the other: the tests send one."""
    found: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content") or ""
        found += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return found


def _asked(request: dict[str, Any], parts: list[dict[str, Any]], wanted: int | None, model: Model) -> Asked:
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    if len(urls) > model.images:
        message = f"At most {model.images} image(s) may be provided in one prompt. (parameter=image)"
        raise ApiError(400, message, "image")
    texts = [part.get("text", "") if part.get("type") == "text" else None for part in parts]
    words = len(tokens.tokenize(tokens.render(texts, model.family, array=model.array_template)))
    if words > model.context:
        raise _too_long(words, model, text=True)
    images = [_load(url) for url in urls]
    try:
        sizes = [tokens.smart_resize(*image.size, model.family) for image in images]
    except ValueError as err:
        message = (
            f"Failed to apply {model.family.processor} on data={{'text': '', 'images': []}} with kwargs={{}}"
        )
        raise ApiError(400, message) from err
    prompt_tokens = words + sum(tokens.image_tokens(size, model.family) - 1 for size in sizes)
    limit = _limit(prompt_tokens, wanted, model)
    prompt = "\n".join(text for text in texts if text)
    mode = _mode(prompt)
    asked = Asked(
        mode=mode,
        prompt_tokens=prompt_tokens,
        limit=limit,
        stream=bool(request.get("stream")),
        include_usage=bool((request.get("stream_options") or {}).get("include_usage")),
        told={
            "max_tokens": wanted,
            "stream": bool(request.get("stream")),
            "sampling": {name: request[name] for name in _SAMPLING if name in request},
            "repetition_detection": request.get("repetition_detection"),
        },
        repetition=(request.get("repetition_detection") or {}) if model.version >= OLD else {},
    )
    if images:
        asked.seen, asked.sent, asked.size = pages.look(images[0]), images[0].size, sizes[0]
    if mode == "grounding" and (box := _BOX.search(prompt)):
        left, top, right, bottom = map(int, box.groups())
        asked.box = (left, top, right, bottom)
    return asked


def _load(url: str) -> Image.Image:
    if url.startswith("file:"):
        raise ApiError(500, "Cannot load local files without --allowed-local-media-path.")
    if not url.startswith("data:"):
        raise ApiError(500, f"Cannot connect to host {url.split('/')[2]} ssl:default [Connect call failed]")
    try:
        data = base64.b64decode(url.partition("base64,")[2], validate=True)
    except binascii.Error as err:
        raise ApiError(400, "Non-base64 digit found") from err
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Image.DecompressionBombError as err:
        raise ApiError(500, str(err)) from err
    except (OSError, SyntaxError, ValueError) as err:
        raise ApiError(400, f"Failed to load image: {err}") from err
    return image


def _limit(prompt_tokens: int, wanted: int | None, model: Model) -> int:
    """How long the answer may be: what was wanted is clipped to the context without a word, except by old ones."""
    if prompt_tokens >= model.context:
        raise _too_long(prompt_tokens, model, text=False)
    left = model.context - prompt_tokens
    if wanted is not None and wanted > left and model.version < OLD:
        message = (
            f"'max_tokens' or 'max_completion_tokens' is too large: {wanted}. This model's maximum context length "
            f"is {model.context} tokens and your request has {prompt_tokens} input tokens ({wanted} > "
            f"{model.context} - {prompt_tokens})."
        )
        raise ApiError(400, message)
    return left if wanted is None else min(wanted, left)


def _too_long(count: int, model: Model, *, text: bool) -> ApiError:
    if model.version < OLD:
        message = (
            f"The decoder prompt (length {count}) is longer than the maximum model length of {model.context}. Make "
            "sure that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens. For "
            "image inputs, the number of image tokens depends on the number of images, and possibly their aspect "
            "ratios as well."
        )
        return ApiError(400, message)
    if not text:
        return ApiError(
            400, f"Input length ({count}) exceeds model's maximum context length ({model.context})."
        )
    least = model.context + 1
    message = (
        f"This model's maximum context length is {model.context} tokens. However, your prompt contains at least "
        f"{least} input tokens, which exceeds this limit even without any output tokens. Please reduce the length "
        f"of the input prompt. (parameter=input_tokens, value={least})"
    )
    return ApiError(400, message, "input_tokens")


def _mode(prompt: str) -> str:
    """What a prompt of dots.ocr asks for; any other one asks for the text."""
    if "layout information" in prompt:
        return "layout_only" if "Do not output the corresponding text" in prompt else "layout"
    return "grounding" if "given bounding box" in prompt else "ocr"
