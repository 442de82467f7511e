"""What is known of vLLM's versions, as data: switches, flags, faults, and which local image to take. Pure.

The limits were read from the wheels of vLLM 0.11.2, 0.15.1 to 0.20.0, 0.23.0 to 0.26.0 and 0.29.0 to 0.32.0
(`vllm/envs.py`, `vllm/engine/arg_utils.py`, `vllm/config`). What lies between two of them counts as the older one.
An image without a known version gets only what every supported version accepts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ocrd.domain.errors import ServiceMissing
from ocrd.domain.serving import Image

_VERSION = re.compile(
    r"v?(?P<major>\d{1,6})\.(?P<minor>\d{1,6})(?:\.(?P<patch>\d{1,6}))?(?:\.\d{1,6})?"
    r"(?P<rest>(?:(?:[-_.]?(?:a|b|rc|alpha|beta|post|dev)[-_.]?\d*)*)(?:[+-][\w.+-]*)?)",
    re.IGNORECASE | re.ASCII,
)
_BEFORE_RELEASE = re.compile(r"(?:^|[^a-z])(?:a|b|rc|alpha|beta|dev)[-_.]?\d*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class VllmVersion:
    """A version of vLLM. Order: by number; a pre-release stands before its release."""

    major: int
    minor: int
    patch: int = 0
    is_release: bool = True
    """False for `rc`, `dev`, `a`, `b`."""
    suffix: str = ""
    """What followed the number, as it was written: `rc1.dev3+cpu`."""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"

    @classmethod
    def parse(cls, text: str) -> VllmVersion | None:
        """Of `0.32.0`, `v0.11.2`, `0.28.1rc1.dev3+cpu`, `v0.31.0-x86_64`; None if it is no version."""
        match = _VERSION.fullmatch(text.strip())
        if match is None:
            return None
        suffix = match["rest"]
        public = re.split(r"[+]", suffix, maxsplit=1)[0]
        return cls(
            int(match["major"]),
            int(match["minor"]),
            int(match["patch"] or 0),
            is_release=_BEFORE_RELEASE.search(public) is None,
            suffix=suffix,
        )

    def is_at_least(self, other: VllmVersion) -> bool:
        """Whether a change that came with the release `other` is in it; its own pre-releases count as having it."""
        return (self.major, self.minor, self.patch) >= (other.major, other.minor, other.patch)


MINIMUM = VllmVersion(0, 11, 2)
"""The oldest version whose arguments and messages are known here."""

TESTED = VllmVersion(0, 32, 0)
"""The newest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Versions from `since` on, until just before `until`."""

    since: VllmVersion = MINIMUM
    until: VllmVersion | None = None

    def holds(self, version: VllmVersion) -> bool:
        """Whether `version` lies in it."""
        return version.is_at_least(self.since) and not (self.until and version.is_at_least(self.until))


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """An environment variable that some versions need."""

    name: str
    value: str
    span: Span
    wsl_only: bool = False
    if_unknown: bool = False
    """Whether an image of unknown version gets it too: only where no version minds."""
    reason: str


SWITCHES = (
    Switch(
        name="VLLM_ENABLE_STARTUP_PLAN",
        value="1",
        span=Span(since=VllmVersion(0, 26)),
        reason="keeps the measured size of the KV cache, so that later starts need not measure it again",
    ),
    Switch(
        name="VLLM_USE_V2_MODEL_RUNNER",
        value="0",
        span=Span(since=VllmVersion(0, 21), until=VllmVersion(0, 24)),
        wsl_only=True,
        reason="the V2 model runner needs memory shared with the GPU, which WSL2 does not have by default",
    ),
    Switch(
        name="VLLM_WSL2_ENABLE_PIN_MEMORY",
        value="1",
        span=Span(since=VllmVersion(0, 24), until=VllmVersion(0, 30)),
        wsl_only=True,
        if_unknown=True,
        reason="without it these versions end under WSL2 with 'UVA is not available' (vllm issue 47387)",
    ),
)


def environment(version: VllmVersion | None, *, is_wsl: bool) -> dict[str, str]:
    """The environment variables that this version needs on this kind of machine."""
    return {
        switch.name: switch.value
        for switch in SWITCHES
        if (is_wsl or not switch.wsl_only)
        and (switch.if_unknown if version is None else switch.span.holds(version))
    }


FLAGS: Mapping[str, Span] = {
    "--safetensors-load-strategy prefetch": Span(since=VllmVersion(0, 18)),
    "positional model": Span(since=VllmVersion(0, 20)),
}
"""Arguments that not every supported version knows. All others that we use are in 0.11.2 and in 0.32.0.

Positional model: `vllm serve` has always had it, but older images start `vllm.entrypoints.openai.api_server`, which
reads a positional model and then ignores it. `--model` works everywhere so far; new versions warn about it.
Prefetch: 0.17.0 knows only `lazy`, `eager` and `torchao`; since 0.18.0 `vllm/config/load.py` names it.
"""


def has_flag(name: str, version: VllmVersion | None) -> bool:
    """Whether the version knows an argument of `FLAGS`; not if the version is unknown."""
    return version is not None and FLAGS[name].holds(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFault:
    """Something that is wrong with some versions, told by `ocrd doctor`."""

    span: Span
    wsl_only: bool = False
    sentence: str


KNOWN_FAULTS = (
    KnownFault(
        span=Span(since=VllmVersion(0, 24), until=VllmVersion(0, 30)),
        wsl_only=True,
        sentence="vLLM 0.24 to 0.29 ends under WSL2 with 'UVA is not available' unless "
        "VLLM_WSL2_ENABLE_PIN_MEMORY=1 is set; ocrd sets it (vllm issues 47387, 50239, 54652).",
    ),
    KnownFault(
        span=Span(since=VllmVersion(0, 21), until=VllmVersion(0, 24)),
        wsl_only=True,
        sentence="vLLM 0.21 to 0.23 can end under WSL2 with 'UVA is not available'; "
        "ocrd sets VLLM_USE_V2_MODEL_RUNNER=0 against it.",
    ),
    KnownFault(
        span=Span(),
        wsl_only=True,
        sentence="Under WSL2 a GPU that is too full does not refuse: Windows moves memory to the main memory, and pages "
        "take two to ten times as long. ocrd therefore leaves 1 GiB free.",
    ),
)


def known_faults(version: VllmVersion | None, *, is_wsl: bool) -> tuple[str, ...]:
    """Sentences for `ocrd doctor`: what is known to be wrong with this version on this kind of machine."""
    found = [
        fault.sentence
        for fault in KNOWN_FAULTS
        if (is_wsl or not fault.wsl_only) and (version is None or fault.span.holds(version))
    ]
    if version is None:
        found.append(
            "The image does not say which vLLM is inside; name one with a version tag, such as v0.32.0."
        )
    elif not version.is_at_least(MINIMUM):
        found.append(f"vLLM {version} is older than {MINIMUM}, the oldest that ocrd knows how to start.")
    elif not TESTED.is_at_least(version):
        found.append(f"vLLM {version} is newer than {TESTED}, the newest that ocrd was checked against.")
    return tuple(found)


_VERSION_LABELS = ("ocrd.vllm.version", "org.opencontainers.image.version", "version")
_VERSION_VARIABLES = ("VLLM_VERSION", "VLLM_BUILD_VERSION")


def image_version(image: Image) -> VllmVersion | None:
    """Which vLLM is inside, by the image's tags, else its own environment or labels; None if they do not say.

    `org.opencontainers.image.version` of an image built on Ubuntu is Ubuntu's ('22.04'): vLLM's own numbers are
    below 10, so that anything else is no answer.
    """
    candidates = [tag.rpartition("@")[0] or tag for tag in image.tags]
    texts = [tag.rpartition("/")[2].partition(":")[2] for tag in candidates]
    found = [version for text in texts if (version := VllmVersion.parse(text))]
    if found:
        return max(found)
    said = [image.environment.get(name, "") for name in _VERSION_VARIABLES]
    said += [image.labels.get(name, "") for name in _VERSION_LABELS]
    versions = (VllmVersion.parse(text) for text in said if text)
    return next((version for version in versions if version and version.major < 10), None)


def choose_image(images: Sequence[Image], wanted: str) -> tuple[Image, str]:
    """The image to run, and a sentence saying why.

    `wanted`: what the settings name, a tag, an id or a digest; empty: the newest supported version among `images`,
    the local ones. Raises ServiceMissing if there is none; nothing is pulled here.
    """
    if wanted:
        return _named(images, wanted)
    known = [(version, image) for image in images if (version := image_version(image))]
    fit = [(version, image) for version, image in known if version.is_at_least(MINIMUM)]
    if fit:
        version, image = max(
            fit, key=lambda pair: (pair[0].is_release, replace(pair[0], suffix=""), pair[1].created)
        )
        return image, _why_newest(version, image, others=len(images) - 1)
    unknown = [image for image in images if image_version(image) is None]
    if unknown:
        image = max(unknown, key=lambda each: (each.created, each.id))
        return image, (
            f"{_label(image)}, although it does not say which vLLM is inside: no local image has a version tag. "
            "A moving tag can break with the next pull; better: docker pull vllm/vllm-openai:v0.32.0"
        )
    if known:
        version, image = max(known, key=lambda pair: pair[0])
        raise ServiceMissing(
            f"The newest local vLLM image is {_label(image)}, but ocrd needs vLLM {MINIMUM} or newer.",
            hint="Fetch a newer one: docker pull vllm/vllm-openai:v0.32.0",
        )
    raise ServiceMissing(
        "There is no local vllm/vllm-openai image, and ocrd pulls none by itself.",
        hint="Fetch one (about 10 GB): docker pull vllm/vllm-openai:v0.32.0",
    )


def _named(images: Sequence[Image], wanted: str) -> tuple[Image, str]:
    for image in images:
        if (
            wanted in {image.id, *image.tags}
            or f"{wanted}:latest" in image.tags
            or _same_id(image.id, wanted)
        ):
            return image, f"{wanted}, because the settings name it."
    raise ServiceMissing(
        f"The image '{wanted}' of the settings is not on this machine.",
        hint=f"Fetch it: docker pull {wanted}    or change [server] image",
    )


def _same_id(full: str, wanted: str) -> bool:
    """Ids may be shortened as on Docker's command line, to twelve digits or more."""
    digits = wanted.removeprefix("sha256:")
    return len(digits) >= 12 and full.removeprefix("sha256:").startswith(digits)


def _label(image: Image) -> str:
    return image.tags[0] if image.tags else image.id


def _why_newest(version: VllmVersion, image: Image, *, others: int) -> str:
    among = f" of {others + 1} local images" if others else ""
    why = f"{_label(image)}: vLLM {version} is the newest supported version{among}."
    if not TESTED.is_at_least(version):
        why += f" It is newer than {TESTED}, the newest that ocrd was checked against."
    elif not version.is_release:
        why += " It is not a release; a release is safer."
    return why
