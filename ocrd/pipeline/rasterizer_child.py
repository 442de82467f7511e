"""The rasterizer's child program: a fork server that answers a JSON line with a JSON line.

    {"ask": "hello"}  → {"ready": true}
    {"ask": "probe", "root", "path", "identity", "media_type", "policy", "passwords", "timeout_s"} → {"pages": 3}
    {"ask": "render", "numbers", "stem", … as above}  → {"pages": {"1": a PageImage | {"code", "message"}}}
    {"ask": "overlay", "layer", "stem", "pdf_a", … as above}   → {"written": true}   a searchable PDF at `stem`
    {"ask": "text", "numbers", "stem", … as above}  → {"pages": {"1": {"dpi", "width", "height", "blocks"} | {"doubt": "why not"}}}
    any               → {"error": "timeout" | "memory" | "died" | "failed" | "rejected" | "source_changed" | "server",
                         "message", "code", "hint"}

The server never touches a document itself. It forks a job, waits for the job's answer, for the deadline and for
the end of its standard input, whichever comes first. All of them share one process group: when the daemon dies,
the server kills the group, itself included; when the daemon kills the group, nobody is left out. To end a job
alone, the server sends the group a signal that only the server ignores.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import json
import math
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NoReturn

from ocrd.domain.documents import FileIdentity, MediaType, PageImage, block_to_json
from ocrd.domain.errors import InputRejected, PageFault, ReasonCode, ServerFault, SourceChanged
from ocrd.host.anchors import anchored
from ocrd.host.commands import describe_exit
from ocrd.host.files import identity_of, open_regular
from ocrd.host.isolation import isolate
from ocrd.pipeline import rasterizer_image, rasterizer_pdf, rasterizer_text, unlocking
from ocrd.pipeline.rasterizer import RenderPolicy
from ocrd.pipeline.rasterizer_text import Layer

END_OF_JOB = signal.SIGUSR1
"""Ends jobs, and poppler's programs, which have no handler for it; SIGKILL would take the server along."""
CPU_GRACE_S = 5
FILE_HEADROOM_BYTES = 1 << 20
OOM_SCORE = 500
"""Under shortage of memory the kernel shall take a page, not the daemon."""
_STDIN = 0
_PR_SET_CHILD_SUBREAPER = 36
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}


def main() -> None:
    """Answer requests until standard input ends."""
    isolate()
    if os.getpgrp() != os.getpid():
        os.setsid()  # started by hand: the group that gets killed must be our own
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            number, signal.SIG_IGN
        )  # the daemon decides; a page must not fail because a service stops
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print must not get between the answers
    _adopt_orphans()
    rasterizer_image.preload()
    gc.freeze()
    for line in _lines():
        request = json.loads(line)
        answer = {"ready": True} if request["ask"] == "hello" else _run_job(request, answers)
        _write_all(answers, json.dumps(answer).encode() + b"\n")


def _adopt_orphans() -> None:
    """Become the parent of poppler processes whose job was ended, so that their end can be waited for."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _lines() -> Iterator[bytes]:
    received = b""
    while chunk := os.read(_STDIN, 1 << 16):
        received += chunk
        while b"\n" in received:
            line, received = received.split(b"\n", 1)
            yield line


def _run_job(request: dict[str, Any], answers: int) -> dict[str, Any]:
    receiving, sending = os.pipe()
    try:
        job = os.fork()
    except OSError as err:
        os.close(receiving)
        os.close(sending)
        return _error("server", f"no process can be started: {err.strerror}")
    if job == 0:
        os.close(answers)  # the daemon shall see at once when the server dies
        os.close(receiving)
        _be_job(request, sending)
    os.close(sending)
    data = _collect(receiving, time.monotonic() + request["timeout_s"])
    os.close(receiving)
    status = _end_jobs(job)
    if data is None:
        return _error("timeout", "")
    with contextlib.suppress(ValueError):
        answer: dict[str, Any] = json.loads(data)
        return answer
    return _error("died", describe_exit(os.waitstatus_to_exitcode(status)))


def _collect(receiving: int, deadline: float) -> bytes | None:
    """What a job writes until it closes its pipe; None if that is not before the deadline."""
    poller = select.poll()
    poller.register(receiving, select.POLLIN)
    poller.register(_STDIN, 0)  # reports the other side's end, and nothing else
    received = b""
    while (left_s := deadline - time.monotonic()) > 0:
        for descriptor, _ in poller.poll(math.ceil(left_s * 1000)):
            if descriptor == _STDIN:
                os.killpg(0, signal.SIGKILL)
            chunk = os.read(receiving, 1 << 16)
            if not chunk:
                return received
            received += chunk
    return None


def _end_jobs(job: int) -> int:
    """End whatever is left in the group, and wait until it is gone; returns the job's wait status."""
    previous = signal.signal(END_OF_JOB, signal.SIG_IGN)
    os.killpg(0, END_OF_JOB)
    signal.signal(END_OF_JOB, previous)
    status = 0
    while True:
        try:
            ended, how = os.waitpid(-1, 0)
        except ChildProcessError:
            return status
        if ended == job:
            status = how


def _be_job(request: dict[str, Any], sending: int) -> NoReturn:
    """The forked process: answers through the pipe and never returns."""
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
        _limit_resources(RenderPolicy(**request["policy"]), request["timeout_s"], request.get("file_bytes"))
        _write_all(sending, json.dumps(_answer(request)).encode())
    except MemoryError:
        _write_all(sending, json.dumps(_error("memory", "")).encode())
    except BaseException:  # noqa: BLE001 - a forked process must not run its parent's cleanup
        traceback.print_exc()
    finally:
        os._exit(0)


def _limit_resources(policy: RenderPolicy, timeout_s: float, file_bytes: int | None) -> None:
    """Limits of this process, which poppler's programs inherit. Without `file_bytes` it writes page images."""
    memory_bytes = policy.memory_mib << 20
    cpu_s = math.ceil(timeout_s) + CPU_GRACE_S
    file_bytes = (policy.image_bytes if file_bytes is None else file_bytes) + FILE_HEADROOM_BYTES
    for what, wanted in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(what, (limit, limit))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write(str(OOM_SCORE))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return _work_on_source(request)
    except SourceChanged as err:
        return _error("source_changed", str(err), code=err.code)
    except InputRejected as err:
        return _error("rejected", str(err), code=err.code)
    except ServerFault as err:
        return _error("server", str(err), hint=err.hint)
    except MemoryError:
        return _error("memory", "")
    except OSError as err:
        if "stem" in request and (err.errno in _FULL_DISK or not _is_writable(request["stem"])):
            folder = os.path.dirname(request["stem"])
            return _error("server", f"page images cannot be written to {folder}: {err.strerror}")
        return _error("failed", f"{type(err).__name__}: {err}")
    except Exception as err:  # noqa: BLE001 - the job's edge: any surprise is an answer about this document
        return _error("failed", f"{type(err).__name__}: {err}")


def _is_writable(stem: str) -> bool:
    return os.access(os.path.dirname(stem), os.W_OK | os.X_OK)


def _work_on_source(request: dict[str, Any]) -> dict[str, Any]:
    """Work on the very file that was taken in. Raises SourceChanged if it is another one, or written to meanwhile."""
    expected = FileIdentity(**request["identity"])
    with _opened(bytes.fromhex(request["root"]), bytes.fromhex(request["path"])) as source:
        _check_identity(source, expected)
        try:
            answer = _unlock_and_work(f"/proc/{os.getpid()}/fd/{source}", request)
        finally:
            _check_identity(source, expected)
    return answer


@contextlib.contextmanager
def _opened(root: bytes, path: bytes) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        here = None
        try:
            here = stack.enter_context(anchored(root, path))
            source = stack.enter_context(open_regular(here))
        except OSError as err:
            if err.errno in _GONE or (here is None and err.errno == errno.ELOOP):
                raise SourceChanged(ReasonCode.FILE_GONE, "the file went away") from err
            if err.errno in {errno.ELOOP, errno.EINVAL, errno.ENXIO}:
                raise SourceChanged(
                    ReasonCode.SUPERSEDED, "something else than a file stands at its path"
                ) from err
            raise InputRejected(
                ReasonCode.UNREADABLE,
                f"the file cannot be read by uid {os.getuid()}: {err.strerror}",
            ) from err
        yield source


def _check_identity(source: int, expected: FileIdentity) -> None:
    if identity_of(os.fstat(source)) != expected:
        raise SourceChanged(ReasonCode.SUPERSEDED, "the file was replaced or changed")


def _unlock_and_work(source: str, request: dict[str, Any]) -> dict[str, Any]:
    """Passwords are tried only on a document that asks for one."""
    try:
        return _work(source, request)
    except InputRejected as err:
        if err.code is not ReasonCode.ENCRYPTED or not request["passwords"]:
            raise
    with unlocking.unlocked(source, request["passwords"]) as opened:
        return _work(opened, request)


def _work(source: str, request: dict[str, Any]) -> dict[str, Any]:
    """`source` names our open descriptor, for poppler as well: nobody can swap the file behind it."""
    policy, media_type = RenderPolicy(**request["policy"]), MediaType(request["media_type"])
    if request["ask"] == "probe":
        if media_type.is_image:
            return {"pages": rasterizer_image.count_pages(source, media_type, policy)}
        return {"pages": rasterizer_pdf.count_pages(source, policy)}
    if request["ask"] == "overlay":
        if request["passwords"] and not media_type.is_image:
            rasterizer_pdf.count_pages(source, policy)  # it says whether a password is needed
        return _overlay(source, media_type, request)
    numbers, stem = request["numbers"], request["stem"]
    if request["ask"] == "text":
        layers = rasterizer_text.read_layers(source, numbers, policy, stem)
        return {"pages": {number: _layer_to_json(layer) for number, layer in layers.items()}}
    if media_type.is_image:
        pages = rasterizer_image.render_pages(source, media_type, numbers, policy, stem)
    else:
        pages = rasterizer_pdf.render_pages(source, numbers, policy, stem)
    return {"pages": {number: _to_json(page) for number, page in pages.items()}}


def _overlay(source: str, media_type: MediaType, request: dict[str, Any]) -> dict[str, Any]:
    from ocrd.pipeline import searchable_pdf

    try:
        searchable_pdf.build(source, media_type, request["layer"], request["stem"], pdf_a=request["pdf_a"])
    except PageFault as err:
        return _error("failed", str(err))
    return {"written": True}


def _to_json(page: PageImage | PageFault) -> dict[str, Any]:
    return {"code": page.code, "message": str(page)} if isinstance(page, PageFault) else asdict(page)


def _layer_to_json(layer: Layer | str) -> dict[str, Any]:
    if isinstance(layer, str):
        return {"doubt": layer}
    return {**asdict(layer.size), "blocks": [block_to_json(block) for block in layer.blocks]}


def _error(kind: str, message: str, *, code: str = "", hint: str = "") -> dict[str, Any]:
    return {"error": kind, "message": message, "code": code, "hint": hint}


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
