"""`ocrd status --watch`: the status again and again, as a live screen or as lines."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ocrd.cli.common import clean, is_terminal
from ocrd.cli.status import to_line, to_lines
from ocrd.domain.errors import ExitCode, OcrdError
from ocrd.domain.jobs import FINAL_PAGES

if TYPE_CHECKING:  # rich takes as long to import as the whole of `ocrd status`
    from rich.console import RenderableType

Read = Callable[[], dict[str, Any]]


def watch(read: Read, *, every_s: float, as_json: bool) -> ExitCode:
    """Until Ctrl-C, which is how it is meant to end."""
    with contextlib.suppress(KeyboardInterrupt):
        if is_terminal() and not as_json:
            _show_screen(read, every_s)
        else:
            _print_lines(read, every_s, as_json=as_json)
    return ExitCode.OK


def _print_lines(read: Read, every_s: float, *, as_json: bool) -> None:
    while True:
        status = read()
        if as_json:
            print(json.dumps(status), flush=True)
        else:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {to_line(status)}", flush=True)
        time.sleep(every_s)


def _show_screen(read: Read, every_s: float) -> None:
    """On the terminal's other screen, so that what stood there before comes back at the end. Only what changed is sent:
    rich writes over the lines and clears none."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with (
        _wake_on(signal.SIGWINCH) as wait,
        _ended_by(signal.SIGTERM, signal.SIGHUP),
        Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live,
    ):
        while True:
            live.update(_screen(read, every_s), refresh=True)
            wait(every_s)


def _screen(read: Read, every_s: float) -> RenderableType:
    """The status as a screen. A store that cannot be read now may be readable in a moment."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Column, Table
    from rich.text import Text

    foot = Text(f"{time.strftime('%H:%M:%S')}, every {every_s:g} s; Ctrl-C ends it", style="dim")
    try:
        status = read()
    except OcrdError as err:
        return Group(Text(clean(str(err)), style="red"), Text(f"→ {clean(err.hint)}"), foot)
    pages = status["pages"]
    done, total = sum(pages.get(state, 0) for state in FINAL_PAGES), sum(pages.values())
    bar = Table.grid(Column(width=11), Column(width=40), Column())
    bar.add_row("", ProgressBar(total=max(total, 1), completed=done, width=38), f"{done} of {total} settled")
    shown: list[RenderableType] = []
    for line in to_lines(status):
        key = line.split("  ")[0]
        shown.append(Text.assemble((key, "bold"), line[len(key) :], no_wrap=True, overflow="ellipsis"))
        if key == "pages":
            shown.append(bar)
    return Group(*shown, foot)


@contextlib.contextmanager
def _wake_on(number: int) -> Iterator[Callable[[float], None]]:
    """A wait that this signal ends early."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(number, lambda *_: None)
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        if select.select([reading], [], [], seconds)[0]:
            os.read(reading, 512)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(old)
        signal.signal(number, before)
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _ended_by(*numbers: int) -> Iterator[None]:
    """These signals end the program by the way that puts the terminal in order."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
