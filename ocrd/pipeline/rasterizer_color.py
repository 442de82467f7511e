"""Colour profiles: what a picture's numbers mean, by the ICC profile in its file."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, ImageCms

_SPACES = {"CMYK": "CMYK", "RGB": "RGB", "RGBA": "RGB"}
"""The colour space that a profile must speak of, by Pillow's mode. Grey is grey enough without its profile."""


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB (with its alpha channel, if it has one) by its profile; the same picture if it has none,
    or one that is broken or speaks of other colours."""
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data or image.mode not in _SPACES:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if profile.profile.xcolor_space.strip() != _SPACES[image.mode] or "sRGB" in (
            profile.profile.profile_description or ""
        ):
            return image
        wanted = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, profile, _srgb(), outputMode=wanted)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
