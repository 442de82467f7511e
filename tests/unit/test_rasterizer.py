from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, TiffImagePlugin
from support import bad_inputs
from support import rasterizer_documents as documents

from ocrd.domain.documents import FileIdentity, MediaType, PageImage
from ocrd.domain.errors import InputRejected, PageFault, ReasonCode, ServerFault, SourceChanged
from ocrd.domain.geometry import RenderSize
from ocrd.domain.ink import ink_share
from ocrd.host import files
from ocrd.host.commands import Child, ChildStopped
from ocrd.pipeline.rasterizer import MAX_HUNG, Rasterizer, RenderPolicy
from ocrd.pipeline.rasterizer_child import FILE_HEADROOM_BYTES
from ocrd.pipeline.rasterizer_image import estimate_dpi, read_resolution
from ocrd.pipeline.rasterizer_pdf import explain_refusal, runs_of_equal_dpi, shorten_complaints

DEADLINE_S = 20.0
MARK = "OCRD_TEST_MARK"


class Desk:
    """A rasterizer with a folder for its inputs and one for its images."""

    def __init__(self, folder: Path, rasterizer: Rasterizer) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        self.rasterizer = rasterizer
        self.stop = threading.Event()

    def put(self, data: bytes, name: bytes = b"in") -> tuple[bytes, FileIdentity]:
        path = os.path.join(os.fsencode(self.folder), name)
        with open(path, "wb") as file:
            file.write(data)
        return path, identity(path)

    def probe(self, data: bytes, kind: MediaType = MediaType.PDF) -> int:
        return self.rasterizer.probe(*self.put(data), kind).pages

    def render(
        self, data: bytes, *numbers: int, kind: MediaType = MediaType.PDF
    ) -> dict[int, PageImage | PageFault]:
        return self.render_file(*self.put(data), *numbers, kind=kind)

    def render_file(
        self, path: bytes, known: FileIdentity, *numbers: int, kind: MediaType = MediaType.PDF
    ) -> dict[int, PageImage | PageFault]:
        return self.rasterizer.render(
            path, known, kind, numbers or (1,), folder=str(self.images), stop=self.stop
        )

    def page(self, data: bytes, kind: MediaType = MediaType.PDF) -> PageImage:
        found = self.render(data, kind=kind)[1]
        assert isinstance(found, PageImage), found
        return found

    def image(self, image: Image.Image, kind: MediaType, **options: object) -> PageImage:
        path = self.folder / "saved"
        image.save(path, FORMATS[kind], **options)
        return self.page(path.read_bytes(), kind)


FORMATS = {
    MediaType.PNG: "PNG",
    MediaType.JPEG: "JPEG",
    MediaType.TIFF: "TIFF",
    MediaType.WEBP: "WEBP",
    MediaType.BMP: "BMP",
    MediaType.GIF: "GIF",
    MediaType.JPEG2000: "JPEG2000",
    MediaType.NETPBM: "PPM",
}


def identity(path: bytes) -> FileIdentity:
    found = files.stat_regular(path)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Rasterizer]:
    rasterizer = Rasterizer(RenderPolicy(), workers=1)
    yield rasterizer
    rasterizer.close()


@pytest.fixture
def desk(tmp_path: Path, shared: Rasterizer) -> Desk:
    return Desk(tmp_path, shared)


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[[RenderPolicy], Desk]]:
    opened: list[Rasterizer] = []

    def make(policy: RenderPolicy) -> Desk:
        opened.append(Rasterizer(policy, workers=1))
        return Desk(tmp_path, opened[-1])

    yield make
    for rasterizer in opened:
        rasterizer.close()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    return value


def marked(mark: str, program: str = "") -> list[int]:
    """The living processes that inherited the mark, other than this one."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes()
            command = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment and program in command:
            found.append(int(name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again until the condition holds; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.01)


def pixel(page: PageImage, x: float, y: float) -> int:
    """The grey level at a place given in shares of width and height."""
    with Image.open(page.path) as image:
        assert image.mode == "L"
        value = image.getpixel((int(x * page.width), int(y * page.height)))
    assert isinstance(value, int)
    return value


def bar(mode: str = "L", size: tuple[int, int] = (80, 40)) -> Image.Image:
    """A black bar on a quarter of a white page."""
    image = Image.new("L", size, 255)
    width, height = size
    ImageDraw.Draw(image).rectangle(
        (width // 4, height // 4, width * 3 // 4 - 1, height * 3 // 4 - 1), fill=0
    )
    return image if mode == "L" else image.convert(mode)


def assert_is_bar(page: PageImage) -> None:
    assert pixel(page, 0.05, 0.05) > 245
    assert pixel(page, 0.5, 0.5) < 15
    assert page.ink == pytest.approx(documents.BAR_INK, abs=0.02)


# --- PDF -----------------------------------------------------------------------------------------------------


def test_a_page_is_rendered_at_the_wanted_resolution(desk: Desk) -> None:
    page = desk.page(documents.pdf(documents.A_BLACK_BAR))
    assert (page.width, page.height, page.dpi, page.notes) == (200, 100, 200.0, ())
    assert_is_bar(page)


def test_a_window_gives_each_page_once_and_leaves_no_other_file(desk: Desk) -> None:
    document = documents.pdf(*[documents.A_BLACK_BAR] * 12)
    assert desk.probe(document) == 12
    pages = desk.render(document, 3, 4, 5, 11)
    assert sorted(pages) == [3, 4, 5, 11]
    assert {os.path.basename(page.path) for page in pages.values()} == set(os.listdir(desk.images))
    assert all(page.number == number for number, page in pages.items())


def test_a_turned_page_swaps_its_sides(desk: Desk) -> None:
    page = desk.page(documents.pdf(documents.A_BLACK_BAR, extra="/Rotate 90"))
    assert (page.width, page.height) == (100, 200)


def test_the_crop_box_is_what_is_rendered(desk: Desk) -> None:
    page = desk.page(documents.pdf(documents.A_BLACK_BAR, extra="/CropBox [18 9 54 27]"))
    assert (page.width, page.height) == (100, 50)
    assert pixel(page, 0.5, 0.5) == 0


def test_a_large_page_is_rendered_smaller_and_its_neighbours_are_not(desk: Desk) -> None:
    document = documents.pdf(b"", b"", b"", boxes=["0 0 72 36", "0 0 3600 3600", "0 0 72 36"])
    pages = desk.render(document, 1, 2, 3)
    assert [page.dpi for page in pages.values()] == [200.0, 141.0, 200.0]
    assert pages[2].width * pages[2].height <= 50_000_000


def test_a_gigantic_page_is_refused_with_its_numbers(desk: Desk) -> None:
    pages = desk.render(documents.pdf(b"", b"", boxes=["0 0 200000 200000", "0 0 72 36"]), 1, 2)
    assert pages[1].code is ReasonCode.RENDER_LIMIT
    assert "2778 × 2778 inches" in str(pages[1])
    assert isinstance(pages[2], PageImage)


def test_a_page_that_is_not_there_costs_only_itself(desk: Desk) -> None:
    pages = desk.render(documents.pdf(b"", b""), 2, 3)
    assert isinstance(pages[2], PageImage)
    assert "fewer pages than it said" in str(pages[3])


def test_a_document_with_a_password_is_rejected_with_the_way_out(desk: Desk) -> None:
    with pytest.raises(InputRejected) as caught:
        desk.probe(documents.needs_password())
    assert caught.value.code is ReasonCode.ENCRYPTED
    assert "scan.pdf.password" in caught.value.hint
    assert "[inbox] passwords" in caught.value.hint


def test_a_document_that_only_its_owner_may_change_is_read(desk: Desk) -> None:
    assert desk.probe(documents.owner_password_only()) == 1
    assert_is_bar(desk.page(documents.owner_password_only()))


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"%PDF-1.4\n", ReasonCode.DAMAGED),
        (b"%PDF-1.4\n" + bytes(5000), ReasonCode.DAMAGED),
        (documents.pdf(b"")[:300], ReasonCode.DAMAGED),
        (documents.page_count(2**31 - 1), ReasonCode.DAMAGED),
        (documents.page_count(0), ReasonCode.NO_PAGES),
    ],
    ids=["header", "zeros", "half", "lying count", "no pages"],
)
def test_a_document_that_cannot_be_opened_is_rejected(desk: Desk, document: bytes, code: ReasonCode) -> None:
    with pytest.raises(InputRejected) as caught:
        desk.probe(document)
    assert caught.value.code is code
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)


def test_a_page_tree_that_bites_its_tail_ends(desk: Desk) -> None:
    document = documents.cyclic_page_tree()
    assert desk.probe(document) == 1
    assert desk.render(document)[1].code is ReasonCode.RENDER_FAILED


def test_more_pages_than_allowed_are_rejected(make_desk: Callable[[RenderPolicy], Desk]) -> None:
    desk = make_desk(RenderPolicy(max_pages=2))
    assert desk.probe(documents.pdf(b"", b"")) == 2
    with pytest.raises(InputRejected, match="more than the 2 pages") as caught:
        desk.probe(documents.pdf(b"", b"", b""))
    assert caught.value.code is ReasonCode.TOO_MANY_PAGES


def test_what_poppler_says_about_a_page_stays_with_that_page(desk: Desk) -> None:
    damaged = b"/Nothing Do " + documents.A_BLACK_BAR
    pages = desk.render(documents.pdf(b"", damaged, documents.A_BLACK_BAR), 1, 2, 3)
    assert [bool(page.notes) for page in pages.values()] == [False, True, False]


def test_white_paper_is_no_blank_page_when_poppler_complains(desk: Desk) -> None:
    pages = desk.render(documents.pdf(b"", b"/Nothing Do", documents.A_BLACK_BAR), 1, 2, 3)
    lost = pages[2]
    assert isinstance(lost, PageFault)
    assert lost.code == ReasonCode.RENDER_FAILED
    assert "shows nothing of page 2 (" in str(lost)
    assert isinstance(pages[1], PageImage)
    assert isinstance(pages[3], PageImage)


def test_colour_is_kept_where_it_is_wanted(make_desk: Callable[[RenderPolicy], Desk]) -> None:
    desk = make_desk(RenderPolicy(grayscale=False))
    for page in (
        desk.page(documents.pdf(b"1 0 0 rg " + documents.A_BLACK_BAR)),
        desk.image(Image.new("RGBA", (20, 10), (255, 0, 0, 255)), MediaType.PNG),
    ):
        with Image.open(page.path) as image:
            assert image.mode == "RGB"
            assert image.getpixel((page.width // 2, page.height // 2)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("stderr", "code", "words"),
    [
        ("Command Line Error: Incorrect password\n", ReasonCode.ENCRYPTED, "password"),
        ("Syntax Error (9): Couldn't read xref table\n", ReasonCode.DAMAGED, "Couldn't read xref table"),
        ("Syntax Error: Invalid page count 0\n", ReasonCode.NO_PAGES, "no pages"),
        ("Syntax Warning: May not be a PDF file\n", ReasonCode.DAMAGED, "does not say why"),
    ],
)
def test_poppler_s_refusals_become_plain_reasons(stderr: str, code: ReasonCode, words: str) -> None:
    refusal = explain_refusal("Unable to get page count.\n" + stderr)
    assert refusal.code is code
    assert words in str(refusal)


def test_complaints_about_a_repaired_table_are_no_notes() -> None:
    stderr = "Syntax Error: Couldn't read xref table\n" + "Syntax Error (7): Bad thing\n" * 9 + "x" * 999
    assert shorten_complaints(stderr) == ("Bad thing", "x" * 200)


@given(st.dictionaries(st.integers(1, 30), st.sampled_from([110.0, 200.0])))
def test_runs_hold_each_page_once_in_order_at_one_resolution(dpi_of: dict[int, float]) -> None:
    planned = {number: RenderSize(dpi, 1, 1) for number, dpi in dpi_of.items()}
    runs = list(runs_of_equal_dpi(planned))
    assert [number for run in runs for number in run] == sorted(dpi_of)
    for run in runs:
        assert run == list(range(run[0], run[0] + len(run)))
        assert len({dpi_of[number] for number in run}) == 1


# --- limits, crashes and the ends of processes -----------------------------------------------------------------


def test_a_page_that_hangs_costs_no_neighbour_and_no_process_stays(
    make_desk: Callable[[RenderPolicy], Desk], mark: str
) -> None:
    desk = make_desk(RenderPolicy(page_timeout_s=1.0))
    path, known = desk.put(documents.pdf(documents.A_BLACK_BAR, documents.HANGING))
    pages = desk.render_file(path, known, 1, 2)
    assert_is_bar(pages[1])
    assert pages[2].code is ReasonCode.RENDER_TIMEOUT
    assert len(os.listdir(desk.images)) == 1
    assert marked(mark, "pdftoppm") == []
    assert len(marked(mark)) == 1, "only the warm child"


def test_after_pages_that_hang_in_a_row_the_others_are_not_tried(
    make_desk: Callable[[RenderPolicy], Desk],
) -> None:
    desk = make_desk(RenderPolicy(page_timeout_s=0.5))
    path, known = desk.put(documents.pdf(*[documents.HANGING] * (MAX_HUNG + 1)))
    pages = desk.render_file(path, known, *range(1, MAX_HUNG + 2))
    assert all(page.code is ReasonCode.RENDER_TIMEOUT for page in pages.values())
    tried = [number for number, page in pages.items() if "not tried" not in str(page)]
    assert tried == list(range(1, MAX_HUNG + 1))


def test_a_page_that_needs_too_much_memory_is_told_apart(
    make_desk: Callable[[RenderPolicy], Desk],
) -> None:
    desk = make_desk(RenderPolicy(memory_mib=120, max_page_pixels=200_000_000))
    pages = desk.render(documents.pdf(b"", documents.A_BLACK_BAR, boxes=["0 0 4000 4000", "0 0 72 36"]), 1, 2)
    assert isinstance(pages[1], PageFault)
    assert pages[1].code in {ReasonCode.RENDER_LIMIT, ReasonCode.RENDER_FAILED}
    assert_is_bar(pages[2])
    fault = desk.render(png_of(8000, 8000), kind=MediaType.PNG)[1]
    assert fault.code is ReasonCode.RENDER_LIMIT
    assert "120 MiB" in str(fault)


def test_a_job_that_writes_more_than_it_may_is_ended_with_a_reason(tmp_path: Path) -> None:
    """No document is known that does: a page's size is reckoned before it is drawn. So the child is asked directly."""
    path = os.fsencode(tmp_path / "in.pdf")
    with open(path, "wb") as file:
        file.write(documents.pdf(documents.A_BLACK_BAR, box="0 0 1000 1000"))
    request = {
        "ask": "render",
        "root": b"/".hex(),
        "path": path.hex(),
        "identity": asdict(identity(path)),
        "media_type": "application/pdf",
        "numbers": [1],
        "stem": str(tmp_path / "page"),
        "policy": asdict(RenderPolicy()),
        "passwords": [],
        "timeout_s": DEADLINE_S,
        "file_bytes": 0,
    }
    child = Child([sys.executable, "-m", "ocrd.pipeline.rasterizer_child"], env={})
    try:
        answer = child.ask(request, timeout_s=DEADLINE_S, stop=threading.Event())
    finally:
        child.close()
    page = answer["pages"]["1"]
    assert page["code"] == ReasonCode.RENDER_FAILED
    assert page["message"].startswith("page 1: ")
    assert sum(file.stat().st_size for file in tmp_path.glob("page*")) <= FILE_HEADROOM_BYTES


def test_kill_9_of_the_daemon_leaves_no_process(tmp_path: Path, mark: str) -> None:
    (tmp_path / "in.pdf").write_bytes(documents.pdf(documents.HANGING))
    script = (
        "import os, sys, threading\n"
        "from ocrd.domain.documents import MediaType\n"
        "from ocrd.host.files import stat_regular\n"
        "from ocrd.pipeline.rasterizer import MAX_HUNG, Rasterizer, RenderPolicy\n"
        "path = os.fsencode(sys.argv[1])\n"
        "Rasterizer(RenderPolicy(), workers=1).render(path, stat_regular(path), MediaType.PDF, [1],\n"
        "    folder=sys.argv[2], stop=threading.Event())\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", script, tmp_path / "in.pdf", tmp_path])
    wait_until(lambda: marked(mark, "pdftoppm"))
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    wait_until(lambda: not marked(mark))


def test_a_job_that_is_killed_fails_its_page_and_the_next_one_works(desk: Desk, mark: str) -> None:
    rasterizer = Rasterizer(RenderPolicy(), workers=1)
    desk.rasterizer = rasterizer
    outcome: dict[int, PageImage | PageFault] = {}
    call = threading.Thread(target=lambda: outcome.update(desk.render(documents.pdf(documents.HANGING))))
    call.start()
    wait_until(lambda: marked(mark, "pdftoppm"))
    server, job = sorted(marked(mark, "rasterizer_child"))
    os.kill(job, signal.SIGSEGV)
    call.join(DEADLINE_S)
    assert outcome[1].code is ReasonCode.RENDER_FAILED
    assert "SIGSEGV" in str(outcome[1])
    assert marked(mark) == [server]
    rasterizer.close()
    assert marked(mark) == []


def test_the_child_that_was_warmed_answers_first(tmp_path: Path, mark: str) -> None:
    rasterizer = Rasterizer(RenderPolicy(), workers=3)
    rasterizer.warm()
    wait_until(lambda: marked(mark))
    warmed = marked(mark)
    assert len(warmed) == 1
    desk = Desk(tmp_path, rasterizer)
    assert desk.probe(documents.pdf(b""), MediaType.PDF) == 1
    assert marked(mark) == warmed
    rasterizer.close()
    assert marked(mark) == []


def test_a_child_that_was_killed_is_replaced_and_costs_nothing(
    make_desk: Callable[[RenderPolicy], Desk], mark: str
) -> None:
    desk = make_desk(RenderPolicy())
    path, known = desk.put(documents.pdf(documents.A_BLACK_BAR))
    desk.render_file(path, known)
    os.kill(marked(mark)[0], signal.SIGKILL)
    assert isinstance(desk.render_file(path, known)[1], PageImage)


def test_a_stop_is_followed_at_once_and_leaves_nothing(
    make_desk: Callable[[RenderPolicy], Desk], mark: str
) -> None:
    desk = make_desk(RenderPolicy())
    document = desk.put(documents.pdf(documents.A_BLACK_BAR, documents.HANGING))
    raised: list[BaseException] = []

    def call() -> None:
        try:
            desk.render_file(*document, 1, 2)
        except ChildStopped as err:
            raised.append(err)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: marked(mark, "pdftoppm"))
    desk.stop.set()
    thread.join(DEADLINE_S)
    assert len(raised) == 1
    wait_until(lambda: not marked(mark))
    assert os.listdir(desk.images) == []


def test_closing_ends_calls_in_hand_and_all_children(
    make_desk: Callable[[RenderPolicy], Desk], mark: str
) -> None:
    desk = make_desk(RenderPolicy())
    document = desk.put(documents.pdf(documents.HANGING))
    raised: list[ServerFault] = []

    def call() -> None:
        try:
            desk.render_file(*document)
        except ServerFault as err:
            raised.append(err)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(lambda: marked(mark, "pdftoppm"))
    desk.rasterizer.close()
    thread.join(DEADLINE_S)
    assert len(raised) == 1
    wait_until(lambda: not marked(mark))
    with pytest.raises(ServerFault):
        desk.render_file(*document)


def test_two_calls_share_two_children_and_do_not_mix_their_images(tmp_path: Path) -> None:
    rasterizer = Rasterizer(RenderPolicy(), workers=2)
    desk = Desk(tmp_path, rasterizer)
    blank, barred = (
        desk.put(documents.pdf(*[content] * 4), name)
        for content, name in ((b"", b"a"), (documents.A_BLACK_BAR, b"b"))
    )
    inks: dict[bytes, set[float]] = {}

    def call(document: tuple[bytes, FileIdentity]) -> None:
        pages = desk.render_file(*document, 1, 2, 3, 4)
        inks[document[0]] = {round(page.ink, 1) for page in pages.values()}

    threads = [threading.Thread(target=call, args=(document,)) for document in (blank, barred)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert inks == {blank[0]: {0.0}, barred[0]: {0.2}}
    assert len(os.listdir(desk.images)) == 8
    rasterizer.close()


@pytest.mark.parametrize("kind", [MediaType.PDF, MediaType.PNG])
def test_a_folder_that_is_gone_blames_no_page(desk: Desk, kind: MediaType) -> None:
    desk.images.rmdir()
    document = documents.pdf(b"") if kind is MediaType.PDF else png_of(4, 4)
    with pytest.raises(ServerFault, match="images"):
        desk.render(document, kind=kind)


@pytest.mark.parametrize("kind", ["PDF", "PNG"])
def test_a_full_disk_blames_no_page(tmp_path: Path, kind: str) -> None:
    document = documents.pdf(b"", box="0 0 800 800") if kind == "PDF" else png_of(2000, 2000)
    (tmp_path / "in").write_bytes(document)
    script = (
        "import os, sys, threading\n"
        "from ocrd.domain.documents import MediaType\n"
        "from ocrd.domain.errors import ServerFault\n"
        "from ocrd.host.files import stat_regular\n"
        "from ocrd.pipeline.rasterizer import MAX_HUNG, Rasterizer, RenderPolicy\n"
        "path = os.fsencode(sys.argv[1])\n"
        "rasterizer = Rasterizer(RenderPolicy(), workers=1)\n"
        "try:\n"
        "    print(rasterizer.render(path, stat_regular(path), MediaType[sys.argv[3]], [1], folder=sys.argv[2],\n"
        "        stop=threading.Event()))\n"
        "except ServerFault as err:\n"
        "    print('FAULT', err, os.listdir(sys.argv[2]))\n"
        "rasterizer.close()\n"
    )
    small = tmp_path / "small"
    small.mkdir()
    inner = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner]
    command = [*unshare, small, sys.executable, "-c", script, tmp_path / "in", small, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    if done.returncode != 0 and "Traceback" not in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.stdout.startswith("FAULT"), done.stdout + done.stderr
    assert done.stdout.endswith("[]\n")


# --- the file itself -------------------------------------------------------------------------------------------


def test_a_file_that_was_replaced_or_removed_is_not_blamed(desk: Desk) -> None:
    path, known = desk.put(documents.pdf(b""))
    assert isinstance(desk.render_file(path, known)[1], PageImage)
    desk.put(documents.pdf(b"", b""), b"other")
    os.replace(desk.folder / "other", path)
    with pytest.raises(SourceChanged) as replaced:
        desk.render_file(path, known)
    assert replaced.value.code is ReasonCode.SUPERSEDED
    os.unlink(path)
    with pytest.raises(SourceChanged) as removed:
        desk.rasterizer.probe(path, known, MediaType.PDF)
    assert removed.value.code is ReasonCode.FILE_GONE


def test_a_link_and_a_fifo_are_not_opened(desk: Desk) -> None:
    path, known = desk.put(documents.pdf(b""))
    os.symlink(path, desk.folder / "link")
    os.mkfifo(desk.folder / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(SourceChanged):
            desk.rasterizer.probe(os.fsencode(desk.folder / name), known, MediaType.PDF)


@pytest.mark.parametrize("name", [b"\xff\xfe-\xd0.pdf", b"-rf.pdf", "отчёт №3.pdf".encode(), b"a\nb %d.pdf"])
def test_any_name_works(desk: Desk, name: bytes) -> None:
    path, known = desk.put(documents.pdf(documents.A_BLACK_BAR), name)
    assert desk.rasterizer.probe(path, known, MediaType.PDF).pages == 1
    assert_is_bar(desk.render_file(path, known)[1])


# --- images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", MediaType.PNG),
        ("L", MediaType.PNG),
        ("P", MediaType.GIF),
        ("RGB", MediaType.JPEG),
        ("RGB", MediaType.WEBP),
        ("RGB", MediaType.BMP),
        ("L", MediaType.JPEG2000),
        ("CMYK", MediaType.JPEG),
        ("CMYK", MediaType.TIFF),
        ("YCbCr", MediaType.JPEG),
        ("L", MediaType.NETPBM),
        ("1", MediaType.NETPBM),
    ],
)
def test_every_mode_becomes_grey(desk: Desk, mode: str, kind: MediaType) -> None:
    image = bar("RGB").convert(mode) if mode in {"CMYK", "YCbCr", "P"} else bar(mode)
    assert_is_bar(desk.image(image, kind))


@pytest.mark.parametrize("kind", [MediaType.PNG, MediaType.TIFF])
@pytest.mark.parametrize("bits", [12, 16])
def test_sixteen_bits_are_scaled_and_not_clipped(desk: Desk, kind: MediaType, bits: int) -> None:
    highest = (1 << bits) - 1
    values = [round(level * highest / 3) for level in range(4)]
    image = Image.frombytes("I;16", (4, 1), struct.pack("<4H", *values)).resize(
        (40, 10), Image.Resampling.NEAREST
    )
    page = desk.image(image, kind)
    assert [pixel(page, x, 0.5) for x in (0.1, 0.3, 0.6, 0.9)] == pytest.approx([0, 85, 170, 255], abs=1)


@pytest.mark.parametrize("highest", [1.0, 255.0, 65535.0, 1e6])
def test_floating_point_is_scaled_by_its_range(desk: Desk, highest: float) -> None:
    image = bar().convert("F").point(lambda value: value * (highest / 255) + 0)
    assert_is_bar(desk.image(image, MediaType.TIFF))


def test_wide_integers_and_lab_become_grey(desk: Desk) -> None:
    assert_is_bar(desk.image(bar().convert("I").point(lambda value: value * 4_000_000 + 0), MediaType.TIFF))
    lab = Image.merge("LAB", (bar(), Image.new("L", (80, 40), 128), Image.new("L", (80, 40), 128)))
    assert_is_bar(desk.image(lab, MediaType.TIFF))


@pytest.mark.parametrize(
    ("mode", "kind"), [("LA", MediaType.PNG), ("RGBA", MediaType.PNG), ("RGBA", MediaType.WEBP)]
)
def test_what_is_transparent_is_paper(desk: Desk, mode: str, kind: MediaType) -> None:
    image = Image.new(mode, (80, 40), 0)
    image.putalpha(bar().point(lambda value: 255 - value))
    assert_is_bar(desk.image(image, kind))


def test_a_transparent_colour_of_a_palette_is_paper(desk: Desk) -> None:
    image = bar().point(lambda value: 1 if value else 0).convert("P")
    image.putpalette([0, 0, 0, 40, 40, 40])
    for kind in (MediaType.PNG, MediaType.GIF):
        assert_is_bar(desk.image(image, kind, transparency=1))


@pytest.mark.parametrize("kind", [MediaType.JPEG, MediaType.TIFF, MediaType.WEBP, MediaType.PNG])
@pytest.mark.parametrize(("orientation", "corner"), [(3, (0.9, 0.9)), (6, (0.9, 0.1)), (8, (0.1, 0.9))])
def test_a_photo_is_turned_as_its_camera_said(
    desk: Desk, kind: MediaType, orientation: int, corner: tuple[float, float]
) -> None:
    image = Image.new("L", (80, 40), 255)
    ImageDraw.Draw(image).rectangle((0, 0, 20, 10), fill=0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    page = desk.image(image.convert("RGB"), kind, exif=exif)
    assert (page.width, page.height) == ((80, 40) if orientation == 3 else (40, 80))
    assert pixel(page, *corner) < 40
    assert page.ink == pytest.approx(0.07, abs=0.01)


def test_the_frames_of_a_tiff_are_pages(desk: Desk) -> None:
    path = desk.folder / "frames.tif"
    frames = [bar(), Image.new("1", (10, 30), 1), bar("RGB")]
    frames[0].save(path, save_all=True, append_images=frames[1:], dpi=(300, 300))
    assert desk.probe(path.read_bytes(), MediaType.TIFF) == 3
    pages = desk.render(path.read_bytes(), 2, 3, 4, kind=MediaType.TIFF)
    assert (pages[2].width, pages[2].height, pages[2].ink) == (10, 30, 0.0)
    assert_is_bar(pages[3])
    assert pages[4].code is ReasonCode.RENDER_FAILED


def test_a_broken_frame_costs_no_other(desk: Desk) -> None:
    path = desk.folder / "frames.tif"
    frames = [Image.effect_noise((60, 60), 80) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        image.seek(1)
        start = image.tag_v2[TiffImagePlugin.STRIPOFFSETS][0]
    data[start : start + 500] = b"\xff" * 500
    pages = desk.render(bytes(data), 1, 2, 3, kind=MediaType.TIFF)
    assert [isinstance(page, PageImage) and not page.notes for page in pages.values()] == [True, False, True]


def test_an_endless_chain_of_frames_ends(desk: Desk) -> None:
    path = desk.folder / "loop.tif"
    bar().save(path)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    assert desk.probe(bytes(data), MediaType.TIFF) == 1


@pytest.mark.parametrize("kind", [MediaType.GIF, MediaType.WEBP, MediaType.PNG])
def test_an_animation_is_one_page(desk: Desk, kind: MediaType) -> None:
    path = desk.folder / "animation"
    bar("RGB").save(
        path, FORMATS[kind], save_all=True, append_images=[Image.new("RGB", (80, 40))], lossless=True
    )
    assert desk.probe(path.read_bytes(), kind) == 1
    assert_is_bar(desk.page(path.read_bytes(), kind))


@pytest.mark.parametrize("kind", [MediaType.PNG, MediaType.JPEG, MediaType.TIFF])
def test_an_image_that_ends_early_is_read_as_far_as_it_goes(desk: Desk, kind: MediaType) -> None:
    path = desk.folder / "whole"
    Image.effect_noise((200, 200), 80).save(path, FORMATS[kind])
    data = path.read_bytes()
    page = desk.page(data[: len(data) * 2 // 3], kind)
    assert (page.width, page.height) == (200, 200)
    assert "ends early" in page.notes[0]


def test_an_image_of_which_nothing_is_left_fails_as_damaged(desk: Desk) -> None:
    data = png_of(50, 50)[:45]
    assert desk.render(data, kind=MediaType.PNG)[1].code is ReasonCode.RENDER_FAILED
    with pytest.raises(InputRejected) as caught:
        desk.probe(data[:20], MediaType.PNG)
    assert caught.value.code is ReasonCode.DAMAGED


def test_a_broken_jpeg_is_told_in_words(desk: Desk) -> None:
    with pytest.raises(InputRejected, match="its header is broken") as caught:
        desk.probe(b"\xff\xd8\xff\xe0" + bytes(40), MediaType.JPEG)
    assert caught.value.code is ReasonCode.DAMAGED


def test_a_comment_that_is_far_too_large_costs_no_page(desk: Desk) -> None:
    bomb = bad_inputs.png_text_bomb("Still there")
    assert desk.probe(bomb, MediaType.PNG) == 1
    page = desk.page(bomb, MediaType.PNG)
    assert page.ink > 0.001
    assert "a comment or a colour profile in it is far too large" in page.notes[0]


def test_a_bomb_is_refused_by_its_header(desk: Desk) -> None:
    with pytest.raises(InputRejected) as caught:
        desk.probe(png_header(30_000, 30_000), MediaType.PNG)
    assert caught.value.code is ReasonCode.TOO_MANY_PIXELS
    assert desk.render(png_header(30_000, 30_000), kind=MediaType.PNG)[1].code is ReasonCode.TOO_MANY_PIXELS


def test_an_image_larger_than_a_page_may_be_is_scaled_down(make_desk: Callable[[RenderPolicy], Desk]) -> None:
    desk = make_desk(RenderPolicy(max_page_pixels=100_000))
    for kind in (MediaType.PNG, MediaType.JPEG):
        page = desk.image(bar(size=(1600, 800)), kind, dpi=(300, 300))
        assert 90_000 < page.width * page.height <= 100_000
        assert page.dpi == pytest.approx(300 * page.width / 1600, rel=0.01)
        assert_is_bar(page)


def test_no_page_is_longer_than_the_engine_can_read_but_for_images_that_it_reads_in_strips(
    desk: Desk,
) -> None:
    high = desk.image(bar(size=(400, 40_000)), MediaType.PNG, dpi=(1000, 1000))
    assert (high.width, high.height, round(high.dpi)) == (400, 40_000, 1000)
    wide = desk.image(bar(size=(40_000, 400)), MediaType.PNG, dpi=(1000, 1000))
    assert (wide.width, wide.height) == (32_700, 327)
    assert wide.dpi == pytest.approx(817.5, rel=0.001)
    page = desk.page(documents.pdf(b"", box="0 0 36 14400"))
    assert (page.height, page.dpi) == (32_600, 163)
    fault = desk.render(documents.pdf(b"", box="0 0 36 72000"))[1]
    assert fault.code is ReasonCode.RENDER_LIMIT
    assert "is 110000 pixels long, more than the 32700 that can be read" in str(fault)


def test_an_image_keeps_its_pixels_however_few(desk: Desk) -> None:
    page = desk.image(Image.new("L", (1, 1), 7), MediaType.PNG)
    assert (page.width, page.height, page.ink) == (1, 1, 0.0)


def test_a_fax_of_normal_resolution_gets_square_pixels(desk: Desk) -> None:
    page = desk.image(bar("1", size=(1728, 1100)), MediaType.TIFF, dpi=(204, 98), compression="group4")
    assert (page.width, page.height) == (1728, pytest.approx(2290, abs=2))
    assert page.dpi == pytest.approx(204, abs=1)


@pytest.mark.parametrize(
    ("width", "said", "believed"),
    [
        (2480, (300, 300), (300.0, 300.0)),
        (4000, (72, 72), None),
        (1000, (96, 96), (96.0, 96.0)),
        (1000, (1, 1), None),
        (1000, (0, 0), None),
        (1000, None, None),
        (1000, "bad", None),
        (60_000, (300, 300), None),
    ],
)
def test_a_resolution_is_believed_if_a_page_can_have_it(width: int, said: object, believed: object) -> None:
    image = Image.new("1", (width, 10))
    if said is not None:
        image.info["dpi"] = said
    assert read_resolution(image) == believed


def test_an_unknown_resolution_is_that_of_an_a4_page() -> None:
    assert estimate_dpi(2480, 3508) == pytest.approx(300, abs=1)
    assert (estimate_dpi(10, 10), estimate_dpi(1, 100_000)) == (70.0, 600.0)


def png_of(width: int, height: int) -> bytes:
    """A white image that is small on disk."""
    rows = zlib.compress((b"\0" + b"\xff" * width) * height, 1)
    return png_header(width, height)[:33] + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A file that promises so many pixels and has none of them."""
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# --- ink -------------------------------------------------------------------------------------------------------


def histogram(**counts: int) -> list[int]:
    levels = [0] * 256
    for name, count in counts.items():
        levels[int(name[1:])] += count
    return levels


def test_a_uniform_page_has_no_ink() -> None:
    assert ink_share(histogram(_255=1000)) == 0.0
    assert ink_share(histogram(_0=1000)) == 0.0
    assert ink_share([0] * 256) == 0.0


def test_black_on_white_counts_the_text_and_so_does_white_on_black() -> None:
    assert ink_share(histogram(_255=950, _0=50)) == pytest.approx(0.05)
    assert ink_share(histogram(_20=950, _250=50)) == pytest.approx(0.05)


@given(st.integers(20, 235))
def test_noise_of_twenty_levels_is_no_ink(background: int) -> None:
    levels = [0] * 256
    for level in range(background - 20, background + 21):
        levels[level] = 100
    assert ink_share(levels) == 0.0


@given(st.lists(st.integers(0, 10_000), min_size=256, max_size=256))
def test_ink_is_a_share(levels: list[int]) -> None:
    assert 0.0 <= ink_share(levels) < 1.0
