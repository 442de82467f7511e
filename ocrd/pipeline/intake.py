"""Intake: what a complete file is, by its content, and whether it can be worked on."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ocrd.domain.documents import FileIdentity, MediaType
from ocrd.domain.errors import InputRejected, ReasonCode, SourceChanged
from ocrd.host import files
from ocrd.pipeline import searchable_pdf

HEAD_BYTES = 1024
"""How far from its beginning a PDF's `%PDF-` may stand (ISO 32000-1, annex H.3)."""

NAME_MAX_BYTES = 255
LONGEST_SUFFIX = b".txt"

UNREADABLE_EXTENSIONS = frozenset({"djvu", "djv"})
"""Scans that ocrd cannot read; who drops one shall hear of it."""

KNOWN_EXTENSIONS = UNREADABLE_EXTENSIONS | {
    *("pdf", "png", "jpg", "jpeg", "jpe", "jfif", "tif", "tiff", "webp", "bmp", "dib", "gif", "jp2", "j2k", "jpx"),
    *("pgm", "ppm", "pbm", "pnm", "heic", "heif", "hif", "avif"),
}  # fmt: skip
"""A file of such a name is meant to be read: if its content is something else, its owner wants to know."""

_MAGIC: tuple[tuple[int, bytes, MediaType], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", MediaType.PNG),
    (0, b"\xff\xd8\xff", MediaType.JPEG),
    (0, b"II*\x00", MediaType.TIFF),
    (0, b"MM\x00*", MediaType.TIFF),
    (0, b"II+\x00", MediaType.TIFF),
    (0, b"MM\x00+", MediaType.TIFF),
    (8, b"WEBP", MediaType.WEBP),
    (0, b"GIF87a", MediaType.GIF),
    (0, b"GIF89a", MediaType.GIF),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", MediaType.JPEG2000),
    (0, b"\xff\x4f\xff\x51", MediaType.JPEG2000),
)

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_PICTURE_BRANDS = frozenset({b"mif1", b"msf1"})
"""Say that a file is a picture (ISO/IEC 23008-12), and not how it is coded."""

# The marks of these two are so short that text begins with them too: "BMW …", "P1 is …".
_BMP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
_NETPBM = re.compile(rb"P[1-6]\s+(?:#|\d+\s+(?:#|\d))")
_PDF_OBJECT = re.compile(rb"(?:^|[\r\n])\d+ \d+ obj\b")
"""Poppler reads a PDF whose first line is damaged or missing all the same."""

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a ZIP archive or Office document"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document"),
    (4, b"ftyp", "a video or a sound"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"%!PS", "a PostScript document"),
)


@dataclass(frozen=True, slots=True)
class Inspected:
    """A file that can be worked on: what it is, and the checksum of its content."""

    media_type: MediaType
    sha256: str
    identity: FileIdentity


def sniff(head: bytes) -> MediaType | None:
    """What a file is by its first bytes; None if it is nothing that ocrd reads."""
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic and (
            kind is not MediaType.WEBP or head[:4] == b"RIFF"
        ):
            return kind
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return MediaType.BMP
    if _NETPBM.match(head):
        return MediaType.NETPBM
    if head[4:8] == b"ftyp":
        return _sniff_container(head)
    return MediaType.PDF if b"%PDF-" in head[:HEAD_BYTES] or _PDF_OBJECT.search(head) else None


def _sniff_container(head: bytes) -> MediaType | None:
    """Which photo an ISO media file holds by its brands, the first of which counts most; None for a video."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))]
    for brand in brands:
        if brand in _HEIF_BRANDS:
            return MediaType.HEIF
        if brand in _AVIF_BRANDS:
            return MediaType.AVIF
    return MediaType.HEIF if _PICTURE_BRANDS.intersection(brands) else None


def describe(head: bytes) -> str:
    """What a file is that ocrd does not read, in words."""
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return name
    if b"<html" in head.lower() or b"<!doctype html" in head.lower():
        return "a web page"
    if not head.strip(b"\x00"):
        return "empty data (only zero bytes)"
    printable = sum(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return "plain text" if printable == len(head) else "data of an unknown kind"


def is_meant_to_be_read(path: bytes) -> bool:
    """Whether the name says that this is a scan or a PDF."""
    extension = os.path.splitext(path)[1].lstrip(b".").lower()
    return extension.decode("ascii", "replace") in KNOWN_EXTENSIONS


def inspect(path: bytes, *, max_bytes: int) -> Inspected | None:
    """Look at a complete file. None if it is none of ocrd's business.

    Raises InputRejected with the reason, SourceChanged if it changed while it was read.
    """
    try:
        with files.open_regular(path) as fd:
            identity = files.identity_of(os.fstat(fd))
            head = os.pread(fd, HEAD_BYTES, 0)
            kind = sniff(head)
            if not is_meant_to_be_read(path) and not _speaks_for_itself(kind, head):
                return None
            if kind is MediaType.PDF and searchable_pdf.is_ours(
                os.pread(fd, searchable_pdf.TAIL_BYTES, max(0, identity.size - searchable_pdf.TAIL_BYTES))
            ):
                return None
            _check(path, identity, head, kind, max_bytes)
            sha256 = files.sha256_of(fd)
            unchanged = files.identity_of(os.fstat(fd)) == identity == files.stat_regular(path)
    except FileNotFoundError as err:
        raise SourceChanged(ReasonCode.FILE_GONE, "the file went away") from err
    except OSError as err:
        if os.path.splitext(path)[1] and not is_meant_to_be_read(path):
            return None  # somebody's locked notes are no more our business than open ones
        raise InputRejected(
            ReasonCode.UNREADABLE,
            f"the file cannot be read by uid {os.getuid()}: {err.strerror}",
        ) from err
    if not unchanged:
        raise SourceChanged(ReasonCode.SUPERSEDED, "the file was changed while it was read")
    assert kind is not None
    return Inspected(kind, sha256, identity)


def _speaks_for_itself(kind: MediaType | None, head: bytes) -> bool:
    """Whether the content alone says that this is to be read: a text may well talk of `%PDF-`."""
    return kind is not None and (kind is not MediaType.PDF or head.startswith(b"%PDF-"))


def _check(path: bytes, identity: FileIdentity, head: bytes, kind: MediaType | None, max_bytes: int) -> None:
    name = os.path.basename(path)
    if len(name) + len(LONGEST_SUFFIX) > NAME_MAX_BYTES:
        raise InputRejected(
            ReasonCode.NAME_TOO_LONG,
            f"the name has {len(name)} bytes; with .txt behind it, it would pass the {NAME_MAX_BYTES} a name may have",
        )
    if identity.size == 0:
        raise InputRejected(ReasonCode.EMPTY_FILE, "the file is empty (0 bytes)")
    if identity.size > max_bytes:
        raise InputRejected(
            ReasonCode.TOO_LARGE,
            f"the file has {identity.size / 2**20:.0f} MiB, more than the {max_bytes / 2**20:.0f} MiB allowed",
        )
    if kind is None:
        raise InputRejected(
            ReasonCode.UNSUPPORTED_TYPE,
            f"the content is {describe(head)}, not a PDF or an image that ocrd reads",
        )
