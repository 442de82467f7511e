"""The GPUs of this machine and their memory: through NVML, else from `nvidia-smi`.

NVML is the driver's own library, called through `nvidia-ml-py` where that is installed. Under WSL2 it tells the memory in
use and free as Windows sees it; what single processes use it does not tell there (WSL issue 7162).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ocrd.domain.errors import ConfigError, ServiceMissing
from ocrd.domain.planning import MIB, Card
from ocrd.host import commands
from ocrd.host.wsl import is_wsl

SMI_PROGRAMS = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
"""Under WSL2 it may not be on PATH."""
SMI_TIMEOUT_S = 15.0
"""A GPU that sleeps takes some seconds to answer; a driver that is broken never does."""
_FIELDS = ("index", "name", "memory.total", "memory.free", "memory.used")
_MAX_MIB = 2**30


class GpuMissing(ServiceMissing):
    """No GPU can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one source said: cards by their number, or why there are none."""

    cards: dict[int, Card]
    reason: str = ""


def read_cards(
    *, use_nvml: bool = True, programs: Sequence[str] = SMI_PROGRAMS, timeout_s: float = SMI_TIMEOUT_S
) -> dict[int, Card]:
    """All NVIDIA GPUs as they are now, by the driver's number and in its order. Raises GpuMissing if there is none."""
    wsl = is_wsl()
    reasons = []
    if use_nvml:
        found = _ask_nvml(wsl=wsl)
        if found.cards:
            return found.cards
        reasons.append(found.reason)
    found = _ask_smi(programs, timeout_s, wsl=wsl)
    if found.cards:
        return found.cards
    raise GpuMissing(
        "no NVIDIA GPU can be used: " + "; ".join((*reasons, found.reason)),
        hint="install the NVIDIA driver in Windows (none inside WSL), then `wsl --shutdown`"
        if wsl
        else "install the NVIDIA driver, until `nvidia-smi` lists the GPU",
    )


def driver_version(*, programs: Sequence[str] = SMI_PROGRAMS, timeout_s: float = SMI_TIMEOUT_S) -> str:
    """The version of the NVIDIA driver ('560.35.03'), of Windows' one under WSL2; '' if nothing tells it."""
    for program in programs:
        try:
            told = commands.run(
                (program, "--query-gpu=driver_version", "--format=csv,noheader"), timeout_s=timeout_s
            )
        except (commands.CommandMissing, commands.CommandTimeout, OSError):
            continue
        first = told.out.strip().splitlines()[:1]
        return first[0].strip() if told.code == 0 and first else ""
    return ""


def read_card(
    index: int = 0,
    *,
    use_nvml: bool = True,
    programs: Sequence[str] = SMI_PROGRAMS,
    timeout_s: float = SMI_TIMEOUT_S,
) -> Card | None:
    """The GPU of that number; None if there are others, but not this one. Raises GpuMissing if there is none at all."""
    return read_cards(use_nvml=use_nvml, programs=programs, timeout_s=timeout_s).get(index)


def named_card(names: Sequence[str]) -> Card:
    """The GPU that `[server] gpus` names by its number, or the first. Raises GpuMissing and ConfigError."""
    if names and names[0] != "all" and not names[0].isdecimal():
        raise ConfigError(
            f"[server] gpus: {names[0]!r} is not the number of a card",
            hint='name the card by the number that nvidia-smi -L shows: ["0"]',
        )
    number = int(names[0]) if names and names[0].isdecimal() else 0
    card = read_card(number)
    if card is None:
        raise GpuMissing(f"there is no GPU {number}", hint="nvidia-smi lists the cards; set [server] gpus")
    return card


# --- NVML ---------------------------------------------------------------------------------------------------


def _ask_nvml(*, wsl: bool) -> _Found:
    try:
        import pynvml
    except ImportError:
        return _Found({}, "the Python package nvidia-ml-py is not installed (extra `gpu`)")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as err:
        return _Found({}, _nvml_reason(pynvml, err))
    try:
        return _nvml_cards(pynvml, wsl=wsl)
    except pynvml.NVMLError as err:
        return _Found({}, _nvml_reason(pynvml, err))
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _nvml_cards(nvml: Any, *, wsl: bool) -> _Found:
    cards: dict[int, Card] = {}
    reason = "NVML finds no GPU"
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            name = nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError as err:
            reason = f"GPU {index}: {_nvml_reason(nvml, err)}"
            continue
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        total, free = int(memory.total) // MIB, int(memory.free) // MIB
        if total > 0:
            cards[index] = Card(name=text, total_mib=total, free_mib=min(free, total), is_wsl=wsl)
        else:
            reason = f"GPU {index} ({text}) tells no memory of its own"
    return _Found(cards, reason)


def _nvml_reason(nvml: Any, err: Any) -> str:
    """An error of NVML as the user can act on it."""
    known = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "the driver's library libnvidia-ml.so.1 is not on this machine",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was updated, and the old one is still loaded: restart",
        nvml.NVML_ERROR_NO_PERMISSION: "this user may not ask the NVIDIA driver",
        nvml.NVML_ERROR_GPU_IS_LOST: "the GPU fell off the bus: restart",
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND: "the NVIDIA driver is too old",
        nvml.NVML_ERROR_NOT_SUPPORTED: "the GPU does not tell its memory",
        nvml.NVML_ERROR_OPERATING_SYSTEM: "the operating system blocks the access to the GPU",
    }
    return known.get(getattr(err, "value", None), f"NVML says: {err}")


# --- nvidia-smi ---------------------------------------------------------------------------------------------


def _ask_smi(programs: Sequence[str], timeout_s: float, *, wsl: bool) -> _Found:
    """The first of the programs that is there."""
    argv = (f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
    for program in programs:
        try:
            result = commands.run((program, *argv), timeout_s=timeout_s)
        except commands.CommandMissing:
            continue
        except commands.CommandTimeout as err:
            return _Found({}, f"{err}: the driver hangs")
        except OSError as err:
            return _Found({}, f"{program} cannot be started: {err.strerror or err}")
        if result.code != 0:
            said = " ".join((result.out + " " + result.err).split())[:200]
            ended = commands.describe_exit(result.code)
            return _Found({}, f"{program} ended with {ended}: {said or 'it said nothing'}")
        return parse_smi(result.out, wsl=wsl)
    return _Found({}, "there is no nvidia-smi")


def parse_smi(text: str, *, wsl: bool = False) -> _Found:
    """The answer of `nvidia-smi`, a line a GPU. Lines that make no sense are passed over and told."""
    cards: dict[int, Card] = {}
    reason = "nvidia-smi lists no GPU"
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < len(_FIELDS) or not parts[0].isdecimal() or len(parts[0]) > 4:
            if line.strip():
                reason = f"nvidia-smi answered {line.strip()[:80]!r}"
            continue
        name = ", ".join(parts[1:-3])
        total, free, used = (_mib(part) for part in parts[-3:])
        if free is None and total is not None and used is not None:
            free = total - used
        if not total or free is None:
            reason = f"GPU {parts[0]} ({name}) does not tell its memory"
            continue
        cards[int(parts[0])] = Card(name=name, total_mib=total, free_mib=max(0, min(free, total)), is_wsl=wsl)
    return _Found(cards, reason)


def _mib(text: str) -> int | None:
    """A number of MiB; None for '[N/A]' and '[Not Supported]'."""
    words = text.split()
    if not words or not words[0].isdecimal() or not words[0].isascii() or len(words[0]) > 10:
        return None
    return min(int(words[0]), _MAX_MIB)
