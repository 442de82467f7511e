"""`DockerRuntime` on a real engine: what it makes, what it sees, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import docker
import pytest
from support.containers import host_mounts
from support.running import wait_until

from ocrd.domain.serving import Container, ContainerFault, ContainerSpec, Failure, Mount
from ocrd.serving.container import DockerRuntime
from ocrd.serving.running import is_healthy

MODEL = "rednote-hilab/dots.ocr"


def spec(play: dict[str, Any] | None = None, **changes: Any) -> ContainerSpec:
    """The fake in a container, without a GPU."""
    mounts = tuple(Mount(source=one.split(":")[0], target=one.split(":")[1]) for one in host_mounts())
    fields: dict[str, Any] = {
        "image": "vllm/vllm-openai:v0.32.0",
        "model": MODEL,
        "command": (MODEL,),
        "gpus": (),
        "mounts": mounts,
        "environment": {"FAKE_MODEL": json.dumps(play or {}), "PYTHONDONTWRITEBYTECODE": "1"},
    }
    return ContainerSpec(**{**fields, **changes})


def begin(runtime: DockerRuntime, made_to: ContainerSpec, *, name: str = "ocrd-test") -> str:
    """A started container."""
    number = runtime.create(made_to, name=name, instance="mine")
    runtime.start(number)
    return number


def look(runtime: DockerRuntime, number: str) -> Container:
    """How it is; it must be there."""
    container = runtime.inspect(number)
    assert container is not None
    return container


def url_of(runtime: DockerRuntime, number: str) -> str:
    return f"http://127.0.0.1:{look(runtime, number).host_port}/v1"


def await_ready(runtime: DockerRuntime, number: str) -> str:
    url = url_of(runtime, number)
    wait_until(lambda: is_healthy(url), "the server answers")
    return url


def fault(call: Any) -> ContainerFault:
    with pytest.raises(ContainerFault) as caught:
        call()
    return caught.value


def test_a_container_is_made_as_the_specification_says(
    runtime: DockerRuntime, client: docker.APIClient, image: str
) -> None:
    made_to = spec(memory_mib=512, shm_mib=64)
    number = begin(runtime, made_to)
    told = client.inspect_container(number)
    host = told["HostConfig"]
    assert told["Image"] == image
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["AutoRemove"]
    assert host["Init"]
    assert host["IpcMode"] == "private"
    assert (host["ShmSize"], host["Memory"], host["MemorySwap"]) == (64 << 20, 512 << 20, 512 << 20)
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert all(not mount["RW"] for mount in told["Mounts"])
    assert look(runtime, number).labels["ocrd.spec"] == made_to.hash
    assert [binding["HostIp"] for binding in told["NetworkSettings"]["Ports"]["8000/tcp"]] == ["127.0.0.1"]


def test_it_serves_and_its_log_is_followed_as_it_comes(runtime: DockerRuntime, image: str) -> None:
    number = begin(runtime, spec())
    url = await_ready(runtime, number)
    chunks: list[bytes] = []
    reader = threading.Thread(target=lambda: chunks.extend(runtime.follow(number)), daemon=True)
    reader.start()
    wait_until(lambda: b"Application startup complete" in b"".join(chunks), "the log is read")
    with urllib.request.urlopen(url + "/models") as answer:
        assert json.load(answer)["data"][0]["id"] == MODEL
    began = time.monotonic()
    runtime.stop_following(number)
    reader.join(5)
    assert not reader.is_alive()
    assert time.monotonic() - began < 2
    assert "Loading weights took" in runtime.tail(number, 50)


def test_a_log_ends_with_its_container(runtime: DockerRuntime, image: str) -> None:
    number = begin(
        runtime, spec({"end_in": "loading", "text": "torch.OutOfMemoryError: CUDA out of memory."})
    )
    text = b"".join(runtime.follow(number)).decode()
    assert "CUDA out of memory" in text
    ended = runtime.wait(number, 5)
    assert ended is not None
    assert (ended.status, ended.exit_code, ended.oom_killed) == ("exited", 1, False)


def test_a_killed_container_is_told_from_one_that_ran_out_of_memory(
    runtime: DockerRuntime, client: docker.APIClient, image: str
) -> None:
    killed = begin(runtime, spec(), name="ocrd-killed")
    await_ready(runtime, killed)
    client.kill(killed)
    ended = runtime.wait(killed, 5)
    assert ended is not None
    assert (ended.exit_code, ended.oom_killed) == (137, False)
    hungry = begin(
        runtime, spec({"end_in": "loading", "eat_memory": True}, memory_mib=96), name="ocrd-hungry"
    )
    ended = runtime.wait(hungry, 20)
    assert ended is not None
    assert (ended.exit_code, ended.oom_killed) == (137, True)


def test_a_server_that_ends_with_code_0_has_ended_all_the_same(runtime: DockerRuntime, image: str) -> None:
    number = begin(runtime, spec({"exit_after_s": 0.5, "code": 0}))
    ended = runtime.wait(number, 10)
    assert ended is not None
    assert (ended.is_running, ended.exit_code) == (False, 0)


def test_waiting_for_a_container_that_runs_has_an_end(runtime: DockerRuntime, image: str) -> None:
    number = begin(runtime, spec())
    began = time.monotonic()
    container = runtime.wait(number, 1.0)
    assert container is not None
    assert container.is_running
    assert 0.9 < time.monotonic() - began < 4


def test_a_container_that_ignores_sigterm_is_stopped_by_force(runtime: DockerRuntime, image: str) -> None:
    number = begin(runtime, spec({"ignore_term": True, "stall_in": "loading"}))
    wait_until(lambda: "Loading weights" in runtime.tail(number, 50), "it is loading")
    began = time.monotonic()
    runtime.stop(number, 1.0)
    assert 0.9 < time.monotonic() - began < 6
    assert look(runtime, number).exit_code == 137


def test_what_is_gone_is_told_as_gone(runtime: DockerRuntime) -> None:
    gone = "f" * 64
    assert runtime.inspect(gone) is None
    assert runtime.wait(gone, 1) is None
    assert runtime.tail(gone, 5) == ""
    assert list(runtime.follow(gone)) == []
    runtime.stop(gone, 1)
    runtime.remove(gone)


def test_an_engine_without_a_gpu_says_so_and_nothing_is_left_behind(
    runtime: DockerRuntime, image: str
) -> None:
    number = runtime.create(spec(gpus=("all",)), name="ocrd-gpu", instance="mine")
    err = fault(lambda: runtime.start(number))
    assert err.diagnosis.failure is Failure.NO_GPU
    assert 'could not select device driver "" with capabilities: [[gpu]]' in str(err)
    assert "nvidia-ctk" in err.hint
    assert not runtime.managed()


def test_an_image_that_is_not_there_is_not_pulled(runtime: DockerRuntime) -> None:
    err = fault(lambda: runtime.create(spec(image="no/such:1"), name="ocrd-x", instance="mine"))
    assert err.diagnosis.failure is Failure.IMAGE_MISSING
    assert runtime.find_image("no/such:1") is None


def test_images_are_found_by_tag_and_by_id(runtime: DockerRuntime, image: str) -> None:
    assert [one.id for one in runtime.images("vllm/vllm-openai")] == [image]
    for reference in ("vllm/vllm-openai:v0.32.0", image):
        found = runtime.find_image(reference)
        assert found is not None
        assert found.id == image


def test_a_folder_that_does_not_exist_is_not_made(runtime: DockerRuntime, image: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    mount = Mount(source=str(missing), target="/hf")
    err = fault(lambda: runtime.create(spec(mounts=(mount,)), name="ocrd-x", instance="mine"))
    assert str(missing) in str(err)
    assert not missing.exists()


def test_a_container_of_somebody_else_keeps_its_name(
    runtime: DockerRuntime, client: docker.APIClient, image: str
) -> None:
    theirs = client.create_container("vllm/vllm-openai:v0.32.0", name="ocrd-test")["Id"]
    err = fault(lambda: runtime.create(spec(), name="ocrd-test", instance="mine"))
    assert "is not ocrd's" in str(err)
    assert client.inspect_container(theirs)["Name"] == "/ocrd-test"
    assert not runtime.managed()


def test_our_own_stopped_container_makes_room(runtime: DockerRuntime, image: str) -> None:
    first = begin(runtime, spec({"end_in": "loading"}))
    runtime.wait(first, 10)
    second = begin(runtime, spec())
    assert [one.id for one in runtime.managed()] == [second]


def test_an_engine_that_hangs_does_not_hang_us(runtime: DockerRuntime, engine: str, image: str) -> None:
    number = begin(runtime, spec())
    pid = int((Path(engine.removeprefix("unix://")).parent / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        for call in (runtime.managed, runtime.describe, lambda: runtime.inspect(number)):
            began = time.monotonic()
            err = fault(call)
            assert err.diagnosis.failure is Failure.ENGINE_UNAVAILABLE
            assert time.monotonic() - began < 8
    finally:
        os.kill(pid, signal.SIGCONT)
    assert look(runtime, number).is_running


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    err = fault(lambda: DockerRuntime(f"unix://{tmp_path}/docker.sock").describe())
    assert err.diagnosis.failure is Failure.ENGINE_UNAVAILABLE
    assert "there is no Docker engine at" in str(err)


def test_the_tests_engine_is_described(runtime: DockerRuntime) -> None:
    described = runtime.describe()
    assert described.version
    assert "runc" in described.runtimes
