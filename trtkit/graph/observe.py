"""Make inner tensors visible: the same model with further outputs, for calibration to look at."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from trtkit.errors import ModelError
from trtkit.graph.tree import weightless

__all__ = ["observe"]


def observe(model: onnx.ModelProto, tensors: Sequence[str], *, keep_outputs: bool = False) -> onnx.ModelProto:
    """A copy of ``model`` whose outputs are ``tensors``, in their order.

    Graph inputs among them are left out: who feeds them knows them. A runtime may leave out what no output needs.

    Args:
        model: a model with its weights; it is not changed.
        tensors: names of tensors that nodes of the main graph make, or of graph inputs.
        keep_outputs: keep the model's own outputs, before the new ones; they stay also where only inputs are asked for.

    Raises:
        ModelError: a tensor is made by no node of the main graph.
    """
    made = {name for node in model.graph.node for name in node.output}
    inputs = {value.name for value in model.graph.input}
    missing = [name for name in tensors if name not in made and name not in inputs]
    if missing:
        raise ModelError(
            f"{len(missing)} tensors to observe are not in the model: {', '.join(missing[:5])}.",
            hint="Use a calibration table that was made for this model, or calibrate again.",
        )
    types = _element_types(model)
    own = list(model.graph.output) if keep_outputs or not made & set(tensors) else []  # a model has an output
    shown = {value.name for value in own}
    new = [
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None)
        for name in dict.fromkeys(tensors)
        if name in made and name not in shown
    ]
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    del observed.graph.output[:]
    observed.graph.output.extend([*own, *new])
    return observed


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of each tensor that shape inference can tell; the others are float32 in a float32 model."""
    shell, _ = weightless(model)
    inferred = onnx.shape_inference.infer_shapes(shell, strict_mode=False, data_prop=False)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values if value.type.tensor_type.elem_type}
