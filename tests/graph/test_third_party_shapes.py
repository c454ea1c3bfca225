"""Names of dimensions as third-party exporters write them, in the messages about --shapes."""

from __future__ import annotations

import pytest

from trtkit.artifacts.model import TensorSpec
from trtkit.errors import UsageError
from trtkit.graph.shapes import resolve_profile


@pytest.mark.parametrize(
    ("dims", "shown", "example"),
    [
        (("N", 3, "H", "W"), "Nx3xHxW", "x=1x3xHxW:32x3xHxW:128x3xHxW"),
        (("p2o_0", 3, "p2o_DynamicDimension_1"), "p2o_0x3x?", "x=1x3x?:32x3x?:128x3x?"),
        (("N", 3, "pixels"), "Nx3x?", "x=1x3x?:32x3x?:128x3x?"),
    ],
    ids=["short names", "Paddle's", "with an x inside"],
)
def test_an_example_can_be_read_whatever_the_names_are(dims: tuple[int | str, ...], shown: str, example: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_profile([TensorSpec("x", "float32", dims)], None, [])
    assert f"The input 'x' ({shown}) has dynamic dimensions" in caught.value.message
    assert f"--shapes '{example}' with numbers for" in caught.value.hint
    assert str(dims[-1]) in caught.value.hint
