"""`ocrd models test`: start each model of the cache in turn, have it read, and report which of them work."""

from __future__ import annotations

import argparse
import contextlib
import locale
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING

from ocrd import __version__
from ocrd.cli.bars import Bar
from ocrd.cli.common import Subparsers, add_command, clean, find_state, load_settings
from ocrd.cli.orders import send_order
from ocrd.domain.errors import ConfigError, ExitCode, OrderRefused, TryAgainLater, UsageError
from ocrd.host import files, runtime
from ocrd.settings import Settings

if TYPE_CHECKING:
    from ocrd.daemon.acceptance.report import Circumstances
    from ocrd.daemon.acceptance.trial import Trial
    from ocrd.serving.hf_cache.cached_model import CachedModel

_VERDICT_WIDTH = 12


_MORE = """\
Minutes a model; Ctrl-C ends it after the model in hand, and the report is
written all the same. A running daemon lends its model server for that time.
Exit code 1 if no model works.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "test",
        "start each model in turn, and report which work and how well they read",
        handle,
        more=_MORE,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("model", nargs="*", default=[], metavar="MODEL", help="models by name")
    which.add_argument("--cached", action="store_true", help="all models of the Hugging Face cache")
    parser.add_argument(
        "--report", metavar="DIR", default="ocrd-model-test", help="where to (default: ocrd-model-test)"
    )


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run; 1 if no model works."""
    if not arguments.cached and not arguments.model:
        raise UsageError("name models, or say --cached", hint="ocrd models inspect shows what there is")
    settings, state = load_settings(arguments), find_state(arguments)
    if files.is_locked(runtime.lock_path(state)):
        print("asking the daemon for the model server; pages in hand are finished first")
        try:
            send_order(arguments, "models_lend", {}, patience_s=_LEND_PATIENCE_S)
        except OrderRefused as err:
            why = f"the daemon did not lend the model server: {err}"
            raise TryAgainLater(why, hint="see: ocrd status") from err
    return _test(arguments, settings, state)


_LEND_PATIENCE_S = 600.0


def _test(arguments: argparse.Namespace, settings: Settings, state: str) -> ExitCode:
    from ocrd.daemon.acceptance.report import write_report
    from ocrd.daemon.acceptance.trial import Verdict, try_models
    from ocrd.daemon.driving import driven, held, opened
    from ocrd.serving.hf_cache.inspection import inspect_cache
    from ocrd.serving.hf_cache.layout import hub_folder
    from ocrd.telemetry import logs

    logs.configure(level="critical", output_format=settings.log.format)  # the command tells it itself
    hub = hub_folder(settings.server.hf_home, os.environ)
    known = inspect_cache(hub)
    chosen = known if arguments.cached else [named(hub, model, settings) for model in arguments.model]
    with opened(state) as stores, held(state), driven(settings, stores, keep=False) as managed:
        managed.planner.forgive()
        _check_folder(arguments.report)
        at = datetime.now().astimezone()
        with _interruptible() as stop, Bar(sys.stdout, unit="models", task="testing") as bar:
            say = _sayer(bar, [one.model for one in chosen])
            trials = try_models(managed, chosen, languages=settings.engine.languages, say=say, stop=stop)
        here = _circumstances(settings, hub, at, trials)
        paths = write_report(
            arguments.report,
            here,
            trials,
            known or chosen,
            language=_language(),
            whole=arguments.cached and not stop.is_set(),
        )
    _print_table(trials, chosen)
    for path in paths:
        print(f"written: {clean(path)}")
    return ExitCode.OK if any(one.verdict is Verdict.WORKS for one in trials) else ExitCode.FAILED


def _check_folder(folder: str) -> None:
    """Before hours of trials: can the report be written? Raises ConfigError."""
    try:
        os.makedirs(folder, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(f"the report cannot be written into {folder}", hint="--report DIR")


def named(hub: str, model: str, settings: Settings) -> CachedModel:
    """A model as the cache spells its name, else as the catalogue does."""
    from ocrd.serving.catalog import load_catalog
    from ocrd.serving.hf_cache.inspection import inspect_model, spelling

    entry = load_catalog(settings.server.catalog or None).find(model)
    return inspect_model(hub, spelling(hub, entry.model if entry else model))


def _sayer(bar: Bar, models: Sequence[str]) -> Callable[[str, str], None]:
    """Tells of progress: a line each time, and on a terminal a bar below."""

    def say(model: str, what: str) -> None:
        if model in models:
            bar.show("testing", models.index(model), len(models))
        print(f"{clean(model)}: {clean(what)}", flush=True)

    return say


@contextlib.contextmanager
def _interruptible() -> Iterator[Event]:
    """Ctrl-C ends the test after the model in hand, and the report is written; a second one ends it at once."""
    stop = Event()

    def on_signal(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("ending after this model; Ctrl-C again ends at once", flush=True)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _circumstances(settings: Settings, hub: str, at: datetime, trials: list[Trial]) -> Circumstances:
    from ocrd.daemon.acceptance.report import Circumstances
    from ocrd.serving import gpu

    name, memory = "none", None
    if settings.server.gpus != ("none",):
        with contextlib.suppress(gpu.GpuMissing):
            card = gpu.named_card(settings.server.gpus)
            name, memory = card.name, card.total_mib
    started = next((one for one in trials if one.image), None)
    return Circumstances(
        at=at,
        version=__version__,
        gpu=name,
        gpu_mib=memory,
        image="" if started is None else started.image,
        vllm="" if started is None else started.version,
        hub=hub,
    )


def _language() -> str:
    """Russian for those whose messages are."""
    name = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "ru" if (name or locale.getlocale()[0] or "").lower().startswith("ru") else "en"


def _print_table(trials: list[Trial], chosen: list[CachedModel]) -> None:
    width = max((len(one.model) for one in trials), default=5)
    print()
    for one in trials:
        print(f"{clean(one.model):<{width}}  {one.verdict.value:<{_VERDICT_WIDTH}} {clean(_remark(one))}")
    left = len(chosen) - len(trials)
    if left:
        print(f"not tried: {left}")


def _remark(trial: Trial) -> str:
    if trial.readings is None:
        return trial.reason
    cer = sum(min(page.cer, 1.0) for page in trial.readings.pages) / len(trial.readings.pages)
    return (
        f"ready after {trial.start_s:g} s, {cer:.0%} wrong letters, "
        f"{trial.readings.pages_per_min:g} pages/min"
    )
