"""TensorRT-RTX on the CPU builds what the rewrites write, and its layers name their nodes."""

from __future__ import annotations

import importlib.util

import pytest
from onnx import TensorProto

from tests.graph.rewrites.oracle import net, node, normal
from tests.perf.qdq_layers import measure
from trtkit.graph.float16 import to_float16
from trtkit.graph.rewrites import ALL, apply_all, safe

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


def small(size=17):
    weights = {
        "w": normal(16, 3, 5, 5, scale=0.1),
        "v": normal(16, 8, 3, 3, scale=0.1),
        "p": normal(8, 16, 1, 1, scale=0.2),
        "q": normal(8, 16, 1, 1, scale=0.2),
        "f": normal(16 * 81, 10, scale=0.02),
        "k": normal(16, 1, 1),
    }
    nodes = [
        node("Conv", ["x", "w"], "c1", "conv1", strides=[2, 2], pads=[2, 2, 2, 2]),
        node("Relu", ["c1"], "r1", "relu1"),
        node("LRN", ["r1"], "n1", "norm1", size=5),
        node("Conv", ["n1", "v"], "c2", "conv2", group=2, pads=[1, 1, 1, 1]),
        node("Mul", ["c2", "k"], "m2", "scale2"),
        node("Conv", ["m2", "p"], "c3", "left"),
        node("Conv", ["m2", "q"], "c4", "right"),
        node("Concat", ["c3", "c4"], "cat", "cat", axis=1),
        node("Flatten", ["cat"], "flat", "flat"),
        node("Gemm", ["flat", "f"], "y", "fc"),
    ]
    return net(nodes, {"x": ("N", 3, size, size)}, weights)


@pytest.mark.parametrize(
    "names",
    [safe("tensorrt-rtx"), [name for name, item in ALL.items() if not item.changes_interface], list(ALL)],
    ids=["safe", "all", "all and uint8"],
)
def test_what_is_written_is_built(names):
    result, sites = apply_all(small(), names)
    stem = next(name for name in names if name.startswith("stem_space_to_depth"))  # the first takes it
    assert {"lrn_band", stem} <= {site.rewrite for site in sites}
    cast = to_float16(result, keep_io="uint8_nhwc_input" not in names)
    assert cast.kept_float32 == ()
    found = measure(cast.model, "int8", "8.6")
    proved = {item.name: item.dtype for item in found.proof.nodes}
    # The source's layers are what is proved; the band, a product that stands for LRN, is none of them.
    layers = {item.name for item in result.graph.node if item.op_type in ("Conv", "Gemm")}
    assert set(proved) == layers - {"norm1/lrn_band/sum"} != layers
    # The engine may merge the two 1×1 convolutions itself, and then names one of them only.
    assert {dtype for name, dtype in proved.items() if name not in ("left", "right")} == {"fp16"}


def test_a_pad_that_crops_is_built():
    weights = {"w": normal(8, 3, 2, 2)}
    conv = node("Conv", ["x", "w"], "y", "conv1", strides=[2, 2])
    result, _ = apply_all(net([conv], {"x": ("N", 3, 9, 9)}, weights), ["stem_space_to_depth"])
    assert [t.int64_data or t.raw_data for t in result.graph.initializer if t.data_type == TensorProto.INT64]
    assert measure(result, "int8", "8.6").proof.nodes[0].dtype == "fp32"
