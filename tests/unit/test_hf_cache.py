"""The inspection of the Hugging Face cache: every way to be broken is found, nothing whole is blamed."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st
from support import hf_caches
from support.hf_caches import BROKEN, INDEX, LONG_AGO, MODEL, OLDER, REVISION, SHARDS, Case, Repository
from support.users import unprivileged

from ocrd.serving.hf_cache.cached_model import CachedModel, CacheState, MissingFile, servable
from ocrd.serving.hf_cache.inspection import inspect_cache, inspect_model, spelling
from ocrd.serving.hf_cache.layout import CacheUnreadable, hub_folder
from ocrd.serving.hf_cache.pruning import Prunable, prunable, prune


def inspect(repository: Repository) -> CachedModel:
    return inspect_model(str(repository.hub), repository.model)


@pytest.fixture
def whole(tmp_path: Path) -> Repository:
    return hf_caches.make(tmp_path / "hub")


# --- whole ones ---------------------------------------------------------------------------------------------


def test_a_whole_model_is_complete(whole: Repository) -> None:
    found = inspect(whole)
    assert found == CachedModel(
        model=MODEL,
        state=CacheState.COMPLETE,
        revision=REVISION,
        snapshot=str(whole.snapshot),
        weight_bytes=700,
        disk_bytes=found.disk_bytes,
        architecture="Qwen2VLForConditionalGeneration",
        model_type="qwen2_vl",
    )
    files = sum(len(data) for data in hf_caches.whole_model().values())
    assert found.disk_bytes == files + len(REVISION)


def test_a_name_in_another_case_is_spelled_right(whole: Repository, tmp_path: Path) -> None:
    hub, other = str(whole.hub), whole.model.upper()
    assert spelling(hub, other) == spelling(hub, whole.model) == whole.model
    assert spelling(hub, "nobody/nothing") == "nobody/nothing"
    assert spelling(str(tmp_path / "nowhere"), other) == other
    found = inspect_model(hub, other)
    assert found.state is CacheState.INCOMPLETE
    assert found.hint == f"write it so: {whole.model}"


def test_huggingface_hub_sees_the_same_model(whole: Repository) -> None:
    """The builder makes the true layout."""
    (repository,) = scan_cache_dir(whole.hub).repos
    assert (repository.repo_id, repository.repo_type) == (MODEL, "model")
    (revision,) = repository.revisions
    assert revision.commit_hash == REVISION
    assert {file.file_name for file in revision.files} == set(hf_caches.whole_model())
    assert snapshot_download(MODEL, cache_dir=whole.hub, local_files_only=True) == str(whole.snapshot)


def test_plain_files_work(tmp_path: Path) -> None:
    """A file system without links gets plain files in the snapshot."""
    repository = Repository(tmp_path)
    repository.snapshot.mkdir(parents=True)
    repository.add_ref()
    for name, data in hf_caches.whole_model().items():
        (repository.snapshot / name).write_bytes(data)
    found = inspect(repository)
    assert (found.state, found.weight_bytes, found.warnings) == (CacheState.COMPLETE, 700, ())


def test_one_file_of_weights_needs_no_index(tmp_path: Path) -> None:
    files = {name: data for name, data in hf_caches.whole_model().items() if name not in {INDEX, *SHARDS}}
    repository = hf_caches.make(tmp_path, files | {"model.safetensors": hf_caches.safetensors({"a": 9})})
    assert inspect(repository).state is CacheState.COMPLETE
    assert inspect(repository).weight_bytes == 9


def test_pickled_weights_are_counted_by_their_files(tmp_path: Path) -> None:
    files = {name: data for name, data in hf_caches.whole_model().items() if name not in {INDEX, *SHARDS}}
    repository = hf_caches.make(tmp_path, files | {"pytorch_model.bin": b"x" * 77, "training_args.bin": b"y"})
    found = inspect(repository)
    assert (found.state, found.weight_bytes) == (CacheState.COMPLETE, 77)
    assert "only the presence can be checked" in found.warnings[0]


@pytest.mark.parametrize(
    "names", [["tokenizer.model"], ["vocab.json", "merges.txt"], ["qwen.tiktoken"], ["tekken.json"]]
)
def test_any_tokenizer_will_do(whole: Repository, names: list[str]) -> None:
    whole.remove("tokenizer.json")
    for name in names:
        whole.add(name, f"{name} of a model".encode())
    assert inspect(whole).state is CacheState.COMPLETE


def test_newer_processors_have_one_file(whole: Repository) -> None:
    whole.remove("preprocessor_config.json")
    whole.add("processor_config.json", b'{"image_processor": {}}')
    assert inspect(whole).state is CacheState.COMPLETE


def test_a_model_without_eyes_needs_no_processor(whole: Repository) -> None:
    whole.remove("preprocessor_config.json")
    whole.remove("config.json")
    whole.add("config.json", b'{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}')
    assert inspect(whole).state is CacheState.COMPLETE


def test_remote_code_that_is_there(whole: Repository) -> None:
    config = hf_caches.QWEN2_CONFIG | {
        "auto_map": {"AutoConfig": "own.Config", "AutoModel": ["org/other--code.Model", None, 7]}
    }
    whole.remove("config.json")
    whole.add("config.json", json.dumps(config).encode())
    whole.add("own.py", b"class Config: ...")
    found = inspect(whole)
    assert (found.state, found.needs_remote_code) == (CacheState.COMPLETE, True)
    assert "another repository" in found.warnings[0]
    assert "org/other" in found.warnings[0]


def test_an_old_unfinished_download_beside_a_whole_model_is_a_warning(whole: Repository) -> None:
    (whole.blobs / "abc.01234567.incomplete").write_bytes(b"x" * 10)
    found = inspect(whole)
    assert found.state is CacheState.COMPLETE
    assert "abc.01234567.incomplete" in found.warnings[0]


def test_what_a_server_does_not_need_may_lack(whole: Repository) -> None:
    sizes = {path.name: path.stat().st_size for path in whole.snapshot.iterdir()}
    whole.add_listing(sizes | {"assets/picture.png": 100_000})
    whole.blob("README.md").unlink()
    found = inspect(whole)
    assert found.state is CacheState.COMPLETE
    assert any("assets/picture.png" in warning for warning in found.warnings)
    assert any("README.md is a link" in warning for warning in found.warnings)


def test_links_out_of_the_cache_are_told(whole: Repository, tmp_path: Path) -> None:
    """A container sees only the cache."""
    elsewhere = tmp_path / "big disk"
    whole.blob(SHARDS[0]).rename(elsewhere)
    (whole.snapshot / SHARDS[0]).unlink()
    (whole.snapshot / SHARDS[0]).symlink_to(elsewhere)
    found = inspect(whole)
    assert found.state is CacheState.COMPLETE
    assert found.warnings[0].startswith(f"{SHARDS[0]} is a link that leads out of the cache")


# --- broken ones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_every_way_to_be_broken_is_found(whole: Repository, case: Case) -> None:
    case.breaks(whole)
    found = inspect(whole)
    assert found.state is case.state
    assert case.says in found.reason
    assert found.reason
    assert found.hint
    assert [(one.name, one.bytes) for one in found.missing] == list(case.missing)


@pytest.mark.parametrize(
    "name", ["shard missing", "dangling link", "interrupted download", "truncated shard"]
)
def test_huggingface_hub_takes_these_for_whole(whole: Repository, name: str) -> None:
    """Why there is an inspection of our own; if this fails, huggingface_hub has learned it."""
    case = next(case for case in BROKEN if case.name == name)
    case.breaks(whole)
    assert snapshot_download(MODEL, cache_dir=whole.hub, local_files_only=True) == str(whole.snapshot)


def test_the_hint_mends_it(whole: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad blob has to be deleted first: huggingface_hub does not fetch what is there."""
    bad = whole.blob(SHARDS[1])
    bad.write_bytes(bad.read_bytes()[:-1])
    monkeypatch.setenv("HF_HUB_CACHE", str(whole.hub))
    assert inspect(whole).hint.endswith(f": rm {bad} && hf download {MODEL}")
    monkeypatch.setenv("HF_HUB_CACHE", "/elsewhere")
    assert inspect(whole).hint.endswith(f"&& hf download {MODEL} --cache-dir {whole.hub}")


def test_a_listed_file_of_weights_is_missing(tmp_path: Path) -> None:
    """Beside it lies something else that could be taken for the weights; other listed copies may be left out."""
    files = {name: data for name, data in hf_caches.whole_model().items() if name not in {INDEX, *SHARDS}}
    repository = hf_caches.make(tmp_path, files | {"adapter.safetensors": hf_caches.safetensors({"a": 9})})
    repository.add_listing({"model.safetensors": 4711, "consolidated.safetensors": 4712})
    assert inspect(repository).missing == (MissingFile("model.safetensors", 4711),)


@pytest.mark.parametrize("model", ["Qwen/absent", "gpt2"])
def test_a_model_that_is_not_there(whole: Repository, model: str) -> None:
    found = inspect_model(str(whole.hub), model)
    assert found.state is CacheState.INCOMPLETE
    assert "not in the cache" in found.reason
    assert f"hf download {model}" in found.hint


@pytest.mark.parametrize("model", ["", "../x", "/etc", "a/b/c", "a\0b", "a b"])
def test_a_name_that_is_none(whole: Repository, model: str) -> None:
    assert "no name of a Hugging Face model" in inspect_model(str(whole.hub), model).reason


def test_without_a_ref_the_only_snapshot_is_taken(tmp_path: Path) -> None:
    found = inspect(hf_caches.make(tmp_path, ref=False))
    assert (found.state, found.revision) == (CacheState.COMPLETE, REVISION)
    assert "no refs/main: its only snapshot" in found.warnings[0]


def test_without_a_ref_the_newest_complete_snapshot_is_taken(tmp_path: Path) -> None:
    whole = hf_caches.make(tmp_path, ref=False)
    newer = hf_caches.make(tmp_path, {"config.json": b"{}"}, revision="2" * 40, ref=False)
    oldest = hf_caches.make(tmp_path, revision=OLDER, ref=False)
    for age, one in enumerate((newer, whole, oldest)):
        os.utime(one.snapshot, (LONG_AGO - age, LONG_AGO - age))
    found = inspect(whole)
    assert (found.state, found.revision) == (CacheState.COMPLETE, REVISION)
    assert "of its 3 snapshots the newest complete one" in found.warnings[0]


def test_an_unfinished_update_is_told(tmp_path: Path) -> None:
    hf_caches.make(tmp_path, revision=OLDER)
    updated = hf_caches.make(tmp_path)
    (updated.snapshot / SHARDS[1]).unlink()
    found = inspect(updated)
    assert (found.state, found.revision) == (CacheState.INCOMPLETE, REVISION)
    assert any(f"another snapshot, {OLDER}, is complete" in warning for warning in found.warnings)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_folder_that_may_not_be_read_is_a_reason(open_folder: Path) -> None:
    whole = hf_caches.make(open_folder)
    whole.blobs.chmod(0)
    with unprivileged():
        found = inspect(whole)
        waste = prunable(str(whole.hub))
    whole.blobs.chmod(0o755)
    assert found.state is CacheState.DAMAGED
    assert "cannot be read: Permission denied" in found.reason
    assert "chown" in found.hint
    assert waste == []


def test_a_file_that_may_not_be_read_is_a_reason(open_folder: Path) -> None:
    whole = hf_caches.make(open_folder)
    whole.blob(SHARDS[1]).chmod(0)
    with unprivileged():
        found = inspect(whole)
    assert found.state is CacheState.DAMAGED
    assert f"{SHARDS[1]} cannot be read: Permission denied" in found.reason


def test_a_cache_that_may_not_be_read_is_an_error(open_folder: Path) -> None:
    whole = hf_caches.make(open_folder / "hub")
    whole.hub.chmod(0)
    with unprivileged(), pytest.raises(CacheUnreadable, match="Permission denied"):
        inspect_cache(str(whole.hub))
    whole.hub.chmod(0o755)


def test_a_ref_that_is_a_folder_is_as_none(whole: Repository) -> None:
    (whole.folder / "refs" / "main").unlink()
    (whole.folder / "refs" / "main").mkdir()
    assert inspect(whole).state is CacheState.COMPLETE


def test_a_pipe_does_not_hold_it_up(whole: Repository) -> None:
    (whole.snapshot / "config.json").unlink()
    os.mkfifo(whole.snapshot / "config.json")
    (whole.folder / "refs" / "main").unlink()
    os.mkfifo(whole.folder / "refs" / "main")
    assert inspect(whole).reason.startswith("config.json is missing")


def test_snapshots_that_are_a_file(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.folder.mkdir(parents=True)
    (repository.folder / "snapshots").write_text("")
    assert inspect(repository).state is CacheState.INCOMPLETE


def test_the_cache_lists_models_only(tmp_path: Path) -> None:
    hf_caches.make(tmp_path)
    hf_caches.make(tmp_path, {}, model="gpt2")
    for name in ("datasets--org--pages", "spaces--org--demo", ".locks", "models--bad name", "version.txt"):
        (tmp_path / name).mkdir()
    (tmp_path / "models--org--file").write_text("")
    found = inspect_cache(str(tmp_path))
    assert [(one.model, one.state) for one in found] == [
        (MODEL, CacheState.COMPLETE),
        ("gpt2", CacheState.INCOMPLETE),
    ]


def test_no_cache_at_all(tmp_path: Path) -> None:
    assert inspect_cache(str(tmp_path / "nowhere")) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheUnreadable, match="file cannot be read"):
        inspect_cache(str(tmp_path / "file"))


# --- only headers are read ----------------------------------------------------------------------------------


def test_only_headers_are_read(whole: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shards of 5 GB each: holes that take no room; the bytes that are read of them are counted."""
    for number, name in enumerate(SHARDS):
        whole.remove(name)
        header = hf_caches.header_of({("embed", "layers.1")[number]: 5 * 10**9, "layers.0head": 8})
        blob = whole.add(name, struct.pack("<Q", len(header)) + header)
        os.truncate(blob, 8 + len(header) + 5 * 10**9 + 8)
    weight_map = {"embed": SHARDS[0], "layers.1": SHARDS[1]}
    whole.remove(INDEX)
    whole.add(INDEX, json.dumps({"weight_map": weight_map}).encode())
    counted = []
    read = os.read

    def counting(fd: int, count: int) -> bytes:
        data = read(fd, count)
        counted.append(len(data))
        return data

    monkeypatch.setattr(os, "read", counting)
    found = inspect(whole)
    assert (found.state, found.weight_bytes) == (CacheState.COMPLETE, 2 * (5 * 10**9 + 8))
    assert 0 < sum(counted) < 1000


# --- whatever the files hold --------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "weight_map",
                    "metadata",
                    "total_size",
                    "auto_map",
                    "architectures",
                    "data_offsets",
                    "files",
                    "size",
                ]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_contents = (
    st.binary(max_size=60)
    | _json.map(lambda value: json.dumps(value).encode())
    | st.sampled_from([b"[" * 100_000, b"9" * 5000, b'{"a":' * 50_000])
)
_places = st.sampled_from(
    [
        "config.json",
        INDEX,
        "preprocessor_config.json",
        "tokenizer.json",
        "listing",
        "ref",
        "header",
        SHARDS[0],
    ]
)


@given(place=_places, contents=_contents)
def test_nothing_that_files_hold_raises(
    tmp_path_factory: pytest.TempPathFactory, place: str, contents: bytes
) -> None:
    repository = hf_caches.make(tmp_path_factory.mktemp("hub"))
    if place == "listing":
        (repository.folder / "trees").mkdir()
        (repository.folder / "trees" / f"{REVISION}.json").write_bytes(contents)
    elif place == "ref":
        (repository.folder / "refs" / "main").write_bytes(contents)
    else:
        name = SHARDS[0] if place == "header" else place
        repository.remove(name)
        repository.add(name, struct.pack("<Q", len(contents)) + contents if place == "header" else contents)
    found = inspect(repository)
    assert found.model == MODEL
    assert bool(found.reason) == (found.state is not CacheState.COMPLETE)
    json.dumps([found.reason, found.hint, [one.bytes for one in found.missing]])


@given(contents=_json)
def test_no_header_raises(tmp_path_factory: pytest.TempPathFactory, contents: object) -> None:
    header = json.dumps({"a": {"data_offsets": contents}, "b": contents}).encode()
    repository = hf_caches.make(tmp_path_factory.mktemp("hub"))
    repository.remove(SHARDS[0])
    repository.add(SHARDS[0], struct.pack("<Q", len(header)) + header)
    assert inspect(repository).state is CacheState.DAMAGED


@given(cut=st.integers(min_value=1), which=st.sampled_from(SHARDS))
def test_every_truncation_is_found(tmp_path_factory: pytest.TempPathFactory, cut: int, which: str) -> None:
    repository = hf_caches.make(tmp_path_factory.mktemp("hub"))
    blob = repository.blob(which)
    size = blob.stat().st_size
    os.truncate(blob, size - 1 - cut % size)
    found = inspect(repository)
    assert found.state is CacheState.DAMAGED
    assert found.reason.startswith(which)
    assert [one.name for one in found.missing] == [which]


# --- the image ----------------------------------------------------------------------------------------------


def test_an_architecture_that_the_image_does_not_know(whole: Repository) -> None:
    found = inspect(whole)
    assert servable(found, {"HfMoondream"}) == found
    assert servable(found, frozenset()) == found
    refused = servable(found, {"Qwen2VLForConditionalGeneration"})
    assert refused.state is CacheState.UNSERVABLE
    assert "no version of vLLM is known to have the architecture Qwen2VL" in refused.reason
    assert refused.hint


def test_a_model_without_an_architecture(whole: Repository) -> None:
    whole.remove("config.json")
    whole.add("config.json", b'{"architectures": []}')
    refused = servable(inspect(whole), {"HfMoondream"})
    assert (refused.state, "names no architecture" in refused.reason) == (CacheState.UNSERVABLE, True)


def test_a_broken_model_stays_broken(whole: Repository) -> None:
    whole.remove("config.json")
    assert servable(inspect(whole), {"HfMoondream"}).state is CacheState.INCOMPLETE


# --- where it is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "env", "expected"),
    [
        ("/data/hf", {"HF_HUB_CACHE": "/other"}, "/data/hf/hub"),
        ("/data/hf/hub/", {}, "/data/hf/hub"),
        ("~/hf", {"HOME": "/home/user"}, "/home/user/hf/hub"),
        ("", {"HF_HUB_CACHE": "/cache", "HF_HOME": "/home/hf"}, "/cache"),
        ("", {"HF_HOME": "/home/hf", "HOME": "/home/user"}, "/home/hf/hub"),
        ("", {"XDG_CACHE_HOME": "/xdg", "HOME": "/home/user"}, "/xdg/huggingface/hub"),
        ("", {"HOME": "/home/user"}, "/home/user/.cache/huggingface/hub"),
        ("", {"HF_HOME": "", "HOME": "/home/user"}, "/home/user/.cache/huggingface/hub"),
    ],
)
def test_where_the_cache_is(setting: str, env: dict[str, str], expected: str) -> None:
    assert hub_folder(setting, env) == expected


# --- deletion -----------------------------------------------------------------------------------------------


def add_waste(repository: Repository) -> list[Prunable]:
    """One of each kind, old enough."""
    waste = []
    for name, why in (
        ("a" * 64 + ".01234567.incomplete", "left of an interrupted download"),
        ("b" * 64, "no snapshot refers to it"),
    ):
        path = repository.blobs / name
        path.write_bytes(b"x" * 40)
        os.utime(path, (LONG_AGO, LONG_AGO))
        waste.append(Prunable(str(path), 40, why))
    return waste


def tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_exactly_the_waste_is_deleted(whole: Repository) -> None:
    before = tree(whole.hub)
    waste = add_waste(whole)
    assert prunable(str(whole.hub)) == waste
    done = prune(str(whole.hub), waste)
    assert (done.freed_bytes, done.deleted, done.kept) == (80, tuple(one.path for one in waste), ())
    assert tree(whole.hub) == before
    assert inspect(whole).state is CacheState.COMPLETE


def test_what_is_young_stays(whole: Repository) -> None:
    (whole.blobs / "abc.01234567.incomplete").write_bytes(b"x")
    (whole.blobs / "abc").write_bytes(b"x")
    assert prunable(str(whole.hub)) == []


def test_what_a_download_holds_stays(whole: Repository) -> None:
    waste = add_waste(whole)
    locks = whole.hub / ".locks" / whole.folder.name
    locks.mkdir(parents=True)
    with (locks / ("a" * 64 + ".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert prunable(str(whole.hub)) == waste[1:]


def test_what_changed_since_it_was_shown_stays(whole: Repository) -> None:
    waste = add_waste(whole)
    Path(waste[0].path).write_bytes(b"goes on")
    whole.link("late.json", "b" * 64)
    done = prune(str(whole.hub), waste)
    assert (done.freed_bytes, done.deleted, len(done.kept)) == (0, (), 2)
    assert all(Path(one.path).exists() for one in waste)


def test_what_was_never_shown_stays(whole: Repository, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"x")
    blob = whole.blob(SHARDS[0])
    wanted = [Prunable(str(mine), 1, "asked"), Prunable(str(blob), blob.stat().st_size, "asked")]
    assert prune(str(whole.hub), wanted).deleted == ()
    assert mine.exists()
    assert blob.exists()


def test_snapshots_of_plain_files_and_hard_links_keep_their_blobs(whole: Repository) -> None:
    blob = whole.blob(SHARDS[0])
    (whole.snapshot / SHARDS[0]).unlink()
    os.link(blob, whole.snapshot / SHARDS[0])
    assert prunable(str(whole.hub)) == []


def test_blobs_of_other_snapshots_stay(tmp_path: Path) -> None:
    hf_caches.make(tmp_path, {"config.json": b"of an older one"}, revision=OLDER, ref=False)
    hf_caches.make(tmp_path)
    assert prunable(str(tmp_path)) == []


def test_what_lacks_is_told_once(whole: Repository) -> None:
    """A shard that the index and the list both name."""
    whole.add_listing({SHARDS[1]: 1234})
    whole.remove(SHARDS[1])
    assert inspect(whole).missing == (MissingFile(SHARDS[1], 1234),)


def test_with_a_list_huggingface_hub_finds_the_shard_missing_as_well(whole: Repository) -> None:
    """The list that the builder writes is one that huggingface_hub reads; only with it the two agree."""
    whole.add_listing({path.name: path.stat().st_size for path in whole.snapshot.iterdir()})
    assert inspect(whole).state is CacheState.COMPLETE
    size = whole.remove(SHARDS[1])
    assert inspect(whole).missing == (MissingFile(SHARDS[1], size),)
    with pytest.raises(LocalEntryNotFoundError, match=SHARDS[1]):
        snapshot_download(MODEL, cache_dir=whole.hub, local_files_only=True)
