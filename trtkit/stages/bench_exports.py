"""Results for other tools: CSV, and the JSON files of trtexec (--exportTimes, --exportProfile, --exportLayerInfo).

The layouts are those of NVIDIA/TensorRT's samples/common/sampleReporting.cpp and of its engine inspector, so that what
reads trtexec's files reads these.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.files import atomic_path, real_file, write_bytes
from trtkit.artifacts.layers import Layer, LayerReport, LayerTensor
from trtkit.artifacts.timeline import Timeline

__all__ = ["CSV_COLUMNS", "layer_info", "layer_profile", "times", "write_csv", "write_export"]


def _part(name: str, figure: str) -> Callable[[BenchResult], float | None]:
    def of(result: BenchResult) -> float | None:
        part = result.timeline.summary()[name]
        return None if part is None else part[figure]

    return of


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


_COLUMNS: tuple[tuple[str, Callable[[BenchResult], Any]], ...] = (
    ("model", lambda r: r.subject.model),
    ("precision", lambda r: r.subject.precision),
    ("observed", lambda r: r.subject.observed),
    ("family", lambda r: r.subject.family),
    ("version", lambda r: r.subject.version),
    ("device", lambda r: r.device.device),
    ("device_name", lambda r: r.device.name),
    ("mode", lambda r: r.settings.mode),
    ("batch", lambda r: r.settings.batch),
    ("images_per_s", lambda r: r.throughput_images_per_s),
    *((f"latency_{name}", _part("latency", name)) for name in ("mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")),
    *((f"{name}_p50_ms", _part(name, "p50_ms")) for name in ("h2d", "compute", "d2h", "enqueue")),
    ("compute_cov", _part("compute", "cov")),
    ("iterations", lambda r: len(r.timeline)),
    ("fraction_of_peak", lambda r: r.fraction_of_peak),
    ("power_w", lambda r: r.conditions.mean_power_w),
    ("images_per_joule", lambda r: r.images_per_joule),
    ("sm_clock_mhz", lambda r: _mean(r.conditions.sm_clock_mhz)),
    ("valid", lambda r: r.verdict.valid),
    ("reasons", lambda r: " ".join(finding.id for finding in r.verdict.reasons)),
    ("notes", lambda r: " ".join(finding.id for finding in r.verdict.notes)),
    ("sha256", lambda r: r.subject.sha256),
    ("created", lambda r: r.created),
)
CSV_COLUMNS: tuple[str, ...] = (*(name for name, _ in _COLUMNS), "file")
"""The columns of ``--csv``; times in milliseconds, fractions not in percent, unknown is empty."""


def write_csv(path: Path, measured: Iterable[tuple[BenchResult, Path]]) -> None:
    """One line a measurement, with the file that holds its raw samples; an older file is replaced, a link followed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result, file in measured:
        writer.writerow([_cell(read(result)) for _, read in _COLUMNS] + [str(file)])
    write_bytes(real_file(path), text.getvalue().encode())


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value


def times(timeline: Timeline) -> list[dict[str, float]]:
    """trtexec's ``--exportTimes``: an object an iteration, warm-up excluded; times in ms since the timeline's start."""
    found = []
    for row in timeline.rows:
        h2d, compute, d2h = (
            end - start
            for start, end in (
                (row.start_h2d_ms, row.end_h2d_ms),
                (row.start_compute_ms, row.end_compute_ms),
                (row.start_d2h_ms, row.end_d2h_ms),
            )
        )
        values = {
            "startEnqMs": row.start_enqueue_ms,
            "endEnqMs": row.end_enqueue_ms,
            "startH2dMs": row.start_h2d_ms,
            "endH2dMs": row.end_h2d_ms,
            "startComputeMs": row.start_compute_ms,
            "endComputeMs": row.end_compute_ms,
            "startD2hMs": row.start_d2h_ms,
            "endD2hMs": row.end_d2h_ms,
            "h2dMs": h2d,
            "computeMs": compute,
            "d2hMs": d2h,
            "latencyMs": h2d + compute + d2h,
        }
        found.append({name: round(value, 4) for name, value in values.items()})
    return found


def layer_profile(iterations: Sequence[Sequence[tuple[str, float]]]) -> list[dict[str, Any]]:
    """trtexec's ``--exportProfile``: the number of iterations, then an object a layer in the order of execution.

    Args:
        iterations: for each of them, (layer, milliseconds) in order. A layer that is missing in one counts 0 there.
    """
    names = list(dict.fromkeys(name for iteration in iterations for name, _ in iteration))
    spent: dict[str, list[float]] = {name: [0.0] * len(iterations) for name in names}
    for index, iteration in enumerate(iterations):
        for name, milliseconds in iteration:
            spent[name][index] += milliseconds
    whole = sum(sum(values) for values in spent.values())
    return [
        {"count": len(iterations)},
        *(
            {
                "name": name,
                "timeMs": round(sum(values), 6),
                "averageMs": round(statistics.fmean(values), 6),
                "medianMs": round(statistics.median(values), 6),
                "percentage": round(100 * sum(values) / whole, 4) if whole else 0.0,
            }
            for name, values in spent.items()
        ),
    ]


def layer_info(report: LayerReport, bindings: Sequence[str]) -> dict[str, Any]:
    """trtexec's ``--exportLayerInfo``: the engine's layers, with the keys of TensorRT's engine inspector.

    Args:
        report: the layers.
        bindings: names of the plan's inputs and outputs.
    """
    return {"Layers": [_layer(layer) for layer in report.layers], "Bindings": list(bindings)}


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "Name": layer.name,
        "LayerType": layer.kind,
        "Inputs": [_tensor(tensor) for tensor in layer.inputs],
        "Outputs": [_tensor(tensor) for tensor in layer.outputs],
        "Constants": [_tensor(tensor) for tensor in layer.constants],
        "TacticName": layer.tactic or "",
        "Metadata": "\x1e".join(f"[ONNX Layer: {name}]" for name in layer.onnx_nodes),
    }


def _tensor(tensor: LayerTensor) -> dict[str, Any]:
    words = " ".join(word for word in (tensor.dtype, tensor.format) if word)
    return {"Name": tensor.name, "Dimensions": list(tensor.shape or ()), "Format/Datatype": words}


def write_export(path: Path, value: list[dict[str, Any]] | list[dict[str, float]] | dict[str, Any]) -> None:
    """Write one of these documents, atomically, an entry a line as trtexec does; a symbolic link is followed."""
    import json

    with atomic_path(real_file(path)) as scratch, scratch.open("w", encoding="utf-8") as file:
        if isinstance(value, list):
            file.write("[\n  " + "\n, ".join(json.dumps(entry) for entry in value) + "\n]\n")
        else:
            json.dump(value, file, indent=2)
            file.write("\n")
