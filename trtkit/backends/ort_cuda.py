"""Does ONNX Runtime's CUDA provider really start here? It is listed as available even where it cannot.

ONNX Runtime then falls back to the CPU in silence, so the question is put to a session of one node, and a "no" is
explained by what the system's loader says of the provider's library.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np

__all__ = ["PROVIDER", "why_not"]

PROVIDER = "CUDAExecutionProvider"


@functools.cache
def why_not() -> str | None:
    """Why the CUDA provider does not start in this process, a sentence; ``None`` when it does. Never raises."""
    import onnxruntime as ort

    if PROVIDER not in ort.get_available_providers():
        return f"this build of ONNX Runtime has no {PROVIDER}: onnxruntime-gpu has"
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # the CUDA libraries of the nvidia-* wheels are found no other way
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(_one_node(), options, providers=[PROVIDER])
        if session.get_providers()[0] == PROVIDER:
            session.run(None, {"x": np.zeros((1, 1, 4, 4), np.float32)})
            return None
    except Exception as error:  # ONNX Runtime raises pybind-made classes that share no base but Exception
        return f"{PROVIDER} does not work: {' '.join(str(error).split())[:300]}"
    return f"{PROVIDER} does not start: {_loader_says(Path(ort.__file__).parent)}"


def _one_node() -> bytes:
    """A convolution: the smallest model that needs cuDNN too."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 2])],
        [numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _loader_says(package: Path) -> str:
    """The loader's own words about the provider's library (``libcudnn.so.9: cannot open shared object file``)."""
    try:
        ctypes.CDLL(str(package / "capi" / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(package / "capi" / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return str(error)
    return "its library loads, but the provider refuses; the driver may be too old for it"
