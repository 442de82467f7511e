from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.host import faults, files, renaming


@pytest.fixture
def folder(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path)


def put(folder: bytes, name: bytes, content: bytes = b"content") -> bytes:
    path = os.path.join(folder, name)
    Path(os.fsdecode(path)).write_bytes(content)
    return path


def content_of(path: bytes) -> bytes:
    return Path(os.fsdecode(path)).read_bytes()


# --- identity and reading ----------------------------------------------------------------------------------


def test_a_file_is_the_same_until_it_is_written_or_replaced(folder: bytes) -> None:
    path = put(folder, b"scan.pdf", b"first")
    before = files.stat_regular(path)
    assert before == files.stat_regular(path)
    os.utime(path, ns=(0, 1))
    touched = files.stat_regular(path)
    assert touched != before
    os.replace(put(folder, b"other", b"first"), path)
    os.utime(path, ns=(0, 1))
    assert files.stat_regular(path) != touched


def test_only_a_regular_file_has_an_identity(folder: bytes) -> None:
    target = put(folder, b"target")
    os.symlink(target, os.path.join(folder, b"link"))
    os.mkfifo(os.path.join(folder, b"fifo"))
    for name in (b"link", b"fifo", b".", b"missing"):
        assert files.stat_regular(os.path.join(folder, name)) is None


def test_a_symbolic_link_is_not_opened(folder: bytes) -> None:
    link = os.path.join(folder, b"link")
    os.symlink(put(folder, b"target"), link)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), files.open_regular(link):
        pass
    assert files.sha256_at(link) is None


@pytest.mark.timeout(10)
def test_a_fifo_without_a_writer_neither_blocks_nor_opens(folder: bytes) -> None:
    fifo = os.path.join(folder, b"fifo")
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="not a regular file"), files.open_regular(fifo):
        pass


def test_a_folder_is_not_opened_as_a_file(folder: bytes) -> None:
    with pytest.raises(OSError, match="not a regular file"), files.open_regular(folder):
        pass


def test_a_refused_file_leaves_no_descriptor_open(folder: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="not a regular file"), files.open_regular(folder):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_checksum_is_of_the_whole_file_wherever_the_descriptor_stands(folder: bytes) -> None:
    content = os.urandom((1 << 20) + 17)
    path = put(folder, b"big", content)
    with files.open_regular(path) as fd:
        os.lseek(fd, 100, os.SEEK_SET)
        assert files.sha256_of(fd) == hashlib.sha256(content).hexdigest()
    assert files.sha256_at(path) == hashlib.sha256(content).hexdigest()


# --- names for people --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"plain name.pdf", "plain name.pdf"),
        ("папка/счёт.png".encode(), "папка/счёт.png"),
        ("счёт".encode(), "счёт"),
        (b"\xff\xfe.pdf", "\\xff\\xfe.pdf"),
        (b"two\nlines\t\x1b[31m", "two\\nlines\\t\\x1b[31m"),
        ("abc\u202efdp.exe".encode(), "abc\\u202efdp.exe"),
        ("\u2066x\u2069".encode(), "\\u2066x\\u2069"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_a_name_is_shown_so_that_it_can_harm_no_terminal(path: bytes, shown: str) -> None:
    assert files.display_name(path) == shown


@given(st.binary(max_size=60))
def test_any_name_at_all_can_be_shown_and_stored(path: bytes) -> None:
    shown = files.display_name(path)
    assert shown.isprintable()
    assert shown.encode("utf-8").decode("utf-8") == shown


# --- locks -------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from ocrd.host import faults, files, renaming
assert files.try_lock(sys.argv[1]) is not None
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_once_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = files.try_lock(path)
    assert first is not None
    assert files.try_lock(path) is None
    assert files.is_locked(path)
    os.close(first)
    assert not files.is_locked(path)
    again = files.try_lock(path)
    assert again is not None
    os.close(again)


def test_asking_for_a_lock_makes_no_file(tmp_path: Path) -> None:
    assert not files.is_locked(str(tmp_path / "lock"))
    assert not (tmp_path / "lock").exists()


def test_a_lock_file_is_for_its_user_alone(tmp_path: Path) -> None:
    fd = files.try_lock(str(tmp_path / "lock"))
    assert fd is not None
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)


def test_a_failed_try_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    held = files.try_lock(path)
    assert held is not None
    before = len(os.listdir("/proc/self/fd"))
    assert files.try_lock(path) is None
    assert files.is_locked(path)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(held)


def test_a_killed_process_frees_its_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert files.is_locked(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    assert not files.is_locked(path)


def test_a_folder_is_locked_without_leaving_anything_in_it(folder: bytes) -> None:
    first = files.try_lock_folder(folder)
    assert first is not None
    assert files.try_lock_folder(folder + b"/.") is None
    assert os.listdir(folder) == []
    os.close(first)


def test_a_lock_follows_the_folder_that_stands_at_a_path(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    path = os.fsencode(inbox)
    with contextlib.closing(files.FolderLocks()) as locks:
        assert locks.take(path)
        assert locks.take(path)
        assert files.try_lock_folder(path) is None
        inbox.rename(tmp_path / "away")
        with pytest.raises(FileNotFoundError):
            locks.take(path)
        inbox.mkdir()
        other = files.try_lock_folder(path)
        assert other is not None
        assert not locks.take(path), "somebody was quicker at the new folder"
        os.close(other)
        assert locks.take(path)
        with contextlib.closing(files.FolderLocks()) as second:
            assert second.take(path + b"/../away"), "nobody holds what stood there before"
            assert not second.take(path)
            locks.release(path)
            assert second.take(path)
            locks.release(path)  # twice is no harm
    assert locks.take(path)
    locks.close()


# --- drafts ------------------------------------------------------------------------------------------------


def test_a_draft_takes_the_place_of_one_that_was_left_behind(folder: bytes) -> None:
    path = put(folder, b".draft", b"left by a killed daemon")
    os.close(files.create_draft(path))
    assert content_of(path) == b""
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_draft_never_writes_through_a_link_that_stands_there(folder: bytes) -> None:
    precious = put(folder, b"precious")
    draft = os.path.join(folder, b".draft")
    os.symlink(precious, draft)
    fd = files.create_draft(draft)
    os.write(fd, b"new")
    os.close(fd)
    assert content_of(precious) == b"content"
    assert not os.path.islink(draft)


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o755, 0o644), (0o2775, 0o664), (0o700, 0o600)])
def test_an_output_may_be_read_by_whoever_may_read_its_folder(
    folder: bytes, folder_mode: int, file_mode: int
) -> None:
    os.chmod(folder, folder_mode)
    fd = files.create_draft(os.path.join(folder, b".draft"))
    files.dress_like_folder(fd, folder)
    status = os.fstat(fd)
    os.close(fd)
    assert stat.S_IMODE(status.st_mode) == file_mode
    assert status.st_gid == os.stat(folder).st_gid


# --- publishing --------------------------------------------------------------------------------------------


def test_a_published_file_has_its_name_and_the_draft_is_gone(folder: bytes) -> None:
    draft, target = put(folder, b".draft", b"text"), os.path.join(folder, b"scan.pdf.txt")
    files.publish_new(draft, target)
    files.sync_folder(folder)
    assert content_of(target) == b"text"
    assert os.listdir(folder) == [b"scan.pdf.txt"]
    assert os.stat(target).st_nlink == 1


def test_a_file_that_is_there_already_is_never_overwritten(folder: bytes) -> None:
    draft, target = put(folder, b".draft", b"text"), put(folder, b"scan.pdf.txt", b"the user's")
    with pytest.raises(FileExistsError):
        files.publish_new(draft, target)
    assert content_of(target) == b"the user's"
    assert content_of(draft) == b"text"


def test_not_even_a_dangling_link_is_overwritten(folder: bytes) -> None:
    draft, target = put(folder, b".draft"), os.path.join(folder, b"scan.pdf.txt")
    os.symlink(b"nowhere", target)
    with pytest.raises(FileExistsError):
        files.publish_new(draft, target)
    assert os.readlink(target) == b"nowhere"


def test_of_two_that_publish_at_once_exactly_one_gets_the_name(folder: bytes) -> None:
    start = Barrier(2)

    def publish(draft: bytes, target: bytes) -> bool:
        start.wait(10)
        try:
            files.publish_new(draft, target)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            target = os.path.join(folder, b"target-%d" % number)
            drafts = [put(folder, b".draft-%d" % who, b"%d" % who) for who in range(2)]
            won = list(pool.map(publish, drafts, [target, target]))
            assert sorted(won) == [False, True]
            assert content_of(target) == b"%d" % won.index(True)


def test_what_cannot_be_linked_is_renamed_but_never_over_a_file(folder: bytes) -> None:
    # No file system without hard links can be mounted here; a folder as the draft cannot be linked either.
    draft, target = os.path.join(folder, b".draft"), os.path.join(folder, b"target")
    os.mkdir(draft)
    files.publish_new(draft, target)
    assert os.listdir(folder) == [b"target"]
    os.mkdir(draft)
    with pytest.raises(FileExistsError):
        files.publish_new(draft, target)
    assert sorted(os.listdir(folder)) == [b".draft", b"target"]


def test_publishing_over_replaces_the_whole_file_at_once(folder: bytes) -> None:
    draft, target = put(folder, b".draft", b"new"), put(folder, b"target", b"old and longer")
    files.publish_over(draft, target)
    assert content_of(target) == b"new"
    assert os.listdir(folder) == [b"target"]


@pytest.fixture(params=["renameat2", "without"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that can rename without replacing, and exchange; and one that cannot, as FAT and most of networks."""
    if request.param == "without":
        monkeypatch.setattr(renaming, "_renameat2", lambda: None)
    return str(request.param)


def at_point(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Somebody else does something at this very moment."""
    monkeypatch.setattr(faults, "point", lambda passed: act() if passed == name else None)


def save(path: bytes, content: bytes) -> None:
    """As an editor does it: beside, then over."""
    new = put(os.path.dirname(path), b".editor", content)
    os.replace(new, path)


def test_only_the_file_that_was_looked_at_is_replaced(
    folder: bytes, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, target = put(folder, b".draft", b"new"), put(folder, b"target", b"old")
    standing = hashlib.sha256(b"old").hexdigest()
    assert files.publish_over(draft, target, standing=standing)
    assert (content_of(target), os.listdir(folder)) == (b"new", [b"target"])
    draft = put(folder, b".draft", b"newer")
    assert not files.publish_over(draft, target, standing=standing)
    os.unlink(target)
    assert not files.publish_over(draft, target, standing=standing)
    assert os.listdir(folder) == [b".draft"]


def test_a_file_that_is_saved_while_it_is_replaced_is_not_lost(
    folder: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, target = put(folder, b".draft", b"new"), put(folder, b"target", b"old")
    at_point(monkeypatch, "file.exchange", lambda: save(target, b"corrected by hand"))
    assert not files.publish_over(draft, target, standing=hashlib.sha256(b"old").hexdigest())
    assert content_of(target) == b"corrected by hand"
    assert content_of(draft) == b"new"


@pytest.mark.parametrize("point", ["file.aside", "file.put_aside"])
def test_a_file_that_is_saved_while_it_is_removed_is_not_lost(
    folder: bytes, kernel: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, aside = put(folder, b"file", b"old"), os.path.join(folder, b".aside")

    def is_known(path: bytes) -> bool:
        return files.sha256_at(path) == hashlib.sha256(b"old").hexdigest()

    at_point(monkeypatch, point, lambda: save(path, b"saved"))
    assert files.remove_known(path, aside, is_known) is (point == "file.put_aside")
    assert content_of(path) == b"saved"
    assert os.listdir(folder) == [b"file"]
    save(path, b"old")
    monkeypatch.undo()
    assert files.remove_known(path, aside, is_known)
    assert not files.remove_known(path, aside, is_known)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_in_trouble_is_not_taken_for_one_without_links(
    folder: bytes, trouble: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, target = put(folder, b".draft"), os.path.join(folder, b"target")
    monkeypatch.setattr(os, "link", refusing(trouble))
    with pytest.raises(OSError, match=os.strerror(trouble)):
        files.publish_new(draft, target)
    assert os.listdir(folder) == [b".draft"]


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES])
def test_where_there_are_no_links_a_file_that_appears_in_this_moment_is_not_replaced(
    folder: bytes, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, target = put(folder, b".draft", b"ours"), os.path.join(folder, b"target")

    put(folder, b"target", b"theirs")
    monkeypatch.setattr(os, "link", refusing(refusal))
    monkeypatch.setattr(os.path, "lexists", lambda path: False)  # as a look too early would say
    with pytest.raises(FileExistsError):
        files.publish_new(draft, target)
    monkeypatch.undo()
    assert content_of(target) == b"theirs"


def refusing(code: int) -> Callable[..., None]:
    def link(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return link


def test_removing_says_whether_there_was_something(folder: bytes) -> None:
    path = put(folder, b"file")
    assert files.remove_if_there(path)
    assert not files.remove_if_there(path)


@given(whole=st.binary(min_size=1, max_size=50), data=st.data())
def test_the_beginning_of_a_file_is_known_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    folder = os.fsencode(tmp_path_factory.mktemp("beginning"))
    part = data.draw(st.one_of(st.integers(0, 50).map(lambda size: whole[:size]), st.binary(max_size=50)))
    entire, begun = put(folder, b"whole", whole), put(folder, b"part", part)
    assert files.is_beginning_of(begun, entire) == (len(part) < len(whole) and whole.startswith(part))


def test_what_cannot_be_read_is_the_beginning_of_nothing(folder: bytes) -> None:
    whole = put(folder, b"whole")
    os.symlink(whole, os.path.join(folder, b"link"))
    for name in (b"nothing", b"link", b"."):
        assert not files.is_beginning_of(os.path.join(folder, name), whole)
    assert not files.is_beginning_of(whole, os.path.join(folder, b"nothing"))


def test_a_folder_that_is_gone_needs_no_sync(folder: bytes) -> None:
    files.sync_folder(folder)
    files.sync_folder(os.path.join(folder, b"gone"))
    assert os.listdir(folder) == []


def test_a_file_system_that_tells_no_sizes_is_not_full(tmp_path: Path) -> None:
    assert files.free_mib("/proc") is None
    assert files.free_mib(str(tmp_path)) is not None
