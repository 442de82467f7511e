"""Settings that are read again while the daemon runs: what changed, and what of it can count at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ocrd.settings import Settings, format_value, sections

AT_ONCE = {
    "inbox": {"ignore", "settle_s", "scan_interval_s"},
    "output": {"formats", "tables", "page_headers", "error_file", "pdf_a"},
    "log": {"level", "format", "file", "file_mib", "files_kept"},
    "daemon": {"stop_timeout_s"},
}
"""The others are built into threads, children or the container: they count after a restart."""


@dataclass(frozen=True, slots=True)
class Change:
    """One option with another value."""

    section: str
    key: str
    before: str
    after: str
    at_once: bool

    @property
    def name(self) -> str:
        """As it is called in the documents."""
        return f"[{self.section}] {self.key}"

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after}"


def changes(old: Settings, new: Settings) -> list[Change]:
    """The options whose values differ. A secret is not shown."""
    found = []
    for section, _, options in sections():
        for option in options:
            before = getattr(getattr(old, section), option.name)
            after = getattr(getattr(new, section), option.name)
            if before != after:
                secret = option.metadata["secret"]
                shown = ("…", "…") if secret else (format_value(before), format_value(after))
                found.append(
                    Change(section, option.name, *shown, option.name in AT_ONCE.get(section, frozenset()))
                )
    return found


def with_changes_at_once(old: Settings, new: Settings) -> Settings:
    """The old settings, but with the new values of the options that can count at once."""
    merged = old
    for section, kind, _ in sections():
        for option in fields(kind):
            if option.name in AT_ONCE.get(section, frozenset()):
                value = getattr(getattr(new, section), option.name)
                merged = merged.with_value(
                    section, option.name, value, new.origins.get(f"{section}.{option.name}", "")
                )
    return merged
