"""Arguments of a wrong type in the Python API: each a usage error that names it and shows how it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import trtkit
from calibration.source import DataSpec
from trtkit.arguments import as_path, check_argument, check_fields

SOURCE = trtkit.SourceRequest("squeezenet1_1")


def asked(**changes: Any) -> trtkit.ConvertRequest:
    return trtkit.ConvertRequest(**{"source": SOURCE, **changes})


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        (
            lambda: trtkit.convert("googlenet"),  # type: ignore[arg-type]
            "convert: request is ConvertRequest, not str 'googlenet'.",
            "Write request=trtkit.ConvertRequest(trtkit.SourceRequest('googlenet')).",
        ),
        (
            lambda: asked(source="googlenet"),
            "ConvertRequest: source is SourceRequest, not str 'googlenet'.",
            "Write source=trtkit.SourceRequest('googlenet').",
        ),
        (lambda: asked(quantization=trtkit.Quantization(table=3)), "table is Path or None, not int 3.", "Give table"),  # type: ignore[arg-type]
        (lambda: asked(options={"timing_cache": 3}), "timing_cache is Path or None, not int 3.", "Give timing_cache"),
        (lambda: trtkit.SourceRequest(3), "SourceRequest: text is str, not int 3.", "Give text"),  # type: ignore[arg-type]
        (lambda: trtkit.validate_plan(3), "validate_plan: plan is Path, not int 3.", "Give plan"),  # type: ignore[arg-type]
        (lambda: trtkit.inspect(3), "inspect: plan is Path, not int 3.", "Give plan"),  # type: ignore[arg-type]
        (lambda: asked(output=b"x"), "output is Path, not bytes b'x'.", "Give output"),
        (lambda: asked(output=None), "output is Path, not NoneType None.", "Give output"),
        (lambda: asked(precision=16), "precision is str, not int 16.", "Give precision"),
        (lambda: asked(batch=8), "batch is str or None, not int 8.", "Give batch"),
        (
            lambda: asked(shapes="x=1x4"),
            "shapes is a tuple of str, not str 'x=1x4'.",
            "Write shapes=('x=1x4',), a tuple.",
        ),
        (lambda: asked(shapes=["x=1", "y=2"]), "a tuple of str, not list", "Write shapes=('x=1', 'y=2'), a tuple."),
        (lambda: asked(shapes=(1,)), "shapes is a tuple of str, not tuple (1,).", "Give shapes"),
        (lambda: asked(fp16_io="yes"), "fp16_io is bool, not str 'yes'.", "Give fp16_io"),
        (lambda: asked(force=1), "force is bool, not int 1.", "Give force"),
        (lambda: asked(tolerance="0.1"), "tolerance is float or None, not str '0.1'.", "Give tolerance"),
        (lambda: asked(tolerance=True), "tolerance is float or None, not bool True.", "Give tolerance"),
        (lambda: asked(quantization="t.json"), "quantization is Quantization or None, not str", "trtkit.Quantization("),
        (lambda: asked(quantization=trtkit.Quantization(data="photos")), "data is DataSpec or", "DataSpec('photos')"),  # type: ignore[arg-type]
        (lambda: asked(options=["refit"]), "options is a dict of str to object, not list ['refit'].", "Give options"),
        (lambda: asked(options={"fast": True}), "no build option 'fast'; allowed: compute_capability,", "Choose"),
        (lambda: asked(options={"tf32": True}), "no build option 'tf32'", "precision, batch and shapes"),
        (
            lambda: asked(options={"compute_capability": "8.9"}),
            "ConvertRequest.options: compute_capability is a tuple of str, not str '8.9'.",
            "Write compute_capability=('8.9',), a tuple.",
        ),
        (lambda: asked(options={"optimization_level": 9}), "0 (fast build) to 5 (fast engine), not 9.", "Choose"),
        (lambda: asked(options={"workspace_bytes": 0}), "The workspace is 0 bytes", "Leave it out"),
        (lambda: asked(options={"hardware_compatibility": "all"}), "ampere_plus or same", "Choose one of the two"),
        (lambda: trtkit.SourceRequest("x", None, "1"), "seed is int, not str '1'.", "Give seed"),  # type: ignore[arg-type]
        (lambda: trtkit.SourceRequest("x", None, -1), "The seed is -1", "from 0 up"),
        (lambda: trtkit.validate_plan(Path("x.plan"), seed=0.5), "seed is int, not float 0.5.", "Give seed"),  # type: ignore[arg-type]
        (lambda: trtkit.validate_plan(Path("x.plan"), agreement=1.5), "--agreement 1.5", "such as 0.95"),
        (lambda: trtkit.validate_plan(Path("x.plan"), tolerance=float("nan")), "--tolerance nan", "such as 0.02"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str, hint: str) -> None:
    with pytest.raises(trtkit.UsageError) as caught:
        call()
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_right_arguments_pass() -> None:
    request = asked(
        output=Path("plans"),
        batch="1:8:16",
        shapes=("x=1x4",),
        tolerance=1,
        options={"compute_capability": ("8.9",), "workspace_bytes": 1 << 30, "refit": True, "timing_cache": None},
    )
    assert request.tolerance == 1


class Own:
    """A path of another kind."""

    def __fspath__(self) -> str:
        return "own"


@pytest.mark.parametrize(("given", "meant"), [("plans", Path("plans")), (Own(), Path("own")), (Path("p"), Path("p"))])
def test_every_kind_of_path_is_a_path(given: Any, meant: Path, tmp_path: Path) -> None:
    request = asked(output=given, options={"timing_cache": given}, quantization=trtkit.Quantization(table=given))
    assert request.quantization is not None
    assert request.output == request.options["timing_cache"] == request.quantization.table == meant
    assert isinstance(request.output, Path)
    source = trtkit.SourceRequest(given, given)
    assert (source.text, source.weights) == (str(meant), meant)
    assert DataSpec(given, root=given).root == meant
    for read in (trtkit.inspect, trtkit.validate_plan):
        with pytest.raises(trtkit.PlanError, match=str(meant)):
            read(given)


def test_paths_by_name() -> None:
    assert as_path({"a": "x", "b": Path("y")}, dict[str, Path]) == {"a": Path("x"), "b": Path("y")}
    assert as_path({"a": "x"}, dict[str, str]) == {"a": "x"}
    assert as_path(None, Path | None) is None


@dataclass(frozen=True)
class Odd:
    kind: Literal["a", "b"]
    call: Callable[[], int] | None = None
    nested: dict[str, tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def test_literals_functions_and_nested_types() -> None:
    assert Odd("a", lambda: 1, {"x": (1, 2)}).kind == "a"
    for wrong in (("c",), ("a", 3), ("a", None, {"x": (1, "2")}), ("a", None, {1: ()})):
        with pytest.raises(trtkit.UsageError, match="Odd: "):
            Odd(*wrong)


def test_long_values_are_cut() -> None:
    with pytest.raises(trtkit.UsageError) as caught:
        check_argument("f", "x", "y" * 500, int)
    assert len(caught.value.message) < 120
