"""What is started for a model: from a real cache folder, a GPU that a program named nvidia-smi tells of, and images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fakes.container_runtime import FakeRuntime
from support.hf_caches import SHARDS, make

from ocrd.domain.serving import Diagnosis, Failure, Image
from ocrd.serving.catalog import load_catalog
from ocrd.serving.orders import Refusal
from ocrd.serving.planner import CataloguePlanner
from ocrd.serving.startup import StartPhase, StartupLog
from ocrd.settings import ServerSettings

MODEL = "Qwen/Qwen2-VL-2B-Instruct"
GPU = ServerSettings(model=MODEL)
NO_GPU = replace(GPU, gpus=("none",))


@dataclass
class Start:
    """A start as the store remembers it."""

    spec: str
    failure: str = ""
    message: str = ""
    seconds: float = 40.0
    details: Mapping[str, Any] = field(default_factory=dict)


class Past:
    """What the store knows."""

    def __init__(self) -> None:
        self.last: Start | None = None
        self.pinned: str | None = None

    def pinned_image(self) -> str | None:
        return self.pinned

    def pin_image(self, image_id: str) -> None:
        self.pinned = image_id

    def last_start(self, model: str, image_id: str, *, good: bool | None = None) -> Start | None:
        if self.last is None or (good is not None and good == bool(self.last.failure)):
            return None
        return self.last

    def note_start(self, **start: Any) -> None:
        self.last = Start(
            start["spec"], start["failure"], start["message"], start["seconds"], start["details"]
        )


class Runtime(FakeRuntime):
    """An engine with the images that a test gives it."""

    def __init__(self, *tags: str) -> None:
        super().__init__()
        self.tags = tags

    def images(self, repository: str) -> list[Image]:
        return [
            Image(id=f"sha256:{number}", tags=(f"{repository}:{tag}",), created=f"2026-01-0{number + 1}")
            for number, tag in enumerate(self.tags)
        ]

    def find_image(self, reference: str) -> Image | None:
        found = self.images("vllm/vllm-openai")
        return next((one for one in found if reference in {one.id, *one.tags}), None)


@dataclass
class Rig:
    """A planner and what it looks at."""

    hub: Path
    smi: Path
    runtime: Runtime
    past: Past = field(default_factory=Past)

    def planner(self, settings: ServerSettings = GPU) -> CataloguePlanner:
        """A fresh one, as after a restart of the daemon."""
        made = CataloguePlanner(settings, self.runtime, load_catalog(None), hub=str(self.hub))
        made.bind(self.past)
        return made

    def set_card(self, free_mib: int, total_mib: int = 12227) -> None:
        """What nvidia-smi says from now on."""
        used_mib = total_mib - free_mib
        name = "NVIDIA GeForce RTX 5070 Ti Laptop GPU"
        self.smi.write_text(f"#!/bin/sh\necho '0, {name}, {total_mib}, {free_mib}, {used_mib}'\n")
        self.smi.chmod(0o755)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    hub, programs = tmp_path / "hub", tmp_path / "bin"
    programs.mkdir()
    make(hub, model=MODEL)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    made = Rig(hub, programs / "nvidia-smi", Runtime("v0.31.0", "v0.32.0"))
    made.set_card(10_700)
    return made


def refusal(planner: CataloguePlanner, model: str = MODEL) -> Refusal:
    with pytest.raises(Refusal) as caught:
        planner.order(model)
    return caught.value


def test_a_plan_becomes_a_container_that_fits_the_card(rig: Rig) -> None:
    order = rig.planner().order(MODEL)
    command = order.spec.command
    assert order.image_id == "sha256:1", "the newest supported one"
    assert command[0] == MODEL
    assert order.spec.gpus == ("all",)
    plan = order.details["plan"]
    assert plan["footprint_mib"] <= 10_700
    assert command[command.index("--max-model-len") + 1] == str(plan["max_model_len"])
    assert any(str(rig.hub) in mount.source and mount.read_only for mount in order.spec.mounts)


def test_without_a_gpu_nothing_is_planned(rig: Rig) -> None:
    order = rig.planner(NO_GPU).order(MODEL)
    assert order.details["plan"] is None
    assert order.spec.gpus == ()
    assert "--max-model-len" not in order.spec.command


@pytest.mark.parametrize(
    ("breaks", "failure", "said"),
    [
        ("image", Failure.IMAGE_MISSING, "docker pull"),
        ("named image", Failure.IMAGE_MISSING, "vllm/vllm-openai:v9"),
        ("model", Failure.MODEL_INCOMPLETE, SHARDS[1]),
        ("no model", Failure.MODEL_INCOMPLETE, "is not in the cache"),
        ("card", Failure.NO_GPU, "nvidia-smi"),
        ("mount", Failure.BAD_ARGUMENT, "nonsense"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_started(
    rig: Rig, breaks: str, failure: Failure, said: str
) -> None:
    settings = GPU
    match breaks:
        case "image":
            rig.runtime.tags = ()
        case "named image":
            settings = replace(GPU, image="vllm/vllm-openai:v9")
        case "model":
            os.unlink(next(rig.hub.rglob(SHARDS[1])))
        case "no model":
            rig.hub = rig.hub / "elsewhere"
        case "card":
            rig.smi.write_text("#!/bin/sh\necho 'no devices were found' >&2\nexit 6\n")
        case "mount":
            settings = replace(GPU, mounts=("nonsense",))
    err = refusal(rig.planner(settings))
    assert err.diagnosis.failure is failure
    assert said in f"{err} {err.hint}"
    assert "create" not in rig.runtime.calls


def test_a_card_that_is_full_is_waited_for(rig: Rig) -> None:
    rig.set_card(300)
    err = refusal(rig.planner())
    assert "MiB" in str(err)
    rig.set_card(10_700)
    rig.planner().order(MODEL)


def test_memory_that_did_not_suffice_leads_to_smaller_orders_until_there_are_none(rig: Rig) -> None:
    planner = rig.planner()
    oom = Diagnosis(failure=Failure.CUDA_OOM, message="CUDA out of memory")
    footprints = [planner.order(MODEL).details["plan"]["footprint_mib"]]
    while planner.step_down(MODEL, oom):
        footprints.append(planner.order(MODEL).details["plan"]["footprint_mib"])
        assert len(footprints) < 20
    assert len(footprints) > 2
    assert footprints == sorted(footprints, reverse=True)


def test_memory_that_another_program_took_counts_for_one_order_alone(rig: Rig) -> None:
    planner = rig.planner()
    whole = planner.order(MODEL).details["plan"]["footprint_mib"]
    busy = Diagnosis(failure=Failure.VRAM_BUSY, message="taken", numbers={"free_mib": 300.0})
    assert planner.step_down(MODEL, busy)
    assert "300" in str(refusal(planner))
    assert planner.order(MODEL).details["plan"]["footprint_mib"] == whole


def test_whoever_asks_for_a_start_gets_the_whole_plan_again(rig: Rig) -> None:
    planner = rig.planner()
    whole = planner.order(MODEL)
    assert planner.step_down(MODEL, Diagnosis(failure=Failure.CUDA_OOM, message="CUDA out of memory"))
    smaller = planner.order(MODEL)
    rig.past.last = Start(smaller.spec.hash, details={**smaller.details, "phases": {}})
    planner.forgive()
    assert planner.order(MODEL).spec == whole.spec


def test_the_plan_that_worked_is_the_first_one_next_time(rig: Rig) -> None:
    planner = rig.planner()
    planner.order(MODEL)
    planner.step_down(MODEL, Diagnosis(failure=Failure.CUDA_OOM, message="CUDA out of memory"))
    smaller = planner.order(MODEL)
    rig.past.last = Start(smaller.spec.hash, details={**smaller.details, "phases": {"loading": 12.5}})
    again = rig.planner().order(MODEL)
    assert again.spec == smaller.spec
    assert again.learned == {StartPhase.LOADING: 12.5}
    assert again.expected_s == 40.0
    other = rig.planner(replace(GPU, max_num_seqs=1)).order(MODEL)
    assert other.details["wishes"]["max_num_seqs"] == 1, "other wishes are asked anew"


def test_a_server_that_yields_leaves_more_than_that_free(rig: Rig) -> None:
    yielding = replace(GPU, yield_below_mib=4000)
    plan = rig.planner(yielding).order(MODEL).details["plan"]
    assert plan["terms"]["reserve"] == 4256
    rig.set_card(4256 + plan["terms"]["weights"])
    assert "4256" in str(refusal(rig.planner(yielding)))


def test_what_a_start_took_is_the_next_plan(rig: Rig) -> None:
    planner = rig.planner()
    order = planner.order(MODEL)
    plan = order.details["plan"]
    weights_gib = (plan["terms"]["weights"] + 49.5) / 1024
    seen = StartupLog(0.0)
    seen.feed(f"Model loading took {weights_gib:.4f} GiB and 9.5 seconds\n".encode(), 1.0)
    learned = planner.worked(order, seen, taken_mib=plan["footprint_mib"] + 200)
    again = planner.order(MODEL).details["plan"]["terms"]
    assert again["weights"] == plan["terms"]["weights"] + 50
    whole = sum(again[term] for term in ("weights", "overhead", "cudagraphs")) + max(
        again["vision_peak"], again["language_peak"]
    )
    assert whole == pytest.approx(plan["footprint_mib"] + 200 - plan["kv_cache_mib"], abs=3)
    rig.past.last = Start(order.spec.hash, details={**order.details, **learned})
    assert rig.planner().order(MODEL).details["plan"]["terms"] == again, "the next daemon knows it too"
    recalled = rig.planner().recall(MODEL, order.spec.hash)
    assert recalled is not None
    assert recalled.details["measured_plan"] == learned["measured_plan"], "and the one that takes it over"


def test_a_server_that_was_taken_over_measures_nothing(rig: Rig) -> None:
    spec = started(rig, rig.planner())
    planner = rig.planner()
    order = planner.recall(MODEL, spec)
    assert order is not None
    assert planner.worked(order, StartupLog(0.0), taken_mib=None) == {}


def test_a_start_that_cannot_work_is_not_tried_by_the_next_daemon_unless_something_changed(rig: Rig) -> None:
    spec = rig.planner().order(MODEL).spec.hash
    rig.past.last = Start(spec, failure="unsupported_model", message="vLLM does not know it")
    err = refusal(rig.planner())
    assert "it was tried before, and failed: vLLM does not know it" in str(err)
    rig.planner(replace(GPU, max_num_seqs=2)).order(MODEL)
    forgiving = rig.planner()
    forgiving.forgive()
    forgiving.order(MODEL)
    rig.past.last = Start(spec, failure="killed", message="somebody did it")
    rig.planner().order(MODEL)


def test_the_memory_is_told_as_it_is(rig: Rig) -> None:
    planner = rig.planner(replace(GPU, vram_budget_mib=9000))
    assert planner.memory() == {"used_mib": 1527, "free_mib": 10_700, "budget_mib": 9000}
    assert planner.free_mib() == 10_700
    assert rig.planner(NO_GPU).free_mib() is None


def started(rig: Rig, planner: CataloguePlanner) -> str:
    """A good start, as the server notes it; the specification of its container."""
    order = planner.order(MODEL)
    rig.past.last = Start(order.spec.hash, details=order.details)
    return order.spec.hash


def test_a_running_server_is_recalled_although_it_fills_the_gpu_itself(rig: Rig) -> None:
    spec = started(rig, rig.planner())
    rig.set_card(400)
    refusal(rig.planner())
    order = rig.planner().recall(MODEL, spec)
    assert order is not None
    assert order.spec.hash == spec
    assert order.details["plan"]["max_num_seqs"] == 4


@pytest.mark.parametrize(
    "changed",
    [
        replace(GPU, max_num_seqs=2),
        replace(GPU, vram_budget_mib=9000),
        replace(GPU, arguments=("--seed", "1")),
        replace(GPU, hardening="standard"),
        replace(GPU, image="v0.31.0"),
    ],
)
def test_a_running_server_of_other_settings_is_not_recalled(rig: Rig, changed: ServerSettings) -> None:
    spec = started(rig, rig.planner())
    rig.runtime.tags = ("v0.31.0", "v0.32.0")
    if changed.image:
        changed = replace(changed, image="vllm/vllm-openai:v0.31.0")
    assert rig.planner(changed).recall(MODEL, spec) is None


def test_without_a_gpu_a_running_server_is_recalled_too(rig: Rig) -> None:
    spec = started(rig, rig.planner(NO_GPU))
    assert rig.planner(NO_GPU).recall(MODEL, spec) is not None
    assert rig.planner().recall(MODEL, spec) is None
    assert rig.planner(NO_GPU).recall(MODEL, "another") is None
    os.unlink(next(rig.hub.rglob(SHARDS[1])))
    assert rig.planner(NO_GPU).recall(MODEL, spec) is None


def test_the_image_that_was_chosen_stays_until_it_is_gone(rig: Rig) -> None:
    rig.runtime.tags = ("v0.31.0",)
    assert rig.planner().order(MODEL).spec.image == "sha256:0"
    rig.runtime.tags = ("v0.31.0", "v0.32.0")
    order = rig.planner().order(MODEL)
    assert order.spec.image == "sha256:0"
    assert "ocrd models pin" in order.details["image"]
    rig.past.pinned = "sha256:gone"
    assert rig.planner().order(MODEL).spec.image == "sha256:1"
    assert rig.past.pinned == "sha256:1"
