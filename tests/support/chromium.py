"""Headless Chromium, driven through its DevTools protocol over two pipes (`--remote-debugging-pipe`): no port, no driver.

https://chromedevtools.github.io/devtools-protocol/ has the methods. `chromium` is Debian's package; `script/setup
--browser` installs it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.parse
from pathlib import Path
from typing import Any, Self

from PIL import Image

from support.running import wait_until

PROGRAM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1000,1400"),
    # It asks nobody in the network anything.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
)
BARS = (303, 58)
"""Width of the viewer's list of pages, and height of its bar of buttons, in pixels."""
PAPER = 200
"""Paper is lighter than this, and what lies around it darker."""
_DEADLINE_S = 60.0


class Chromium:
    """One browser with a profile of its own, for the time of the block."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        to_read, self._commands = os.pipe()
        self._answers, to_write = os.pipe()
        self._rest = b""
        self._calls = 0
        flags = (*FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank")
        try:
            self._process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", PROGRAM, *flags],
                pass_fds=(to_read, to_write),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(to_read)
            os.close(to_write)
        # A browser that hangs is ended, so that whoever waits for it reads an end.
        self._alarm = threading.Timer(_DEADLINE_S, self._kill)
        self._alarm.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.cancel()
        self._kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """The result of one method. Raises RuntimeError with what the browser says against it."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise EOFError("Chromium has ended, or was ended because it took too long")
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def open_pdf(self, path: Path, *, finding: str = "") -> Viewer:
        """The document in the browser's own viewer; a text to be found and marked is said by the address."""
        fragment = f"#:~:text={urllib.parse.quote(finding)}" if finding else ""
        page = self.call("Target.createTarget", url=path.as_uri() + fragment)["targetId"]
        return Viewer(self, page)

    def attach(self, target: str) -> str:
        """A session with a page or a frame."""
        return str(self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def frame(self, prefix: str) -> str:
        """The frame whose address begins so, as soon as there is one."""

        def find() -> str:
            infos = self.call("Target.getTargets", filter=[{}])["targetInfos"]
            return next((str(info["targetId"]) for info in infos if info["url"].startswith(prefix)), "")

        return wait_until(find, f"a frame {prefix}")


class Viewer:
    """The PDF viewer with a document: an extension that comes with the browser, around PDFium."""

    def __init__(self, browser: Chromium, page: str) -> None:
        self._browser = browser
        self._page = browser.attach(page)
        self._extension = browser.attach(browser.frame("chrome-extension://"))

    def copied(self) -> str:
        """The text of the whole document, as selecting everything and copying gives it."""
        ask = (
            "(async () => { const viewer = document.querySelector('pdf-viewer')?.currentController;"
            " if (!viewer) return '';"
            " viewer.selectAll(); return (await viewer.getSelectedText()).selectedText; })()"
        )

        def select() -> str:
            said = self._browser.call(
                *("Runtime.evaluate", self._extension),
                expression=ask,
                awaitPromise=True,
                returnByValue=True,
            )
            return str(said["result"].get("value", ""))

        return wait_until(select, "the viewer has the document's text")

    def marked(self) -> tuple[float, float, float, float]:
        """Where the found text is marked on the first page, as shares of its width and height: left, top, right, bottom."""

        def look() -> tuple[float, float, float, float] | None:
            shown = self._without_bars()
            paper = shown.convert("L").point(lambda value: 255 * (value > PAPER)).getbbox()
            # Paper and ink are grey; a mark is not.
            mark = shown.convert("HSV").getchannel("S").point(lambda value: 255 * (value > 30)).getbbox()
            if paper is None or mark is None:
                return None
            left, top, width, height = *paper[:2], paper[2] - paper[0], paper[3] - paper[1]
            return (
                *((mark[0] - left) / width, (mark[1] - top) / height),
                *((mark[2] - left) / width, (mark[3] - top) / height),
            )

        return wait_until(look, "the found text is marked")

    def _without_bars(self) -> Image.Image:
        picture = self.picture()
        return picture.crop((*BARS, *picture.size))

    def picture(self) -> Image.Image:
        """What the window shows."""
        shot = self._browser.call("Page.captureScreenshot", self._page)["data"]
        return Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")
