from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.running import wait_until
from support.users import unprivileged

from ocrd.domain.documents import FileIdentity
from ocrd.pipeline import inbox, writer
from ocrd.pipeline.inbox import DEFAULT_IGNORES, Hints, Patterns, Tracker, list_files, next_scan_in

PATTERNS = Patterns(DEFAULT_IGNORES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(listing: inbox.Listing, root: Path) -> set[str]:
    return {os.path.relpath(os.fsdecode(path), root) for path in listing.files}


def listed(root: Path, *, recursive: bool = True) -> inbox.Listing:
    return list_files(os.fsencode(root), PATTERNS, recursive=recursive)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "scan.pdf",
        "SCAN.PDF",
        "счёт.png",
        "two words.jpeg",
        "no extension",
        "part.pdf",
        "tmp.pdf",
        "lock",
        "a~b.pdf",
        "~report.pdf",
        "scan.tmp.pdf",
        "thumbs.db.png",
        "new\nline.pdf",
    ],
)
def test_a_name_as_people_give_them_is_taken(name: str) -> None:
    assert not PATTERNS.match(os.fsencode(name))


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.pdf",
        ".goutputstream-AB12",
        ".~lock.report.odt#",
        ".nfs000000000001",
        "~$report.docx",
        "~wrl0001.tmp",
        "scan.pdf.part",
        "scan.pdf.PART",
        "scan.pdf.partial",
        "scan.pdf.crdownload",
        "scan.pdf.download",
        "scan.pdf.filepart",
        "scan.pdf.tmp",
        "scan.pdf.temp",
        "scan.pdf.swp",
        "scan.pdf.opdownload",
        "scan.pdf.!ut",
        "scan.pdf.aria2",
        "scan.lock",
        "Thumbs.db",
        "THUMBS.DB",
        "Desktop.ini",
        "ehthumbs.db",
        "@eaDir",
        "#recycle",
        "__MACOSX",
        "$RECYCLE.BIN",
        "$recycle.bin",
        "System Volume Information",
        "lost+found",
        "scan.pdf.ocrd-error.txt",
        "SCAN.PDF.OCRD-ERROR.TXT",
        "scan.sync-conflict-20260301-120000-ABC.pdf",
        "~syncthing~scan.pdf.tmp",
        "new\nline.part",
    ],
)
def test_a_name_of_something_unfinished_or_foreign_is_passed_over(name: str) -> None:
    assert PATTERNS.match(os.fsencode(name))


def test_our_own_drafts_probes_and_error_files_are_no_inputs() -> None:
    draft = writer.draft_path(b"/inbox/scan.pdf", 7, "txt")
    error = writer.target_of(b"/inbox/scan.pdf", writer.ERROR_FORMAT)
    for path in (draft, error, b"/inbox/" + inbox.OWN_MARK + b"probe-1", b"/inbox/.ocrd-doctor-1-2"):
        assert PATTERNS.match(os.path.basename(path))


def test_patterns_of_the_user_match_whatever_the_case() -> None:
    patterns = Patterns(("*.BAK", "Privat?", "[ab].pdf"))
    assert all(patterns.match(name) for name in (b"x.bak", b"X.Bak", b"private", b"A.PDF"))
    assert not any(patterns.match(name) for name in (b"bak", b"privates", b"c.pdf"))


def test_without_patterns_every_name_is_taken() -> None:
    assert not Patterns(()).match(b"")
    assert not Patterns(()).match(b".hidden")


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_at_all_can_be_a_name(name: bytes) -> None:
    assert PATTERNS.match(name) in {True, False}
    assert PATTERNS.match(b"." + name)
    assert PATTERNS.match(name + b".part")


# --- one scan ----------------------------------------------------------------------------------------------


def test_files_are_found_at_any_depth(root: Path) -> None:
    put(root / "a.pdf"), put(root / "b" / "c" / "d.png")
    assert names(listed(root), root) == {"a.pdf", "b/c/d.png"}


def test_without_recursion_only_the_inbox_itself_is_looked_into(root: Path) -> None:
    put(root / "a.pdf"), put(root / "b" / "c.pdf")
    assert names(listed(root, recursive=False), root) == {"a.pdf"}


def test_a_listed_file_comes_with_its_identity(root: Path) -> None:
    status = put(root / "a.pdf", b"12345").stat()
    (identity,) = listed(root).files.values()
    assert identity == FileIdentity(status.st_dev, status.st_ino, 5, status.st_mtime_ns)


def test_a_name_that_is_no_utf8_is_listed_by_its_bytes(root: Path) -> None:
    path = os.path.join(os.fsencode(root), b"\xff\xfe \xe9t\xe9.pdf")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    assert list(listed(root).files) == [path]


def test_an_ignored_folder_is_not_entered(root: Path) -> None:
    put(root / "@eaDir" / "scan.pdf"), put(root / ".git" / "scan.pdf")
    listing = listed(root)
    assert not listing.files
    assert listing.skipped == {"ignored": 2}


def test_the_name_of_the_inbox_itself_is_not_asked(tmp_path: Path) -> None:
    root = tmp_path / ".hidden.tmp"
    put(root / "a.pdf")
    assert names(listed(root), root) == {"a.pdf"}


def test_links_are_not_followed_wherever_they_lead(root: Path, tmp_path: Path) -> None:
    inside, outside = put(root / "a.pdf"), put(tmp_path / "outside" / "secret.pdf")
    (root / "to a file.pdf").symlink_to(inside)
    (root / "out.pdf").symlink_to(outside)
    (root / "out").symlink_to(outside.parent)
    (root / "loop").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "dangling.pdf").symlink_to(root / "nowhere")
    listing = listed(root)
    assert names(listing, root) == {"a.pdf"}
    assert listing.skipped == {"link": 6}
    assert listing.complete


@pytest.mark.timeout(10)
def test_fifos_and_sockets_are_counted_and_not_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo.pdf")
    monkeypatch.chdir(root)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.pdf")
        listing = listed(root)
    assert not listing.files
    assert listing.skipped == {"not_a_file": 2}


def test_an_inbox_that_is_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    put(root / "a.pdf")
    (tmp_path / "link").symlink_to(root)
    assert names(listed(tmp_path / "link"), tmp_path / "link") == {"a.pdf"}


def test_a_folder_that_may_not_be_read_costs_only_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "a.pdf"), put(root / "closed" / "b.pdf")
    (root / "closed").chmod(0)
    monkeypatch.chdir(root)  # the folders above it are nobody's business
    root.chmod(0o755)
    with unprivileged():
        listing = list_files(b".", PATTERNS, recursive=True)
    (root / "closed").chmod(0o700)
    assert list(listing.files) == [b"./a.pdf"]
    assert listing.skipped == {"unreadable_folder": 1}
    assert listing.complete


def test_of_a_root_that_is_gone_nothing_is_concluded(root: Path) -> None:
    root.rmdir()
    listing = listed(root)
    assert not listing.complete
    assert listing.skipped == {"unreadable_folder": 1}


def test_a_root_that_became_a_file_is_not_complete_either(root: Path) -> None:
    root.rmdir()
    put(root)
    assert not listed(root).complete


@pytest.mark.parametrize(("broken", "complete"), [(b"inbox", False), (b"sub", True)])
def test_a_listing_that_breaks_off_ends_no_scan(
    root: Path, monkeypatch: pytest.MonkeyPatch, broken: bytes, complete: bool
) -> None:
    # What a share does that is unplugged while it is listed; a local disk never does.
    put(root / "sub" / "a.pdf")
    scandir = os.scandir

    @contextlib.contextmanager
    def breaking_off(fd: int) -> Iterator[Iterator[os.DirEntry[str]]]:
        with scandir(fd) as entries:
            path = os.fsencode(os.readlink(f"/proc/self/fd/{fd}"))
            yield fail_after(entries) if path.endswith(broken) else entries

    def fail_after(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        yield next(entries)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "scandir", breaking_off)
    listing = listed(root)
    assert names(listing, root) == {"sub/a.pdf"}
    assert listing.skipped == {"unreadable_folder": 1}
    assert listing.complete is complete


def test_an_output_beside_its_input_is_no_input_and_the_same_name_alone_is_one(root: Path) -> None:
    for name in ("a.pdf", "a.pdf.txt", "a.pdf.md", "b.pdf.txt", "c.md"):
        put(root / name)
    listing = list_files(os.fsencode(root), PATTERNS, recursive=True, outputs=writer.SUFFIXES)
    assert names(listing, root) == {"a.pdf", "b.pdf.txt", "c.md"}


def test_an_output_belongs_to_a_file_in_the_same_folder_and_to_nothing_else(root: Path) -> None:
    for name in ("folder/a.pdf", "a.pdf.txt", "b.pdf.txt", "b.pdf.txt.md", ".hidden.pdf", ".hidden.pdf.txt"):
        put(root / name)
    (root / "c.pdf").mkdir()
    put(root / "c.pdf.txt"), put(root / "part.pdf.part.txt"), put(root / "part.pdf.part")
    (root / "d.pdf").symlink_to("folder/a.pdf")
    put(root / "d.pdf.txt")
    (root / "e.pdf.txt").symlink_to("a.pdf.txt")
    listing = list_files(os.fsencode(root), PATTERNS, recursive=True, outputs=writer.SUFFIXES)
    alone = {"a.pdf.txt", "b.pdf.txt", "c.pdf.txt", "part.pdf.part.txt", "d.pdf.txt"}
    assert names(listing, root) == {"folder/a.pdf", *alone}
    assert listing.skipped == {"link": 2, "ignored": 3}


def test_finished_files_cost_one_call_each_whatever_lies_beside_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        put(root / f"{number}.pdf"), put(root / f"{number}.pdf.txt"), put(root / f"{number}.pdf.md")
    asked = []
    lstat = os.lstat

    def count(name: bytes, *, dir_fd: int | None = None) -> os.stat_result:
        asked.append(name)
        return lstat(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "lstat", count)
    listing = list_files(os.fsencode(root), PATTERNS, recursive=True, outputs=writer.SUFFIXES)
    assert len(asked) == len(listing.files) == 20


# --- when a file is complete -------------------------------------------------------------------------------

PATH = b"/inbox/a.pdf"
HOUR = 3600.0


def identity(size: int = 10, mtime: float = 1000.0, inode: int = 1) -> FileIdentity:
    return FileIdentity(1, inode, size, int(mtime * 1e9))


def test_a_file_is_complete_after_the_quiet_time_and_not_before() -> None:
    tracker = Tracker(quiet_s=5, trust_age=False)
    there = {PATH: identity()}
    assert [tracker.observe(there, now=now, wall=0.0) for now in (0.0, 4.9, 5.0)] == [[], [], [PATH]]


def test_one_scan_is_never_enough_without_trust_in_ages() -> None:
    tracker = Tracker(quiet_s=0, trust_age=False)
    assert tracker.observe({PATH: identity()}, now=0.0, wall=0.0) == []
    assert tracker.observe({PATH: identity()}, now=0.0, wall=0.0) == [PATH]


@pytest.mark.parametrize(
    "changed",
    [identity(size=11), identity(mtime=1001), identity(mtime=999), identity(inode=2)],
    ids=["longer", "touched", "older", "replaced"],
)
def test_any_change_begins_the_quiet_time_anew(changed: FileIdentity) -> None:
    tracker = Tracker(quiet_s=5, trust_age=False)
    tracker.observe({PATH: identity()}, now=0.0, wall=0.0)
    assert tracker.observe({PATH: changed}, now=5.0, wall=0.0) == []
    assert tracker.observe({PATH: changed}, now=9.9, wall=0.0) == []
    assert tracker.observe({PATH: changed}, now=10.0, wall=0.0) == [PATH]


def test_complete_files_come_in_the_order_of_their_names() -> None:
    tracker = Tracker(quiet_s=0, trust_age=True)
    there = {name: identity() for name in (b"c", b"a", b"b")}
    assert tracker.observe(there, now=0.0, wall=2000.0) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("mtime", "ready"), [(-HOUR, True), (-5.0, True), (-4.0, False), (0.0, False), (HOUR, False)]
)
def test_with_trust_in_ages_only_a_file_that_is_old_enough_is_complete_at_once(
    mtime: float, ready: bool
) -> None:
    tracker = Tracker(quiet_s=5, trust_age=True)
    found = tracker.observe({PATH: identity(mtime=1e6 + mtime)}, now=0.0, wall=1e6)
    assert found == ([PATH] if ready else [])


def test_a_file_from_the_future_is_complete_after_the_quiet_time_all_the_same() -> None:
    tracker = Tracker(quiet_s=5, trust_age=True)
    there = {PATH: identity(mtime=1e6 + HOUR)}
    assert tracker.observe(there, now=0.0, wall=1e6) == []
    assert tracker.observe(there, now=5.0, wall=1e6 - HOUR) == [PATH]


def test_a_file_that_cannot_be_opened_yet_is_left_alone_until_its_time() -> None:
    tracker = Tracker(quiet_s=0, trust_age=True)
    there = {PATH: identity()}
    assert tracker.observe(there, now=0.0, wall=2000.0) == [PATH]
    tracker.defer(PATH, 10.0)
    assert tracker.observe(there, now=9.9, wall=2000.0) == []
    assert tracker.observe(there, now=10.0, wall=2000.0) == [PATH]


def test_a_change_ends_the_deferral() -> None:
    tracker = Tracker(quiet_s=1, trust_age=False)
    tracker.observe({PATH: identity()}, now=0.0, wall=0.0)
    tracker.defer(PATH, 100.0)
    assert tracker.observe({PATH: identity(size=11)}, now=2.0, wall=0.0) == []
    assert tracker.observe({PATH: identity(size=11)}, now=3.0, wall=0.0) == [PATH]


def test_a_file_that_was_taken_in_comes_again_only_when_it_changed() -> None:
    tracker = Tracker(quiet_s=0, trust_age=True)
    there = {PATH: identity()}
    tracker.remember(PATH, 10, identity().mtime_ns)
    assert tracker.observe(there, now=0.0, wall=2000.0) == []
    assert tracker.waiting == 0
    assert tracker.observe({PATH: identity(size=11)}, now=1.0, wall=2000.0) == [PATH]


def test_a_file_that_went_and_came_back_is_looked_at_again() -> None:
    tracker = Tracker(quiet_s=0, trust_age=True)
    tracker.remember(PATH, 10, identity().mtime_ns)
    tracker.drop_missing({})
    assert tracker.observe({PATH: identity()}, now=0.0, wall=2000.0) == [PATH]


def test_after_forgetting_a_file_has_to_stand_still_anew() -> None:
    tracker = Tracker(quiet_s=2, trust_age=False)
    taken, waiting = {b"/taken": identity()}, {PATH: identity()}
    tracker.remember(b"/taken", 10, identity().mtime_ns)
    tracker.observe(taken | waiting, now=0.0, wall=0.0)
    tracker.forget()
    assert tracker.waiting == 0
    assert tracker.observe(taken | waiting, now=2.0, wall=0.0) == []
    assert tracker.observe(taken | waiting, now=4.0, wall=0.0) == [PATH, b"/taken"]


def test_a_file_that_is_put_back_as_it_was_taken_in_is_not_waited_for() -> None:
    tracker = Tracker(quiet_s=5, trust_age=False)
    tracker.remember(PATH, 10, identity().mtime_ns)
    tracker.observe({PATH: identity(size=11)}, now=0.0, wall=0.0)
    assert tracker.waiting == 1
    assert tracker.observe({PATH: identity()}, now=1.0, wall=0.0) == []
    assert tracker.waiting == 0


def test_it_is_known_since_when_a_file_stands_as_it_is() -> None:
    tracker = Tracker(quiet_s=5, trust_age=False)
    assert tracker.first_seen(PATH) is None
    tracker.observe({PATH: identity()}, now=3.0, wall=0.0)
    tracker.observe({PATH: identity()}, now=4.0, wall=0.0)
    assert tracker.first_seen(PATH) == 3.0
    tracker.observe({}, now=5.0, wall=0.0)
    assert tracker.first_seen(PATH) is None


QUIET_S = 5.0
FILES = st.sampled_from([b"/inbox/%c" % letter for letter in b"abc"])


class AnInbox(RuleBasedStateMachine):
    """Whatever happens to the files and the clocks: complete means still for the quiet time over two scans."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = Tracker(quiet_s=QUIET_S, trust_age=False)
        self.now, self.wall, self.inodes = 0.0, 1e9, 0
        self.there: dict[bytes, FileIdentity] = {}
        self.still: dict[bytes, tuple[FileIdentity, float, int]] = {}
        self.taken: dict[bytes, tuple[int, int]] = {}

    @rule(path=FILES, size=st.integers(0, 3))
    def write(self, path: bytes, size: int) -> None:
        self.inodes += 1
        self.there[path] = FileIdentity(1, self.inodes, size, int(self.wall * 1e9))

    @rule(path=FILES, more=st.integers(0, 2))
    def rewrite(self, path: bytes, more: int) -> None:
        if (old := self.there.get(path)) is not None:
            self.there[path] = FileIdentity(1, old.inode, old.size + more, int(self.wall * 1e9))

    @rule(path=FILES, mtime=st.integers(0, 4))
    def touch(self, path: bytes, mtime: int) -> None:
        if (old := self.there.get(path)) is not None:
            self.there[path] = FileIdentity(1, old.inode, old.size, mtime * 10**9)

    @rule(path=FILES, new=FILES)
    def rename(self, path: bytes, new: bytes) -> None:
        if path in self.there:
            self.there[new] = self.there.pop(path)

    @rule(path=FILES)
    def delete(self, path: bytes) -> None:
        self.there.pop(path, None)

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.5, 5.0, 60.0]), jump=st.sampled_from([0.0, HOUR, -5 * HOUR]))
    def time_passes(self, seconds: float, jump: float) -> None:
        self.now += seconds
        self.wall += seconds + jump

    @rule()
    def scan(self) -> None:
        ready = self.tracker.observe(dict(self.there), now=self.now, wall=self.wall)
        self.tracker.drop_missing(self.there)
        self.taken = {path: known for path, known in self.taken.items() if path in self.there}
        self._count_scan()
        assert ready == sorted(path for path in self.there if self._is_due(path))

    def _count_scan(self) -> None:
        counted = {}
        for path, found in self.there.items():
            old, since, scans = self.still.get(path, (None, self.now, 0))
            unchanged = old == found
            counted[path] = (found, since if unchanged else self.now, scans + 1 if unchanged else 1)
        self.still = counted

    def _is_due(self, path: bytes) -> bool:
        found, since, scans = self.still[path]
        known = self.taken.get(path) == (found.size, found.mtime_ns)
        return not known and scans >= 2 and self.now - since >= QUIET_S

    @rule(path=FILES)
    @precondition(lambda self: self.still)
    def take(self, path: bytes) -> None:
        """What was ready is taken in, as it was at that scan."""
        if path in self.still and self._is_due(path):
            found = self.still.pop(path)[0]
            self.tracker.remember(path, found.size, found.mtime_ns)
            self.taken[path] = (found.size, found.mtime_ns)

    @rule()
    def leave_alone(self) -> None:
        """Left alone, everything that is not taken is complete after the quiet time and two scans."""
        self.scan()
        self.time_passes(QUIET_S, -HOUR)
        self.scan()
        for path, found in self.there.items():
            assert self._is_due(path) or self.taken[path] == (found.size, found.mtime_ns)

    @invariant()
    def waits_for_no_more_than_was_there(self) -> None:
        assert self.tracker.waiting <= len(self.still)


TestAnInbox = AnInbox.TestCase
TestAnInbox.settings = settings(max_examples=150, stateful_step_count=40)


# --- when to scan next -------------------------------------------------------------------------------------

SECONDS = st.floats(0, 1000)


@given(settling=st.booleans(), events=st.booleans(), interval=SECONDS, last=SECONDS)
def test_scanning_takes_at_most_a_twentieth_of_the_time_or_a_fifth_while_files_settle(
    settling: bool, events: bool, interval: float, last: float
) -> None:
    pause = next_scan_in(settling=settling, events=events, interval_s=interval, last_pass_s=last)
    assert pause >= (4 if settling else 20) * last
    assert pause >= (0.2 if settling else interval)


def test_an_idle_inbox_is_scanned_rarely_where_events_work() -> None:
    def pause(*, events: bool) -> float:
        return next_scan_in(settling=False, events=events, interval_s=0, last_pass_s=0)

    assert pause(events=True) == 300
    assert pause(events=False) == 5


# --- events ------------------------------------------------------------------------------------------------


@pytest.fixture
def stirred() -> Event:
    return Event()


@contextlib.contextmanager
def watching(root: Path, stirred: Event) -> Iterator[Hints]:
    hints = Hints(os.fsencode(root), stirred.set)
    try:
        yield hints
    finally:
        hints.close()


def test_an_event_arrives_for_what_is_written_moved_and_deleted(root: Path, stirred: Event) -> None:
    outside = put(root.parent / "outside.pdf")
    with watching(root, stirred) as hints:
        for action in (
            lambda: put(root / "a.pdf"),
            lambda: outside.rename(root / "b.pdf"),
            lambda: (root / "b.pdf").rename(root / "c.pdf"),
            (root / "a.pdf").unlink,
        ):
            wait_until(lambda: not stirred.clear() and not stirred.wait(0.1), "no event is under way")
            action()
            assert stirred.wait(10)
        assert hints.healthy


def test_an_event_arrives_for_a_file_in_a_new_folder(root: Path, stirred: Event) -> None:
    with watching(root, stirred):
        (root / "new").mkdir()
        assert stirred.wait(10)


def test_the_self_test_hears_itself_and_leaves_nothing(root: Path, stirred: Event) -> None:
    with watching(root, stirred):
        assert inbox.events_arrive(os.fsencode(root), stirred, timeout_s=10)
    assert os.listdir(root) == []


def test_the_self_test_notices_that_nobody_listens(root: Path, stirred: Event) -> None:
    assert not inbox.events_arrive(os.fsencode(root), stirred, timeout_s=0.05)
    root.rmdir()
    assert not inbox.events_arrive(os.fsencode(root), stirred, timeout_s=0.05)


def test_names_that_are_no_utf8_stir_and_harm_nothing(tmp_path: Path, stirred: Event) -> None:
    root = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"in\xffbox")))
    root.mkdir()
    with watching(root, stirred) as hints:
        put(root / os.fsdecode(b"sc\xff\xfen.pdf"))
        assert stirred.wait(10)
        put(root / os.fsdecode(b"fold\xffer") / "a\nb\x1b.pdf")
        shutil.rmtree(root / os.fsdecode(b"fold\xffer"))
        assert inbox.events_arrive(os.fsencode(root), stirred, timeout_s=10)
        assert hints.healthy


def test_a_root_that_was_deleted_is_not_healthy(root: Path, stirred: Event) -> None:
    with watching(root, stirred) as hints:
        root.rmdir()
        wait_until(lambda: not hints.healthy, "the emitter ended")
        root.mkdir()  # may well get the same inode again
        assert not hints.healthy


def test_another_folder_at_the_roots_path_is_told_from_the_first(root: Path) -> None:
    path = os.fsencode(root)
    first = inbox.folder_at(path)
    assert first is not None
    assert inbox.folder_at(path) == first
    root.rename(root.parent / "away")  # keeps its inode, so that the new one has another
    assert inbox.folder_at(path) is None
    root.write_text("no folder")
    assert inbox.folder_at(path) is None
    root.unlink()
    root.mkdir()
    assert inbox.folder_at(path) not in {first, None}


def test_hints_that_were_closed_are_not_healthy_and_may_be_closed_again(root: Path, stirred: Event) -> None:
    with watching(root, stirred) as hints:
        hints.close()
        assert not hints.healthy


def test_a_burst_of_events_kills_no_thread(root: Path, stirred: Event) -> None:
    with watching(root, stirred) as hints:
        for number in range(300):
            put(root / f"{number % 7}" / f"{number}.pdf").unlink()
        assert hints.healthy
        wait_until(
            lambda: inbox.events_arrive(os.fsencode(root), stirred, timeout_s=1), "events still arrive"
        )
