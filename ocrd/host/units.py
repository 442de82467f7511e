"""The unit files: those of the package, and the drop-in that says what is one user's own. Pure but for `packaged`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ocrd.host.systemd import Kind

DROP_IN = "10-ocrd.conf"
_MADE_BY = "# Made by `ocrd service install`."
_HIDDEN = ("/home/", "/root/", "/run/user/")
"""What ProtectHome=tmpfs hides."""
TEMPLATES = {Kind.SYSTEM: "ocrd@.service", Kind.USER: "ocrd-user.service"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the service of one user needs beyond the unit that is everybody's. Absolute paths."""

    command: tuple[str, ...]
    """The program and its arguments."""
    inboxes: tuple[str, ...]
    seen: tuple[str, ...] = ()
    """Folders and files that it reads: programs, settings, models."""
    written: tuple[str, ...] = ()
    """Folders outside its own that it writes besides the inboxes."""
    groups: tuple[str, ...] = ()
    any_address: bool = False
    """It talks to another machine."""


def packaged(kind: Kind) -> str:
    """The unit file that the package brings."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "systemd"
    folder = inside if inside.is_dir() else package.parent / "systemd"
    return (folder / TEMPLATES[kind]).read_text(encoding="utf-8")


def drop_in(kind: Kind, needs: Needs, *, unit: str, version: str) -> str:
    """The text of the drop-in. A path that is not there is no reason to fail: the daemon tells what it misses."""
    scope = "--user " if kind is Kind.USER else ""
    lines = [
        f"{_MADE_BY} The next one makes it anew (ocrd {version}).",
        f"# Changes of your own go to: systemctl {scope}edit {unit}",
        "[Service]",
        "ExecStart=",
        "ExecStart=" + " ".join(quote(word) for word in needs.command),
    ]
    if kind is Kind.SYSTEM:
        lines += _sandbox(needs)
    return "\n".join(lines) + "\n"


def _sandbox(needs: Needs) -> list[str]:
    shown = (*needs.inboxes, *needs.written)
    # Bound, where homes are hidden; elsewhere only made writable, so that a drive may come later.
    lines = [f"{'BindPaths' if is_hidden(path) else 'ReadWritePaths'}={_optional(path)}" for path in shown]
    lines += [
        f"BindReadOnlyPaths={_optional(path)}"
        for path in needs.seen
        if is_hidden(path) and not any(path == one or path.startswith(f"{one}/") for one in shown)
    ]
    if needs.groups:
        lines += [
            "# Whoever may talk to Docker may do anything on this machine: see docs/service.md.",
            f"SupplementaryGroups={' '.join(needs.groups)}",
        ]
    if needs.any_address:
        lines += ["# [vllm] base_url names another machine.", "IPAddressAllow=any"]
    return lines


def is_hidden(path: str) -> bool:
    """Whether the unit of the system does not see a path by itself."""
    return f"{path}/".startswith(_HIDDEN)


def quote(word: str) -> str:
    """A word of ExecStart= (systemd.service(5)): quoted, and nothing of it expanded."""
    return _quoted(word.replace("$", "$$"))


def _optional(path: str) -> str:
    return _quoted(f"-{path}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def is_made_by_us(text: str) -> bool:
    """Whether an installed file is ours to replace and to remove."""
    return text.startswith((_MADE_BY, "# ocrd as a service of "))


def unwritable(paths: Sequence[str]) -> str | None:
    """The first path that no unit file can hold: one with a line break or another control character."""
    return next((path for path in paths if any(not c.isprintable() for c in path)), None)
