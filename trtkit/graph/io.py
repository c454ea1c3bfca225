"""ONNX files in and out: loading with a verdict on the file, saving atomically, hashing, inputs and outputs."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import helper

from trtkit.artifacts.files import atomic_path, sha256_bytes, sha256_file
from trtkit.artifacts.filetype import recognize
from trtkit.artifacts.model import Dim, OnnxModel, TensorSpec
from trtkit.errors import ModelError
from trtkit.graph.external import data_files, read_external, write_external
from trtkit.graph.tree import every_tensor, listed, size_in_bytes, weightless

__all__ = ["load", "save", "sha256_of", "specs"]

PROTOBUF_LIMIT = 2**31 - 1
"""Most bytes that one protobuf message may take, and so an ONNX file without external data."""

_HEADROOM = 64 * 2**20
"""Room left for nodes and names when the size is estimated from the weights alone."""


def load(path: Path) -> onnx.ModelProto:
    """Read the ONNX file at ``path``, external data included. The graph inside is not judged (``trtkit.graph.check``
    does).

    Raises:
        ModelError: no such file, a folder, not readable, empty, cut short, of another format (which is named), or its
            external data is missing, too short or outside the folder.
    """
    model = _parse(path)
    read_external(model, path)
    return model


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes and, if there are any, of its external data files after them in order of name.

    Raises:
        ModelError: as for :func:`load`.
    """
    files = data_files(_parse(path), path)
    if not files:
        return sha256_file(path)
    digest = hashlib.sha256()
    for part in (path, *files):
        with part.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _parse(path: Path) -> onnx.ModelProto:
    """The protobuf at ``path`` without its external data."""
    if path.is_dir():
        found = sorted(item.name for item in path.glob("*.onnx"))
        raise ModelError(
            f"{path} is a folder, not an ONNX file.",
            hint=f"Give one of the ONNX files in it: {listed(found)}." if found else "Give the path of an .onnx file.",
        )
    if not path.exists():
        folder = path.parent
        names = sorted(item.name for item in folder.glob("*.onnx")) if folder.is_dir() else []
        close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
        raise ModelError(
            f"{path} does not exist." if folder.is_dir() else f"{path} does not exist: there is no folder {folder}.",
            hint=f"Did you mean {folder / close[0]}?" if close else "Check the path of the .onnx file.",
        )
    try:
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"{path} is empty (0 bytes).", hint="Export or download the model again.")
        if (other := recognize(path)) is not None:
            raise ModelError(f"{path} is {other.what}, not an ONNX file.", hint=other.hint)
        if size > PROTOBUF_LIMIT:
            raise ModelError(
                f"{path} has {size:,} bytes; an ONNX file without external data ends at {PROTOBUF_LIMIT:,} bytes.",
                hint="Export the model again with its weights as external data.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the file's permissions."
        ) from error
    missing = _missing_bytes(data)
    if missing:
        raise ModelError(
            f"{path} is cut short: it has {size:,} bytes, and at least {missing:,} more should follow.",
            hint="Download, copy or export it again, all of it.",
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX file, or it is damaged: its bytes do not parse as an ONNX model.",
            hint="Check that this is the right file, and export or download it again.",
        ) from error
    if not model.HasField("graph"):
        raise ModelError(
            f"{path} holds no ONNX graph: it is a protobuf file of another kind, or an empty model.",
            hint="Give an ONNX model. A TensorFlow SavedModel is converted with tf2onnx first.",
        )
    return model


def _missing_bytes(data: bytes) -> int:
    """How many bytes a truncated ONNX file lacks at least; 0 where it is complete, or does not begin as ONNX does.

    Walks the top-level fields of the ModelProto alone: nearly all bytes are in its field 7, the graph, whose length
    is written ahead of it.
    """
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        field, wire = tag >> 3, tag & 7
        if (field, wire) not in _MODEL_FIELDS:
            return 0
        value, position = _varint(data, position)
        if wire == 2:
            position += value
    return position - len(data)


# Field numbers and wire types (0 varint, 2 length-delimited) of ModelProto, from onnx.proto.
_MODEL_FIELDS = {(1, 0), (2, 2), (3, 2), (4, 2), (5, 0), (6, 2), (7, 2), (8, 2), (14, 2), (20, 2), (25, 2), (26, 2)}


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The varint at ``position`` and the position after it; one that runs over the end counts as lacking one byte."""
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, position
        shift += 7
    return value, position + 1


def save(
    model: onnx.ModelProto,
    path: Path,
    *,
    name: str,
    precision: str,
    parents: tuple[str, ...] = (),
    transforms: tuple[str, ...] = (),
) -> OnnxModel:
    """Write ``model`` to ``path`` atomically, the same bytes for the same model, and return the noun for it.

    The weights stay inside the file unless protobuf's limit of 2 GiB forbids it; then they go to ``path`` +
    ``.data``.

    Args:
        model: the model, its weights inside.
        path: the file to write; an existing one is replaced.
        name, precision, parents, transforms: as in :class:`OnnxModel`.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    data = None if _weights_size(model) > PROTOBUF_LIMIT - _HEADROOM else _serialized(model)
    if data is not None:
        with atomic_path(path) as scratch, scratch.open("wb") as stream:
            stream.write(data)
        sha256 = sha256_bytes(data)
        del data
    else:
        weights = path.with_name(path.name + ".data")
        shell, _ = weightless(model)
        del shell.graph.initializer[:], shell.graph.input[:]
        shell.graph.input.extend(model.graph.input)
        # The data first: a reader that sees the new model file finds its weights.
        with atomic_path(weights) as scratch:
            write_external(model, shell, scratch, weights.name)
        with atomic_path(path) as scratch:
            scratch.write_bytes(shell.SerializeToString(deterministic=True))
        sha256 = sha256_of(path)
    inputs, outputs = specs(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    return OnnxModel(name, path, sha256, precision, opset, inputs, outputs, tuple(parents), tuple(transforms))


def _weights_size(model: onnx.ModelProto) -> int:
    return sum(size_in_bytes(tensor) or 0 for tensor in every_tensor(model))


def _serialized(model: onnx.ModelProto) -> bytes | None:
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError):
        return None
    return data


def specs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The graph's inputs (without those that are initializers) and outputs, in order.

    An unnamed dynamic dimension reads ``?``; after ``trtkit.graph.prepare`` there is none.

    Raises:
        ModelError: an input or output is no tensor, or has no element type or no rank.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    initializers.update(sparse.values.name for sparse in model.graph.sparse_initializer)
    inputs = tuple(_spec(value, "input") for value in model.graph.input if value.name not in initializers)
    return inputs, tuple(_spec(value, "output") for value in model.graph.output)


def _spec(value: onnx.ValueInfoProto, role: str) -> TensorSpec:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not tensor.elem_type or not tensor.HasField("shape"):
        raise ModelError(
            f"The {role} {value.name!r} has no known element type and rank.",
            hint="Export the model with typed inputs and outputs, or run trtkit.graph.prepare on it first.",
        )
    shape: tuple[Dim, ...] = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value != -1 else dim.dim_param or "?"
        for dim in tensor.shape.dim
    )
    return TensorSpec(value.name, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)
