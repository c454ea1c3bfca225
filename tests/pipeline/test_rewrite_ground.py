"""Candidates prepared side by side: the null family on a pretended GPU, which needs none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.test_optimization import heavy
from trtkit.artifacts.device import Device
from trtkit.backends.null import NullBackend
from trtkit.errors import BuildError, RunError
from trtkit.graph import io
from trtkit.graph.shapes import resolve_profile
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.pipeline import rewrite_candidates, rewrite_ground
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.rewrite_ground import MeasuringGround
from trtkit.pipeline.rewrite_place import Place
from trtkit.stages.export import SourceRequest, export
from trtkit.worker import side_by_side

BAND, STEM = ("lrn_band",), ("stem_space_to_depth",)
FOUND = Contest(2.0, (1.9, 2.1), 10, 2.0, 1.0, "decided")


class Ear(Silence):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.phases: list[str] = []

    def stage(self, title: str) -> None:
        self.stages.append(title)

    def event(self, event) -> None:
        self.phases.append(event.phase)


@pytest.fixture
def ground(tmp_path: Path):
    (tmp_path / "source").mkdir()
    io.save(heavy(), tmp_path / "source" / "net.onnx", name="net", precision="fp32")
    exported = export(SourceRequest(str(tmp_path / "source" / "net.onnx")), for_tensorrt=True)
    place = Place(NullBackend().capabilities(), Device("cuda"), "fp32", resolve_profile(io.specs(heavy())[0], "4", ()))
    rule = ContestRule(burst_s=0.005, rounds=6, max_rounds=6)
    (tmp_path / "f").mkdir()
    return MeasuringGround(exported, place, tmp_path / "f", None, 60.0, Ear(), rule=rule, width=3)


@pytest.fixture
def made(monkeypatch):
    """Which plans were built; a build and a compilation that write a file, with no worker."""
    names: list[str] = []

    def build(onnx, plan, can, options, on_event, run=None):
        names.append(plan.stem)
        plan.write_bytes(b"plan")

    def compile_kernels(family, plan, kernels, device, settings, run=None):
        kernels.write_bytes(b"kernels")

    monkeypatch.setattr(rewrite_candidates, "build", build)
    monkeypatch.setattr(rewrite_candidates, "compile_kernels", compile_kernels)
    return names


def files(ground) -> set[str]:
    return {path.name for path in ground._candidates._folder.iterdir() if path.is_file()}


def name(ground, names, suffix) -> str:
    return f"{ground.key(names)[:12]}{suffix}"


def test_real_workers_build_and_compile_and_the_contest_finds_everything_made(ground, monkeypatch):
    ground.prepare([(), BAND])
    ear = ground._listener
    assert ear.stages == ["Preparing 2 graphs"] and set(ear.phases) <= {"Preparing"}
    assert files(ground) == {name(ground, names, ".plan") for names in ((), BAND)}
    monkeypatch.setattr(rewrite_candidates, "build", None)
    found = ground.contest((), BAND)
    assert isinstance(found, Contest) and found.rounds == 6 and ground.measured == 1


def test_kernels_lie_beside_their_plan_are_handed_to_the_contest_and_go_with_it(ground, made, monkeypatch):
    asked = []
    monkeypatch.setattr(rewrite_ground, "contest", lambda request, on_event: asked.append(request) or FOUND)
    ground.prepare([BAND, STEM, BAND], against=())
    assert len(made) == 3 and len(files(ground)) == 6
    assert ground.contest((), BAND) is FOUND and len(files(ground)) == 6  # STEM stays for its own
    (request,) = asked
    assert request.runtime_caches == (request.first.with_suffix(".kernels"), request.second.with_suffix(".kernels"))
    # What is known is not made, what is alone is left to its contest, and what was made for the step before goes.
    ground.prepare([BAND], against=())
    assert len(made) == 3 and len(files(ground)) == 6
    ground.prepare([STEM, BAND + STEM], against=BAND)
    assert len(made) == 3 and files(ground) == {
        name(ground, names, suffix) for names in (BAND, STEM) for suffix in (".plan", ".kernels")
    }
    assert ground.contest(BAND, BAND + STEM) is FOUND and len(made) == 4
    # By another rule the same files run again.
    rule = ContestRule(rounds=20)
    again = ground.anew(rule, 10.0)
    assert again.contest(BAND, BAND + STEM) is FOUND and len(made) == 4
    assert (asked[-1].rule.rounds, asked[-2].rule.rounds) == (20, 6) and asked[-1].rule.limit_s <= 10.0
    assert (again.measured, ground.measured) == (1, 2)


def test_what_fails_beside_the_others_has_lost_and_want_of_memory_is_tried_alone(ground, made, monkeypatch):
    good, tries = rewrite_candidates.build, []

    def build(onnx, plan, can, options, on_event, run=None):
        if plan.stem == ground.key(BAND)[:12]:
            raise BuildError("LRN is not for this builder.", hint="None.")
        if plan.stem == ground.key(STEM)[:12]:
            tries.append(run)
            if run is not None:
                raise RunError("CUDA error 2: out of memory", hint="None.")
        good(onnx, plan, can, options, on_event, run)

    monkeypatch.setattr(rewrite_candidates, "build", build)
    monkeypatch.setattr(rewrite_ground, "contest", lambda request, on_event: FOUND)
    ground.prepare([BAND, STEM], against=())
    assert files(ground) == {name(ground, (), suffix) for suffix in (".plan", ".kernels")}
    assert ground.contest((), BAND) == "LRN is not for this builder." and ground.measured == 0
    assert ground.contest((), STEM) is FOUND and len(tries) == 2 and tries[1] is None


def test_without_time_or_width_nothing_is_prepared(ground, made):
    ground._ends = 0.0
    ground.prepare([(), BAND])
    ground._ends, ground._candidates.width = ground._clock() + 60, 1
    ground.prepare([(), BAND])
    assert made == [] and files(ground) == set()


def test_the_width_suits_the_machine_and_the_family(monkeypatch):
    can = NullBackend().capabilities()
    for cores, refused, suffix, wanted in (
        (1, {}, ".plan", 1),
        (6, {}, ".plan", 3),
        (64, {}, ".plan", 8),
        (64, {"runtime_cache": "its builder times kernels"}, ".plan", 1),
        (64, {}, ".onnx", 1),
    ):
        monkeypatch.setattr(side_by_side.os, "sched_getaffinity", lambda pid, n=cores: set(range(n)), raising=False)
        family = can.from_json({**can.to_json(), "refused": refused, "suffix": suffix})
        assert Place(family, Device("cuda"), "fp32", resolve_profile(io.specs(heavy())[0], "1", ())).width == wanted
