"""Which forms of FP8 products an engine computes as ONNX defines them: small Q/DQ models, each converted and compared.

    python -m tests.gpu.fp8_forms OUT                          # tensorrt-rtx on the GPU of this machine
    python -m tests.gpu.fp8_forms OUT --family onnxruntime     # a rehearsal without a GPU: nothing to compare with

OUT gets ``fp8_forms.json`` and ``.md``: the relative L2 error against the same file in ONNX Runtime's CPU provider. An
error of about 1/(scale of the activation × scale of the weights) says that an engine left both scales out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.perf.measure import run, trtkit
from trtkit.artifacts.files import write_bytes, write_json
from trtkit.quant import channel_amax, quantize, scale_of

__all__ = ["Form", "forms", "main", "model_of"]

_BATCH, _CHANNELS, _SIZE = 8, 64, 28
_ACTIVATION_SCALE = 0.01  # of noise with a standard deviation of 1: clipped at 4.48
_LATER_SCALE = 0.02
_BESIDE = 8  # conversions at a time


@dataclass(frozen=True)
class Form:
    """One small model: products in a row, each behind a Q/DQ pair.

    Attributes:
        what: ``Conv`` or ``Gemm``.
        scales: of the weights: ``per channel``, ``per tensor``, or ``per channel, all equal``.
        rest: numbers outside the products, ``float32`` or ``float16``.
        count: of products.
        kernel: rows and columns of it.
        groups: of channels.
        bias: whether a bias and a Relu follow.
    """

    what: str = "Conv"
    scales: str = "per channel"
    rest: str = "float32"
    count: int = 1
    kernel: int = 3
    groups: int = 1
    bias: bool = True

    @property
    def text(self) -> str:
        kernel = f" {self.kernel}×{self.kernel}" if self.what == "Conv" else ""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        row = f", {self.count} in a row" if self.count > 1 else ""
        return f"{self.what}{kernel}{groups}{', bias and Relu' if self.bias else ''}{row}"


def forms() -> Iterator[Form]:
    """All of them."""
    for rest in ("float32", "float16"):
        for scales in ("per channel", "per tensor", "per channel, all equal"):
            base = Form(scales=scales, rest=rest)
            yield from (base, replace(base, bias=False), replace(base, count=3))
            if "equal" not in scales:
                yield from (replace(base, kernel=1), replace(base, groups=2), replace(base, what="Gemm"))
                yield replace(base, what="Gemm", count=3)


@dataclass
class _Net:
    form: Form
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: list[onnx.TensorProto] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def op(self, kind: str, *inputs: str, **how: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}_node", **how))
        return name

    def constant(self, values: Any) -> str:
        array = np.asarray(values)
        numbers = array if array.dtype == ml_dtypes.float8_e4m3fn else array.astype(self.form.rest)
        name = f"constant_{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(numbers, name))
        return name

    def pair(self, tensor: str, scale: float) -> str:
        scales, zero = self.constant(scale), self.constant(np.zeros((), ml_dtypes.float8_e4m3fn))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", tensor, scales, zero), scales)

    def weights(self, shape: tuple[int, ...], axis: int) -> str:
        values = self.random.normal(0, 0.05, shape).astype(np.float32)
        along = None if self.form.scales == "per tensor" else axis
        scales = np.asarray(scale_of(channel_amax(values, along), "fp8"), np.float32)
        if "equal" in self.form.scales:
            scales = np.full_like(scales, scales.max())
        scales = scales.astype(self.form.rest).astype(np.float32)  # what the file will hold
        stored = self.constant(quantize(values, scales, "fp8", along))
        return self.op("DequantizeLinear", stored, self.constant(scales), **({} if along is None else {"axis": along}))

    def product(self, tensor: str) -> str:
        form = self.form
        biases = self.random.normal(0, 0.25, _CHANNELS)
        if form.what == "Gemm":
            inputs = [tensor, self.weights((_CHANNELS, _CHANNELS), 1)]
            made = self.op("Gemm", *inputs, *([self.constant(biases)] if form.bias else []))
        else:
            side = form.kernel
            inputs = [tensor, self.weights((_CHANNELS, _CHANNELS // form.groups, side, side), 0)]
            inputs += [self.constant(biases)] if form.bias else []
            made = self.op("Conv", *inputs, kernel_shape=[side] * 2, pads=[side // 2] * 4, group=form.groups)
        return self.op("Relu", made) if form.bias else made


def model_of(form: Form) -> onnx.ModelProto:
    """The ONNX model of a form: ``x`` float32 N×64×28×28 (N×64 for Gemm), opset 19."""
    net, half = _Net(form), form.rest == "float16"
    tensor = net.op("Cast", "x", to=TensorProto.FLOAT16) if half else "x"
    for index in range(form.count):
        tensor = net.product(net.pair(tensor, _LATER_SCALE if index else _ACTIVATION_SCALE))
    tensor = net.op("Cast", tensor, to=TensorProto.FLOAT) if half else tensor
    shape = ["N", _CHANNELS] if form.what == "Gemm" else ["N", _CHANNELS, _SIZE, _SIZE]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", tensor))
    graph = helper.make_graph(net.nodes, "form", [x], [y], net.stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def judged(form: Form, number: int, family: str, folder: Path) -> dict[str, Any]:
    """A form converted, and how far the engine is from the same Q/DQ file in ONNX Runtime."""
    file = folder / f"form{number}.onnx"
    onnx.save(model_of(form), file)
    options = ("--precision", "fp8", "--family", family, "--rewrite", "none", "--batch", f"{_BATCH}:{_BATCH}:{_BATCH}")
    where = folder / f"out{number}"
    found: dict[str, Any] = {"form": form.text, "weights": form.scales, "rest": form.rest}
    try:
        run(trtkit("convert", str(file), *options, "--output", str(where)))
    except RuntimeError as error:
        found["problem"] = str(error).strip().splitlines()[-1]  # exit code 9 is a disagreement, told below
    manifests = [json.loads(m.read_text(encoding="utf-8")) for m in where.glob("*.json")] if where.exists() else []
    if not manifests:
        return found
    (manifest,) = manifests
    report = manifest["validation"]
    errors = [check["difference"]["relative_l2"] for check in report["checks"] if check["against"] == "qdq"]
    about = {key: manifest[key] for key in ("family", "version", "device", "driver")}
    proof = (manifest["proof"] or {}).get("sentence")
    return {**found, **about, "status": report["status"], "relative_l2": max(errors, default=None), "proof": proof}


def page(found: Sequence[dict[str, Any]], command: str) -> str:
    """The table."""
    first = next((one for one in found if "status" in one), None)
    about = "nothing was built" if first is None else f"{first['family']} {first['version']} on {first['device']}"
    lines = [
        "# Forms of FP8 products",
        f"{about}; relative L2 error against the same Q/DQ file in ONNX Runtime. Made by `{command}`.",
        "| products | scales of the weights | the rest in | status | relative L2 | inside |\n"
        "|---|---|---|---|--:|---|\n"
        + "\n".join(
            f"| {one['form']} | {one['weights']} | {one['rest']} | {one.get('status', 'not built')} "
            f"| {_error(one)} | {one.get('proof') or one.get('problem', '–')} |"
            for one in found
        ),
    ]
    return "\n\n".join(lines) + "\n"


def _error(one: dict[str, Any]) -> str:
    value = one.get("relative_l2")
    return "–" if value is None else f"{value:.1e}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--family", default="tensorrt-rtx")
    asked = parser.parse_args(arguments)
    command = f"python -m tests.gpu.fp8_forms OUT --family {asked.family}"
    with tempfile.TemporaryDirectory(prefix="trtkit-") as scratch, ThreadPoolExecutor(_BESIDE) as pool:
        jobs = [
            pool.submit(judged, form, number, asked.family, Path(scratch)) for number, form in enumerate(forms(), 1)
        ]
        found = [job.result() for job in jobs]
    write_json(asked.out / "fp8_forms.json", {"command": command, "forms": found})
    write_bytes(asked.out / "fp8_forms.md", page(found, command).encode())
    print(page(found, command))
    return 0


if __name__ == "__main__":
    sys.exit(main())
