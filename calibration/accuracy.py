"""How far a quantized model's scores are from the float model's, with the doubt that the number of samples leaves.

Sums are kept for each sample, not the scores themselves, so that memory grows by three numbers a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trtkit.graph.outputs import before_softmax

__all__ = ["Accuracy", "Scorer", "scores_of"]

Floats = npt.NDArray[np.float64]

_RESAMPLES = 1000
_SAME = 1e-12  # of the power: a millionth of the magnitude
_Z = 1.96  # of a two-sided 95 % interval


@dataclass(frozen=True)
class Accuracy:
    """Agreement of a quantized model with its float model on samples that calibration did not see.

    Attributes:
        samples: number of them.
        sqnr_db: 10·log₁₀(Σ reference² / Σ (candidate − reference)²) over all scores; ``None`` when it is not finite.
        sqnr_low_db, sqnr_high_db: its 95 % interval, from resampling the samples (bootstrap, seeded).
        centred_sqnr_db: the same with the reference's mean over the samples taken off its power, so that a constant in
            the scores does not flatter; ``None`` when it is not finite, or the reference is :attr:`Scorer.constant`.
        top1_agreement: share of samples whose best class is the same; ``None`` where the model has no classes.
        top1_low, top1_high: its 95 % interval (Wilson, 1927).
    """

    samples: int
    sqnr_db: float | None
    sqnr_low_db: float | None
    sqnr_high_db: float | None
    centred_sqnr_db: float | None
    top1_agreement: float | None
    top1_low: float | None
    top1_high: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)

    @property
    def text(self) -> str:
        """``26.4 dB (25.9…26.9), top-1 agreement 0.855 (0.832…0.875), 1024 samples``."""
        parts = []
        if self.sqnr_db is None:
            parts.append("SQNR undefined")
        else:
            parts.append(f"{self.sqnr_db:.1f} dB ({_number(self.sqnr_low_db, 1)}…{_number(self.sqnr_high_db, 1)})")
        if self.top1_agreement is not None:
            interval = f"({_number(self.top1_low, 3)}…{_number(self.top1_high, 3)})"
            parts.append(f"top-1 agreement {self.top1_agreement:.3f} {interval}")
        return ", ".join([*parts, f"{self.samples} samples"])


def scores_of(outputs: Mapping[str, np.ndarray], softmax_axes: Mapping[str, int]) -> Floats:
    """All floating-point outputs of a batch as one matrix [samples, scores]; a Softmax's are taken before it.

    A probability that underflowed counts as the smallest that its type can hold.
    """
    columns = []
    for name, value in outputs.items():
        if value.dtype.kind != "f":
            continue
        if name in softmax_axes:
            columns.append(before_softmax(value, softmax_axes[name]).reshape(len(value), -1))
        else:
            columns.append(value.astype(np.float64).reshape(len(value), -1))
    return np.concatenate(columns, axis=1)


class Scorer:
    """Takes reference and candidate scores batch by batch.

    Args:
        classes: whether the scores are one value a class, so that the best class means something.
    """

    def __init__(self, *, classes: bool) -> None:
        self._classes = classes
        self._signal: list[Floats] = []
        self._noise: list[Floats] = []
        self._same: list[npt.NDArray[np.bool_]] = []
        self._sum: Floats | None = None

    def update(self, reference: Floats, candidate: Floats) -> None:
        """Take one batch, both [samples, scores]."""
        self._signal.append(np.square(reference).sum(axis=1))
        self._noise.append(np.square(candidate - reference).sum(axis=1))
        self._same.append(reference.argmax(axis=1) == candidate.argmax(axis=1))
        total = reference.sum(axis=0)
        self._sum = total if self._sum is None else self._sum + total

    @property
    def noise(self) -> float:
        """Σ (candidate − reference)² so far: what a search makes smaller."""
        return float(sum(part.sum() for part in self._noise))

    @property
    def constant(self) -> bool:
        """Whether the reference's scores are the same for every sample, but for float32's rounding."""
        return sum(map(len, self._signal)) > 1 and self._spread <= _SAME * float(sum(map(np.sum, self._signal)))

    @property
    def _spread(self) -> float:
        """Power of the reference's scores with their mean over the samples taken off."""
        assert self._sum is not None
        count = sum(map(len, self._signal))
        return float(sum(map(np.sum, self._signal))) - float(np.square(self._sum).sum()) / count

    def accuracy(self) -> Accuracy:
        """The figures over everything taken so far; at least one batch."""
        signal, noise = np.concatenate(self._signal), np.concatenate(self._noise)
        count = len(signal)
        draws = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
        resampled = [_decibels(signal[draw].sum(), noise[draw].sum()) for draw in draws]
        finite = [value for value in resampled if value is not None]
        low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) == _RESAMPLES else (None, None)
        top1, top1_low, top1_high = _wilson(np.concatenate(self._same)) if self._classes else (None, None, None)
        return Accuracy(
            samples=count,
            sqnr_db=_decibels(signal.sum(), noise.sum()),
            sqnr_low_db=None if low is None else float(low),
            sqnr_high_db=None if high is None else float(high),
            centred_sqnr_db=None if self.constant else _decibels(self._spread, noise.sum()),
            top1_agreement=top1,
            top1_low=top1_low,
            top1_high=top1_high,
        )


def _decibels(signal: float, noise: float) -> float | None:
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def _wilson(same: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Share and its 95 % interval (E. B. Wilson, "Probable inference", JASA 22, 1927)."""
    n, p = len(same), float(same.mean())
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return p, max(0.0, middle - half), min(1.0, middle + half)


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"
