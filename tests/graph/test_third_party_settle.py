"""Patterns of exported third-party models whose ranks depend on sizes; ONNX Runtime is the oracle of equality."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tests.graph.models import model, tensor, value
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.errors import ModelError
from trtkit.graph.check import check
from trtkit.graph.settle import settle

Pattern = Sequence[int | str | None]


def profile(**shapes: Sequence[int] | tuple[Sequence[int], Sequence[int]]) -> OptimizationProfile:
    """``x=(1, 4)`` pins x; ``x=((1, 4), (8, 4))`` gives it a range."""
    ranges = {}
    for name, shape in shapes.items():
        low, high = shape if shape and not isinstance(shape[0], int) else (shape, shape)
        ranges[name] = ShapeRange(tuple(low), tuple(high), tuple(high))  # type: ignore[arg-type]
    return OptimizationProfile(ranges)


def run(wanted: onnx.ModelProto, **feeds: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(wanted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]  # type: ignore[no-any-return]


def squeeze_or_not(data: str, output: str, own: str = "own", name: str = "branch") -> list[onnx.NodeProto]:
    """PyTorch's ``squeeze(-1)`` of an unknown size: an If that asks whether it is 1. ``own`` is a name inside."""
    axis = tensor("", np.array([-1]))
    then = helper.make_graph(
        [
            helper.make_node("Constant", [], [own], name=f"{name}/axes", value=axis),
            helper.make_node("Squeeze", [data, own], [f"{output}/squeezed"], name=f"{name}/squeeze"),
        ],
        "then",
        [],
        [value(f"{output}/squeezed", None)],
    )
    otherwise = helper.make_graph(
        [helper.make_node("Identity", [data], [f"{output}/same"], name=f"{name}/same")],
        "else",
        [],
        [value(f"{output}/same", None)],
    )
    return [
        helper.make_node("Shape", [data], [f"{output}/shape"], name=f"{name}/shape"),
        helper.make_node("Gather", [f"{output}/shape", "last"], [f"{output}/size"], name=f"{name}/size", axis=0),
        helper.make_node("Equal", [f"{output}/size", "one"], [f"{output}/is_one"], name=f"{name}/is_one"),
        helper.make_node("If", [f"{output}/is_one"], [output], name=name, then_branch=then, else_branch=otherwise),
    ]


LAST, ONE = tensor("last", np.array([-1])), tensor("one", np.array([1]))


def branching(**options: int) -> onnx.ModelProto:
    return model(
        [helper.make_node("Relu", ["x"], ["r"], name="relu"), *squeeze_or_not("r", "y")],
        [value("x", ("N", "T"))],
        [value("y", None)],
        [LAST, ONE],
        **options,
    )


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (5, 2)])
def test_a_branch_on_a_pinned_size_is_inlined(size: int, rank: int) -> None:
    ours = branching()
    theirs = copy.deepcopy(ours)
    pinned = profile(x=((1, size), (8, size)))
    assert settle(ours, pinned, "m")
    assert all(node.op_type != "If" for node in ours.graph.node)
    assert [d.dim_param or d.dim_value for d in ours.graph.input[0].type.tensor_type.shape.dim] == ["N", size]
    assert len(ours.graph.output[0].type.tensor_type.shape.dim) == rank
    check(ours, "m")
    x = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32)
    np.testing.assert_array_equal(run(ours, x=x), run(theirs, x=x))
    settled = ours.SerializeToString()
    assert not settle(ours, pinned, "m")
    assert ours.SerializeToString() == settled


def test_a_branch_on_an_open_size_is_refused_by_name() -> None:
    with pytest.raises(
        ModelError, match="If 'branch' gives 'y' 1 dimensions in one branch and 2 in the other"
    ) as caught:
        settle(branching(), profile(x=((1, 1), (8, 5))), "m.onnx")
    assert "pin that size" in caught.value.hint


def test_two_branches_that_use_one_name_do_not_meet() -> None:
    nodes = [*squeeze_or_not("x", "a", name="first"), *squeeze_or_not("x", "b", name="second")]
    nodes.append(helper.make_node("Add", ["a", "b"], ["y"], name="add"))
    ours = model(nodes, [value("x", ("N", "T"))], [value("y", None)], [LAST, ONE])
    theirs = copy.deepcopy(ours)
    assert settle(ours, profile(x=((1, 1), (8, 1))), "m")
    made = [name for node in ours.graph.node for name in node.output]
    assert len(set(made)) == len(made)
    check(ours, "m")
    x = np.arange(4, dtype=np.float32).reshape(4, 1)
    np.testing.assert_array_equal(run(ours, x=x), run(theirs, x=x))


def test_a_branch_in_a_branch_follows() -> None:
    inner = helper.make_graph(squeeze_or_not("x", "z", name="inner"), "then", [], [value("z", None)])
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["n"], name="neg")], "else", [], [value("n", None)]
    )  # rank 2
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], name="s"),
        helper.make_node("Size", ["s"], ["rank"], name="rank"),
        helper.make_node("Equal", ["rank", "two"], ["is_two"], name="is_two"),
        helper.make_node("If", ["is_two"], ["y"], name="outer", then_branch=inner, else_branch=other),
    ]
    initializers = [LAST, ONE, tensor("two", np.array(2))]
    ours = model(nodes, [value("x", ("N", "T"))], [value("y", None)], initializers)
    theirs = copy.deepcopy(ours)
    assert settle(ours, profile(x=((1, 1), (8, 1))), "m")
    assert all(node.op_type != "If" for node in ours.graph.node)
    x = np.arange(4, dtype=np.float32).reshape(4, 1)
    np.testing.assert_array_equal(run(ours, x=x), run(theirs, x=x))


def test_pads_that_are_computed_settle_the_size_behind_them() -> None:
    """PyTorch pads by amounts that pass Reshape, a reversing Slice, Transpose: too much for shape inference alone."""
    nodes = [
        helper.make_node("Concat", ["amounts", "nothing"], ["c"], name="c", axis=0),
        helper.make_node("Reshape", ["c", "pairs"], ["p"], name="p"),
        helper.make_node("Slice", ["p", "from", "to", "zero", "back"], ["q"], name="q"),
        helper.make_node("Transpose", ["q"], ["t"], name="t", perm=[1, 0]),
        helper.make_node("Reshape", ["t", "flat"], ["pads"], name="pads"),
        helper.make_node("Pad", ["x", "pads"], ["padded"], name="pad"),
        helper.make_node("Conv", ["padded", "w"], ["f"], name="conv"),
        *squeeze_or_not("f", "y"),
    ]
    numbers = {"amounts": [0, 2], "nothing": [0, 0, 0, 0], "pairs": [-1, 2], "from": [-1], "to": [-99], "zero": [0]}
    initializers = [tensor(name, np.array(numbers[name])) for name in numbers]
    initializers += [tensor("back", np.array([-1])), tensor("flat", np.array([-1])), LAST, ONE]
    initializers.append(tensor("w", np.ones((2, 1, 6), np.float32)))
    ours = model(nodes, [value("x", ("N", 1, "T"))], [value("y", None)], initializers)
    theirs = copy.deepcopy(ours)
    assert settle(ours, profile(x=((1, 1, 4), (8, 1, 4))), "m")
    assert all(node.op_type != "If" for node in ours.graph.node)
    x = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    np.testing.assert_array_equal(run(ours, x=x), run(theirs, x=x))
    assert run(ours, x=x).shape == (2, 2)


def test_a_branch_on_data_stays() -> None:
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x"], [op], name=op)], name, [], [value(op)])
        for name, op in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    ours = model(
        [helper.make_node("If", ["flag"], ["y"], name="choose", **branches)],
        [value("x"), value("flag", (), TensorProto.BOOL)],
    )
    before = ours.SerializeToString()
    assert not settle(ours, profile(x=((1, 4), (8, 4)), flag=()), "m")
    assert ours.SerializeToString() == before


def squeeze(opset: int, shape: Pattern, declared: Pattern | None = None) -> onnx.ModelProto:
    return model(
        [helper.make_node("Squeeze", ["x"], ["y"], name="sq")], [value("x", shape)], [value("y", declared)], opset=opset
    )


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    ("shape", "low", "high", "batch", "expected"),
    [
        (("N", 1, 4), (1, 1, 4), (1, 1, 4), 1, (4,)),
        (("N", 1, 4), (2, 1, 4), (8, 1, 4), 3, (3, 4)),
        (("N", 3, 4), (2, 3, 4), (8, 3, 4), 3, (3, 3, 4)),
    ],
    ids=["pinned to 1", "never 1", "nothing to remove"],
)
def test_squeeze_gets_its_axes(
    opset: int, shape: Pattern, low: Sequence[int], high: Sequence[int], batch: int, expected: tuple[int, ...]
) -> None:
    ours = squeeze(opset, shape)
    theirs = copy.deepcopy(ours)
    assert settle(ours, profile(x=(low, high)), "m")
    check(ours, "m")
    x = np.random.default_rng(0).standard_normal((batch, *low[1:])).astype(np.float32)
    got = run(ours, x=x)
    assert got.shape == expected
    np.testing.assert_array_equal(got, run(theirs, x=x))
    assert not settle(ours, profile(x=(low, high)), "m")


def test_squeeze_of_a_size_that_may_be_one_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="m: Squeeze 'sq' has no axes, and its input is N×1×4") as caught:
        settle(squeeze(17, ("N", 1, 4)), profile(x=((1, 1, 4), (8, 1, 4))), "m")
    assert "--batch 1" in caught.value.hint


def test_a_model_without_such_nodes_is_not_touched() -> None:
    ours = model([helper.make_node("Squeeze", ["x", "axes"], ["y"])], [value("x", ("N", 1))], [value("y", ("N",))])
    ours.graph.initializer.append(tensor("axes", np.array([1])))
    before = ours.SerializeToString()
    assert not settle(ours, profile(x=((1, 1), (8, 1))), "m")
    assert ours.SerializeToString() == before
