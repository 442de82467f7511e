"""PDFs behind a password: opened by poppler and pikepdf as they are, with passwords from both places."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest
from support.text_pdfs import LINES, Page, text_pdf

from ocrd.domain.documents import MediaType, PageImage, Recognition
from ocrd.domain.errors import ConfigError, InputRejected, ReasonCode
from ocrd.host.files import stat_regular
from ocrd.pipeline.inbox import DEFAULT_IGNORES, Patterns
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy
from ocrd.pipeline.unlocking import sidecar_password
from ocrd.settings import load

pikepdf = pytest.importorskip("pikepdf", reason="needs the extra `pdf`; script/setup --test installs it")

PASSWORD = "canary-пароль-81c4"
KINDS = {
    "aes256": {"R": 6},
    "aes128": {"R": 4, "aes": True},
    "rc4": {"R": 3, "aes": False, "metadata": False},
}


def locked(path: Path, password: str, kind: str = "aes256") -> bytes:
    plain = path.with_suffix(".plain")
    plain.write_bytes(text_pdf(Page(LINES)))
    with pikepdf.open(plain) as pdf:
        pdf.save(path, encryption=pikepdf.Encryption(user=password, owner="owner", **KINDS[kind]))
    plain.unlink()
    return os.fsencode(path)


@pytest.fixture
def opened() -> Iterator[list[Rasterizer]]:
    made: list[Rasterizer] = []
    yield made
    for rasterizer in made:
        rasterizer.close()


def read(
    path: bytes, folder: Path, opened: list[Rasterizer], *, passwords: Sequence[str] = ()
) -> tuple[Recognition | str, PageImage | Exception]:
    rasterizer = Rasterizer(RenderPolicy(text_layer="auto", passwords=tuple(passwords)), workers=1)
    opened.append(rasterizer)
    identity = stat_regular(path)
    assert identity is not None
    assert rasterizer.probe(path, identity, MediaType.PDF).pages == 1
    source = (path, identity, MediaType.PDF, [1])
    layers = rasterizer.read_layers(*source, folder=str(folder), stop=Event())
    return layers[1], rasterizer.render(*source, folder=str(folder), stop=Event())[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_password_of_the_settings_opens_text_and_pages(
    tmp_path: Path, opened: list[Rasterizer], kind: str
) -> None:
    password = PASSWORD if kind == "aes256" else "plain-81c4"
    path = locked(tmp_path / "a.pdf", password, kind)
    layer, page = read(path, tmp_path, opened, passwords=["wrong", password])
    assert isinstance(layer, Recognition)
    assert layer.text.split("\n") == list(LINES)
    assert isinstance(page, PageImage)
    assert page.ink > 0


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\na note\n"])
def test_the_one_beside_the_file_opens_it(tmp_path: Path, opened: list[Rasterizer], end: str) -> None:
    path = locked(tmp_path / "a.pdf", PASSWORD)
    beside = tmp_path / "a.pdf.password"
    beside.write_bytes((PASSWORD + end).encode())
    assert isinstance(read(path, tmp_path, opened)[0], Recognition)
    assert beside.read_bytes() == (PASSWORD + end).encode()


def test_what_is_no_plain_text_beside_the_file_is_no_password(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "a.pdf")
    beside = tmp_path / "a.pdf.password"
    assert sidecar_password(path) == ()
    beside.mkdir()
    assert sidecar_password(path) == ()
    beside.rmdir()
    beside.symlink_to("/etc/hostname")
    assert sidecar_password(path) == ()
    beside.unlink()
    os.mkfifo(beside)
    assert sidecar_password(path) == ()
    beside.unlink()
    beside.write_bytes(b"\xff\xfe\x00")
    assert sidecar_password(path) == ()


def test_the_reason_names_both_ways_and_no_password(tmp_path: Path, opened: list[Rasterizer]) -> None:
    path = locked(tmp_path / "a.pdf", PASSWORD)
    for passwords in ((), ("wrong-canary",)):
        with pytest.raises(InputRejected) as told:
            read(path, tmp_path, opened, passwords=passwords)
        assert told.value.code is ReasonCode.ENCRYPTED
        said = f"{told.value} {told.value.hint}"
        assert "scan.pdf.password" in said
        assert "[inbox] passwords" in said
        assert "canary" not in said


def test_no_process_has_the_password_on_its_command_line(tmp_path: Path, opened: list[Rasterizer]) -> None:
    path = locked(tmp_path / "a.pdf", PASSWORD)
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for process in filter(str.isdigit, os.listdir("/proc")):
                for what in ("cmdline", "environ"):
                    try:
                        with open(f"/proc/{process}/{what}", "rb") as file:
                            seen.add(file.read())
                    except OSError:
                        continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        read(path, tmp_path, opened, passwords=[PASSWORD])
    finally:
        over.set()
        watcher.join()
    assert any(b"rasterizer_child" in line for line in seen)
    assert not any(PASSWORD.encode() in line for line in seen)
    left = [name for name in os.listdir(tmp_path) if name.endswith(".pdf")]
    assert left == ["a.pdf"]


def test_a_policy_does_not_show_its_passwords() -> None:
    assert PASSWORD not in repr(RenderPolicy(passwords=(PASSWORD,)))


def test_the_sidecar_is_no_input() -> None:
    assert Patterns(DEFAULT_IGNORES).match(b"scan.pdf.password")


def test_settings_with_passwords_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "ocrd.toml"
    path.write_text(f'[inbox]\npasswords = ["{PASSWORD}"]\n')
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="0644") as told:
        load(str(path), {})
    assert PASSWORD not in f"{told.value} {told.value.hint}"
    path.chmod(0o600)
    assert load(str(path), {}).inbox.passwords == (PASSWORD,)
    path.write_text(f"[inbox]\npasswords = '{PASSWORD}'\n")
    with pytest.raises(ConfigError, match="list of texts") as told:
        load(str(path), {})
    assert PASSWORD not in str(told.value)
