"""A progress bar, for a person at a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Drawn while it is entered, if `stream` is a terminal, and gone without a trace after it. Lines that are printed
    meanwhile stand above it."""

    def __init__(self, stream: TextIO | None, *, unit: str, task: str) -> None:
        self.shown = stream is not None and stream.isatty()  # None: the process was started without it
        self._stream = stream
        self._unit = unit
        self._first = task
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                TextColumn("[bold]{task.description}", markup=True),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(self._unit),
                TimeElapsedColumn(),
                console=Console(stderr=self._stream is sys.stderr),
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(self._first, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, task: str, done: int, total: int | None) -> None:
        """What is being done, and how much of it; `total` None while that is not known. `task` is no user's text."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, description=task)
