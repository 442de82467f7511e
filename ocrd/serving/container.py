"""The container engine, over the docker SDK. Nothing is ever pulled, and nothing without our label is touched.

All waiting has an end: the engine's socket is asked with a timeout, and a stream of a log is ended by shutting its
socket down.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from ocrd.domain.errors import ServiceMissing
from ocrd.domain.serving import (
    INSTANCE_LABEL,
    MANAGED_LABEL,
    MODEL_LABEL,
    SPEC_LABEL,
    Container,
    ContainerEngine,
    ContainerFault,
    ContainerSpec,
    Diagnosis,
    Failure,
    Image,
)
from ocrd.host import commands
from ocrd.packages import install_command

CALL_TIMEOUT_S = 10.0
"""For any answer of the engine that does not wait for a container."""
_FOLLOW_S = 86400.0
"""A log may be silent for as long as nobody uses the model."""
_START_TIMEOUT_S = 60.0
"""An engine that has been asleep may take long to mount an image of many GB."""
_CREATED_LABEL = "ocrd.created"
DEFAULT_SOCKET = "/var/run/docker.sock"
_LOG = {"max-size": "10m", "max-file": "3"}


class DockerRuntime:
    """A `ContainerRuntime`. Thread-safe; connects at the first call, so that an engine may come later."""

    def __init__(self, host: str = "", *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """`host` is the engine's address (`unix:///…`); empty: as the docker command finds it. Raises ServiceMissing
        without the docker package."""
        try:
            import docker
        except ImportError as err:
            raise ServiceMissing("the docker package is not installed", hint=install_command("gpu")) from err
        self._docker = docker
        self._host = host
        self._timeout_s = timeout_s
        self._lock = Lock()
        self._clients: dict[float, Any] = {}
        self._streams: dict[str, list[Any]] = {}

    # --- the engine -----------------------------------------------------------------------------------------

    def describe(self) -> ContainerEngine:
        """Version and abilities of the engine."""
        with self._faults("the engine"):
            info, version = self._api().info(), self._api().version()
        return ContainerEngine(
            version=str(version.get("Version", "")),
            api_version=str(version.get("ApiVersion", "")),
            runtimes=tuple(sorted(info.get("Runtimes") or ())),
            has_cdi=bool(info.get("CDISpecDirs")),
            kernel=str(info.get("KernelVersion", "")),
            operating_system=str(info.get("OperatingSystem", "")),
        )

    def images(self, repository: str) -> Sequence[Image]:
        """The local images of a repository, the newest first."""
        with self._faults("the images"):
            listed = self._api().images(name=repository)
            found = [self._api().inspect_image(row["Id"]) for row in listed]
        return sorted((_image(one) for one in found), key=lambda image: image.created, reverse=True)

    def find_image(self, reference: str) -> Image | None:
        """A local image by id, digest or tag; None if there is none."""
        with self._faults(f"the image {reference}"):
            try:
                return _image(self._api().inspect_image(reference))
            except self._docker.errors.NotFound:
                return None

    def close(self) -> None:
        """Release connections."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _api(self, timeout_s: float | None = None) -> Any:
        """The low-level client whose calls wait for so long, at most."""
        patience_s = timeout_s or self._timeout_s
        with self._lock:
            if patience_s not in self._clients:
                host = named_host(self._host)
                path = (host or DEFAULT_SOCKET).removeprefix("unix://")
                if path.startswith("/") and not os.path.exists(path):
                    raise FileNotFoundError(
                        errno.ENOENT, "No such file", path
                    )  # the SDK says the same after longer, and leaks a socket
                kwargs = {"base_url": host} if host else {}
                # The version is asked for with little patience, whatever the client is for.
                asking = self._docker.APIClient(version="auto", timeout=self._timeout_s, **kwargs)
                version = asking.api_version
                asking.close()
                client = self._docker.APIClient(version=version, timeout=patience_s, **kwargs)
                self._clients[patience_s] = client
            return self._clients[patience_s]

    # --- making ---------------------------------------------------------------------------------------------

    def create(self, spec: ContainerSpec, *, name: str, instance: str) -> str:
        """Make a container, not started; its id."""
        labels = {
            MANAGED_LABEL: "1",
            INSTANCE_LABEL: instance,
            SPEC_LABEL: spec.hash,
            MODEL_LABEL: spec.model,
            _CREATED_LABEL: datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._faults(f"the container {name}"):
            self._make_room(name, instance)
            made = self._api(_START_TIMEOUT_S).create_container(
                image=spec.image,
                command=list(spec.command),
                entrypoint=list(spec.entrypoint) or None,
                name=name,
                detach=True,
                environment=dict(spec.environment),
                labels=labels,
                ports=[spec.port],
                host_config=self._host_config(spec),
            )
        return str(made["Id"])

    def _make_room(self, name: str, instance: str) -> None:
        """A container of ours that does not run any more may have the name."""
        try:
            state = self._api().inspect_container(name)
        except self._docker.errors.NotFound:
            return
        container = _container(state)
        ours = container.labels.get(INSTANCE_LABEL) == instance
        if not ours or container.is_running:
            whose = "runs already" if ours else "is not ocrd's"
            raise ContainerFault(
                Diagnosis(
                    failure=Failure.EXITED,
                    message=f"the container {name} {whose}",
                    hint=f"look at it with: docker inspect {name}; remove it with: docker rm -f {name}",
                )
            )
        self._api().remove_container(container.id, v=True, force=True)

    def _host_config(self, spec: ContainerSpec) -> Any:
        types = self._docker.types
        mounts = [
            types.Mount(
                target=one.target,
                source=one.source,
                type="volume" if one.is_volume else "bind",
                read_only=one.read_only,
            )
            for one in spec.mounts
        ]
        requests = []
        if spec.gpus == ("all",):
            requests = [types.DeviceRequest(count=-1, capabilities=[["gpu"]])]
        elif spec.gpus:
            requests = [types.DeviceRequest(device_ids=list(spec.gpus), capabilities=[["gpu"]])]
        memory = {"mem_limit": spec.memory_mib << 20, "memswap_limit": spec.memory_mib << 20}
        return self._api().create_host_config(
            port_bindings={spec.port: ("127.0.0.1", None)},
            mounts=mounts,
            device_requests=requests,
            restart_policy={"Name": "no"},
            init=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            read_only=spec.read_only_root,
            tmpfs=dict.fromkeys(spec.tmpfs, ""),
            ipc_mode="private",
            shm_size=spec.shm_mib << 20,
            pids_limit=spec.pids_limit,
            log_config=types.LogConfig(type="json-file", config=_LOG),
            **(memory if spec.memory_mib else {}),
        )

    def start(self, container_id: str) -> None:
        """Start it. One that cannot be started is removed before this raises."""
        try:
            with self._faults("the start of the container"):
                self._api(_START_TIMEOUT_S).start(container_id)
        except ContainerFault:
            with contextlib.suppress(ContainerFault):
                self.remove(container_id)
            raise

    # --- looking --------------------------------------------------------------------------------------------

    def inspect(self, container_id: str) -> Container | None:
        """How it is; None if it is gone."""
        with self._faults("the container"):
            try:
                return _container(self._api().inspect_container(container_id))
            except self._docker.errors.NotFound:
                return None

    def managed(self) -> Sequence[Container]:
        """All containers with our label, running or not."""
        with self._faults("the containers"):
            listed = self._api().containers(all=True, filters={"label": MANAGED_LABEL})
        found = [self.inspect(row["Id"]) for row in listed]
        return [one for one in found if one is not None]

    def follow(self, container_id: str, *, since_s: float = 0.0) -> Iterator[bytes]:
        """Its log as it comes, until it ends or `stop_following` is called."""
        with self._faults("the log of the container"):
            try:
                stream = self._api(_FOLLOW_S).logs(
                    container_id,
                    stdout=True,
                    stderr=True,
                    stream=True,
                    follow=True,
                    since=int(since_s) or None,
                )
            except self._docker.errors.NotFound:
                return
        with self._lock:
            self._streams.setdefault(container_id, []).append(stream)
        try:
            yield from stream
        except Exception as err:  # a stream that was ended under our hands raises what it likes
            if stream in self._streams.get(container_id, []):
                raise self._translated(err, "the log of the container") from err
        finally:
            with self._lock, contextlib.suppress(ValueError, KeyError):
                self._streams[container_id].remove(stream)

    def stop_following(self, container_id: str) -> None:
        """End every `follow` of it."""
        with self._lock:
            streams = self._streams.pop(container_id, [])
        for stream in streams:
            with contextlib.suppress(OSError, AttributeError):  # it has just ended by itself
                stream.close()

    def tail(self, container_id: str, lines: int) -> str:
        """The end of its log; '' if it is gone."""
        with self._faults("the log of the container"):
            try:
                data: bytes = self._api().logs(container_id, stdout=True, stderr=True, tail=lines)
            except self._docker.errors.NotFound:
                return ""
        return data.decode(errors="replace")

    def wait(self, container_id: str, timeout_s: float) -> Container | None:
        """Wait until it does not run any more, or for so long; how it is then."""
        import requests

        with self._faults("the container"):
            try:
                self._api().wait(container_id, timeout=timeout_s)
            except self._docker.errors.NotFound:
                return None
            except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as err:
                if not _is_timeout(err):
                    raise
        return self.inspect(container_id)

    # --- ending ---------------------------------------------------------------------------------------------

    def stop(self, container_id: str, timeout_s: float) -> None:
        """SIGTERM, and SIGKILL after so long."""
        with self._faults("the stop of the container"), contextlib.suppress(self._docker.errors.NotFound):
            self._api().stop(container_id, timeout=max(1, round(timeout_s)))  # waits for so much longer

    def remove(self, container_id: str) -> None:
        """Remove it and its anonymous volumes, ending it if it runs."""
        deadline = time.monotonic() + CALL_TIMEOUT_S
        with self._faults("the removal of the container"):
            while True:
                try:
                    self._api(_START_TIMEOUT_S).remove_container(container_id, v=True, force=True)
                except self._docker.errors.NotFound:
                    return
                except self._docker.errors.APIError as err:
                    # Somebody else is removing it: 'removal of container … is already in progress'.
                    if err.status_code != 409 or time.monotonic() > deadline:
                        raise
                else:
                    return
                if self.inspect(container_id) is None:
                    return

    # --- faults ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except ContainerFault:
            raise
        except (
            Exception
        ) as err:  # requests, urllib3 and docker raise a dozen kinds, none of which may get out
            raise self._translated(err, what) from err

    def _translated(self, err: Exception, what: str) -> ContainerFault:
        if isinstance(err, self._docker.errors.APIError) and err.response is not None:
            return ContainerFault(diagnose_api_error(err.response.status_code, str(err.explanation), what))
        self.close()  # a connection that broke is not used again
        return ContainerFault(diagnose_connection(str(err), self._host))


_NO_GPU_HINTS = ("could not select device driver", "unknown runtime specified nvidia", "nvidia-container-cli")


def diagnose_api_error(status: int, message: str, what: str) -> Diagnosis:
    """What an error of the engine means. Pure."""
    text = " ".join(message.split())
    lower = text.lower()
    if any(part in lower for part in _NO_GPU_HINTS):
        return Diagnosis(
            failure=Failure.NO_GPU,
            message=f"Docker cannot hand a GPU to a container: {text}",
            hint="install the NVIDIA Container Toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && "
            "sudo systemctl restart docker",
        )
    if "no such image" in lower:
        return Diagnosis(
            failure=Failure.IMAGE_MISSING, message=text, hint="docker pull it, or set [server] image"
        )
    if "port is already allocated" in lower or "address already in use" in lower:
        return Diagnosis(failure=Failure.PORT_TAKEN, message=text, hint="it is tried again with another port")
    if "bind source path does not exist" in lower:
        return Diagnosis(
            failure=Failure.BAD_ARGUMENT,
            message=f"a folder that is to be mounted does not exist: {text}",
            hint="correct [server] mounts or hf_home",
        )
    return Diagnosis(
        failure=Failure.EXITED, message=f"{what}: the Docker engine says {status}: {text}", hint="ocrd doctor"
    )


def diagnose_connection(message: str, host: str) -> Diagnosis:
    """What it means that the engine could not be reached. Pure."""
    where = host or os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
    if "Permission denied" in message or "PermissionError" in message:
        return Diagnosis(
            failure=Failure.ENGINE_UNAVAILABLE,
            message=f"the Docker engine at {where} may not be used by this user",
            hint="sudo usermod -aG docker $USER, then log in again",
        )
    if "FileNotFoundError" in message or "No such file" in message:
        return Diagnosis(
            failure=Failure.ENGINE_UNAVAILABLE,
            message=f"there is no Docker engine at {where}",
            hint="sudo systemctl start docker, or start Docker Desktop; or set [server] docker_host",
        )
    return Diagnosis(
        failure=Failure.ENGINE_UNAVAILABLE,
        message=f"the Docker engine at {where} does not answer",
        hint="sudo systemctl restart docker; see: ocrd doctor",
    )


def _is_timeout(err: BaseException) -> bool:
    seen: BaseException | None = err
    while seen is not None:
        if "timed out" in str(seen).lower() or isinstance(seen, TimeoutError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def named_host(host: str = "") -> str:
    """The engine's address as the docker command finds it: `host`, $DOCKER_HOST, its context; '' for the usual socket."""
    return host or os.environ.get("DOCKER_HOST") or _context_host()


def socket_path(host: str = "") -> str:
    """The Unix socket of an engine that `named_host` names; '' for one that is reached otherwise."""
    path = (named_host(host) or DEFAULT_SOCKET).removeprefix("unix://")
    return path if path.startswith("/") else ""


def _context_host() -> str:
    """The engine of the docker command's context, where the usual socket is missing; '' if there is none."""
    if os.path.exists(DEFAULT_SOCKET):
        return ""
    try:
        told = commands.run(["docker", "context", "inspect"], timeout_s=5)
        return str(json.loads(told.out)[0]["Endpoints"]["docker"]["Host"])
    except (commands.CommandMissing, commands.CommandTimeout, ValueError, LookupError, TypeError):
        return ""


def _image(told: Mapping[str, Any]) -> Image:
    config = told.get("Config") or {}
    pairs = [entry.partition("=") for entry in config.get("Env") or ()]
    return Image(
        id=str(told["Id"]),
        tags=tuple(told.get("RepoTags") or ()),
        created=str(told.get("Created", "")),
        environment={name: value for name, _, value in pairs},
        labels=dict(config.get("Labels") or {}),
    )


def _container(told: Mapping[str, Any]) -> Container:
    state = told["State"]
    status = str(state.get("Status", ""))
    running = status in {"running", "paused", "restarting"}
    return Container(
        id=str(told["Id"]),
        name=str(told.get("Name", "")).lstrip("/"),
        image_id=str(told.get("Image", "")),
        status=status,
        exit_code=None if running or status == "created" else int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        host_port=_host_port(told),
        labels=dict((told.get("Config") or {}).get("Labels") or {}),
    )


def _host_port(told: Mapping[str, Any]) -> int | None:
    ports = (told.get("NetworkSettings") or {}).get("Ports") or {}
    for bindings in ports.values():
        for binding in bindings or ():
            if binding.get("HostIp") == "127.0.0.1" and str(binding.get("HostPort", "")).isdecimal():
                return int(binding["HostPort"])
    return None
