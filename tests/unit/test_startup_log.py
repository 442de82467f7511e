"""A start is read from its log: phases, progress, measured numbers, the time that is left; however it is cut."""

from __future__ import annotations

import itertools
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.serving.startup import (
    KEEP_BYTES,
    KEEP_LINES,
    MAX_REPEATS,
    MAX_SHAPES,
    ORDER,
    Measured,
    StartPhase,
    StartupLog,
    eta_s,
)

# Lines that vLLM 0.32.0's CPU build printed for a tiny checkpoint; long ones cut short, others left out.
CPU_032 = """\
(APIServer pid=2257) INFO 11-23 16:32:05 [api_utils.py:286] non-default args: {'model_tag': 'models/tiny-qwen2-vl'}
(APIServer pid=2257) INFO 11-23 16:32:12 [model.py:733] Resolved architecture: Qwen2VLForConditionalGeneration
(APIServer pid=2257) INFO 11-23 16:32:12 [model.py:2152] Using max model len 4096
(APIServer pid=2257) INFO 11-23 16:32:12 [base.py:280] Multi-modal warmup completed in 0.132s
(EngineCore pid=2393) INFO 11-23 16:32:18 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='x'
(Worker pid=2553) INFO 11-23 16:32:26 [cpu_model_runner.py:68] Starting to load model models/tiny-qwen2-vl...
(Worker pid=2553) INFO 11-23 16:32:26 [weight_utils.py:1042] Prefetching checkpoint files: 10% (1/1)
\rLoading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]
\rLoading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 82.05it/s]
(Worker pid=2553) INFO 11-23 16:32:26 [default_loader.py:501] Loading weights took 0.01 seconds
(Worker pid=2553) INFO 11-23 16:32:27 [cpu_model_runner.py:87] Warming up model for the compilation...
(Worker pid=2553) INFO 11-23 16:32:52 [cpu_model_runner.py:91] Warming up done.
(Worker pid=2553) INFO 11-23 16:32:52 [cpu_worker.py:260] Explicitly set (0.25/16.09) GiB for KV cache on node 0.
(EngineCore pid=2393) INFO 11-23 16:32:52 [kv_cache_utils.py:2327] CPU KV cache size: 1,048,576 tokens, Maximum concurrency for 4,096 tokens per request: 256.00x
(EngineCore pid=2393) INFO 11-23 16:32:52 [core.py:402] init engine (profile, create kv cache, warmup model) took 25.50 s
(APIServer pid=2257) INFO 11-23 16:32:54 [entry.py:140] Starting vLLM server on http://127.0.0.1:18976
INFO:     Started server process [2257]
INFO:     Application startup complete.
"""

# The GPU's wordings of 0.11.2, from its source; never seen on a GPU here.
GPU_011 = """\
(APIServer pid=1) INFO 11-23 13:20:01 [api_server.py:1977] vLLM API server version 0.11.2
(APIServer pid=1) INFO 11-23 13:20:08 [model.py:631] Resolved architecture: DotsOCRForCausalLM
(EngineCore_DP0 pid=61) INFO 11-23 13:20:20 [core.py:93] Initializing a V1 LLM engine (v0.11.2) with config: model='x'
(EngineCore_DP0 pid=61) INFO 11-23 13:20:29 [gpu_model_runner.py:3040] Starting to load model rednote-hilab/dots.ocr...
(EngineCore_DP0 pid=61) \rLoading safetensors checkpoint shards:  50% Completed | 1/2 [00:04<00:04,  4.2s/it]
(EngineCore_DP0 pid=61) \rLoading safetensors checkpoint shards: 100% Completed | 2/2 [00:08<00:00,  4.1s/it]
(EngineCore_DP0 pid=61) INFO 11-23 13:20:38 [default_loader.py:314] Loading weights took 8.41 seconds
(EngineCore_DP0 pid=61) INFO 11-23 13:20:39 [gpu_model_runner.py:3130] Model loading took 5.6871 GiB memory and 9.204117 seconds
(EngineCore_DP0 pid=61) INFO 11-23 13:20:39 [gpu_model_runner.py:3900] Encoder cache will be initialized with a budget of 14400 tokens, and profiled with 1 image items of the maximum feature size.
(EngineCore_DP0 pid=61) INFO 11-23 13:20:50 [backends.py:647] Dynamo bytecode transform time: 5.40 s
(EngineCore_DP0 pid=61) INFO 11-23 13:21:20 [backends.py:282] Compiling a graph for dynamic shape takes 30.10 s
(EngineCore_DP0 pid=61) INFO 11-23 13:21:22 [monitor.py:34] torch.compile takes 35.50 s in total
(EngineCore_DP0 pid=61) INFO 11-23 13:21:24 [gpu_worker.py:359] Available KV cache memory: 1.27 GiB
(EngineCore_DP0 pid=61) INFO 11-23 13:21:24 [kv_cache_utils.py:1229] GPU KV cache size: 47,552 tokens
(EngineCore_DP0 pid=61) INFO 11-23 13:21:24 [kv_cache_utils.py:1234] Maximum concurrency for 10,240 tokens per request: 4.64x
(EngineCore_DP0 pid=61) \rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):  33%|###3      | 1/3 [00:00<00:00, 9.1it/s]
(EngineCore_DP0 pid=61) INFO 11-23 13:21:27 [gpu_model_runner.py:4244] Graph capturing finished in 3 secs, took 0.48 GiB
(EngineCore_DP0 pid=61) INFO 11-23 13:21:28 [core.py:250] init engine (profile, create kv cache, warmup model) took 48.96 seconds
(APIServer pid=1) INFO 11-23 13:21:29 [api_server.py:2052] Starting vLLM API server 0 on http://0.0.0.0:8000
(APIServer pid=1) INFO:     Application startup complete.
"""


def read(log: str) -> tuple[StartupLog, list[StartPhase]]:
    """Feed line by line, a second each; the log and the phases it went through."""
    found = StartupLog(0.0)
    phases = [found.phase]
    for second, line in enumerate(log.encode().splitlines(keepends=True), start=1):
        found.feed(line, float(second))
        if found.phase is not phases[-1]:
            phases.append(found.phase)
    return found, phases


def test_the_cpu_builds_start_is_read() -> None:
    log, phases = read(CPU_032)
    assert phases == [
        StartPhase.CONTAINER,
        StartPhase.IMPORTING,
        StartPhase.LOADING,
        StartPhase.PROFILING,
        StartPhase.WARMING,
        StartPhase.SERVING,
    ]
    assert log.measured == Measured(
        load_s=0.01,
        kv_gib=0.25,
        kv_tokens=1048576,
        max_concurrency=256.0,
        init_s=25.5,
        version="0.32.0",
        architecture="Qwen2VLForConditionalGeneration",
    )


def test_a_gpus_start_is_read() -> None:
    log, phases = read(GPU_011)
    assert phases == [
        StartPhase.CONTAINER,
        StartPhase.IMPORTING,
        StartPhase.LOADING,
        StartPhase.PROFILING,
        StartPhase.COMPILING,
        StartPhase.PROFILING,
        StartPhase.CAPTURING,
        StartPhase.WARMING,
        StartPhase.SERVING,
    ]
    assert log.measured == Measured(
        weights_gib=5.6871,
        load_s=9.204117,
        kv_gib=1.27,
        kv_tokens=47552,
        max_concurrency=4.64,
        compile_s=35.5,
        capture_s=3.0,
        capture_gib=0.48,
        init_s=48.96,
        version="0.11.2",
        architecture="DotsOCRForCausalLM",
    )


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("Starting to load model x...", StartPhase.LOADING),
        ("Multi-thread loading shards:  10% Completed | 1/10", StartPhase.LOADING),
        ("Loading pt checkpoint shards:  10% Completed | 1/10", StartPhase.LOADING),
        ("Model loading took 5.69 GiB and 9.204117 seconds", StartPhase.LOADING),
        ("Compiling a graph for shape 8 takes 3.10 s", StartPhase.COMPILING),
        ("Compiling a graph for compile range (1, 2048) takes 30.10 s", StartPhase.COMPILING),
        ("torch.compile took 35.50 s in total", StartPhase.COMPILING),
        ("Profiling CUDA graph memory: PIECEWISE=3 (largest=4)", StartPhase.PROFILING),
        (
            "GPU KV cache size: 47,552 tokens, Maximum concurrency for 10,240 tokens per request: 4.64x",
            StartPhase.PROFILING,
        ),
        ("GPU + host KV cache size: 47,552 tokens, Maximum concurrency for 1 tokens", StartPhase.PROFILING),
        ("Capturing CUDA graphs (decode, FULL):  33%|###3      | 1/3", StartPhase.CAPTURING),
        (
            "init engine (profile, create kv cache, warmup model) took 2 s (compilation: 1 s)",
            StartPhase.WARMING,
        ),
        ("Starting vLLM API server 0 on http://0.0.0.0:8000", StartPhase.WARMING),
        ("Starting vLLM server on http://0.0.0.0:8000", StartPhase.WARMING),
        ("something that nobody has seen", StartPhase.IMPORTING),
    ],
)
def test_the_wordings_of_every_version_name_the_phase(line: str, phase: StartPhase) -> None:
    log = StartupLog(0.0)
    log.feed(f"(EngineCore pid=1) INFO 11-23 13:20:01 [a.py:1] {line}\n".encode(), 1.0)
    assert log.phase is phase


def test_graphs_captured_for_the_measurement_are_not_yet_the_capture() -> None:
    log = StartupLog(0.0)
    phases = []
    for line in (
        b"Profiling CUDA graph memory: x\n",
        b"Capturing CUDA graphs: 1\n",
        b"Available KV cache memory: 1.2 GiB\n",
    ):
        log.feed(line, 1.0)
        phases.append(log.phase)
    assert phases == [StartPhase.PROFILING, StartPhase.CAPTURING, StartPhase.PROFILING]


def test_the_percentage_of_the_weights_is_told_while_they_load() -> None:
    log = StartupLog(0.0)
    log.feed(b"Starting to load model x...\n", 1.0)
    assert log.percent is None
    log.feed(b"Loading safetensors checkpoint shards:  50% Completed | 1/2\r", 2.0)
    assert log.percent == 50
    log.feed(b"Loading safetensors checkpoint shards: 100% Completed | 2/2\n", 3.0)
    assert log.percent == 100
    log.feed(b"Available KV cache memory: 1.27 GiB\n", 4.0)
    assert log.percent is None


def test_durations_add_up_to_the_start() -> None:
    log, _ = read(GPU_011)
    durations = log.durations(500.0)
    assert StartPhase.SERVING not in durations.seconds
    assert durations.total_s == len(GPU_011.splitlines())
    assert list(durations.seconds) == [phase for phase in ORDER if phase in durations.seconds]


def test_the_current_phase_counts_until_now() -> None:
    log = StartupLog(10.0)
    log.feed(b"hello\n", 14.0)
    assert log.durations(20.0).seconds == {StartPhase.CONTAINER: 4.0, StartPhase.IMPORTING: 6.0}
    assert log.elapsed_in_phase(20.0) == 6.0


def test_new_lines_are_progress() -> None:
    log = StartupLog(0.0)
    assert log.feed(b"one\n", 5.0)
    assert log.last_progress == 5.0
    assert log.feed(b"two\n", 9.0)
    assert log.stalled_s(12.0) == 3.0


def test_an_unfinished_line_is_no_progress_yet() -> None:
    log = StartupLog(0.0)
    assert not log.feed(b"half a li", 5.0)
    assert log.text == "half a li"
    assert log.feed(b"ne\n", 6.0)
    assert log.text == "half a line"


def test_the_same_line_again_and_again_is_no_progress_for_ever() -> None:
    log = StartupLog(0.0)
    for second in range(1, 200):
        log.feed(f"No available shared memory, waited {second * 10} s\n".encode(), float(second))
    assert log.last_progress == MAX_REPEATS


def test_endless_babble_is_no_progress_for_ever() -> None:
    log = StartupLog(0.0)
    letters = random.Random(7)
    for second in range(1, MAX_SHAPES * 3):
        log.feed(("".join(letters.choices("abcdefghij", k=12)) + "\n").encode(), float(second))
    assert log.last_progress < MAX_SHAPES * 1.2


def test_a_phase_counts_as_progress_however_much_was_printed() -> None:
    log = StartupLog(0.0)
    for second in range(1, MAX_SHAPES * 2):
        log.feed(("x" * second + "\n").encode(), float(second))
    log.feed(b"Starting to load model x\n", 5000.0)
    assert log.last_progress == 5000.0


def test_the_last_line_counts_when_the_log_ends() -> None:
    log = StartupLog(0.0)
    log.feed(b"Application startup complete.", 3.0)
    assert log.phase is StartPhase.CONTAINER
    log.close(4.0)
    assert log.phase is StartPhase.SERVING
    assert log.last_progress == 4.0


def test_enough_lines_are_kept_for_a_diagnosis() -> None:
    log = StartupLog(0.0)
    log.feed(b"".join(b"line %d\n" % number for number in range(5000)), 1.0)
    lines = log.text.splitlines()
    assert len(lines) == KEEP_LINES
    assert len(lines) >= 400
    assert lines[-1] == "line 4999"


@pytest.mark.parametrize("piece", [b"x" * 65536, b"y" * 9000 + b"\n", bytes(range(256)) * 40])
def test_memory_is_bounded_on_an_endless_log(piece: bytes) -> None:
    log = StartupLog(0.0)
    tracemalloc.start()
    try:
        for second in range(400):
            log.feed(piece, float(second))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(log.text) <= KEEP_BYTES + 16384
    assert held < 8 * 1024 * 1024


LOG_BYTES = st.one_of(
    st.sampled_from([CPU_032.encode(), GPU_011.encode()]),
    st.binary(max_size=300),
    st.lists(st.sampled_from([*GPU_011.splitlines(), "ы" * 5, "\r", "\n", ""]), max_size=12).map(
        lambda lines: "\n".join(lines).encode()
    ),
)


@given(data=LOG_BYTES, cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_where_the_bytes_are_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    whole, pieces = StartupLog(0.0), StartupLog(0.0)
    whole.feed(data, 1.0)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        pieces.feed(data[start:end], 1.0)
    for log in (whole, pieces):
        log.close(2.0)
    assert pieces.text == whole.text
    assert pieces.phase is whole.phase
    assert pieces.percent == whole.percent
    assert pieces.measured == whole.measured
    assert pieces.last_progress == whole.last_progress


@given(
    phase=st.sampled_from(ORDER),
    elapsed=st.floats(-10, 1000),
    later=st.floats(0, 1000),
    learned=st.dictionaries(st.sampled_from(ORDER), st.floats(-5, 600), max_size=len(ORDER)),
    expected=st.one_of(st.none(), st.floats(-5, 900)),
)
def test_the_time_left_is_never_negative_and_only_shrinks(
    phase: StartPhase,
    elapsed: float,
    later: float,
    learned: dict[StartPhase, float],
    expected: float | None,
) -> None:
    now = eta_s(phase, elapsed, learned, expected)
    then = eta_s(phase, elapsed + later, learned, expected)
    if now is None or then is None:
        assert now == then
        assert not learned
        return
    assert 0 <= then <= now
    following = ORDER[min(ORDER.index(phase) + 1, len(ORDER) - 1)]
    next_one = eta_s(following, 0.0, learned, expected)
    assert next_one is not None
    assert next_one <= now + 1e-9


def test_what_was_learned_beats_the_catalogue() -> None:
    learned = {StartPhase.IMPORTING: 20.0, StartPhase.LOADING: 30.0}
    assert eta_s(StartPhase.IMPORTING, 5.0, learned, 999.0) == 45.0
    assert eta_s(StartPhase.CONTAINER, 0.0, None, 100.0) == pytest.approx(100.0)
    assert eta_s(StartPhase.LOADING, 5.0, None, None) is None
    assert eta_s(StartPhase.SERVING, 0.0, None, None) == 0.0
