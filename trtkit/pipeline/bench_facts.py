"""Facts about what is benchmarked: the precision observed, the work done per image, the limit of its spot check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.plan import PlanManifest
from trtkit.artifacts.precision import PrecisionProof
from trtkit.judging import AGAINST_QDQ, TOLERANCES
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.request import QUANTIZED

if TYPE_CHECKING:
    import onnx

__all__ = ["known_of", "limit_of", "macs_of", "model_of", "observed", "other_floats", "rewrites_of"]


def limit_of(precision: str) -> float | None:
    """The largest relative L2 error of a spot check: of INT8 and FP8 against their own Q/DQ graph."""
    return AGAINST_QDQ if precision in QUANTIZED else TOLERANCES.get(precision)


def model_of(path: Path) -> Callable[[], onnx.ModelProto]:
    """A loader of an ONNX file that loads once."""
    found: list[onnx.ModelProto] = []

    def load() -> onnx.ModelProto:
        from trtkit.graph import io

        if not found:
            found.append(io.load(path))
        return found[0]

    return load


def observed(proof: PrecisionProof | None) -> str | None:
    """``fp16 + fp32``: the types in which Conv, Gemm and MatMul are proven to run, most frequent first.

    ``None`` without a proof, where nothing is proven, or for FP32 data, whose products may be TF32.
    """
    if proof is None or not proof.nodes or proof.unproven:
        return None
    found = [dtype for dtype, _ in Counter(str(node.dtype) for node in proof.nodes).most_common()]
    return None if found == ["fp32"] else " + ".join(found)


def rewrites_of(transforms: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the transformations that are rewrites for speed."""
    from trtkit.graph.rewrites import ALL

    return tuple(name for name in transforms if name in ALL)


def macs_of(manifest: PlanManifest, truth: Path | None) -> int | None:
    """Multiply-accumulates per image of the source: a rewritten graph may do more, which is no more work done."""
    import model_defs
    from trtkit.graph import io
    from trtkit.graph.cost import cost

    if manifest.source.definition in model_defs.names():
        return model_defs.get(manifest.source.definition).macs
    file = truth or (manifest.onnx.path if manifest.onnx.path.exists() else None)
    return cost(io.load(file)).macs if file is not None else None


def known_of(others: Sequence[str], target: Target, precision: str) -> tuple[str | None, str | None]:
    """The precision in which ONNX Runtime computes with a file, and why that is known.

    Args:
        others: floating-point types beside float32 in the file, see :func:`other_floats`.
        target: where it runs.
        precision: of the artifact.
    """
    if precision != "fp32":
        return None, None
    if others:
        return None, f"the file also holds numbers of type {', '.join(others)}"
    why = "ONNX Runtime was told not to multiply in TF32" if target.device.kind == "cuda" else "a CPU has no TF32"
    return "fp32", f"the file's numbers are float32, and {why}"


def other_floats(model: onnx.ModelProto) -> tuple[str, ...]:
    """Floating-point types other than float32 of weights, inputs, outputs and casts."""
    from onnx import TensorProto, helper

    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    types = {tensor.data_type for tensor in model.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in values}
    types |= {
        item.i for node in model.graph.node if node.op_type == "Cast" for item in node.attribute if item.name == "to"
    }
    names = (str(helper.tensor_dtype_to_np_dtype(kind)) for kind in types - {TensorProto.UNDEFINED, TensorProto.FLOAT})
    return tuple(sorted(name for name in names if "float" in name))
