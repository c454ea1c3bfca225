"""SOURCE → ONNX: a definition's name or an .onnx file becomes a checked, prepared FP32 model in memory."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model_defs
from trtkit.arguments import check_fields
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.files import sha256_bytes, sha256_file
from trtkit.artifacts.plan import Source
from trtkit.errors import ModelError, UsageError

if TYPE_CHECKING:
    import onnx

__all__ = ["SourceRequest", "export", "verify"]

_PRECISION_SUFFIX = re.compile(r"\.(fp32|tf32|fp16|int8|fp8)$")
_UNFIT_FOR_FILE_NAME = re.compile(r"[^A-Za-z0-9_.+-]+")
_PLAIN_STD = 1.0


@dataclass(frozen=True)
class SourceRequest:
    """What the user named.

    Attributes:
        text: a definition's name, or the path of an .onnx file.
        weights: weights to load into a definition; ``None`` for seeded ones.
        seed: of the seeded weights.
    """

    text: str
    weights: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.seed < 0:
            raise UsageError(f"The seed is {self.seed}; it counts from 0.", hint="Give a whole number from 0 up.")

    @property
    def definition(self) -> str | None:
        """The definition's name, or ``None`` for a file.

        Raises:
            UsageError: the text is neither, or options were given that do not go with it.
        """
        if self.text in model_defs.names():
            return self.text
        path = Path(self.text)
        if path.suffix in (".plan", ".engine", ".trt"):
            raise UsageError(
                f"{self.text} is a plan already; convert takes a definition's name or an .onnx file.",
                hint=f"Look into it with trtkit inspect {self.text}, or check it with trtkit validate {self.text}.",
            )
        if path.suffix != ".onnx" and not path.exists():
            close = difflib.get_close_matches(self.text, model_defs.names(), n=1, cutoff=0.5)
            raise UsageError(
                f"{self.text!r} is neither a model definition nor a file. "
                f"Definitions: {', '.join(model_defs.names())}.",
                hint=f"Did you mean {close[0]}?" if close else "Give one of these names, or the path of an .onnx file.",
            )
        if self.weights is not None:
            raise UsageError(
                f"--weights goes with a model definition; {self.text} is a file that holds its own weights.",
                hint="Leave --weights out, or give a definition's name.",
            )
        return None

    @property
    def name(self) -> str:
        """The model's name: the definition's, or the file's without ``.onnx`` and a precision, fit for a file name."""
        if self.definition is not None:
            return self.definition
        stem = _PRECISION_SUFFIX.sub("", Path(self.text).name.removesuffix(".onnx"))
        return _UNFIT_FOR_FILE_NAME.sub("_", stem).strip("._") or "model"

    def identity(self) -> dict[str, Any]:
        """What decides the model's content, without building it.

        Raises:
            UsageError: unknown source, or the weights file does not exist.
            ModelError: the ONNX file does not exist or is unreadable.
        """
        if self.definition is None:
            from trtkit.graph import io

            return {"onnx": io.sha256_of(Path(self.text))}
        if self.weights is None:
            return {"definition": self.definition, "seed": self.seed}
        if not self.weights.is_file():
            raise UsageError(
                f"The weights file {self.weights} does not exist.", hint="Give a .safetensors, .npz or .onnx file."
            )
        return {"definition": self.definition, "weights": sha256_file(self.weights)}


def export(request: SourceRequest, *, for_tensorrt: bool = True) -> ExportedModel:
    """Build the definition, or load, check and prepare the file.

    Args:
        request: what the user named.
        for_tensorrt: also refuse operators and types that ONNX allows and TensorRT cannot take.

    Raises:
        UsageError: the request contradicts itself.
        ModelError: the file or the weights are at fault.
    """
    from trtkit.graph import io, prepare

    name = request.name
    if request.definition is not None:
        definition = model_defs.get(request.definition)
        model = definition.build(weights=request.weights, seed=request.seed)
        model, transforms = prepare.prepare(model, name)
        weights = request.weights
        source = Source(
            name=name,
            definition=request.definition,
            path=None,
            sha256="",
            seed=request.seed if weights is None else None,
            weights=weights.name if weights else None,
            weights_sha256=sha256_file(weights) if weights else None,
            precision="fp32",
            input_std=definition.input_std,
        )
        return ExportedModel(model, source, None, transforms)
    path = Path(request.text)
    model = io.load(path)
    names = [node.name for node in model.graph.node if node.name]
    model, transforms = prepare.prepare(model, path.name, for_tensorrt=for_tensorrt)
    source = Source(
        name=name,
        definition=None,
        path=str(path.absolute()),
        sha256=io.sha256_of(path),
        seed=None,
        weights=None,
        weights_sha256=_weights_sha256(model),
        precision=_numbers_of(model),
        input_std=_PLAIN_STD,
    )
    return ExportedModel(model, source, path, transforms, loadable=len(names) == len(set(names)))


def verify(path: Path) -> None:
    """The ONNX checker's full check, strict shape inference included, of a written file.

    Raises:
        ModelError: the checker's words.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(
            f"The ONNX checker refuses {path.name}: {' '.join(str(error).split())[:400]}",
            hint="If the weights are not your own, report this: a definition of trtkit must pass.",
        ) from error


def _numbers_of(model: onnx.ModelProto) -> str:
    """``fp8`` or ``int8`` with Q/DQ pairs, ``fp16`` if more weight elements are float16 than float32, else ``fp32``."""
    import onnx

    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        eight = (onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.FLOAT8E5M2)
        return "fp8" if any(tensor.data_type in eight for tensor in model.graph.initializer) else "int8"
    elements = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in elements:
            elements[tensor.data_type] += math.prod(tensor.dims)
    return "fp16" if elements[onnx.TensorProto.FLOAT16] > elements[onnx.TensorProto.FLOAT] else "fp32"


def _weights_sha256(model: onnx.ModelProto) -> str:
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(tensor.name.encode())
        digest.update(sha256_bytes(tensor.raw_data or tensor.SerializeToString(deterministic=True)).encode())
    return digest.hexdigest()
