"""The engine inspector's JSON, read into a :class:`~trtkit.artifacts.layers.LayerReport`.

``IEngineInspector.get_engine_information(LayerInformationFormat.JSON)`` needs a loaded engine, hence a GPU. Its text
differs by version and by how the engine was built:

* TensorRT 10: a tensor has ``Format/Datatype`` (``Half``, or with an execution context ``Channel major FP16 format
  where channel % 8 == 0``); inputs and outputs of the network are names under ``Bindings``.
* TensorRT 11 and TensorRT-RTX: ``Datatype`` and ``Format``; objects under ``I/O Tensors``.
* Kernels of TensorRT's own library give ``Weights: {Type, Count}``, those of its compiler (Myelin) ``Constants``.
* Without detailed profiling verbosity a layer is its bare name.
"""

from __future__ import annotations

import json
import re
from typing import Any

from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor
from trtkit.backends.layer_log import dtype_from_text, onnx_nodes
from trtkit.errors import PlanError

__all__ = ["parse"]

_FREE_TEXT = re.compile(r'^([\s{]*"(?:Name|Metadata|TacticName)": ")(.*)("\s*,?\s*)$', re.MULTILINE)
_VALID_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')


def _escape(match: re.Match[str]) -> str:
    """Escape quotes and lone backslashes inside one value; what is escaped already stays as it is."""
    begin, text, end = match.groups()
    kept = "".join(
        part if _VALID_ESCAPE.fullmatch(part) else part.replace("\\", "\\\\").replace('"', '\\"')
        for part in re.split(rf"({_VALID_ESCAPE.pattern})", text)
    )
    return f"{begin}{kept}{end}"


def _load(text: str) -> Any:
    """JSON as inspectors write it: control characters inside strings, and quotes of ONNX names not always escaped."""
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError:
        return json.loads(_FREE_TEXT.sub(_escape, text), strict=False)


def _shape(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(isinstance(dim, int) for dim in value):
        return None
    return tuple(value)


def _tensor(value: Any) -> LayerTensor:
    if not isinstance(value, dict):
        return LayerTensor(str(value), None)
    both = value.get("Format/Datatype")
    dtype = both or value.get("Datatype") or value.get("DataType") or ""
    layout = both or value.get("Format")
    return LayerTensor(
        name=str(value.get("Name", "")),
        dtype=dtype_from_text(str(dtype)),
        shape=_shape(value.get("Dimensions")),
        format=str(layout) if layout else None,
    )


def _constants(value: dict[str, Any]) -> tuple[LayerTensor, ...]:
    found = [_tensor(constant) for constant in value.get("Constants") or ()]
    for key in ("Weights", "Bias"):
        summary = value.get(key)
        # A Count of 0 says that the operand is an input instead of a constant.
        if isinstance(summary, dict) and isinstance(summary.get("Count"), int) and summary["Count"] > 0:
            found.append(LayerTensor(key, dtype_from_text(str(summary.get("Type", ""))), (summary["Count"],)))
    return tuple(found)


def _layer(value: Any) -> Layer:
    if not isinstance(value, dict):
        return Layer(name=str(value), kind="")
    return Layer(
        name=str(value.get("Name", "")),
        kind=str(value.get("LayerType", "")),
        inputs=tuple(_tensor(v) for v in value.get("Inputs") or ()),
        outputs=tuple(_tensor(v) for v in value.get("Outputs") or ()),
        onnx_nodes=onnx_nodes(str(value.get("Metadata") or "")),
        tactic=str(value.get("TacticName") or value.get("TacticValue") or "") or None,
        constants=_constants(value),
    )


def parse(text: str) -> LayerReport:
    """Read the inspector's text about a whole engine.

    Args:
        text: what ``get_engine_information`` returned for the JSON format.

    Raises:
        PlanError: the text is no JSON, or not of the inspector's form.
    """
    try:
        value = _load(text)
    except ValueError as error:
        raise PlanError(
            f"The engine inspector's text is no valid JSON ({error}); it begins with {text[:60]!r}.",
            hint="Rename ONNX nodes whose names hold quotes or backslashes, and report this with the text.",
        ) from error
    layers = value.get("Layers") if isinstance(value, dict) else value
    if not isinstance(layers, list):
        raise PlanError(
            f'The engine inspector\'s JSON has no list "Layers"; it begins with {text[:60]!r}.',
            hint="Build the plan with detailed profiling verbosity, as trtkit convert does.",
        )
    return LayerReport("engine-inspector", tuple(_layer(layer) for layer in layers))
