"""The model server's vocabulary: what a container is made of, what became of it, and why it failed.

Shared by the modules of `serving`, by the daemon that joins them to the queue, and by the fakes of the tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from ocrd.domain.errors import OcrdError

MANAGED_LABEL = "ocrd.managed"
"""Every container of ours carries it; nothing without it is ever touched."""
INSTANCE_LABEL = "ocrd.instance"
"""Which store's daemon a container belongs to."""
SPEC_LABEL = "ocrd.spec"
MODEL_LABEL = "ocrd.model"


class ServerState(StrEnum):
    """Where the model server is."""

    ABSENT = "absent"
    PLANNING = "planning"
    REFUSED = "refused"
    """The plan does not fit, or something it needs is not there; looked at again when something changes."""
    STARTING = "starting"
    CANARY = "canary"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    SETTLING = "settling"
    """Stopped; waiting until the GPU's memory is given back."""
    FAILED = "failed"
    """Tried again at a known time."""
    BLOCKED = "blocked"
    """Failed for a reason that stays: not tried again until model, image or settings change."""


class Failure(StrEnum):
    """Why a server did not start, or ended unasked. Each has its row in `docs/errors.md`."""

    VRAM_BUSY = "vram_busy"
    """Less memory is free than the plan reserved."""
    NO_KV = "no_kv"
    """Nothing is left for the KV cache."""
    KV_TOO_SMALL = "kv_too_small"
    """The KV cache does not hold one page."""
    PROFILING_RACE = "profiling_race"
    """Another program took or gave back memory while it was measured."""
    CUDA_OOM = "cuda_oom"
    WSL_RESIDENCY = "wsl_residency"
    """Windows does not let so much memory reside on the GPU."""
    WSL_UVA = "wsl_uva"
    """This vLLM version does not run under WSL2 without a switch."""
    UNSUPPORTED_MODEL = "unsupported_model"
    """The image's vLLM does not know the architecture."""
    NEEDS_REMOTE_CODE = "needs_remote_code"
    MODEL_INCOMPLETE = "model_incomplete"
    """Not, or not wholly, in the Hugging Face cache."""
    CACHE_READ_ONLY = "cache_read_only"
    """Something in the image wants to write where it may not."""
    BAD_ARGUMENT = "bad_argument"
    """The server refused a command-line argument."""
    NO_GPU = "no_gpu"
    """Docker cannot hand a GPU to a container."""
    IMAGE_MISSING = "image_missing"
    PORT_TAKEN = "port_taken"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    """The Docker engine does not answer."""
    OUT_OF_RAM = "out_of_ram"
    """The kernel killed it: too little main memory, or over the container's limit."""
    KILLED = "killed"
    """Someone else ended it."""
    ENGINE_DIED = "engine_died"
    """It was ready, and its engine died (vLLM then exits with code 0)."""
    STALLED = "stalled"
    """No progress for too long."""
    START_TIMEOUT = "start_timeout"
    """Progress, but not ready within the hard limit."""
    CANARY_FAILED = "canary_failed"
    """It answers, but not as the model has to."""
    EXITED = "exited"
    """It ended for a reason that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A failure told in the user's words."""

    failure: Failure
    message: str
    """What happened, one sentence, with the decisive line of the log where there is one."""
    hint: str = ""
    """The next thing to do."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What the log said: `free_mib`, `total_mib`, `wanted_mib`, `needed_kv_mib`, `free_kv_mib`, `max_model_len`."""


class ContainerFault(OcrdError):
    """The container engine did not do what it was asked to; the diagnosis says why."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message, hint=diagnosis.hint)
        self.diagnosis = diagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """Something of the host inside the container: a folder of the host (an absolute path), or a named volume."""

    source: str
    target: str
    read_only: bool = True

    @property
    def is_volume(self) -> bool:
        """Whether `source` names a volume of the engine."""
        return not self.source.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything a container is made of. Its hash tells whether a running one is still what is wanted."""

    image: str
    """Image id (`sha256:…`) or reference; never pulled."""
    model: str
    command: tuple[str, ...]
    """Arguments of the image's own entry point, unless `entrypoint` replaces that."""
    entrypoint: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108  # the container's own
    port: int = 8000
    """Inside; the engine chooses the port outside, on loopback."""
    gpus: tuple[str, ...] = ("all",)
    """`("all",)`, device ids, or () for none."""
    shm_mib: int = 2048
    memory_mib: int = 0
    """Limit of main memory; 0: none."""
    pids_limit: int = 4096
    read_only_root: bool = True

    @property
    def hash(self) -> str:
        """Of everything above, in canonical form."""
        text = json.dumps(asdict(self), sort_keys=True, default=dict)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as the engine sees it now."""

    id: str
    name: str
    image_id: str
    status: str
    """`created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`."""
    exit_code: int | None = None
    """None while it runs."""
    oom_killed: bool = False
    error: str = ""
    """What the engine says of a failed start."""
    host_port: int | None = None
    """On 127.0.0.1."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.status in {"running", "paused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of the engine."""

    id: str
    tags: tuple[str, ...]
    created: str
    """ISO 8601."""
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEngine:
    """What the container engine says of itself."""

    version: str
    api_version: str
    runtimes: tuple[str, ...]
    has_cdi: bool
    kernel: str
    operating_system: str
