"""What TensorRT's ONNX parser cannot take, by operator and element type, each with the reason and a way out.

The operator list is what ``OnnxParser.supports_operator`` of TensorRT-RTX 1.7.1 says "no" to among all operators of
ONNX 1.23 (the parser of TensorRT 11), confirmed by parsing ONNX's own one-node test models. It leaves out DeformConv,
RoiAlign and
NonZero: they need a plugin that TensorRT ships and TensorRT-RTX does not, so the builder has the last word there.
Newer operators are not listed before they were tried.
"""

from __future__ import annotations

import onnx

__all__ = ["PARSER_TYPES", "UNSUPPORTED", "domain_hint", "unsupported_because"]

_QUANTIZED = "TensorRT takes quantization as QuantizeLinear/DequantizeLinear pairs only, with symmetric int8"
_SEQUENCE = "TensorRT has tensors only, no sequences and no optional values"
_TEXT = "TensorRT has no strings"
_LOSS = "it computes a training loss, which an engine for inference has no use for"
_BITS = "TensorRT has no bitwise integer arithmetic"
_SIZE = "the size of its output depends on the values of its input"
_NONE = "TensorRT's ONNX parser has no importer for it"

UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(
        ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"), _QUANTIZED
    ),
    **dict.fromkeys(
        (
            "ConcatFromSequence",
            "Optional",
            "OptionalGetElement",
            "OptionalHasElement",
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SequenceMap",
            "SplitToSequence",
        ),
        _SEQUENCE,
    ),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), _TEXT),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _LOSS),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"), _BITS),
    **dict.fromkeys(("Compress", "Unique"), _SIZE),
    **dict.fromkeys(
        (
            "AffineGrid",
            "Bernoulli",
            "BitCast",
            "CenterCropPad",
            "Col2Im",
            "CumProd",
            "DFT",
            "Det",
            "ImageDecoder",
            "MaxRoiPool",
            "MaxUnpool",
            "MelWeightMatrix",
            "Multinomial",
            "SwiGLU",
        ),
        _NONE,
    ),
}
"""Operators of ONNX's default domain that no TensorRT family parses, with the reason."""

PARSER_TYPES: frozenset[int] = frozenset(
    getattr(onnx.TensorProto, name)
    for name in (
        "FLOAT",
        "FLOAT16",
        "BFLOAT16",
        "FLOAT8E4M3FN",
        "FLOAT4E2M1",
        "INT8",
        "UINT8",
        "INT32",
        "INT64",
        "INT4",
        "BOOL",
    )
    if hasattr(onnx.TensorProto, name)
)
"""Element types that TensorRT's parser takes as they are; float64 it takes too, and narrows it in silence."""


def unsupported_because(domain: str, op_type: str) -> str | None:
    """Why TensorRT cannot take an operator that ONNX defines, or ``None`` where it may."""
    if domain in ("", "ai.onnx"):
        return UNSUPPORTED.get(op_type)
    if domain == "ai.onnx.ml":
        return "TensorRT has no classical machine-learning operators (ai.onnx.ml)"
    return f"TensorRT's ONNX parser does not know the domain {domain!r}"


def domain_hint(domain: str) -> str:
    """The way out for operators of a domain that is not ONNX's own."""
    if domain.startswith(("com.microsoft", "com.ms.")):
        return "ONNX Runtime optimized or quantized this file for itself: give the original ONNX export instead."
    if domain in ("trt", "trt.plugins") or domain.startswith("TRT"):
        return "These nodes need a TensorRT plugin, which trtkit does not load: export with standard operators."
    if domain in ("aten", "org.pytorch.aten", "prim") or domain.startswith("pkg."):
        return "The exporter fell back to PyTorch's own operators: export again with a newer opset or exporter."
    return "Custom operators need a TensorRT plugin, which trtkit does not load: export with standard ONNX operators."
