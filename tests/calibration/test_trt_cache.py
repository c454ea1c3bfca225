"""TensorRT's calibration caches: reading, writing, matching, and damaged files."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.trt_cache import match, read_cache, write_cache
from trtkit.artifacts.calibration_table import CalibrationTable, TensorRange
from trtkit.errors import CalibrationError, UsageError

TABLE = CalibrationTable(model="m", model_sha256="0", dtype="int8", method="entropy", tensors={}, samples=1)

# Lines as TensorRT 7 wrote them for a Caffe ResNet (NVIDIA/TensorRT issue 681) and a fusion as TensorRT 8 names it.
CACHE = """TRT-7000-EntropyCalibration2
data: 3caa54fc
(Unnamed Layer* 0) [Convolution]_output: 3d6969df
conv1: 3bb2132a
res2a_branch1 + res2a: 3b39bf9e
OC2_DUMMY_0: 3d9942c2
another: 3c010a14
"""


def _write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_real_cache_is_read(tmp_path: Path) -> None:
    cache = read_cache(_write(tmp_path / "c", CACHE))
    assert (cache.version, cache.algorithm) == ("7.0.0", "EntropyCalibration2")
    assert list(cache.scales) == [line.rpartition(":")[0] for line in CACHE.splitlines()[1:]]
    # 0x3c010a14 is 2^-7 · (1 + 0x010a14 / 2^23), the scale of values in 0…1: TensorRT's middle of bin 2048.
    assert cache.scales["another"] == 2.0**-7 * (1 + 0x010A14 / 2**23)
    assert cache.scales["another"] * 127 == pytest.approx(1 + 0.5 / 2048, rel=1e-7)


@pytest.mark.parametrize(
    ("header", "version"),
    [
        ("TRT-7103-EntropyCalibration2", "7.1.3"),
        ("TRT-8601-MinMaxCalibration", "8.6.1"),
        ("TRT-100300-EntropyCalibration2", "10.3.0"),
        ("TRT-101303-LegacyCalibration", "10.13.3"),
        ("TRT-8XXX-EntropyCalibration2", "8.x"),
    ],
)
def test_headers_name_the_version(tmp_path: Path, header: str, version: str) -> None:
    assert read_cache(_write(tmp_path / "c", f"{header}\nx: 3f800000\n")).version == version


@pytest.mark.parametrize(
    "text", ["\ufeffTRT-8601-EntropyCalibration2\r\nx: 3F800000\r\n\r\n", CACHE[:29] + "x:3f800000"]
)
def test_line_ends_byte_order_mark_and_capitals_do_not_matter(tmp_path: Path, text: str) -> None:
    assert read_cache(_write(tmp_path / "c", text)).scales == {"x": 1.0}


ODD_NAMES = ["a: b", "scope/conv:0", "größe", "name with  spaces", "::", "(x) [y]", "名前", "1"]


def test_a_table_survives_the_way_through_a_cache(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scales = np.exp(rng.uniform(-30, 30, len(ODD_NAMES))).astype(np.float32)
    tensors = {n: TensorRange(float(s) * 127, "mse") for n, s in zip(ODD_NAMES, scales, strict=True)}
    tensors["dead"] = TensorRange(0.0, "mse")
    write_cache(replace(TABLE, tensors=tensors), tmp_path / "c", header="TRT-8601-MinMaxCalibration")
    cache = read_cache(tmp_path / "c")
    assert cache.header == "TRT-8601-MinMaxCalibration"
    assert cache.scales == {name: float(scale) for name, scale in zip(ODD_NAMES, scales, strict=True)}
    assert cache.zero == ("dead",)
    found = match(cache, [*ODD_NAMES, "dead"])
    assert {name: entry.amax for name, entry in found.ranges.items()} == {n: t.amax for n, t in tensors.items()}


def test_the_written_bytes_are_the_big_endian_scale(tmp_path: Path) -> None:
    write_cache(replace(TABLE, tensors={"x": TensorRange(127.0, "mse")}), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"TRT-8601-EntropyCalibration2\nx: 3f800000\n"


def test_names_are_sorted_into_what_became_of_them(tmp_path: Path) -> None:
    cache = read_cache(_write(tmp_path / "c", CACHE + "gone: 00000000\n"))
    found = match(cache, ["data", "conv1", "fire2", "gone"], known={"data", "conv1", "fire2", "gone", "another"})
    assert list(found.matched) == ["data", "conv1"]
    assert found.missing == ("fire2",)
    assert found.zero == ("gone",)
    assert found.unused == ("another",)
    assert found.fused == ("(Unnamed Layer* 0) [Convolution]_output", "res2a_branch1 + res2a", "OC2_DUMMY_0")
    assert found.unmatched == ()
    assert found.ranges["gone"] == TensorRange(0.0, "trt-cache")
    assert match(cache, ["data"], known=["data"]).unmatched == ("conv1", "another", "gone")


def test_a_wanted_tensor_with_a_strange_name_is_not_called_invented(tmp_path: Path) -> None:
    cache = read_cache(_write(tmp_path / "c", CACHE))
    assert list(match(cache, ["res2a_branch1 + res2a"]).matched) == ["res2a_branch1 + res2a"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("x: 3c010a1", "eight hexadecimal digits"),
        ("x: 3c010a14ff", "eight hexadecimal digits"),
        ("x: 3c01zz14", "eight hexadecimal digits"),
        ("x: 0x3c010a", "eight hexadecimal digits"),
        ("x:", "eight hexadecimal digits"),
        ("x", "form"),
        (": 3c010a14", "form"),
        ("x: " + struct.pack(">f", float("nan")).hex(), "nan"),
        ("x: " + struct.pack(">f", float("inf")).hex(), "inf"),
        ("x: " + struct.pack(">f", -0.25).hex(), "-0.25"),
        ("ok: 3c010a15", "second time"),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path: Path, line: str, why: str) -> None:
    path = _write(tmp_path / "c", f"TRT-8601-EntropyCalibration2\nok: 3c010a14\n{line}\n")
    with pytest.raises(CalibrationError, match=why) as caught:
        read_cache(path)
    assert "line 3" in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "x: 3c010a14\n", "TRT-86-Entropy\n", '{"schema": 1}', b"\xff\xfe\x00\x01", b"ftrt\x00"]
)
def test_other_files_are_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(CalibrationError, match="cache"):
        read_cache(_write(tmp_path / "c", text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="none"):
        read_cache(tmp_path / "none")


def test_what_a_cache_cannot_hold_is_refused(tmp_path: Path) -> None:
    for table, header in (
        (replace(TABLE, dtype="fp8"), "TRT-8601-EntropyCalibration2"),
        (replace(TABLE, tensors={"a\nb": TensorRange(1.0, "mse")}), "TRT-8601-EntropyCalibration2"),
        (replace(TABLE, tensors={" a": TensorRange(1.0, "mse")}), "TRT-8601-EntropyCalibration2"),
        (TABLE, "TensorRT 8.6"),
    ):
        with pytest.raises(UsageError):
            write_cache(table, tmp_path / "c", header=header)
    with pytest.raises(CalibrationError, match="huge"):
        write_cache(replace(TABLE, tensors={"huge": TensorRange(1e300, "mse")}), tmp_path / "c")
    assert not list(tmp_path.iterdir())
