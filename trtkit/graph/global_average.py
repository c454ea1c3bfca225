"""An AveragePool over the whole map is a GlobalAveragePool: the same mean, in a form that engines fuse.

TensorRT-RTX 1.7 computes a GlobalAveragePool inside the generated kernel before it and quantizes the mean there; an
AveragePool is a kernel of its own, and the quantization behind it another. On GoogLeNet that is 108 compute layers
instead of 110.
"""

from __future__ import annotations

import onnx

from trtkit.graph.tree import weightless

__all__ = ["make_averages_global"]


def make_averages_global(model: onnx.ModelProto) -> bool:
    """Rewrite every AveragePool of the main graph whose window is its whole input, in place; names stay.

    Height and width must be fixed numbers in the model, and there must be no padding.

    Returns:
        Whether anything changed.
    """
    candidates = [node for node in model.graph.node if node.op_type == "AveragePool"]
    if not candidates:
        return False
    shell, _ = weightless(model)
    inferred = onnx.shape_inference.infer_shapes(shell).graph
    shapes = {value.name: value.type.tensor_type.shape for value in (*inferred.value_info, *inferred.input)}
    changed = False
    for node in candidates:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        padded = any(attributes.get("pads", ())) or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        dilated = any(step != 1 for step in attributes.get("dilations", ()))
        shape = shapes.get(node.input[0])
        sides = [dim.dim_value for dim in shape.dim[2:]] if shape is not None else []
        if sides and sides == list(attributes["kernel_shape"]) and not padded and not dilated:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
            changed = True
    return changed
