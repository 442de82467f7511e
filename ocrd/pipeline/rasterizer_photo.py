"""The decoders of phones' photos: HEIF by the optional package pillow-heif, AVIF by Pillow where it was built with it.

Both run single-threaded: the job process has limits on memory and CPU time, and the other cores have other pages.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from PIL import Image, features

from ocrd.domain.documents import MediaType
from ocrd.domain.errors import InputRejected, ReasonCode

HEIF_FORMAT = "HEIF"
HEIF_PACKAGE = "pillow-heif>=1.4,<2"
"""As in pyproject.toml; a test compares."""


def preload() -> None:
    """Load and register what is installed, ahead of the forks."""
    with suppress(ImportError):
        heif = import_module("pillow_heif")
        # The picture itself is wanted, at its full size: no thumbnail in its place.
        heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    if features.check("avif"):
        avif: Any = import_module("PIL.AvifImagePlugin")
        avif.DECODE_MAX_THREADS = 1


def require_decoder(media_type: MediaType) -> None:
    """Raises InputRejected, with the command that installs it, if a photo's decoder is not there."""
    if media_type is MediaType.HEIF and HEIF_FORMAT not in Image.OPEN:
        raise InputRejected(
            ReasonCode.DECODER_MISSING,
            "it is a HEIC photo, and the package that reads them (pillow-heif) is not installed: "
            f"{sys.executable} -m pip install '{HEIF_PACKAGE}'",
        )
    if media_type is MediaType.AVIF and not features.check("avif"):
        raise InputRejected(
            ReasonCode.DECODER_MISSING,
            "it is an AVIF photo, and this machine's Pillow was built without libavif: "
            f"{sys.executable} -m pip install --force-reinstall --only-binary :all: 'pillow>=11.3'",
        )
