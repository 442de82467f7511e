from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import FakeClock
from support.stores import Stores, recognition
from support.users import unprivileged

from ocrd.daemon.promises import Promises
from ocrd.daemon.publisher import WRITING_S, Published, Publisher
from ocrd.domain.documents import MediaType, PageText, Source
from ocrd.domain.errors import ReasonCode
from ocrd.domain.jobs import DocumentState
from ocrd.host import faults
from ocrd.pipeline import writer
from ocrd.pipeline.formats import RENDERERS
from ocrd.store.outputs import Planned

FORMATS = ("txt", "md")
SOURCE = Source(name="scan.pdf", sha256="0" * 64, media_type=MediaType.PDF, pages=1)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Path]:
    """Whatever a test does here: no draft is left."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    yield folder
    assert [name for name in os.listdir(folder) if name.startswith(".ocrd-")] == []


@pytest.fixture
def publisher(stores: Stores) -> Publisher:
    return Publisher(stores.outputs, formats=FORMATS, error_file=True)


class Document:
    """A running document whose text can be written and committed."""

    def __init__(self, stores: Stores, publisher: Publisher, path: Path) -> None:
        self.stores = stores
        self.publisher = publisher
        self.path = os.fsencode(path)
        path.write_bytes(b"a scan")
        self.id = stores.register(content=repr(path.name), path=self.path, pages=1)
        assert stores.begin().id == self.id

    def again(self) -> None:
        """Queue it once more, if it is finished, and take it in hand."""
        self.stores.documents.retry(self.id)
        assert self.stores.begin().id == self.id

    def write(self, text: str, *, overwrite: bool = False, commit: bool = True) -> Published:
        done = self.publisher.write(self.path, self.id, pages(text), source=SOURCE, overwrite=overwrite)
        if commit:
            self.commit(done)
        return done

    def fail(self, reason: str = "it is damaged") -> Published:
        done = self.publisher.write_error(
            self.path, self.id, code=ReasonCode.DAMAGED, reason=reason, hint="scan it again"
        )
        self.commit(done)
        return done

    def commit(self, done: Published) -> None:
        self.stores.documents.finish(self.id, DocumentState.CANCELLED, written=done.written)
        self.again()

    def output(self, output_format: str) -> Path:
        return Path(os.fsdecode(writer.target_of(self.path, output_format)))

    @property
    def ours(self) -> set[bytes]:
        return {path for (path,) in self.stores.rows("SELECT path FROM outputs WHERE sha256 <> ''")}


@pytest.fixture
def document(stores: Stores, publisher: Publisher, inbox: Path) -> Document:
    return Document(stores, publisher, inbox / "scan.pdf")


def pages(text: str) -> Callable[[], list[PageText]]:
    return lambda: [PageText(number=1, recognition=recognition(text))]


# --- writing -----------------------------------------------------------------------------------------------


def test_every_format_is_written_beside_the_input_under_its_full_name(
    document: Document, inbox: Path
) -> None:
    done = document.write("some text")
    assert sorted(os.listdir(inbox)) == ["scan.pdf", "scan.pdf.md", "scan.pdf.txt"]
    assert document.output("txt").read_text() == "some text\n"
    assert done == Published((document.path + b".txt", document.path + b".md"), ())
    assert document.ours == set(done.written)


@pytest.mark.parametrize("name", [*RENDERERS, writer.PDF_FORMAT, writer.ERROR_FORMAT])
def test_an_output_tells_its_format_by_its_name(name: str) -> None:
    assert writer.format_of(writer.target_of(b"/inbox/scan.xml.txt", name)) == name


def test_the_input_is_left_as_it_is(document: Document, inbox: Path) -> None:
    before = (inbox / "scan.pdf").stat()
    document.write("some text")
    after = (inbox / "scan.pdf").stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_mode) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_mode,
    )


def test_text_that_is_no_unicode_is_written_all_the_same(document: Document) -> None:
    document.write("a lone \ud800 surrogate")
    assert document.output("txt").read_bytes() == b"a lone ? surrogate\n"


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o755, 0o644), (0o2775, 0o664), (0o700, 0o600)])
def test_an_output_has_the_mode_and_the_group_of_its_folder(
    document: Document, inbox: Path, folder_mode: int, file_mode: int
) -> None:
    if os.geteuid() == 0:
        os.chown(inbox, -1, 65534)
    inbox.chmod(folder_mode)
    document.write("some text")
    document.fail()
    for name in ("txt", "md", "error"):
        status = document.output(name).stat()
        assert stat.S_IMODE(status.st_mode) == file_mode
        assert status.st_gid == inbox.stat().st_gid


def test_a_new_text_takes_the_place_of_our_old_one(document: Document) -> None:
    document.write("the old text")
    assert document.write("the new text").foreign == ()
    assert document.output("txt").read_text() == "the new text\n"
    assert document.output("txt").stat().st_nlink == 1


def test_an_output_that_was_deleted_is_written_again(document: Document) -> None:
    document.write("some text")
    document.output("txt").unlink()
    assert document.publisher.missing(document.path)
    document.write("some text")
    assert document.output("txt").read_text() == "some text\n"
    assert not document.publisher.missing(document.path)


def test_outputs_are_missing_until_all_of_them_were_written(document: Document) -> None:
    assert document.publisher.missing(document.path)
    document.write("some text")
    document.output("md").unlink()
    assert document.publisher.missing(document.path)


# --- whose file it is --------------------------------------------------------------------------------------


def test_a_file_with_just_our_text_is_ours_from_now_on(document: Document) -> None:
    document.output("txt").write_text("some text\n")
    inode = document.output("txt").stat().st_ino
    assert document.write("some text").foreign == ()
    assert document.output("txt").stat().st_ino == inode
    document.write("new text")
    assert document.output("txt").read_text() == "new text\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_file_is_never_touched(document: Document, overwrite: bool) -> None:
    target = document.output("txt")
    target.write_text("the user's own")
    before = target.stat()
    done = document.write("some text", overwrite=overwrite)
    assert done == Published((document.path + b".md",), (document.path + b".txt",))
    assert target.read_text() == "the user's own"
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert document.ours == {document.path + b".md"}


def test_our_file_is_left_alone_once_the_user_changed_it(document: Document) -> None:
    document.write("some text")
    document.output("txt").write_text("corrected by hand")
    assert document.write("new text").foreign == (document.path + b".txt",)
    assert document.output("txt").read_text() == "corrected by hand"
    assert document.output("md").read_text() == "new text\n"


def test_our_edited_file_is_replaced_where_that_is_asked_for(document: Document) -> None:
    document.write("some text")
    document.output("txt").write_text("corrected by hand")
    assert document.write("new text", overwrite=True).foreign == ()
    assert document.output("txt").read_text() == "new text\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_at_the_target_is_foreign_and_leads_nowhere(
    document: Document, tmp_path: Path, overwrite: bool
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("some text\n")
    document.output("txt").symlink_to(precious)
    document.output("md").symlink_to(tmp_path / "nowhere")
    assert len(document.write("some text", overwrite=overwrite).foreign) == 2
    assert document.output("txt").readlink() == precious
    assert precious.read_text() == "some text\n"
    assert not (tmp_path / "nowhere").exists()


def test_a_link_in_the_place_of_our_file_is_foreign_too(document: Document, tmp_path: Path) -> None:
    document.write("some text")
    document.output("txt").rename(tmp_path / "moved")
    document.output("txt").symlink_to(tmp_path / "moved")
    assert document.write("new text", overwrite=True).foreign == (document.path + b".txt",)
    assert (tmp_path / "moved").read_text() == "some text\n"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.timeout(10)
def test_what_is_no_file_is_foreign(document: Document, make: Callable[[Path], None]) -> None:
    make(document.output("txt"))
    assert document.write("some text", overwrite=True).foreign == (document.path + b".txt",)


def test_two_inputs_of_one_stem_do_not_meet(document: Document, inbox: Path) -> None:
    other = Document(document.stores, document.publisher, inbox / "scan.png")
    document.write("of the PDF")
    other.write("of the image")
    assert document.output("txt").read_text() == "of the PDF\n"
    assert other.output("txt").read_text() == "of the image\n"


# --- an edit in the last moment ------------------------------------------------------------------------------


class SlowOutputs:
    """The table of outputs, in a store that is full: before a plan is recorded, minutes pass."""

    def __init__(self, stores: Stores, meanwhile: Callable[[], object]) -> None:
        self._outputs = stores.outputs
        self._meanwhile = meanwhile

    def plan(self, document_id: int, planned: Sequence[Planned]) -> None:
        self._meanwhile()
        self._outputs.plan(document_id, planned)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outputs, name)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_edit_made_while_the_store_is_full_is_never_overwritten(
    stores: Stores, document: Document, overwrite: bool
) -> None:
    document.write("old text")

    def edit() -> None:
        document.output("txt").write_text("corrected by hand")

    slow: Any = SlowOutputs(stores, edit)
    document.publisher = Publisher(slow, formats=FORMATS, error_file=True)
    assert document.write("new text", overwrite=overwrite).foreign == (document.path + b".txt",)
    assert document.output("txt").read_text() == "corrected by hand"
    assert document.output("md").read_text() == "new text\n"
    edited = hashlib.sha256(b"corrected by hand").hexdigest()
    assert edited not in stores.outputs.checksums(document.path + b".txt"), "nor is it taken for ours"


def test_a_text_that_is_deleted_while_the_store_is_full_is_written_anew(
    stores: Stores, document: Document
) -> None:
    document.write("old text")
    slow: Any = SlowOutputs(stores, document.output("txt").unlink)
    document.publisher = Publisher(slow, formats=FORMATS, error_file=True)
    assert document.write("new text").foreign == ()
    assert document.output("txt").read_text() == "new text\n"


@pytest.mark.parametrize("point", ["file.exchange", "file.aside"])
def test_an_edit_in_the_very_moment_is_not_lost(
    document: Document, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document.fail("it is damaged")
    error = document.output("error")

    def save(passed: str) -> None:
        if passed == point:
            other = error.with_name("editor")
            other.write_text("to be scanned again")
            other.rename(error)

    monkeypatch.setattr(faults, "point", save)
    if point == "file.exchange":
        assert document.fail("it is encrypted").foreign == (document.path + b".ocrd-error.txt",)
    else:
        document.publisher.remove_error(document.path, document.id)
    assert error.read_text() == "to be scanned again"


# --- killed in between -------------------------------------------------------------------------------------


def test_a_file_that_got_its_name_before_the_daemon_was_killed_is_ours_at_the_next_run(
    document: Document,
) -> None:
    document.write("some text", commit=False)
    assert document.ours == set()
    assert document.write("another text").foreign == ()
    assert document.output("txt").read_text() == "another text\n"


def test_ours_is_known_also_when_the_daemon_is_killed_while_it_replaces_it(document: Document) -> None:
    document.write("first")
    document.write("second", commit=False)
    document.output("md").write_text("first\n")  # of two formats, one was replaced
    assert document.write("third").foreign == ()
    assert {document.output(name).read_text() for name in FORMATS} == {"third\n"}


@pytest.mark.parametrize(
    ("standing", "planned", "owner"),
    [
        (b"some te", True, writer.Ownership.OURS),
        (b"", True, writer.Ownership.OURS),
        (b"some te", False, writer.Ownership.FOREIGN),
        (b"some tea", True, writer.Ownership.FOREIGN),
        (b"some text\nand more\n", True, writer.Ownership.FOREIGN),
        (b"some text\n", True, writer.Ownership.SAME),
    ],
)
def test_a_copy_that_was_cut_short_is_ours_if_just_this_text_was_planned_there(
    document: Document, standing: bytes, planned: bool, owner: writer.Ownership
) -> None:
    draft = writer.write_draft(
        document.path, document.id, "txt", RENDERERS["txt"], pages=pages("some text")(), source=SOURCE
    )
    document.output("txt").write_bytes(standing)
    ours = frozenset({draft.sha256} if planned else {"0" * 64})
    found = writer.look_at(
        draft.target, draft_sha256=draft.sha256, ours=ours, overwrite_edited=False, draft=draft.path
    )
    assert found.owner is owner
    writer.discard(draft)


def test_drafts_of_a_killed_daemon_are_swept_and_nothing_else(document: Document, inbox: Path) -> None:
    for output_format in (*FORMATS, writer.ERROR_FORMAT):
        Path(os.fsdecode(writer.draft_path(document.path, document.id, output_format))).touch()
    neighbour = Path(os.fsdecode(writer.draft_path(document.path, document.id + 1, "txt")))
    neighbour.touch()
    writer.sweep(document.path, document.id)
    assert sorted(os.listdir(inbox)) == sorted([neighbour.name, "scan.pdf"])
    neighbour.unlink()


def test_a_draft_of_a_killed_daemon_is_written_over(document: Document) -> None:
    Path(os.fsdecode(writer.draft_path(document.path, document.id, "txt"))).write_text("half a te")
    document.write("some text")
    assert document.output("txt").read_text() == "some text\n"


# --- when it cannot be written -----------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_reported_and_left_as_it_is(publisher: Publisher) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        path = os.fsencode(Path(folder, "scan.pdf"))
        with unprivileged():
            with pytest.raises(PermissionError):
                publisher.write(path, 1, pages("some text"), source=SOURCE, overwrite=False)
            with pytest.raises(PermissionError):
                publisher.write_error(path, 1, code="damaged", reason="it is damaged", hint="")
        assert os.listdir(folder) == []


def test_a_folder_that_is_gone_is_reported(document: Document) -> None:
    with pytest.raises(FileNotFoundError):
        document.publisher.write(
            b"/nowhere/scan.pdf", document.id, pages("some text"), source=SOURCE, overwrite=False
        )


class Broken(Exception):
    """A stored page that cannot be read."""


@pytest.mark.parametrize("broken_rendering", [1, 2])
def test_a_page_that_cannot_be_rendered_leaves_nothing_behind(
    document: Document, inbox: Path, broken_rendering: int
) -> None:
    renderings = 0

    def rendered() -> Iterable[PageText]:
        nonlocal renderings
        renderings += 1
        yield from pages("some text")()
        if renderings == broken_rendering:
            raise Broken

    with pytest.raises(Broken):
        document.publisher.write(document.path, document.id, rendered, source=SOURCE, overwrite=False)
    assert os.listdir(inbox) == ["scan.pdf"]


def test_a_store_that_fails_leaves_no_draft(document: Document, inbox: Path) -> None:
    with pytest.raises(Exception, match="FOREIGN KEY"):
        document.publisher.write(document.path, 4711, pages("some text"), source=SOURCE, overwrite=False)
    assert os.listdir(inbox) == ["scan.pdf"]


# --- the error file ----------------------------------------------------------------------------------------


def test_the_error_file_is_one_paragraph_that_says_what_and_what_next(document: Document) -> None:
    assert document.fail("it is\ndamaged\x1b").written == (document.path + b".ocrd-error.txt",)
    text = document.output("error").read_text()
    assert text.startswith(
        "ocrd could not read scan.pdf: it is damaged (damaged). What to do: scan it again."
    )
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


def test_a_name_that_could_steer_a_terminal_is_made_visible_in_the_error_file(
    stores: Stores, publisher: Publisher, inbox: Path
) -> None:
    document = Document(stores, publisher, inbox / os.fsdecode(b"sc\x1b[31m\xff\n.pdf"))
    document.fail()
    assert "sc\\x1b[31m\\xff\\n.pdf" in document.output("error").read_text()


def test_the_error_file_goes_once_there_is_text(document: Document) -> None:
    document.fail()
    document.write("some text")
    document.publisher.remove_error(document.path, document.id)
    assert not document.output("error").exists()
    assert document.path + b".ocrd-error.txt" not in document.ours


def test_an_error_file_that_was_edited_stays_and_is_the_users_from_then_on(document: Document) -> None:
    document.fail()
    document.output("error").write_text("to be scanned again, said Maria")
    document.publisher.remove_error(document.path, document.id)
    assert document.fail().foreign == (document.path + b".ocrd-error.txt",)
    assert document.output("error").read_text() == "to be scanned again, said Maria"


def test_a_foreign_error_file_is_not_removed(document: Document) -> None:
    document.output("error").write_text("not ours")
    document.publisher.remove_error(document.path, document.id)
    assert document.output("error").read_text() == "not ours"


def test_an_error_file_that_is_gone_already_is_no_trouble(document: Document) -> None:
    document.fail()
    document.output("error").unlink()
    document.publisher.remove_error(document.path, document.id)
    document.publisher.remove_error(document.path, document.id)
    assert document.ours == set()


def test_a_later_reason_takes_the_place_of_the_first(document: Document) -> None:
    document.fail("it is damaged")
    document.fail("it is encrypted")
    assert "encrypted" in document.output("error").read_text()


def test_no_error_file_is_left_where_none_is_wanted(stores: Stores, document: Document, inbox: Path) -> None:
    silent = Publisher(stores.outputs, formats=FORMATS, error_file=False)
    done = silent.write_error(document.path, document.id, code="damaged", reason="it is damaged", hint="")
    assert done == Published((), ())
    assert os.listdir(inbox) == ["scan.pdf"]


# --- long names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [240, 241, 251])
def test_a_long_name_gets_its_text_and_an_error_file_where_that_fits(
    stores: Stores, publisher: Publisher, inbox: Path, length: int
) -> None:
    document = Document(stores, publisher, inbox / ("x" * (length - 4) + ".pdf"))
    assert len(document.write("some text").written) == 2
    assert len(document.output("txt").name) == length + 4
    assert len(document.fail().written) == (1 if length <= 240 else 0)


@pytest.mark.parametrize("length", [252, 255])
def test_a_name_too_long_for_any_output_is_reported_and_leaves_nothing(
    stores: Stores, publisher: Publisher, inbox: Path, length: int
) -> None:
    document = Document(stores, publisher, inbox / ("x" * length))
    with pytest.raises(OSError, match="name too long"):
        document.write("some text")
    assert document.fail() == Published((), ())
    assert os.listdir(inbox) == ["x" * length]


# --- disks that hang ---------------------------------------------------------------------------------------


def test_a_text_that_is_written_for_ever_breaks_a_promise(
    stores: Stores, clock: FakeClock, inbox: Path
) -> None:
    promises = Promises(grace_s=60, clock=clock)
    broken: list[tuple[str, ...]] = []

    def endless(pages: Iterable[PageText], source: Source) -> Iterator[str]:
        del pages, source
        for seconds in (WRITING_S, 61):
            clock.advance(seconds)
            broken.append(promises.broken())
        yield "at last"

    publisher = Publisher(
        stores.outputs, formats=("txt",), error_file=True, renderers={"txt": endless}, promises=promises
    )
    document = Document(stores, publisher, inbox / "scan.pdf")
    document.write("some text")
    assert broken == [(), (f"writing beside {inbox}/scan.pdf",)]
    assert promises.broken() == ()
    assert document.output("txt").read_text() == "at last"
