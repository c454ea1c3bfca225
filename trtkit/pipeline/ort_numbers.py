"""What ONNX Runtime really computes an artifact in, and where: looked at once for each file, version and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtkit import worker
from trtkit.artifacts.device import Device, worker_env
from trtkit.backends import registry
from trtkit.pipeline.request import QUANTIZED
from trtkit.stages.plan_cache import PlanCache

__all__ = ["Numbers", "numbers_of"]

_KIND = "numbers"


@dataclass(frozen=True)
class Numbers:
    """What was seen.

    Attributes:
        observed: ``fp32``, or ``fp32 + int8``; ``None`` where there are no convolutions or matrix products.
        proof: the evidence, a sentence.
        elsewhere: on a GPU, operator → how many of them were executed on the CPU.
    """

    observed: str | None
    proof: str
    elsewhere: dict[str, int] = field(default_factory=dict)


def numbers_of(
    path: Path,
    precision: str,
    device: Device,
    cache: PlanCache,
    *,
    sha256: str,
    version: str,
    device_name: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    force: bool = False,
) -> Numbers:
    """Ask ONNX Runtime's optimizer, and on a GPU one execution.

    Args:
        path: the ONNX file.
        precision: that was asked for.
        device: where it runs.
        cache: remembers what was seen of this file, with this version, on a device of this name.
        sha256: of the file.
        version: of ONNX Runtime.
        device_name: what the device is.
        shapes: input → shape of the execution on a GPU, the smallest that the model takes.
        force: look again.

    Raises:
        TrtkitError: ONNX Runtime does not load or execute it.
    """
    label, identity = path.stem, {"artifact": sha256, "version": version, "device": device_name, "kind": device.kind}
    found = None if force else cache.remembered(label, identity, kind=_KIND)
    if found is None:
        on_cuda = device.kind == "cuda"
        found = worker.run(
            "trtkit.backends.ort_executed:executed",
            {
                "model": str(path.absolute()),
                "on_cuda": on_cuda,
                "shapes": {name: list(shape) for name, shape in (shapes or {}).items()} if on_cuda else None,
            },
            what=f"the look at what becomes of {path.name}",
            env={**registry.worker_env("onnxruntime"), **worker_env(device)},
            timeout_s=120.0,
        ).value
        cache.remember(label, identity, found, kind=_KIND)
    return _told(found["numbers"], found["elsewhere"], precision, "GPU" if device.kind == "cuda" else "CPU")


def _told(counts: Mapping[str, int], elsewhere: Mapping[str, int], precision: str, where: str) -> Numbers:
    total = sum(counts.values())
    parts = [f"{counts[numbers]} of {total} in {numbers.upper()}" for numbers in sorted(counts)]
    proof = f"convolutions and matrix products on this {where}: {', '.join(parts) or 'none'}"
    if precision not in counts and total and precision != "tf32":
        proof += f", between {'dequantization and quantization' if precision in QUANTIZED else 'casts'}"
    return Numbers(" + ".join(sorted(counts)) or None, proof, dict(elsewhere))
