from __future__ import annotations

import json
import struct
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from trtkit.artifacts.plan_header import HEADER_BYTES, PlanHeader, read_header
from trtkit.errors import PlanError

# The first 64 bytes of a plan that TensorRT-RTX 1.7.1.116 built; the whole file had 881716 bytes.
RTX = bytes.fromhex(
    "7674727400000000020000000000000034740d00000000000107017476747274"
    "7e0000000000000000000000000000000000000000000000407e000000000000"
)
TENSORRT = b"ftrt" + struct.pack("<I", 0) + b"\x00" * 16 + bytes((10, 16, 1, 11)) + b"\x00" * 36


def write(folder: Path, data: bytes, size: int | None = None) -> Path:
    path = folder / "some.plan"
    path.write_bytes(data)
    if size is not None:
        with path.open("r+b") as file:
            file.truncate(size)
    return path


def test_rtx_plan_that_is_all_there(tmp_path: Path) -> None:
    header = read_header(write(tmp_path, RTX, 881716))
    assert header == PlanHeader("tensorrt-rtx", "1.7.1.116", 881716, 881716)
    assert header.truncated is False
    assert header.surplus_bytes == 0


def test_rtx_plan_cut_short(tmp_path: Path) -> None:
    assert read_header(write(tmp_path, RTX, 881715)).truncated is True
    assert read_header(write(tmp_path, RTX)).truncated is True


def test_rtx_plan_with_something_behind(tmp_path: Path) -> None:
    header = read_header(write(tmp_path, RTX, 881720))
    assert (header.truncated, header.surplus_bytes) == (False, 4)


def test_tensorrt_plan_does_not_tell_its_length(tmp_path: Path) -> None:
    header = read_header(write(tmp_path, TENSORRT, 5000))
    assert header == PlanHeader("tensorrt", "10.16.1.11", None, 5000)
    assert header.truncated is None
    assert header.surplus_bytes is None


def test_null_plan(tmp_path: Path) -> None:
    from trtkit.backends.null import MAGIC

    header = read_header(write(tmp_path, MAGIC + b'{"inputs": []}'))
    assert (header.family, header.version, header.truncated) == ("null", None, None)


@pytest.mark.parametrize("header", [PlanHeader("tensorrt-rtx", "1.7.1.116", 90, 80), PlanHeader("null", None, None, 9)])
def test_round_trip_through_json(header: PlanHeader) -> None:
    value = json.loads(json.dumps(header.to_json()))
    assert value["truncated"] == header.truncated
    assert PlanHeader.from_json(value) == header
    with pytest.raises(ValueError, match="other"):
        PlanHeader.from_json({**value, "family": "other"})


@pytest.mark.parametrize("length", [4, 28, HEADER_BYTES - 1])
def test_cut_inside_the_header(tmp_path: Path, length: int) -> None:
    with pytest.raises(PlanError, match=f"cut off inside its header: {length} of at least 64"):
        read_header(write(tmp_path, RTX[:length]))


def ultralytics(engine: bytes) -> bytes:
    metadata = json.dumps({"description": "a model", "stride": 32, "names": {"0": "person"}}).encode()
    return struct.pack("<I", len(metadata)) + metadata + engine


def safetensors() -> bytes:
    text = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(text)) + text + b"\0\0\0\0"


def onnx_bytes(producer: str) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, producer_name=producer)
    assert onnx.load_from_string(model.SerializeToString()).graph.node
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (onnx_bytes("someone"), "an ONNX model"),
        (onnx_bytes(""), "an ONNX model"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s1--0.plan\n", "a git-annex pointer"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"\xef\xbb\xbf\n<html lang=en>", "an HTML page"),
        (b"<?xml version='1.0'?>", "an XML text"),
        (b'{\n  "schema": 1,\n  "family": "tensorrt-rtx"\n}', "a JSON text"),
        ("Größe und Länge der Datei, die kein Plan ist, sondern Prosa: äöüäöüäöü".encode(), 'begins with "Größe und'),
        (b"TRT-10161-EntropyCalibration2\nx: 3c000000\n", "a TensorRT calibration cache"),
        (b"\x1f\x8b\x08\x00" + bytes(60), "a gzip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 file"),
        (b"\x80\x04\x95" + bytes(60), "a Python pickle"),
        (b"\x7fELF\x02\x01" + bytes(60), "an ELF program"),
        (b"\x20\0\0\0ORTM" + bytes(60), "an ONNX Runtime model"),
        (b"\x1c\0\0\0TFL3" + bytes(60), "a TensorFlow Lite model"),
        (bytes(4096), "zeros"),
        (safetensors(), "a safetensors file"),
        (bytes(range(200, 256)) * 2, "unknown binary data (it begins with c8 c9 ca"),
        (b"\x00", "zeros"),
        (ultralytics(TENSORRT), "a tensorrt plan that begins at byte 70"),
        (ultralytics(b"none"), "what follows them is no plan"),
        (ultralytics(TENSORRT)[:60], "what follows them is no plan"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, says: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(PlanError) as caught:
        read_header(path)
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_the_hint_about_an_ultralytics_engine_gives_a_plan(tmp_path: Path) -> None:
    data = ultralytics(RTX)
    with pytest.raises(PlanError) as caught:
        read_header(write(tmp_path, data))
    assert "Ultralytics" in caught.value.message
    first = int(caught.value.hint.split("tail -c +")[1].split()[0])  # tail counts from 1
    assert data[first - 1 :] == RTX


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="does not exist"):
        read_header(tmp_path / "none.plan")
    with pytest.raises(PlanError, match="is a folder"):
        read_header(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(PlanError, match="cannot be read"):
        read_header(tmp_path / "file" / "none.plan")
