from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import ConfigError, ExitCode
from ocrd.settings import Settings, default_files, find_file, format_value, load, sections, state_dir, to_toml

SAMPLE = Path(__file__).parents[2] / "samples" / "ocrd.toml"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Variables of a user without a settings file."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(text: str, tmp_path: Path, variables: dict[str, str] | None = None) -> str:
    """The message with which these settings are refused."""
    config = write(tmp_path / "named.toml", text)
    with pytest.raises(ConfigError) as caught:
        load(config, variables or {})
    assert caught.value.exit_code is ExitCode.CONFIG
    return str(caught.value)


# --- precedence --------------------------------------------------------------------------------------------


def test_a_variable_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    config = write(tmp_path / "ocrd.toml", "[raster]\ndpi = 150\nwindow_pages = 4\nworkers = 2\n")
    settings = load(config, {"OCRD_RASTER__DPI": "250", "OCRD_RASTER__WORKERS": "3"})
    settings = settings.with_value("raster", "workers", 1, "--workers")
    assert (settings.raster.window_pages, settings.raster.dpi, settings.raster.workers) == (4, 250.0, 1)


def test_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    config = write(tmp_path / "ocrd.toml", "[raster]\ndpi = 150\nwindow_pages = 4\n")
    settings = load(config, {"OCRD_RASTER__DPI": "250"}).with_value("log", "level", "debug", "--verbose")
    assert settings.origins == {
        "raster.window_pages": config,
        "raster.dpi": "$OCRD_RASTER__DPI",
        "log.level": "--verbose",
    }


def test_without_any_file_the_defaults_stand(env: dict[str, str], tmp_path: Path) -> None:
    if Path("/etc/ocrd/config.toml").exists():
        pytest.skip("this machine has settings of its own in /etc/ocrd")
    assert load(None, env) == Settings()


def test_the_users_file_is_found_when_none_is_named(env: dict[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "config" / "ocrd" / "config.toml", "[raster]\ndpi = 150\n")
    assert find_file(None, env) == path
    assert load(None, env).raster.dpi == 150


def test_a_named_file_is_read_instead_of_the_users_and_not_merged_with_it(
    env: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / "config" / "ocrd" / "config.toml", "[raster]\ndpi = 150\n")
    other = write(tmp_path / "other.toml", "[raster]\nwindow_pages = 4\n")
    third = write(tmp_path / "third.toml", "")
    settings = load(None, {**env, "OCRD_CONFIG": other})
    assert (settings.raster.dpi, settings.raster.window_pages) == (200, 4)
    assert find_file(third, {**env, "OCRD_CONFIG": other}) == third


@pytest.mark.parametrize(("named_by", "origin"), [("argument", "--config"), ("variable", "$OCRD_CONFIG")])
def test_a_named_file_must_be_there(named_by: str, origin: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.toml")
    config, env = (missing, {}) if named_by == "argument" else (None, {"OCRD_CONFIG": missing})
    with pytest.raises(ConfigError, match="no settings file") as caught:
        load(config, env)
    assert str(caught.value).startswith(origin)
    assert caught.value.hint == "ocrd config init"


def test_the_system_file_comes_after_the_users(env: dict[str, str]) -> None:
    assert default_files(env)[1] == "/etc/ocrd/config.toml"


# --- mistakes ----------------------------------------------------------------------------------------------


def test_an_unknown_option_names_the_nearest_one_and_the_file(tmp_path: Path) -> None:
    message = refused("[raster]\ndpii = 200\n", tmp_path)
    assert "named.toml" in message
    assert "[raster] has no option 'dpii'; did you mean 'dpi'?" in message


def test_an_unknown_section_names_the_nearest_one(tmp_path: Path) -> None:
    assert "no section 'rastr'; did you mean 'raster'?" in refused("[rastr]\ndpi = 200\n", tmp_path)


def test_an_option_that_resembles_nothing_lists_what_is_known(tmp_path: Path) -> None:
    assert "known are: paths, recursive" in refused("[inbox]\nqqq = 1\n", tmp_path)


def test_an_unknown_variable_is_an_error_too(tmp_path: Path) -> None:
    message = refused("", tmp_path, {"OCRD_RASTER__DPPI": "200"})
    assert message.startswith("$OCRD_RASTER__DPPI: [raster] has no option 'dppi'; did you mean 'dpi'?")


def test_reserved_variables_are_no_settings(env: dict[str, str]) -> None:
    assert load(None, {**env, "OCRD_TEST_CORPUS": "/x", "OCRD_FAULT": "x"}).origins == {}


def test_an_option_outside_of_a_section_is_told(tmp_path: Path) -> None:
    assert "raster stands outside of a section; did you mean 'raster'?" in refused("raster = 1\n", tmp_path)


def test_a_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    assert "not valid TOML" in refused("[raster\n", tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin1.toml"
    path.write_bytes(b'[state]\ndir = "\xff"\n')
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path), {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[inbox]\nrecursive = 1", "must be true or false, not 1"),
        ("[raster]\nwindow_pages = 1.5", "must be a whole number, not 1.5"),
        ("[raster]\nwindow_pages = true", "must be a whole number, not True"),
        ("[raster]\ndpi = true", "must be a number, not True"),
        ('[raster]\ndpi = "200"', "must be a number, not '200'"),
        ("[log]\nlevel = 3", "must be a text, not 3"),
        ('[inbox]\npaths = "/scans"', "must be a list of texts, not '/scans'"),
        ("[inbox]\npaths = [1]", "must be a list of texts, not [1]"),
        ("[raster]\nwindow_pages = 0", "must be at least 1, not 0"),
        ("[raster]\nwindow_pages = 65", "must be at most 64, not 65"),
        ("[raster]\ndpi = 49.9", "must be at least 50, not 49.9"),
        ("[raster]\ndpi = nan", "must be a number, not nan"),
        ("[engine]\npage_timeout_s = inf", "must be a number, not inf"),
        ('[log]\nlevel = "inof"', "'inof' is unknown; did you mean 'info'?"),
        ('[hooks]\non_done = ["true", "a\\u0000b"]', "holds a NUL"),
        ('[state]\ndir = "/var\\u0000"', "holds a NUL"),
        ('[output]\nformats = ["txt", "mdd"]', "'mdd' is unknown; did you mean 'md'?"),
    ],
)
def test_a_wrong_value_is_refused_and_says_what_is_right(line: str, message: str, tmp_path: Path) -> None:
    assert message in refused(line, tmp_path)


# --- variables ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("INBOX__PATHS", "/a, /b c ,", ("/a", "/b c")),
        ("INBOX__PATHS", '["/a,b", "/c"]', ("/a,b", "/c")),
        ("INBOX__PATHS", "", ()),
        ("INBOX__RECURSIVE", "false", False),
        ("ENGINE__LANGUAGES", "rus,eng,deu", ("rus", "eng", "deu")),
        ("ENGINE__WORKERS", "3", 3),
        ("RASTER__DPI", "150", 150.0),
        ("RASTER__DPI", "150.5", 150.5),
        ("STATE__DIR", "true", "true"),
        ("STATE__DIR", "a = [", "a = ["),
    ],
)
def test_a_variable_is_read_as_its_option_wants_it(name: str, text: str, value: Any) -> None:
    section, key = name.lower().split("__")
    assert getattr(getattr(load(None, {f"OCRD_{name}": text}), section), key) == value


@pytest.mark.parametrize(("name", "text"), [("RASTER__DPI", "much"), ("INBOX__RECURSIVE", "yes")])
def test_a_variable_of_the_wrong_kind_is_refused_by_its_name(name: str, text: str, tmp_path: Path) -> None:
    assert refused("", tmp_path, {f"OCRD_{name}": text}).startswith(f"$OCRD_{name}:")


# --- writing -----------------------------------------------------------------------------------------------

STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = (
    STRINGS
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(STRINGS, max_size=3).map(tuple)
)


@given(VALUES)
def test_every_value_is_written_as_toml_reads_it(value: Any) -> None:
    read = tomllib.loads(f"value = {format_value(value)}")["value"]
    assert read == (list(value) if isinstance(value, tuple) else value)


def test_values_look_as_people_write_them() -> None:
    assert [format_value(value) for value in (200.0, 178.9, 3, True, "a", ("a", "b"))] == [
        "200",
        "178.9",
        "3",
        "true",
        '"a"',
        '["a", "b"]',
    ]


@pytest.mark.parametrize("comments", [True, False])
def test_written_settings_load_back_as_they_were(comments: bool, tmp_path: Path) -> None:
    settings = Settings()
    for section, key, value in (
        ("inbox", "paths", ['/scans/"a"\\b', "/папка"]),
        ("inbox", "recursive", False),
        ("limits", "image_megapixels", 123456.789),
        ("raster", "window_pages", 3),
        ("log", "level", "debug"),
    ):
        settings = settings.with_value(section, key, value, "test")
    config = write(tmp_path / "written.toml", to_toml(settings, comments=comments))
    assert replace(load(config, {}), origins={}) == replace(settings, origins={})


def test_with_comments_every_default_is_commented_out_and_explained() -> None:
    text = to_toml(Settings(), comments=True)
    assert all(not values for values in tomllib.loads(text).values())
    for _, _, options in sections():
        assert all(f"# {option.metadata['help']}\n# {option.name} = " in text for option in options)


def test_the_defaults_pass_their_own_checks() -> None:
    settings = Settings()
    for section, _, options in sections():
        for option in options:
            value = getattr(getattr(settings, section), option.name)
            assert settings.with_value(section, option.name, value, "default")


def test_the_sample_is_what_config_init_writes() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == to_toml(Settings(), comments=True)


def test_numbers_that_are_none_do_not_pass_by_another_door() -> None:
    with pytest.raises(ConfigError):
        Settings().with_value("inbox", "quiet_s", math.nan, "--quiet")


# --- the state folder --------------------------------------------------------------------------------------


def test_the_state_folder_is_the_one_that_was_set_or_the_xdg_one(tmp_path: Path) -> None:
    chosen = Settings().with_value("state", "dir", str(tmp_path), "test")
    assert state_dir(chosen, {"XDG_STATE_HOME": "/var/state"}) == str(tmp_path)
    assert state_dir(Settings(), {"XDG_STATE_HOME": "/var/state"}) == "/var/state/ocrd"
    assert state_dir(Settings(), {}).endswith("/.local/state/ocrd")
