"""Why a model server's container ended: from its log, exit code and flags to a sentence for the user. Pure.

The messages are vLLM's (`vllm/v1/worker/utils.py`, `v1/core/kv_cache_utils.py`, `v1/worker/gpu_worker.py`,
`model_executor/models/registry.py`; wordings of 0.11.2 to 0.33.0), PyTorch's, Hugging Face's and Docker's. vLLM ends
every failed start with 'Engine core initialization failed. See root cause above.': the cause stands 50 to 100 lines
further up, so that line is never shown alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ocrd.domain.serving import Diagnosis, Failure

MAX_LINE = 2000
"""Longer lines are cut before they are searched; every known message is shorter."""

MAX_QUOTE = 300
"""Characters of the log's decisive line that are shown."""

SIGKILL_EXIT, SIGTERM_EXIT, SIGSEGV_EXIT = 137, 143, 139

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])?")
_PROCESS = re.compile(r"^\s*(?:\([\w-]+(?:[ =][^()]{0,60})?pid=\d+\)\s*)+")
_LEVEL = re.compile(
    r"^\s*(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\b:?\s*(?:\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?\s*)?"
    r"(?:\[[^\[\]]{1,80}\]\s*)?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_WRAPPER = re.compile(
    r"Engine core initialization failed|See root cause above|EngineDeadError|EngineCore encountered an issue"
    r"|WorkerProc initialization failed|Worker failed with error|EngineCore failed to start"
)
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.){0,8}[A-Za-z_]\w*(?:Error|Exception|Interrupt|Fault)\b(?::|$)")
_WARNED = re.compile(r"^warnings\.warn\(|\b\w{0,40}Warning: ")
_READY = re.compile(r"Application startup complete")
_QUIET = frozenset({"DEBUG", "INFO", "WARNING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A row of the table: a message of a log, and what it means.

    Named groups of `pattern` that end in `_gib` are numbers in GiB; `free`, `total` and `wanted` have their unit in a
    group named `<name>_unit`; `max_model_len` is a count. `message` and `hint` may use every group.
    """

    failure: Failure
    pattern: re.Pattern[str]
    message: str
    hint: str = ""
    unless: re.Pattern[str] | None = None
    """A text anywhere in the log that makes this row not apply."""


def _row(failure: Failure, pattern: str, message: str, hint: str = "", *, unless: str = "") -> Cause:
    return Cause(
        failure=failure,
        pattern=re.compile(pattern, re.IGNORECASE),
        message=message,
        hint=hint,
        unless=re.compile(unless, re.IGNORECASE) if unless else None,
    )


_N = r"[\d,]{1,12}(?:\.\d{1,9})?"
_CLOSE_PROGRAMS = (
    "Close programs that use the GPU (under WSL: Windows Task Manager → Performance → GPU; otherwise: nvidia-smi), "
    "or set a smaller [server] vram_budget_mib."
)
_SMALLER = "ocrd tries again with smaller settings; to see the sums: ocrd models plan"
_INSPECT = "See what is missing: ocrd models inspect"
_DOCTOR = "See what is missing: ocrd doctor"

CAUSES: tuple[Cause, ...] = (
    # Memory of the GPU.
    _row(
        Failure.VRAM_BUSY,
        rf"Free memory on device\b.{{0,40}}?\((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\) on startup"
        rf"(?:.{{0,160}}?\(\s*{_N}\s*,\s*(?P<wanted_gib>{_N}) GiB\))?",
        "Only {free_gib} of {total_gib} GiB of the GPU's memory are free, and the server was to take {wanted_gib} GiB.",
        _CLOSE_PROGRAMS,
    ),
    _row(
        Failure.KV_TOO_SMALL,
        rf"To serve at least one request with the models?'s? max(?:imum)? seq(?:uence)? len\w* \((?P<asked_len>{_N})\)"
        rf"(?:.{{0,40}}?\(?(?P<needed_kv_gib>{_N}) GiB KV cache is needed)?"
        rf"(?:.{{0,120}}?KV cache memory \((?P<free_kv_gib>{_N}) GiB\))?"
        rf"(?:.{{0,160}}?estimated maximum model length is (?P<max_model_len>{_N}))?",
        "The GPU's memory does not hold one page: {asked_len} tokens need {needed_kv_gib} GiB, {free_kv_gib} GiB are left.",
        _SMALLER,
    ),
    _row(
        Failure.KV_TOO_SMALL,
        rf"max seq len \((?P<asked_len>{_N})\) is larger than the maximum number of tokens that can be stored in "
        rf"KV cache \((?P<max_model_len>{_N})\)",
        "The GPU's memory does not hold one page: it has room for {max_model_len} of {asked_len} tokens.",
        _SMALLER,
    ),
    _row(
        Failure.NO_KV,
        r"No available memory for the cache blocks",
        "The model fills its share of the GPU's memory; nothing is left for the pages.",
        _SMALLER,
    ),
    _row(
        Failure.PROFILING_RACE,
        rf"Error in memory profiling(?:.{{0,40}}?Initial free memory (?P<free_gib>{_N}))?",
        "Another program gave back memory of the GPU while the server measured it.",
        "ocrd starts it again; nothing has to be done unless it happens often.",
    ),
    _row(
        Failure.WSL_RESIDENCY,
        r"CUDA (?:driver )?error: device not ready|dxgkio_make_resident|cudaErrorNotReady",
        "Windows does not let so much memory stay on the GPU.",
        "ocrd tries again with less; otherwise: " + _CLOSE_PROGRAMS,
    ),
    _row(
        Failure.WSL_UVA,
        r"UVA is not available",
        "This vLLM version does not run under WSL2 without a switch.",
        'Set [server] environment = ["VLLM_USE_V2_MODEL_RUNNER=0"], or take the image vllm/vllm-openai:v0.32.0.',
    ),
    _row(
        Failure.CUDA_OOM,
        r"(?:CUDA out of memory|CUDA error: out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"
        r"|cudaErrorMemoryAllocation|NVML_ERROR_MEMORY)"
        rf"(?:.{{0,40}}?Tried to allocate (?P<wanted>{_N}) (?P<wanted_unit>[KMG]iB))?"
        rf"(?:.{{0,80}}?total capacity of (?P<total>{_N}) (?P<total_unit>[KMG]iB))?"
        rf"(?:.{{0,40}}?of which (?P<free>{_N}) (?P<free_unit>[KMG]iB|bytes) is free)?",
        "The GPU's memory ran out{wanted_text}.",
        "ocrd tries again with smaller settings. " + _CLOSE_PROGRAMS,
    ),
    # No GPU at all.
    _row(
        Failure.NO_GPU,
        r"no kernel image is available for execution on the device|is not compatible with the current PyTorch installation",
        "The image's vLLM was not built for this GPU.",
        "Take a newer image, such as vllm/vllm-openai:v0.32.0; see: ocrd doctor",
    ),
    _row(
        Failure.NO_GPU,
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old"
        r"|system has unsupported display driver|unsatisfied condition: cuda",
        "The NVIDIA driver is too old for the image.",
        "Install a newer NVIDIA driver (under WSL: on the Windows side), or take an older image; see: ocrd doctor",
    ),
    _row(
        Failure.NO_GPU,
        r"could not select device driver|unknown (?:or invalid )?runtime(?: name| specified)|nvidia-container-cli"
        r"|unresolvable CDI devices|no adapters were found|No CUDA GPUs are available|Failed to infer device type"
        r"|Found no NVIDIA driver|CUDA-capable device is detected|NVML Shared Library Not Found|no NVIDIA GPU",
        "Docker cannot give the container a GPU.",
        'See what is missing: ocrd doctor. Without a GPU set [engine] kind = "embedded".',
    ),
    # Main memory.
    _row(
        Failure.OUT_OF_RAM,
        rf"Available memory on node.{{0,20}}?\((?P<free_gib>{_N})/(?P<total_gib>{_N}) GiB\) on "
        rf"(?:startup|kv cache allocation).{{0,120}}?(?P<wanted_gib>{_N}) GiB\)",
        "Only {free_gib} of {total_gib} GiB of main memory are free; the server was to take {wanted_gib} GiB.",
        "Close other programs, or set a smaller [server] vram_budget_mib (the CPU build takes it from main memory).",
    ),
    _row(
        Failure.OUT_OF_RAM,
        r"DefaultCPUAllocator: (?:can't|not enough)|^MemoryError\b|Cannot allocate memory"
        r"|Failed core proc\(s\): \{[^}]{0,200}:\s*-9\b|was killed by signal: Killed",
        "The main memory ran out.",
        "Close other programs; under WSL give it more: [wsl2] memory= in %UserProfile%\\.wslconfig, then wsl --shutdown.",
    ),
    # The command line and the place.
    _row(
        Failure.BAD_ARGUMENT,
        rf"User-specified max_model_len \((?P<asked_len>{_N})\) is greater than the derived max_model_len "
        rf"\([^=()]{{0,60}}=(?P<max_model_len>{_N})",
        "A context of {asked_len} tokens was asked for, but the model was made for {max_model_len}.",
        'Set [server] arguments = ["--max-model-len", "{max_model_len}"] or less.',
    ),
    _row(
        Failure.BAD_ARGUMENT,
        r"error: (?P<what>unrecognized arguments: .{1,200}|argument .{1,200}|ambiguous option: .{1,200}"
        r"|the following arguments are required: .{1,200})",
        "The server does not accept its command line: {what}",
        "If it stands in [server] arguments, correct it there; otherwise this image is too old or too new for "
        "ocrd: take vllm/vllm-openai:v0.32.0.",
    ),
    _row(
        Failure.BAD_ARGUMENT,
        r"bind source path does not exist: (?P<what>\S{1,300})|invalid mount config|invalid volume specification",
        "A folder that the container needs is not there: {what}",
        "Make the folder, or correct [server] mounts and [server] hf_home.",
    ),
    _row(
        Failure.IMAGE_MISSING,
        r"No such image:? ?(?P<what>\S{0,200})|manifest (?:for \S{1,200} )?(?:unknown|not found)|pull access denied",
        "The image is not on this machine: {what}",
        "Fetch it: docker pull vllm/vllm-openai:v0.32.0    or change [server] image",
    ),
    _row(
        Failure.PORT_TAKEN,
        r"port is already allocated|ports are not available|address already in use",
        "The port of the server is taken by another program.",
        "ocrd starts it again on another one; see who has it: docker ps",
    ),
    _row(
        Failure.ENGINE_UNAVAILABLE,
        r"Cannot connect to the Docker daemon|error during connect|docker\.sock: connect|Is the docker daemon running",
        "The Docker engine does not answer.",
        "Start it: sudo systemctl start docker (or Docker Desktop), then: ocrd doctor",
    ),
    # The model.
    _row(
        Failure.UNSUPPORTED_MODEL,
        r"Model architectures? (?P<what>.{1,200}?) (?:are not supported for now|failed to be inspected"
        r"|was supported in vLLM until|is not supported in-tree|has no vLLM implementation)",
        "The image's vLLM does not know the model's architecture {what}.",
        "Choose another model (ocrd models list) or a newer image; a model listed as 'unsupported' never works in vLLM.",
    ),
    _row(
        Failure.NEEDS_REMOTE_CODE,
        r"requires you to execute the (?:configuration|modeling|tokenizer|model\w*|custom).{0,80}file"
        r"|contains custom code which must be executed|trust_remote_code=True` in LLM|consider setting .{0,3}trust_remote_code",
        "The model brings program code of its own and is not run without your consent.",
        "If you trust its author, give it trust_remote_code = true in the file of [server] catalog.",
    ),
    _row(
        Failure.NEEDS_REMOTE_CODE,
        r"has model type .?(?P<what>[\w.-]{1,80}).? but Transformers does not recognize this architecture",
        "The image's vLLM does not know the model type '{what}' without the model's own program code.",
        "If you trust its author, give it trust_remote_code = true in the file of [server] catalog; otherwise take a newer image.",
        unless=r"trust_remote_code['\"]?\s*[:=]\s*True",
    ),
    _row(
        Failure.UNSUPPORTED_MODEL,
        r"has model type .?(?P<what>[\w.-]{1,80}).? but Transformers does not recognize this architecture"
        r"|(?P<kind>Unrecognized model in \S{1,200}|No model architectures are specified)",
        "The image's vLLM does not know this type of model {what}",
        "Choose another model (ocrd models list) or a newer image.",
    ),
    _row(
        Failure.CACHE_READ_ONLY,
        r"(?:\[Errno (?:30|13)\] |(?:OS|Permission)Error: .{0,40})(?:Read-only file system|Permission denied)"
        r"(?::? ['\"](?P<what>[^'\"]{1,300}))?",
        "Something in the image wants to write where it may not: {what}",
        'Set [server] hardening = "standard", or give it a place: [server] mounts = ["VOLUME:PATH:rw"].',
    ),
    _row(
        Failure.MODEL_INCOMPLETE,
        r"LocalEntryNotFoundError|Cannot find an appropriate cached snapshot|OfflineModeIsEnabled"
        r"|outgoing traffic has been disabled|couldn't connect to .{0,3}https://huggingface\.co|IncompleteSnapshotError"
        r"|is not a local folder and is not a valid model identifier|HFValidationError",
        "The model is not, or not wholly, in the Hugging Face cache.",
        "See what is missing: ocrd models inspect. Fetch it: hf download ORG/NAME",
    ),
    _row(
        Failure.MODEL_INCOMPLETE,
        r"SafetensorError|MetadataIncompleteBuffer|InvalidHeaderDeserialization|Error while deserializing header"
        r"|Cannot find any model weights|does not appear to have a file named (?P<what>\S{1,120})"
        r"|Can't load (?:the )?(?:tokenizer|configuration|image processor|feature extractor|processor)"
        r"|(?:FileNotFoundError|No such file or directory).{0,40}/(?:hub|snapshots|blobs)/"
        r"|Following weights were not initialized from checkpoint",
        "A file of the model is missing or damaged {what}",
        "See which: ocrd models inspect. Fetch it again: hf download ORG/NAME",
    ),
    # The image and the disk.
    _row(
        Failure.EXITED,
        r"\[Errno 28\]|No space left on device",
        "A disk, or the memory for the container's temporary files, is full.",
        "See how full: df -h; docker system df",
    ),
    _row(
        Failure.EXITED,
        r"(?:'|\"|\b)(?P<what>lscpu|numactl|nvidia-smi)(?:'|\"|\b).{0,120}(?:status 127|not found|No such file)"
        r"|(?:not found|No such file or directory).{0,20}['\"](?P<other>lscpu|numactl)",
        "The image lacks a program that vLLM calls: {what}",
        "Take an image of the vLLM project: vllm/vllm-openai:v0.32.0",
    ),
    _row(
        Failure.EXITED,
        r"exec: \"?(?P<what>[^\"\s:]{1,120})\"?: (?:executable file not found|stat|permission denied)"
        r"|executable file not found in \$PATH",
        "The image has no program to start: {what}",
        "Take an image of the vLLM project: vllm/vllm-openai:v0.32.0",
    ),
    _row(
        Failure.EXITED,
        r"Failed to find C compiler|InductorError|BackendCompilerFailed|torch\._dynamo\.exc|triton\.compiler\.errors",
        "Compiling the model failed.",
        "Start without: [server] eager = true",
    ),
)
"""Earlier rows win. Lines of level DEBUG, INFO and WARNING are not searched: they tell of settings, not of causes."""


def diagnose(
    log: str, *, exit_code: int | None, oom_killed: bool, was_ready: bool, asked: bool, error: str
) -> Diagnosis | None:
    """Why a container ended; None if it was asked to.

    `log`: the newest part of what it printed, 200 lines or more; `exit_code`: None if it never ran; `oom_killed`:
    Docker's flag; `was_ready`: whether it had served; `error`: what the engine said of the start, empty if it ran.
    Never raises.
    """
    if asked:
        return None
    if error.strip() and (found := _from_text(error)):
        return found
    if oom_killed:
        return _out_of_ram()
    if exit_code in {SIGKILL_EXIT, SIGTERM_EXIT}:
        return _killed(exit_code)
    return _from_text(log, was_ready=was_ready) or _by_exit(log, exit_code, was_ready=was_ready, error=error)


def plain_line(line: str) -> str:
    """A line of the log without colours, control characters, process names and level: what it says."""
    return _LEVEL.sub("", _without_process(line), count=1).strip()


def root_line(log: str) -> str:
    """The line that says most: the last exception that does not only wrap another; else the last line. May be ''."""
    lines = [line for line in (plain_line(raw) for raw in _lines(log)) if line]
    for line in reversed(lines):
        if _EXCEPTION.match(line) and not _WRAPPER.search(line):
            return line[:MAX_QUOTE]
    spoken = [line for line in lines if not _WRAPPER.search(line) and not _WARNED.search(line)]
    return (spoken or lines or [""])[-1][:MAX_QUOTE]


def _lines(log: str) -> list[str]:
    return [line[:MAX_LINE] for line in re.split(r"[\r\n]+", log)]


def _without_process(line: str) -> str:
    clean = _CONTROL.sub(" ", _ANSI.sub("", line[:MAX_LINE]))
    return _PROCESS.sub("", clean, count=1)


def _telling(log: str, *, was_ready: bool) -> list[str]:
    """The lines that can name a cause, plain; of a server that was ready, those since then."""
    lines = _lines(log)
    if was_ready:
        ready = [number for number, line in enumerate(lines) if _READY.search(line)]
        lines = lines[ready[-1] + 1 :] if ready else lines
    found = []
    for raw in lines:
        bare = _without_process(raw)
        level = _LEVEL.match(bare)
        if level is None or level["level"] not in _QUIET:
            found.append(plain_line(raw))
    return found


def _from_text(text: str, *, was_ready: bool = False) -> Diagnosis | None:
    lines = _telling(text, was_ready=was_ready)
    for cause in CAUSES:
        if cause.unless is not None and cause.unless.search(text):
            continue
        found = _last_match(cause, lines)
        if found is not None:
            line, match = found
            return _told(cause, line, match)
    return None


def _last_match(cause: Cause, lines: Sequence[str]) -> tuple[str, re.Match[str]] | None:
    """The newest line with the most numbers: the same error is often told twice, once cut short."""
    best: tuple[str, re.Match[str]] | None = None
    for line in lines:
        match = cause.pattern.search(line)
        if match is not None and (best is None or _filled(match) >= _filled(best[1])):
            best = (line, match)
    return best


def _filled(match: re.Match[str]) -> int:
    return sum(value is not None for value in match.groupdict().values())


def _told(cause: Cause, line: str, match: re.Match[str]) -> Diagnosis:
    groups = {name: value or "" for name, value in match.groupdict().items()}
    words = {"what": "", **groups}
    for count in {"asked_len", "max_model_len"} & set(words):
        words[count] = re.sub(r"\.0+$", "", words[count])
    words["what"] = words["what"].strip() or groups.get("other") or groups.get("kind") or ""
    words["wanted_text"] = _wanted_text(groups)
    complete = all(groups.get(name) for name in _used_numbers(cause.message))
    said = cause.message.format(**words) if complete else _without_numbers(cause.failure)
    message = said.rstrip(" :")
    if not message.endswith("."):
        message += "."
    return Diagnosis(
        failure=cause.failure,
        message=f"{message} The log: {line[:MAX_QUOTE]}",
        hint=cause.hint.format(**words) if "{" in cause.hint else cause.hint,
        numbers=_numbers(groups),
    )


def _used_numbers(message: str) -> list[str]:
    return re.findall(r"\{(\w+_gib|asked_len|max_model_len)\}", message)


def _without_numbers(failure: Failure) -> str:
    return {
        Failure.VRAM_BUSY: "Less of the GPU's memory is free than the server was to take.",
        Failure.KV_TOO_SMALL: "The GPU's memory does not hold one page.",
        Failure.OUT_OF_RAM: "Less main memory is free than the server was to take.",
    }.get(failure, "The server did not accept its settings.")


def _wanted_text(groups: Mapping[str, str]) -> str:
    if not groups.get("wanted"):
        return ""
    text = f": {groups['wanted']} {groups['wanted_unit']} more were asked for"
    if groups.get("free"):
        text += f", {groups['free']} {groups['free_unit']} were free"
    if groups.get("total"):
        text += f" of {groups['total']} {groups['total_unit']}"
    return text


_MIB = {"gib": 1024.0, "mib": 1.0, "kib": 1 / 1024, "bytes": 1 / 1024 / 1024}


def _numbers(groups: Mapping[str, str]) -> dict[str, float]:
    """Of the groups, in MiB (`…_mib`) and tokens (`max_model_len`)."""
    found: dict[str, float] = {}
    for name, text in groups.items():
        value = _number(text)
        if value is None:
            continue
        if name.endswith("_gib"):
            found[name.removesuffix("_gib") + "_mib"] = round(value * 1024, 1)
        elif name in {"free", "total", "wanted"}:
            found[f"{name}_mib"] = round(value * _MIB[groups[f"{name}_unit"].lower()], 2)
        elif name == "max_model_len":
            found[name] = value
    return found


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _out_of_ram() -> Diagnosis:
    return Diagnosis(
        failure=Failure.OUT_OF_RAM,
        message="The kernel ended the model server: the main memory, or the container's limit of it, ran out.",
        hint="Raise [server] memory_mib if it is set; under WSL give it more: [wsl2] memory= in "
        "%UserProfile%\\.wslconfig, then wsl --shutdown.",
    )


def _killed(exit_code: int | None) -> Diagnosis:
    signal = "SIGKILL" if exit_code == SIGKILL_EXIT else "SIGTERM"
    hint = "If nobody did, see whether the main memory ran out: sudo dmesg | grep -i 'killed process'"
    return Diagnosis(
        failure=Failure.KILLED,
        message=f"Someone other than ocrd ended the model server (exit code {exit_code}, {signal}).",
        hint=hint if signal == "SIGKILL" else "Someone ran docker stop, or the machine is shutting down.",
    )


def _by_exit(log: str, exit_code: int | None, *, was_ready: bool, error: str) -> Diagnosis:
    """No known message: say what is certain, with the line that says most."""
    line = root_line(log) or root_line(error)
    quote = f" The log: {line}" if line else " It printed nothing."
    code = "without an exit code" if exit_code is None else f"with exit code {exit_code}"
    if exit_code == SIGSEGV_EXIT:
        code += " (it crashed: segmentation fault)"
    if was_ready:
        return Diagnosis(
            failure=Failure.ENGINE_DIED,
            message=f"The model server was ready, and its engine died ({code}).{quote}",
            hint="ocrd starts it again. If it happens often, send the log: ocrd models log",
        )
    if exit_code is None:
        text = (
            f"The container did not start.{quote}"
            if line
            else "The container did not start; nothing says why."
        )
        return Diagnosis(failure=Failure.EXITED, message=text, hint=_DOCTOR)
    return Diagnosis(
        failure=Failure.EXITED,
        message=f"The model server ended {code} before it was ready.{quote}",
        hint="ocrd tries again. The whole log: ocrd models log",
    )
