"""What ONNX Runtime makes of a model on a CPU: in which numbers its weighted nodes are really computed.

The file that a session writes after its optimizations says it. A Q/DQ pair that was fused gives a node with integer
arithmetic; one that was not leaves a float node between a dequantization and a quantization. Float16 nodes for which a
CPU has no kernel stand in FP32 between casts.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from trtkit.errors import RunError
from trtkit.worker.protocol import Reporter

__all__ = ["executed_numbers"]

_INTEGER = ("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul",
            "MatMulIntegerToFloat", "QLinearGemm")  # fmt: skip
_FLOAT = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose")


def executed_numbers(report: Reporter, *, model: str) -> dict[str, int]:
    """Number type (``int8``, ``fp32``, ``fp16``) → number of convolutions and matrix products computed in it.

    Args:
        report: takes the progress.
        model: path of the ONNX file.

    Raises:
        RunError: ONNX Runtime does not load it.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # pybind-made classes that share no base but Exception
            message = str(error).splitlines()[0]
            raise RunError(
                f"ONNX Runtime does not load {Path(model).name}: {message}", hint="Validate the model first."
            ) from error
        return _counted(Path(options.optimized_model_filepath))


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
