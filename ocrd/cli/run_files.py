"""`ocrd run --once FILE…`: single files, by the same pipeline, in a store of their own that is gone afterwards.

Each file is copied into a private folder, which is the inbox of that run: so nothing else of the file's folder is
touched, and neither the job store nor a daemon that watches the folder knows of it.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from ocrd.cli import delivery
from ocrd.cli.common import clean, is_terminal
from ocrd.domain.errors import ConfigError, OcrdError, ReasonCode, UsageError, hint_of
from ocrd.domain.jobs import PageState
from ocrd.host import files
from ocrd.settings import FORMATS, InboxSettings, Settings
from ocrd.store import snapshot

_CHUNK = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG})
_OTHER_ENDINGS = {".markdown": "md", ".html": "hocr", ".htm": "hocr", ".xml": "alto", ".text": "txt"}
STDIN = "-"
"""Stands for standard input; a file of this name is `./-`."""
_LONG_AGO_S = 946_684_800
"""2000-01-01: a file that old is complete at first sight."""


@dataclass(frozen=True, slots=True)
class Work:
    """A file that was named, its copy, and the formats wanted of it."""

    named: str
    path: bytes
    copy: bytes


def check(arguments: argparse.Namespace, settings: Settings) -> Settings:
    """The settings for these files. Raises UsageError where the command line cannot be meant, before any work."""
    if not arguments.once:
        raise UsageError("single files are read once", hint="ocrd run --once FILE; a folder: --inbox DIR")
    if arguments.inbox:
        raise UsageError("there are both files and --inbox", hint="name either files or folders")
    for named in arguments.files:
        if os.path.isdir(named):
            raise UsageError(f"{named} is a folder", hint=f"ocrd run --once --inbox {named}")
        if named == STDIN:
            _check_stdin(arguments)
        elif files.stat_regular(os.fsencode(os.path.realpath(named))) is None:
            raise UsageError(f"there is no file {named}", hint="name a file")
    return _with_formats(arguments, _private(settings))


def _check_stdin(arguments: argparse.Namespace) -> None:
    if arguments.output is None:
        raise UsageError("nothing stands beside standard input", hint=f"-o {delivery.STDOUT}, or -o FILE")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal", hint="ocrd run --once - -o - < FILE")


def _with_formats(arguments: argparse.Namespace, settings: Settings) -> Settings:
    """Those of `--format`, else the one that `-o` names, else those of the settings; with `-o` only one."""
    formats = arguments.formats or _format_of(arguments.output) or settings.output.formats
    if not formats:
        raise ConfigError("no format is wanted", hint="--format txt")
    if arguments.output is not None:
        if len(arguments.formats or ()) > 1:
            raise UsageError("several formats do not go into one file", hint="without -o: beside the input")
        formats = formats[:1]
        if len(arguments.files) > 1 and (arguments.output != delivery.STDOUT or formats[0] == "pdf"):
            raise UsageError("several files do not go into one", hint="-o - prints their text")
        if arguments.output == delivery.STDOUT and is_terminal() and formats[0] == "pdf":
            raise UsageError("a PDF is not for a terminal", hint="-o FILE, or --format txt")
    return settings.with_value("output", "formats", formats, "run --once FILE")


def _format_of(output: str | None) -> list[str]:
    """What the name of the output says of its format, if it has an ending. Raises UsageError for an unknown one: the
    file would be something else than its name says."""
    name = os.path.basename(output or "").lower()
    ending = max(filter(name.endswith, _endings()), key=len, default=None)
    if ending is not None:
        return [_endings()[ending]]
    unknown = os.path.splitext(name)[1]
    if unknown:
        raise UsageError(
            f"{output}: what is to be written into a {unknown}?",
            hint=f"add --format FORMAT ({', '.join(FORMATS)}), or name it as one of them",
        )
    return []


def _endings() -> dict[str, str]:
    """The format of each ending that is known: our own, and what the world calls them."""
    from ocrd.pipeline.writer import target_of

    ours = {os.fsdecode(target_of(b"", one)): one for one in FORMATS}
    return _OTHER_ENDINGS | {f".{one}": one for one in FORMATS} | ours


def _private(settings: Settings) -> Settings:
    """Only what shapes the reading counts: no inbox, no model server of our own, no store, no figures."""
    settings = replace(
        Settings(),
        inbox=replace(InboxSettings(), pages=settings.inbox.pages, passwords=settings.inbox.passwords),
        engine=settings.engine,
        vllm=settings.vllm,
        raster=settings.raster,
        limits=settings.limits,
        output=replace(settings.output, error_file=False),
        log=replace(settings.log, file=""),
        origins=settings.origins,
    )
    if settings.vllm.base_url or settings.engine.kind not in {"auto", "vllm"}:
        return settings
    if settings.engine.kind == "vllm":
        raise ConfigError(
            "no model server is started for single files",
            hint="name one that runs, [vllm] base_url, or put the files into an inbox",
        )
    return settings.with_value("engine", "kind", "embedded", "run --once FILE")


def refuse_to_replace(arguments: argparse.Namespace, formats: Sequence[str]) -> None:
    """Raises UsageError if a target is there already, or is no file: better before the reading than after it."""
    if arguments.output == delivery.STDOUT:
        return
    for target in _targets(arguments, formats):
        delivery.refuse_special(os.fsdecode(target))
        if os.path.lexists(target) and not arguments.force:
            raise UsageError(
                f"{os.fsdecode(target)} is there already",
                hint="-o - prints the text; --force replaces the file",
            )


def _targets(arguments: argparse.Namespace, formats: Sequence[str]) -> Iterator[bytes]:
    from ocrd.pipeline.writer import target_of

    if arguments.output is not None:
        yield os.fsencode(arguments.output)
        return
    for named in arguments.files:
        for output_format in formats:
            yield target_of(os.fsencode(named), output_format)


class PrivateRun:
    """The folder of one run: `state` and `root` (its inbox) in it. To be used as a context manager."""

    def __init__(self, named: Sequence[str], *, max_bytes: int) -> None:
        self._named = list(dict.fromkeys(named))
        self._max_bytes = max_bytes

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="ocrd-")
        self.state = os.path.join(self._folder.name, "state")
        self.root = os.fsencode(os.path.join(self._folder.name, "inbox"))
        try:
            self.works = [self._copy(number, named) for number, named in enumerate(self._named, 1)]
        except OSError as err:
            self._folder.cleanup()
            if err.errno in _NO_ROOM:
                raise OcrdError(
                    f"the folder for the copies, {tempfile.gettempdir()}, cannot be written: {err.strerror}",
                    hint="free some space there, or name another folder: TMPDIR=DIR",
                ) from err
            raise UsageError(
                f"{err.filename or tempfile.gettempdir()} cannot be copied: {err.strerror}",
                hint="TMPDIR names another folder for the copies",
            ) from err
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _copy(self, number: int, named: str) -> Work:
        from ocrd.pipeline.inbox import DEFAULT_IGNORES, Patterns
        from ocrd.pipeline.unlocking import SIDECAR

        path = os.fsencode(named)
        name = b"document" if named == STDIN else os.path.basename(path)
        if Patterns(DEFAULT_IGNORES).match(name):  # an inbox passes such names over; here the file was named
            name = b"document"
        folder = os.path.join(self.root, b"%06d" % number)
        os.makedirs(folder, mode=0o700)
        copy = os.path.join(folder, name)
        if named == STDIN:
            self._copy_stdin(copy)
        else:
            self._copy_content(path, copy)
        os.utime(copy, (_LONG_AGO_S, _LONG_AGO_S))
        if named != STDIN and files.stat_regular(path + SIDECAR) is not None:
            shutil.copyfile(path + SIDECAR, copy + SIDECAR)
        return Work(named, path, copy)

    def _copy_content(self, path: bytes, copy: bytes) -> None:
        """Of a file that is too large for a document, as much as intake needs to say so: its size and its beginning."""
        from ocrd.pipeline.intake import HEAD_BYTES

        size = os.stat(path).st_size
        if size <= self._max_bytes:
            shutil.copyfile(path, copy)
            return
        with open(path, "rb") as source, open(copy, "wb") as target:
            target.write(source.read(HEAD_BYTES))
            target.truncate(size)

    def _copy_stdin(self, copy: bytes) -> None:
        """No more of it than intake needs to say that it is too large."""
        left = self._max_bytes + 1
        with open(copy, "wb") as target:
            while left and (chunk := sys.stdin.buffer.read(min(left, _CHUNK))):
                left -= target.write(chunk)


def deliver(arguments: argparse.Namespace, run: PrivateRun) -> bool:
    """Hand out what was read and say what was not; whether all documents are done and all outputs written."""
    complete = True
    with snapshot.opened(run.state) as connection:
        for number, work in enumerate(run.works):
            job = None if connection is None else snapshot.job_of_path(connection, work.copy)
            outputs = [] if connection is None or job is None else snapshot.outputs(connection, job["id"])
            complete = _deliver_one(arguments, work, outputs, is_first=number == 0) and complete
            complete = _is_done(work, job, _remedy(connection, job)) and complete
    return complete


def _deliver_one(
    arguments: argparse.Namespace, work: Work, outputs: list[dict[str, str]], *, is_first: bool
) -> bool:
    written = True
    for output in outputs:
        made = os.fsencode(output["path"])
        if arguments.output == delivery.STDOUT:
            _print(made, after_another=not is_first)
            continue
        target = arguments.output or os.fsdecode(work.path + made[len(work.copy) :])
        try:
            with delivery.opened(target, force=arguments.force) as file, open(made, "rb") as source:
                shutil.copyfileobj(source, file.buffer)
        except UsageError as err:
            _complain(str(err), err.hint)
            written = False
        else:
            print(f"{clean(work.named)} → {clean(target)}")
    return written


def _print(made: bytes, *, after_another: bool) -> None:
    """Onto standard output; a form feed stands between documents as between pages. A terminal is not steered."""
    with open(made, "rb") as source:
        if is_terminal():
            print(clean(source.read().decode("utf-8", "replace"), keep="\n\t\f"), end="")
            return
        sys.stdout.flush()
        if after_another:
            sys.stdout.buffer.write(b"\f")
        shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _remedy(connection: snapshot.Connection | None, job: dict[str, Any] | None) -> str:
    """What to do about a document that is not done: about its first page without text, if there are several reasons."""
    if connection is None or job is None or not job["reason_code"]:
        return ""
    codes = [job["reason_code"]]
    if codes == [ReasonCode.PAGES_FAILED]:
        pages = snapshot.pages(connection, job["id"])
        codes = [page["reason_code"] for page in pages if page["state"] == PageState.FAILED]
    return hint_of(codes[0], again="ocrd run --once again") if codes else ""


def _is_done(work: Work, job: dict[str, Any] | None, remedy: str) -> bool:
    """Whether all of a document was read; if not, say why not."""
    if job is None:
        _complain(f"{work.named}: it is no document that ocrd reads", hint_of(ReasonCode.UNSUPPORTED_TYPE))
    elif not job["finished_at"]:
        _complain(f"{work.named}: the reading was broken off", "ocrd run --once again")
    elif job["state"] != "done":
        _complain(f"{work.named}: {job['state']} ({job['reason_code']}): {job['reason']}", remedy)
    return job is not None and job["state"] == "done"


def _complain(text: str, hint: str) -> None:
    sys.stdout.flush()
    print(f"ocrd: {clean(text)}" + (f"\n      → {clean(hint)}" if hint else ""), file=sys.stderr)
