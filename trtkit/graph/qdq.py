"""Q/DQ pairs written into a model, as TensorRT wants them.

Symmetric, zero point 0; one pair a tensor, shared by its readers; weights stored quantized behind a DequantizeLinear,
with one scale an output channel; biases as they were. DequantizeLinear nodes carry no zero point, because ONNX takes 0
where there is none and TensorRT's parser makes a layer of each one that is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from trtkit.errors import CalibrationError, ModelError, UsageError
from trtkit.graph.float16 import to_float16
from trtkit.graph.global_average import make_averages_global
from trtkit.graph.opset import at_least
from trtkit.graph.placement import Placement, refuse_quantized
from trtkit.graph.qdq_writer import Writer, scale_name, stored_scales
from trtkit.graph.tree import listed, weightless
from trtkit.quant import QuantType

__all__ = ["HighPrecision", "insert", "scale_name"]

HighPrecision = Literal["fp32", "fp16"]

_OPSET_PER_CHANNEL = 13
_OPSET_FP8_OR_FP16_SCALES = 19


def insert(
    model: onnx.ModelProto,
    placement: Placement,
    amax: Mapping[str, float],
    dtype: QuantType = "int8",
    *,
    high_precision: HighPrecision = "fp32",
    scales_as_inputs: bool = False,
) -> onnx.ModelProto:
    """Quantize a model: the same nodes by their names, with Q/DQ pairs where ``placement`` puts them.

    One operator changes: AveragePool over a whole map becomes GlobalAveragePool (:mod:`trtkit.graph.global_average`).

    Args:
        model: the float32 model that was placed; it is not changed.
        placement: from :func:`trtkit.graph.placement.place`.
        amax: largest absolute value to represent, for every tensor of the placement; others are ignored.
        dtype: the quantized type, as the placement's.
        high_precision: what stays float: ``fp32`` as it is, or ``fp16`` through :mod:`trtkit.graph.float16`. Then
            scales are float16 numbers, and the weights are quantized with those.
        scales_as_inputs: make each activation's scale a graph input ``TENSOR_scale`` whose initializer is the default,
            so that thresholds can be tried without a new session.

    Returns:
        A new model, the same for the same arguments. Opset 13 at least, 19 for FP8 and for FP16. Memory: the source
        and the result, whose weights take a quarter, and one weight in float.

    Raises:
        ModelError: the model is quantized already, is not the one that was placed, or uses a name that is needed.
        CalibrationError: an amax is missing, negative or not finite.
        UsageError: contradicting options.
    """
    if (
        dtype != placement.dtype
        or high_precision not in ("fp32", "fp16")
        or (scales_as_inputs and high_precision != "fp32")
    ):
        raise UsageError(
            f"Cannot quantize to {dtype} with {high_precision} beside it, a placement for {placement.dtype} and "
            f"scales {'as inputs' if scales_as_inputs else 'stored'}.",
            hint="Place for the same type; high_precision is fp32 or fp16; scales as inputs need fp32.",
        )
    refuse_quantized(model)
    _check_match(model, placement)
    half = high_precision == "fp16"
    scales = _activation_scales(placement, amax, half)
    result, large = weightless(model)
    needed = _OPSET_FP8_OR_FP16_SCALES if half or dtype == "fp8" else _OPSET_PER_CHANNEL
    at_least(result, needed)
    make_averages_global(result)
    result.ir_version = max(result.ir_version, 4, int(helper.find_min_ir_version_for(result.opset_import, True)))
    writer = Writer(model, result, placement, half)
    writer.weights(set(large))
    writer.activations(scales, as_inputs=scales_as_inputs)
    writer.nodes()
    return to_float16(result).model if half else result


def _check_match(model: onnx.ModelProto, placement: Placement) -> None:
    inputs = {node.name: node.input for node in model.graph.node}
    for uses in (placement.consumers, placement.weight_users):
        for name, readers in uses.items():
            for node, position in readers:
                if len(inputs.get(node, ())) <= position or inputs[node][position] != name:
                    raise ModelError(
                        f"The placement is for another model: input {position} of node {node!r} is not {name!r} here.",
                        hint="Place the very model that is quantized.",
                    )


def _activation_scales(placement: Placement, amax: Mapping[str, float], half: bool) -> dict[str, np.float32]:
    missing = [name for name in placement.tensors if name not in amax]
    if missing:
        raise CalibrationError(
            f"No amax for {len(missing)} of {len(placement.tensors)} tensors: {listed(missing)}.",
            hint="Calibrate this model with the same recipe.",
        )
    bad = [name for name in placement.tensors if not (math.isfinite(amax[name]) and amax[name] >= 0)]
    if bad:
        raise CalibrationError(
            f"The amax of tensor {bad[0]!r} is {amax[bad[0]]}; it is a finite number, 0 or more.",
            hint="Look for NaN or infinity in the calibration data.",
        )
    values = {name: float(amax[name]) for name in placement.tensors}
    for group in placement.shared:
        values |= dict.fromkeys(group, max(values[name] for name in group))
    return {name: np.float32(stored_scales(value, placement.dtype, half)) for name, value in values.items()}
