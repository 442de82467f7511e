from __future__ import annotations

from pathlib import Path

import pytest

from ocrd.domain.errors import ExitCode, ServiceMissing
from ocrd.pipeline.recognizer import tessdata


def make_folder(folder: Path, *languages: str) -> str:
    folder.mkdir(parents=True)
    for language in languages:
        (folder / f"{language}.traineddata").write_bytes(b"")
    return str(folder)


def test_the_configured_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = make_folder(tmp_path / "mine", "xx")
    monkeypatch.setenv("TESSDATA_PREFIX", make_folder(tmp_path / "prefix", "xx"))
    assert tessdata.find(("xx",), configured) == configured


def test_the_prefix_variable_may_name_the_folder_or_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "share" / "tessdata", "xx")
    for prefix in (folder, str(tmp_path / "share")):
        monkeypatch.setenv("TESSDATA_PREFIX", prefix)
        assert tessdata.find(("xx",), None) == folder


def test_a_folder_without_all_languages_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", make_folder(tmp_path / "both", "xx", "yy"))
    assert tessdata.find(("xx", "yy"), make_folder(tmp_path / "one", "xx")).endswith("both")


def test_a_missing_language_is_named_with_its_package_and_the_folders(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "mine", "xx")
    with pytest.raises(ServiceMissing) as caught:
        tessdata.find(("xx", "zz_sim"), folder)
    assert "language 'zz_sim'" in str(caught.value)
    assert folder in str(caught.value)
    assert "/usr/share/tesseract-ocr/" in str(caught.value)
    assert caught.value.hint == "sudo apt install tesseract-ocr-zz-sim"
    assert caught.value.exit_code is ExitCode.UNAVAILABLE


def test_several_missing_languages_are_one_command(tmp_path: Path) -> None:
    with pytest.raises(ServiceMissing) as caught:
        tessdata.find(("zza", "zzb"), str(tmp_path))
    assert caught.value.hint == "sudo apt install tesseract-ocr-zza tesseract-ocr-zzb"


def test_installed_languages_are_listed(tmp_path: Path) -> None:
    assert tessdata.installed_languages(make_folder(tmp_path / "a", "rus", "osd", "eng")) == (
        "eng",
        "osd",
        "rus",
    )
    assert tessdata.installed_languages(str(tmp_path / "nowhere")) == ()
