"""What the tests of rewrites share: apply one, look at the result from every side, run both in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from tests.graph.models import model, tensor, value
from trtkit.graph.rewrites import Rewrite, RewriteResult

BATCHES = (1, 3)


def node(op_type, inputs, outputs, name=None, **attributes):
    return helper.make_node(
        op_type, inputs, [outputs] if isinstance(outputs, str) else outputs, name or op_type.lower(), **attributes
    )


def net(nodes, inputs, weights=(), outputs=("y",), **options) -> onnx.ModelProto:
    """A model whose outputs get the types and shapes that inference finds."""
    result = model(
        nodes,
        [value(name, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [tensor(name, array) for name, array in dict(weights).items()],
        **options,
    )
    inferred = onnx.shape_inference.infer_shapes(result, data_prop=True).graph.output
    for output, found in zip(result.graph.output, inferred, strict=True):
        output.CopyFrom(found)
    return result


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *, optimized: bool = False) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def feeds(model: onnx.ModelProto, batch: int, seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, batch])
    stored = {t.name for t in model.graph.initializer}
    made = {}
    for item in model.graph.input:
        if item.name not in stored:
            shape = [dim.dim_value or batch for dim in item.type.tensor_type.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
            if dtype.kind in "iu":
                made[item.name] = rng.integers(0, 256, shape).astype(dtype)
            else:
                made[item.name] = (rng.standard_normal(shape) * scale).astype(dtype)
    return made


def relative_l2(reference: np.ndarray, candidate: np.ndarray) -> float:
    r, c = reference.astype(np.float64), candidate.astype(np.float64)
    assert r.shape == c.shape
    return float(np.linalg.norm(c - r) / max(np.linalg.norm(r), 1e-30))


def applied(rewrite: Rewrite, source: onnx.ModelProto, *, limit: float = 2e-6, scale: float = 1.0) -> RewriteResult:
    """Apply; check source, names, interface, idempotence and, in ONNX Runtime without optimizations, the function."""
    before = source.SerializeToString(deterministic=True)
    found = rewrite.find(source)
    result = rewrite.apply(source)
    assert source.SerializeToString(deterministic=True) == before
    assert {site.anchor for site in found} <= {site.anchor for site in result.sites}
    onnx.checker.check_model(result.model, full_check=True)
    names = [node.name for node in result.model.graph.node]
    assert len(names) == len(set(names)) and all(names)
    assert list(result.model.graph.output) == list(source.graph.output)
    assert rewrite.find(result.model) == () and not rewrite.apply(result.model).modified
    if not result.modified:
        assert result.model.SerializeToString(deterministic=True) == before
    if not rewrite.changes_interface:
        own = {t.name for t in (*source.graph.initializer, *result.model.graph.initializer)}
        assert [v for v in result.model.graph.input if v.name not in own] == [
            v for v in source.graph.input if v.name not in own
        ]
        agree(source, result.model, limit=limit, scale=scale)
    return result


def agree(
    source: onnx.ModelProto,
    candidate: onnx.ModelProto,
    *,
    limit: float = 2e-6,
    scale: float = 1.0,
    batches: Sequence[int] = BATCHES,
) -> None:
    for batch in batches:
        given = feeds(source, batch, scale=scale)
        for want, got in zip(run(source, given), run(candidate, given), strict=True):
            assert got.dtype == want.dtype
            assert relative_l2(want, got) <= limit


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def normal(*shape, seed=0, scale=1.0):
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)
