"""The GPU probe, against real programs that play `nvidia-smi`, and a tiny library that plays NVML."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import ConfigError, ExitCode
from ocrd.domain.planning import Card
from ocrd.serving import gpu
from ocrd.serving.gpu import GpuMissing

ONE = "0, NVIDIA GeForce RTX 5070 Ti Laptop GPU, 12227, 11005, 1222"


def fake_smi(folder: Path, script: str) -> str:
    """A program called nvidia-smi, first on PATH of whoever wants it."""
    folder.mkdir(exist_ok=True)
    path = folder / "nvidia-smi"
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def read(folder: Path, script: str, *, timeout_s: float = 10.0) -> list[Card]:
    found = gpu.read_cards(use_nvml=False, programs=(fake_smi(folder, script),), timeout_s=timeout_s)
    return list(found.values())


def refuse(folder: Path, script: str, *, timeout_s: float = 10.0) -> str:
    with pytest.raises(GpuMissing) as caught:
        read(folder, script, timeout_s=timeout_s)
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert caught.value.hint
    return str(caught.value)


def test_one_card(tmp_path: Path) -> None:
    (card,) = read(tmp_path, f"echo '{ONE}'")
    assert (card.name, card.total_mib, card.free_mib) == (
        "NVIDIA GeForce RTX 5070 Ti Laptop GPU",
        12_227,
        11_005,
    )


def test_it_is_asked_for_what_is_read(tmp_path: Path) -> None:
    read(tmp_path, f'echo "$@" > {tmp_path}/asked; echo "{ONE}"')
    assert (tmp_path / "asked").read_text().split() == [
        "--query-gpu=index,name,memory.total,memory.free,memory.used",
        "--format=csv,noheader,nounits",
    ]


def test_several_cards_keep_their_numbers(tmp_path: Path) -> None:
    """One that does not tell its memory, as those that share it with the processor, is left out."""
    program = fake_smi(
        tmp_path,
        f"""
        echo '{ONE}'
        echo '1, NVIDIA GB10, [N/A], [N/A], [N/A]'
        echo '2, Tesla T4, 15360, 15000, 360'
        """,
    )
    cards = [gpu.read_card(index, use_nvml=False, programs=(program,), timeout_s=10.0) for index in range(4)]
    assert [card and card.total_mib for card in cards] == [12_227, None, 15_360, None]


def test_free_follows_from_used_where_it_is_not_told(tmp_path: Path) -> None:
    (card,) = read(tmp_path, "echo '0, GRID, 8192, [N/A], 1000'")
    assert card.free_mib == 7192


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'No devices were found'; exit 6", "exit code 6: No devices were found"),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "Driver/library version mismatch",
        ),
        ("echo '0, GRID, [N/A], [N/A], [N/A]'", "GPU 0 (GRID) does not tell its memory"),
        ("echo 'what?'", "answered 'what?'"),
        ("printf '\\377\\376 garbage \\0 , , ,,,\\n'", "nvidia-smi answered"),
        ("true", "nvidia-smi lists no GPU"),
        ("kill -9 $$", "signal SIGKILL"),
    ],
)
def test_no_card_has_a_reason(tmp_path: Path, script: str, said: str) -> None:
    assert said in refuse(tmp_path, script)


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    assert "did not end within 0.2 s: the driver hangs" in refuse(tmp_path, "exec sleep 60", timeout_s=0.2)


def test_a_program_of_another_machine_is_told(tmp_path: Path) -> None:
    """A file that the kernel cannot run."""
    path = tmp_path / "nvidia-smi"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(GpuMissing, match="cannot be started"):
        gpu.read_cards(use_nvml=False, programs=(str(path),))


def test_no_program_at_all(tmp_path: Path) -> None:
    with pytest.raises(GpuMissing, match="there is no nvidia-smi"):
        gpu.read_cards(use_nvml=False, programs=(str(tmp_path / "a"), str(tmp_path / "b")))


def test_the_second_place_is_looked_at(tmp_path: Path) -> None:
    second = fake_smi(tmp_path, f"echo '{ONE}'")
    assert gpu.read_cards(use_nvml=False, programs=(str(tmp_path / "none"), second))


@given(st.text())
def test_no_answer_breaks_the_reader(text: str) -> None:
    found = gpu.parse_smi(text)
    assert found.reason
    assert all(0 <= card.free_mib <= card.total_mib for card in found.cards.values())


@given(st.lists(st.text(alphabet="0123456789[]N/A, .-", max_size=12), min_size=5, max_size=6))
def test_no_numbers_break_the_reader(parts: list[str]) -> None:
    found = gpu.parse_smi(", ".join(parts))
    assert all(0 <= card.free_mib <= card.total_mib for card in found.cards.values())


# --- NVML ---------------------------------------------------------------------------------------------------


def has_driver() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_driver(), reason="runs on machines without an NVIDIA driver; this one has it")
def test_without_a_driver_the_library_is_named() -> None:
    with pytest.raises(GpuMissing, match=r"libnvidia-ml.so.1 is not on this machine; there is no nvidia-smi"):
        gpu.read_cards(programs=("/nonexistent/nvidia-smi",))


FAKE_NVML = r"""
#include <stdlib.h>
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
static int number(const char *name) { const char *v = getenv(name); return v ? atoi(v) : 0; }
int nvmlInitWithFlags(unsigned flags) { return number("FAKE_INIT"); }
int nvmlInit_v2(void) { return number("FAKE_INIT"); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "told by the library"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = number("FAKE_COUNT"); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *handle, char *name, unsigned length) { strncpy(name, "Fake GPU", length); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *m) {
  if (handle == (void *)1 && number("FAKE_MEMORY")) return number("FAKE_MEMORY");
  m->total = 12884901888ULL; m->free = 10737418240ULL; m->used = m->total - m->free;
  return 0;
}
"""

PROBE = """
import json, sys
from ocrd.serving import gpu
try:
    print(json.dumps([[c.name, c.total_mib, c.free_mib] for c in gpu.read_cards(programs=()).values()]))
except gpu.GpuMissing as err:
    print(json.dumps(str(err)))
"""


@pytest.fixture(scope="module")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("the library that plays NVML is compiled by `cc`, which is not installed")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(FAKE_NVML)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"], check=True
    )
    return folder


def ask_library(folder: Path, **variables: str) -> object:
    """In a process of its own: which library is loaded is settled at its start."""
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_nvml_tells_the_memory(fake_library: Path) -> None:
    assert ask_library(fake_library, FAKE_COUNT="2") == [["Fake GPU", 12_288, 10_240]] * 2


def test_a_card_that_nvml_cannot_read_is_left_out(fake_library: Path) -> None:
    assert ask_library(fake_library, FAKE_COUNT="2", FAKE_MEMORY="3") == [["Fake GPU", 12_288, 10_240]]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FAKE_INIT": "9"}, "the NVIDIA driver is not loaded"),
        ({"FAKE_INIT": "18"}, "the driver was updated, and the old one is still loaded: restart"),
        ({"FAKE_INIT": "13"}, "the NVIDIA driver is too old"),
        ({"FAKE_INIT": "17"}, "the operating system blocks the access to the GPU"),
        ({"FAKE_INIT": "999"}, "NVML says: "),
        ({"FAKE_COUNT": "0"}, "NVML finds no GPU"),
        ({"FAKE_COUNT": "1", "FAKE_MEMORY": "3"}, "GPU 0: the GPU does not tell its memory"),
    ],
)
def test_nvml_says_why_not(fake_library: Path, variables: dict[str, str], said: str) -> None:
    answer = ask_library(fake_library, **variables)
    assert isinstance(answer, str)
    assert said in answer


# --- the driver ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 572.83; echo 572.83", "572.83"),
        ("true", ""),
        ("echo 572.83; exit 9", ""),
    ],
)
def test_the_driver_says_its_version_or_nothing(tmp_path: Path, script: str, expected: str) -> None:
    program = fake_smi(tmp_path, script)
    assert gpu.driver_version(programs=("/nonexistent/nvidia-smi", program)) == expected


def test_a_driver_that_hangs_has_no_version(tmp_path: Path) -> None:
    assert gpu.driver_version(programs=(fake_smi(tmp_path, "exec sleep 60"),), timeout_s=0.1) == ""


def test_a_card_is_named_by_its_number() -> None:
    with pytest.raises(ConfigError, match="is not the number of a card"):
        gpu.named_card(("GPU-8f5c1234",))
