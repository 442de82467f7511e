"""PDFs behind a password: where passwords come from, and opening such a file with one.

Poppler takes a password on its command line only, where every user of the machine can see it. So pikepdf opens the file, and
poppler gets a copy without a password that lies in memory and has no name: nothing of it is ever written to a disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ocrd.domain.errors import InputRejected, ReasonCode
from ocrd.host.files import open_regular
from ocrd.packages import install_command

SIDECAR = b".password"
"""`scan.pdf.password` beside `scan.pdf` holds its password in the first line."""
MAX_BYTES = 4096
GROWTH = 2
"""A copy is at most so many times as large: what was compressed stays so."""


def sidecar_password(path: bytes) -> tuple[str, ...]:
    """The password that lies beside a document, if one does; a link or what is no text is none."""
    with suppress(OSError, UnicodeDecodeError), open_regular(path + SIDECAR) as fd:
        line = os.read(fd, MAX_BYTES).decode("utf-8-sig").split("\n", 1)[0].rstrip("\r")
        return (line,) if line else ()
    return ()


@contextmanager
def unlocked(source: str, passwords: Sequence[str]) -> Iterator[str]:
    """The name of a copy that asks for no password, as long as the block lasts. Raises InputRejected (ENCRYPTED) if none
    of the passwords opens the file."""
    try:
        import pikepdf
    except ImportError as err:
        raise InputRejected(
            ReasonCode.ENCRYPTED,
            "the PDF is protected with a password, and passwords need pikepdf, which is not installed: "
            f"{install_command('pdf')}",
        ) from err
    copy = os.memfd_create("unlocked", os.MFD_CLOEXEC)
    try:
        for password in passwords:
            try:
                with pikepdf.open(source, password=password) as pdf, open(copy, "wb", closefd=False) as file:
                    pdf.save(file, encryption=False)
                break
            except pikepdf.PasswordError:
                continue
            except (pikepdf.PdfError, ValueError) as err:
                raise InputRejected(
                    ReasonCode.DAMAGED, f"the PDF is protected, and cannot be opened with its password: {err}"
                ) from err
        else:
            raise InputRejected(
                ReasonCode.ENCRYPTED,
                "the PDF is protected with a password, and none that is known fits",
            )
        yield f"/proc/{os.getpid()}/fd/{copy}"
    finally:
        os.close(copy)
