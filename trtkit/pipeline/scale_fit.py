"""Whether a plan can run on a device, by what its manifest says."""

from __future__ import annotations

from trtkit.artifacts.plan import PlanManifest
from trtkit.errors import PlanError
from trtkit.pipeline.bench_family import Target

__all__ = ["check_fit"]


def check_fit(manifest: PlanManifest, target: Target) -> None:
    """Refuse a plan for other GPUs than the device.

    Raises:
        PlanError: naming plan and device.
    """
    gpu = next((gpu for gpu in target.can.gpus if gpu.index == target.device.index), None)
    if target.device.kind != "cuda" or gpu is None or not manifest.targets:
        return
    if gpu.compute_capability not in manifest.targets:
        raise PlanError(
            f"{manifest.file} was built for compute capability {', '.join(manifest.targets)}; {target.device} "
            f"({gpu.name}) has {gpu.compute_capability}.",
            hint=f"Give {target.device} a plan of its own: --plan {target.device}=FILE.",
        )
