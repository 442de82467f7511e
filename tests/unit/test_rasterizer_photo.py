from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from PIL import Image, ImageDraw
from support import icc

from ocrd.domain.documents import MediaType, PageImage
from ocrd.domain.errors import InputRejected, PageFault, ReasonCode
from ocrd.host import files
from ocrd.pipeline import rasterizer_image, rasterizer_photo
from ocrd.pipeline.intake import sniff
from ocrd.pipeline.rasterizer import Rasterizer, RenderPolicy

rasterizer_image.preload()
SIZE = (80, 40)
PHOTOS = [MediaType.HEIF, MediaType.AVIF]
FORMATS = {MediaType.HEIF: "HEIF", MediaType.AVIF: "AVIF"}


def bar(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """A black bar on a quarter of a white page."""
    width, height = size
    image = Image.new("L", size, 255)
    box = (width // 4, height // 4, width * 3 // 4 - 1, height * 3 // 4 - 1)
    ImageDraw.Draw(image).rectangle(box, fill=0)
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


class Desk:
    """Reads pictures from bytes, in the rasterizer's child."""

    def __init__(self, folder: Path, rasterizer: Rasterizer) -> None:
        self.folder = folder
        self.rasterizer = rasterizer

    def put(self, data: bytes) -> tuple[bytes, MediaType]:
        path = os.path.join(os.fsencode(self.folder), b"picture.of.no.kind")
        with open(path, "wb") as file:
            file.write(data)
        kind = sniff(data[:1024])
        assert kind is not None
        return path, kind

    def probe(self, data: bytes) -> int:
        path, kind = self.put(data)
        identity = files.stat_regular(path)
        assert identity is not None
        return self.rasterizer.probe(path, identity, kind).pages

    def render(self, data: bytes) -> PageImage | PageFault:
        path, kind = self.put(data)
        identity = files.stat_regular(path)
        assert identity is not None
        pages = self.rasterizer.render(path, identity, kind, [1], folder=str(self.folder), stop=Event())
        return pages[1]

    def page(self, data: bytes) -> Image.Image:
        """The page as it was rendered, in grey."""
        page = self.render(data)
        assert isinstance(page, PageImage), page
        with Image.open(page.path) as image:
            assert image.mode == "L"
            return image.copy()


@pytest.fixture(scope="module")
def rasterizer() -> Iterator[Rasterizer]:
    rasterizer = Rasterizer(RenderPolicy(max_image_pixels=1_000_000), workers=1)
    yield rasterizer
    rasterizer.close()


@pytest.fixture
def desk(tmp_path: Path, rasterizer: Rasterizer) -> Desk:
    return Desk(tmp_path, rasterizer)


def assert_is_bar(page: Image.Image) -> None:
    assert page.getpixel((2, 2)) > 240
    assert page.getpixel((page.width // 2, page.height // 2)) < 15


# --- HEIF and AVIF -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PHOTOS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_photo_is_read_by_its_content(desk: Desk, kind: MediaType, mode: str) -> None:
    data = saved(bar(mode), FORMATS[kind])
    assert sniff(data[:1024]) is kind
    assert desk.probe(data) == 1
    assert_is_bar(desk.page(data))


@pytest.mark.parametrize("kind", PHOTOS)
def test_what_is_transparent_in_a_photo_is_paper(desk: Desk, kind: MediaType) -> None:
    image = Image.new("RGBA", SIZE, 0)
    image.putalpha(bar("L").point(lambda value: 255 - value))
    assert_is_bar(desk.page(saved(image, FORMATS[kind])))


@pytest.mark.parametrize("kind", PHOTOS)
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (79, 39)), (6, (39, 0)), (8, (0, 79))])
def test_a_photo_is_turned_once(
    desk: Desk, kind: MediaType, orientation: int, corner: tuple[int, int]
) -> None:
    image = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(image).rectangle((0, 0, 20, 10), fill="black")
    exif = Image.Exif()
    exif[0x0112] = orientation
    page = desk.page(saved(image, FORMATS[kind], exif=exif.tobytes()))
    assert page.size == (SIZE if orientation in {1, 3} else SIZE[::-1])
    assert page.getpixel(corner) < 40
    assert sum(page.histogram()[:128]) == pytest.approx(231, abs=30)


def test_a_series_of_photos_is_its_main_one(desk: Desk) -> None:
    series = saved(Image.new("RGB", SIZE), "HEIF", save_all=True, append_images=[bar()], primary_index=1)
    assert desk.probe(series) == 1
    assert_is_bar(desk.page(series))
    moving = saved(bar(), "AVIF", save_all=True, append_images=[Image.new("RGB", SIZE)])
    assert desk.probe(moving) == 1
    assert_is_bar(desk.page(moving))


def test_a_photo_of_several_tiles_is_whole(desk: Desk) -> None:
    data = saved(bar(size=(1200, 800)), "HEIF", tile_size=256)
    page = desk.page(data)
    assert page.size == (1200, 800)
    assert_is_bar(page)


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(desk: Desk, kind: MediaType) -> None:
    data = saved(Image.new("L", (2000, 2000), 255), FORMATS[kind])
    for what in (data, data[:-20] + bytes(20)):  # its pixels are not even looked at
        with pytest.raises(InputRejected, match="megapixels allowed") as caught:
            desk.probe(what)
        assert caught.value.code is ReasonCode.TOO_MANY_PIXELS
    fault = desk.render(data)
    assert isinstance(fault, PageFault)
    assert fault.code is ReasonCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photo_that_ends_early_is_told(desk: Desk, kind: MediaType) -> None:
    whole = saved(Image.effect_noise((300, 200), 80).convert("RGB"), FORMATS[kind])
    with pytest.raises(InputRejected) as caught:
        desk.probe(whole[:120])
    assert caught.value.code is ReasonCode.DAMAGED
    fault = desk.render(whole[: len(whole) // 2])
    assert isinstance(fault, PageFault)
    assert fault.code is ReasonCode.RENDER_FAILED


def test_without_its_decoder_a_photo_is_rejected_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(saved(bar(), "HEIF"))
    script = (
        "import sys\n"
        "sys.modules['pillow_heif'] = None\n"  # as if it were not installed
        "from ocrd.domain.documents import MediaType\n"
        "from ocrd.domain.errors import InputRejected\n"
        "from ocrd.pipeline import rasterizer_image\n"
        "from ocrd.pipeline.rasterizer import RenderPolicy\n"
        "rasterizer_image.preload()\n"
        "try:\n"
        "    rasterizer_image.count_pages(sys.argv[1], MediaType.HEIF, RenderPolicy())\n"
        "except InputRejected as err:\n"
        "    print(err.code, err, err.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "photo"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(ReasonCode.DECODER_MISSING)
    assert f"{sys.executable} -m pip install 'pillow-heif>=" in done.stdout


def test_the_named_package_is_the_one_of_the_extra() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["heic"] == [rasterizer_photo.HEIF_PACKAGE]


# --- colour profiles -----------------------------------------------------------------------------------------


def test_a_picture_is_as_light_as_its_profile_says(desk: Desk) -> None:
    grey = Image.new("RGB", SIZE, (128, 128, 128))
    plain = desk.page(saved(grey, "PNG")).getpixel((5, 5))
    linear = desk.page(saved(grey, "PNG", icc_profile=icc.wide_rgb(1.0))).getpixel((5, 5))
    assert (plain, linear) == (128, pytest.approx(188, abs=2))  # half the light is grey 188 in sRGB


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "HEIF", "AVIF"])
def test_every_kind_that_can_carry_a_profile_is_read_by_it(desk: Desk, kind: str) -> None:
    grey = Image.new("RGB", SIZE, (128, 128, 128))
    page = desk.page(saved(grey, kind, icc_profile=icc.wide_rgb(1.0)))
    assert page.getpixel((5, 5)) == pytest.approx(188, abs=3)


def test_transparency_survives_a_profile(desk: Desk) -> None:
    image = Image.new("RGBA", SIZE, 0)
    image.putalpha(bar("L").point(lambda value: 255 - value))
    assert_is_bar(desk.page(saved(image, "PNG", icc_profile=icc.wide_rgb(1.0))))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_ink_is_as_dark_as_its_profile_says(desk: Desk, kind: str) -> None:
    yellow = Image.new("CMYK", SIZE, (0, 0, 255, 0))
    dark_yellow = icc.cmyk(lambda inks: 0 if inks[2] else 255)
    assert desk.page(saved(yellow, kind)).getpixel((5, 5)) > 200
    assert desk.page(saved(yellow, kind, icc_profile=dark_yellow)).getpixel((5, 5)) < 20


@pytest.mark.parametrize(
    "profile",
    [b"", b"no profile", bytes(200), icc.wide_rgb()[:150], icc.cmyk(sum), struct.pack(">I", 1 << 31) * 50],
    ids=["empty", "text", "zeros", "half", "of other colours", "endless"],
)
def test_a_broken_profile_is_passed_over(desk: Desk, profile: bytes) -> None:
    page = desk.render(saved(bar(), "PNG", icc_profile=profile))
    assert isinstance(page, PageImage)
    assert page.notes == ()
    with Image.open(page.path) as image:
        assert_is_bar(image)
