"""Driving the model server without a daemon: for `ocrd models start`, `stop` and `test`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ocrd.daemon.build import Stores, open_stores
from ocrd.daemon.engines import server_options
from ocrd.daemon.managed import Managed, build_managed
from ocrd.daemon.warm import lock_path
from ocrd.domain.errors import TryAgainLater
from ocrd.domain.ports import ContainerRuntime
from ocrd.domain.serving import INSTANCE_LABEL
from ocrd.host import files
from ocrd.settings import Settings
from ocrd.store import schema

_STOP_S = 30.0


@contextlib.contextmanager
def opened(state: str) -> Iterator[Stores]:
    """The store of a state folder, made if there is none."""
    schema.prepare_folder(state)
    schema.upgrade(state)
    stores = open_stores(state)
    try:
        yield stores
    finally:
        stores.database.close()


@contextlib.contextmanager
def held(state: str) -> Iterator[None]:
    """Hold the lock of whoever drives the container. Raises TryAgainLater."""
    lock = files.try_lock(lock_path(state), patience_s=2.0)
    if lock is None:
        raise TryAgainLater("another ocrd drives the model server", hint="see: ocrd status")
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def driven(settings: Settings, stores: Stores, *, keep: bool) -> Iterator[Managed]:
    """A model server with its thread running; the caller holds the lock. With `keep` a server that is ready at the end
    is left for the next daemon."""
    managed = build_managed(
        settings, server_options(settings), slots=settings.server.max_num_seqs, patience_s=float("inf")
    )
    managed.begin(stores.servers, stores.commands.instance())
    try:
        yield managed
    finally:
        managed.server.close(keep=keep)
        managed.clients.close()


def stop_containers(runtime: ContainerRuntime, instance: str) -> list[str]:
    """End and remove every container of a store; their names. The caller holds the lock."""
    ended = []
    for container in runtime.managed():
        if container.labels.get(INSTANCE_LABEL) == instance:
            runtime.stop(container.id, _STOP_S)
            runtime.remove(container.id)
            ended.append(container.name)
    return ended
