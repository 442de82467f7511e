"""The one place that constructs things: from settings to the parts of a daemon."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from ocrd.daemon.admission import Admission
from ocrd.daemon.engines import Engines, raster_workers, server_wait_s
from ocrd.daemon.finisher import Finisher
from ocrd.daemon.folders import Folders
from ocrd.daemon.hooks import Hooks
from ocrd.daemon.landing import OnPage
from ocrd.daemon.mover import Mover, folders_of
from ocrd.daemon.orders import Orders
from ocrd.daemon.overlaying import Overlay
from ocrd.daemon.pruning import Places, Pruner
from ocrd.daemon.publisher import Publisher
from ocrd.daemon.receiver import Receiver, ReceiverParts
from ocrd.daemon.worker import Worker, WorkerLimits, WorkerParts
from ocrd.domain import page_ranges
from ocrd.domain.errors import ServiceMissing
from ocrd.domain.folders import AUTO, EMBEDDED, VLLM
from ocrd.domain.moving import AfterRules
from ocrd.domain.ports import Clock
from ocrd.domain.swapping import Costs
from ocrd.host import files
from ocrd.host.anchors import Anchors
from ocrd.host.clock import SystemClock
from ocrd.packages import install_command
from ocrd.pipeline.formats import renderers
from ocrd.pipeline.rasterizer import Rasterizer
from ocrd.pipeline.recognizer import tessdata
from ocrd.settings import FORMATS, Settings
from ocrd.store.commands import CommandStore
from ocrd.store.documents import FINGERPRINT_LENGTH, DocumentStore
from ocrd.store.engine import Database, Waiter
from ocrd.store.indexer import Indexer
from ocrd.store.outputs import OutputStore
from ocrd.store.pages import PageStore
from ocrd.store.pruning import PruneStore
from ocrd.store.relocations import RelocationStore
from ocrd.store.servers import ServerStore

FIRST_ROUND_TRIP_S = 300.0
"""What an exchange of the models and back is thought to cost until one was measured: 240 s and 55 s were seen."""


@dataclass(frozen=True, slots=True)
class Stores:
    """The open store, by subject."""

    database: Database
    documents: DocumentStore
    pages: PageStore
    outputs: OutputStore
    commands: CommandStore
    servers: ServerStore
    relocations: RelocationStore
    indexer: Indexer


@dataclass(frozen=True, slots=True)
class Parts:
    """A daemon, put together and not started."""

    stores: Stores
    rasterizer: Rasterizer
    engines: Engines
    worker: Worker
    receiver: Receiver
    orders: Orders
    publisher: Publisher
    mover: Mover
    pruner: Pruner
    folders: Folders
    hooks: Hooks

    @property
    def dead_thread(self) -> str | None:
        """The name of a thread that ended although nobody stopped it."""
        return (
            self.worker.dead_thread
            or self.receiver.dead_thread
            or self.mover.dead_thread
            or self.hooks.dead_thread
        )

    def reconfigure(self, settings: Settings) -> None:
        """Let the options of `reloading.AT_ONCE` count."""
        self.receiver.reconfigure(settings.inbox)
        self.publisher.reconfigure(**_wanted_outputs(settings))


def open_stores(folder: str, clock: Clock | None = None, *, waiter: Waiter | None = None) -> Stores:
    """The store of a state folder whose schema is up to date."""
    clock = clock or SystemClock()
    database = Database(folder, waiter=waiter)
    return Stores(
        database,
        DocumentStore(database, clock),
        PageStore(database, clock),
        OutputStore(database, clock),
        CommandStore(database, clock),
        ServerStore(database, clock),
        RelocationStore(database, clock),
        Indexer(database),
    )


def find_folders(settings: Settings, roots: Sequence[bytes], kind: str) -> Folders:
    """What the folders below the inboxes say of themselves; `kind` is that of the engine which reads where they say
    nothing."""
    languages: tuple[str, ...] = ()
    engines = {AUTO, kind}
    with contextlib.suppress(ServiceMissing):  # a model reads without
        found = tessdata.find(settings.engine.languages, settings.engine.tessdata or None)
        languages = (*tessdata.installed_languages(found), tessdata.AUTO)
        engines |= {EMBEDDED} if kind == VLLM else set()  # it stands beside a model
    return Folders(roots, languages=languages, formats=FORMATS, engines=engines)


def fingerprints(settings: Settings, folders: Folders) -> Callable[[bytes], str]:
    """The fingerprint of the settings that count for a path."""
    plain = fingerprint(settings)

    def of(path: bytes) -> str:
        said, engine = folders.of(path), settings.engine
        if said.languages is not None:
            engine = replace(engine, languages=said.languages)
        if said.engine is not None and said.engine != AUTO:
            engine = replace(engine, kind=said.engine)
        return plain if engine == settings.engine else fingerprint(replace(settings, engine=engine))

    return of


def fingerprint(settings: Settings) -> str:
    """Of the settings that shape a page's text: with the same content and fingerprint, pages are reused."""
    shaping = {
        "languages": settings.engine.languages,
        "engine": settings.engine.kind,
        "dpi": settings.raster.dpi,
        "min_dpi": settings.raster.min_dpi,
        "text_layer": settings.engine.layers_taken,
    }
    text = json.dumps(shaping, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_LENGTH]


def build(
    settings: Settings,
    stores: Stores,
    rasterizer: Rasterizer,
    engines: Engines,
    roots: Sequence[bytes],
    *,
    once: bool,
    locks: files.FolderLocks | None = None,
    on_page: OnPage | None = None,
    clock: Clock | None = None,
) -> Parts:
    """Put a daemon together. `on_page` hears of each page that settled; `locks` holds those of the inboxes."""
    check_outputs(settings)
    anchors = Anchors(tuple(roots))
    rasterizer.read_below(anchors)
    folder = os.path.join(os.path.dirname(stores.database.path), "work")
    folders = find_folders(settings, roots, engines.name)
    fingerprint_of = fingerprints(settings, folders)
    publisher = Publisher(
        stores.outputs,
        overlay=Overlay(rasterizer, stores.documents, folder).chunks,
        formats_of=lambda path: folders.of(path).formats,
        anchors=anchors,
        promises=engines.promises,
        **_wanted_outputs(settings),
    )
    after = after_rules(settings)
    without = folders_of(roots, after)
    hooks = Hooks(settings.hooks, os.path.dirname(stores.database.path))
    mover = Mover(roots, after, stores.documents, stores.relocations, SystemClock(), on_end=hooks.announce)
    absent: SimpleQueue[bytes] = SimpleQueue()
    finisher = Finisher(
        stores.documents,
        stores.pages,
        publisher,
        after=after,
        on_move=mover.notify,
        on_end=hooks.announce,
        on_absent=absent.put,
        anchors=anchors,
    )
    admission = Admission(
        rasterizer,
        max_bytes=settings.limits.file_mib << 20,
        pages=page_ranges.parse(settings.inbox.pages),
        fingerprint_of=fingerprint_of,
        folders=folders,
        anchors=anchors,
    )
    worker = Worker(
        WorkerParts(
            documents=stores.documents,
            pages=stores.pages,
            finisher=finisher,
            admission=admission,
            rasterizer=rasterizer,
            engines=engines,
            once=once,
            on_page=on_page,
            folder=folder,
            limits=_worker_limits(settings),
        )
    )
    receiver = Receiver(
        roots,
        settings.inbox,
        ReceiverParts(
            clock=clock or SystemClock(),
            admission=admission,
            publisher=publisher,
            finisher=finisher,
            documents=stores.documents,
            outputs=stores.outputs,
            worker=worker,
            without=without,
            absent=absent,
            locks=locks,
        ),
        once=once,
    )
    places = Places.of(roots, without)
    pruner = Pruner(PruneStore(stores.database), places, days=settings.state.keep_days)
    orders = Orders(stores.commands, stores.documents, worker, fingerprint_of=fingerprint_of)
    return Parts(
        stores, rasterizer, engines, worker, receiver, orders, publisher, mover, pruner, folders, hooks
    )


def _worker_limits(settings: Settings) -> WorkerLimits:
    return WorkerLimits(
        server_wait_s=server_wait_s(settings),
        costs=Costs(
            round_trip_s=FIRST_ROUND_TRIP_S,
            overhead=settings.server.swap_overhead,
            max_wait_s=settings.server.max_park_s or None,
        ),
        window=settings.raster.window_pages,
        temp_bytes=settings.limits.temp_mib << 20,
        feeders=raster_workers(settings),
    )


def after_rules(settings: Settings) -> AfterRules:
    """Where originals go when their work is done."""
    rules = settings.after.rules
    return AfterRules(*(folder and os.path.expanduser(folder) for folder in (rules.done, rules.failed)))


def require_pdf_packages(find: Callable[[str], object | None] = importlib.util.find_spec) -> None:
    """Raises ServiceMissing unless searchable PDFs can be made; `find` says whether a package is there."""
    missing = [name for name in ("pikepdf", "img2pdf") if find(name) is None]
    if missing:
        raise ServiceMissing(
            f"[output] formats asks for pdf, and {' and '.join(missing)} is not installed",
            hint=f"{install_command('pdf')}, or take pdf out of [output] formats",
        )


def check_outputs(settings: Settings) -> None:
    """Whether every format can be made here. Raises ServiceMissing."""
    if "pdf" in settings.output.formats:
        require_pdf_packages()


def _wanted_outputs(settings: Settings) -> dict[str, Any]:
    output = settings.output
    return {
        "formats": output.formats,
        "error_file": output.error_file,
        "pdf_a": output.pdf_a,
        "renderers": renderers(
            tables="html" if output.tables == "html" else "pipe", headers=output.page_headers
        ),
    }
