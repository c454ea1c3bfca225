"""LRN as a band: the function, its window, its conditions, and its range in float16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.models import model, value
from tests.graph.rewrites.oracle import applied, net, node, ops, relative_l2, run
from trtkit.graph.float16 import to_float16
from trtkit.graph.rewrites import ALL, made_by
from trtkit.graph.rewrites.lrn_band import band

BAND = ALL["lrn_band"]


def plain_lrn(x, size, alpha, beta, bias):
    """The definition, channel by channel, in float64."""
    x = x.astype(np.float64)
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        low, high = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + size // 2)
        y[:, c] = x[:, c] / (bias + alpha / size * np.square(x[:, low : high + 1]).sum(axis=1)) ** beta
    return y


def lrn_net(shape, **attributes):
    return net([node("LRN", ["x"], "y", "norm", **attributes)], {"x": shape})


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 20),
    size=st.sampled_from([1, 3, 5, 9]),  # ONNX Runtime takes no even ones; see below
    sides=st.lists(st.integers(1, 5), min_size=2, max_size=2),
    alpha=st.sampled_from([1e-6, 1e-4, 0.3]),
    beta=st.sampled_from([0.5, 0.75, 1.0, 0.6]),
    bias=st.sampled_from([1.0, 2.0, 0.25]),
)
def test_every_window_and_power(channels, size, sides, alpha, beta, bias):
    source = lrn_net(("N", channels, *sides), size=size, alpha=alpha, beta=beta, bias=bias)
    result = applied(BAND, source, scale=10, limit=1e-4)  # ONNX Runtime rolls its sum, which costs it digits
    assert len(result.sites) == 1 and "LRN" not in ops(result.model)
    x = np.random.default_rng(0).standard_normal((2, channels, *sides)).astype(np.float32) * 10
    assert relative_l2(plain_lrn(x, size, alpha, beta, bias), run(result.model, {"x": x})[0]) < 1e-6


@pytest.mark.parametrize(("sides", "size"), [((7,), 3), ((3, 4, 2), 3), ((2, 2), 4)])
def test_signals_volumes_and_even_windows(sides, size):
    # ONNX Runtime's LRN takes images and odd windows only, so the oracle here is the definition.
    source = lrn_net(("N", 6, *sides), size=size, alpha=0.2)
    result = BAND.apply(source)
    x = np.random.default_rng(0).standard_normal((2, 6, *sides)).astype(np.float32)
    assert relative_l2(plain_lrn(x, size, 0.2, 0.75, 1.0), run(result.model, {"x": x})[0]) < 1e-6


def test_names_survive_and_auxiliary_nodes_are_marked():
    result = applied(BAND, lrn_net(("N", 8, 2, 2), size=5))
    (site,) = result.sites
    assert (site.rewrite, site.nodes, site.anchor) == ("lrn_band", ("norm",), "norm")
    assert all(name.startswith("norm/lrn_band/") for name in site.made)
    assert {made_by(item) for item in result.model.graph.node} == {"lrn_band"}
    bare = onnx.NodeProto(name="norm/lrn_band/sum")
    assert made_by(bare) == "lrn_band" and made_by(onnx.NodeProto(name="norm")) is None


@pytest.mark.parametrize(
    "source",
    [
        lrn_net(("N", "C", 2, 2), size=3),
        lrn_net(("N", 4, 2, 2), size=3, bias=0.0),
        lrn_net(("N", 4, 2, 2), size=3, alpha=-0.1),
    ],
    ids=["channels unknown", "no bias", "negative alpha"],
)
def test_what_it_leaves_alone(source):
    assert not BAND.apply(source).modified


def test_the_region_is_known_again_by_shape_not_by_name():
    def site(name, batch, **attributes):
        source = net([node("LRN", ["x"], "y", name, **attributes)], {"x": (batch, 8, 4, 4)})
        return BAND.find(source)[0].region_hash

    assert site("a", "N", size=5) == site("b", "batch", size=5) != site("a", "N", size=3)
    assert site("a", "N", size=5) != site("a", 4, size=5)


def half(x, source):
    """Rewritten, cast to float16, and computed step by step in float16 by ONNX's own reference."""
    result = to_float16(BAND.apply(source).model, keep_io=False)
    assert not result.kept_float32
    onnx.checker.check_model(result.model, full_check=True)
    assert not to_float16(result.model, keep_io=False).modified
    with np.errstate(over="raise"):
        return ReferenceEvaluator(result.model).run(None, {"x": x})[0]


@pytest.mark.parametrize("beta", [0.5, 0.75])
@pytest.mark.parametrize("largest", [1e-3, 1.0, 255.0, 1000.0, 60000.0])
def test_float16_holds_every_activation(beta, largest):
    x = np.random.default_rng(1).uniform(-largest, largest, (2, 12, 3, 3)).astype(np.float16)
    x[0, :, 0, 0] = largest  # a whole window at the end of the range
    got = half(x, lrn_net(("N", 12, 3, 3), size=5, beta=beta))
    assert np.isfinite(got).all()
    assert relative_l2(plain_lrn(x, 5, 1e-4, beta, 1.0), got) < 2e-3


def test_a_float16_model_gets_scaled_squares_right_away():
    graph = helper.make_graph(
        [node("LRN", ["x"], "y", "norm", size=5)],
        "half",
        [value("x", ("N", 8, 2, 2), TensorProto.FLOAT16)],
        [value("y", ("N", 8, 2, 2), TensorProto.FLOAT16)],
    )
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = BAND.apply(source)
    onnx.checker.check_model(result.model, full_check=True)
    x = np.full((1, 8, 2, 2), 60000, np.float16)
    got = ReferenceEvaluator(result.model).run(None, {"x": x})[0]
    assert relative_l2(plain_lrn(x, 5, 1e-4, 0.75, 1.0), got) < 2e-3


@pytest.mark.parametrize(
    "given",
    [{"alpha": 1.0}, {"beta": 0.6}, {"beta": 1.0}],
    ids=["alpha too large", "no exact factor", "denominator too large"],
)
def test_a_band_that_float16_cannot_hold_stays_float32_as_a_whole(given):
    result = to_float16(BAND.apply(lrn_net(("N", 8, 2, 2), size=5, **given)).model)
    assert {"Mul", "Conv"} <= {kept.op_type for kept in result.kept_float32}
    x = np.full((1, 8, 2, 2), 3000, np.float32)
    attributes = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0} | given
    assert relative_l2(plain_lrn(x, **attributes), run(result.model, {"x": x})[0]) < 2e-3


def test_the_cast_scales_only_a_band_of_its_own():
    """Where something else reads the squares, nothing may be scaled, and the squares stay float32."""
    rewritten = BAND.apply(lrn_net(("N", 8, 2, 2), size=5)).model
    square = next(item for item in rewritten.graph.node if item.name.endswith("square"))
    rewritten.graph.output.append(value(square.output[0], ("N", 8, 2, 2)))
    result = to_float16(rewritten)
    assert {kept.op_type for kept in result.kept_float32} >= {"Mul", "Conv"}


def test_weights_of_older_files_are_inputs_too():
    old = model(
        [node("LRN", ["x"], "y", "norm", size=3)],
        [value("x", ("N", 4, 2, 2))],
        [value("y", ("N", 4, 2, 2))],
        opset=7,
        ir=3,
    )
    rewritten = applied(BAND, old).model
    listed = {item.name for item in rewritten.graph.input}
    assert {item.name for item in rewritten.graph.initializer} <= listed
    cast = to_float16(rewritten).model
    onnx.checker.check_model(cast, full_check=True)
    assert {item.name for item in cast.graph.initializer} <= {item.name for item in cast.graph.input}


def test_the_band_is_onnx_s_window():
    assert band(4, 2, 2.0).tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
