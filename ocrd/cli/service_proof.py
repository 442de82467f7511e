"""The proof that a service works: a page is drawn, put into its inbox, and its text is waited for."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from ocrd.cli.common import clean
from ocrd.host import files
from ocrd.pipeline import writer

if TYPE_CHECKING:
    from ocrd.store import snapshot

_WORDS = "ocrd reads this page"
_PATIENCE_S = 180.0
_POLL_S = 0.2
FINAL = frozenset({"done", "partial", "failed", "rejected", "cancelled"})


def prove(inbox: str, state: str, uid: int) -> bool:
    """Print what was found, a line each; whether all is well. Leaves nothing in the inbox."""
    probe = os.path.join(inbox, f"ocrd-probe-{os.getpid()}.png")
    try:
        _draw(probe, uid)
    except OSError as err:
        print(f"failed  nothing can be put into {clean(inbox)}: {err.strerror}")
        return False
    try:
        return _await_text(probe, state)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(probe)
        for suffix in writer.SUFFIXES:
            with contextlib.suppress(OSError):
                files.remove_if_there(os.fsencode(probe) + suffix)


def _draw(path: str, uid: int) -> None:
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (1000, 300), 255)
    ImageDraw.Draw(page).text((80, 100), _WORDS, fill=0, font=ImageFont.load_default(60))
    with open(path, "xb") as file:
        page.save(file, "PNG")
    if os.geteuid() == 0:
        os.chown(path, uid, -1)


def _await_text(probe: str, state: str) -> bool:
    from ocrd.store import snapshot

    end = time.monotonic() + _PATIENCE_S
    seen = ""
    while time.monotonic() < end:
        with snapshot.opened(state) as connection:
            job = None if connection is None else snapshot.job_of_path(connection, os.fsencode(probe))
            later = "" if connection is None or job is None else _read_later(connection)
        if job is not None and job["state"] in FINAL:
            return _judge(job)
        seen = "" if job is None else str(job["state"])
        if later:
            print(f"ok      a page was taken in; {later}")
            return True
        time.sleep(_POLL_S)
    print(
        f"failed  a page put into the inbox was {'not taken in' if not seen else f'still {seen}'} after "
        f"{_PATIENCE_S:g} s"
    )
    return False


def _read_later(connection: snapshot.Connection) -> str:
    """Why a page that was taken in is not read for long, though all is well; '' if it should be."""
    from ocrd.store import snapshot

    if snapshot.fact(connection, "paused") is not None:
        return "the queue is paused; go on with: ocrd resume"
    documents = snapshot.counts(connection).get("document", {})
    before = documents.get("queued", 0) + documents.get("running", 0) - 1
    if before > 0:
        return f"{before} documents of the queue are unfinished beside it: ocrd status"
    beat = snapshot.fact(connection, "heartbeat")
    server = ((beat[0] if beat else {}).get("server") or {}).get("state", "absent")
    return "" if server in {"absent", "ready"} else "it is read when the model is there: ocrd status"


def _judge(job: dict[str, object]) -> bool:
    if job["state"] == "done":
        print("ok      a page put into the inbox was read, and its text written beside it")
        return True
    print(f"failed  a page put into the inbox ended as {job['state']}: {clean(str(job['reason']))}")
    return False
