"""`ocrd run`: the daemon in the foreground; with `--once` until the inbox is worked off."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from ocrd.cli import problems
from ocrd.cli.bars import Bar
from ocrd.cli.common import Subparsers, add_command, clean, load_settings
from ocrd.domain.errors import NOT_THERE, ConfigError, ExitCode, UsageError
from ocrd.host import files
from ocrd.host.notify import Notifier
from ocrd.settings import FORMATS, Settings, state_dir

if TYPE_CHECKING:
    from ocrd.daemon.build import Stores
    from ocrd.daemon.engines import Engines
    from ocrd.daemon.supervisor import Progress
    from ocrd.pipeline.rasterizer import Rasterizer

_NAME_WIDTH = 44
_BAR_S = 0.2


_MORE = """\
Beside scan.pdf it writes scan.pdf.txt and scan.pdf.md, or scan.pdf.ocrd-error.txt
with the reason why not. It never changes or overwrites a file of yours.
Ctrl-C (or SIGTERM) finishes the pages in hand and ends; a second one ends at
once. Either way, and after a crash, the next start goes on at the next page.
  ocrd run --inbox ~/scans              watch a folder, until Ctrl-C
  ocrd run --once --inbox ~/scans       work it off, then end
  ocrd run --once letter.pdf -o -       print the text of one file
  cat scan.pdf | ocrd run --once - -o - the same from standard input
exit codes: 0 all well · 1 a document is not done (--once), or a thread died ·
  2 usage · 69 an engine is missing · 75 another ocrd is at work · 78 settings
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers, "run", "watch the inbox and write text beside what is dropped there", handle, more=_MORE
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="with --once: only these files, wherever they are (-: standard input). They are read in a private folder (TMPDIR) and are no "
        "jobs: their text goes beside them, or where -o says. No model server is started for them",
    )
    parser.add_argument(
        "--once", action="store_true", help="work the inbox off, then end (1 if a document is not done)"
    )
    parser.add_argument("--output", "-o", metavar="OUT", help="for FILE: write here; - prints the text")
    parser.add_argument(
        "--format",
        action="append",
        dest="formats",
        metavar="FORMAT",
        choices=FORMATS,
        help=f"for FILE: {', '.join(FORMATS)}; may be given several times (default: by the ending of OUT, else [output] formats)",
    )
    parser.add_argument("--force", action="store_true", help="for FILE: replace outputs that are there")
    parser.add_argument(
        "--inbox", action="append", metavar="DIR", help="a folder to watch; may be given several times"
    )
    parser.add_argument(
        "--pages", metavar="RANGES", help="read only these pages of what is taken in: 1-3,7,10-"
    )
    parser.add_argument("--engine", metavar="KIND", help="auto, embedded, vllm, or an installed plug-in")


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run."""
    notifier = Notifier.taken_from(os.environ)  # before there are children
    faulthandler.enable()  # systemd's watchdog ends a hanging daemon with SIGABRT: the log then tells where it hung
    settings = _settings_of(arguments)
    if arguments.files:
        return _run_files(arguments, settings)
    if arguments.output or arguments.formats or arguments.force:
        raise UsageError("-o, --format and --force are for single files", hint="ocrd run --once FILE -o -")
    roots = check_inboxes(settings, may_come_later=not arguments.once)

    from ocrd.daemon.engines import build_engines, build_rasterizer

    with (  # both load while the rest is imported
        contextlib.closing(build_engines(settings)) as engines,
        contextlib.closing(build_rasterizer(settings)) as rasterizer,
    ):
        return _run(arguments, settings, roots, notifier, rasterizer, engines)


def _run_files(arguments: argparse.Namespace, settings: Settings) -> ExitCode:
    from ocrd.cli import run_files
    from ocrd.daemon.engines import build_engines, build_rasterizer

    settings = run_files.check(arguments, settings)
    run_files.refuse_to_replace(arguments, settings.output.formats)
    with (
        run_files.PrivateRun(arguments.files, max_bytes=settings.limits.file_mib << 20) as private,
        contextlib.closing(build_engines(settings)) as engines,
        contextlib.closing(build_rasterizer(settings)) as rasterizer,
    ):
        from ocrd.daemon.supervisor import Run, Supervisor
        from ocrd.telemetry import logs

        # What went wrong is told of each file at the end.
        logs.configure(level="critical", output_format=settings.log.format)
        with _pages_bar() as bar:
            run = Run(
                settings=settings,
                state=private.state,
                roots=(private.root,),
                once=True,
                private=True,
                progress=_shown_by(bar),
            )
            code = Supervisor(run, rasterizer, engines).run()
        complete = run_files.deliver(arguments, private)
    return ExitCode.FAILED if code is ExitCode.OK and not complete else code


def _settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings with what the command line says; also when they are read again."""
    settings = load_settings(arguments)
    if arguments.inbox:
        settings = settings.with_value("inbox", "paths", arguments.inbox, "--inbox")
    if arguments.pages is not None:
        settings = settings.with_value("inbox", "pages", arguments.pages, "--pages")
    if arguments.engine:
        settings = settings.with_value("engine", "kind", arguments.engine, "--engine")
    return settings


def _run(
    arguments: argparse.Namespace,
    settings: Settings,
    roots: tuple[bytes, ...],
    notifier: Notifier,
    rasterizer: Rasterizer,
    engines: Engines,
) -> ExitCode:
    gc.disable()  # what is imported stays to the end: looking through it takes 20 ms now and 30 then
    from ocrd.daemon.supervisor import Run, Supervisor
    from ocrd.telemetry import logs

    gc.freeze()
    gc.enable()
    state = state_dir(settings)
    bar = _pages_bar()
    show_bar = arguments.once and bar.shown

    def configure_logs(settings: Settings) -> None:
        # Log lines would tear the progress bar up; what was rejected, and what else was wrong, is told at the end.
        logs.configure(
            level="error" if show_bar else settings.log.level,
            output_format=settings.log.format,
            file=logs.log_file(
                settings.log.file, state, under_journal=logs.under_journal(), once=arguments.once
            ),
            file_mib=settings.log.file_mib,
            files_kept=settings.log.files_kept,
        )

    configure_logs(settings)
    logs.lead_in_uncaught()
    if not arguments.once:
        run = Run(
            settings=settings,
            state=state,
            roots=roots,
            once=False,
            notifier=notifier,
            reread=lambda: _settings_of(arguments),
            configure_logs=configure_logs,
        )
        return Supervisor(run, rasterizer, engines).run()
    began = time.time()
    with bar:
        run = Run(settings=settings, state=state, roots=roots, once=True, progress=_shown_by(bar))
        code = Supervisor(run, rasterizer, engines).run()
    failed = _print_summary(state, roots, began)
    return ExitCode.FAILED if code is ExitCode.OK and failed else code


def check_inboxes(settings: Settings, *, may_come_later: bool = False) -> tuple[bytes, ...]:
    """The folders as absolute paths. Raises ConfigError: none given, not a folder, one inside another, or none is
    there. One that `may_come_later` is waited for: a drive that is not plugged in yet."""
    if not settings.inbox.paths:
        raise ConfigError(
            "no inbox is configured",
            hint="ocrd run --inbox DIR, or make a settings file with: ocrd config init",
        )
    roots = tuple(os.path.realpath(os.fsencode(os.path.expanduser(path))) for path in settings.inbox.paths)
    may_come_later = may_come_later and any(map(os.path.isdir, roots))
    for root, given in zip(roots, settings.inbox.paths, strict=True):
        if not os.path.isdir(root) and (os.path.lexists(root) or not may_come_later):
            raise ConfigError(f"the inbox {given} is not a folder", hint=f"mkdir -p {given}")
        inside = next((other for other in roots if root.startswith(other.rstrip(b"/") + b"/")), None)
        if inside is not None or roots.count(root) > 1:
            raise ConfigError(
                f"the inbox {given} lies inside another one, or is given twice",
                hint="name only the outer folder",
            )
    return roots


def _pages_bar() -> Bar:
    return Bar(sys.stderr, unit="pages", task="looking into the inbox")


def _shown_by(bar: Bar) -> Progress | None:
    """What the supervisor calls every now and then; it costs two questions to the store."""
    last = 0.0

    def show(stores: Stores) -> None:
        nonlocal last
        if time.monotonic() - last < _BAR_S:
            return
        last = time.monotonic()
        settled, total = stores.pages.progress()
        left = stores.documents.unfinished()
        bar.show(f"{left} document{'' if left == 1 else 's'} left", settled, total or None)

    return show if bar.shown else None


def _print_summary(state: str, roots: tuple[bytes, ...], began: float) -> bool:
    """What this run did, and which documents of its inboxes are not done; whether there are any."""
    from ocrd.store import snapshot

    with snapshot.opened(state) as connection:
        if connection is None:
            return True
        listed = snapshot.jobs_below(connection, [files.display_name(root) for root in roots])
        listed = [job for job in listed if job["reason_code"] not in NOT_THERE]
        worked = [job for job in listed if (job["finished_at"] or 0) >= began]
        firsts = {job["id"]: snapshot.first_line(connection, job["id"]) for job in worked}
        heartbeat, _ = snapshot.fact(connection, "heartbeat") or ({}, None)
    failed = [job for job in listed if job["state"] != "done"]
    _print_table(worked, firsts)
    _print_counts(listed, worked, failed)
    for line in problems.to_lines(heartbeat):  # while the bar was shown, the log was not
        print(clean(line))
    return bool(failed)


def _print_table(worked: list[dict[str, Any]], firsts: dict[int, str]) -> None:
    if not worked:
        return
    common = os.path.commonpath([os.path.dirname(job["path"]) for job in worked])
    names = {job["id"]: clean(os.path.relpath(job["path"], common)) for job in worked}
    width = min(max(len(name) for name in names.values()), _NAME_WIDTH)
    room = shutil.get_terminal_size((120, 24)).columns - width - 34
    print(f"{'file':<{width}}  {'pages':>7}  {'seconds':>7}  {'state':<9}  text")
    for job in sorted(worked, key=lambda one: str(one["path"])):
        name = _shorten(names[job["id"]], width)
        pages = f"{job['pages_done']}/{job['pages']}"
        remark = _shorten(clean(firsts[job["id"]] or job["reason"] or "(blank)"), max(room, 20))
        print(f"{name:<{width}}  {pages:>7}  {job['seconds']:>7.1f}  {job['state']:<9}  {remark}")


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _print_counts(
    listed: list[dict[str, Any]], worked: list[dict[str, Any]], failed: list[dict[str, Any]]
) -> None:
    pages = sum(job["pages_done"] for job in worked)
    before = len(listed) - len(worked)
    parts = [f"{len(worked)} documents worked on, {pages} pages read"]
    if before:
        parts.append(f"{before} were settled before")
    print("; ".join(parts))
    if failed:
        print(f"{len(failed)} not done: ocrd jobs, or ocrd show FILE for the reasons")
