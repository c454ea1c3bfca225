"""What TensorRT-RTX makes of the quantized definitions: ``python -m tests.perf.qdq_layers [--help]``.

Needs no GPU. Every definition is quantized (thresholds: the largest values of one random batch), parsed by the vendor's
own parser, built for one target in a worker, and its layers are read back. The table says for each how many layers the
parsed network has, how many compute layers the plan has, how many of those are ``kgen`` (the kernels that TensorRT-RTX
generates for everything but products and pooling: here mostly bias, activation and requantization), and in which type
every Conv and Gemm runs. Those of another type are named with the rule that left them float; the exit code is 1 where
one that was to be quantized is not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import model_defs
from trtkit import worker
from trtkit.artifacts.precision import PrecisionProof
from trtkit.artifacts.profile import OptimizationProfile, ShapeRange
from trtkit.backends import registry
from trtkit.backends.base import BuildOptions, BuildOutcome
from trtkit.graph.observe import observe
from trtkit.graph.placement import Placement, Recipe, place
from trtkit.graph.precision_proof import layers_of_the_source, prove
from trtkit.graph.qdq import insert

_PARSE = """
import sys
import tensorrt_rtx as trt
logger = trt.Logger(trt.Logger.ERROR)
network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(sys.argv[1]), [str(parser.get_error(i)) for i in range(parser.num_errors)]
print(network.num_layers)
"""


@dataclass(frozen=True)
class Found:
    """What one model became: bytes of ONNX and plan, layers of the parsed network, and the layers of the plan."""

    onnx_bytes: int
    plan_bytes: int
    parsed: int
    outcome: BuildOutcome
    proof: PrecisionProof

    @property
    def kinds(self) -> Counter[str]:
        return Counter(layer.kind for layer in self.outcome.layers.compute_layers)


def random_amax(model: onnx.ModelProto, placement: Placement, std: float) -> dict[str, float]:
    """The largest absolute value of each tensor over two normally distributed images."""
    value = model.graph.input[0]
    shape = [2, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])]
    images = (np.random.default_rng(0).standard_normal(shape) * std).astype(np.float32)
    session = onnxruntime.InferenceSession(
        observe(model, placement.tensors).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    seen = dict(zip(names, session.run(names, {value.name: images}), strict=True)) | {value.name: images}
    return {name: float(np.abs(seen[name]).max()) for name in placement.tensors}


def measure(model: onnx.ModelProto, asked: str, target: str) -> Found:
    """Parse and build a model whose first input has a free batch axis."""
    value = model.graph.input[0]
    shapes = [(batch, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])) for batch in (1, 8, 32)]
    profile = OptimizationProfile({value.name: ShapeRange(*shapes)})
    options = BuildOptions(profile, compute_capability=(target,))
    with tempfile.TemporaryDirectory() as folder:
        path, plan = Path(folder, "model.onnx"), Path(folder, "model.plan")
        onnx.save(model, path)
        parse = subprocess.run([sys.executable, "-c", _PARSE, path], capture_output=True, text=True, check=True)
        arguments = {"family": "tensorrt-rtx", "onnx": str(path), "plan": str(plan), "options": options.to_json()}
        env = registry.worker_env("tensorrt-rtx")
        answer = worker.run("trtkit.backends.jobs:build", arguments, what="the build", env=env)
        outcome = BuildOutcome.from_json(answer.value)
        proof = prove(layers_of_the_source(model), outcome.layers, asked)
        return Found(path.stat().st_size, plan.stat().st_size, int(parse.stdout), outcome, proof)


def row(name: str, found: Found, fp32_bytes: int, pairs: int) -> str:
    kinds = found.kinds
    return (
        f"{name:22}{pairs:6}{found.onnx_bytes / fp32_bytes:8.3f}{found.parsed:8}{sum(kinds.values()):9}"
        f"{kinds['kgen']:6}{found.plan_bytes / 2**20:9.1f}  {found.proof.sentence}"
    )


HEAD = f"{'model':22}{'pairs':>6}{'/ FP32':>8}{'parsed':>8}{'compute':>9}{'kgen':>6}{'plan MiB':>9}  proof"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.qdq_layers", description=__doc__)
    parser.add_argument("names", nargs="*", help="definitions; all of them by default")
    parser.add_argument("--dtype", choices=("int8", "fp8"), default="int8")
    parser.add_argument("--high-precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--target", help="compute capability; 8.6, or 8.9 for FP8, by default")
    parser.add_argument("--exclude", action="append", default=[], help="leave nodes out, to compare")
    parser.add_argument("--fp32", action="store_true", help="build the float models too")
    args = parser.parse_args(arguments)
    target = args.target or ("8.9" if args.dtype == "fp8" else "8.6")
    title = f"{args.dtype} with {args.high_precision}, TensorRT-RTX, compute capability {target}"
    print(f"{title}, plain graphs (no rewrites)", HEAD, sep="\n")
    complete = True
    for name in args.names or model_defs.names():
        definition = model_defs.get(name)
        model = definition.build()
        size = model.ByteSize()
        if args.fp32:
            print(row(f"{name} fp32", measure(model, "fp32", target), size, 0), flush=True)
        placement = place(model, Recipe(exclude=tuple(args.exclude)), args.dtype)
        amax = random_amax(model, placement, definition.input_std)
        quantized = insert(model, placement, amax, args.dtype, high_precision=args.high_precision)
        found = measure(quantized, args.dtype, target)
        print(row(name, found, size, len(placement.tensors)), flush=True)
        decided = {decision.node: decision for decision in placement.decisions}
        for node in (*found.proof.stayed, *found.proof.unproven):
            decision = decided[node.name]
            print(f"    {node.op} {node.name}: {node.dtype or 'not proven'}; {decision.rule}: {decision.why}")
            complete &= not decision.quantized
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
