"""Tensors whose bytes lie in other files beside the ONNX file ("external data"): found, read, and written.

We read them ourselves instead of through onnx's helper, because each way in which they can be wrong (missing, too
short, outside the folder) is an error of its own here, told before any byte is loaded.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from trtkit.errors import ModelError
from trtkit.graph.tree import every_tensor, size_in_bytes

__all__ = ["data_files", "is_external", "read_external", "write_external"]

_TOGETHER = "Keep the .onnx file and its data files together in one folder, as they were exported."
_ALIGNMENT = 4096
"""Offsets of large tensors are multiples of the page size, so that a reader may map the file (ONNX IR.md)."""


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's bytes lie in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _reference(tensor: onnx.TensorProto) -> dict[str, str]:
    # A damaged text comes as bytes; it names nothing.
    return {entry.key: entry.value for entry in tensor.external_data if isinstance(entry.value, str)}


def data_files(model: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    """The external data files of the model at ``path``, in order of name, each one existing; empty without external
    data.

    Raises:
        ModelError: a data file is missing, is not named, is not a file, or lies outside the model's folder.
    """
    needed: dict[str, str] = {}
    for tensor in every_tensor(model):
        if is_external(tensor):
            needed.setdefault(_reference(tensor).get("location", ""), tensor.name)
    return tuple(_locate(path, location, needed[location]) for location in sorted(needed))


def _locate(path: Path, location: str, tensor: str) -> Path:
    if not location:
        raise ModelError(
            f"{path}: tensor {tensor!r} is stored in another file, but the model does not say in which.",
            hint="Export the model again.",
        )
    file = path.parent / location
    # Compared after following links. The model's own target folder counts too: download caches hold a folder of links.
    folders = (path.parent.resolve(), path.resolve().parent)
    if Path(location).is_absolute() or not any(file.resolve().is_relative_to(folder) for folder in folders):
        raise ModelError(
            f"{path}: the external data of tensor {tensor!r} is at {location!r}, outside the model's folder. "
            "trtkit reads external data from that folder only.",
            hint="Move the data file beside the model and save the model again with a plain file name as location.",
        )
    if not file.is_file():
        raise ModelError(
            f"{path} needs its external data file {location!r} (for tensor {tensor!r}), "
            f"which is {'not a file' if file.exists() else 'missing'} in the folder {path.parent.absolute()}.",
            hint=_TOGETHER,
        )
    return file


def read_external(model: onnx.ModelProto, path: Path) -> None:
    """Bring all external data of the model at ``path`` into the model itself. Nothing is loaded if anything is wrong.

    Raises:
        ModelError: as for :func:`data_files`, or a data file is too short, or an entry does not fit its tensor.
    """
    files = data_files(model, path)
    if not files:
        return
    sizes = {file: file.stat().st_size for file in files}
    plan: dict[Path, list[tuple[int, int, onnx.TensorProto]]] = {file: [] for file in files}
    for tensor in every_tensor(model):
        if is_external(tensor):
            file = path.parent / _reference(tensor)["location"]
            plan[file].append((*_extent(path, tensor, sizes[file]), tensor))
    for file, pieces in plan.items():
        with file.open("rb") as stream:
            for offset, length, tensor in sorted(pieces, key=lambda piece: piece[:2]):
                stream.seek(offset)
                tensor.raw_data = stream.read(length)
                tensor.ClearField("data_location")
                tensor.ClearField("external_data")


def _extent(path: Path, tensor: onnx.TensorProto, file_size: int) -> tuple[int, int]:
    """Offset and length in bytes of a tensor in its data file, checked against its shape and the file's size."""
    entry = _reference(tensor)
    needed = size_in_bytes(tensor)
    try:
        offset = int(entry.get("offset") or 0)
        length = int(entry["length"]) if entry.get("length") else (needed if needed is not None else file_size - offset)
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or (needed is not None and length != needed):
        raise ModelError(
            f"{path}: tensor {tensor.name!r} with shape {list(tensor.dims)} takes {needed} bytes, but its external "
            f"data entry says offset {entry.get('offset', 0)!r}, length {entry.get('length')!r}.",
            hint="The file was edited or damaged: export the model again.",
        )
    if offset + length > file_size:
        raise ModelError(
            f"{path}: the external data file {entry['location']!r} is too short: tensor {tensor.name!r} ends at byte "
            f"{offset + length:,}, and the file has {file_size:,} bytes.",
            hint="Copy or download the data file again, all of it. " + _TOGETHER,
        )
    return offset, length


def write_external(source: onnx.ModelProto, target: onnx.ModelProto, data: Path, location: str) -> None:
    """Write the large initializers of ``source`` to the file ``data``, and refer to them in ``target`` as
    ``location``.

    ``target`` is a weightless copy of ``source``'s graph without any initializer: large ones are added as references,
    small ones as they are, in their order.
    """
    with data.open("wb") as stream:
        for tensor in source.graph.initializer:
            size = size_in_bytes(tensor)
            if size is None or size <= 1024 or not tensor.HasField("raw_data"):
                target.graph.initializer.append(tensor)
                continue
            stream.write(b"\0" * (-stream.tell() % _ALIGNMENT))
            reference = target.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            if tensor.doc_string:
                reference.doc_string = tensor.doc_string
            reference.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", str(stream.tell())), ("length", str(size))):
                reference.external_data.add(key=key, value=value)
            stream.write(tensor.raw_data)
