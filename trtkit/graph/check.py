"""The verdict on an ONNX graph before any vendor sees it.

TensorRT's parser accepts an empty file, opset 99, zero dimensions and operators of unknown domains whose name it
happens to know (it ignores the domain); other faults it reports as failed assertions. So every such fault is found
here, in a second, and named by node and tensor. What only the builder can know (an operator's restrictions on types
and attributes) stays with the builder.
"""

from __future__ import annotations

import onnx
from onnx import checker, defs, shape_inference

from trtkit.errors import ModelError
from trtkit.graph.channels import check_channels
from trtkit.graph.operators import PARSER_TYPES, domain_hint, unsupported_because
from trtkit.graph.texts import check_texts
from trtkit.graph.tree import every_node, listed, node_text, type_text, weightless
from trtkit.graph.weights import check_weights
from trtkit.graph.wiring import check_wiring

__all__ = ["OLDEST_OPSET", "check"]

OLDEST_OPSET = 7
"""Below, TensorRT's parser warns that models "are not guaranteed to work"; ONNX Runtime starts at 7 as well."""

_MAX_RANK = 8  # nvinfer1::Dims::MAX_DIMS
_AGAIN = "Export the model again; if it was edited by hand or by a script, undo the last edit."


def check(model: onnx.ModelProto, where: str, *, for_tensorrt: bool = True) -> None:
    """Raise for the first thing that is wrong with ``model``; return where it is sound.

    Args:
        model: the model with its weights inside; it is not changed.
        where: what messages call it, usually the file's path.
        for_tensorrt: also refuse operators, domains and element types that ONNX allows and TensorRT cannot take.

    Raises:
        ModelError: no graph, nodes or outputs; IR version or opset unknown or too old; an operator that does not
            exist (in this opset), or that TensorRT cannot take; inputs without type, rank or with impossible sizes; a
            graph that does not hang together; a weight of the wrong length or not a number; a breach of the ONNX
            standard.
    """
    _check_whole(model, where)
    check_texts(model, where)
    opset = _check_versions(model, where)
    _check_operators(model, where, opset, for_tensorrt)
    for value in model.graph.input:
        _check_value(value, "input", where, for_tensorrt)
    check_wiring(model.graph, where)
    check_weights(model, where, PARSER_TYPES | {onnx.TensorProto.DOUBLE} if for_tensorrt else None)
    # onnx's own checker and shape inference copy the whole model: they get it without its weights.
    shell, _ = weightless(model)
    _check_shapes(shell, where)
    for value in model.graph.output:
        _check_value(value, "output", where, for_tensorrt)
    _check_standard(shell, where)


def _check_whole(model: onnx.ModelProto, where: str) -> None:
    if not model.HasField("graph"):
        raise ModelError(f"{where} holds no graph.", hint="Give an exported ONNX model.")
    graph = model.graph
    if not graph.node:
        raise ModelError(f"{where}: the graph has no nodes: there is nothing to compute.", hint=_AGAIN)
    initializers = {tensor.name for tensor in graph.initializer}
    if not any(value.name not in initializers for value in graph.input):
        raise ModelError(
            f"{where}: the graph has no inputs: it would compute a constant.",
            hint="Export the model with its inputs as inputs, not folded into constants.",
        )
    if not graph.output:
        raise ModelError(f"{where}: the graph has no outputs.", hint="Mark at least one tensor as graph output.")


def _check_versions(model: onnx.ModelProto, where: str) -> int:
    """The default operator set's version."""
    newest_ir, newest = int(onnx.IR_VERSION), int(defs.onnx_opset_version())
    installed = f"the installed onnx package ({onnx.__version__})"
    if not 3 <= model.ir_version <= newest_ir:
        raise ModelError(
            f"{where} has IR version {model.ir_version}; {installed} knows 3 to {newest_ir}.",
            hint="Upgrade onnx (pip install -U onnx)." if model.ir_version > newest_ir else "Export the model again.",
        )
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version:
            raise ModelError(f"{where} imports two versions of operator set {domain or 'ai.onnx'!r}.", hint=_AGAIN)
    if "" not in versions:
        raise ModelError(f"{where} does not say which opset it uses.", hint="Export the model again.")
    opset = versions[""]
    if opset > newest:
        raise ModelError(
            f"{where} uses opset {opset}; {installed} knows {OLDEST_OPSET} to {newest}.",
            hint=f"Export with opset {newest} or older, or upgrade onnx (pip install -U onnx).",
        )
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{where} uses opset {opset}; TensorRT reads opset {OLDEST_OPSET} and newer (here up to {newest}).",
            hint="Export again with a newer opset, or try onnx.version_converter.convert_version(model, 13).",
        )
    return opset


def _check_operators(model: onnx.ModelProto, where: str, opset: int, for_tensorrt: bool) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    nodes = list(every_node(model))
    # The checker judges versions inside functions, which import operator sets of their own.
    in_functions = {id(node) for function in model.functions for node in function.node}
    versions = {entry.domain: entry.version for entry in model.opset_import} | {"": opset}
    kinds: dict[tuple[str, str], list[onnx.NodeProto]] = {}
    for node in nodes:
        if (node.domain, node.op_type) not in own:
            kinds.setdefault(("" if node.domain == "ai.onnx" else node.domain, node.op_type), []).append(node)
    for (domain, op_type), users in kinds.items():
        where_used = listed([node_text(node) for node in users])
        if not defs.has(op_type, domain):
            _check_foreign(domain, op_type, where_used, where, for_tensorrt)
            continue
        reason = unsupported_because(domain, op_type) if for_tensorrt else None
        if reason is not None:
            raise ModelError(
                f"{where}: TensorRT cannot take the operator {op_type}: {reason}. It is in {where_used}.",
                hint=_way_out(op_type, reason),
            )
        if not all(id(node) in in_functions for node in users):
            _check_since(domain, op_type, versions.get(domain), where_used, where)


def _check_foreign(domain: str, op_type: str, where_used: str, where: str, for_tensorrt: bool) -> None:
    if domain == "":
        raise ModelError(
            f"{where}: ONNX has no operator {op_type!r} (up to opset {defs.onnx_opset_version()}): {where_used}.",
            hint="Export with standard operators; a custom one needs a TensorRT plugin, which trtkit does not load.",
        )
    if for_tensorrt:
        raise ModelError(
            f"{where}: the operator {domain}::{op_type} is not one of ONNX's own: {where_used}.",
            hint=domain_hint(domain),
        )


def _check_since(domain: str, op_type: str, version: int | None, where_used: str, where: str) -> None:
    if version is None or not defs.has(op_type, version, domain):
        first = min(schema.since_version for schema in _history(op_type, domain))
        raise ModelError(
            f"{where}: {op_type} came with opset {first} of {domain or 'ai.onnx'}, and the file uses "
            f"{'none of it' if version is None else f'opset {version}'}: {where_used}.",
            hint=f"Export with opset {first} or newer.",
        )
    if defs.get_schema(op_type, version, domain).deprecated:
        raise ModelError(
            f"{where}: {op_type} is no longer part of opset {version}, which the file uses: {where_used}.",
            hint="Export the model again with a current exporter.",
        )


def _history(op_type: str, domain: str) -> list[defs.OpSchema]:
    return [s for s in defs.get_all_schemas_with_history() if (s.domain, s.name) == (domain, op_type)]


def _way_out(op_type: str, reason: str) -> str:
    if "quantization" in reason:
        return "Start from the float model; for a quantized one, write Q/DQ pairs (QDQ format)."
    if "loss" in reason:
        return "Export the model for inference: in eval mode and without its loss."
    if "strings" in reason or "sequences" in reason or "machine-learning" in reason:
        return "Move this step out of the model, into the code before or after it."
    return f"Replace {op_type} by operators that TensorRT has, or move this step out of the model."


def _check_value(value: onnx.ValueInfoProto, role: str, where: str, for_tensorrt: bool) -> None:
    kind = value.type.WhichOneof("value")
    name = f"{role} {listed([value.name])!r}"
    if kind not in (None, "tensor_type"):
        raise ModelError(
            f"{where}: the {name} has ONNX type {str(kind).removesuffix('_type')!r} instead of tensor.",
            hint="Export the model with plain tensors as inputs and outputs.",
        )
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        raise ModelError(f"{where}: the {name} has no element type.", hint="Export with typed inputs and outputs.")
    if for_tensorrt and tensor.elem_type not in PARSER_TYPES:
        narrowed = " (it would make it float32 in silence)" if tensor.elem_type == onnx.TensorProto.DOUBLE else ""
        allowed = "float32, float16, bfloat16, int8, uint8, int32, int64, bool"
        raise ModelError(
            f"{where}: the {name} is of type {type_text(tensor.elem_type)}, which TensorRT does not take{narrowed}.",
            hint=f"Cast outside the model, and export with one of the types {allowed}.",
        )
    if not tensor.HasField("shape"):
        raise ModelError(
            f"{where}: the {name} has no shape, not even a number of dimensions.",
            hint="Export with a shape; a dimension that varies gets a name ('N'), not a missing shape.",
        )
    if len(tensor.shape.dim) > _MAX_RANK and for_tensorrt:
        raise ModelError(
            f"{where}: the {name} has {len(tensor.shape.dim)} dimensions; TensorRT has at most {_MAX_RANK}.",
            hint="Merge dimensions outside the model.",
        )
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value < 1:
            raise ModelError(
                f"{where}: dimension {axis} of the {name} is {dim.dim_value}; a size is 1 or more.",
                hint=f"If it varies, give it a name instead of {dim.dim_value} (dim_param 'N'); else export its size.",
            )


def _check_shapes(shell: onnx.ModelProto, where: str) -> None:
    try:
        check_channels(shape_inference.infer_shapes(shell, check_type=True, strict_mode=True), where)
    except UnicodeDecodeError as error:
        raise _undecodable(where) from error
    except shape_inference.InferenceError as error:
        # Two kinds are no fault of the model: a declared shape that is inexact (TensorRT and ONNX Runtime compute
        # shapes themselves), and a nested report, which comes from inside an operator that onnx defines as function.
        text = str(error)
        if "existing shape" not in text and text.count("Inference error(s)") < 2:
            raise ModelError(f"{where}: shapes or types do not fit together: {_short(text)}", hint=_AGAIN) from error


def _check_standard(shell: onnx.ModelProto, where: str) -> None:
    try:
        checker.check_model(shell)
    except UnicodeDecodeError as error:  # onnx quotes the damaged text in a message that Python cannot decode
        raise _undecodable(where) from error
    except checker.ValidationError as error:
        raise ModelError(f"{where} breaks the ONNX standard: {_short(str(error))}", hint=_AGAIN) from error


def _undecodable(where: str) -> ModelError:
    return ModelError(f"{where} breaks the ONNX standard in a text that is not UTF-8.", hint=_AGAIN)


def _short(text: str) -> str:
    """onnx's message without its tags and its dump of the node, on one line."""
    text = text.split("\n==> Context")[0]
    for tag in ("[ShapeInferenceError]", "[TypeInferenceError]", "Inference error(s):"):
        text = text.replace(tag, "")
    text = " ".join(text.split())
    return text if len(text) <= 400 else text[:400] + "…"
