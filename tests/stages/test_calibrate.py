"""What calibration advises for a model that quantization ruins."""

from __future__ import annotations

import pytest

from tests.graph.qdq_models import node, normal, one_product
from trtkit.graph.placement import place
from trtkit.graph.recipe import Recipe
from trtkit.stages.calibrate import keep_float


@pytest.mark.parametrize(
    ("group", "channels", "advice"),
    [
        (32, 32, "keep depthwise convolutions (1) float"),
        (32, 64, "keep depthwise convolutions (1) float"),  # two outputs an input
        (8, 32, "keep nodes float with --exclude"),
        (1, 32, "keep nodes float with --exclude"),
        (1, 1, "keep nodes float with --exclude"),  # as of a model of grey images
    ],
    ids=["depthwise", "depthwise-twice", "grouped", "plain", "one-channel"],
)
def test_depthwise_convolutions_are_named_first(group: int, channels: int, advice: str) -> None:
    product = node("Conv", ["x", "w"], "y", group=group)
    read = min(channels, 32)
    model = one_product(product, normal(0, channels, read // group, 3, 3), ("N", read, 9, 9))
    assert advice in keep_float(model, place(model, Recipe(), "int8"))


def test_what_is_float_already_is_not_advised() -> None:
    deep = node("Conv", ["x", "w"], "y", group=32)
    model = one_product(deep, normal(0, 32, 1, 3, 3), ("N", 32, 9, 9))
    model.graph.node.extend([node("Conv", ["y", "v"], "z")])
    model.graph.initializer.extend(
        one_product(node("Conv", ["y", "w"], "z"), normal(1, 16, 32, 1, 1), ("N", 32, 7, 7)).graph.initializer
    )
    model.graph.initializer[-1].name = "v"
    model.graph.output[0].name = "z"
    placement = place(model, Recipe(smallest_channels=2), "int8")
    assert [d.rule for d in placement.decisions] == ["F6-small", "Q1-weighted"]
    assert keep_float(model, placement) == "keep nodes float with --exclude"
