"""One question to an OpenAI-compatible vision server, over the `openai` package, and all the ways it can go wrong.

Always streamed, so that our own deadline, our loop detector and a stop can end an answer half-way, and nothing
that was already read is lost. What the server says is sorted by who is to blame: `PageFault` for the request,
`ServerFault` for the server; `Answer.finish` is `stop` only for a complete answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from ocrd.domain.errors import PageFault, ReasonCode, ServerFault
from ocrd.domain.models import Sampling
from ocrd.pipeline.recognizer.guarded_http import Guard, TimeOver, guarded, make_client
from ocrd.pipeline.recognizer.picture import Picture

STOP = "stop"
"""The only `finish` of a complete answer. Others: `length`, `abort`, `repetition` (vLLM's words); ours are
`loop` (the watch ended it), `deadline`, `cut` (it ended without a word) and `broken` (a part of it was no JSON)."""
_REPETITION = {"min_pattern_size": 16, "max_pattern_size": 512, "min_count": 20}
"""vLLM's own loop detection, in tokens: far coarser than ours, for it cannot see that an empty form of thirty
rows is legitimate; a last resort against a pattern that never ends."""
REPETITION_SINCE = (0, 17)
"""The first vLLM with `repetition_detection` (pull request 35451)."""
_OVERFLOW = ("maximum context length", "max_model_len", "maximum model length", "max_tokens")
"""Words of vLLM's several messages for a request that is too long."""
_MESSAGE = 300
_WORD = 40
_MOST_TOKENS = 2**31
"""Lengths of what is taken from a server."""
_BUSY = frozenset({408, 425, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. Tokens are counted beforehand: `max_tokens` is what the context leaves."""

    picture: Picture
    prompt: str
    sampling: Sampling
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `prompt_tokens` is None if the server did not say."""

    text: str
    finish: str
    prompt_tokens: int | None
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as `/v1/models` tells it; `context` is 0 if it does not."""

    id: str
    root: str
    context: int


class ServerError(Exception):
    """A 5xx, or an error within a stream: vLLM's word for a bad page and for its own end alike. Whoever asked
    finds out which, by asking for a known page."""


class ChatServer:
    """A server at `base_url` (with `/v1`). Thread-safe."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.base_url = base_url
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", max_retries=0, http_client=make_client()
        )
        # What the package takes from the environment ($OPENAI_ORG_ID, $OPENAI_CUSTOM_HEADERS) is for its own service;
        # the headers may hold another key.
        self._client.organization = self._client.project = None
        self._client._custom_headers = {}  # noqa: SLF001  # it has no public way to leave them out
        self._root = self._client.base_url.join("../")
        self._has_repetition_detection = False

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def models(self, guard: Guard) -> list[ServedModel]:
        """What it serves. Raises ServerFault."""
        listed = self._fetch("models", guard)
        if listed is None or not isinstance(listed.get("data"), list):
            raise ServerFault(f"{self.base_url} is no OpenAI-compatible server: it lists no models")
        return [
            ServedModel(
                row["id"], _text(row.get("root")) or row["id"], _whole_number(row.get("max_model_len")) or 0
            )
            for row in listed["data"]
            if isinstance(row, dict) and _text(row.get("id"))
        ]

    def look_at_version(self, guard: Guard) -> str:
        """vLLM's version, '' for another server; what it can do is remembered."""
        told = self._fetch(str(self._root.join("version")), guard) or {}
        version = _text(told.get("version"))
        digits = version.split(".")[:2]
        if len(digits) == 2 and all(part.isdecimal() and len(part) < 6 for part in digits):
            self._has_repetition_detection = (int(digits[0]), int(digits[1])) >= REPETITION_SINCE
        return version

    def count_tokens(self, model: str, prompt: str, guard: Guard) -> int | None:
        """How many tokens a text is, special tokens as such; None if the server does not tell."""
        body = {"model": model, "prompt": prompt, "add_special_tokens": False}
        told = self._fetch(str(self._root.join("tokenize")), guard, body)
        return _whole_number((told or {}).get("count"))

    def chat(self, model: str, messages: list[dict[str, object]], guard: Guard, *, max_tokens: int) -> str:
        """A plain question, answered at once and without sampling; '' if it is refused. Raises ServerFault, Stopped."""
        body = {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0.0}
        told = self._fetch("chat/completions", guard, body) or {}
        first = next(iter(_list(told.get("choices"))), None)
        return _text(_object(_object(first).get("message")).get("content"))

    def _fetch(self, path: str, guard: Guard, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """A JSON object; None for one that is not there (4xx). Raises ServerFault."""
        try:
            with guarded(guard):
                if body is None:
                    told = self._client.get(path, cast_to=object)
                else:
                    told = self._client.post(path, body=body, cast_to=object)
        except openai.APIStatusError as err:
            if err.status_code in {400, 404, 405, 422, 501}:
                return None
            raise _fault_of(err, self.base_url) from err
        except (openai.APIConnectionError, httpx2.HTTPError, TimeOver) as err:
            raise _unreachable(self.base_url, err) from err
        except (ValueError, RecursionError):  # no JSON, or one that is nested too deeply
            return None
        return told if isinstance(told, dict) else None

    def ask(
        self, model: str, question: Question, guard: Guard, watch: Callable[[str], bool] | None = None
    ) -> Answer:
        """Ask, and read the answer until it ends, `watch` says True of what came, or the guard's time is over.

        Raises PageFault (CONTEXT_TOO_SMALL, ENGINE_REFUSED), ServerFault, ServerError and Stopped.
        """
        stream = _Reading(watch)
        try:
            with (
                guarded(guard),
                self._client.chat.completions.with_streaming_response.create(
                    **self._request(model, question)
                ) as response,
            ):
                for line in response.iter_lines():
                    if stream.take(line):
                        break
        except openai.APIStatusError as err:
            raise _fault_of(err, self.base_url) from err
        except openai.APIConnectionError as err:
            raise _unreachable(self.base_url, err) from err
        except httpx2.HTTPError as err:
            raise _unreachable(self.base_url, err) from err
        except TimeOver:
            stream.finish = "deadline"
        return stream.answer()

    def _request(self, model: str, question: Question) -> dict[str, Any]:
        extra: dict[str, Any] = {"repetition_penalty": question.sampling.repetition_penalty, "top_k": -1}
        if self._has_repetition_detection:
            extra["repetition_detection"] = _REPETITION
        return {
            "model": model,
            "messages": [{
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": question.picture.uri}},
                    {"type": "text", "text": question.prompt},
                ],
            }],
            "max_tokens": question.max_tokens,
            "temperature": question.sampling.temperature,
            "top_p": question.sampling.top_p,
            "frequency_penalty": question.sampling.frequency_penalty,
            "stream": True,
            "stream_options": {"include_usage": True},
            "extra_body": extra,
        }  # fmt: skip


class _Reading:
    """An answer as it comes."""

    def __init__(self, watch: Callable[[str], bool] | None) -> None:
        self.parts: list[str] = []
        self.finish = "cut"
        self._watch = watch
        self._prompt_tokens: int | None = None
        self._tokens: int | None = None
        self._chunks = 0
        self._began = time.monotonic()
        self._is_damaged = False

    def take(self, line: str) -> bool:
        """Add a line of the stream; whether that was the last. Lines that make no sense are passed over: what the
        package makes of them is an exception, and the text that follows would be lost."""
        data = line.removeprefix("data:").strip()
        if data == line or not data:
            return False
        if data == "[DONE]":
            return True
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self._is_damaged = self._is_damaged or data.startswith("{")
            return False
        return isinstance(chunk, dict) and self._take_chunk(chunk)

    def _take_chunk(self, chunk: dict[str, Any]) -> bool:
        if chunk.get("error"):
            told = chunk["error"]
            raise ServerError(_shortened(str(told.get("message", told) if isinstance(told, dict) else told)))
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._prompt_tokens = _whole_number(usage.get("prompt_tokens"))
            self._tokens = _whole_number(usage.get("completion_tokens"))
        for choice in map(_object, _list(chunk.get("choices"))):
            self.finish = _text(choice.get("finish_reason"))[:_WORD] or self.finish
            if self._take_text(_text(_object(choice.get("delta")).get("content"))):
                return True
        return False

    def _take_text(self, text: str) -> bool:
        """Whether the answer runs in circles from here on."""
        if not text:
            return False
        self.parts.append(text)
        self._chunks += 1
        if self._watch is None or not self._watch(text):
            return False
        self.finish = "loop"
        return True

    def answer(self) -> Answer:
        """All of it."""
        return Answer(
            text="".join(self.parts),
            finish="broken" if self._is_damaged and self.finish == STOP else self.finish,
            prompt_tokens=self._prompt_tokens,
            tokens=self._tokens if self._tokens is not None else self._chunks,
            seconds=time.monotonic() - self._began,
        )


# What a server sends may be of any type: what is not of the right one counts as not sent.


def _whole_number(value: Any) -> int | None:
    """One that can be a number of tokens."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < _MOST_TOKENS else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_MESSAGE]


def _fault_of(err: openai.APIStatusError, base_url: str) -> Exception:
    """Who is to blame for an HTTP status."""
    message = _message_of(err)
    if err.status_code in _BUSY:
        return ServerFault(f"{base_url} is busy or starting: {err.status_code} {message}")
    if err.status_code >= 500:
        return ServerError(f"{err.status_code} {message}")
    if err.status_code in {401, 403}:
        return ServerFault(f"{base_url} refuses the key: {message}", hint="set [vllm] api_key")
    if err.status_code == 404:
        return ServerFault(
            f"{base_url} does not know the model: {message}", hint="set [vllm] model, or restart that server"
        )
    if any(words in message for words in _OVERFLOW):
        return PageFault(ReasonCode.CONTEXT_TOO_SMALL, f"the page is too long for the model: {message}")
    return PageFault(ReasonCode.ENGINE_REFUSED, f"the server refuses the page: {message}")


def _message_of(err: openai.APIStatusError) -> str:
    body = err.body
    return _shortened(_text(_object(body).get("message")) or err.message)


def _unreachable(base_url: str, err: Exception) -> ServerFault:
    cause = err if isinstance(err, httpx2.HTTPError | TimeOver) else err.__cause__
    if isinstance(cause, httpx2.ConnectError):
        return ServerFault(f"no server at {base_url}: {cause}", hint="start it, or correct [vllm] base_url")
    why = "no answer in time" if isinstance(cause, TimeOver | httpx2.TimeoutException) else str(cause)
    return ServerFault(f"the connection to {base_url} broke: {why}", hint="ocrd doctor", in_hand=True)
