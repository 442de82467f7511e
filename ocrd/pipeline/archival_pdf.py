"""PDF/A-2b (ISO 19005-2): what a searchable PDF needs to be one, and whether it may say so. Runs in the rasterizer's job process.

A PDF of a picture is all ours: it gets an output intent, metadata, and pictures of kinds that the standard allows. A PDF of
others keeps what it declares; nothing is claimed for one that declares nothing.
"""

from __future__ import annotations

import io
import os
import struct
from collections import Counter
from typing import Any

from ocrd.domain.errors import PageFault, ReasonCode
from ocrd.host import commands
from ocrd.host.commands import describe_exit

LONGEST_STRING_BYTES = 32_767
"""ISO 19005-2, 6.1.13; img2pdf keeps to its sizes of pages."""
LOST_SHARE = 0.01
"""Of the words of a PDF: with more of them lost a conversion is refused. A ligature may come out otherwise."""
SAID_CHARACTERS = 200
_NEVER_S = 3600.0
"""The job's own deadline is what counts."""
_GHOSTSCRIPT = (
    *("-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pdfwrite", "-dAutoRotatePages=/None"),
    *("-dPDFA=2", "-dPDFACompatibilityPolicy=1", "-sColorConversionStrategy=RGB"),
    *("-dAutoFilterColorImages=false", "-dColorImageFilter=/FlateEncode", "-dDownsampleColorImages=false"),
    *("-dAutoFilterGrayImages=false", "-dGrayImageFilter=/FlateEncode", "-dDownsampleGrayImages=false"),
    "-dDownsampleMonoImages=false",
)
"""Without loss; JPEGs it passes through. What the standard forbids (scripts, sound, other files) is left out."""
_INTENT = """
[/_objdef {{icc}} /type /stream /OBJ pdfmark
[{{icc}} << /N 3 >> /PUT pdfmark
[{{icc}} <{profile}> /PUT pdfmark
[/_objdef {{intent}} /type /dict /OBJ pdfmark
[{{intent}} << /Type /OutputIntent /S /GTS_PDFA1 /DestOutputProfile {{icc}} /OutputConditionIdentifier (sRGB) >> /PUT pdfmark
[{{Catalog}} << /OutputIntents [ {{intent}} ] >> /PUT pdfmark
"""
"""The output intent, as Ghostscript's own PDFA_def.ps gives it, with the profile in it."""
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

    pdf.Root.OutputIntents = pikepdf.Array(
        [
            Dictionary(
                Type=Name.OutputIntent,
                S=Name("/GTS_PDFA1"),
                OutputConditionIdentifier=String("sRGB"),
                Info=String("sRGB IEC61966-2.1"),
                DestOutputProfile=pikepdf.Stream(pdf, _srgb(), N=3),
            )
        ]
    )
    pdf.Root.Metadata = pikepdf.Stream(pdf, _METADATA, Type=Name.Metadata, Subtype=Name.XML)
    if "/Info" in pdf.trailer:
        del pdf.trailer["/Info"]  # what stands there must stand in the metadata too, with the same words


def _srgb() -> bytes:
    """The profile of the output intent. It says when it was made; with one date for all, the same picture gives the same
    file."""
    from PIL import ImageCms

    profile: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


# --- the PDFs of others -------------------------------------------------------------------------------------


def find_or_make(source: str, target: str) -> str:
    """The PDF itself if it declares PDF/A, else `target`, which Ghostscript makes of it. Raises PageFault and qpdf's error."""
    import pikepdf

    with pikepdf.open(source) as pdf:
        if _declared_part(pdf) in _KEEPABLE_PARTS:
            return source
    _convert(source, target)
    lost = _words(source) - _words(target)
    if lost.total() > LOST_SHARE * _words(source).total():
        raise _impossible(f"Ghostscript loses {lost.total()} of the words that it has itself")
    return target


def _convert(source: str, target: str) -> None:
    argv = ["gs", *_GHOSTSCRIPT, f"-sOutputFile={target.replace('%', '%%')}"]
    try:
        done = commands.run(
            [*argv, "-c", _INTENT.format(profile=_srgb().hex()), "-f", source],
            timeout_s=_NEVER_S,
            env={"TMPDIR": os.path.dirname(target)},
        )
    except commands.CommandMissing as err:
        raise _impossible(
            "the original is none, and Ghostscript, which could convert it, is not installed; sudo apt-get install "
            "ghostscript, or set [output] pdf_a = false"
        ) from err
    if done.code or not os.path.exists(target):
        said = " ".join((done.err or done.out).split())[:SAID_CHARACTERS]
        raise _impossible(f"Ghostscript cannot convert it ({said or describe_exit(done.code)})")


def _words(path: str) -> Counter[str]:
    said = commands.run(["pdftotext", "-enc", "UTF-8", path, "-"], timeout_s=_NEVER_S).out
    return Counter(said.split())


def _declared_part(pdf: Any) -> str:
    metadata = pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False)
    return str(metadata.get("pdfaid:part", ""))


def keep_claim(pdf: Any) -> None:
    """What a PDF of others that declares PDF/A declares with the text that was added: level b, for that text has no tags.
    Raises PageFault if it declares none, which Ghostscript leaves out where it could not keep to the standard."""
    if _declared_part(pdf) not in _KEEPABLE_PARTS:
        raise _impossible("Ghostscript cannot keep to the standard with what is in it")
    metadata = pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False)
    if metadata.get("pdfaid:conformance") != "B":
        with metadata:
            metadata["pdfaid:conformance"] = "B"


def check_length(text: str) -> None:
    """Raises PageFault for a text that is too long to be shown at once."""
    if len(text.encode("utf-16-be", "replace")) > LONGEST_STRING_BYTES:
        raise _impossible("a line of its text is too long")


def _impossible(why: str) -> PageFault:
    return PageFault(ReasonCode.OUTPUT_FAILED, f"no PDF/A can be made of it: {why}")
