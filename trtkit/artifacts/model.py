"""The ONNX model as a noun: a file on the disk, what goes in and out of it, and where it came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import json_ready

__all__ = ["Dim", "OnnxModel", "TensorSpec"]

Dim = int | str
"""One dimension: a fixed size, or the name of a dynamic one."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of a graph input or output.

    Attributes:
        name: the tensor's name in the ONNX graph.
        dtype: NumPy's name of the element type, such as ``float32``, ``float16``, ``uint8``, ``int64``.
        shape: one entry a dimension; a string names a dynamic dimension (``("N", 3, 224, 224)``).
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    @property
    def is_dynamic(self) -> bool:
        """Whether any dimension is named instead of fixed."""
        return any(isinstance(dim, str) for dim in self.shape)

    @property
    def text(self) -> str:
        """For people: ``input float32 N×3×224×224``."""
        return f"{self.name} {self.dtype} {'×'.join(map(str, self.shape)) or 'scalar'}"

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TensorSpec:
        """The inverse of ``dataclasses.asdict``."""
        return cls(value["name"], value["dtype"], tuple(value["shape"]))


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file that passed trtkit's checks.

    Attributes:
        name: the model's name, first part of every artifact's file name (``googlenet``).
        path: the file; external data, if any, lies beside it.
        sha256: of the file's bytes and, if there are any, of the external data files after them in order of name.
        precision: what the numbers inside are: ``fp32``, ``fp16``, ``int8``, ``fp8``.
        opset: version of the default operator set.
        inputs, outputs: graph inputs (without initializers) and outputs, in order.
        parents: SHA-256 of what it was made from (a source ONNX, a weights file), oldest first.
        transforms: the graph transformations that made it from its parent, in order, such as ``("float16",)``.
    """

    name: str
    path: Path
    sha256: str
    precision: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parents: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; the path is stored as its file name, since artifacts move together."""
        value: dict[str, Any] = json_ready({**asdict(self), "path": self.path.name})
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any], folder: Path) -> OnnxModel:
        """The inverse of :meth:`to_json`; ``folder`` is where the file lies now."""
        return cls(
            **{
                **value,
                "path": folder / value["path"],
                "inputs": tuple(TensorSpec.from_json(v) for v in value["inputs"]),
                "outputs": tuple(TensorSpec.from_json(v) for v in value["outputs"]),
                "parents": tuple(value["parents"]),
                "transforms": tuple(value["transforms"]),
            }
        )

    def moved_to(self, path: Path) -> OnnxModel:
        """The same model under another path."""
        return replace(self, path=path)
