"""Every known end of a server is told by its cause, in several of vLLM's wordings; an unknown one is told as such."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.serving import Diagnosis, Failure
from ocrd.serving.causes import (
    CAUSES,
    diagnose,
    plain_line,
    root_line,
)

CORE = "\x1b[0;36m(EngineCore_DP0 pid=61)\x1b[0;0m ERROR 11-23 14:02:11 [core.py:842] "
NEW_CORE = "(EngineCore pid=1) ERROR 11-23 14:02:11 [core.py:1104] "
WRAPPED = (
    "(APIServer pid=1) Traceback (most recent call last):\n"
    '(APIServer pid=1)   File "/usr/lib/python3/site-packages/vllm/v1/engine/utils.py", line 776, in wait\n'
    + "(APIServer pid=1)     raise RuntimeError(\n"
    * 40
    + "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {'EngineCore_DP0': 1}\n"
)
NOISE = (
    "INFO 11-23 14:01:58 [api_server.py:1977] vLLM API server version 0.11.2\n"
    "(APIServer pid=1) WARNING 11-23 14:01:59 [interface.py:465] Using 'pin_memory=False' as WSL is detected.\n"
)


def ended(
    log: str, *, exit_code: int | None = 1, oom_killed: bool = False, was_ready: bool = False, error: str = ""
) -> Diagnosis:
    found = diagnose(
        log, exit_code=exit_code, oom_killed=oom_killed, was_ready=was_ready, asked=False, error=error
    )
    assert found is not None
    return found


ROWS = [
    (
        Failure.VRAM_BUSY,
        (
            "ValueError: Free memory on device (6.96/8.0 GiB) on startup is less than desired GPU memory utilization "
            "(0.9, 7.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
        {"free_mib": 7127.0, "total_mib": 8192.0, "wanted_mib": 7372.8},
    ),
    (
        Failure.VRAM_BUSY,
        (
            "ValueError: Free memory on device cuda:0 (30.12/31.84 GiB) on startup is less than desired GPU memory "
            "utilization (0.95, 30.25 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
        {"free_mib": 30842.9, "total_mib": 32604.2, "wanted_mib": 30976.0},
    ),
    (
        Failure.VRAM_BUSY,
        (
            "ValueError: Free memory on device cuda:0 (5.0/8.0 GiB) on startup is less than the engine's budget after "
            "excluding external process's weights (0.9, 6.5 GiB). Decrease GPU memory utilization."
        ),
        {"free_mib": 5120.0, "wanted_mib": 6656.0},
    ),
    (
        Failure.NO_KV,
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine."
        ),
        {},
    ),
    (
        Failure.NO_KV,
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
            "initializing the engine (this flag also controls CPU memory reservation on the CPU backend, despite its name)."
        ),
        {},
    ),
    (
        Failure.KV_TOO_SMALL,
        (
            "ValueError: To serve at least one request with the models's max seq len (131072), (48.00 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (1.50 GiB). Based on the available memory, the "
            "estimated maximum model length is 4096. Try increasing `gpu_memory_utilization` or decreasing "
            "`max_model_len` when initializing the engine."
        ),
        {"needed_kv_mib": 49152.0, "free_kv_mib": 1536.0, "max_model_len": 4096.0},
    ),
    (
        Failure.KV_TOO_SMALL,
        (
            "ValueError: To serve at least one request with the model's max seq len (10240), (0.27 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (0.1 GiB). Try increasing "
            "`gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing `max_model_len`."
        ),
        {"needed_kv_mib": 276.5, "free_kv_mib": 102.4},
    ),
    (
        Failure.KV_TOO_SMALL,
        (
            "ValueError: The model's max seq len (32768) is larger than the maximum number of tokens that can be stored "
            "in KV cache (9,216). Try increasing `gpu_memory_utilization`."
        ),
        {"max_model_len": 9216.0},
    ),
    (
        Failure.PROFILING_RACE,
        (
            "AssertionError: Error in memory profiling. Initial free memory 9.4 GiB, current free memory 9.9 GiB. This "
            "happens when other processes sharing the same container release GPU memory while vLLM is profiling."
        ),
        {"free_mib": 9625.6},
    ),
    (
        Failure.CUDA_OOM,
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 160.00 MiB. GPU 0 has a total capacity of "
            "11.61 GiB of which 87.06 MiB is free. Including non-PyTorch memory, this process has 11.5 GiB in use."
        ),
        {"wanted_mib": 160.0, "total_mib": 11888.64, "free_mib": 87.06},
    ),
    (
        Failure.CUDA_OOM,
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 74.16 GiB.",
        {"wanted_mib": 75939.84},
    ),
    (Failure.CUDA_OOM, "CUDA Error: out of memory at /workspace/csrc/cumem_allocator.cpp:56", {}),
    (Failure.WSL_RESIDENCY, "RuntimeError: CUDA driver error: device not ready", {}),
    (Failure.WSL_RESIDENCY, "misc dxg: dxgk: dxgkio_make_resident: Ioctl failed: -12", {}),
    (Failure.WSL_UVA, "RuntimeError: UVA is not available", {}),
    (
        Failure.UNSUPPORTED_MODEL,
        (
            "ValueError: Model architectures ['Qwen2GotForCausalLM'] are not supported for now. Supported "
            "architectures: dict_keys(['ArceeForCausalLM'])"
        ),
        {},
    ),
    (
        Failure.UNSUPPORTED_MODEL,
        (
            "  Value error, Model architectures ['HfMoondream'] failed to be inspected. Please check the logs. "
            "[type=value_error, input_value=ArgsKwargs]"
        ),
        {},
    ),
    (
        Failure.UNSUPPORTED_MODEL,
        (
            "ValueError: Model architecture MllamaForConditionalGeneration was supported in vLLM until v0.10.2, and is "
            "not supported anymore."
        ),
        {},
    ),
    (
        Failure.NEEDS_REMOTE_CODE,
        (
            "RuntimeError: Failed to load the model config. If the model is a custom model not yet available in the "
            "HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM or using the "
            "`--trust-remote-code` flag in the CLI."
        ),
        {},
    ),
    (
        Failure.NEEDS_REMOTE_CODE,
        "  Value error, The repository /hf/x contains custom code which must be executed to correctly load the model.",
        {},
    ),
    (
        Failure.NEEDS_REMOTE_CODE,
        (
            "  Value error, The checkpoint you are trying to load has model type `dots_ocr` but Transformers does not "
            "recognize this architecture. This could be because of an issue with the checkpoint."
        ),
        {},
    ),
    (
        Failure.MODEL_INCOMPLETE,
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the "
            "specified revision on the local disk and outgoing traffic has been disabled."
        ),
        {},
    ),
    (
        Failure.MODEL_INCOMPLETE,
        (
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
            "cached files."
        ),
        {},
    ),
    (
        Failure.MODEL_INCOMPLETE,
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully "
            "covered"
        ),
        {},
    ),
    (
        Failure.MODEL_INCOMPLETE,
        "OSError: rednote-hilab/dots.ocr does not appear to have a file named preprocessor_config.json.",
        {},
    ),
    (
        Failure.CACHE_READ_ONLY,
        "OSError: [Errno 30] Read-only file system: '/root/.cache/huggingface/modules'",
        {},
    ),
    (Failure.CACHE_READ_ONLY, "PermissionError: [Errno 13] Permission denied: '/cache/vllm'", {}),
    (Failure.BAD_ARGUMENT, "api_server.py: error: unrecognized arguments: --no-such-flag 3", {}),
    (Failure.BAD_ARGUMENT, "vllm serve: error: argument --max-num-seqs: invalid int value: 'many'", {}),
    (
        Failure.BAD_ARGUMENT,
        (
            "  Value error, User-specified max_model_len (99999) is greater than the derived max_model_len "
            "(max_position_embeddings=32768 or model_max_length=None in model's config.json)."
        ),
        {"max_model_len": 32768.0},
    ),
    (Failure.NO_GPU, "RuntimeError: Failed to infer device type, please set the environment variable", {}),
    (Failure.NO_GPU, "RuntimeError: No CUDA GPUs are available", {}),
    (
        Failure.NO_GPU,
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        {},
    ),
    (
        Failure.NO_GPU,
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12040).",
        {},
    ),
    (
        Failure.OUT_OF_RAM,
        (
            "ValueError: Available memory on node 0 (5.1/23.4 GiB) on startup is less than desired CPU memory "
            "utilization (0.92, 21.5 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls it."
        ),
        {"free_mib": 5222.4, "total_mib": 23961.6, "wanted_mib": 22016.0},
    ),
    (Failure.OUT_OF_RAM, "OSError: [Errno 12] Cannot allocate memory", {}),
    (Failure.EXITED, "OSError: [Errno 28] No space left on device", {}),
    (
        Failure.EXITED,
        "subprocess.CalledProcessError: Command 'lscpu -e=CPU,CORE,NODE' returned non-zero exit status 127.",
        {},
    ),
    (
        Failure.EXITED,
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
        {},
    ),
]


@pytest.mark.parametrize("prefix", ["", CORE, NEW_CORE], ids=["bare", "0.11", "0.33"])
@pytest.mark.parametrize(
    ("failure", "line", "numbers"), ROWS, ids=[f"{row[0]}-{i}" for i, row in enumerate(ROWS)]
)
def test_a_known_message_names_its_cause(
    failure: Failure, line: str, numbers: dict[str, float], prefix: str
) -> None:
    found = ended(f"{NOISE}{prefix}{line}\n{WRAPPED}")
    assert found.failure is failure, found
    assert {name: found.numbers.get(name) for name in numbers} == numbers
    assert found.hint
    assert "Engine core initialization failed" not in found.message
    assert "\x1b" not in found.message
    assert "pid=" not in found.message
    assert "{" not in found.hint
    assert plain_line(line)[:60] in found.message


def test_every_failure_that_a_log_can_name_has_a_fixture() -> None:
    from_engine = {Failure.IMAGE_MISSING, Failure.PORT_TAKEN, Failure.ENGINE_UNAVAILABLE}
    assert {cause.failure for cause in CAUSES} == {row[0] for row in ROWS} | from_engine


def test_a_busy_gpu_is_told_with_its_numbers_and_what_to_do() -> None:
    found = ended(CORE + ROWS[0][1])
    assert found.message.startswith(
        "Only 6.96 of 8.0 GiB of the GPU's memory are free, and the server was to take 7.2 GiB. The log: ValueError: Free"
    )
    assert "Task Manager" in found.hint
    assert "vram_budget_mib" in found.hint


def test_a_wording_without_numbers_is_still_told() -> None:
    found = ended(
        "ValueError: To serve at least one request with the model's max seq len (4096), more is needed."
    )
    assert found.failure is Failure.KV_TOO_SMALL
    assert found.message.startswith("The GPU's memory does not hold one page. The log:")


def test_an_unknown_type_with_remote_code_allowed_is_not_told_to_allow_it() -> None:
    line = next(row[1] for row in ROWS if "dots_ocr" in row[1])
    found = ended("(APIServer pid=1) INFO non-default args: {'trust_remote_code': True}\n" + line)
    assert found.failure is Failure.UNSUPPORTED_MODEL


def test_settings_and_warnings_in_the_log_are_no_causes() -> None:
    log = (
        "INFO 11-23 14:00:00 [x.py:1] Setting trust_remote_code=True` in LLM\n"
        "(APIServer pid=1) WARNING 11-23 14:00:00 [x.py:1] CUDA out of memory was seen elsewhere\n"
        "KeyError: 'vision_config'\n"
    )
    found = ended(log)
    assert found.failure is Failure.EXITED
    assert "KeyError: 'vision_config'" in found.message


def test_what_happened_before_it_was_ready_is_not_why_a_ready_server_died() -> None:
    log = "CUDA out of memory\nINFO:     Application startup complete.\nRuntimeError: cancelled\n"
    assert ended(log, was_ready=True).failure is Failure.ENGINE_DIED
    assert (
        ended(log + CORE + "torch.OutOfMemoryError: CUDA out of memory.", was_ready=True).failure
        is Failure.CUDA_OOM
    )


@pytest.mark.parametrize(
    ("exit_code", "oom_killed", "was_ready", "failure"),
    [
        (0, False, True, Failure.ENGINE_DIED),
        (0, False, False, Failure.EXITED),
        (1, False, True, Failure.ENGINE_DIED),
        (1, False, False, Failure.EXITED),
        (137, True, True, Failure.OUT_OF_RAM),
        (137, True, False, Failure.OUT_OF_RAM),
        (137, False, True, Failure.KILLED),
        (143, False, False, Failure.KILLED),
        (139, False, False, Failure.EXITED),
        (None, False, False, Failure.EXITED),
    ],
)
def test_without_a_message_the_exit_code_decides(
    exit_code: int | None, oom_killed: bool, was_ready: bool, failure: Failure
) -> None:
    found = ended("", exit_code=exit_code, oom_killed=oom_killed, was_ready=was_ready)
    assert found.failure is failure
    assert found.hint


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', Failure.NO_GPU),
        ("unknown or invalid runtime name: nvidia", Failure.NO_GPU),
        ("Unknown runtime specified nvidia", Failure.NO_GPU),
        (
            (
                "OCI runtime create failed: nvidia-container-cli: initialization error: WSL environment detected but no "
                "adapters were found: unknown"
            ),
            Failure.NO_GPU,
        ),
        ("driver failed: Bind for 127.0.0.1:18102 failed: port is already allocated", Failure.PORT_TAKEN),
        ("No such image: vllm/vllm-openai:v9", Failure.IMAGE_MISSING),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", Failure.ENGINE_UNAVAILABLE),
        ("invalid mount config for type bind: bind source path does not exist: /gone", Failure.BAD_ARGUMENT),
        ('exec: "vllm": executable file not found in $PATH: unknown', Failure.EXITED),
        ("something new", Failure.EXITED),
    ],
)
def test_what_the_engine_says_of_a_failed_start_names_the_cause(error: str, failure: Failure) -> None:
    found = ended("", exit_code=128, error=error)
    assert found.failure is failure
    assert error[:40] in found.message


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    assert (
        diagnose("CUDA out of memory", exit_code=137, oom_killed=True, was_ready=True, asked=True, error="x")
        is None
    )


def test_the_root_line_is_the_last_exception_that_wraps_no_other() -> None:
    log = f"{CORE}ValueError: first\n{CORE}KeyError: 'second'\n{WRAPPED}"
    assert root_line(log) == "KeyError: 'second'"
    assert root_line("just a word\n") == "just a word"
    assert root_line("") == ""
    assert root_line(WRAPPED).startswith("(") is False


def test_prefixes_and_colours_are_stripped() -> None:
    assert plain_line(CORE + "ValueError: x") == "ValueError: x"
    assert plain_line("(Worker_TP0 pid=7) (EngineCore pid=1) INFO 11-23 14:00:00 [a.py:1] hm") == "hm"
    assert plain_line("INFO:     Application startup complete.") == "Application startup complete."


ANY_TEXT = st.one_of(
    st.text(max_size=400),
    st.binary(max_size=400).map(lambda data: data.decode("utf-8", "replace")),
    st.binary(max_size=400).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.lists(st.sampled_from([row[1][:n] for row in ROWS for n in (10, 60, 140)]), max_size=6).map("\n".join),
    st.lists(
        st.sampled_from(["{", "}", "{0}", "Free memory on device ", "(", "GiB", "\x1b[", "\r", "9" * 40]),
        max_size=12,
    ).map("".join),
)


@given(
    log=ANY_TEXT,
    error=ANY_TEXT,
    exit_code=st.one_of(st.none(), st.integers(-300, 300)),
    oom_killed=st.booleans(),
    was_ready=st.booleans(),
)
def test_any_text_is_told_without_an_error(
    log: str, error: str, exit_code: int | None, oom_killed: bool, was_ready: bool
) -> None:
    found = ended(log, exit_code=exit_code, oom_killed=oom_killed, was_ready=was_ready, error=error)
    assert isinstance(found.failure, Failure)
    assert found.message.strip()
    assert len(found.message) < 1500
    found.message.encode("utf-8")


# What vLLM 0.32.0's CPU build printed at failed starts; frames of the traces and long ends left out.
REAL_032 = [
    (
        Failure.BAD_ARGUMENT,
        """\
W1123 16:33:02.156000 3598 torch/_library/triton.py:53] Triton not available, find_triton_kernels = []
usage: vllm [-h] [-v]
            {chat,complete,serve,launch,bench,collect-env,download-kernels,preload,run-batch,snapshot}
vllm: error: unrecognized arguments: --no-such-flag 3
""",
        "unrecognized arguments: --no-such-flag 3.",
    ),
    (
        Failure.NEEDS_REMOTE_CODE,
        """\
(APIServer pid=3797) ERROR 11-23 16:33:26 [repo_utils.py:124] Please pass the argument `trust_remote_code=True` to allow custom code to be run.
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, The repository models/tiny-dots.ocr contains custom code which must be executed to correctly load the model. You can inspect the repository content at /models/tiny-dots.ocr .

Please pass the argument `trust_remote_code=True` to allow custom code to be run. [type=value_error, input_value=ArgsKwargs((), {'model': ...nderer_num_workers': 1}), input_type=ArgsKwargs]
    For further information visit https://errors.pydantic.dev/2.13/v/value_error
""",
        "contains custom code",
    ),
    (
        Failure.BAD_ARGUMENT,
        """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (9999999) is greater than the derived max_model_len (max_position_embeddings=32768.0 or model_max_length=None in model's config.json). To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1.
""",
        "A context of 9999999 tokens was asked for, but the model was made for 32768.",
    ),
    (
        Failure.KV_TOO_SMALL,
        """\
(EngineCore pid=4653) ERROR 11-23 16:34:07 [core.py:1510] EngineCore failed to start.
(EngineCore pid=4653) ERROR 11-23 16:34:07 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=4653) ERROR 11-23 16:34:07 [core.py:1510] ValueError: To serve at least one request with the model's max seq len (4096), (0.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.0 GiB). Based on the available memory, the estimated maximum model length is 256. Try increasing `gpu_memory_utilization`
ValueError: To serve at least one request with the model's max seq len (4096), (0.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.0 GiB). Based on the available memory, the estimated maximum model length is 256. Try increasing `gpu_memory_utilization`
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
""",
        "does not hold one page: 4096 tokens",
    ),
]


@pytest.mark.parametrize(("failure", "log", "said"), REAL_032, ids=[str(row[0]) for row in REAL_032])
def test_what_a_real_server_printed_is_understood(failure: Failure, log: str, said: str) -> None:
    found = ended(log)
    assert found.failure is failure
    assert said in found.message


def test_a_warning_at_the_end_is_not_quoted() -> None:
    log = "the last words\nx.py:254: UserWarning: There appear to be 1 leaked semaphore\n  warnings.warn('leaked')\n"
    assert root_line(log) == "the last words"
