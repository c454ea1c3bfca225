"""What ONNX Runtime computes in, and where, from its own optimized model and trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.contract.test_families import conv_net
from trtkit.backends.base import LoadOptions
from trtkit.backends.ort import session
from trtkit.backends.ort_executed import elsewhere, executed
from trtkit.errors import PlanError, RunError
from trtkit.worker.protocol import Reporter

REPORT: Any = Reporter


def half_net(path: Path) -> Path:
    """One convolution in float16."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float16), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["N", 4, 8, 8])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_cpu_computes_float32_in_float32_and_float16_too(tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "net.onnx")
    whole = executed(REPORT, model=str(tmp_path / "net.onnx"))
    assert set(whole["numbers"]) == {"fp32"} and whole["elsewhere"] == {}
    assert executed(REPORT, model=str(half_net(tmp_path / "half.onnx")))["numbers"] == {"fp32": 1}


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(PlanError, match=r"refuses bad\.onnx"):
        executed(REPORT, model=str(tmp_path / "bad.onnx"))


def test_a_trace_tells_which_weighted_operators_ran_where(tmp_path: Path) -> None:
    made = session(half_net(tmp_path / "half.onnx"), LoadOptions(optimize="all"), profile=tmp_path / "trace")
    made.run(None, {"x": np.zeros((2, 3, 8, 8), np.float16)})
    events = json.loads(Path(made.end_profiling()).read_text())
    assert sum(elsewhere(events).values()) == 1, "on the CPU, and not where it was wanted"
    assert elsewhere(events, "CPUExecutionProvider") == {}, "casts beside it do not count"


def test_operators_without_weights_may_run_anywhere() -> None:
    def node(name: str, provider: str) -> dict[str, Any]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": name, "provider": provider}}

    events = [
        node("Conv", "CUDAExecutionProvider"),
        node("Shape", "CPUExecutionProvider"),
        node("MatMul", "CPUExecutionProvider"),
        node("MatMul", "CPUExecutionProvider"),
        {"cat": "Session", "name": "model_run"},
    ]
    assert elsewhere(events) == {"MatMul": 2}
    with pytest.raises(RunError, match="names no providers"):
        elsewhere([{"cat": "Session", "name": "model_run"}])
