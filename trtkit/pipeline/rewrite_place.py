"""What rewrites are measured for: the family, the device, the precision and the shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trtkit import environment
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.precision import tf32_products
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.backends.base import Capabilities
from trtkit.stages.bench import in_force
from trtkit.worker.side_by_side import spare_processors

__all__ = ["Place"]

_MOST_SIDE_BY_SIDE = 8  # each builder holds the model and its own library in memory


@dataclass(frozen=True)
class Place:
    """What the measurements are for.

    Attributes:
        can: the family.
        device: where it executes.
        precision: of the artifacts that are timed: ``fp32``, ``tf32`` or ``fp16``.
        profile: the shapes; its optimum is what is timed.
        threads: of a CPU, so many of its processors; ``None`` takes all.
    """

    can: Capabilities
    device: Device
    precision: str
    profile: OptimizationProfile
    threads: int | None = None

    @property
    def device_name(self) -> str:
        """``NVIDIA H200``, or the processor's name."""
        if self.device.kind == "cpu":
            return environment.cpu_name()
        return next((gpu.name for gpu in self.can.gpus if gpu.index == self.device.index), str(self.device))

    @property
    def batch(self) -> int:
        """The optimum batch; of a model without a batch axis its first dimension."""
        if self.profile.batches is not None:
            return self.profile.batches[1]
        return next((ranges.optimum[0] for ranges in self.profile.ranges.values() if ranges.optimum), 1)

    @property
    def settings(self) -> BenchSettings:
        """How it is timed: the computation alone, from one CUDA graph on a GPU."""
        shapes = {name: ranges.optimum for name, ranges in self.profile.ranges.items()}
        mode = "compute-graph" if self.device.kind == "cuda" else "compute"
        tf32 = tf32_products(self.precision)
        found = in_force(BenchSettings(mode, self.batch, shapes, tf32=tf32, depth=1, spinning=False), self.device)
        if self.device.kind == "cuda" or self.threads is None:
            return found
        few = found.affinity[: self.threads]
        return replace(found, affinity=few, threads=len(few) or self.threads)

    @property
    def text(self) -> str:
        """For people: ``onnxruntime 1.31.1 on AMD EPYC, fp32, batch 32``."""
        return f"{self.can.family} {self.can.version} on {self.device_name}, {self.precision}, batch {self.batch}"

    @property
    def has_kernels(self) -> bool:
        """Whether plans are compiled just in time where they run, and the family can keep what it compiled."""
        return self.device.kind == "cuda" and "runtime_cache" not in self.can.refused

    @property
    def width(self) -> int:
        """How many candidates are made at a time: for half of the processors one each, at most 8.

        One where there is nothing to build, and where the builder times kernels on the device: another one beside it
        would change what it chooses.
        """
        if self.can.suffix == ".onnx" or "runtime_cache" in self.can.refused:
            return 1
        return max(spare_processors(_MOST_SIDE_BY_SIDE), 1)
