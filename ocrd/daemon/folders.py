"""Finds what a file's folders say about it: `.ocrd.toml` in its folder and in those above, up to the inbox.

A file that cannot be read, or says something unknown, counts for nothing; why is told in the log and by `ocrd status`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from threading import Lock

from ocrd.domain import folders
from ocrd.domain.documents import FileIdentity
from ocrd.domain.errors import ConfigError
from ocrd.domain.folders import FolderSettings
from ocrd.domain.moving import is_below
from ocrd.host import files
from ocrd.host.anchors import Anchors
from ocrd.telemetry.logs import get_logger

log = get_logger()

_MOST_BYTES = 64 << 10


class Folders:
    """Thread-safe. A look costs one stat for each folder between the inbox and the file."""

    def __init__(
        self,
        roots: Sequence[bytes],
        *,
        languages: Collection[str],
        formats: Collection[str],
        engines: Collection[str],
    ) -> None:
        """What can be asked for: see `domain.folders.parse`."""
        self._roots = roots
        self._anchors = Anchors(tuple(roots))
        self._engines = engines
        self._languages = languages
        self._formats = formats
        self._lock = Lock()
        self._known: dict[bytes, tuple[FileIdentity, FolderSettings, str]] = {}

    def of(self, path: bytes) -> FolderSettings:
        """What counts for the file at a path."""
        said = folders.NOTHING
        root = next((root for root in self._roots if is_below(path, root)), None)
        if root is None:
            return said
        folder = root
        for name in path[len(root.rstrip(b"/")) + 1 :].split(b"/"):
            said = said.below(self._said_in(os.path.join(folder, folders.FILE_NAME)))
            folder = os.path.join(folder, name)
        return said

    @property
    def problems(self) -> list[str]:
        """What is wrong with the files that were looked at, in words."""
        with self._lock:
            return sorted(problem for _, _, problem in self._known.values() if problem)

    def _said_in(self, path: bytes) -> FolderSettings:
        there = os.path.lexists(path)  # costs a fifth of the look past no link, and mostly says no
        identity = self._anchors.stat_regular(path) if there else None
        with self._lock:
            known = self._known.get(path)
            if identity is None:
                self._known.pop(path, None)
                return folders.NOTHING
            if known is not None and known[0] == identity:
                return known[1]
        said, problem = self._read(path)
        with self._lock:
            self._known[path] = (identity, said, problem)
        if problem:
            log.warning("folder_settings_refused", reason=problem, next="its folder is read like the others")
        return said

    def _read(self, path: bytes) -> tuple[FolderSettings, str]:
        name = files.display_name(path)
        try:
            with self._anchors.at(path) as here, files.open_regular(here) as fd:
                data = os.read(fd, _MOST_BYTES + 1)
            if len(data) > _MOST_BYTES:
                return folders.NOTHING, f"{name}: it is too long"
            said = folders.parse(
                data.decode(), languages=self._languages, formats=self._formats, engines=self._engines
            )
        except (OSError, UnicodeDecodeError) as err:
            return folders.NOTHING, f"{name}: it cannot be read: {err}"
        except ConfigError as err:
            return folders.NOTHING, f"{name}: {err}" + (f" ({err.hint})" if err.hint else "")
        return said, ""
