"""Whether the stored tensors are what they say: of a known type, of the right length, and numbers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from trtkit.errors import ModelError
from trtkit.graph.external import is_external
from trtkit.graph.tree import every_node, every_tensor, listed, size_in_bytes, type_text

__all__ = ["check_weights"]

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LSTM", "GRU", "RNN")
_AGAIN = "Save or export the model again."


def check_weights(model: onnx.ModelProto, where: str, types: frozenset[int] | None) -> None:
    """Check every stored tensor. Each is looked at in place, one at a time: at most one copy of the largest exists.

    NaN is refused everywhere, since whatever touches it becomes NaN. Infinity is refused only in what a convolution,
    matrix product or normalization multiplies with: attention masks and the bounds of Clip hold it on purpose.

    Args:
        model: the model, its weights inside.
        where: the file, for the messages.
        types: element types that may be stored; ``None`` allows all that ONNX has.

    Raises:
        ModelError: a tensor has an unknown type or a negative dimension, is still outside, has the wrong number of
            bytes, or holds what is no number.
    """
    multiplied = {name for node in every_node(model) if node.op_type in _WEIGHTED for name in node.input}
    for sparse in model.graph.sparse_initializer:
        if types is not None:
            raise ModelError(
                f"{where}: the initializer {listed([sparse.values.name])!r} is stored as a sparse tensor, "
                "which TensorRT cannot take.",
                hint="Store it as a dense initializer.",
            )
    for tensor in every_tensor(model):
        name = listed([tensor.name or "(unnamed constant)"])
        if types is not None and tensor.data_type not in types:
            raise ModelError(
                f"{where}: tensor {name!r} is stored as {type_text(tensor.data_type)}, which TensorRT cannot take.",
                hint="Store it as float32, float16, int8, int32, int64 or bool.",
            )
        _check_length(tensor, name, where)
        if tensor.data_type in _FLOATS:
            _check_numbers(tensor, name, where, tensor.name in multiplied)


def _check_length(tensor: onnx.TensorProto, name: str, where: str) -> None:
    if is_external(tensor):
        raise ModelError(
            f"{where}: the bytes of tensor {name!r} were left in an external file.",
            hint="Load the model with trtkit.graph.io.load, which brings them in.",
        )
    if any(dim < 0 for dim in tensor.dims):
        raise ModelError(f"{where}: tensor {name!r} has the negative shape {list(tensor.dims)}.", hint=_AGAIN)
    needed = size_in_bytes(tensor)
    if needed is None or not tensor.HasField("raw_data"):
        return  # typed fields: onnx's checker counts them
    if (found := len(tensor.raw_data)) != needed:
        raise ModelError(
            f"{where}: tensor {name!r} with shape {list(tensor.dims)} and type {type_text(tensor.data_type)} takes "
            f"{needed:,} bytes, and {found:,} are stored.",
            hint="The file was damaged or edited: export or download it again.",
        )


def _check_numbers(tensor: onnx.TensorProto, name: str, where: str, multiplied: bool) -> None:
    try:
        values = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise ModelError(
            f"{where}: tensor {name!r} with shape {list(tensor.dims)} does not hold as many values as its shape says.",
            hint="The file was damaged or edited: export or download it again.",
        ) from error
    if values.size == 0:
        return
    if tensor.data_type == onnx.TensorProto.BFLOAT16:
        values = values.astype(np.float32)
    # The maximum of an array with a NaN is NaN: one pass, and no array of flags as large as the weights.
    high, low = float(values.max()), float(values.min())
    if np.isnan(high):
        count = int(np.isnan(values).sum())
        raise ModelError(
            f"{where}: tensor {name!r} holds {count:,} NaN (not a number) among {values.size:,} values.",
            hint="The training diverged, or the file was damaged: use another checkpoint.",
        )
    if multiplied and (np.isinf(high) or np.isinf(low)):
        count = int(np.isinf(values).sum())
        raise ModelError(
            f"{where}: the weight {name!r} holds {count:,} infinite values among {values.size:,}.",
            hint="Values overflowed, perhaps in a conversion to float16: export again from the float32 checkpoint.",
        )
