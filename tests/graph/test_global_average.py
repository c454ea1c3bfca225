"""AveragePool over the whole map becomes GlobalAveragePool, and no other one does."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tests.graph.models import model, value
from tests.graph.qdq_models import node, normal
from trtkit.graph.global_average import make_averages_global


def pooled(shape=("N", 4, 6, 5), **attributes):
    return model([node("AveragePool", ["x"], "y", **attributes)], [value("x", shape)], [value("y", (None,) * 4)])


def run(source, x):
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("extra", [{}, {"pads": [0] * 4, "strides": [3, 3]}, {"auto_pad": "VALID"}, {"ceil_mode": 1}])
def test_the_whole_map(extra):
    source = pooled(kernel_shape=[6, 5], **extra)
    x = normal(0, 2, 4, 6, 5)
    before = run(source, x)
    assert make_averages_global(source)
    assert [(n.op_type, n.name, len(n.attribute)) for n in source.graph.node] == [("GlobalAveragePool", "y", 0)]
    np.testing.assert_allclose(run(source, x), before, rtol=1e-5, atol=1e-6)
    assert not make_averages_global(source)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        (("N", 4, 6, 5), {"kernel_shape": [5, 5]}),
        (("N", 4, 6, 5), {"kernel_shape": [6, 5], "pads": [0, 0, 0, 1]}),
        (("N", 4, 6, 5), {"kernel_shape": [6, 5], "auto_pad": "SAME_UPPER"}),
        (("N", 4, "H", "W"), {"kernel_shape": [6, 5]}),
    ],
)
def test_anything_else_stays(shape, attributes):
    source = pooled(shape, **attributes)
    before = source.SerializeToString()
    assert not make_averages_global(source)
    assert source.SerializeToString() == before
