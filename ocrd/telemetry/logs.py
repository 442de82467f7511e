"""Logs: a constant event name with fields. Never page text.

Three forms: for people on a terminal; for systemd's journal (`<N>event key=value`, without a time of our own); JSON
lines otherwise and in the log file. What libraries and `warnings` say at level warning or above comes out in the
same form. Logging never fails: a line that cannot be written is lost, the work goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, TextIO

from ocrd.domain.printable import escaped
from ocrd.telemetry.lean import structlog

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog's numbers: `SyslogLevelPrefix=` in systemd.exec(5)."""
_JOURNAL_LINE = 12_000
"""Characters. The journal cuts a line at 48 KiB (`LineMax=`), and the rest would come without its priority."""
_BARE = re.compile(r'[^\s"\\=\[\]{}]+')

Event = dict[str, Any]
Render = Callable[[Event], str]


def configure(
    *,
    level: str,
    output_format: str,
    stream: TextIO | None = None,
    file: str | None = None,
    file_mib: int = 10,
    files_kept: int = 5,
) -> None:
    """Set logging up for this process.

    `auto` means console on a terminal, journal where the stream leads into systemd's journal, and JSON otherwise.
    `file` gets JSON lines too; at `file_mib` it is renamed and begun anew, and `files_kept` renamed ones stay.
    """
    stream = sys.stderr if stream is None else stream
    outputs: list[tuple[Render, _Target]] = []
    if stream is not None and not stream.closed:  # None: the process was started with standard error closed
        outputs.append((_renderer(output_format, stream), _Stream(stream)))
    log_file = None
    if file is not None:
        log_file = _RotatingFile(file, limit=file_mib << 20, kept=files_kept)
        outputs.append((_json_renderer(timed=True), log_file))
    sinks = _Sinks(outputs)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _drop_nothings,
            structlog.processors.add_log_level,
            _hand_over,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: sinks,
        cache_logger_on_first_use=False,
    )
    _lead_in_libraries()


def lead_in_uncaught() -> None:
    """Log what nobody caught, in a thread or at the very end: a bare traceback has neither priority nor log file."""

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            get_logger().critical("uncaught", exc_info=(kind, error, trace))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        name = None if args.thread is None else args.thread.name
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            trace = (args.exc_type, args.exc_value, args.exc_traceback)
            get_logger().critical("uncaught", thread=name, exc_info=trace)

    sys.excepthook, threading.excepthook = of_process, of_thread


def under_journal(stream: TextIO | None = None) -> bool:
    """Whether the stream (standard error) leads into systemd's journal.

    JOURNAL_STREAM names the device and inode of the stream that systemd opened. A child inherits the variable and
    may write elsewhere, so its mere presence says nothing (systemd.exec(5)).
    """
    stream = sys.stderr if stream is None else stream
    fd = _descriptor(stream)
    if fd is None:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def log_file(setting: str, state: str, *, under_journal: bool, once: bool) -> str | None:
    """Where the log file stands; None: there is none. `auto` makes one for a daemon that nobody else logs for."""
    if setting == "auto":
        return None if once or under_journal else os.path.join(state, "ocrd.log")
    return os.path.abspath(os.path.expanduser(setting)) if setting else None


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger of a module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


# --- where lines go -------------------------------------------------------------------------------------------------


class _Target(Protocol):
    def write(self, line: str) -> None:
        """Write whole lines. Raises OSError or ValueError (closed)."""


class _Stream:
    """Standard error, past its buffer: what a full pipe or a dead reader refused must not come up again at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd = _descriptor(stream)

    def write(self, line: str) -> None:
        """Write whole lines."""
        if self._fd is None:
            self._stream.write(f"{_encode(line).decode()}\n")
            self._stream.flush()
        elif not self._stream.closed:
            _write_all(self._fd, _encode(line) + b"\n")


class _RotatingFile:
    """The log file, for its owner alone; begun anew before it grows over `limit` bytes."""

    def __init__(self, path: str, *, limit: int, kept: int) -> None:
        self._path = path
        self._limit = limit
        self._kept = kept
        self._fd: int | None = None

    def write(self, line: str) -> None:
        """Append a line, or nothing of it. Raises OSError."""
        data = _encode(line) + b"\n"
        fd = self._open()
        size = os.fstat(fd).st_size
        if size and size + len(data) > self._limit:
            self._rotate()
            fd, size = self._open(), 0
        try:
            _write_all(fd, data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)  # half a line would spoil the next one
            raise

    def close(self) -> None:
        """Close it; the next line opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()

    def _open(self) -> int:
        if self._fd is not None and not os.fstat(self._fd).st_nlink:  # someone deleted it
            self.close()
        if self._fd is None:
            os.makedirs(os.path.dirname(self._path) or ".", mode=0o700, exist_ok=True)
            flags = (
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            )  # a FIFO does not block
            self._fd = os.open(self._path, flags, 0o600)
        return self._fd

    def _rotate(self) -> None:
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._kept + 1))]
        if not self._kept:
            os.unlink(self._path)
        for older, newer in reversed(list(zip(names[1:], names[:-1], strict=True))):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)
        self.close()


class _Sinks:
    """structlog's logger: gives each event to each target. Thread-safe."""

    def __init__(self, outputs: Sequence[tuple[Render, _Target]]) -> None:
        self._outputs = outputs
        self._lost = [0] * len(outputs)
        # Reentrant: a warning that the garbage collector raises while a line is written is a line as well.
        self._lock = threading.RLock()

    def msg(self, event: Event) -> None:
        """Write an event everywhere."""
        with self._lock:
            for number in range(len(self._outputs)):
                self._write(number, event)

    debug = info = warning = error = critical = msg

    def _write(self, number: int, event: Event) -> None:
        render, target = self._outputs[number]
        try:
            target.write(render(dict(event)))
        except (OSError, ValueError) as err:
            self._lost[number] += 1
            if self._lost[number] == 1:
                self._tell_others(number, {"event": "log_lost", "level": "warning", "reason": str(err)})
            return
        lost, self._lost[number] = self._lost[number], 0
        if lost:
            self._write(number, {"event": "log_goes_on", "level": "warning", "lines_lost": lost})

    def _tell_others(self, number: int, event: Event) -> None:
        for other in range(len(self._outputs)):
            if other != number and not self._lost[other]:
                self._write(other, event)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):  # not a file, or closed
        return None


def _encode(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


# --- forms ----------------------------------------------------------------------------------------------------------


def _renderer(output_format: str, stream: TextIO) -> Render:
    journal = under_journal(stream)
    if output_format == "auto":
        output_format = "console" if stream.isatty() else "journal" if journal else "json"
    if output_format == "console":
        return _console_renderer(colors=stream.isatty())
    if output_format == "journal":
        return render_for_journal
    render = _json_renderer(timed=not journal)
    return (lambda event: f"<{_priority(event)}>{render(event)}") if journal else render


def render_for_journal(event: Event) -> str:
    """`<N>event key=value …`, and each line of a traceback below it with its priority. Values are bare words or JSON."""
    event = dict(structlog.processors.format_exc_info(None, "", event))
    prefix = f"<{_priority(event)}>"
    event.pop("level", None)
    name, exception = event.pop("event", ""), event.pop("exception", None)
    fields = [f"{key}={_value(value)}" for key, value in event.items()]
    lines = [" ".join([_one_line(str(name)), *fields])]
    if exception is not None:
        lines += [_one_line(line) for line in str(exception).split("\n") if line]
    return "\n".join(prefix + _shorten(line) for line in lines)


def _json_renderer(*, timed: bool) -> Render:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)

    def render(event: Event) -> str:
        event = dict(structlog.processors.format_exc_info(None, "", event))
        first = dict(stamp(None, "", {})) if timed else {}
        first |= {key: event.pop(key) for key in ("level", "event") if key in event}
        return escaped(json.dumps(first | event, ensure_ascii=False, default=repr))

    return render


def _console_renderer(*, colors: bool) -> Render:
    # The plain traceback: the colourful one shows local variables, and those hold page text.
    show = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=20
    )
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=False)

    def render(event: Event) -> str:
        event = dict(structlog.processors.format_exc_info(None, "", event))
        exception = event.pop("exception", None)
        event = {key: _one_line(value) if isinstance(value, str) else value for key, value in event.items()}
        if exception is not None:
            event["exception"] = escaped(str(exception))
        return str(show(None, "", stamp(None, "", event)))

    return render


def _priority(event: Event) -> int:
    return PRIORITIES.get(event.get("level", ""), PRIORITIES["info"])


def _value(value: Any) -> str:
    text = _json(value)
    return text[1:-1] if text[:1] == '"' and _BARE.fullmatch(text[1:-1]) else text


def _json(value: Any) -> str:
    """JSON on one line, without anything that a terminal or the journal could take for a command."""
    return _one_line(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr))


def _one_line(text: str) -> str:
    return escaped(text, keep="")


def _shorten(line: str) -> str:
    return line if len(line) <= _JOURNAL_LINE else line[: _JOURNAL_LINE - 1] + "…"


# --- what comes in --------------------------------------------------------------------------------------------------


def _drop_nothings(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A field that has nothing to say is not said."""
    del logger, method
    return {key: value for key, value in event.items() if value is not None}


def _hand_over(
    logger: Any, method: str, event: structlog.typing.EventDict
) -> tuple[tuple[Event], dict[str, Any]]:
    """The event itself is what `_Sinks` takes: each target has its own form of it."""
    del logger, method
    return (dict(event),), {}


class _Libraries(logging.Handler):
    """Leads what libraries say into our own log. Their chatter below a warning is dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        """As an event of its own kind."""
        try:
            message = record.getMessage().strip()
        except (TypeError, ValueError):  # arguments that do not fit the text: the library's mistake
            message = str(record.msg)
        level = (
            logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        )  # some make up their own
        structlog.get_logger().log(
            level, "library", library=record.name, message=message, exc_info=record.exc_info or None
        )


def _lead_in_libraries() -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Libraries):
            root.removeHandler(handler)
    root.addHandler(_Libraries(logging.WARNING))
    logging.captureWarnings(capture=True)
