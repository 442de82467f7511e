from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocrd.daemon.reloading import AT_ONCE, changes, with_changes_at_once
from ocrd.settings import Settings, sections

OPTIONS = [(section, option) for section, _, options in sections() for option in options]


def test_what_counts_at_once_is_in_the_settings() -> None:
    known = {(section, option.name) for section, option in OPTIONS}
    assert {(section, key) for section, keys in AT_ONCE.items() for key in keys} <= known


def test_a_secret_is_told_as_changed_and_not_shown() -> None:
    new = Settings().with_value("vllm", "api_key", "hunter2", "file")
    (change,) = changes(Settings(), new)
    assert str(change) == "[vllm] api_key: … → …"
    assert not change.at_once


@given(st.sets(st.sampled_from(["level", "dpi", "stop_timeout_s", "formats"])))
def test_changes_at_once_leave_exactly_those_that_need_a_restart(keys: set[str]) -> None:
    values = {
        "level": ("log", "debug"),
        "dpi": ("raster", 150.0),
        "stop_timeout_s": ("daemon", 3.0),
        "formats": ("output", ("md",)),
    }
    old = new = Settings()
    for key in keys:
        section, value = values[key]
        new = new.with_value(section, key, value, "file")
    merged = with_changes_at_once(old, new)
    assert {change.key for change in changes(old, new)} == keys
    assert {change.key for change in changes(merged, new)} == keys & {"dpi"}
    assert all(change.at_once for change in changes(old, merged))
