"""What every engine family owes the stages, asked through workers as production asks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.graph.models import model, tensor, value
from trtkit import worker
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.backends import registry
from trtkit.backends.base import OPTION_FLAGS, BuildOptions, BuildOutcome, Capabilities
from trtkit.errors import PlanError, RunError, TrtkitError, UsageError
from trtkit.worker import Log, Progress

FAMILIES = ("null", "onnxruntime", "tensorrt-rtx")
PROFILE = OptimizationProfile({"x": ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))})
INPUTS = (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
ASKED: dict[str, Any] = {
    "tf32": True,
    "compute_capability": ("8.6",),
    "workspace_bytes": 1 << 20,
    "optimization_level": 1,
    "timing_cache": Path("t.cache"),
    "runtime_cache": Path("r.cache"),
    "version_compatible": True,
    "hardware_compatibility": "ampere_plus",
    "strip_weights": True,
    "refit": True,
    "sparse_weights": True,
}
"""A value for every option that a family may refuse."""


def conv_net() -> onnx.ModelProto:
    """Conv → Relu → global average → Flatten: N×3×8×8 → N×4."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="average"),
        helper.make_node("Flatten", ["g"], ["y"], name="flatten"),
    ]
    weights = [
        tensor("w", rng.standard_normal((4, 3, 3, 3), dtype=np.float32)),
        tensor("b", rng.standard_normal(4, dtype=np.float32)),
    ]
    return model(nodes, [value("x", ("N", 3, 8, 8))], [value("y", ("N", 4))], weights)


def job(name: str, family: str, **arguments: Any) -> worker.WorkerResult:
    on_event = arguments.pop("on_event", None)
    return worker.run(
        f"trtkit.backends.jobs:{name}",
        {"family": family, **arguments},
        what=f"the {name} of {family}",
        env=registry.worker_env(family),
        on_event=on_event,
    )


@dataclasses.dataclass(frozen=True)
class Built:
    """A family, what it can do, and a plan that it built."""

    can: Capabilities
    onnx: Path
    plan: Path
    outcome: BuildOutcome
    events: tuple[Progress | Log, ...]

    def execute(self, results: Path, *shapes: tuple[int, ...]) -> worker.WorkerResult:
        cases = tuple(SampleCase(str(index), {"x": shape}) for index, shape in enumerate(shapes))
        samples = SamplePlan(0, INPUTS, 1.0, cases).to_json()
        return job("execute", self.can.family, plan=str(self.plan), samples=samples, results=str(results))


@pytest.fixture(scope="module", params=FAMILIES)
def can(request: pytest.FixtureRequest) -> Capabilities:
    return Capabilities.from_json(job("probe", request.param).value)


@pytest.fixture(scope="module")
def built(can: Capabilities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    if can.cannot_build is not None:
        pytest.skip(can.cannot_build)
    folder = tmp_path_factory.mktemp(can.family)
    path, plan = folder / "net.onnx", folder / f"net{can.suffix}.built"
    onnx.save(conv_net(), path)
    events: list[Progress | Log] = []
    answer = job(
        "build",
        can.family,
        onnx=str(path),
        plan=str(plan),
        options=options(can).to_json(),
        on_event=events.append,
    )
    yield Built(can, path, plan, BuildOutcome.from_json(answer.value), tuple(events))


def options(can: Capabilities) -> BuildOptions:
    """One target where several could be built for: it is four times as quick."""
    ahead = can.device is None and bool(can.default_targets)
    return BuildOptions(profile=PROFILE, compute_capability=can.default_targets[:1] if ahead else ())


def runnable(built: Built) -> Built:
    if built.can.cannot_run is not None:
        pytest.skip(built.can.cannot_run)
    return built


def test_the_probe_answers_in_json_that_comes_back_the_same(can: Capabilities) -> None:
    assert Capabilities.from_json(can.to_json()) == can
    assert can.family in FAMILIES
    assert can.suffix in (".plan", ".onnx")
    if can.cannot_build is None:
        assert can.version
        assert can.short_version.count(".") == 1
    else:
        assert can.way_out


def test_whoever_cannot_run_says_why_and_names_no_device(can: Capabilities) -> None:
    assert (can.cannot_run is None) == (can.device is not None)


def test_a_build_writes_the_plan_and_tells_what_it_found(built: Built) -> None:
    assert built.plan.stat().st_size > 0
    assert BuildOutcome.from_json(built.outcome.to_json()) == built.outcome
    assert built.outcome.parse_seconds >= 0
    assert built.outcome.build_seconds >= 0
    if options(built.can).compute_capability:
        assert built.outcome.targets == options(built.can).compute_capability


def test_a_build_reports_progress_that_ends(built: Built) -> None:
    steps = [event for event in built.events if isinstance(event, Progress)]
    assert steps
    assert all(event.phase and event.step >= 0 for event in steps)
    assert all(event.steps is None or event.step <= event.steps for event in steps)
    assert any(event.step == event.steps for event in steps)


def test_outputs_have_the_shapes_and_types_of_the_model(built: Built, tmp_path: Path) -> None:
    answer = runnable(built).execute(tmp_path / "out.npz", (1, 3, 8, 8), (3, 3, 8, 8))
    with np.load(tmp_path / "out.npz") as saved:
        assert {name: (saved[name].shape, str(saved[name].dtype)) for name in saved.files} == {
            "0/y": ((1, 4), "float32"),
            "1/y": ((3, 4), "float32"),
        }
    assert answer.value["where"]


def test_the_same_samples_give_the_same_outputs(built: Built, tmp_path: Path) -> None:
    files = [tmp_path / "first.npz", tmp_path / "second.npz"]
    for file in files:
        runnable(built).execute(file, (3, 3, 8, 8))
    with np.load(files[0]) as first, np.load(files[1]) as second:
        np.testing.assert_allclose(first["0/y"], second["0/y"], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 9, 8), (1, 2, 8, 8), (1, 3, 8)], ids=str)
def test_a_feed_of_a_wrong_shape_is_a_run_error(built: Built, tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(RunError) as caught:
        runnable(built).execute(tmp_path / "out.npz", shape)
    assert caught.value.hint
    assert not (tmp_path / "out.npz").exists()


def test_every_refused_option_is_named_with_its_reason(can: Capabilities) -> None:
    assert set(ASKED) == set(OPTION_FLAGS)
    assert set(can.refused) <= set(OPTION_FLAGS)
    for name, reason in can.refused.items():
        with pytest.raises(UsageError) as caught:
            can.check(BuildOptions(profile=PROFILE, **{name: ASKED[name]}))
        assert OPTION_FLAGS[name] in caught.value.message
        assert reason in caught.value.message
        assert OPTION_FLAGS[name] in caught.value.hint
    can.check(BuildOptions(profile=PROFILE))


def test_an_unknown_target_is_refused_with_those_allowed(can: Capabilities) -> None:
    with pytest.raises(UsageError, match=r"[Cc]ompute[- ]capability") as caught:
        can.check(BuildOptions(profile=PROFILE, compute_capability=("99.9",)))
    if can.targets and "compute_capability" not in can.refused:
        assert all(target in caught.value.message for target in can.targets)


def test_nonsense_instead_of_onnx_is_an_error_of_the_tree(can: Capabilities, tmp_path: Path) -> None:
    if can.cannot_build is not None:
        pytest.skip(can.cannot_build)
    (tmp_path / "bad.onnx").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(TrtkitError) as caught:
        job(
            "build",
            can.family,
            onnx=str(tmp_path / "bad.onnx"),
            plan=str(tmp_path / "bad.plan"),
            options=options(can).to_json(),
        )
    assert type(caught.value).__name__ in ("ModelError", "BuildError")
    assert not (tmp_path / "bad.plan").exists()


def test_nonsense_instead_of_a_plan_is_an_error_of_the_tree(built: Built, tmp_path: Path) -> None:
    bad = dataclasses.replace(runnable(built), plan=tmp_path / "bad.plan")
    bad.plan.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(PlanError):
        bad.execute(tmp_path / "out.npz", (1, 3, 8, 8))


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no family 'openvino'") as caught:
        job("probe", "openvino")
    assert all(name in caught.value.hint for name in registry.PREFERENCE)
