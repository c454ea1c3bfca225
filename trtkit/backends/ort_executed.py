"""What ONNX Runtime makes of a model: in which numbers its weighted nodes are computed, and on which provider.

The file that a session writes after its optimizations says the first. A Q/DQ pair that was fused gives a node with
integer arithmetic; one that was not leaves a float node between a dequantization and a quantization. Float16 nodes for
which a CPU has no kernel stand in FP32 between casts. The trace of one execution says the second.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.backends.base import LoadOptions
from trtkit.backends.ort import session
from trtkit.backends.ort_timed import first_line
from trtkit.errors import RunError
from trtkit.worker.protocol import Reporter

__all__ = ["elsewhere", "executed"]

_INTEGER = ("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul",
            "MatMulIntegerToFloat", "QLinearGemm")  # fmt: skip
_FLOAT = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose")
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def executed(
    report: Reporter, *, model: str, on_cuda: bool = False, shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, dict[str, int]]:
    """Look at a model's convolutions and matrix products as ONNX Runtime executes them.

    Args:
        report: takes the progress.
        model: path of the ONNX file.
        on_cuda: on the CUDA provider; then it is executed once.
        shapes: input → shape of that execution.

    Returns:
        ``numbers``: number type (``int8``, ``fp32``, ``fp16``) → how many are computed in it; ``elsewhere``: with
        ``on_cuda``, operator → how many were executed on the CPU instead.

    Raises:
        PlanError: ONNX Runtime does not load it.
        RunError: it cannot be executed.
    """
    options = LoadOptions(on_cpu=not on_cuda, optimize="all", spinning=False)
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        optimized, trace = Path(folder) / "optimized.onnx", Path(folder) / "trace"
        made = session(
            Path(model), options, cuda_options={} if on_cuda else None, profile=trace if on_cuda else None,
            optimized=optimized,
        )  # fmt: skip
        if not on_cuda:
            return {"numbers": _counted(optimized), "elsewhere": {}}
        feeds = {
            value.name: np.zeros(tuple((shapes or {})[value.name]), _dtype(value.type)) for value in made.get_inputs()
        }
        try:
            made.run(None, feeds)
            events = json.loads(Path(made.end_profiling()).read_text())
        except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
            raise RunError(
                f"ONNX Runtime does not execute {Path(model).name}: {first_line(error)}", hint="Validate it first."
            ) from error
        return {"numbers": _counted(optimized), "elsewhere": elsewhere(events)}


def elsewhere(events: Iterable[Mapping[str, Any]], wanted: str = _CUDA) -> dict[str, int]:
    """Weighted operators of one execution that ran on another provider than ``wanted``: operator → how many.

    Args:
        events: ONNX Runtime's trace.
        wanted: the provider's name.

    Raises:
        RunError: the trace names no provider of any node.
    """
    nodes = [event.get("args", {}) for event in events if event.get("cat") == "Node" and _is_kernel(event)]
    if not any("provider" in node for node in nodes):
        raise RunError("ONNX Runtime's trace names no providers.", hint="Report this: its format has changed.")
    found: dict[str, int] = {}
    for node in nodes:
        if node.get("op_name") in (*_INTEGER, *_FLOAT) and node.get("provider") != wanted:
            found[node["op_name"]] = found.get(node["op_name"], 0) + 1
    return found


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return str(event.get("name", "")).endswith("_kernel_time")


def _dtype(text: str) -> str:
    name = text.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _counted(path: Path) -> dict[str, int]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    half = {value.name for value in graph.initializer if value.data_type == onnx.TensorProto.FLOAT16}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _INTEGER:
            numbers = "int8"
        elif node.op_type in _FLOAT and len(node.input) > 1:
            numbers = "fp16" if node.input[1] in half else "fp32"
        else:
            continue
        found[numbers] = found.get(numbers, 0) + 1
    return found
