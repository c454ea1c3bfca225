"""What can be chosen for a benchmark, and what each mode measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["MODES", "BenchSettings"]

MODES: dict[str, str] = {
    "compute": "inputs resident on the device, no copies (what the 2017 study measured)",
    "compute-graph": "the same, launched as one CUDA graph",
    "transfers": "copy in, compute, copy out, one after the other",
    "overlapped": "copies of neighbouring batches overlap with the computation (double-buffered)",
}
"""The modes by name, and what each measures."""


@dataclass(frozen=True)
class BenchSettings:
    """What was chosen and changes a number.

    Attributes:
        mode: one of :data:`MODES`.
        batch: images per iteration.
        shapes: input name → shape in force, batch included.
        input_dtype: of the images as the host hands them over, ``float32`` or ``uint8``.
        warmup_s: least warm-up in seconds, after just-in-time compilation is over.
        duration_s: least measuring time in seconds.
        max_duration_s: most measuring time in seconds, whatever the confidence.
        min_iterations: least number of measured iterations.
        confidence: width of the median's 95 % interval, as a fraction of the median, at which measuring stops.
        depth: iterations in flight (1: one after the other).
        buffers: input sets that are rotated; ``None`` lets the device choose by its cache size.
        spin: whether the host waits by spinning (blocking otherwise).
        graph: whether CUDA graphs are used in ``overlapped`` and ``transfers`` (``compute-graph`` always does).
        threads: ONNX Runtime's intra-op threads on a CPU; ``None`` takes every processor it may use.
        affinity: processors to be pinned to; empty for no pinning.
        spinning: whether ONNX Runtime's idle threads spin.
        tf32: whether ONNX Runtime's CUDA provider may multiply FP32 in TF32; without it, it uses no tensor cores.
        aux_streams: most auxiliary streams of TensorRT; ``None`` leaves it to the engine.
        engine_graphs: whether the runtime captures CUDA graphs by itself (TensorRT-RTX's CUDA graph strategy).
        seed: of synthetic inputs.
        data: ``synthetic``, or the data set's name.
        profile: the plan's optimization profile, as :attr:`OptimizationProfile.text` writes it; ``None`` where there is
            none or it is not known.
    """

    mode: str
    batch: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    input_dtype: str = "float32"
    warmup_s: float = 0.2
    duration_s: float = 3.0
    max_duration_s: float = 30.0
    min_iterations: int = 10
    confidence: float = 0.01
    depth: int = 2
    buffers: int | None = None
    spin: bool = True
    graph: bool = True
    threads: int | None = None
    affinity: tuple[int, ...] = ()
    spinning: bool = True
    tf32: bool = False
    aux_streams: int | None = None
    engine_graphs: bool = False
    seed: int = 0
    data: str = "synthetic"
    profile: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {**asdict(self), "shapes": shapes, "affinity": list(self.affinity)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BenchSettings:
        """The inverse of :meth:`to_json`."""
        shapes = {name: tuple(shape) for name, shape in value["shapes"].items()}
        return cls(**{**value, "shapes": shapes, "affinity": tuple(value["affinity"])})
