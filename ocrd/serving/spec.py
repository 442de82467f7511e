"""From a plan to a container: arguments, environment and mounts of a vLLM server. Pure.

The container reads one model of the Hugging Face cache, read-only and offline, and writes only to a volume of its own
(compiled kernels, so that later starts are quick) and to its temporary files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ocrd.domain.errors import ConfigError
from ocrd.domain.serving import ContainerSpec, Image, Mount
from ocrd.serving import versions
from ocrd.serving.versions import VllmVersion

PORT = 8000
"""Inside the container; vLLM's own default."""

HUB = "/hf/hub"
CACHE = "/cache"
_WRITABLE = "/tmp"  # noqa: S108  # the container's own, in memory

CACHE_TARGETS: Mapping[str, str] = {
    "VLLM_CACHE_ROOT": "vllm",
    "VLLM_CONFIG_ROOT": "vllm-config",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "CUDA_CACHE_PATH": "cuda",
    "XDG_CACHE_HOME": "xdg",
}
"""Variables that say where compiled kernels are kept, and their folders within the volume."""

OFFLINE: Mapping[str, str] = {
    "HF_HOME": "/hf",
    "HF_HUB_CACHE": HUB,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_MODULES_CACHE": f"{_WRITABLE}/hf_modules",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Nothing is fetched, nothing is reported. Transformers copies a model's own program code into HF_MODULES_CACHE,
by default within the cache, which is read-only here."""


class Sizes(Protocol):
    """The settings of a server that follow from a plan. 0 means: left to vLLM."""

    @property
    def max_model_len(self) -> int:
        """Tokens of prompt, image and answer together."""

    @property
    def max_num_seqs(self) -> int:
        """Pages at the same time."""

    @property
    def max_pixels(self) -> int:
        """Larger images are scaled down; 0 for models whose processor has no such setting."""

    @property
    def gpu_memory_utilization(self) -> float:
        """Share of the GPU's whole memory."""

    @property
    def kv_cache_mib(self) -> int:
        """Size of the KV cache."""

    @property
    def eager(self) -> bool:
        """Neither compile nor capture graphs: quick to start, slower to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the settings and the machine say of every server."""

    hf_hub: str
    """The `hub` folder of the Hugging Face cache, absolute."""
    cache_volume: str = ""
    """Named volume for compiled kernels; empty: they are lost with the container."""
    gpus: tuple[str, ...] = ("all",)
    extra_mounts: tuple[str, ...] = ()
    """`SOURCE:TARGET[:ro|rw]`."""
    extra_environment: tuple[str, ...] = ()
    """`NAME=VALUE`; the last word."""
    extra_arguments: tuple[str, ...] = ()
    """For vLLM, after ours, so that they win."""
    hardening: Literal["strict", "standard"] = "strict"
    """`strict`: the container's own file system is read-only."""
    memory_mib: int = 0
    """Limit of main memory; 0: none."""
    sleep_mode: bool = False
    """The server can be told to sleep. Its pages for that belong to vLLM's development mode; they are on the host's
    loopback only, as all of it is."""
    is_wsl: bool = False
    slow_cache: bool = False
    """The cache lies on a file system that is slow to read at random, such as 9p or NFS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """Which model, and what it needs to be served."""

    model: str
    """Hugging Face id, `org/name`."""
    snapshot_revision: str = ""
    """Commit of the cached snapshot; empty: whatever `refs/main` names."""
    trust_remote_code: bool = False
    """Whether the model's own program code is run."""
    content_format: Literal["", "auto", "string", "openai"] = ""
    """How vLLM hands messages to the chat template; empty: vLLM finds out."""


def build_spec(
    served: ServedModel,
    plan: Sizes | None,
    image: Image,
    version: VllmVersion | None,
    options: ServeOptions,
) -> ContainerSpec:
    """The container for a model. `plan` None: vLLM's own sizes, as on a CPU build; `version` None: not known.

    Raises ConfigError for a model, mount or variable of the settings that makes no sense.
    """
    return ContainerSpec(
        image=image.id,
        model=served.model,
        command=arguments(served, plan, version, options),
        environment=environment(version, options),
        mounts=mounts(served, options),
        tmpfs=(_WRITABLE,),
        port=PORT,
        gpus=options.gpus,
        memory_mib=options.memory_mib,
        read_only_root=options.hardening == "strict",
    )


def arguments(
    served: ServedModel, plan: Sizes | None, version: VllmVersion | None, options: ServeOptions
) -> tuple[str, ...]:
    """The command line of the image's own entry point, `vllm serve`."""
    positional = versions.has_flag("positional model", version)
    found = [served.model] if positional else ["--model", served.model]
    found += ["--served-model-name", served.model, "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104
    # The port is published on the host's loopback only.
    if served.snapshot_revision:
        found += ["--revision", served.snapshot_revision]
    if served.trust_remote_code:
        found += ["--trust-remote-code"]
    if served.content_format:
        found += ["--chat-template-content-format", served.content_format]
    # One page a request, never the same twice: no cache of processed images, which would take 4 GiB of main memory.
    found += ["--limit-mm-per-prompt", _json({"image": 1, "video": 0}), "--mm-processor-cache-gb", "0"]
    if options.slow_cache:
        # Read from one end to the other, instead of here and there through mapped memory.
        prefetch = versions.has_flag("--safetensors-load-strategy prefetch", version)
        found += ["--safetensors-load-strategy", "prefetch" if prefetch else "eager"]
    if options.sleep_mode:
        found += ["--enable-sleep-mode"]
    if plan is not None:
        found += _sizes(plan)
    return (*found, *options.extra_arguments)


def _sizes(plan: Sizes) -> list[str]:
    numbers = (
        ("--max-model-len", plan.max_model_len),
        ("--max-num-seqs", plan.max_num_seqs),
        ("--kv-cache-memory-bytes", plan.kv_cache_mib * 1024 * 1024),
    )
    found = [word for flag, value in numbers if value > 0 for word in (flag, str(value))]
    if plan.gpu_memory_utilization > 0:
        # Also with a fixed KV cache: vLLM still refuses to start if this share of the memory is not free.
        found += ["--gpu-memory-utilization", f"{plan.gpu_memory_utilization:.3f}"]
    if plan.max_pixels > 0:
        found += ["--mm-processor-kwargs", _json({"max_pixels": plan.max_pixels})]
    if plan.eager:
        found += ["--enforce-eager"]
    return found


def environment(version: VllmVersion | None, options: ServeOptions) -> dict[str, str]:
    """Variables of the container; the user's win."""
    folder = CACHE if options.cache_volume else f"{_WRITABLE}/cache"
    found = dict(OFFLINE)
    found |= {name: f"{folder}/{place}" for name, place in CACHE_TARGETS.items()}
    if options.hardening == "strict":
        found["HOME"] = _WRITABLE
    if options.sleep_mode:
        found["VLLM_SERVER_DEV_MODE"] = "1"
    found |= versions.environment(version, is_wsl=options.is_wsl)
    found |= dict(parse_environment(text) for text in options.extra_environment)
    return found


def mounts(served: ServedModel, options: ServeOptions) -> tuple[Mount, ...]:
    """The model's folder of the cache, the volume, and the user's; a user's mount replaces ours at the same place.

    The whole `models--org--name` is mounted: the files of a snapshot are links to `../../blobs`.
    """
    if not options.hf_hub.startswith("/"):
        raise ConfigError(
            f"The Hugging Face cache '{options.hf_hub}' is no absolute path.",
            hint="Name it from the root: /home/you/.cache/huggingface/hub",
        )
    folder = cache_folder(served.model)
    found = [Mount(source=f"{options.hf_hub.rstrip('/')}/{folder}", target=f"{HUB}/{folder}", read_only=True)]
    if options.cache_volume:
        found.append(Mount(source=options.cache_volume, target=CACHE, read_only=False))
    by_target = {mount.target: mount for mount in found}
    extra = [parse_mount(text) for text in options.extra_mounts]
    _refuse_doubles(extra)
    return tuple((by_target | {mount.target: mount for mount in extra}).values())


def _refuse_doubles(extra: Sequence[Mount]) -> None:
    seen: set[str] = set()
    for mount in extra:
        if mount.target in seen:
            raise ConfigError(
                f"Two mounts have the same place in the container: '{mount.target}'.",
                hint="Take one of them out of the settings.",
            )
        seen.add(mount.target)


_MODEL = re.compile(r"[\w][\w.-]{0,95}(?:/[\w][\w.-]{0,95})?", re.ASCII)
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MOUNT_FORM = "Write SOURCE:TARGET, SOURCE:TARGET:ro or SOURCE:TARGET:rw, such as /srv/models:/models:ro"


def cache_folder(model: str) -> str:
    """The folder of a model within the cache's `hub`: `models--org--name`. Raises ConfigError for no model id."""
    if not _MODEL.fullmatch(model) or ".." in model or "--" in model:
        raise ConfigError(
            f"'{model}' is no model id of the Hugging Face hub.",
            hint="Write org/name, such as rednote-hilab/dots.ocr",
        )
    return "models--" + model.replace("/", "--")


def parse_mount(text: str) -> Mount:
    """Of `SOURCE:TARGET[:ro|rw]`, read-only unless said otherwise.

    SOURCE is an absolute path or the name of a volume, TARGET an absolute path. Raises ConfigError.
    """
    parts = text.split(":")
    mode = parts.pop() if len(parts) == 3 else "ro"
    if len(parts) != 2 or mode not in {"ro", "rw"}:
        raise ConfigError(f"The mount '{text}' makes no sense.", hint=_MOUNT_FORM)
    source, target = parts
    if not source.startswith("/") and not _VOLUME.fullmatch(source):
        raise ConfigError(
            f"The mount '{text}' starts with neither an absolute path nor the name of a volume.",
            hint=_MOUNT_FORM,
        )
    steps = target.split("/")
    if not target.startswith("/") or not target.strip("/") or ".." in steps or "\0" in text:
        raise ConfigError(f"The mount '{text}' names no absolute path in the container.", hint=_MOUNT_FORM)
    return Mount(source=source, target="/" + "/".join(step for step in steps if step), read_only=mode == "ro")


def parse_environment(text: str) -> tuple[str, str]:
    """Of `NAME=VALUE`; the value may be empty and may hold `=`. Raises ConfigError."""
    name, equals, value = text.partition("=")
    if not equals or not _VARIABLE.fullmatch(name) or "\0" in value:
        shown = name if equals else text
        raise ConfigError(
            f"The environment variable '{shown}' makes no sense.",
            hint="Write NAME=VALUE, such as VLLM_LOGGING_LEVEL=DEBUG",
        )
    return name, value


def _json(value: Mapping[str, int]) -> str:
    return json.dumps(value, separators=(",", ":"))
