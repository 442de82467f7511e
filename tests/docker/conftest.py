"""Fixtures of the tests on a real Docker engine.

They need `script/docker`; OCRD_TEST_DOCKER names another engine (`unix:///…`). Without one the tests are skipped with
the command that would make them run; in CI that is a failure.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.containers import engine_address, fake_image
from support.kept import Kept

from ocrd.serving.container import DockerRuntime


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the engine."""
    for item in items:
        if "tests/docker/" in str(item.path):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def engine() -> str:
    """The address of the tests' engine."""
    address = engine_address()
    if address is None:
        reason = "there is no Docker engine for the tests; start it with: script/docker"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return address


@pytest.fixture(scope="session")
def client(engine: str) -> Iterator[docker.APIClient]:
    """The SDK's own client, to look behind our back."""
    client = docker.APIClient(engine)
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(client: docker.APIClient) -> str:
    """The id of an image that plays vLLM, tagged `vllm/vllm-openai:v0.32.0`."""
    return fake_image(client)


@pytest.fixture
def runtime(engine: str, client: docker.APIClient) -> Iterator[DockerRuntime]:
    """Ours; whatever it made is removed afterwards."""
    made = DockerRuntime(engine, timeout_s=5)
    yield made
    made.close()
    for row in client.containers(all=True):
        client.remove_container(row["Id"], force=True, v=True)


@pytest.fixture
def kept(tmp_path: Path, engine: str, client: docker.APIClient, image: str) -> Iterator[Kept]:
    one = Kept(tmp_path, engine, client)
    yield one
    if one.ocrd.process is not None:
        one.ocrd.stop(signal.SIGKILL)
    for row in client.containers(all=True):
        client.remove_container(row["Id"], force=True, v=True)
