"""Finding Tesseract's language data on this machine.

The engine is told one folder, always: the `tesserocr` wheel's own default is `./`, where there is never any
data, and of several languages Tesseract silently leaves out those it does not find.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence

from ocrd.domain.errors import ServiceMissing

AUTO = "auto"
"""Among the languages that are asked for: a page that the others do not read is tried with those of its script."""
USUAL = ("rus", "eng")
SUFFIX = ".traineddata"
ORIENTATION = "osd"
"""The data that tells which way up a page is; not a language, and optional."""
_PACKAGED = "/usr/share/tesseract-ocr/*/tessdata"
_PLAIN = ("/usr/share/tessdata", "/usr/local/share/tessdata")


def find(languages: Sequence[str], configured: str | None) -> str:
    """The first folder that holds data for all the languages (Tesseract codes).

    Looks in the configured folder, `$TESSDATA_PREFIX`, then where Debian and others install it. Raises
    ServiceMissing: its message says which language is missing and where it looked, its hint what to type.
    """
    languages = named(languages)
    folders = list(candidates(configured))
    lacking = [missing(folder, languages) for folder in folders]
    for folder, lacks in zip(folders, lacking, strict=True):
        if not lacks:
            return folder
    fewest = min(lacking, key=len)
    names = ", ".join(f"'{language}'" for language in fewest)
    raise ServiceMissing(
        f"no Tesseract data for {'language' if len(fewest) == 1 else 'languages'} {names}"
        f" (looked in {', '.join(folders)})",
        hint=f"sudo apt install {' '.join(debian_package(language) for language in fewest)}",
    )


def named(languages: Sequence[str]) -> tuple[str, ...]:
    """Those that are loaded for every page: all but `auto`, and the usual ones where it stands alone."""
    return tuple(language for language in languages if language != AUTO) or USUAL


def candidates(configured: str | None) -> Iterator[str]:
    """Every folder that is looked in, in this order, whether or not it exists."""
    if configured:
        yield configured
    prefix = os.environ.get("TESSDATA_PREFIX")
    if prefix:
        yield prefix
        yield os.path.join(prefix, "tessdata")
    yield from sorted(glob.glob(_PACKAGED), key=_version_in, reverse=True) or [_PACKAGED]
    yield from _PLAIN


def _version_in(folder: str) -> tuple[int, ...]:
    """The numbers in `/usr/share/tesseract-ocr/4.00/tessdata`, so that 10 sorts above 5."""
    return tuple(int(digits) for digits in re.findall(r"\d+", folder))


def missing(folder: str, languages: Sequence[str]) -> list[str]:
    """Which of the languages have no data in the folder."""
    return [language for language in languages if not os.path.isfile(os.path.join(folder, language + SUFFIX))]


def installed_languages(folder: str) -> tuple[str, ...]:
    """The codes that the folder has data for, sorted, `osd` among them; empty if it cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)))


def debian_package(language: str) -> str:
    """The Debian and Ubuntu package with a language's data: `chi_sim` is in `tesseract-ocr-chi-sim`."""
    return "tesseract-ocr-" + language.lower().replace("_", "-")
