"""A real daemon that keeps a model in a container of a real Docker engine, and what is asked of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker

from support.containers import settings_for
from support.hf_caches import make
from support.running import Ocrd, wait_until

DOTS, QWEN = "rednote-hilab/dots.ocr", "Qwen/Qwen2-VL-2B-Instruct"


class Kept:
    """A daemon, its engine, and what the containers do."""

    def __init__(self, folder: Path, engine: str, client: docker.APIClient) -> None:
        self.ocrd = Ocrd(folder)
        self.client = client
        hub = folder / "hf" / "hub"
        for model in (DOTS, QWEN):
            make(hub, model=model)
        self._engine, self._hub = engine, hub
        self.ocrd.env |= {
            "OCRD_ENGINE__LANGUAGES": "rus,eng",
            "OCRD_VLLM__WITNESS": "false",
            "OCRD_VLLM__PAGE_TIMEOUT_S": "10",
        }
        self.play()

    def play(self, **play: Any) -> None:
        """What containers do that are started from now on, by a daemon that is started from now on."""
        self.ocrd.env |= settings_for(self._engine, self._hub, **play)

    def refuse_page(self, number: int) -> None:
        """The first model refuses it, the other reads it."""
        scenario = self.ocrd.folder / "scenario.json"
        scenario.write_text(json.dumps({str(number): ["refusal"]}))
        self.play(models={DOTS: {"server": {"scenario": str(scenario)}}})
        mounts = json.loads(self.ocrd.env["OCRD_SERVER__MOUNTS"])
        self.ocrd.env["OCRD_SERVER__MOUNTS"] = json.dumps([*mounts, f"{scenario}:{scenario}:ro"])

    def containers(self) -> list[dict[str, Any]]:
        """Those that run."""
        found: list[dict[str, Any]] = self.client.containers()
        return found

    def container(self) -> str:
        """The one that runs."""
        [only] = self.containers()
        return str(only["Id"])

    def server(self) -> dict[str, Any]:
        """What `ocrd status` says of the server."""
        server: dict[str, Any] = self.ocrd.status()["server"]
        return server

    def await_server(self, state: str, *, model: str = DOTS) -> dict[str, Any]:
        """Wait for a state of the server."""

        def there() -> dict[str, Any] | None:
            server = self.server()
            return server if server["state"] == state and server["model"] in {model, None} else None

        found: dict[str, Any] = wait_until(there, f"the server is {state}")
        return found

    def lines(self, name: str) -> list[str]:
        """The text beside an input."""
        return [" ".join(line.split()) for line in self.ocrd.text(name).splitlines() if line.strip()]
