"""`ocrd doctor`: everything the daemon needs of this machine, and the command that mends what is missing.

Looks only; changes nothing but a probe file that it removes again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict

from ocrd.cli.common import Subparsers, add_command, clean, find_state, load_settings, print_json
from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import ExitCode, OcrdError
from ocrd.host import commands, files, mounts
from ocrd.settings import Settings
from ocrd.store import snapshot

SCHEMA = "ocrd.doctor/1"
_LOW_SPACE_MIB = 1024
_MIN_INOTIFY_WATCHES = 8192


_SERVER_PATIENCE_S = 60.0


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    add_command(subparsers, "doctor", "check what the daemon needs of this machine", handle, has_json=True)


def handle(arguments: argparse.Namespace) -> ExitCode:
    """Run; 1 if anything keeps the daemon from working."""
    findings = list(look(arguments))
    if arguments.json:
        print_json({"schema": SCHEMA, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(f"{finding.result:<8} {finding.check:<10} {clean(finding.message)}")
            if finding.fix:
                print(f"{'':<19} → {clean(finding.fix)}")
    return ExitCode.FAILED if any(finding.result == FAILURE for finding in findings) else ExitCode.OK


def look(arguments: argparse.Namespace) -> Iterator[Finding]:
    """Every check, each on its own: one that fails does not hide the others."""
    yield _python()
    yield _sqlite()
    yield _poppler()
    try:
        settings = load_settings(arguments)
        state = find_state(arguments)
    except OcrdError as err:
        yield Finding("settings", FAILURE, str(err), err.hint or "correct it, then: ocrd config check")
        return
    yield Finding("settings", OK, "they are right")
    yield from _engine(settings)
    yield from _state(state)
    yield from _inboxes(settings)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", OK, f"{version}, {sys.executable}")


def _sqlite() -> Finding:
    version = ".".join(str(part) for part in snapshot.SQLITE_VERSION)
    if snapshot.SQLITE_VERSION < (3, 35):
        return Finding("sqlite", FAILURE, f"{version} is too old: 3.35 is needed", "use a newer Python build")
    return Finding("sqlite", OK, version)


def _poppler() -> Finding:
    for program in ("pdftoppm", "pdfinfo"):
        try:
            answer = commands.run([program, "-v"], timeout_s=10)
        except (commands.CommandMissing, commands.CommandTimeout) as err:
            return Finding(
                "poppler", FAILURE, f"{program} does not work: {err}", "sudo apt install poppler-utils"
            )
    version = re.search(r"version (\S+)", answer.err + answer.out)
    return Finding(
        "poppler", OK, f"{version.group(1) if version else 'unknown version'}, {shutil.which('pdftoppm')}"
    )


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.engine.kind not in {"auto", "embedded", "vllm"}:
        yield Finding("engine", OK, f"plug-in {settings.engine.kind}")
        return
    if settings.vllm.base_url:
        yield _server(settings)
    elif settings.engine.kind != "embedded":
        from ocrd.cli import doctor_server

        yield from doctor_server.look(settings)
    yield from _embedded(settings)


def _server(settings: Settings) -> Finding:
    """Put the known page to the model server."""
    from ocrd.daemon.engines import server_options
    from ocrd.pipeline.recognizer.vllm import VllmRecognizer

    with contextlib.closing(VllmRecognizer(server_options(settings))) as recognizer:
        try:
            served = recognizer.check(timeout_s=_SERVER_PATIENCE_S)
        except OcrdError as err:
            return Finding("server", FAILURE, str(err), err.hint)
    tokens = "" if served.checked_tokens else "; it does not count tokens, so its chat template is unchecked"
    return Finding(
        "server",
        OK,
        f"{served.model} ({served.profile.family}) at {settings.vllm.base_url}, context {served.context}, "
        f"read the known page{tokens}",
    )


def _embedded(settings: Settings) -> Iterator[Finding]:
    from ocrd.pipeline.recognizer import tessdata

    try:
        folder = tessdata.find(settings.engine.languages, settings.engine.tessdata or None)
        import tesserocr
    except OcrdError as err:
        yield Finding("engine", FAILURE, str(err), err.hint)
        return
    except ImportError as err:
        yield Finding(
            "engine", FAILURE, f"tesserocr cannot be loaded: {err}", "pip install --force-reinstall tesserocr"
        )
        return
    version = tesserocr.tesseract_version().split("\n")[0]
    yield Finding(
        "engine", OK, f"embedded, {version}, languages {'+'.join(settings.engine.languages)} in {folder}"
    )
    if "osd" not in tessdata.installed_languages(folder):
        yield Finding(
            "engine",
            WARNING,
            "pages that lie on their side are not turned",
            "sudo apt install tesseract-ocr-osd",
        )


def _state(state: str) -> Iterator[Finding]:
    kind = mounts.file_system_of(state)
    if not mounts.is_safe_for_store(kind):
        message = f"{state} lies on a {kind} file system, where SQLite loses data"
        yield Finding("store", FAILURE, message, "choose a local Linux disk: [state] dir, or --state DIR")
        return
    there = state
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    if not os.access(there, os.W_OK):
        yield Finding("store", FAILURE, f"{there} cannot be written", f"sudo chown $USER {there}")
        return
    free_mib = shutil.disk_usage(there).free >> 20
    if free_mib < _LOW_SPACE_MIB:
        yield Finding("store", WARNING, f"only {free_mib} MiB free in {there}", "free some space")
    else:
        yield Finding("store", OK, f"{state} ({kind or 'unknown file system'}, {free_mib} MiB free)")


def _inboxes(settings: Settings) -> Iterator[Finding]:
    if not settings.inbox.paths:
        yield Finding("inbox", WARNING, "none is configured", "ocrd config init --inbox DIR")
        return
    for path in settings.inbox.paths:
        yield _inbox(os.path.expanduser(path))
    yield _inotify()


def _inbox(path: str) -> Finding:
    if not os.path.isdir(path):
        return Finding("inbox", FAILURE, f"{path} is not a folder", f"mkdir -p {path}")
    probe = os.fsencode(os.path.join(path, f".ocrd-doctor-{os.getpid()}"))
    try:
        os.close(files.create_draft(probe))
        os.rename(probe, probe + b"-2")
        os.unlink(probe + b"-2")
    except OSError as err:
        return Finding(
            "inbox", FAILURE, f"{path} cannot be written: {err.strerror}", f"sudo chown $USER {path}"
        )
    kind = mounts.file_system_of(path)
    how = "events" if mounts.has_events(kind) else "polling, because this file system has no events"
    return Finding("inbox", OK, f"{path} ({kind or 'unknown file system'}; {how})")


def _inotify() -> Finding:
    watches = _read_limit("max_user_watches")
    if watches < _MIN_INOTIFY_WATCHES:
        return Finding(
            "inotify",
            WARNING,
            f"only {watches} folders can be watched; the rest is found by scanning",
            "sudo sysctl fs.inotify.max_user_watches=524288",
        )
    return Finding("inotify", OK, f"{watches} watches")


def _read_limit(name: str) -> int:
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
