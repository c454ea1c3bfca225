"""The optimization profile as a noun: for each input the smallest, the best tuned and the largest shape of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trtkit.errors import UsageError

__all__ = ["OptimizationProfile", "ShapeRange", "shape_text"]

_FEW = 8


def shape_text(shape: Sequence[int | str]) -> str:
    """``(1, 3, 224, 224)`` → ``1x3x224x224``, as ``--shapes`` takes it; ``scalar`` for no dimensions."""
    return "x".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class ShapeRange:
    """Minimum, optimum and maximum shape of one input, in elements; the three are equal for a fixed shape.

    Raises:
        UsageError: ranks differ, a size is below 1, or not minimum ≤ optimum ≤ maximum in every dimension.
    """

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]

    def __post_init__(self) -> None:
        shapes = self.corners
        if len({len(shape) for shape in shapes}) != 1:
            raise UsageError(
                f"The shapes {self.text} have different numbers of dimensions.",
                hint="Give minimum, optimum and maximum with the same number of dimensions.",
            )
        if any(size < 1 for shape in shapes for size in shape):
            raise UsageError(f"The shapes {self.text} hold a size below 1.", hint="Every size is 1 or more.")
        for axis, (low, best, high) in enumerate(zip(*shapes, strict=True)):
            if not low <= best <= high:
                raise UsageError(
                    f"In the shapes {self.text}, dimension {axis} goes {low}, {best}, {high}: "
                    "it must be minimum ≤ optimum ≤ maximum.",
                    hint="Write the smallest first and the largest last: MIN:OPT:MAX.",
                )

    @property
    def corners(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Minimum, optimum and maximum, in this order."""
        return self.minimum, self.optimum, self.maximum

    @property
    def is_fixed(self) -> bool:
        """Whether only one shape lies in the range."""
        return self.minimum == self.maximum

    @property
    def text(self) -> str:
        """``1x3x224x224:32x3x224x224:128x3x224x224``, or one shape where all are equal; ``--shapes`` reads it
        back.
        """
        return shape_text(self.minimum) if self.is_fixed else ":".join(map(shape_text, self.corners))

    def contains(self, shape: Sequence[int]) -> bool:
        """Whether ``shape`` has the same rank and lies between minimum and maximum in every dimension."""
        return len(shape) == len(self.minimum) and all(
            low <= size <= high for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )

    def to_json(self) -> dict[str, list[int]]:
        """JSON-ready values."""
        return {"minimum": list(self.minimum), "optimum": list(self.optimum), "maximum": list(self.maximum)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ShapeRange:
        """The inverse of :meth:`to_json`."""
        return cls(tuple(value["minimum"]), tuple(value["optimum"]), tuple(value["maximum"]))


@dataclass(frozen=True)
class OptimizationProfile:
    """The shape ranges of a plan.

    Attributes:
        ranges: one range for every input of the model, fixed ones included, in the model's order.
        batch_inputs: the inputs whose first dimension is the dynamic batch axis, even where ``--batch`` pinned it to
            one size; by default those whose range varies in its first dimension.
    """

    ranges: dict[str, ShapeRange]
    batch_inputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.batch_inputs is None:
            varying = (n for n, r in self.ranges.items() if r.minimum and r.minimum[0] != r.maximum[0])
            object.__setattr__(self, "batch_inputs", tuple(varying))

    @property
    def batches(self) -> tuple[int, int, int] | None:
        """Smallest, tuned and largest batch size, or ``None`` where no input has a dynamic batch axis.

        Where several inputs have one, these are the sizes that all of them allow.
        """
        ranges = [self.ranges[name] for name in self.batch_inputs or ()]
        if not ranges:
            return None
        low, high = max(r.minimum[0] for r in ranges), min(r.maximum[0] for r in ranges)
        if low > high:
            return None  # first dimensions of different meanings: no single number is "the batch"
        return low, min(max(ranges[0].optimum[0], low), high), high

    @property
    def few_batches(self) -> tuple[int, ...]:
        """Two small batch sizes for ONNX Runtime on a CPU, which takes any: 1 and 3, or the nearest in the range.

        They are outside of a range that begins far above: at batch 4096 nothing is found that a few would not show.
        Empty without a batch axis.
        """
        if self.batches is None:
            return ()
        low, _, high = self.batches
        inside = low <= _FEW
        return tuple(sorted({min(max(size, low), high) if inside else size for size in (1, 3)}))

    @property
    def text(self) -> str:
        """For people: ``input 1x3x224x224:32x3x224x224:128x3x224x224``, one input after the other."""
        return ", ".join(f"{name} {shapes.text}" for name, shapes in self.ranges.items())

    def contains(self, name: str, shape: Sequence[int]) -> bool:
        """Whether the input ``name`` exists and may have this shape."""
        return name in self.ranges and self.ranges[name].contains(shape)

    def shapes_at(self, batch: int) -> dict[str, tuple[int, ...]]:
        """One shape for each input: ``batch`` where the first dimension is the batch axis, else the optimum.

        Raises:
            UsageError: ``batch`` lies outside the range of the batch axis. A model without one takes any ``batch``
                and keeps its fixed shapes.
        """
        shapes = self.shapes_beyond(batch)
        for name, shape_range in self.ranges.items():
            if not shape_range.contains(shapes[name]):
                raise UsageError(
                    f"Batch size {batch} is outside the profile of input {name!r}, which allows "
                    f"{shape_range.minimum[0]} to {shape_range.maximum[0]}.",
                    hint="Choose a batch size inside, or build the plan with a wider --batch MIN:OPT:MAX.",
                )
        return shapes

    def shapes_beyond(self, batch: int) -> dict[str, tuple[int, ...]]:
        """As :meth:`shapes_at` for any ``batch``: for the model itself, which the range does not bind."""
        best = {name: shape_range.optimum for name, shape_range in self.ranges.items()}
        return best | {name: (batch, *best[name][1:]) for name in self.batch_inputs or ()}

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        ranges = {name: shapes.to_json() for name, shapes in self.ranges.items()}
        return {"ranges": ranges, "batch_inputs": list(self.batch_inputs or ())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> OptimizationProfile:
        """The inverse of :meth:`to_json`."""
        ranges = {name: ShapeRange.from_json(shapes) for name, shapes in value["ranges"].items()}
        return cls(ranges, tuple(value["batch_inputs"]) if "batch_inputs" in value else None)
