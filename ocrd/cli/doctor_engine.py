"""The part of `ocrd doctor` that looks at who reads the pages, as far as ocrd does not start it in a container."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator

from ocrd.cli.findings import FAILURE, OK, WARNING, Finding
from ocrd.domain.errors import OcrdError
from ocrd.settings import Settings

PATIENCE_S = 60.0
"""For the model server to read a page."""
FindSpec = Callable[[str], object | None]
OWN_KINDS = frozenset({"auto", "embedded", "vllm"})


def look(settings: Settings) -> Iterator[Finding]:
    """The embedded engine, and the model server that somebody else runs."""
    if settings.engine.kind not in OWN_KINDS:
        yield Finding("engine", OK, f"plug-in {settings.engine.kind}")
        return
    yield from _embedded(settings)
    yield _isolation()
    if settings.vllm.base_url:
        yield _server(settings)


def look_at_formats(
    settings: Settings,
    find: FindSpec = importlib.util.find_spec,
    which: Callable[[str], str | None] = shutil.which,
) -> Iterator[Finding]:
    """Whether the outputs that need packages of their own can be made; nothing where none does. `find` says whether a
    package is there, `which` where a program is."""
    if "pdf" not in settings.output.formats:
        return
    from ocrd.daemon.build import require_pdf_packages

    try:
        require_pdf_packages(find)
    except OcrdError as err:
        yield Finding("formats", FAILURE, str(err), err.hint)
    else:
        yield Finding("formats", OK, "searchable PDFs can be made")
        if settings.output.pdf_a and which("gs") is None:
            message = "[output] pdf_a: only of pictures and of PDFs that are PDF/A, for Ghostscript is not installed"
            yield Finding("formats", WARNING, message, "sudo apt-get install ghostscript")


def _isolation() -> Finding:
    """Whether the processes that open documents can give up their network here."""
    from ocrd.host import commands

    probe = "from ocrd.host import isolation; raise SystemExit(not isolation.without_network())"
    if commands.run((sys.executable, "-c", probe), timeout_s=PATIENCE_S).code == 0:
        return Finding("isolation", OK, "documents are opened by processes without network")
    message = "documents are opened by processes that keep their network: the kernel or systemd does not let them give it up"
    return Finding("isolation", OK, message)


def _server(settings: Settings) -> Finding:
    """Put the known page to the model server."""
    from ocrd.daemon.engines import server_options
    from ocrd.pipeline.recognizer.vllm import VllmRecognizer

    with contextlib.closing(VllmRecognizer(server_options(settings))) as recognizer:
        try:
            served = recognizer.check(timeout_s=PATIENCE_S)
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
        fix = "pip install --force-reinstall tesserocr"
        yield Finding("engine", FAILURE, f"tesserocr cannot be loaded: {err}", fix)
        return
    version = tesserocr.tesseract_version().split("\n")[0]
    languages = "+".join(settings.engine.languages)
    yield Finding("engine", OK, f"embedded, {version}, languages {languages} in {folder}")
    if "osd" not in tessdata.installed_languages(folder):
        message = "pages that lie on their side are not turned"
        yield Finding("engine", WARNING, message, "sudo apt install tesseract-ocr-osd")
