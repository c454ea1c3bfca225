"""Files that are no ONNX model, or not all of one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import onnx

from tests.bad_inputs.case import BadInput, Files, onnx_file, raw_file
from tests.graph.models import perceptron
from trtkit.errors import ModelError, UsageError

__all__ = ["CASES"]


def _zip(*names: str) -> Files:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "model.onnx", "w") as archive:
            for name in names:
                archive.writestr(name, "x")

    return write


def _external(folder: Path, location: str | None = None, cut: int = 0, remove: bool = False) -> None:
    """A model with its weights in w.bin, then damaged."""
    path = folder / "model.onnx"
    onnx.save(perceptron(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    data = folder / "w.bin"
    if location is not None:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = location
        path.write_bytes(model.SerializeToString())
    if cut:
        data.write_bytes(data.read_bytes()[:-cut])
    if remove:
        data.unlink()


def _near_miss(folder: Path) -> None:
    onnx_file(perceptron, "detector.onnx")(folder)


_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 100\n"
_CONVERT = "convert model.onnx"
_WHOLE = perceptron().SerializeToString()

CASES = (
    BadInput("missing", _CONVERT, ModelError, r"model\.onnx does not exist", "Check the path"),
    BadInput("near miss", "convert detecter.onnx", ModelError, "does not exist", r"mean detector\.onnx", _near_miss),
    BadInput("missing folder", "convert no/such/m.onnx", ModelError, "there is no folder no/such"),
    BadInput("folder", "convert nets", ModelError, "nets is a folder", r"\.onnx", lambda f: (f / "nets").mkdir()),
    BadInput("neither name nor file", "convert googlenett", UsageError, "neither .* nor a file", "googlenet"),
    BadInput("empty", _CONVERT, ModelError, r"is empty \(0 bytes\)", "again", raw_file(b"")),
    BadInput(
        "garbage", _CONVERT, ModelError, "not an ONNX file, or it is damaged", "right file", raw_file(b"\xff" * 99)
    ),
    BadInput("zeros", _CONVERT, ModelError, "not an ONNX file", "again", raw_file(bytes(512))),
    BadInput("truncated", _CONVERT, ModelError, r"cut short: it has [\d,]+ bytes", "all of it", raw_file(_WHOLE[:-99])),
    BadInput("truncated at once", _CONVERT, ModelError, "cut short|no ONNX graph", ".", raw_file(_WHOLE[:3])),
    BadInput("text", _CONVERT, ModelError, "a text file that begins with 'a net", "again", raw_file(b"a net\n")),
    BadInput("html", _CONVERT, ModelError, "an HTML page", "again", raw_file(b"<!DOCTYPE html><html>404</html>")),
    BadInput("git lfs pointer", _CONVERT, ModelError, "a Git LFS pointer", "git lfs pull", raw_file(_LFS)),
    BadInput("json", _CONVERT, ModelError, "a JSON document", r"\.onnx", raw_file(b'{"error": "not found"}')),
    BadInput("checkpoint", _CONVERT, ModelError, "a PyTorch checkpoint", "torch.onnx.export", _zip("a/data.pkl")),
    BadInput("zip", _CONVERT, ModelError, "a zip archive", "unzip", _zip("model.onnx")),
    BadInput("pickle", _CONVERT, ModelError, "a Python pickle", "xport", raw_file(b"\x80\x04\x95\x10\0")),
    BadInput("safetensors", _CONVERT, ModelError, "a safetensors file", "--weights", raw_file(b"\4\0\0\0\0\0\0\0{  }")),
    BadInput("hdf5", _CONVERT, ModelError, "an HDF5 file", "tf2onnx", raw_file(b"\x89HDF\r\n\x1a\n\0")),
    BadInput("gzip", _CONVERT, ModelError, "a gzip archive", "gunzip", raw_file(b"\x1f\x8b\x08\0")),
    BadInput("plan as onnx", _CONVERT, ModelError, "a TensorRT-RTX plan", "built from", raw_file(b"vtrt" + bytes(99))),
    BadInput(
        "plan", "convert model.plan", UsageError, "a plan already", "trtkit inspect", raw_file(b"vtrt", "model.plan")
    ),
    BadInput(
        "another protobuf", _CONVERT, ModelError, "holds no ONNX graph", "tf2onnx", raw_file(b"\x08\x01\x12\x01a")
    ),
    BadInput(
        "external data missing",
        _CONVERT,
        ModelError,
        r"needs its external data file 'w\.bin'",
        "together",
        lambda folder: _external(folder, remove=True),
    ),
    BadInput(
        "external data cut short",
        _CONVERT,
        ModelError,
        r"'w\.bin' is too short: tensor '\w+' ends at byte",
        "all of it",
        lambda folder: _external(folder, cut=8),
    ),
    BadInput(
        "external data outside",
        _CONVERT,
        ModelError,
        "outside the model's folder",
        "Move",
        lambda folder: _external(folder, location="../../etc/passwd"),
    ),
)
