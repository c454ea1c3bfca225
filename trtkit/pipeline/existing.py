"""What lies in the output folder already: an equal plan, which is reused, and files of others, which are left alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trtkit.artifacts.exported import CastModel
from trtkit.artifacts.files import read_json
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.plan import PlanManifest, manifest_path
from trtkit.errors import PlanError, UsageError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.request import QUANTIZED, ConvertRequest
from trtkit.stages.cast import numbers_of
from trtkit.stages.quantize import quantized_name

__all__ = [
    "is_own_source",
    "onnx_name",
    "own_onnx",
    "own_onnx_name",
    "plan_label",
    "refuse_foreign",
    "refuse_own_source",
    "reusable",
]

_MANIFESTS = ("*.plan.json", "*.onnx.json")  # as manifest_path names them


def plan_label(request: ConvertRequest) -> str:
    """The precision as it stands in the plan's name: ``fp32``, ``int8-fp16``."""
    high = request.quantization.high_precision if request.quantization else "fp32"
    return quantized_name(request.precision, high) if request.precision in QUANTIZED else request.precision


def onnx_name(request: ConvertRequest) -> str:
    """File name of the ONNX that the plan is built from; fp32 and tf32 are built from the same numbers."""
    label = plan_label(request) if request.precision in QUANTIZED else numbers_of(request.precision)
    return f"{request.source.name}.{label}.onnx"


def reusable(plan: Path, key: str) -> PlanManifest | None:
    """The manifest of an equal plan that is already there, whole and unchanged, with its ONNX."""
    from trtkit.graph import io

    if not plan.exists():
        return None
    with contextlib.suppress(PlanError):
        manifest = PlanManifest.read(plan)
        onnx = manifest.onnx
        if manifest.key == key and onnx.path.exists() and io.sha256_of(onnx.path) == onnx.sha256:
            return manifest
    return None


def own_onnx(made: CastModel, output: Path, plan: str, listener: Listener) -> CastModel:
    """Give the ONNX of a plan a name of its own where the usual one is taken by another plan's, with other bytes.

    Args:
        made: written, not yet in ``output``.
        output: the folder that it will be moved to.
        plan: file name of the plan that is built from it.
        listener: is told of another name.
    """
    usual, data = made.onnx.path, made.onnx.path.with_name(f"{made.onnx.path.name}.data")
    owner = _owner(output / usual.name, made.onnx.sha256, plan)
    if owner is None or data.exists():  # a file that names its data file cannot go by another name
        return made
    path = usual.with_name(own_onnx_name(plan))
    usual.replace(path)
    listener.note(f"{usual.name} in {output.absolute()} belongs to {owner}; the ONNX of this plan is {path.name}")
    reference = path if made.reference == usual else made.reference
    return replace(made, onnx=made.onnx.moved_to(path), reference=reference)


def own_onnx_name(plan: str) -> str:
    """File name of a plan's ONNX where the usual one is another plan's."""
    return f"{Path(plan).stem}.built-from.onnx"


def _owner(onnx: Path, sha256: str, plan: str) -> str | None:
    """Another plan that was built from ``onnx``, where that holds other bytes than ``sha256``."""
    for found in _manifests_of(onnx):
        file = found.get("file")
        if file not in (None, plan) and found["onnx"].get("sha256") != sha256 and (onnx.parent / str(file)).exists():
            return str(file)
    return None


def _manifests_of(onnx: Path) -> Iterator[dict[str, Any]]:
    """The manifests beside an ONNX file that is there, of the plans that were built from it."""
    beside = [path for pattern in _MANIFESTS for path in onnx.parent.glob(pattern)] if onnx.exists() else []
    for path in sorted(beside):
        with contextlib.suppress(PlanError):
            found = read_json(path)
            if (
                isinstance(found, dict)
                and isinstance(found.get("onnx"), dict)
                and found["onnx"].get("path") == onnx.name
            ):
                yield found


def is_own_source(request: ConvertRequest) -> bool:
    """Whether the ONNX that the plan is built from has the path of the source: ``m.fp32.onnx`` in its own folder."""
    onnx = request.output / onnx_name(request)
    return request.source.definition is None and onnx.exists() and onnx.samefile(request.source.text)


def refuse_own_source(request: ConvertRequest, made: OnnxModel) -> None:
    """Keep a conversion from changing its own source; the same bytes once more do no harm.

    Args:
        request: the conversion.
        made: the ONNX that will be moved to its place.

    Raises:
        UsageError: it would replace the source, and differs from it.
    """
    from trtkit.graph import io

    if is_own_source(request) and io.sha256_of(Path(request.source.text)) != made.sha256:
        raise UsageError(
            f"The ONNX that the plan is built from would be written over its source {request.source.text}, and "
            "differs from it.",
            hint="Give another folder with -o/--output.",
        )


def refuse_foreign(plan: Path, onnx: Path, name: str) -> None:
    """Keep a conversion from replacing a file that trtkit did not write: its own are named in a manifest beside them.

    Args:
        plan: the artifact that will be written.
        onnx: the ONNX that will be written beside it.
        name: of the model.

    Raises:
        UsageError: ``onnx`` is there, and no manifest speaks of it.
    """
    if not onnx.exists() or (onnx.parent / f"{name}.calibration.json").exists():
        return
    if any(True for _ in _manifests_of(onnx)):
        return
    beside = manifest_path(plan)
    if plan.exists():
        state = "cannot be read" if beside.exists() else "is missing"
        raise UsageError(
            f"{plan.name} and {onnx.name} are in {plan.parent} already, but their manifest {beside.name}, which says "
            f"what they were made from, {state}.",
            hint="Put the manifest back to have the plan reused, or add --force to build all three again.",
        )
    raise UsageError(
        f"{onnx} exists, and no manifest beside it says that trtkit wrote it; the ONNX of this plan would replace it.",
        hint="Move it away, give another folder with -o/--output, or add --force.",
    )
