"""``--shapes`` and ``--batch`` of a benchmark: what they say of the batch must agree."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import onnx
import pytest

from tests.graph.models import relu, value
from tests.pipeline.test_bench_rows import Notes
from trtkit.artifacts.device import Device
from trtkit.backends.base import Capabilities
from trtkit.backends.null import MAGIC
from trtkit.errors import UsageError
from trtkit.pipeline.bench_choices import Batches, batches_of
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_given import GivenPlan
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_supply import Supply
from trtkit.stages.export import SourceRequest
from trtkit.stages.plan_cache import PlanCache

TARGET = Target(Device("cpu"), Capabilities("onnxruntime", "1.0", device="CPU", on_cpu=True, suffix=".onnx"), "asked")
RANGE = "x=2x3x8:4x3x8:16x3x32"


def batches(folder: Path, shapes: tuple[str, ...], **changes: object) -> Batches:
    ends = {"inputs": [value("x", ("N", 3, "W"))], "outputs": [value("y", ("N", 3, "W"))]}
    onnx.save(relu(**ends), folder / "net.onnx")
    request = BenchmarkRequest(SourceRequest(str(folder / "net.onnx")), shapes=shapes, **changes)  # type: ignore[arg-type]
    return batches_of(request, Supply(request, PlanCache(folder / "cache"), Notes()).batches(TARGET), TARGET)


@pytest.mark.parametrize(
    ("shapes", "given", "listed"),
    [
        ("x=4x3x8", (), (4,)),
        ("x=4x3x8", (4,), (4,)),
        (RANGE, (), (4,)),
        (RANGE, (2, 5, 16), (2, 5, 16)),
    ],
)
def test_batches_that_agree(shapes: str, given: tuple[int, ...], listed: tuple[int, ...], tmp_path: Path) -> None:
    assert batches(tmp_path, (shapes,), batches=given).listed == listed


@pytest.mark.parametrize(
    ("shapes", "given", "message"),
    [
        ("x=4x3x8", (4, 2), "Batch 2 is not possible, 4 alone is: --shapes x=4x3x8 says so, .* MIN:OPT:MAX"),
        (RANGE, (1,), f"Batch 1 is not possible, 2 to 16 is: --shapes {RANGE} says so"),
    ],
)
def test_a_contradiction_names_both(shapes: str, given: tuple[int, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        batches(tmp_path, (shapes,), batches=given)


def test_a_ladder_ends_where_the_shapes_do(tmp_path: Path) -> None:
    found = batches(tmp_path, (RANGE,), ladder=True)
    assert (found.low, found.limit) == (2, 16) and RANGE in found.because


def test_shapes_of_an_input_that_has_no_batch_bind_none(tmp_path: Path) -> None:
    ends = [value("x", ("N", 4)), value("size", ("K", 4))]
    onnx.save(relu(inputs=ends, outputs=[value("y", ("N", 4))]), tmp_path / "net.onnx")
    request = BenchmarkRequest(SourceRequest(str(tmp_path / "net.onnx")), shapes=("size=7x4",))
    allowed = Supply(request, PlanCache(tmp_path / "cache"), Notes()).batches(TARGET)
    assert (allowed.low, allowed.high, allowed.usual) == (1, None, None)


def test_a_plan_without_its_manifest(tmp_path: Path) -> None:
    plan = tmp_path / "net.plan"
    plan.write_bytes(MAGIC + b"{}")

    def asked(*shapes: str, **changes: object) -> Batches:
        request = BenchmarkRequest(SourceRequest(str(plan)), shapes=shapes, **changes)  # type: ignore[arg-type]
        with ExitStack() as stack:
            return batches_of(request, GivenPlan(request, stack, Notes()).batches(TARGET), TARGET)

    assert asked("x=4x3x8", batches=(4,)).listed == asked("x=4x3x8").listed == asked(RANGE).listed == (4,)
    assert asked(batches=(77,)).listed == (77,), "nobody here knows its inputs"
    with pytest.raises(UsageError, match="Batch 2 is not possible, 4 alone is: --shapes x=4x3x8 says so"):
        asked("x=4x3x8", batches=(2,))
    with pytest.raises(UsageError, match="names the input 'x' twice"):
        asked("x=4x3x8", "x=4x3x8")
    with pytest.raises(UsageError, match="not of the form NAME=SHAPE or NAME=MIN:OPT:MAX"):
        asked("x=4x3x8:5x3x8")
