from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocrd.host.anchors import Anchors, anchored, opened


@pytest.fixture(params=["one step", "step by step"], autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has openat2, and an older one."""
    if request.param == "step by step":
        monkeypatch.setattr("ocrd.host.anchors._openat2", lambda: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An inbox that its owner reaches by a link, with a folder in it and one outside."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "inbox").symlink_to(tmp_path / "real")
    return tmp_path / "inbox"


def bytes_of(*parts: str | Path) -> bytes:
    return os.fsencode(os.path.join(*parts))


def test_a_file_is_reached_below_a_root_that_may_be_a_link(root: Path) -> None:
    (root / "sub" / "a").write_text("text")
    with anchored(bytes_of(root), bytes_of(root, "sub", "a")) as here, open(here) as file:
        assert file.read() == "text"
    with anchored(bytes_of(root), bytes_of(root, "b")) as here:
        assert not os.path.lexists(here)


@pytest.mark.parametrize("target", ["outside", "real", "nowhere"])
def test_no_link_below_the_root_is_followed_wherever_it_leads(root: Path, target: str) -> None:
    (root / "link").symlink_to(root.parent / target)
    anchors = Anchors((bytes_of(root),))
    for path in (bytes_of(root, "link", "a"), bytes_of(root, "link", "sub", "a")):
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"), anchors.at(path):
            pass
        assert anchors.stat_regular(path) is None
        assert not anchors.lexists(path)
    assert not anchors.is_folder(bytes_of(root, "link"))


def test_what_is_opened_stays_so_when_another_folder_takes_its_place(root: Path) -> None:
    (root / "sub" / "a").write_text("inside")
    (root.parent / "outside" / "a").write_text("outside")
    with anchored(bytes_of(root), bytes_of(root, "sub", "a")) as here:
        (root / "sub").rename(root / "renamed")
        (root / "sub").symlink_to(root.parent / "outside")
        assert Path(os.fsdecode(here)).read_text() == "inside"


def test_a_path_below_no_root_may_have_no_link_at_all(root: Path) -> None:
    (root / "a").write_text("text")
    anchors = Anchors((b"/elsewhere", bytes_of(root, "sub")))
    assert anchors.stat_regular(bytes_of(root, "a")) is None
    assert anchors.stat_regular(bytes_of(root.parent, "real", "a")) is not None


def test_the_innermost_root_counts() -> None:
    anchors = Anchors((b"/in", b"/in/deep/", b"/in/de"))
    assert anchors.root_of(b"/in/deep/a") == b"/in/deep/"
    assert anchors.root_of(b"/in/deeper/a") == b"/in"
    assert anchors.root_of(b"/inn/a") == b"/"


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with anchored(bytes_of(root), bytes_of(root, "sub", "a")):
        pass
    for names in ([b"sub", b"gone"], [b"gone"]):
        with pytest.raises(FileNotFoundError), opened(bytes_of(root), names):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
