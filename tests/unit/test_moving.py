from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain import moving as rules
from ocrd.domain.errors import ConfigError, ReasonCode, SourceChanged
from ocrd.domain.jobs import DocumentState
from ocrd.domain.moving import AfterRules, Step
from ocrd.host import faults, files, moving
from ocrd.host.anchors import Anchors
from ocrd.settings import Settings

# --- where to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "folder"), [("keep", None), ("move:done", "done"), ("move:/srv/old scans", "/srv/old scans")]
)
def test_a_rule_is_read_as_it_is_written(value: str, folder: str | None) -> None:
    assert rules.parse_rule(value) == folder


@pytest.mark.parametrize("value", ["", "move", "move:", "move: ", "move:/", "move:.", "move:../x", "delete"])
def test_any_other_rule_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="neither"):
        rules.parse_rule(value)
    with pytest.raises(ConfigError, match=r"a\.toml: after\.done: .* is neither .*keep.* nor .*move:DIR"):
        Settings().with_value("after", "done", value, "a.toml")


def test_only_what_is_wholly_done_moves_as_done() -> None:
    after = AfterRules(done="d", failed="f")
    wanted = {
        DocumentState.DONE: "d",
        DocumentState.FAILED: "f",
        DocumentState.REJECTED: "f",
    }
    assert {state: after.folder_for(state) for state in DocumentState} == {
        state: wanted.get(state) for state in DocumentState
    }
    assert after.folder_for(DocumentState.DONE, ReasonCode.OUTPUT_EXISTS) is None
    assert all(AfterRules().folder_for(state) is None for state in DocumentState)


@pytest.mark.parametrize(
    ("path", "folder", "wanted"),
    [
        (b"/in/a.pdf", b"done", b"/in/done/a.pdf"),
        (b"/in/x/y/a.pdf", b"done", b"/in/done/x/y/a.pdf"),
        (b"/in/x/a.pdf", b"/old", b"/old/x/a.pdf"),
        (b"/in/done/a.pdf", b"done", None),
        (b"/in/done2/a.pdf", b"done", b"/in/done/done2/a.pdf"),
        (b"/elsewhere/a.pdf", b"done", None),
    ],
)
def test_the_subfolder_is_kept(path: bytes, folder: bytes, wanted: bytes | None) -> None:
    assert rules.destination(path, b"/in", folder) == wanted


def test_numbered_names_keep_their_extension() -> None:
    assert list(itertools.islice(rules.names(b"/a.b/scan.pdf"), 3)) == [
        b"/a.b/scan.pdf",
        b"/a.b/scan (2).pdf",
        b"/a.b/scan (3).pdf",
    ]


@given(at_source=st.booleans(), at_target=st.booleans(), same=st.booleans())
def test_the_old_name_goes_only_where_the_new_one_holds_the_same(
    at_source: bool, at_target: bool, same: bool
) -> None:
    step = rules.next_step(at_source=at_source, at_target=at_target, same=same)
    assert (step is Step.FINISH) == (at_source and at_target and same)
    assert (step is Step.MOVE) == (at_source and not at_target)


# --- moving a file -------------------------------------------------------------------------------------------

CONTENT = b"a scan" * 1000
OTHER_DISK = Path("/dev/shm")


class Place:
    """A file, and where it is to go."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.source = os.fsencode(folder / "scan.pdf")
        self.target = os.fsencode(target / "scan.pdf")
        self.draft = os.fsencode(target / ".ocrd-1-move.tmp")
        self.aside = os.fsencode(folder / ".ocrd-1-aside.tmp")
        self.write(self.source, CONTENT)
        os.utime(self.source, ns=(1_600_000_000_123_456_789,) * 2)

    def write(self, path: bytes, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content)

    def move(self) -> None:
        known = files.stat_regular(self.source)
        assert known is not None
        moving.move_new(self.source, self.target, draft=self.draft, aside=self.aside, known=known)

    @property
    def standing(self) -> dict[bytes, bytes]:
        """What stands at each of the four places."""
        found = {}
        for path in (self.source, self.target, self.draft, self.aside):
            if os.path.lexists(path):
                with open(path, "rb") as file:
                    found[path] = file.read()
        return found


@pytest.fixture(params=["same disk", "another disk", "no hard links"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    source, target = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    if request.param == "another disk":
        if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip(f"{OTHER_DISK} is no other disk here; it is one on any usual Linux")
        target = OTHER_DISK / f"ocrd-test-{os.getpid()}-{tmp_path.name}"
    if request.param == "no hard links":  # what FAT says

        def link(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    target.mkdir()
    yield Place(source, target)
    shutil.rmtree(target)


def test_a_moved_file_is_the_same_with_its_time(place: Place) -> None:
    place.move()
    assert place.standing == {place.target: CONTENT}
    assert os.stat(place.target).st_mtime_ns == 1_600_000_000_123_456_789


def test_no_file_is_moved_over_another(place: Place) -> None:
    place.write(place.target, b"somebody's")
    with pytest.raises(FileExistsError):
        place.move()
    assert place.standing == {place.source: CONTENT, place.target: b"somebody's"}


def test_a_file_that_changed_stays(place: Place) -> None:
    known = files.stat_regular(place.source)
    assert known is not None
    place.write(place.source, b"changed")
    with pytest.raises(SourceChanged):
        moving.move_new(place.source, place.target, draft=place.draft, aside=place.aside, known=known)
    assert place.standing == {place.source: b"changed"}


POINTS = ("move.name", "move.copied", "move.named", "move.unlink", "move.unlinked", "folder.sync")


@pytest.mark.parametrize("point", POINTS)
def test_whatever_fails_wherever_the_file_stands_somewhere(
    place: Place, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = faults.Points(faults.parse(f"{point}:eio"))
    monkeypatch.setattr(faults, "point", fault.come_by)
    with contextlib.suppress(OSError):
        place.move()
    monkeypatch.undo()
    standing = place.standing
    assert place.draft not in standing
    assert standing
    assert set(standing.values()) == {CONTENT}
    if place.source in standing and place.target in standing:
        known = files.stat_regular(place.source)
        assert known is not None
        assert moving.holds_same(place.source, place.target)
        moving.finish(place.source, place.target, aside=place.aside, known=known)
        assert place.standing == {place.target: CONTENT}


def test_a_file_that_is_changed_while_it_is_moved_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(name: str) -> None:
        if name == "move.named" and os.path.lexists(place.source):
            place.write(place.source, b"changed in this moment")

    monkeypatch.setattr(faults, "point", meddle)
    try:
        place.move()
    except SourceChanged:
        assert place.standing == {place.source: b"changed in this moment"}
    else:
        assert place.standing == {place.target: CONTENT}  # it was renamed before anybody could


def test_a_file_that_may_not_be_taken_away_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        if name == "move.unlink" and os.path.lexists(place.source):
            monkeypatch.setattr(files, "remove_if_there", remove)

    def remove(path: bytes) -> bool:
        if path == place.aside:
            raise PermissionError(13, "Permission denied")
        os.unlink(path)
        return True

    monkeypatch.setattr(faults, "point", refuse)
    try:
        place.move()
    except PermissionError:
        assert place.standing == {place.source: CONTENT}
    else:
        assert place.standing == {place.target: CONTENT}


def test_a_version_that_is_saved_in_the_last_moment_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(name: str) -> None:
        if name == "file.aside":
            place.write(place.source + b".new", b"a new version")
            os.rename(place.source + b".new", place.source)

    monkeypatch.setattr(faults, "point", save)
    try:
        place.move()
    except SourceChanged:
        assert place.standing == {place.source: b"a new version"}
    else:
        assert place.standing == {place.target: CONTENT}  # it was renamed before anybody could


def test_a_file_that_its_owner_put_at_the_new_place_stays_when_the_old_one_does(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(place.target, CONTENT)
    known = files.stat_regular(place.source)
    assert known is not None

    def refuse(path: bytes) -> bool:
        raise PermissionError(13, f"Permission denied: {path!r}")

    monkeypatch.setattr(files, "remove_if_there", refuse)
    with pytest.raises(PermissionError):
        moving.finish(place.source, place.target, aside=place.aside, known=known)
    assert place.standing == {place.source: CONTENT, place.target: CONTENT}


def test_what_a_kill_left_aside_gets_its_name_back_unless_it_has_arrived(place: Place) -> None:
    os.rename(place.source, place.aside)
    moving.put_back(place.aside, place.source, place.target)
    assert place.standing == {place.source: CONTENT}
    os.rename(place.source, place.aside)
    place.write(place.target, CONTENT)
    moving.put_back(place.aside, place.source, place.target)
    assert place.standing == {place.target: CONTENT}
    place.write(place.aside, b"one version")
    place.write(place.source, b"another")
    with pytest.raises(FileExistsError):
        moving.put_back(place.aside, place.source, place.target)
    assert place.standing[place.aside] == b"one version"


def test_no_old_name_goes_before_the_new_one_is_durable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What power loss would leave follows from the order."""
    order: list[str] = []
    known = files.stat_regular(place.source)
    assert known is not None
    monkeypatch.setattr(faults, "point", order.append)
    place.move()
    named = order.index("move.named")
    if "move.unlink" in order:
        assert order[named:] == [
            "move.named",
            *("folder.sync", "folder.synced", "move.unlink", "file.aside", "file.put_aside"),
            *("move.unlinked", "folder.sync", "folder.synced"),
        ]
        if "move.copied" in order:
            assert order.index("file.synced") < order.index("move.copied") < named
    else:  # renamed
        assert order[named:] == ["move.named", *("folder.sync", "folder.synced") * 2]


def test_what_is_finished_after_a_kill_is_made_durable_before_the_old_name_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(place.target, CONTENT)
    known = files.stat_regular(place.source)
    assert known is not None
    order: list[str] = []
    monkeypatch.setattr(faults, "point", order.append)
    moving.finish(place.source, place.target, aside=place.aside, known=known)
    assert order[:5] == ["file.sync", "file.synced", "folder.sync", "folder.synced", "move.unlink"]
    assert order[-3:] == ["move.unlinked", "folder.sync", "folder.synced"]
    assert place.standing == {place.target: CONTENT}


def test_a_folder_is_not_made_past_a_link(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "inbox" / "done").symlink_to(tmp_path / "outside")
    below = os.fsencode(tmp_path / "inbox")
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        moving.make_folders(os.path.join(below, b"done", b"sub"), below=below, anchors=Anchors((below,)))
    assert os.listdir(tmp_path / "outside") == []


def test_new_folders_are_as_open_as_those_above(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    before = os.umask(0o077)
    try:
        moving.make_folders(os.fsencode(tmp_path / "a" / "b"), below=os.fsencode(tmp_path), anchors=Anchors())
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o7777 for name in ("a", "a/b")} == {0o2770}


def test_nothing_is_put_where_a_drive_is_not_mounted(tmp_path: Path) -> None:
    base = tmp_path / "drive"
    with pytest.raises(FileNotFoundError):
        moving.make_folders(os.fsencode(base / "a"), below=os.fsencode(base), anchors=Anchors())
    assert not base.exists()
