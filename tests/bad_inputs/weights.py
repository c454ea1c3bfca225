"""Weights files that do not fit the definition they are given to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import model_defs
from tests.bad_inputs.case import BadInput, Files, onnx_file, raw_file
from tests.graph.models import perceptron
from trtkit.errors import ModelError, TrtkitError, UsageError
from trtkit.graph.tree import every_tensor

__all__ = ["CASES"]

_NAME = "squeezenet1_1"


def _case(
    name: str, file: str, error: type[TrtkitError], message: str, hint: str = ".", files: Files = lambda folder: None
) -> BadInput:
    return BadInput(name, f"export {_NAME} --weights {file} --output out.onnx", error, message, hint, files)


def _edited(edit: object, file: str = "w.safetensors") -> Files:
    """The definition's own weights with one thing changed."""

    def write(folder: Path) -> None:
        from onnx import numpy_helper

        model = model_defs.get(_NAME).build()
        used = {name for node in model.graph.node if node.op_type in ("Conv", "Gemm") for name in node.input[1:]}
        arrays = {t.name: numpy_helper.to_array(t).copy() for t in every_tensor(model) if t.name in used}
        edit(arrays)  # type: ignore[operator]
        save_file(arrays, folder / file)

    return write


def _first(arrays: dict[str, np.ndarray]) -> str:
    return next(iter(arrays))


def _drop(arrays: dict[str, np.ndarray]) -> None:
    del arrays[_first(arrays)]


def _add(arrays: dict[str, np.ndarray]) -> None:
    arrays["surplus.weight"] = np.ones(3, np.float32)


def _transpose(arrays: dict[str, np.ndarray]) -> None:
    arrays[_first(arrays)] = np.ascontiguousarray(arrays[_first(arrays)].T)


def _poison(arrays: dict[str, np.ndarray]) -> None:
    arrays[_first(arrays)].flat[0] = np.nan


def _truncate(arrays: dict[str, np.ndarray]) -> None:
    return None


def _cut(folder: Path) -> None:
    _edited(_truncate)(folder)
    path = folder / "w.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


CASES = (
    _case("weights missing", "w.safetensors", UsageError, r"w\.safetensors", "."),
    _case("weights of unknown kind", "w.pth", UsageError, r"w\.pth", "safetensors", raw_file(b"PK\3\4", "w.pth")),
    _case("weights empty", "w.safetensors", TrtkitError, r"w\.safetensors", ".", raw_file(b"", "w.safetensors")),
    _case("weights garbage", "w.npz", TrtkitError, r"w\.npz", ".", raw_file(b"garbage" * 9, "w.npz")),
    _case("weights cut short", "w.safetensors", TrtkitError, r"w\.safetensors", ".", _cut),
    _case("weight lacking", "w.safetensors", ModelError, r"1 missing.*missing +\S+ ", "architecture", _edited(_drop)),
    _case("weight too many", "w.safetensors", ModelError, r"1 extra.*extra +surplus\.weight 3", ".", _edited(_add)),
    _case("weight misshapen", "w.safetensors", ModelError, r"1 misshapen.*must be ", ".", _edited(_transpose)),
    _case("weight not a number", "w.safetensors", ModelError, "NaN or infinity", "overflow", _edited(_poison)),
    _case(
        "weights of another net",
        "w.onnx",
        ModelError,
        r"does not hold the 52 weight",
        ".",
        onnx_file(perceptron, "w.onnx"),
    ),
)
