"""The inputs that a validation draws."""

from __future__ import annotations

from collections.abc import Mapping

from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.samples import SampleCase, SamplePlan

__all__ = ["validation_samples"]


def validation_samples(
    inputs: tuple[TensorSpec, ...],
    profile: OptimizationProfile,
    seed: int,
    std: float,
    *,
    executed: bool,
    on_gpu: bool,
) -> SamplePlan:
    """Minimum, optimum, maximum and an odd batch where a GPU does the work; two small ones on a CPU.

    Args:
        inputs: of the model.
        profile: of the plan.
        seed, std: of the inputs.
        executed: whether the plan itself runs: it takes what lies in its profile, the ONNX that stands in for it takes
            any batch.
        on_gpu: whether it runs on a GPU.
    """
    named: dict[str, dict[str, tuple[int, ...]]] = {}
    if on_gpu:
        for corner in ("minimum", "optimum", "maximum"):
            named[corner] = {name: getattr(shapes, corner) for name, shapes in profile.ranges.items()}
    if profile.batches is not None:
        low, middle, high = profile.batches
        odd = min(((low + middle) // 2) | 1, high)
        for batch in (odd,) if on_gpu else profile.few_batches:
            inside = min(max(batch, low), high) if executed else batch
            named[f"batch {inside}"] = profile.shapes_beyond(inside)
    elif not on_gpu:
        named["optimum"] = {name: shapes.optimum for name, shapes in profile.ranges.items()}
    cases: list[SampleCase] = []
    for label, shapes in named.items():
        if all(case.shapes != shapes for case in cases):
            cases.append(SampleCase(_label(label, profile, shapes), shapes, profile.batch_inputs or ()))
    return SamplePlan(seed, inputs, std, tuple(cases))


def _label(corner: str, profile: OptimizationProfile, shapes: Mapping[str, tuple[int, ...]]) -> str:
    if profile.batch_inputs:
        return f"batch {shapes[profile.batch_inputs[0]][0]}"
    return "fixed shape" if all(r.is_fixed for r in profile.ranges.values()) else corner
