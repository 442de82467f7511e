"""Images as pages, by Pillow: runs in the rasterizer's job process, where memory and time are limited.

A page keeps its native pixels; it becomes 8-bit, upright, opaque on white, with square pixels and a resolution.
"""

from __future__ import annotations

import errno
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from PIL import ExifTags, Image, ImageFile, ImageSequence, UnidentifiedImageError

from ocrd.domain.documents import MediaType, PageImage
from ocrd.domain.errors import InputRejected, PageFault, ReasonCode
from ocrd.domain.geometry import LONGEST_SIDE_PX
from ocrd.domain.ink import FAINT_CONTRAST, ink_share
from ocrd.pipeline import rasterizer_photo
from ocrd.pipeline.rasterizer import RenderPolicy
from ocrd.pipeline.rasterizer_color import to_srgb

_PLUGINS = {
    MediaType.PNG: ("PNG",),
    MediaType.JPEG: ("JPEG",),  # and MPO, which Pillow opens as JPEG
    MediaType.TIFF: ("TIFF",),
    MediaType.WEBP: ("WEBP",),
    MediaType.BMP: ("BMP", "DIB"),
    MediaType.GIF: ("GIF",),
    MediaType.JPEG2000: ("JPEG2000",),
    MediaType.NETPBM: ("PPM",),
    MediaType.HEIF: (rasterizer_photo.HEIF_FORMAT,),
    MediaType.AVIF: ("AVIF",),
}
PLAUSIBLE_DPI = (50.0, 2400.0)
LONGEST_SIDE_IN = 50.0
"""A page longer than this (A0 is 46.8 in) was not scanned: its resolution is a program's default."""
SCREEN_DPI = (72, 96)
LONGEST_SCREEN_SIDE_IN = 17.0
"""72 and 96 DPI are what programs write that know nothing; they are believed up to A3."""
A4_LONG_SIDE_IN = 11.69
ESTIMATED_DPI = (70.0, 600.0)
SQUARE_TOLERANCE = 1.1
"""A fax of normal resolution has 204 × 98 DPI: beyond this ratio the pixels are made square."""
MOST_OBLONG = 4.0
DAMAGED_NOTE = "the image is damaged or ends early; a part of it is missing"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation. Pillow turns a TIFF image itself while it decodes it, and forgets its orientation."""

_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's plugins raise on broken files, found with its own collection of crashing files."""


def preload() -> None:
    """Import Pillow's plugins for our formats ahead of the forks; all of them take 10 ms longer."""
    Image.preinit()
    for plugin in ("Jpeg2K", "Mpo", "Tiff", "WebP"):
        import_module(f"PIL.{plugin}ImagePlugin")
    rasterizer_photo.preload()


class TooManyPixels(Exception):
    """The header promises more pixels than are decoded; nothing was decoded."""


def count_pages(source: str, media_type: MediaType, policy: RenderPolicy) -> int:
    """Pages of an image file from its headers, at most `max_pages` + 1. Raises InputRejected."""
    rasterizer_photo.require_decoder(media_type)
    try:
        return _count_pages(source, media_type, policy)
    except TooManyPixels as err:
        raise InputRejected(
            ReasonCode.TOO_MANY_PIXELS,
            str(err),
        ) from err
    except _DECODE_ERRORS as err:
        _pass_on(err)
        raise InputRejected(
            ReasonCode.DAMAGED,
            f"the {media_type.name} image cannot be opened: {_plain(err, source)}",
        ) from err


def _count_pages(source: str, media_type: MediaType, policy: RenderPolicy) -> int:
    try:
        with _opened(source, media_type, policy) as image:
            return _count_frames(image, policy.max_pages) if media_type is MediaType.TIFF else 1
    except _DECODE_ERRORS as err:
        if media_type is not MediaType.PNG:
            raise
        _pass_on(err)
        with (
            _bearing_with_damage(),
            _opened(source, media_type, policy),
        ):  # a comment may be at fault, no pixel
            return 1


@contextmanager
def _bearing_with_damage() -> Iterator[None]:
    """Meanwhile Pillow reads what it can of a damaged file."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _count_frames(image: Image.Image, limit: int) -> int:
    """Frames that can be reached. One with a broken header ends the count, for what follows it is unknown."""
    count = 1
    while count <= limit:
        try:
            image.seek(count)
        except EOFError:
            break
        except _DECODE_ERRORS:
            return count + 1  # its page says what is wrong
        count += 1
    return count


def render_pages(
    source: str, media_type: MediaType, numbers: list[int], policy: RenderPolicy, stem: str
) -> dict[int, PageImage | PageFault]:
    """Write the pages as PGM (PPM in colour) files `<stem>-<number>.pgm`; an entry for every number."""
    return {number: _render(source, media_type, number, policy, stem) for number in numbers}


def _render(
    source: str, media_type: MediaType, number: int, policy: RenderPolicy, stem: str
) -> PageImage | PageFault:
    try:
        page, dpi, notes = _load(source, media_type, number, policy)
    except TooManyPixels as err:
        return PageFault(ReasonCode.TOO_MANY_PIXELS, f"page {number}: {err}")
    except _DECODE_ERRORS as err:
        _pass_on(err)
        return PageFault(ReasonCode.RENDER_FAILED, f"page {number} cannot be decoded: {_plain(err, source)}")
    path = f"{stem}-{number:06d}.{'pgm' if policy.grayscale else 'ppm'}"
    page.save(path, "PPM")
    histogram = (page if page.mode == "L" else page.convert("L")).histogram()
    return PageImage(
        path=path,
        number=number,
        width=page.width,
        height=page.height,
        dpi=dpi,
        dpi_is_exact=False,
        ink=ink_share(histogram),
        faint_ink=ink_share(histogram, FAINT_CONTRAST),
        notes=notes,
    )


def _load(
    source: str, media_type: MediaType, number: int, policy: RenderPolicy
) -> tuple[Image.Image, float, tuple[str, ...]]:
    """The page, its DPI, and what is wrong with it."""
    try:
        return *_decode(source, media_type, number, policy), ()
    except _DECODE_ERRORS as err:
        _pass_on(err)
        page, dpi = _decode_what_is_there(source, media_type, number, policy, err)
        return page, dpi, (f"{DAMAGED_NOTE} ({_plain(err, source)})",)


def _decode_what_is_there(
    source: str, media_type: MediaType, number: int, policy: RenderPolicy, cause: Exception
) -> tuple[Image.Image, float]:
    """Decode a file whose tail is missing; raises the first error again if that shows nothing at all."""
    try:
        with _bearing_with_damage():
            page, dpi = _decode(source, media_type, number, policy)
    except _DECODE_ERRORS as err:
        _pass_on(err)
        raise cause from err
    lowest, highest = page.convert("L").getextrema()
    if lowest == highest:
        raise cause
    return page, dpi


def _decode(
    source: str, media_type: MediaType, number: int, policy: RenderPolicy
) -> tuple[Image.Image, float]:
    with _opened(source, media_type, policy) as image:
        if number > 1:
            if media_type is not MediaType.TIFF:
                raise ValueError(f"the file has no page {number}")
            image.seek(number - 1)
            _refuse_bomb(image, policy)
        width, resolution = image.width, read_resolution(image)
        _reduce_while_decoding(image, policy)
        image.load()
        turn = _turn_of(image)
        page = _to_eight_bit(image, "L" if policy.grayscale else "RGB")
        decoded_at = image.width / width
    if resolution is not None:
        page = _make_square(page, resolution)
    if turn is not None:
        page = page.transpose(turn)
    dpi = max(resolution) * decoded_at if resolution else estimate_dpi(page.width, page.height)
    return _limit_size(page, dpi, policy.max_page_pixels)


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    with suppress(*_DECODE_ERRORS):  # broken EXIF data cost no page
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _make_square(page: Image.Image, resolution: tuple[float, float]) -> Image.Image:
    """Stretch a fax of normal resolution, so that its letters are not squashed."""
    across, down = resolution
    ratio = across / down
    if 1 / SQUARE_TOLERANCE <= ratio <= SQUARE_TOLERANCE or not 1 / MOST_OBLONG <= ratio <= MOST_OBLONG:
        return page
    if ratio > 1:
        return page.resize((page.width, round(page.height * ratio)), Image.Resampling.BICUBIC)
    return page.resize((round(page.width / ratio), page.height), Image.Resampling.BICUBIC)


def _limit_size(page: Image.Image, dpi: float, max_pixels: int) -> tuple[Image.Image, float]:
    scale = min(math.sqrt(max_pixels / (page.width * page.height)), LONGEST_SIDE_PX / page.width)
    if scale >= 1:
        return page, dpi
    size = (max(1, int(page.width * scale)), max(1, int(page.height * scale)))
    return page.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0), dpi * scale


@contextmanager
def _opened(source: str, media_type: MediaType, policy: RenderPolicy) -> Iterator[Image.Image]:
    """The image with only its header read. Raises TooManyPixels before any pixel costs memory."""
    Image.MAX_IMAGE_PIXELS = policy.max_image_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=_PLUGINS[media_type]) as image:
                _refuse_bomb(image, policy)
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as err:
        limit = policy.max_image_pixels / 1e6
        raise TooManyPixels(f"the image promises more than the {limit:.0f} megapixels allowed") from err


def _refuse_bomb(image: Image.Image, policy: RenderPolicy) -> None:
    pixels = image.width * image.height
    if pixels > policy.max_image_pixels:
        raise TooManyPixels(
            f"the image has {image.width} × {image.height} pixels ({pixels / 1e6:.0f} megapixels), "
            f"more than the {policy.max_image_pixels / 1e6:.0f} megapixels allowed"
        )


def _reduce_while_decoding(image: Image.Image, policy: RenderPolicy) -> None:
    """A JPEG that is far too large is decoded at a half, a quarter or an eighth, which saves its memory."""
    pixels = image.width * image.height
    if pixels > policy.max_page_pixels:
        scale = math.sqrt(policy.max_page_pixels / pixels)
        image.draft(None, (int(image.width * scale), int(image.height * scale)))  # never below that size


def _to_eight_bit(image: Image.Image, mode: str) -> Image.Image:
    """Any of Pillow's modes as opaque `L` or `RGB`; transparent places become white, as on paper."""
    if image.mode.startswith(("I", "F")):
        return _scale_to_range(image).convert(mode)
    if image.mode == "LAB":  # its first band is the lightness
        return image.getchannel("L").convert(mode)
    if image.has_transparency_data:
        return _on_white(to_srgb(image.convert("LA" if image.mode in ("LA", "La") else "RGBA")), mode)
    image = to_srgb(image)
    if image.mode not in ("1", "L", "RGB"):  # CMYK, YCbCr, HSV, palettes and RGBX
        image = image.convert("RGB")
    return image.convert(mode)


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    opaque = image.getchannel("L") if image.mode == "LA" else image.convert("RGB")
    paper = Image.new(mode, image.size, "white")
    paper.paste(opaque.convert(mode), mask=image.getchannel("A"))
    return paper


def _scale_to_range(image: Image.Image) -> Image.Image:
    """Wide pixels by the range they use: 0 to 1, 8, 12 (some scanners) or 16 bits, else from lowest to highest."""
    wide = image if image.mode in ("I", "F") else image.convert("I")
    lowest, highest = (_number(value) for value in wide.getextrema())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("its pixels are no numbers")
    if wide.mode == "F" and lowest >= 0 and highest <= 1:
        return _linear(wide, 255.0)
    for bits in (8, 12, 16):
        if lowest >= 0 and highest < 1 << bits:
            return _linear(wide, 2.0 ** (8 - bits))
    return _linear(wide, 255 / (highest - lowest or 1.0), lowest)


def _linear(image: Image.Image, factor: float, lowest: float = 0.0) -> Image.Image:
    return image.point(lambda value: value * factor - lowest * factor).convert("L")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def read_resolution(image: Image.Image) -> tuple[float, float] | None:
    """Horizontal and vertical DPI as the file says; None where it says nothing that can be true of a page."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not all(PLAUSIBLE_DPI[0] <= value <= PLAUSIBLE_DPI[1] for value in (across, down)):
        return None
    longest_in = max(image.width / across, image.height / down)
    limit_in = LONGEST_SCREEN_SIDE_IN if round(across) in SCREEN_DPI else LONGEST_SIDE_IN
    return (across, down) if longest_in <= limit_in else None


def estimates(image: Image.Image) -> Iterator[float | None]:
    """Of each page of an open image the resolution that it is taken to have where it says none that can be true; None
    where it does say one. Ends before a page that cannot be opened."""
    for frame in ImageSequence.Iterator(image):
        yield None if read_resolution(frame) else estimate_dpi(frame.width, frame.height)


def estimate_dpi(width: int, height: int) -> float:
    """The resolution of an image that does not tell it, taken as an A4 page. Pixels in, DPI out."""
    lowest, highest = ESTIMATED_DPI
    return min(highest, max(lowest, max(width, height) / A4_LONG_SIDE_IN))


def _pass_on(err: BaseException) -> None:
    """A full disk or an unreadable file is no fault of the image."""
    if isinstance(err, OSError) and err.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE}:
        raise err


def _plain(err: Exception, source: str) -> str:
    """An error in words for people, without our name of the file."""
    if isinstance(err, UnidentifiedImageError | UnicodeError):
        return "its header is broken"
    if "MAX_TEXT" in str(err):
        return "a comment or a colour profile in it is far too large"
    text = str(err).replace(source, "the file").strip().rstrip(".")
    return text[:200] if text else type(err).__name__
