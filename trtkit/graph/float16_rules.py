"""Which nodes must stay in float32 when everything around them becomes float16, and why.

float16 has 11 significant bits, ends at 65504, and below 2⁻¹⁴ loses bits until nothing is left under 2⁻²⁵. Five things
do not survive that: squares and sums over many elements (LRN squares its input, and 256² is infinity), exponentials and
powers, whole numbers above 2048 (shapes and positions computed in floating point), sampling coordinates, and constants
outside the range. A node of that kind becomes a float32 island; ``float16_rewrite`` puts the Casts around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trtkit.graph.float16_weights import WeightFit

__all__ = ["ISLANDS", "Verdict", "judge"]

_SQUARES = "sums squares, which leave float16's range once values pass 255"
_SUMS = "sums many elements, and the sum leaves float16's range"
_EXPONENTIAL = "exponentials leave float16's range above 11 and lose their small terms"
_COORDINATES = "its coordinates need more than float16's 11 bits"
_GENERATOR = "generates values; float32 keeps them the same as before the cast"
_SEQUENCE = "sequences and optionals keep the element type they were declared with"
_CONTROL = "control flow keeps float32 at its border; the body is cast on its own"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ISLANDS: dict[str, str] = {
    operator: reason
    for reason, operators in {
        _SQUARES: "LRN InstanceNormalization GroupNormalization MeanVarianceNormalization LpNormalization LpPool "
        "GlobalLpPool ReduceL2 ReduceSumSquare",
        _SUMS: "ReduceSum ReduceL1 ReduceLogSum ReduceProd CumSum CumProd Det DFT STFT",
        _EXPONENTIAL: "Softmax LogSoftmax ReduceLogSumExp Softplus Exp Pow NegativeLogLikelihoodLoss "
        "SoftmaxCrossEntropyLoss",
        _COORDINATES: "GridSample AffineGrid RoiAlign MaxRoiPool",
        _GENERATOR: "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial EyeLike Range "
        "HannWindow HammingWindow BlackmanWindow MelWeightMatrix BitCast",
        _SEQUENCE: "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SplitToSequence "
        "ConcatFromSequence Optional OptionalGetElement OptionalHasElement",
        _CONTROL: "If Loop Scan SequenceMap",
    }.items()
    for operator in operators.split()
}
"""Operators that always stay in float32, each with its reason.

LayerNormalization and RMSNormalization are not among them: ONNX itself defines their inner arithmetic as float32
(``stash_type``).
"""

_WIDE_MAKERS = _words("Pow Exp ReduceSum ReduceSumSquare ReduceL1 ReduceProd CumSum CumProd DFT STFT")
"""Operators whose result may lie far outside float16's range, so that what works on it must stay in float32 too."""

_MOVERS = _words("Cast Concat Expand Flatten Gather Identity Reshape Slice Split Squeeze Tile Transpose Unsqueeze")
_ARITHMETIC = _words(
    "Abs Add Ceil Cos Floor Max Mean Min Mod Mul Neg Relu Round Sin Sub Sum Where ReduceMax ReduceMean ReduceMin "
    "Equal Greater GreaterOrEqual Less LessOrEqual"
)
_WIDE_ENDS = _words("Clip Div Erf HardSigmoid Log Reciprocal Sigmoid Sqrt Tanh")
"""Operators that bring wide values back into range: the last nodes of a float32 island."""

_CARRIERS = _MOVERS | _ARITHMETIC | _WIDE_ENDS


@dataclass(frozen=True)
class Verdict:
    """What :func:`judge` found about a node.

    Attributes:
        reason: why the node stays in float32; None if it may become float16.
        wide: whether its results may leave float16's range.
        whole: whether its results are whole numbers that must stay exact.
        small: whether no square of its results can leave float16's range.
    """

    reason: str | None
    wide: bool = False
    whole: bool = False
    small: bool = False


def judge(
    op_type: str,
    inputs: Sequence[str],
    *,
    is_wide: Callable[[str], bool],
    is_whole: Callable[[str], bool],
    is_small: Callable[[str], bool],
    fit: Callable[[str], WeightFit | None],
) -> Verdict:
    """Decide about one node of the default domain.

    Args:
        op_type: the operator.
        inputs: names of its float32 inputs, in order.
        is_wide: whether a tensor may lie outside float16's range.
        is_whole: whether a tensor holds numbers that come from integers wider than 8 bits.
        is_small: whether the square of a tensor cannot leave float16's range, because it was scaled down.
        fit: the :class:`WeightFit` of a constant, None for anything computed at run time.
    """
    if op_type in ISLANDS:
        return Verdict(ISLANDS[op_type], wide=op_type in _WIDE_MAKERS, whole=op_type == "Range")
    carries = op_type in _CARRIERS
    wide = [name for name in inputs if is_wide(name)]
    if carries and wide:
        return Verdict(f"works on {wide[0]!r}, which may leave float16's range", wide=op_type not in _WIDE_ENDS)
    if op_type == "Conv" and wide:
        return Verdict(f"sums {wide[0]!r}, which may leave float16's range", wide=True)
    if op_type == "Mul" and len(inputs) == 2 and inputs[0] == inputs[1] and not is_small(inputs[0]):
        return Verdict("squares its input, which leaves float16's range once values pass 255", wide=True)
    for name in inputs:
        found = fit(name)
        if found is not None and found.unfit:
            return Verdict(f"constant {name!r}: {found.unfit}", wide=carries and found.overflowing > 0)
    whole = [name for name in inputs if is_whole(name)]
    if (carries or op_type == "MatMul") and whole:
        only_whole = all(is_whole(name) or fit(name) is not None for name in inputs)
        return Verdict(f"works on {whole[0]!r}, whose whole numbers float16 holds exactly up to 2048", whole=only_whole)
    return Verdict(None, small=op_type == "Mul" and any(_scales_down(fit(name)) for name in inputs))


def _scales_down(factor: WeightFit | None) -> bool:
    """Whether a constant brings every float16 number below 256, whose square still is one: 65504 · 2⁻⁸ = 255.9."""
    return factor is not None and not factor.overflowing and factor.max_abs <= 2.0**-8
