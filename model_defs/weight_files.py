"""Opening .safetensors, .npz and .onnx files as a list of named tensors, each read only when it is asked for."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtkit.errors import ModelError, UsageError

__all__ = ["EXTENSIONS", "FLOAT_TYPES", "StoredTensor", "WeightFile", "open_weight_file"]

EXTENSIONS = (".safetensors", ".npz", ".onnx")

FLOAT_TYPES = ("float16", "float32", "float64")
"""Element types that weights may have; the others NumPy cannot turn into float32 without a rule of its own."""

_SAFETENSORS_TYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class StoredTensor:
    """Shape and element type (NumPy's name, or the format's own where NumPy has none) of a tensor in a file."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class WeightFile:
    """An open file of weights.

    Attributes:
        tensors: every tensor by name, in the file's order.
        read: the values of a tensor of one of :data:`FLOAT_TYPES`.
        nodes: the graph's nodes if the file is an ONNX model, else empty.
    """

    tensors: Mapping[str, StoredTensor]
    read: Callable[[str], np.ndarray]
    nodes: tuple[Any, ...] = ()


@contextlib.contextmanager
def open_weight_file(path: Path) -> Iterator[WeightFile]:
    """Open ``path`` by its extension.

    Raises:
        UsageError: the extension is not one of :data:`EXTENSIONS`, or the file is missing or may not be read.
        ModelError: the contents are not what the extension says.
    """
    openers = {".safetensors": _safetensors, ".npz": _npz, ".onnx": _onnx}
    opener = openers.get(path.suffix.lower())
    if opener is None:
        hint = "Save the state dict with safetensors.torch.save_file, or the arrays with numpy.savez."
        raise UsageError(
            f"{path}: weights are read from {', '.join(EXTENSIONS)} files, not from {path.suffix or 'this'}.", hint=hint
        )
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise UsageError(
            f"The weights file {path} cannot be read: {error.strerror or error}.",
            hint="Give the path of a readable file.",
        ) from error
    with opener(path) as file:
        yield file


@contextlib.contextmanager
def _safetensors(path: Path) -> Iterator[WeightFile]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise _broken(path, "safetensors", error) from error
    with file:
        tensors = {}
        for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
            entry = file.get_slice(key)
            dtype = entry.get_dtype()
            tensors[key] = StoredTensor(tuple(entry.get_shape()), _SAFETENSORS_TYPES.get(dtype, dtype))
        yield WeightFile(tensors, file.get_tensor)


@contextlib.contextmanager
def _npz(path: Path) -> Iterator[WeightFile]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array, not an archive of named arrays")
        with zipfile.ZipFile(path) as members:
            tensors = {name: _npy_header(members, name) for name in archive.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise _broken(path, "npz", error) from error

    def read(name: str) -> np.ndarray:
        try:
            values: np.ndarray = archive[name]
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise _broken(path, "npz", error) from error
        return values

    with archive:
        yield WeightFile(tensors, read)


def _npy_header(members: zipfile.ZipFile, name: str) -> StoredTensor:
    with members.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(member)
    return StoredTensor(tuple(shape), dtype.name)


@contextlib.contextmanager
def _onnx(path: Path) -> Iterator[WeightFile]:
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's DecodeError, a missing data file, a path that leaves the folder, …
        raise _broken(path, "ONNX", error) from error
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    turned = _gemm_weights_by_input(path, graph)
    tensors = {}
    for name, tensor in stored.items():
        shape = tuple(tensor.dims)
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        tensors[name] = StoredTensor(shape[::-1] if name in turned else shape, dtype)

    def read(name: str) -> np.ndarray:
        values: np.ndarray = numpy_helper.to_array(stored[name])
        return values.T if name in turned else values

    yield WeightFile(tensors, read, tuple(graph.node))


def _gemm_weights_by_input(path: Path, graph: Any) -> set[str]:
    """Weights stored as (inputs, features), that is of a Gemm without transB; read the other way round."""
    turned = set()
    for node in graph.node:
        if node.op_type == "Gemm":
            attributes = {attribute.name: attribute for attribute in node.attribute}
            if any(attributes[name].f != 1.0 for name in ("alpha", "beta") if name in attributes):
                raise ModelError(
                    f"{path}: the Gemm node {node.name!r} scales its weights by alpha or beta.",
                    hint="Fold the factors into the weights first.",
                )
            if "transB" not in attributes or not attributes["transB"].i:
                turned.add(node.input[1])
    return turned


def _broken(path: Path, kind: str, error: Exception) -> ModelError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(f"{path} is not a readable {kind} file: {first}.", hint="Copy or export the file again.")
