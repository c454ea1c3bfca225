"""One pass over the data: every batch's tensors are folded into statistics of constant size, then forgotten.

From one pass come the thresholds of all methods. The extremes are exact. The histograms look at every value of small
tensors and at an even spread of :data:`VALUES_PER_SAMPLE` of large ones, the same positions in every sample, so that
the result depends neither on the batch size nor on a last, smaller batch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from calibration.histogram import BINS, Histogram, HistogramBuilder
from calibration.methods import method as method_named
from trtkit.errors import CalibrationError

__all__ = ["VALUES_PER_SAMPLE", "Collector"]

VALUES_PER_SAMPLE = 8192
"""Values of one sample that are counted in a tensor's histogram: 65,536 in a batch of 8."""

_KEYS = ("names", "exact_only", "low", "high", "counts", "tops", "samples", "values_per_sample")

Array = npt.NDArray[Any]


class Collector:
    """Statistics of named tensors over a stream of batches.

    Args:
        tensors: what to observe; each must be in every batch.
        exact_only: those of them whose threshold is the largest magnitude whatever the method, such as the graph's
            input: pixels make a histogram of spikes. No histogram is kept for them.
        values_per_sample: see :data:`VALUES_PER_SAMPLE`; 0 counts every value.

    Attributes:
        tensors: in the order given, without repetition.
        samples: how many samples were folded in.
    """

    def __init__(
        self,
        tensors: Sequence[str],
        *,
        exact_only: Collection[str] = (),
        values_per_sample: int = VALUES_PER_SAMPLE,
    ) -> None:
        self.tensors = tuple(dict.fromkeys(tensors))
        self.samples = 0
        self._per_sample = values_per_sample
        self._low = dict.fromkeys(self.tensors, 0.0)
        self._high = dict.fromkeys(self.tensors, 0.0)
        self._builders = {name: HistogramBuilder() for name in self.tensors if name not in exact_only}

    def update(self, outputs: Mapping[str, Array], ids: Sequence[str]) -> None:
        """Fold in one batch, of any size, in which any dimension may differ from the batch before.

        Args:
            outputs: tensor → values (float16, float32 or float64; any shape). More tensors than asked for do no harm.
            ids: what to call the samples of this batch, one a sample.

        Raises:
            CalibrationError: a tensor is missing, is not floating point, or holds a NaN or an infinity. Nothing of the
                batch is counted then.
        """
        batch = {name: self._checked(name, outputs, ids) for name in self.tensors}
        extremes = {name: _extremes(values) for name, values in batch.items()}
        for name, (low, high) in extremes.items():
            if not (math.isfinite(low) and math.isfinite(high)):
                raise _not_finite(name, batch[name], ids)
        for name, (low, high) in extremes.items():
            self._low[name], self._high[name] = min(self._low[name], low), max(self._high[name], high)
            if name in self._builders:
                self._builders[name].add(self._sampled(batch[name], len(ids)), max(high, -low))
        self.samples += len(ids)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Tensor → (smallest, largest) value, exact; zero counts as seen, since quantization always represents it."""
        return {name: (self._low[name], self._high[name]) for name in self.tensors}

    @property
    def dead(self) -> tuple[str, ...]:
        """Tensors that were zero in every sample so far."""
        return tuple(name for name in self.tensors if self._low[name] == 0 == self._high[name])

    def histogram(self, tensor: str) -> Histogram:
        """The magnitudes of a tensor.

        Raises:
            KeyError: it is not observed, or its maximum alone is.
        """
        return self._builders[tensor].freeze(self._amax(tensor))

    def amax(self, method: str, dtype: str = "int8") -> dict[str, float]:
        """Tensor → threshold by a method (see :func:`calibration.methods.method`); 0 for dead tensors.

        Raises:
            UsageError: there is no such method or type.
        """
        threshold = method_named(method, dtype)
        return {
            name: threshold(self.histogram(name)) if name in self._builders else self._amax(name)
            for name in self.tensors
        }

    def state(self) -> dict[str, Array]:
        """Everything, as arrays that ``numpy.savez`` stores without pickling."""
        builders = [self._builders[name] for name in self.tensors if name in self._builders]
        return {
            "names": np.array(self.tensors, np.str_),
            "exact_only": np.array([name not in self._builders for name in self.tensors], np.bool_),
            "low": np.array(list(self._low.values()), np.float64),
            "high": np.array(list(self._high.values()), np.float64),
            "counts": np.array([builder.counts for builder in builders], np.int64).reshape(-1, BINS),
            "tops": np.array([builder.top for builder in builders], np.int64),
            "samples": np.array(self.samples, np.int64),
            "values_per_sample": np.array(self._per_sample, np.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> Self:
        """The inverse of :meth:`state`: going on from here gives the same as never having stopped, to the bit.

        Raises:
            CalibrationError: the arrays are not those of a state.
        """
        if missing := [key for key in _KEYS if key not in state]:
            raise _bad_state(f"it has no {', '.join(missing)}")
        names, only = [str(name) for name in state["names"]], state["exact_only"]
        counted = [name for name, exact in zip(names, only, strict=False) if not exact]
        shapes: dict[str, tuple[int, ...]] = {"exact_only": (len(names),), "low": (len(names),), "high": (len(names),)}
        shapes |= {"counts": (len(counted), BINS), "tops": (len(counted),)}
        for key, shape in shapes.items():
            if state[key].shape != shape:
                raise _bad_state(f"{key} has the shape {state[key].shape}, and should have {shape}")
        made = cls(names, exact_only=set(names) - set(counted), values_per_sample=int(state["values_per_sample"]))
        made.samples = int(state["samples"])
        made._low = dict(zip(names, state["low"].tolist(), strict=True))
        made._high = dict(zip(names, state["high"].tolist(), strict=True))
        made._builders = {
            name: HistogramBuilder(counts.astype(np.int64), int(top))
            for name, counts, top in zip(counted, state["counts"], state["tops"], strict=True)
        }
        return made

    def _amax(self, tensor: str) -> float:
        return max(self._high[tensor], -self._low[tensor])

    def _checked(self, name: str, outputs: Mapping[str, Array], ids: Sequence[str]) -> npt.NDArray[np.float32]:
        if name not in outputs:
            raise CalibrationError(
                f"The tensor {name!r} is to be calibrated, and the batch of {_shown(ids)} does not have it.",
                hint="Calibrate the model that will be quantized; if it is, this is a bug in trtkit.",
            )
        values = np.asarray(outputs[name])
        if values.dtype.kind != "f":
            raise CalibrationError(
                f"The tensor {name!r} is of type {values.dtype}; only floating-point tensors can be calibrated.",
                hint="Exclude the node that reads it from quantization.",
            )
        with np.errstate(over="ignore"):  # what overflows is infinite, and reported as that
            return values.astype(np.float32, copy=False)

    def _sampled(self, values: npt.NDArray[np.float32], samples: int) -> npt.NDArray[np.float32]:
        rows = samples if values.ndim and values.shape[0] == samples else 1
        limit = self._per_sample * (samples if rows == 1 else 1)
        columns = values.size // max(rows, 1)
        if not limit or columns <= limit:
            return values
        return values.reshape(rows, columns)[:, :: _step(columns, limit)]


def _step(size: int, limit: int) -> int:
    """The distance between values that are looked at: without a common factor, so that no column or channel is missed.

    A step that shares a factor with the width of an image would see the same columns of every row.
    """
    step = -(-size // limit)
    while math.gcd(step, size) > 1:
        step += 1
    return step


def _extremes(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Minimum and maximum; NaN if any value is (NumPy hands it on); zeros for an empty tensor."""
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _not_finite(name: str, values: npt.NDArray[np.float32], ids: Sequence[str]) -> CalibrationError:
    bad = ~np.isfinite(values)
    rows = [ids[i] for i in range(len(ids)) if bad[i].any()] if values.ndim and len(values) == len(ids) else ids
    kinds = [kind for kind, found in (("NaN", np.isnan(values)), ("infinity", np.isinf(values))) if found.any()]
    return CalibrationError(
        f"The tensor {name!r} holds {' and '.join(kinds)} ({int(bad.sum())} of {values.size} values) "
        f"for {_shown(rows)}.",
        hint="Look at this sample and at the preprocessing; if the sample is right, the model overflows in float32.",
    )


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"sample {', '.join(ids[:3])}{more}" if ids else "no sample"


def _bad_state(why: str) -> CalibrationError:
    return CalibrationError(
        f"These are no calibration statistics of this version: {why}.", hint="Start the calibration again."
    )
