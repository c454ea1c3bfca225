from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtkit.artifacts.model import Dim, TensorSpec
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.errors import UsageError
from trtkit.graph.shapes import parse_range, resolve_profile


def spec(name: str, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


IMAGE = spec("input", "N", 3, 224, 224)
TEXT_LINES = spec("x", "N", 3, "H", "W")
FIXED = spec("k", 2, 5)


def test_the_default_batch() -> None:
    profile = resolve_profile([IMAGE], None, [])
    assert profile.text == "input 1x3x224x224:32x3x224x224:128x3x224x224"
    assert profile.batches == (1, 32, 128)


@pytest.mark.parametrize(("batch", "sizes"), [("2:4:8", (2, 4, 8)), ("16", (16, 16, 16)), (" 1 : 1 : 2", (1, 1, 2))])
def test_batch(batch: str, sizes: tuple[int, int, int]) -> None:
    profile = resolve_profile([IMAGE, FIXED], batch, [])
    assert profile.batches == sizes
    assert profile.ranges["k"] == ShapeRange((2, 5), (2, 5), (2, 5))
    assert list(profile.ranges) == ["input", "k"]


def test_a_model_without_dynamic_dimensions() -> None:
    profile = resolve_profile([FIXED, spec("scalar")], None, [])
    assert profile.batches is None
    assert profile.text == "k 2x5, scalar scalar"
    assert resolve_profile([FIXED], None, ["k=2x5"]).ranges == {"k": ShapeRange((2, 5), (2, 5), (2, 5))}


def test_shapes_as_in_the_manual() -> None:
    profile = resolve_profile([TEXT_LINES], None, ["x=1x3x48x32:6x3x48x320:16x3x48x1024"])
    assert profile.ranges["x"] == ShapeRange((1, 3, 48, 32), (6, 3, 48, 320), (16, 3, 48, 1024))
    assert profile.batches == (1, 6, 16)
    one = resolve_profile([TEXT_LINES], None, ["x=4X3×48x32"])
    assert one.ranges["x"].is_fixed and one.batches == (4, 4, 4)


@pytest.mark.parametrize("name", ["input:0", "a=b", "a=1x2:0", "with space", "=", "x=1x3:2"])
def test_names_may_hold_colons_and_equal_signs(name: str) -> None:
    profile = resolve_profile([spec(name, "N", 4)], None, [f"{name}=1x4:2x4:3x4"])
    assert profile.ranges[name].maximum == (3, 4)


def test_shapes_win_over_batch_for_their_input() -> None:
    profile = resolve_profile([IMAGE, spec("b", "M", 4)], "2:4:8", ["b=1x4:1x4:9x4"])
    assert profile.ranges["input"].maximum[0] == 8
    assert profile.ranges["b"].maximum[0] == 9


def test_a_shared_name_takes_the_range_given_for_the_other_input() -> None:
    inputs = [IMAGE, spec("mask", "N", "S"), spec("positions", "S")]
    profile = resolve_profile(inputs, None, ["mask=1x8:4x16:16x64"])
    assert profile.batches == (1, 4, 16)
    assert profile.ranges["positions"] == ShapeRange((8,), (16,), (64,))
    assert profile.ranges["input"].optimum == (4, 3, 224, 224)


MISTAKES: dict[str, tuple[list[TensorSpec], str | None, list[str], str, str]] = {
    "no form": ([IMAGE], None, ["1x3x224x224"], "is not of the form NAME=SHAPE", "--shapes 'input=1x3x224x224:32x"),
    "no name": ([IMAGE], None, ["=1x3"], "is not of the form", "--shapes"),
    "no shape": ([IMAGE], None, ["input="], "is not of the form", "--shapes"),
    "unknown input": (
        [IMAGE, FIXED],
        None,
        ["imput=1"],
        r"no input 'imput'.*'input' Nx3x224x224, 'k' 2x5",
        "mean 'input'",
    ),
    "nothing close": ([IMAGE], None, ["zzz=1"], "no input 'zzz'", "Write for example --shapes 'input="),
    "wrong rank": (
        [IMAGE],
        None,
        ["input=1x3x224"],
        r"1x3x224 has 3 dimensions.* has 4: Nx3x224x224",
        "--shapes 'input=",
    ),
    "fixed dim": ([IMAGE], None, ["input=1x4x224x224"], "dimension 1 .* fixed at 3 .* cannot be 4", "Write 3 there"),
    "two shapes": ([IMAGE], None, ["input=1x3x224x224:2x3x224x224"], "has 2 shapes; it takes MIN:OPT:MAX", "--shapes"),
    "min over opt": (
        [IMAGE],
        None,
        ["input=8x3x224x224:4x3x224x224:16x3x224x224"],
        "not in order: dimension 0 goes 8, 4, 16",
        "smallest",
    ),
    "zero": ([IMAGE], None, ["input=0x3x224x224"], "a size of 0 is not possible", "from 1"),
    "negative": ([IMAGE], None, ["input=-1x3x224x224"], "a size of -1 is not possible", "from 1"),
    "no number": ([IMAGE], None, ["input=Nx3x224x224"], "'N' is not a whole number", "1 or more"),
    "fraction": ([IMAGE], None, ["input=1.5x3x224x224"], r"'1\.5' is not a whole number", "whole numbers"),
    "empty dim": ([IMAGE], None, ["input=1xx224x224"], "'' is not a whole number", "whole numbers"),
    "too large": ([IMAGE], None, ["input=9999999999x3x224x224"], "9999999999 is not possible", "2147483647"),
    "far too large": ([IMAGE], None, [f"input={'9' * 5000}x3x224x224"], "is not a whole number", "whole"),
    "twice": ([IMAGE], None, ["input=1x3x224x224"] * 2, "names the input 'input' twice", "one --shapes"),
    "open dims": (
        [TEXT_LINES],
        None,
        [],
        r"'x' \(Nx3xHxW\) has dynamic dimensions without a range: H, W",
        "1x3xHxW:32x3xHxW",
    ),
    "open dims of two inputs": (
        [TEXT_LINES, spec("state", 2, "K", 128)],
        None,
        [],
        r"The inputs 'x' \(Nx3xHxW\), 'state' \(2xKx128\) have dynamic dimensions without a range: H, W, K",
        "--shapes 'state=2xKx128' with numbers for H, W, K",
    ),
    "open dims with batch": (
        [TEXT_LINES],
        "2:3:4",
        [],
        "without a range: H, W",
        "--shapes 'x=2x3xHxW:3x3xHxW:4x3xHxW'",
    ),
    "batch without axis": ([FIXED], "4", [], "no dynamic batch axis. Its inputs are: 'k' 2x5", "Leave --batch out"),
    "batch without effect": ([IMAGE], "4", ["input=1x3x224x224"], "has no effect", "Leave out"),
    "batch order": ([IMAGE], "8:4:16", [], "--batch 8:4:16 is not in order", "--batch 4:8:16"),
    "batch zero": ([IMAGE], "0:4:16", [], "a size of 0", "from 1"),
    "batch negative": ([IMAGE], "-4", [], "a size of -4", "from 1"),
    "batch two numbers": ([IMAGE], "1:4", [], "has 2 numbers; it takes MIN:OPT:MAX", "1:32:128"),
    "batch word": ([IMAGE], "max", [], "'max' is not a whole number", "1:32:128"),
    "batch empty": ([IMAGE], "", [], "'' is not a whole number", "1:32:128"),
    "two ranges of one name": (
        [spec("a", "N", 2), spec("b", "N", 2)],
        None,
        ["a=1x2:2x2:4x2", "b=1x2:2x2:8x2"],
        r"'N' has one size .* 1:2:4 from --shapes for 'a' \(dimension 0\), 1:2:8 from --shapes for 'b'",
        "the same MIN:OPT:MAX",
    ),
    "two ranges in one input": ([spec("a", "N", "N")], None, ["a=1x2"], "1:1:1 .* 2:2:2", "the same"),
    "batch against shapes": (
        [spec("a", "N", 2), spec("b", "N", 2)],
        "1:2:3",
        ["a=1x2:2x2:4x2"],
        r"1:2:4 from --shapes for 'a' .*1:2:3 from --batch",
        "the same",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_has_its_own_words(name: str) -> None:
    inputs, batch, shapes, message, hint = MISTAKES[name]
    with pytest.raises(UsageError, match=message) as caught:
        resolve_profile(inputs, batch, shapes)
    assert hint in caught.value.hint
    assert len(caught.value.message) < 1000


@given(st.text("0123456789:-x =ax", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for batch, shapes in ((text, []), (None, [text]), (None, [f"x={text}"])):
        try:
            profile = resolve_profile([spec("x", "N", 4)], batch, shapes)
        except UsageError as error:
            assert error.hint
        else:
            assert isinstance(profile, OptimizationProfile)
            assert profile.ranges["x"].minimum[0] >= 1


@given(st.lists(st.integers(1, 2**31 - 1), min_size=3, max_size=3).map(sorted))
def test_what_is_written_is_read_back(sizes: list[int]) -> None:
    assert parse_range(":".join(map(str, sizes)), "--batch") == tuple(sizes)
    profile = resolve_profile([spec("x", "N", 4)], ":".join(map(str, sizes)), [])
    assert resolve_profile([spec("x", "N", 4)], None, [f"x={profile.ranges['x'].text}"]) == profile
