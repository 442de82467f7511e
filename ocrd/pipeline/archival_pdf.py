"""PDF/A-2b (ISO 19005-2): what a searchable PDF needs to be one, and whether it may say so. Runs in the rasterizer's job process.

A PDF of a picture is all ours: it gets an output intent, metadata, and pictures of kinds that the standard allows. A PDF of
others keeps what it declares; nothing is claimed for one that declares nothing.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from ocrd.domain.errors import PageFault, ReasonCode

LONGEST_STRING_BYTES = 32_767
"""ISO 19005-2, 6.1.13; img2pdf keeps to its sizes of pages."""
_KEEPABLE_PARTS = {"1", "2", "3"}
"""PDF/A-4 is PDF 2.0: another header, and other rules."""
_FILTERS = {"/DCTDecode", "/FlateDecode", "/CCITTFaxDecode"}
_CHANNELS = {"/DeviceGray": 1, "/DeviceRGB": 3}
_ICC_CLASSES, _ICC_CHANNELS = {b"scnr", b"mntr", b"prtr", b"spac"}, {b"GRAY": 1, b"RGB ": 3}
_ICC_HEADER_BYTES = 128
_NEWEST_ICC = 4
_METADATA = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/">
<pdfaid:part>2</pdfaid:part>
<pdfaid:conformance>B</pdfaid:conformance>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def may_stand(data: bytes) -> bool:
    """Whether the pictures of a PDF that img2pdf made may stand in a PDF/A as they are."""
    import pikepdf

    with pikepdf.open(io.BytesIO(data)) as pdf:
        pictures = [picture for page in pdf.pages for picture in page.get_images().values()]
        return all(_is_allowed(picture) for picture in pictures)


def _is_allowed(picture: Any) -> bool:
    """ISO 19005-2, 6.2.4 and 6.2.8: colours that the output intent or a profile explains. JPEG 2000 and LZW are not looked
    into, and transparent places are put on paper."""
    if "/SMask" in picture or "/Mask" in picture or picture.get("/Interpolate", False):
        return False
    filters = picture.get("/Filter", [])
    names = {str(name) for name in filters} if _is_array(filters) else {str(filters)}
    return names <= _FILTERS and _channels(picture.get("/ColorSpace")) is not None


def _is_array(value: Any) -> bool:
    import pikepdf

    return isinstance(value, list | pikepdf.Array)


def _channels(space: Any) -> int | None:
    """How many a colour space has; None if it is not allowed."""
    if not _is_array(space):
        return _CHANNELS.get(str(space))
    kind = str(space[0])
    if kind == "/Indexed":
        return 1 if _channels(space[1]) else None
    if kind != "/ICCBased":
        return None
    return _channels_of_profile(space[1].read_bytes(), int(space[1].get("/N", 0)))


def _channels_of_profile(profile: bytes, channels: int) -> int | None:
    """An ICC profile of version 2 or 4 for a device, that is whole and speaks of as many channels."""
    head = profile[:_ICC_HEADER_BYTES]
    is_sound = (
        len(head) == _ICC_HEADER_BYTES
        and int.from_bytes(head[:4]) == len(profile)
        and head[8] <= _NEWEST_ICC
        and head[12:16] in _ICC_CLASSES
        and head[36:40] == b"acsp"
    )
    return channels if is_sound and _ICC_CHANNELS.get(head[16:20]) == channels else None


def make_of_picture(pdf: Any) -> None:
    """Make a PDF/A-2b of a PDF whose pictures may stand in one."""
    import pikepdf
    from pikepdf import Dictionary, Name, String
    from PIL import ImageCms

    colours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pdf.Root.OutputIntents = pikepdf.Array(
        [
            Dictionary(
                Type=Name.OutputIntent,
                S=Name("/GTS_PDFA1"),
                OutputConditionIdentifier=String("sRGB"),
                Info=String("sRGB IEC61966-2.1"),
                DestOutputProfile=pikepdf.Stream(pdf, _undated(colours), N=3),
            )
        ]
    )
    pdf.Root.Metadata = pikepdf.Stream(pdf, _METADATA, Type=Name.Metadata, Subtype=Name.XML)
    if "/Info" in pdf.trailer:
        del pdf.trailer["/Info"]  # what stands there must stand in the metadata too, with the same words


def _undated(profile: bytes) -> bytes:
    """A profile says when it was made. With one date for all, the same picture gives the same file."""
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def keep_claim(pdf: Any) -> None:
    """What a PDF of others that declares PDF/A declares with the text that was added: level b, for that text has no tags.
    Raises PageFault if it declares none."""
    metadata = pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False)
    if str(metadata.get("pdfaid:part", "")) not in _KEEPABLE_PARTS:
        raise _impossible(
            "the original is none, and ocrd makes them of pictures and of PDF/A only; convert it before, or set "
            "[output] pdf_a = false"
        )
    if metadata.get("pdfaid:conformance") != "B":
        with metadata:
            metadata["pdfaid:conformance"] = "B"


def check_length(text: str) -> None:
    """Raises PageFault for a text that is too long to be shown at once."""
    if len(text.encode("utf-16-be", "replace")) > LONGEST_STRING_BYTES:
        raise _impossible("a line of its text is too long")


def _impossible(why: str) -> PageFault:
    return PageFault(ReasonCode.OUTPUT_FAILED, f"no PDF/A can be made of it: {why}")
