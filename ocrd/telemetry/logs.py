"""Logs: a constant event name with fields, for people on a terminal, as JSON lines otherwise. Never page text."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def configure(*, level: str, output_format: str, stream: TextIO | None = None) -> None:
    """Set structlog up for this process; `auto` means console on a terminal and JSON otherwise."""
    stream = sys.stderr if stream is None else stream
    on_terminal = output_format == "console" or (output_format == "auto" and stream.isatty())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _drop_nothings,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not on_terminal),
    ]
    if on_terminal:
        processors.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()))
    else:
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _drop_nothings(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A field that has nothing to say is not said."""
    del logger, method
    return {key: value for key, value in event.items() if value is not None}


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger of a module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
