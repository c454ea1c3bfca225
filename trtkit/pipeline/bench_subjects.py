"""SOURCE → what is benchmarked: a plan as it is, an ONNX file as it is, or one converted into the cache first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.bench import Subject
from trtkit.artifacts.files import sha256_file
from trtkit.artifacts.plan import PlanManifest, manifest_path
from trtkit.artifacts.plan_header import read_header
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.backends.base import BuildOptions
from trtkit.errors import PlanError, UsageError
from trtkit.pipeline.bench_facts import limit_of, macs_of, model_of, observed, rewrites_of
from trtkit.pipeline.request import QUANTIZED

if TYPE_CHECKING:
    import onnx

    from trtkit.graph.footprint import Footprint

__all__ = ["PLAN_SUFFIXES", "BatchRange", "Prepared", "from_plan", "is_plan", "said_by_shapes"]

PLAN_SUFFIXES = (".plan", ".engine", ".trt")
"""Endings of plan files, trtkit's own and those of others."""


@dataclass(frozen=True)
class BatchRange:
    """The batches that a source takes.

    Attributes:
        low, high: smallest and largest; ``high`` is ``None`` for no end.
        usual: the batch that it is tuned for; ``None`` where there is none.
        because: why there are no others, a clause.
    """

    low: int
    high: int | None
    usual: int | None
    because: str


@dataclass(frozen=True)
class Prepared:
    """An artifact that is ready to be measured.

    Attributes:
        subject: what it is, for the result.
        artifact: the file that the family loads.
        shapes_at: batch → input name → shape.
        batches: smallest and largest batch that the artifact takes, ``None`` for no end.
        usual: the batch that it is tuned for; ``None`` where there is none.
        profile: its optimization profile, for people; ``None`` without one.
        model: loads the ONNX model that memory is estimated from; ``None`` where there is none.
        reference: FP32 (for INT8 and FP8 the Q/DQ) ONNX that the outputs are checked against.
        check_limit: largest relative L2 error of that check.
        unchecked: why there is no such check, a clause; empty if there is one.
        softmax_axes: output name → axis of its Softmax, for outputs that are a Softmax's.
        input_std: standard deviation of synthetic inputs.
        trusted: whether it was built here a moment ago, so that native code in it may run.
    """

    subject: Subject
    artifact: Path
    shapes_at: Callable[[int], dict[str, tuple[int, ...]]]
    batches: tuple[int, int | None] = (1, None)
    usual: int | None = None
    profile: str | None = None
    model: Callable[[], onnx.ModelProto] | None = None
    reference: Path | None = None
    check_limit: float | None = None
    unchecked: str = ""
    softmax_axes: Mapping[str, int] = field(default_factory=dict)
    input_std: float = 1.0
    trusted: bool = False

    def footprint(self, batch: int) -> Footprint | None:
        """The memory that one run needs; ``None`` where it cannot be known."""
        from trtkit.graph.footprint import footprint

        shapes = self.shapes_at(batch)
        return footprint(self.model(), shapes) if self.model is not None and shapes else None


def is_plan(path: Path) -> bool:
    """Whether the source is benchmarked as it is: a plan by its name, or an artifact with its manifest beside it."""
    return path.suffix in PLAN_SUFFIXES or (path.suffix == ".onnx" and manifest_path(path).exists())


def from_plan(
    path: Path,
    version: str,
    reference: Callable[[PlanManifest], Path],
    shapes: Mapping[str, ShapeRange],
) -> Prepared:
    """A plan that is there, or another artifact of ``convert``.

    Args:
        path: the file; without a manifest beside it, it is benchmarked and little can be said of it.
        version: of the family's library here.
        reference: finds the FP32 model of a manifest; raises PlanError where it is not here.
        shapes: what ``--shapes`` says, for a plan without a manifest.

    Raises:
        PlanError: the file is no plan, is cut short, or does not match its manifest.
    """
    from trtkit.graph.outputs import softmax_axes

    if not manifest_path(path).exists():
        return _unknown_plan(path, version, shapes)
    manifest = PlanManifest.read(path)
    profile = BuildOptions.from_json(manifest.options).profile
    onnx_there = manifest.onnx.path.exists()
    truth, unchecked = None, ""
    try:
        if manifest.precision in QUANTIZED:
            if not onnx_there:
                raise PlanError(f"{manifest.onnx.path.name} is not beside the plan.", hint="Copy it there.")
            truth = manifest.onnx.path
        else:
            truth = reference(manifest)
    except PlanError as error:
        unchecked = error.message.rstrip(".")
    subject = Subject(
        model=manifest.source.name,
        model_sha256=manifest.source.sha256,
        file=path.name,
        sha256=manifest.sha256,
        family=manifest.family,
        version=version,
        precision=manifest.precision,
        observed=manifest.validation.precision_observed or observed(manifest.proof),
        proof=manifest.proof.sentence if manifest.proof else None,
        rewrites=rewrites_of(manifest.onnx.transforms),
        macs_per_image=macs_of(manifest, truth),
    )
    usual, is_engine = profile.batches, path.suffix != ".onnx"
    model = model_of(manifest.onnx.path) if onnx_there else None
    return Prepared(
        subject,
        path,
        profile.shapes_at if is_engine else _any_batch(profile),
        _fixed(profile) if usual is None else (usual[0], usual[2]) if is_engine else (1, None),
        usual[1] if usual and is_engine else None,
        profile.text if is_engine else None,
        model,
        truth,
        limit_of(manifest.precision),
        unchecked,
        softmax_axes(model()) if model is not None else {},
        manifest.source.input_std,
    )


def _any_batch(profile: OptimizationProfile) -> Callable[[int], dict[str, tuple[int, ...]]]:
    """Shapes at any batch: an ONNX file knows no end."""
    best = {name: ranges.optimum for name, ranges in profile.ranges.items()}
    return lambda batch: {n: (batch, *s[1:]) if n in (profile.batch_inputs or ()) else s for n, s in best.items()}


def _fixed(profile: OptimizationProfile) -> tuple[int, int]:
    """The one batch of a model without a dynamic batch axis: the first dimension of its first input."""
    shape = next((ranges.optimum for ranges in profile.ranges.values()), ())
    batch = shape[0] if shape else 1
    return batch, batch


def said_by_shapes(shapes: Sequence[str]) -> str:
    """Why there are no other batches where ``--shapes`` names the first size of the inputs, a clause."""
    return f"--shapes {' '.join(shapes)} says so, and a range would be MIN:OPT:MAX"


def _unknown_plan(path: Path, version: str, shapes: Mapping[str, ShapeRange]) -> Prepared:
    """A plan of which only the first bytes speak."""
    header = read_header(path)
    if header.truncated:
        raise PlanError(
            f"{path.name} is a truncated {header.family} plan: {header.actual_bytes} of {header.declared_bytes} bytes "
            "are there.",
            hint="Copy the file again, or convert the model again.",
        )
    if len({tuple(corner[0] for corner in ranges.corners) for ranges in shapes.values()}) > 1:
        raise UsageError("The inputs of --shapes differ in their first size.", hint="Give one batch size.")
    profile = OptimizationProfile(dict(shapes), tuple(shapes))
    low, usual, high = profile.batches or (1, None, None)
    sha256 = sha256_file(path)
    subject = Subject(
        model=path.name.removesuffix(path.suffix),
        model_sha256="",
        file=path.name,
        sha256=sha256,
        family=header.family,
        version=version,
        precision="unknown",
    )
    return Prepared(
        subject,
        path,
        profile.shapes_beyond,
        (low, high),
        usual,
        unchecked=f"{manifest_path(path).name} is not beside it, so precision and source are unknown",
    )
