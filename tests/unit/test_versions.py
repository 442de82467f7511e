"""Versions are read and compared as vLLM writes them, and the right local image is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrd.domain.errors import ServiceMissing
from ocrd.domain.serving import Image
from ocrd.serving.versions import (
    FLAGS,
    MINIMUM,
    SWITCHES,
    TESTED,
    VllmVersion,
    choose_image,
    environment,
    has_flag,
    image_version,
    known_faults,
)


def version(text: str) -> VllmVersion:
    found = VllmVersion.parse(text)
    assert found is not None, text
    return found


def image(
    *tags: str, number: int = 1, created: str = "2026-11-01T00:00:00Z", **kind: dict[str, str]
) -> Image:
    return Image(id=f"sha256:{number:064x}", tags=tags, created=created, **kind)


@pytest.mark.parametrize(
    ("text", "numbers", "is_release"),
    [
        ("0.32.0", (0, 32, 0), True),
        ("v0.11.2", (0, 11, 2), True),
        ("0.28.1rc1.dev3+cpu", (0, 28, 1), False),
        ("0.32.0+cpu", (0, 32, 0), True),
        ("0.12.0.post2", (0, 12, 0), True),
        ("v0.31.0-x86_64", (0, 31, 0), True),
        ("v0.31.0-cu130", (0, 31, 0), True),
        ("0.10.1.1", (0, 10, 1), True),
        ("0.33.0rc2", (0, 33, 0), False),
        ("0.34.0.dev12+gabc1234", (0, 34, 0), False),
        (" 1.0 ", (1, 0, 0), True),
    ],
)
def test_versions_are_read(text: str, numbers: tuple[int, int, int], is_release: bool) -> None:
    found = version(text)
    assert (found.major, found.minor, found.patch) == numbers
    assert found.is_release is is_release


@pytest.mark.parametrize(
    "text", ["", "latest", "nightly", "nightly-0a1b2c", "v", "0", "cu129", "0.x.1", "1.2.3.4.5.6"]
)
def test_what_is_no_version_is_none(text: str) -> None:
    assert VllmVersion.parse(text) is None


def test_versions_have_an_order() -> None:
    texts = ["0.9.2", "0.11.2", "0.28.1rc1", "0.28.1", "0.32.0", "1.0"]
    assert sorted(map(version, reversed(texts))) == [version(text) for text in texts]
    assert str(version("v0.28.1rc1.dev3+cpu")) == "0.28.1rc1.dev3+cpu"
    assert version("0.26.0rc1").is_at_least(VllmVersion(0, 26))


@given(text=st.text(max_size=40))
def test_any_text_is_a_version_or_none(text: str) -> None:
    found = VllmVersion.parse(text)
    assert found is None or VllmVersion.parse(str(found)) is not None


@given(numbers=st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)))
def test_a_version_is_read_back(numbers: tuple[int, int, int]) -> None:
    assert VllmVersion.parse(str(VllmVersion(*numbers))) == VllmVersion(*numbers)


@pytest.mark.parametrize(
    ("text", "wsl", "names"),
    [
        ("0.11.2", True, set()),
        ("0.15.1", True, set()),
        ("0.23.0", True, {"VLLM_USE_V2_MODEL_RUNNER"}),
        ("0.23.0", False, set()),
        ("0.24.0", True, {"VLLM_WSL2_ENABLE_PIN_MEMORY"}),
        ("0.26.0", True, {"VLLM_WSL2_ENABLE_PIN_MEMORY", "VLLM_ENABLE_STARTUP_PLAN"}),
        ("0.29.0", True, {"VLLM_WSL2_ENABLE_PIN_MEMORY", "VLLM_ENABLE_STARTUP_PLAN"}),
        ("0.30.0", True, {"VLLM_ENABLE_STARTUP_PLAN"}),
        ("0.33.0", False, {"VLLM_ENABLE_STARTUP_PLAN"}),
    ],
)
def test_each_version_gets_the_switches_that_it_needs(text: str, wsl: bool, names: set[str]) -> None:
    assert set(environment(version(text), is_wsl=wsl)) == names


def test_an_unknown_version_gets_what_none_minds() -> None:
    assert environment(None, is_wsl=True) == {"VLLM_WSL2_ENABLE_PIN_MEMORY": "1"}
    assert environment(None, is_wsl=False) == {}
    assert not any(has_flag(name, None) for name in FLAGS)


@pytest.mark.parametrize(
    ("name", "first", "before"),
    [("--safetensors-load-strategy prefetch", "0.18.0", "0.17.1"), ("positional model", "0.20.0", "0.19.1")],
)
def test_an_argument_begins_with_its_version(name: str, first: str, before: str) -> None:
    assert has_flag(name, version(first))
    assert not has_flag(name, version(before))


def test_the_two_cures_of_one_fault_never_meet() -> None:
    for minor in range(11, 40):
        found = environment(VllmVersion(0, minor), is_wsl=True)
        assert len({"VLLM_USE_V2_MODEL_RUNNER", "VLLM_WSL2_ENABLE_PIN_MEMORY"} & set(found)) <= 1
    assert all(switch.reason for switch in SWITCHES)


def test_doctor_is_told_what_is_known() -> None:
    assert any("UVA" in sentence for sentence in known_faults(version("0.29.0"), is_wsl=True))
    assert not any("WSL" in sentence for sentence in known_faults(version("0.29.0"), is_wsl=False))
    assert any("older" in sentence for sentence in known_faults(version("0.9.0"), is_wsl=False))
    assert any(
        "newer" in sentence for sentence in known_faults(VllmVersion(0, TESTED.minor + 1), is_wsl=False)
    )
    assert any("does not say" in sentence for sentence in known_faults(None, is_wsl=False))


@pytest.mark.parametrize(
    ("given_image", "expected"),
    [
        (image("vllm/vllm-openai:v0.32.0"), "0.32.0"),
        (image("vllm/vllm-openai:latest", "vllm/vllm-openai:v0.31.0"), "0.31.0"),
        (image("localhost:5000/vllm/vllm-openai:v0.31.0"), "0.31.0"),
        (image("vllm/vllm-openai:latest", environment={"VLLM_VERSION": "0.30.0"}), "0.30.0"),
        (image("vllm/vllm-openai:latest", labels={"ocrd.vllm.version": "0.32.0+cpu"}), "0.32.0+cpu"),
    ],
)
def test_the_version_of_an_image_is_found(given_image: Image, expected: str) -> None:
    assert str(image_version(given_image)) == expected


def test_the_version_of_ubuntu_is_not_taken_for_vllms() -> None:
    assert image_version(image("x:latest", labels={"org.opencontainers.image.version": "22.04"})) is None
    assert image_version(image("localhost:5000/vllm/vllm-openai")) is None
    assert image_version(image()) is None


def test_the_newest_release_is_chosen() -> None:
    images = [
        image("vllm/vllm-openai:v0.9.0", number=1),
        image("vllm/vllm-openai:v0.31.0", number=2),
        image("vllm/vllm-openai:v0.32.0rc1", number=3),
        image("vllm/vllm-openai:latest", number=4, created="2026-11-20T00:00:00Z"),
    ]
    chosen, why = choose_image(images, "")
    assert chosen is images[1]
    assert "0.31.0" in why
    assert "4 local images" in why


def test_a_moving_tag_is_taken_only_if_there_is_nothing_else_and_with_a_warning() -> None:
    images = [
        image("vllm/vllm-openai:nightly", number=1, created="2026-10-01T00:00:00Z"),
        image("vllm/vllm-openai:latest", number=2, created="2026-11-01T00:00:00Z"),
        image("vllm/vllm-openai:v0.9.0", number=3),
    ]
    chosen, why = choose_image(images, "")
    assert chosen is images[1]
    assert "moving tag" in why


def test_what_is_newer_than_tested_is_taken_and_said() -> None:
    chosen, why = choose_image([image("vllm/vllm-openai:v0.99.0")], "")
    assert chosen.tags == ("vllm/vllm-openai:v0.99.0",)
    assert "newer than" in why


def test_the_image_of_the_settings_wins() -> None:
    images = [
        image("vllm/vllm-openai:v0.32.0", number=1),
        image("vllm/vllm-openai:latest", number=0xABC << 240),
    ]
    assert choose_image(images, "vllm/vllm-openai:latest")[0] is images[1]
    assert choose_image(images, "vllm/vllm-openai")[0] is images[1]
    assert choose_image(images, images[0].id)[0] is images[0]
    assert choose_image(images, images[1].id.removeprefix("sha256:")[:12])[0] is images[1]


@pytest.mark.parametrize(
    ("images", "wanted", "said"),
    [
        ([], "", "no local"),
        ([image("vllm/vllm-openai:v0.9.0")], "", str(MINIMUM)),
        ([image("vllm/vllm-openai:v0.32.0")], "vllm/vllm-openai:v0.31.0", "v0.31.0"),
        ([image("vllm/vllm-openai:v0.32.0")], "sha256:00", "sha256:00"),
    ],
)
def test_no_image_is_told_with_the_command_that_fetches_one(
    images: list[Image], wanted: str, said: str
) -> None:
    with pytest.raises(ServiceMissing) as caught:
        choose_image(images, wanted)
    assert said in str(caught.value)
    assert "docker pull" in caught.value.hint


@given(
    tags=st.lists(
        st.sampled_from(["latest", "nightly", "v0.9.0", "v0.11.2", "v0.32.0", "v0.32.0rc1", "junk"]),
        min_size=1,
    )
)
def test_nothing_older_than_the_minimum_is_ever_chosen(tags: list[str]) -> None:
    images = [image(f"vllm/vllm-openai:{tag}", number=number) for number, tag in enumerate(tags)]
    try:
        chosen, why = choose_image(images, "")
    except ServiceMissing:
        assert set(tags) == {"v0.9.0"}
        return
    found = image_version(chosen)
    assert why
    assert found is None or found.is_at_least(MINIMUM)
    if found is None:
        assert not {"v0.11.2", "v0.32.0", "v0.32.0rc1"} & set(tags)
