"""Bad input of every class, made at test time: documents as bytes, and things of the file system that are no documents.

Whoever makes a document here takes care that a good reader can tell: those that can be read at all show a line of type.
"""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from support.paper import draw
from support.rasterizer_documents import HANGING, assemble, cyclic_page_tree, needs_password, page_count, pdf

WIDTH, HEIGHT = 900, 200
"""Pixels of the pages drawn here, at 100 DPI."""
BOX = "0 0 648 144"
A_GIGABYTE_IN_BLOCKS = 1024
TOO_MANY_PAGES = 100_000


def stream(entries: str, data: bytes) -> bytes:
    """A stream object."""
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def scan(
    filters: str,
    data: bytes,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    depth: int = 8,
    page: str = "",
    catalog: str = "",
    more: tuple[bytes, ...] = (),
    encrypt: Callable[[int, bytes], bytes] = lambda _number, data: data,
) -> bytes:
    """A PDF of one page that is filled by one image; `more` objects have the numbers from 6 on."""
    image = f"/Type /XObject /Subtype /Image /Width {size[0]} /Height {size[1]} /BitsPerComponent {depth} "
    content = b"q 648 0 0 144 0 0 cm /I Do Q"
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{BOX}] /Contents 4 0 R {page}"
        " /Resources << /XObject << /I 5 0 R >> >> >>".encode(),
        stream("", encrypt(4, content)),
        stream(f"{image} /ColorSpace /DeviceGray {filters}", encrypt(5, data)),
        *more,
    ]
    return assemble(objects)


def flate_scan(text: str, **more: object) -> bytes:
    """A page with a line of type."""
    return scan("/Filter /FlateDecode", zlib.compress(draw(text).tobytes()), **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- encodings


def group_4(page: Image.Image) -> bytes:
    """A bilevel page as one strip of CCITT group 4 (ITU-T T.6); what is white in it is coded as black."""
    file = io.BytesIO()
    page.convert("1").save(file, "TIFF", compression="group4")
    with Image.open(file) as image:
        offsets, counts = (image.tag_v2[tag] for tag in (273, 279))  # type: ignore[attr-defined]
    assert len(offsets) == 1, "Pillow divides a small image into strips now"
    return file.getvalue()[offsets[0] : offsets[0] + counts[0]]


def ccitt(text: str, *, broken: bool = False) -> bytes:
    """A fax page."""
    data = group_4(ImageOps.invert(draw(text)))
    parameters = f"<< /K -1 /Columns {WIDTH} /Rows {HEIGHT} >>"
    if broken:
        data = bytes(byte ^ 0x5A for byte in data)
    return scan(f"/Filter /CCITTFaxDecode /DecodeParms {parameters}", data, depth=1)


def jpx(text: str, *, broken: bool = False) -> bytes:
    """A page as JPEG 2000."""
    file = io.BytesIO()
    draw(text).save(file, "JPEG2000")
    data = file.getvalue()
    return scan("/Filter /JPXDecode", data[:90] + b"\xff" * 4000 if broken else data)


def jbig2(text: str, *, broken: bool = False) -> bytes:
    """A page as JBIG2 (ITU-T T.88): a black page, and a generic region, coded by MMR, which is T.6, to be XORed to it.

    Poppler 22.12 decodes white letters on black in this way, but loses its place with black ones on white.
    """
    black, xor, mmr = 1 << 2, 2, 1
    sides = (0xFFFFFFF0, 0xFFFFFFF0) if broken else (WIDTH, HEIGHT)
    page = struct.pack(">IIIIBH", *sides, 0, 0, black, 0)
    region = struct.pack(">IIIIBB", WIDTH, HEIGHT, 0, 0, xor, mmr) + group_4(draw(text))
    data = b"".join(
        struct.pack(">IBBBI", number, kind, 0, 1, len(body)) + body
        for number, (kind, body) in enumerate(((48, page), (38, region)))
    )
    return scan("/Filter /JBIG2Decode", data, depth=1)


# --------------------------------------------------------------- encryption

_PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def encrypted(text: str, *, user: bytes, owner: bytes = b"owner") -> bytes:
    """A page behind passwords; with the empty user password everybody may open it (ISO 32000-1, 7.6.3, revision 2)."""
    permissions, identifier = -4, b"0123456789abcdef"
    padded_user = (user + _PADDING)[:32]
    for_owner = _rc4(_md5((owner + _PADDING)[:32])[:5], padded_user)
    key = _md5(padded_user + for_owner + struct.pack("<i", permissions) + identifier)[:5]
    for_user = _rc4(key, _PADDING)

    def encrypt(number: int, data: bytes) -> bytes:
        return _rc4(_md5(key + struct.pack("<I", number)[:3] + b"\0\0")[:10], data)

    rules = f"<< /Filter /Standard /V 1 /R 2 /P {permissions} /O <{for_owner.hex()}> /U <{for_user.hex()}> >>"
    document = flate_scan(text, encrypt=encrypt, more=(rules.encode(),))
    return document.replace(
        b"/Root 1 0 R", f"/Root 1 0 R /Encrypt 6 0 R /ID [<{identifier.hex()}> <{identifier.hex()}>]".encode()
    )


# -------------------------------------------------------------------- bombs


def _zeros(mebibytes: int) -> bytes:
    """So many MiB of zero bytes, deflated; its checksum is missing."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes


def stream_bomb() -> bytes:
    """A page whose content is 64 GiB of white space, deflated twice to some kilobytes."""
    data = zlib.compress(_zeros(64 * A_GIGABYTE_IN_BLOCKS), 9)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{BOX}] /Contents 4 0 R >>".encode(),
        stream("/Filter [/FlateDecode /FlateDecode]", data),
    ]
    return assemble(objects)


def slow_to_open() -> bytes:
    """A PDF whose catalog lies behind two gigabytes of white space in an object stream: to count its pages takes long."""
    spaces = zlib.compress(_zeros(4 * A_GIGABYTE_IN_BLOCKS), 9)
    out, offsets = b"%PDF-1.5\n", []
    for number, body in (
        (3, stream("/Type /ObjStm /N 2 /First 2147483647 /Filter [/FlateDecode /FlateDecode]", spaces)),
        (5, b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 36] >>"),
    ):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows = ((0, 0, 65535), (2, 3, 0), (2, 3, 1), (1, offsets[0], 0), (1, len(out), 0), (1, offsets[1], 0))
    table = b"".join(struct.pack(">BIH", *row) for row in rows)
    entries = stream("/Type /XRef /Size 6 /W [1 4 2] /Root 1 0 R", table)
    return out + b"4 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (entries, len(out))


def image_bomb() -> bytes:
    """A page of normal size with an image of 3.6 gigapixels."""
    return scan("/Filter [/FlateDecode /FlateDecode]", zlib.compress(_zeros(3600), 9), size=(60_000, 60_000))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *, before: bytes = b"", depth: int = 8) -> bytes:
    """A grey PNG of these deflated rows; `before` are chunks that come first."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def png_bomb() -> bytes:
    """30,000 × 30,000 pixels in less than a megabyte."""
    return png(30_000, 30_000, _zeros(860))


def png_text_bomb(text: str) -> bytes:
    """A good picture with a comment of a gigabyte."""
    rows = zlib.compress(b"".join(b"\0" + row for row in _rows(draw(text))))
    comment = _chunk(b"zTXt", b"Comment\0\0" + _zeros(A_GIGABYTE_IN_BLOCKS))
    return png(WIDTH, HEIGHT, rows, before=comment)


def _rows(image: Image.Image) -> list[bytes]:
    data = image.tobytes()
    return [data[at : at + image.width] for at in range(0, len(data), image.width)]


def many_pixels() -> bytes:
    """150 megapixels of white, which a page is decoded from and scaled down."""
    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * (12_248 // 8)
    rows = b"".join(packer.compress(row * 1000) for _ in range(12)) + packer.compress(row * 248)
    return png(12_248, 12_248, rows + packer.flush(), depth=1)


def long_picture(text: str) -> bytes:
    """A strip of paper of 33,000 lines of pixels, more than Tesseract reads."""
    paper = Image.new("L", (WIDTH, 33_000), 255)
    paper.paste(draw(text), (0, 32_000))
    file = io.BytesIO()
    paper.save(file, "PNG", dpi=(100, 100))
    return file.getvalue()


def many_pages() -> bytes:
    """A PDF with 100,000 pages, each of them there."""
    kids = " ".join(f"{3 + n} 0 R" for n in range(TOO_MANY_PAGES))
    tree = f"<< /Type /Pages /MediaBox [0 0 72 36] /Count {TOO_MANY_PAGES} /Kids [{kids}] >>".encode()
    page = b"<< /Type /Page /Parent 2 0 R >>"
    return _assemble_many([b"<< /Type /Catalog /Pages 2 0 R >>", tree, *[page] * TOO_MANY_PAGES])


def _assemble_many(objects: list[bytes]) -> bytes:
    """`assemble`, in linear time."""
    out, at, offsets = [b"%PDF-1.4\n"], 9, []
    for number, body in enumerate(objects, 1):
        offsets.append(at)
        out.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        at += len(out[-1])
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    tail = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, at)
    return b"".join(out) + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + tail


def many_frames() -> bytes:
    """A TIFF with 100,000 frames of one pixel, each of them there."""
    entries = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1))
    size = 2 + 12 * len(entries) + 4
    first = 10
    frames = []
    for n in range(TOO_MANY_PAGES):
        following = first + (n + 1) * size if n + 1 < TOO_MANY_PAGES else 0
        body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        frames.append(struct.pack("<H", len(entries)) + body + struct.pack("<I", following))
    return struct.pack("<2sHI", b"II", 42, first) + b"\x80\0" + b"".join(frames)


# ---------------------------------------------------------------- oddities


def xfa(text: str) -> bytes:
    """A dynamic form, whose page is what readers show that cannot fill it in."""
    form = b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'><template/></xdp:xdp>"
    return flate_scan(
        text, catalog="/NeedsRendering true /AcroForm << /Fields [] /XFA 6 0 R >>", more=(stream("", form),)
    )


def portfolio(text: str) -> bytes:
    """A cover page, and a file within the file."""
    names = "/Names << /EmbeddedFiles << /Names [(a.txt) 7 0 R] >> >>"
    return flate_scan(
        text,
        catalog=f"{names} /Collection << /View /D >>",
        more=(
            stream("/Type /EmbeddedFile", b"attached"),
            b"<< /Type /Filespec /F (../../a.txt) /EF << /F 6 0 R >> >>",
        ),
    )


def active(text: str) -> bytes:
    """A page that wants to run a program, load another file and a script as soon as it is opened."""
    action = "/OpenAction << /S /Launch /F (/bin/touch) /Win << /F (cmd.exe) >> >>"
    return flate_scan(
        text,
        catalog=action,
        page="/AA << /O << /S /JavaScript /JS (app.launchURL('file:///etc/passwd')) >> >>",
    )


def zip_archive() -> bytes:
    """An archive with one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<document/>")
    return file.getvalue()


def jpeg_that_is_a_pdf_too(text: str) -> bytes:
    """A good photo; within its first kilobyte begins a PDF."""
    file = io.BytesIO()
    draw(text).save(file, "JPEG", dpi=(100, 100), comment=b"%PDF-1.4\n1 0 obj\n")
    return file.getvalue()


def deep_arrays(text: str, depth: int = 100_000) -> bytes:
    """A page with arrays in arrays, deeper than any parser's stack."""
    return flate_scan(text, page="/Deep " + "[" * depth + "]" * depth)


def documents() -> dict[str, bytes]:
    """Every document made here, by the name under which it is dropped."""
    good = flate_scan("A perfect sheet")
    jpeg = io.BytesIO()
    draw("Sharp photo").save(jpeg, "JPEG", dpi=(100, 100))
    return {
        "user-password.pdf": encrypted("Secret", user=b"user"),
        "user-password-aes.pdf": needs_password(),
        "owner-password.pdf": encrypted("Open to everybody", user=b""),
        "half.pdf": good[: len(good) // 2],
        "no-tail.pdf": good[: good.index(b"startxref")],
        "half.png": _saved("PNG")[:2500],
        "half.jpg": jpeg.getvalue()[: len(jpeg.getvalue()) // 2],
        "zero-bytes.pdf": b"",
        "zero-bytes.png": b"",
        "one-byte.pdf": b"%",
        "header-only.pdf": b"%PDF-1.7\n",
        "no-header.pdf": good.removeprefix(b"%PDF-1.4\n"),
        "wrong-header.pdf": good.replace(b"%PDF-", b"%PDF.", 1),
        "nul.pdf": bytes(65536),
        "png-named.pdf": _saved("PNG"),
        "pdf-named.png": good,
        "zip-named.pdf": zip_archive(),
        "text-named.pdf": b"Dear reader,\nthis is no PDF.\n",
        "photo.heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "html-named.jpg": b"<!doctype html><html><body>404</body></html>",
        "cyclic-tree.pdf": cyclic_page_tree(),
        "lying-count.pdf": page_count(2_147_483_647),
        "zero-pages.pdf": page_count(0),
        "deep-arrays.pdf": deep_arrays("Deep down"),
        "giant-box.pdf": pdf(b"", box="0 0 200000 200000"),
        "no-box.pdf": pdf(b"", box="0 0 0 0"),
        "hanging.pdf": pdf(HANGING),
        "long.png": long_picture("A long receipt"),
        "many-pixels.png": many_pixels(),
        "stream-bomb.pdf": stream_bomb(),
        "slow-to-open.pdf": slow_to_open(),
        "image-bomb.pdf": image_bomb(),
        "png-bomb.png": png_bomb(),
        "png-text-bomb.png": png_text_bomb("A comment too long"),
        "many-pages.pdf": many_pages(),
        "many-frames.tif": many_frames(),
        "jbig2.pdf": jbig2("Black on white"),
        "jbig2-broken.pdf": jbig2("Black on white", broken=True),
        "jpx.pdf": jpx("Written by wavelets"),
        "jpx-broken.pdf": jpx("Written by wavelets", broken=True),
        "ccitt.pdf": ccitt("Written by fax"),
        "ccitt-broken.pdf": ccitt("Written by fax", broken=True),
        "xfa.pdf": xfa("Please wait"),
        "portfolio.pdf": portfolio("Cover sheet"),
        "active.pdf": active("Active sheet"),
        "pdf-and-zip.pdf": good + zip_archive(),
        "zip-and-pdf.pdf": zip_archive() + good,
        "behind-junk.pdf": b"\r\nHTTP/1.1 200 OK\r\n" + b"junk " * 100 + good,
        "far-behind-junk.pdf": b"junk " * 1000 + good,
        "jpeg-and-pdf.pdf": jpeg_that_is_a_pdf_too("Photo or not"),
    }


def _saved(kind: str) -> bytes:
    file = io.BytesIO()
    draw("Plain picture").save(file, kind, dpi=(100, 100))
    return file.getvalue()


# -------------------------------------------------------- names and things

NAMES: tuple[bytes, ...] = (
    b"new\nline.png",
    b"tab\tand\rreturn.png",
    b"\x1b[31mred\x1b[0m\x07.png",
    b"bad\xff\xfebytes.png",
    "\u202egnp.txt.exe".encode() + b".png",
    "zero\u200bwidth.png".encode(),
    "caf\u00e9.png".encode(),
    "cafe\u0301.png".encode(),
    b"same.png",
    b"SAME.PNG",
    b" leading and trailing .png",
    b"quote'\"$(touch pwned)`id`;&|%s{0}.png",
    b"-rf.png",
    b"CON.png",
    b"n" * 247 + b".png",
)
"""Each of them is as good a name as any."""
TOO_LONG: tuple[bytes, ...] = (b"n" * 251 + b".png", "я".encode() * 125 + b".png")
"""With `.txt` behind them, they would pass the 255 bytes of a name."""


def make_things(folder: Path, outside: Path) -> list[str]:
    """Things that are no files, and links out of the folder and in circles; the names of those that could be made."""
    os.mkfifo(folder / "pipe.pdf")
    opened = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{opened}/socket.pdf")  # a socket's path is short
    os.close(opened)
    (folder / "folder.pdf").mkdir()
    for name, target in (
        ("outside.pdf", outside / "secret.pdf"),
        ("outside-folder", outside),
        ("device-link.pdf", Path("/dev/zero")),
        ("dangling.pdf", Path("/nowhere/at/all.pdf")),
        ("loop.pdf", Path("loop.pdf")),
        ("loop", Path()),
    ):
        (folder / name).symlink_to(target)
    made = ["pipe.pdf", "socket.pdf"]
    if make_device(folder / "device.pdf"):
        made.append("device.pdf")
    return made


def make_device(path: Path) -> bool:
    """A node of /dev/zero, which nobody ever reads to its end; False where only root may make one."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        return False
    return True
