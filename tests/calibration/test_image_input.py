"""Layout and size of image inputs, as their shapes say."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.image_input import laid_out, layout_of, size_of
from trtkit.artifacts.model import Dim, TensorSpec


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        (("N", 3, 224, 192), "NCHW", (224, 192)),
        ((1, 3, "H", "W"), "NCHW", None),
        (("N", 224, 192, 3), "NHWC", (224, 192)),
        ((8, "H", "W", 3), "NHWC", None),
        (("N", "C", 32, 48), "NCHW", (32, 48)),
        (("N", 32, 48, "C"), "NHWC", (32, 48)),
        (("N", 1, 28, 28), None, None),
        (("N", 3), None, None),
    ],
)
def test_the_shape_decides(shape: tuple[Dim, ...], layout: str | None, size: tuple[int, int] | None) -> None:
    spec = TensorSpec("x", "float32", shape)
    assert layout_of(spec) == layout
    assert layout_of(spec, "NHWC") == layout  # an open choice is another matter
    if layout is not None:
        assert size_of(spec, layout) == size


def test_where_the_shape_is_open_the_preprocessing_decides() -> None:
    spec = TensorSpec("x", "float32", ("N", "a", "b", "c"))
    assert (layout_of(spec), layout_of(spec, "NHWC")) == ("NCHW", "NHWC")


def test_values_are_turned_without_being_changed() -> None:
    values = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    assert laid_out(values, "NCHW") is values
    turned = laid_out(values, "NHWC")
    assert turned.shape == (2, 4, 3)
    assert turned.flags.c_contiguous
    assert turned[1, 2, 0] == values[0, 1, 2]
