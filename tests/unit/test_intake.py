from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.running import wait_until
from support.users import unprivileged

from ocrd.domain.documents import MediaType
from ocrd.domain.errors import InputRejected, ReasonCode, SourceChanged
from ocrd.host import files
from ocrd.pipeline import intake
from ocrd.pipeline.intake import HEAD_BYTES, describe, inspect, is_meant_to_be_read, sniff

MIB = 1 << 20
BMP = (
    b"BM" + (1000).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"


def put(folder: Path, name: str | bytes, content: bytes = PDF) -> bytes:
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    Path(os.fsdecode(path)).write_bytes(content)
    return path


def rejection(path: bytes, *, max_bytes: int = MIB) -> InputRejected:
    with pytest.raises(InputRejected) as caught:
        inspect(path, max_bytes=max_bytes)
    return caught.value


# --- what a file is ----------------------------------------------------------------------------------------

KNOWN = [
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", MediaType.PNG),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", MediaType.JPEG),
    (b"\xff\xd8\xff\xe1\x00\x10Exif", MediaType.JPEG),
    (b"II*\x00\x08\x00\x00\x00", MediaType.TIFF),
    (b"MM\x00*\x00\x00\x00\x08", MediaType.TIFF),
    (b"II+\x00\x08\x00\x00\x00", MediaType.TIFF),
    (b"MM\x00+\x00\x08\x00\x00", MediaType.TIFF),
    (b"RIFF\x24\x00\x00\x00WEBPVP8 ", MediaType.WEBP),
    (BMP, MediaType.BMP),
    (b"GIF87a\x01\x00\x01\x00", MediaType.GIF),
    (b"GIF89a\x01\x00\x01\x00", MediaType.GIF),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00", MediaType.JPEG2000),
    (b"\xff\x4f\xff\x51\x00\x2f", MediaType.JPEG2000),
    (b"P1\n# a comment\n2 2\n", MediaType.NETPBM),
    (b"P2 2 2 255\n", MediaType.NETPBM),
    (b"P3\r\n2 2 255\n", MediaType.NETPBM),
    (b"P4\n2 2\n", MediaType.NETPBM),
    (b"P5\n#made by\n2 2\n255\n", MediaType.NETPBM),
    (b"P6\n2 2\n255\n", MediaType.NETPBM),
    (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", MediaType.HEIF),
    (b"\x00\x00\x00\x18ftypheix", MediaType.HEIF),
    (b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00heic", MediaType.HEIF),
    (b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00miaf", MediaType.HEIF),
    (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", MediaType.AVIF),
    (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1avif", MediaType.AVIF),
    (b"\x00\x00\x00\x18ftypavis", MediaType.AVIF),
    (PDF, MediaType.PDF),
    (b"\xef\xbb\xbf" + PDF, MediaType.PDF),
    (b"\r\n\r\n" + PDF, MediaType.PDF),
    (bytes(128) + PDF, MediaType.PDF),
]

FOREIGN = [
    (b"PK\x03\x04\x14\x00", "a ZIP archive or Office document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41", "a video or a sound"),
    (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "a video or a sound"),
    (b"\x1f\x8b\x08\x00", "gzip-compressed data"),
    (b"Rar!\x1a\x07\x00", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"AT&TFORM\x00\x00\x00\x00DJVM", "a DjVu document"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript document"),
    (b"<!DOCTYPE HTML><title>", "a web page"),
    (b"\n<HTML lang=en>", "a web page"),
    (bytes(100), "empty data (only zero bytes)"),
    (b"Just a line.\r\n\tAnother.", "plain text"),
    ("Просто строка.\n".encode(), "plain text"),
    (b"\x7fELF\x02\x01\x01\x00", "data of an unknown kind"),
    (b"RIFF\x24\x00\x00\x00WAVEfmt ", "data of an unknown kind"),
]


@pytest.mark.parametrize(("head", "kind"), KNOWN, ids=lambda value: str(value)[:24])
def test_a_file_is_known_by_its_content(head: bytes, kind: MediaType) -> None:
    assert sniff(head) is kind


def test_every_kind_of_input_is_tried_above() -> None:
    assert {kind for _, kind in KNOWN} == set(MediaType)


@pytest.mark.parametrize(("head", "name"), FOREIGN, ids=lambda value: str(value)[:24])
def test_a_foreign_file_is_named_and_not_taken(head: bytes, name: str) -> None:
    assert sniff(head) is None
    assert describe(head) == name


@pytest.mark.parametrize("junk", [0, 1, HEAD_BYTES - 5])
def test_a_pdf_may_have_junk_before_it_within_the_first_kilobyte(junk: int) -> None:
    assert sniff((b"x" * junk + PDF)[:HEAD_BYTES]) is MediaType.PDF


@pytest.mark.parametrize("head", [b"%PDF.1.4\n%\xe2\xe3\n1 0 obj\n<<", b"12 0 obj\r<< /Type /Page >>"])
def test_a_pdf_without_its_header_is_one(head: bytes) -> None:
    assert sniff(head) is MediaType.PDF


def test_what_begins_later_is_no_pdf(tmp_path: Path) -> None:
    path = put(tmp_path, "late.pdf", b"x" * (HEAD_BYTES - 4) + PDF)
    assert rejection(path).code is ReasonCode.UNSUPPORTED_TYPE


@pytest.mark.parametrize(
    "text",
    [b"BMW bill of sale", b"BM", b"P1 is the first point", b"P5", b"P3\n", b"P7\nWIDTH 2", b"RIFF1234WEB"],
)
def test_text_that_begins_like_an_image_is_text(text: bytes) -> None:
    assert sniff(text) is None


@given(st.binary(max_size=1100) | st.sampled_from([head for head, _ in KNOWN + FOREIGN]))
def test_any_bytes_at_all_are_one_of_the_kinds_or_described(head: bytes) -> None:
    for cut in (head, head[:1], head[:9]):
        assert sniff(cut) in {None, *MediaType}
        assert describe(cut).isprintable()


# --- which names are meant ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [b"a.pdf", b"A.PDF", b"b.Tiff", b"a.tar.jpeg", b"\xff.jp2", b"x/y.z/a.webp", b"IMG_1.HEIC"]
)
def test_the_name_of_a_scan_is_meant_to_be_read(name: bytes) -> None:
    assert is_meant_to_be_read(name)


@pytest.mark.parametrize("name", [b"a.txt", b"pdf", b".pdf", b"a.pdf.docx", b"a.\xff\xfe", b"a.pdf/b", b"a."])
def test_other_names_are_not(name: bytes) -> None:
    assert not is_meant_to_be_read(name)


# --- looking into a file -----------------------------------------------------------------------------------


def test_a_good_file_is_known_by_kind_checksum_and_identity(tmp_path: Path) -> None:
    path = put(tmp_path, "scan.pdf")
    inspected = inspect(path, max_bytes=MIB)
    assert inspected == intake.Inspected(
        MediaType.PDF, hashlib.sha256(PDF).hexdigest(), files.stat_regular(path)
    )


@pytest.mark.parametrize("name", ["scan.jpg", "scan", "scan.txt", b"\xff\xfe.pdf", "new\nline.pdf"])
def test_the_content_counts_and_not_the_name(tmp_path: Path, name: str | bytes) -> None:
    inspected = inspect(put(tmp_path, name), max_bytes=MIB)
    assert inspected is not None
    assert inspected.media_type is MediaType.PDF


@pytest.mark.parametrize(("head", "name"), FOREIGN, ids=lambda value: str(value)[:24])
def test_what_calls_itself_a_pdf_and_is_none_is_rejected_with_what_it_is(
    tmp_path: Path, head: bytes, name: str
) -> None:
    err = rejection(put(tmp_path, "letter.PDF", head))
    assert err.code is ReasonCode.UNSUPPORTED_TYPE
    assert name in str(err)
    assert err.hint


@pytest.mark.parametrize("name", ["notes.txt", "letter.docx", "data.bin", "README"])
@pytest.mark.parametrize("content", [b"Just text.", b"PK\x03\x04rest", b"", b"\x00" * 10])
def test_a_foreign_file_under_a_foreign_name_is_none_of_our_business(
    tmp_path: Path, name: str, content: bytes
) -> None:
    assert inspect(put(tmp_path, name, content), max_bytes=1) is None


@pytest.mark.parametrize("name", ["howto.md", "reader.py", "mail.eml", "notes"])
def test_a_text_that_only_talks_about_pdfs_is_none_of_our_business(tmp_path: Path, name: str) -> None:
    assert inspect(put(tmp_path, name, b"A PDF begins with %PDF-1.7\n"), max_bytes=MIB) is None


def test_an_empty_scan_is_rejected(tmp_path: Path) -> None:
    assert rejection(put(tmp_path, "scan.png", b"")).code is ReasonCode.EMPTY_FILE


def test_a_file_may_have_the_allowed_size_and_not_one_byte_more(tmp_path: Path) -> None:
    path = put(tmp_path, "scan.pdf", PDF + b"x")
    assert inspect(path, max_bytes=len(PDF) + 1) is not None
    assert rejection(path, max_bytes=len(PDF)).code is ReasonCode.TOO_LARGE


def test_a_file_too_large_is_not_read_first(tmp_path: Path) -> None:
    path = put(tmp_path, "scan.pdf")
    os.truncate(path, 1 << 40)  # sparse: hashing it would take half an hour
    err = rejection(path, max_bytes=2048 * MIB)
    assert err.code is ReasonCode.TOO_LARGE
    assert "2048 MiB" in str(err)


@pytest.mark.parametrize("letter", ["a", "я"])
def test_a_name_must_leave_room_for_an_output_behind_it(tmp_path: Path, letter: str) -> None:
    stem = letter * (247 // len(letter.encode()))
    fits = stem + "x" * (251 - 4 - len(stem.encode())) + ".pdf"
    assert inspect(put(tmp_path, fits), max_bytes=MIB) is not None
    err = rejection(put(tmp_path, "x" + fits))
    assert err.code is ReasonCode.NAME_TOO_LONG
    assert "252 bytes" in str(err)


def test_a_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    path = put(tmp_path, "scan.pdf")
    for name, target in ((b"link.pdf", path), (b"loop.pdf", b"loop.pdf"), (b"dangling.pdf", b"nowhere")):
        link = os.path.join(os.fsencode(tmp_path), name)
        os.symlink(target, link)
        assert rejection(link).code is ReasonCode.UNREADABLE


@pytest.mark.timeout(10)
def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "scan.pdf")
    os.mkfifo(path)
    assert rejection(path).code is ReasonCode.UNREADABLE


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").mkdir()
    assert rejection(os.fsencode(tmp_path / "scan.pdf")).code is ReasonCode.UNREADABLE


def test_a_file_that_may_not_be_read_is_refused_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = put(Path(folder), "scan.pdf")
        os.chmod(path, 0)
        with unprivileged():
            err = rejection(path)
    assert err.code is ReasonCode.UNREADABLE
    assert "make it readable" in err.hint


def test_a_file_that_is_gone_has_changed_and_is_not_rejected(tmp_path: Path) -> None:
    with pytest.raises(SourceChanged) as caught:
        inspect(os.fsencode(tmp_path / "scan.pdf"), max_bytes=MIB)
    assert caught.value.code is ReasonCode.FILE_GONE


def touch_until(path: bytes, stop: Event) -> None:
    for number in itertools.count(1):
        if stop.is_set():
            return
        os.utime(path, ns=(0, number))


def grow_until(path: bytes, stop: Event) -> None:
    with open(path, "ab", buffering=0) as file:
        while not stop.is_set():
            file.write(b"x")


def replace_until(path: bytes, stop: Event) -> None:
    while not stop.is_set():
        with open(path + b".new", "wb") as file:
            file.write(PDF)
            file.truncate(32 * MIB)
        os.replace(path + b".new", path)


@pytest.mark.parametrize("change", [touch_until, grow_until, replace_until])
def test_a_file_that_is_changed_while_it_is_read_is_noticed(tmp_path: Path, change: object) -> None:
    path = put(tmp_path, "scan.pdf")
    os.truncate(path, 32 * MIB)
    stop = Event()
    writer = Thread(target=change, args=(path, stop))
    writer.start()

    def noticed() -> bool:
        try:
            inspect(path, max_bytes=1 << 30)
        except SourceChanged as err:
            return err.code is ReasonCode.SUPERSEDED
        return False

    try:
        wait_until(noticed, "the change is noticed")
    finally:
        stop.set()
        writer.join()
