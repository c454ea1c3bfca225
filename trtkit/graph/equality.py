"""Whether a rewritten model computes what its source does: judged on arrays that both gave for the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trtkit import metrics
from trtkit.graph.outputs import paired_scores

__all__ = ["FLOORS", "PROVES_LITTLE", "Equality", "difference", "judge"]

FLOORS = {"fp32": 1e-5, "fp16": 2e-3}
"""The relative L2 error that is always allowed, by the numbers in the model: sums in another order differ by about
1e-6 in float32; in float16 by its rounding, 5e-4, more than once."""

PROVES_LITTLE = 1e-2
"""A limit above this passes nearly anything: on such inputs the model itself hangs on rounding."""

_TIMES_OWN = 3.0
"""A rewrite may move the result as far as this times what the reference runtime's own optimizations do."""

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Equality:
    """The verdict on one rewritten model.

    Attributes:
        difference: relative L2 error of the worst output; ``None`` where outputs have no finite difference.
        limit: what is allowed.
        reason: why it failed, a sentence; ``None`` if it passed.
    """

    difference: float | None
    limit: float
    reason: str | None

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return self.reason is None


def difference(reference: Outputs, candidate: Outputs, softmax_axes: Mapping[str, int]) -> tuple[float | None, str]:
    """The largest relative L2 error over all outputs, and the name of the output that has it.

    Args:
        reference, candidate: ``CASE/OUTPUT`` → array.
        softmax_axes: of outputs that are a Softmax's: they are compared by the scores before it, since a saturated
            Softmax hides everything.

    Returns:
        The error; ``None`` where an output is missing, has another shape or type, or is NaN or infinite on one side.
    """
    worst, where = 0.0, next(iter(reference), "")
    for name, want in reference.items():
        got = candidate.get(name)
        if got is None or got.shape != want.shape or got.dtype != want.dtype:
            return None, name
        axis = softmax_axes.get(name.partition("/")[2])
        pair = (want, got) if axis is None else paired_scores(want, got, axis)
        found = metrics.compare(*pair, rtol=0.0, atol=0.0)
        if found.exact:
            continue
        if found.relative_l2 is None:
            return None, name
        if found.relative_l2 > worst:
            worst, where = found.relative_l2, name
    return worst, where


def judge(
    source: Outputs,
    optimized: Outputs,
    rewritten: Outputs,
    softmax_axes: Mapping[str, int],
    *,
    precision: str = "fp32",
    cases: Sequence[str] = (),
) -> Equality:
    """Compare a rewritten model with its source.

    Args:
        source: what the source gave without any optimization.
        optimized: what the source gave with all of the reference runtime's own optimizations.
        rewritten: what the rewritten model gave without any.
        softmax_axes: as for :func:`difference`.
        precision: the numbers inside, ``fp32`` or ``fp16``.
        cases: what to call each case in a reason.
    """
    own, _ = difference(source, optimized, softmax_axes)
    limit = max(FLOORS[precision], _TIMES_OWN * (own or 0.0))
    found, where = difference(source, rewritten, softmax_axes)
    reason = None
    if found is None:
        reason = _incomparable(where, source[where], rewritten.get(where), cases)
    elif found > limit:
        reason = (
            f"output {where.partition('/')[2]!r} differs from the source's by {found:.1e}, and {limit:.1e} is allowed"
        )
    return Equality(found, limit, reason)


def _incomparable(where: str, want: np.ndarray, got: np.ndarray | None, cases: Sequence[str]) -> str:
    """Why two outputs have no difference, a clause that blames the right one."""
    case, _, name = where.partition("/")
    on = cases[int(case)] if case.isdigit() and int(case) < len(cases) else "these inputs"
    if got is None or got.shape != want.shape or got.dtype != want.dtype:
        return f"output {name!r} has another shape or type than the source's"
    if want.dtype.kind in "fc" and not np.isfinite(want).all():
        return f"the source's own output {name!r} is not finite on {on}, so that nothing can be compared there"
    if got.dtype.kind in "fc" and not np.isfinite(got).all():
        return f"output {name!r} is not finite on {on}, and the source's is"
    return f"output {name!r} differs from the source's on {on}, and there is no measure for how far"
