"""Small documents of every kind, well-formed and hostile, made at test time from bytes and with Pillow."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

A_BLACK_BAR = b"18 9 36 18 re f"
"""On a page of 72 × 36 points it covers a quarter."""
BAR_INK = 0.25
FORM_DEPTH = 12


def pdf(
    *contents: bytes, box: str = "0 0 72 36", extra: str = "", boxes: Sequence[str] | None = None
) -> bytes:
    """A PDF with a page for each content stream; `extra` goes into each page, `boxes` are their MediaBoxes."""
    sizes = boxes or [box] * len(contents)
    forms = FORM_DEPTH + 1
    first = 3 + forms
    kids = " ".join(f"{first + 2 * index} 0 R" for index in range(len(contents)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    objects.append(f"<< /Type /Pages /Count {len(contents)} /Kids [{kids}] >>".encode())
    objects += [_form(level) for level in range(forms)]
    for index, content in enumerate(contents):
        page = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{sizes[index]}] {extra} /Contents {first + 2 * index + 1} 0 R"
            " /Resources << /XObject << /F 3 0 R >> >> >>"
        )
        objects += [page.encode(), _stream("", content)]
    return assemble(objects)


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _form(level: int) -> bytes:
    """Each form draws the next one ten times: 10¹² bars for who draws the first, from 2 KB."""
    if level == FORM_DEPTH:
        return _stream("/Type /XObject /Subtype /Form /BBox [0 0 72 36]", A_BLACK_BAR)
    entries = (
        f"/Type /XObject /Subtype /Form /BBox [0 0 72 36] /Resources << /XObject << /F {level + 4} 0 R >> >>"
    )
    return _stream(entries, b"/F Do " * 10)


HANGING = b"/F Do"
"""The content of a page that poppler draws for years."""


def assemble(objects: Sequence[bytes]) -> bytes:
    """A PDF file of these objects, numbered from 1; the first one is its catalog."""
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def cyclic_page_tree() -> bytes:
    """A page tree that is its own child."""
    return assemble(
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 1 /Kids [2 0 R] /Parent 2 0 R >>"]
    )


def page_count(count: int) -> bytes:
    """A PDF that says it has so many pages, and has none."""
    return assemble(
        [b"<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Count {count} /Kids [] >>".encode()]
    )


def needs_password() -> bytes:
    """A page that cannot be opened without its user password."""
    return zlib.decompress(base64.b64decode(_NEEDS_PASSWORD))


def owner_password_only() -> bytes:
    """A page of 144 × 72 points with a bar, which everybody may open, and only its owner may change."""
    return zlib.decompress(base64.b64decode(_OWNER_PASSWORD_ONLY))


_NEEDS_PASSWORD = (
    "eNqFkrtu1EAUhjsi+SlOs2Xw3C+SZQmyWQkBymoDNIFibl6MNnbknYiEF0mLeANER8Mj0EHLWyBAQoyd7K4hBeNi5DPn//6Zf2Yy"
    "n8728V2WTT59f/c7w4Cgta+yooB8bpZhDSRVFpA/uTwLkB+YaFbtEsoyC43vG8lIcNCeNxEw5A9rv4YToIP0xUZ8zdtJ6V/SJoYm"
    "roFd2z0Ovjb324tEQenDjIEkPWpuutS32dUirNvzziVsgpTl2GlkxEZGj0KzjC+BMMhn9SqGLs0rE8M0uNYPonXsgjnN3lZ39j6G"
    "n1+e2x8frn59vve6+Ppt7/3pVQ+9abnB8xF+wzyOpvGm81tDTBTkR1AQQypksNYIa+IEwphJiqx3nuqKSkWU4dQpbShD3qc1pzjR"
    "2jtOuArYpTPOYR+jHrdICedPoZCGGUSkTSiLKikItcoKL0KgjFlhECIpQJE8rQ4sOSKJDfMaI6YVczgxn6VEd4FddKHKEIgMbQcI"
    "zimHCrY1nM49rDS7mmC3apjQWzWSdv9vjY77YmfqVcqxj3TRtv2jGu77uH4TQED+YAonBebaMlx5g5yXmKr+x1miFPHSESnK/3ek"
    "B3XYuO7yLAIfHIb7N10cEuCUZpPJ4dEs+wPgKton"
)
_OWNER_PASSWORD_ONLY = (
    "eNqFUrtu1EAUpXbFJ1whbRk8dx72DLJckM1KCFBWG6CJUoznsSxa7Mg7kbJ8ABE0SNSp8gsUlFQU/ASfQENBhxg72V1DCuzC9vF5"
    "zD0zo+l4sof3eTL68uvqd4JAoKleJUUB6VTP3QpoRGaQPlufOkj3ddDLZg5lmbjadkQ6EOw3Z3UAhPTxwq7gGFgvPdmIr/12UvaX"
    "tA6uDivg13FPnV3oh815dCHxRs4hp53VVLeRt1nVzK2as9ZE22hSlsOkQRAfBD1x9Ty8BMohnSyWwbXxudTBjZ1pbC9ahdbp18nX"
    "T/7k/bu6ePDtw/cfFx/N57c/7925u77sTG8oN/ZiYL/xPAq6trq120CkEtJDKPK8kr4iShJKLdMV45TlTouMM0NkjiS+I2XeCC9l"
    "5ZViOpPGaOGRVpz4OOMU9pB0drPYcPocCqUsR6GItZKjphlBx3LDMo0o0EtPCI0FZkqRSjmOyEmOmluFhCvJDUbPF7HRXWHnrfMJ"
    "gSwh2wsyIZgAD1sM49z9n3qHZfwWFoe5hdG4+n8xNuSFVi+Wsceu0lnTdIeq3++jxRsHGaSPxnBcxJErjt5qYmyOTHYfpqJSUpsb"
    "mmfl/xnxQB3Upl2fBhB9Qr//ug19A4KxZDQ6OJwkfwCLJtlx"
)
