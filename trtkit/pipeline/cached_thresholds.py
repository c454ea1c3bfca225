"""A TensorRT calibration cache → calibration table and report, for a model whose tensors it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calibration import trt_cache
from calibration.trt_cache import CacheMatch
from trtkit import environment
from trtkit.artifacts.calibration_report import CalibrationReport
from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.files import sha256_file
from trtkit.artifacts.plan import Source
from trtkit.errors import CalibrationError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.table_fit import weights_of
from trtkit.pipeline.thresholds import measured

if TYPE_CHECKING:
    from trtkit.graph.placement import Placement
    from trtkit.pipeline.quantization import Quantization

__all__ = ["from_trt_cache"]


def from_trt_cache(
    path: Path,
    exported: ExportedModel,
    source: Source,
    reference: Path,
    placement: Placement,
    how: Quantization,
    scratch: Path,
    listener: Listener,
) -> tuple[CalibrationTable, CacheMatch, CalibrationReport]:
    """A table from a TensorRT calibration cache; every wanted tensor must be in it.

    Args:
        path: the cache.
        exported, source, placement: the model, and what of it will be quantized.
        reference: the float ONNX file.
        how: its data, if any, are what the thresholds are tried on.
        scratch: a folder for intermediate files.
        listener: is told what matched.

    Returns:
        The table, what matched, and the report.

    Raises:
        CalibrationError: the cache is damaged or lacks tensors, or the data are at fault.
    """
    cache = trt_cache.read_cache(path)
    graph = exported.model.graph
    known = {name for node in graph.node for name in (*node.input, *node.output)} | {v.name for v in graph.input}
    found = trt_cache.match(cache, placement.tensors, known)
    if found.missing:
        names = len(cache.scales) + len(cache.zero)
        others = (
            f" Of its {names} names {len(found.unmatched)} are no tensors of this model." if found.unmatched else ""
        )
        raise CalibrationError(
            f"The cache {path.name} has no scale for {len(found.missing)} of "
            f"{len(placement.tensors)} tensors; the first: {', '.join(found.missing[:5])}.{others}",
            hint="TensorRT names tensors after the ONNX file: use the very file that was calibrated, or exclude the "
            "nodes with --exclude.",
        )
    listener.note(
        f"{len(found.matched)} of {len(placement.tensors)} tensors matched by name; of the other names "
        f"{len(found.fused)} are fused tensors that TensorRT invented, {len(found.unmatched)} no tensor of this model, "
        f"{len(found.unused)} not needed"
    )
    if found.zero:
        listener.note(
            f"{len(found.zero)} tensors have the scale 0, and get a guess instead: {', '.join(found.zero[:3])}"
        )
    table = CalibrationTable(
        model=source.name,
        model_sha256=source.sha256,
        weights=weights_of(source),
        dtype="int8",
        method="trt-cache",
        tensors={name: found.ranges[name] for name in placement.tensors},
        samples=0,
        data={
            "kind": "trt-cache",
            "source": path.name,
            "sha256": sha256_file(path),
            "header": cache.header,
            "version": cache.version,
        },
        transforms=exported.transforms,
        rewrites=exported.rewrites.replay if exported.rewrites is not None else {},
        environment=environment.describe().to_json(),
    )
    if how.data is not None:
        report = measured(exported, source, reference, placement, how, table, scratch, listener)
    else:
        report = CalibrationReport.without_data("trt-cache", table.amax, dict(table.data))
    why = f"{len(found.matched)} of {len(placement.tensors)} scales of {path.name}, {cache.header}"
    report = replace(report, chosen_because=why, cache={"header": cache.header, **found.to_json()})
    return table, found, report
