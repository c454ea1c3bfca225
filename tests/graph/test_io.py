from __future__ import annotations

import hashlib
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.models import model, perceptron, relu, value
from trtkit.artifacts.model import TensorSpec
from trtkit.errors import ModelError, UsageError
from trtkit.graph import io
from trtkit.graph.tree import every_tensor


def saved_outside(folder: Path) -> Path:
    """perceptron() with its weights in the file w.bin."""
    path = folder / "model.onnx"
    onnx.save(perceptron(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def test_load_gives_back_what_onnx_saved(tmp_path: Path) -> None:
    onnx.save(perceptron(), tmp_path / "m.onnx")
    assert io.load(tmp_path / "m.onnx") == perceptron()


def test_external_data_is_loaded_and_equal(tmp_path: Path) -> None:
    loaded = io.load(saved_outside(tmp_path))
    assert not any(tensor.external_data for tensor in every_tensor(loaded))
    for ours, original in zip(loaded.graph.initializer, perceptron().graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(original))


def test_external_data_of_a_constant_inside_a_branch(tmp_path: Path) -> None:
    array = np.arange(4, dtype=np.float32)
    constant = numpy_helper.from_array(array, "c")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="c.bin")
    constant.external_data.add(key="offset", value="4")
    (tmp_path / "c.bin").write_bytes(b"????" + array.tobytes())
    onnx_model = model(
        [helper.make_node("Constant", [], ["k"], value=constant), helper.make_node("Add", ["x", "k"], ["y"])]
    )
    (tmp_path / "m.onnx").write_bytes(onnx_model.SerializeToString())
    loaded = io.load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(loaded.graph.node[0].attribute[0].t), array)


def test_sha256_is_of_the_file_alone_without_external_data(tmp_path: Path) -> None:
    onnx.save(relu(), tmp_path / "m.onnx")
    assert io.sha256_of(tmp_path / "m.onnx") == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()


def test_sha256_covers_the_external_data_in_order_of_name(tmp_path: Path) -> None:
    loaded = perceptron()
    onnx.save(loaded, tmp_path / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    files = sorted(path for path in tmp_path.iterdir() if path.suffix != ".onnx")
    assert len(files) == 4
    expected = hashlib.sha256(b"".join(path.read_bytes() for path in (tmp_path / "m.onnx", *files))).hexdigest()
    assert io.sha256_of(tmp_path / "m.onnx") == expected
    files[0].write_bytes(b"\0" * files[0].stat().st_size)
    assert io.sha256_of(tmp_path / "m.onnx") != expected


def test_save_returns_the_noun_and_equal_bytes_each_time(tmp_path: Path) -> None:
    nouns = [
        io.save(perceptron(), tmp_path / name / "m.onnx", name="m", precision="fp32", parents=("p",), transforms=("t",))
        for name in ("a", "b")
    ]
    first = nouns[0]
    assert first.sha256 == nouns[1].sha256 == io.sha256_of(first.path)
    assert (first.name, first.precision, first.opset, first.parents, first.transforms) == (
        "m",
        "fp32",
        17,
        ("p",),
        ("t",),
    )
    assert first.inputs == (TensorSpec("x", "float32", ("N", 8)),)
    assert first.outputs == (TensorSpec("y", "float32", ("N", 4)),)
    assert io.load(first.path) == perceptron()
    assert [path.name for path in first.path.parent.iterdir()] == ["m.onnx"]


def test_save_moves_weights_out_above_protobufs_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "PROTOBUF_LIMIT", 4000 + io._HEADROOM)
    original = perceptron(ir=3)  # below IR 4 an initializer is listed as an input too: that must survive
    original.graph.input.extend(value(t.name, tuple(t.dims)) for t in original.graph.initializer)
    noun = io.save(original, tmp_path / "m.onnx", name="m", precision="fp32")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert (tmp_path / "m.onnx").stat().st_size < 3000
    assert noun.sha256 == io.sha256_of(noun.path)
    assert io.load(noun.path) == original
    onnx.checker.check_model(str(noun.path), full_check=True)
    offsets = [
        e.value for t in onnx.load(noun.path, load_external_data=False).graph.initializer for e in t.external_data
    ]
    assert "12288" in offsets  # the second weight begins on a page of its own


def test_save_into_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="Cannot write to the folder"):
        io.save(relu(), tmp_path / "file" / "m.onnx", name="m", precision="fp32")


def test_specs_leave_initializers_out_and_name_types(tmp_path: Path) -> None:
    onnx_model = model(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16), helper.make_node("Relu", ["w"], ["v"])],
        [value("x", (None, "H", 3), TensorProto.UINT8), value("w", (2,))],
        [value("y", ("N", "H", 3), TensorProto.FLOAT16), value("v", (2,)), value("b", (), TensorProto.BFLOAT16)],
        [numpy_helper.from_array(np.ones(2, np.float32), "w")],
    )
    inputs, outputs = io.specs(onnx_model)
    assert inputs == (TensorSpec("x", "uint8", ("?", "H", 3)),)
    assert [spec.dtype for spec in outputs] == ["float16", "float32", "bfloat16"]
    assert outputs[2].shape == ()


def test_specs_need_a_rank() -> None:
    with pytest.raises(ModelError, match="'x' has no known element type and rank"):
        io.specs(relu(inputs=[value("x", None)]))


def write_zip(path: Path, names: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in names.items():
            archive.writestr(name, text)


OTHER_FORMATS: dict[str, tuple[bytes | dict[str, str], str]] = {
    "empty": (b"", r"is empty \(0 bytes\)"),
    "text": (b"hello, this is no model\n", r"a text file that begins with 'hello"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", r"HTML page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", r"Git LFS pointer"),
    "json": (b'{"message": "not found"}', r"a JSON document"),
    "xml": (b'<?xml version="1.0"?><net name="m"/>', r"an XML document"),
    "onnx_text": (
        b'<ir_version: 8, opset_import: ["": 17]>\nagraph (float[N] x) => (float[N] y) { y = Relu(x) }',
        r"as text",
    ),
    "pt": ({"archive/data.pkl": "x", "archive/version": "3"}, r"a PyTorch checkpoint \(\.pt"),
    "npz": ({"w.npy": "x"}, r"a NumPy archive \(\.npz\)"),
    "zip": ({"model.onnx": "x"}, r"a zip archive"),
    "pickle": (b"\x80\x04\x95\x10\x00", r"a Python pickle"),
    "npy": (b"\x93NUMPY\x01\x00", r"NumPy array"),
    "safetensors": (b"\x10\0\0\0\0\0\0\0" + b'{"w": [1, 2, 3]}', r"a safetensors file"),
    "h5": (b"\x89HDF\r\n\x1a\n\0\0\0", r"an HDF5 file"),
    "tflite": (b"\x1c\0\0\0TFL3\0\0", r"a TensorFlow Lite model"),
    "ort": (b"\x1c\0\0\0ORTM\0\0", r"ONNX Runtime's \.ort format"),
    "gguf": (b"GGUF\x03\0\0\0", r"a GGUF file"),
    "gzip": (b"\x1f\x8b\x08\0\0\0", r"a gzip archive"),
    "plan": (b"ftrt\0\0\0\0" + bytes(60), r"a TensorRT plan"),
    "rtx_plan": (b"vtrt\0\0\0\0" + bytes(60), r"a TensorRT-RTX plan"),
    "png": (b"\x89PNG\r\n\x1a\n\0", r"a PNG image"),
    "garbage": (bytes(range(255, 0, -1)) * 4, r"not an ONNX file, or it is damaged"),
    "saved_model": (b"\x08\x01\x12\x03abc", r"holds no ONNX graph"),
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats_are_told_by_their_bytes(name: str, tmp_path: Path) -> None:
    content, pattern = OTHER_FORMATS[name]
    path = tmp_path / "model.onnx"
    if isinstance(content, dict):
        write_zip(path, content)
    else:
        path.write_bytes(content)
    for read in (io.load, io.sha256_of):
        with pytest.raises(ModelError, match=pattern) as caught:
            read(path)
        assert str(path) in caught.value.message
        assert caught.value.hint


def test_truncation_is_told_at_every_length(tmp_path: Path) -> None:
    data = perceptron().SerializeToString()
    path = tmp_path / "m.onnx"
    for length in (1, 2, 5, 20, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"is cut short: it has [\d,]+ bytes|holds no ONNX graph") as caught:
            io.load(path)
        if length >= len(data) // 2:
            assert "at least" in caught.value.message


def test_a_folder_a_missing_file_and_a_near_miss(tmp_path: Path) -> None:
    onnx.save(relu(), tmp_path / "googlenet.onnx")
    with pytest.raises(ModelError, match="is a folder") as caught:
        io.load(tmp_path)
    assert "googlenet.onnx" in caught.value.hint
    with pytest.raises(ModelError, match="does not exist") as caught:
        io.load(tmp_path / "gogolenet.onnx")
    assert "Did you mean" in caught.value.hint and "googlenet.onnx" in caught.value.hint
    with pytest.raises(ModelError, match="there is no folder"):
        io.load(tmp_path / "nowhere" / "m.onnx")


def test_external_data_missing_or_a_folder(tmp_path: Path) -> None:
    path = saved_outside(tmp_path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match=r"needs its external data file 'w\.bin' .*missing") as caught:
        io.load(path)
    assert "together" in caught.value.hint
    (tmp_path / "w.bin").mkdir()
    with pytest.raises(ModelError, match="which is not a file"):
        io.load(path)


def test_external_data_too_short(tmp_path: Path) -> None:
    path = saved_outside(tmp_path)
    data = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(data[:-1])
    with pytest.raises(ModelError, match=r"'w\.bin' is too short: tensor '\w+' ends at byte [\d,]+, and the file has"):
        io.load(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin"])
def test_external_data_may_not_escape(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(10**5))
    path = saved_outside(folder)
    onnx_model = onnx.load(path, load_external_data=False)
    for tensor in onnx_model.graph.initializer:
        tensor.external_data[0].value = location
    path.write_bytes(onnx_model.SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        io.load(path)


def test_external_data_may_not_escape_by_a_link_but_a_folder_of_links_loads(tmp_path: Path) -> None:
    store, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    store.mkdir()
    snapshot.mkdir()
    path = saved_outside(store)
    (snapshot / "w.bin").symlink_to(store / "w.bin")
    (snapshot / "model.onnx").write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match="outside the model's folder"):
        io.load(snapshot / "model.onnx")
    (snapshot / "model.onnx").unlink()
    (snapshot / "model.onnx").symlink_to(path)
    assert len(io.load(snapshot / "model.onnx").graph.initializer) == 4


@pytest.mark.parametrize(("key", "text"), [("offset", "-8"), ("length", "12"), ("length", "abc"), ("offset", "1e3")])
def test_external_data_entry_that_does_not_fit(key: str, text: str, tmp_path: Path) -> None:
    path = saved_outside(tmp_path)
    onnx_model = onnx.load(path, load_external_data=False)
    entry = next(e for e in onnx_model.graph.initializer[0].external_data if e.key == key)
    entry.value = text
    path.write_bytes(onnx_model.SerializeToString())
    with pytest.raises(ModelError, match=r"'w1' with shape \[8, 300\] takes 9600 bytes, but its external data"):
        io.load(path)


def test_external_data_without_a_location(tmp_path: Path) -> None:
    path = saved_outside(tmp_path)
    onnx_model = onnx.load(path, load_external_data=False)
    del onnx_model.graph.initializer[2].external_data[:]
    path.write_bytes(onnx_model.SerializeToString())
    with pytest.raises(ModelError, match="'w2' is stored in another file, but the model does not say in which"):
        io.load(path)


def test_a_bad_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    with path.open("wb") as file:
        file.write(b"vtrt")
        file.truncate(3 * 2**30)  # sparse: takes no room on the disk
    start = time.monotonic()
    with pytest.raises(ModelError, match="TensorRT-RTX plan"):
        io.load(path)
    with path.open("r+b") as file:
        file.write(b"\x08\x08\x12\x01")
    with pytest.raises(ModelError, match=r"has 3,221,225,472 bytes; an ONNX file without external data ends"):
        io.load(path)
    assert time.monotonic() - start < 2
