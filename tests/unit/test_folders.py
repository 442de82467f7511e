from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.daemon.build import find_folders, fingerprint, fingerprints
from ocrd.daemon.folders import Folders
from ocrd.domain.errors import ConfigError
from ocrd.domain.folders import NOTHING, FolderSettings, parse
from ocrd.settings import Settings

LANGUAGES = ("eng", "rus", "deu")
FORMATS = ("txt", "md")
ENGINES = ("auto", "embedded", "vllm")


def read(text: str) -> FolderSettings:
    return parse(text, languages=LANGUAGES, formats=FORMATS, engines=ENGINES)


def test_a_file_is_read_as_it_is_written() -> None:
    said = read('languages = ["deu", "eng"]\nformats = ["md"]\npriority = 5\n')
    assert said == FolderSettings(languages=("deu", "eng"), formats=("md",), priority=5)
    assert read("") == NOTHING


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("languages = [", "no TOML"),
        ('langages = ["eng"]', "unknown option 'langages'"),
        ("[engine]\nkind = 'vllm'", "engine is no name"),
        ("engine = 'tesseract'", "'tesseract' is not there"),
        ('languages = ["fra"]', "'fra' is not there"),
        ('languages = "eng"', "no list"),
        ("languages = []", "no list"),
        ("formats = [1]", "no list"),
        ('formats = ["docx"]', "'docx' is not there"),
        ("priority = 1000", "no whole number"),
        ("priority = true", "no whole number"),
        ("priority = 1.5", "no whole number"),
    ],
)
def test_what_is_wrong_is_told(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(text)


SETTINGS = st.builds(
    FolderSettings,
    languages=st.none() | st.just(("eng",)),
    formats=st.none() | st.just(("md",)),
    engine=st.none() | st.sampled_from(ENGINES),
    priority=st.none() | st.integers(-100, 100),
)


@given(SETTINGS, SETTINGS, SETTINGS)
def test_the_innermost_word_counts(one: FolderSettings, two: FolderSettings, three: FolderSettings) -> None:
    assert one.below(two).below(three) == one.below(two.below(three))
    assert one.below(NOTHING) == one == NOTHING.below(one)


class Inbox:
    """An inbox with folders that have settings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = Folders([os.fsencode(root)], languages=LANGUAGES, formats=FORMATS, engines=ENGINES)

    def say(self, folder: str, text: str) -> None:
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / ".ocrd.toml").write_text(text)

    def of(self, name: str) -> FolderSettings:
        return self.folders.of(os.fsencode(self.root / name))


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


def test_a_file_follows_its_folders(inbox: Inbox) -> None:
    inbox.say("a", 'languages = ["deu"]\npriority = 1')
    inbox.say("a/b", "priority = 2")
    assert inbox.of("scan.pdf") == NOTHING
    assert inbox.of("a/scan.pdf") == FolderSettings(languages=("deu",), priority=1)
    assert inbox.of("a/b/c/scan.pdf") == FolderSettings(languages=("deu",), priority=2)
    assert inbox.folders.of(b"/elsewhere/a/scan.pdf") == NOTHING


def test_a_wrong_file_counts_for_nothing_and_is_told_until_it_is_mended(inbox: Inbox) -> None:
    inbox.say("a", 'langages = ["deu"]')
    assert inbox.of("a/scan.pdf") == NOTHING
    (problem,) = inbox.folders.problems
    assert "a/.ocrd.toml: unknown option 'langages' (known: languages)" in problem
    inbox.say("a", 'languages = ["deu"]')
    assert inbox.of("a/scan.pdf").languages == ("deu",)
    assert inbox.folders.problems == []


def test_no_link_is_followed_and_no_heap_is_read(inbox: Inbox, tmp_path: Path) -> None:
    inbox.say("long", "#" * 100_000)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".ocrd.toml").symlink_to("/etc/passwd")
    assert inbox.of("long/scan.pdf") == inbox.of("linked/scan.pdf") == NOTHING
    assert len(inbox.folders.problems) == 1


def test_other_languages_make_another_fingerprint(inbox: Inbox) -> None:
    settings = Settings()
    inbox.say("a", 'languages = ["deu"]')
    inbox.say("b", "priority = 3")
    inbox.say("c", 'languages = ["rus", "eng"]')
    of = fingerprints(settings, inbox.folders)
    root = os.fsencode(inbox.root)
    assert (
        of(root + b"/scan.pdf")
        == of(root + b"/b/scan.pdf")
        == of(root + b"/c/scan.pdf")
        == fingerprint(settings)
    )
    assert of(root + b"/a/scan.pdf") != fingerprint(settings)


def test_another_engine_makes_another_fingerprint(inbox: Inbox) -> None:
    settings = Settings().with_value("engine", "kind", "vllm", "a test")
    for engine in ENGINES:
        inbox.say(engine, f'engine = "{engine}"')
    of = fingerprints(settings, inbox.folders)
    said = [of(os.fsencode(inbox.root / engine / "scan.pdf")) for engine in ENGINES]
    assert said[0] == said[2] == fingerprint(settings), "what reads anyhow"
    assert said[1] == fingerprint(settings.with_value("engine", "kind", "embedded", "a test"))


@pytest.mark.parametrize(
    ("kind", "offered"),
    [("embedded", {"auto", "embedded"}), ("vllm", set(ENGINES)), ("plugin", {"auto", "plugin"})],
)
def test_a_folder_may_ask_for_what_reads_here(tmp_path: Path, kind: str, offered: set[str]) -> None:
    folders = find_folders(Settings(), [os.fsencode(tmp_path)], kind)
    for engine in (*ENGINES, "plugin"):
        (tmp_path / engine).mkdir()
        (tmp_path / engine / ".ocrd.toml").write_text(f'engine = "{engine}"')
        said = folders.of(os.fsencode(tmp_path / engine / "scan.pdf")).engine
        assert said == (engine if engine in offered else None)
    assert len(folders.problems) == 4 - len(offered)


def test_the_two_names_for_no_text_layers_make_one_fingerprint() -> None:
    off, force, auto = (
        fingerprint(Settings().with_value("engine", "text_layer", mode, "a test"))
        for mode in ("off", "force", "auto")
    )
    assert off == force != auto
