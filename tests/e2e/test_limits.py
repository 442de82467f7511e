"""Each limit of the settings, driven over by a document of its own in the real daemon: it costs that document, with a
reason that names the limit, and nothing else. `[limits] document_s` is driven over in test_daemon.py, `temp_mib` and
`min_free_mib` in test_disk.py, `[engine] page_timeout_s` in test_supervision.py."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from support import paper
from support.rasterizer_documents import A_BLACK_BAR, HANGING, pdf
from support.running import Ocrd, wait_until

from ocrd.pipeline.rasterizer import HEADER_BYTES
from ocrd.pipeline.rasterizer_child import CPU_GRACE_S, FILE_HEADROOM_BYTES

SETTINGS = {
    "OCRD_LIMITS__FILE_MIB": "1",
    "OCRD_LIMITS__PAGES": "2",
    "OCRD_LIMITS__IMAGE_MEGAPIXELS": "40",
    "OCRD_LIMITS__PAGE_MEGAPIXELS": "1",
    "OCRD_RASTER__MEMORY_MIB": "256",
    "OCRD_RASTER__PAGE_TIMEOUT_S": "4",
}


def transparent(side: int) -> bytes:
    """A picture of few bytes that takes four bytes a pixel when it is opened."""
    out = io.BytesIO()
    Image.new("RGBA", (side, side)).save(out, "PNG")
    return out.getvalue()


@dataclass(frozen=True)
class Over:
    """A document over one limit: how it ends, with which code, and the figure that the reason names."""

    make: Callable[[], bytes]
    state: str
    code: str
    figure: str


OVER = {
    "bytes.pdf": Over(lambda: pdf(A_BLACK_BAR) + b"%" * (1 << 20), "rejected", "too_large", "1 MiB"),
    "pages.pdf": Over(lambda: pdf(*[A_BLACK_BAR] * 3), "rejected", "too_many_pages", "2 pages"),
    "pixels.png": Over(lambda: transparent(6400), "rejected", "too_many_pixels", "megapixels"),
    "page.pdf": Over(
        lambda: pdf(A_BLACK_BAR, boxes=["0 0 900 900"]), "failed", "render_limit", "2 megapixels"
    ),
    "memory.png": Over(lambda: transparent(6000), "failed", "render_limit", "256 MiB"),
    "seconds.pdf": Over(lambda: pdf(HANGING), "failed", "render_timeout", "4 s"),
}


def test_a_document_over_a_limit_ends_with_a_reason_and_costs_no_other(ocrd: Ocrd) -> None:
    ocrd.env |= SETTINGS
    for name, over in OVER.items():
        (ocrd.inbox / name).write_bytes(over.make())
    paper.write_png(ocrd.inbox / "zz-good.png", "Afterwards")
    assert ocrd.run_once().returncode == 1
    jobs = ocrd.jobs()
    ends = {name: (jobs[name]["state"], jobs[name]["reason_code"]) for name in OVER}
    assert ends == {name: (over.state, over.code) for name, over in OVER.items()}
    for name, over in OVER.items():
        assert over.figure in (ocrd.inbox / f"{name}.ocrd-error.txt").read_text(), name
    assert ocrd.text("zz-good.png").split() == ["Afterwards"]
    assert not (ocrd.state / "work").exists()


def test_what_opens_a_document_runs_under_the_limits_also_when_nobody_ends_it(ocrd: Ocrd) -> None:
    """With its server stopped, a job that computes for ever has only the kernel to end it."""
    ocrd.env |= SETTINGS | {"OCRD_RASTER__PAGE_TIMEOUT_S": "2"}
    (ocrd.inbox / "hanging.pdf").write_bytes(pdf(HANGING))
    ocrd.start(ready=False)
    assert ocrd.process is not None
    daemon = ocrd.process.pid
    poppler = wait_until(lambda: descendant(daemon, "pdftoppm", "-r"), "poppler draws the page")
    server = parent_of(parent_of(poppler))
    assert "rasterizer_child" in Path(f"/proc/{server}/cmdline").read_text()
    os.kill(server, signal.SIGSTOP)
    assert limits_of(poppler) == {
        "Max cpu time": 2 + CPU_GRACE_S,
        "Max address space": 256 << 20,
        "Max file size": 1_000_000 + HEADER_BYTES + FILE_HEADROOM_BYTES,
        "Max core file size": 0,
    }
    wait_until(lambda: not is_running(poppler), "the kernel ends it", deadline_s=120)
    assert ocrd.await_state("hanging.pdf")["reason_code"] == "render_timeout"
    paper.write_png(ocrd.inbox / "good.png", "Afterwards")
    assert ocrd.await_state("good.png")["state"] == "done"


def descendant(pid: int, *words: str) -> int | None:
    """A process below this one with these words in its command line."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            argv = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            found = child if set(words) <= set(argv) else descendant(child, *words)
            if found:
                return found
    return None


def parent_of(pid: int) -> int:
    """The process that started it, or adopted it."""
    return int(re.findall(r"^PPid:\s(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


def is_running(pid: int) -> bool:
    """Neither gone nor a zombie that nobody waits for."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status


def limits_of(pid: int) -> dict[str, int]:
    """Those that ocrd sets, hard and soft alike."""
    found = {}
    for name in ("Max cpu time", "Max address space", "Max file size", "Max core file size"):
        line = next(
            line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name)
        )
        soft, hard = line.removeprefix(name).split()[:2]
        assert soft == hard, name
        found[name] = int(soft)
    return found
