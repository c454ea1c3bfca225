"""The files for other tools that a benchmark writes beside its own results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtkit import worker
from trtkit.artifacts.bench import BenchResult
from trtkit.artifacts.device import worker_env
from trtkit.artifacts.files import real_file
from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.plan import PlanManifest, manifest_path
from trtkit.backends import registry
from trtkit.errors import RunError, UsageError
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_request import BenchmarkRequest, Run
from trtkit.pipeline.bench_subjects import Prepared
from trtkit.stages.bench_exports import layer_info, layer_profile, times, write_csv, write_export

__all__ = ["BenchExports", "check_exports", "export_layers", "export_runs"]

_WARMUP, _ITERATIONS = 3, 20
_OPTIONS = {
    "csv": "--csv",
    "times": "--export-times",
    "profile": "--export-profile",
    "layer_info": "--export-layer-info",
}


@dataclass(frozen=True)
class BenchExports:
    """Which files; ``None`` for none. Of several measurements each has its own: ``FILE`` becomes ``FILE.bN.MODE…``.

    Attributes:
        csv: a table of all measurements.
        times: trtexec's ``--exportTimes``.
        profile: trtexec's ``--exportProfile``, from further iterations under the vendor's profiler.
        layer_info: trtexec's ``--exportLayerInfo``.
    """

    csv: Path | None = None
    times: Path | None = None
    profile: Path | None = None
    layer_info: Path | None = None


def check_exports(exports: BenchExports, places: Sequence[Target], inputs: Sequence[Path]) -> None:
    """Refuse what a family cannot give, and files over each other or over what is read, before anything is measured.

    Args:
        exports: which files.
        places: who will measure.
        inputs: files that are read.

    Raises:
        UsageError: naming the option and the reason.
    """
    taken = {path.resolve(): "what is measured" for path in inputs}
    for field, option in _OPTIONS.items():
        path: Path | None = getattr(exports, field)
        if path is None:
            continue
        file = real_file(path, f"{option} {path}")
        if (other := taken.get(file)) is not None:
            raise UsageError(f"{option} {path} would be written over {other}.", hint="Give a file of its own.")
        taken[file] = f"the file of {option}"
    for field, option in (("profile", "--export-profile"), ("layer_info", "--export-layer-info")):
        for target in places:
            reason = target.can.refuses_export(field, target.device.kind)
            if getattr(exports, field) is not None and reason is not None:
                raise UsageError(
                    f"{option} cannot be honoured by the {target.can.family} family: {reason}",
                    hint=f"Leave {option} out, or choose another --family.",
                )


def export_runs(exports: BenchExports, runs: Sequence[Run], *, several: bool) -> None:
    """Write what follows from the results alone: CSV and times."""
    if exports.csv is not None:
        write_csv(exports.csv, [(run.result, run.file) for run in runs])
    if exports.times is not None:
        for run in runs:
            write_export(_named(exports.times, run.result, several=several), times(run.result.timeline))


def export_layers(
    exports: BenchExports, request: BenchmarkRequest, *, several: bool
) -> Callable[[Prepared, Target, BenchResult], None] | None:
    """What writes profile and layers after a measurement; ``None`` where neither is wanted.

    Args:
        exports: which files.
        request: what was asked.
        several: whether more than one measurement is made.
    """
    if exports.profile is None and exports.layer_info is None:
        return None

    def write(prepared: Prepared, target: Target, result: BenchResult) -> None:
        if exports.profile is not None:
            iterations = _layer_times(prepared, target, result, request)
            write_export(_named(exports.profile, result, several=several), layer_profile(iterations))
        if exports.layer_info is not None:
            report, bindings = _layers(prepared, target)
            write_export(_named(exports.layer_info, result, several=several), layer_info(report, bindings))

    return write


def _named(path: Path, result: BenchResult, *, several: bool) -> Path:
    if not several:
        return path
    device = result.device.device.replace(":", "").replace("/", "of")
    label = f"{result.subject.precision}.{device}.b{result.settings.batch}.{result.settings.mode}"
    return path.with_name(f"{path.stem}.{label}{path.suffix}")


def _layer_times(
    prepared: Prepared, target: Target, result: BenchResult, request: BenchmarkRequest
) -> list[list[tuple[str, float]]]:
    with tempfile.TemporaryDirectory(prefix="trtkit-") as folder:
        answer = worker.run(
            "trtkit.backends.profile_jobs:layer_times",
            {
                "family": target.can.family,
                "plan": str(prepared.artifact.absolute()),
                "device": asdict(target.device),
                "settings": result.settings.to_json(),
                "folder": folder,
                "input_std": prepared.input_std,
                "data": str(request.data.absolute()) if request.data else None,
                "host_code": request.host_code or prepared.trusted,
                "warmup": _WARMUP,
                "iterations": _ITERATIONS,
            },
            what=f"the layer profile of {prepared.artifact.name}",
            env={**registry.worker_env(target.can.family), **worker_env(target.device)},
        )
    return [[(str(name), float(value)) for name, value in iteration] for iteration in answer.value]


def _layers(prepared: Prepared, target: Target) -> tuple[LayerReport, list[str]]:
    """The layers of the loaded engine, or those that its builder showed; and the names of inputs and outputs."""
    manifest = PlanManifest.read(prepared.artifact) if manifest_path(prepared.artifact).exists() else None
    answer: Any = worker.run(
        "trtkit.backends.jobs:layers",
        {"family": target.can.family, "plan": str(prepared.artifact.absolute())},
        what=f"the layers of {prepared.artifact.name}",
        env={**registry.worker_env(target.can.family), **worker_env(target.device)},
    ).value
    report = LayerReport.from_json(answer) if answer else manifest.layers if manifest else None
    if report is None:
        raise RunError(
            f"{target.can.family} does not show the layers of {prepared.artifact.name}.",
            hint="Leave --export-layer-info out, or convert the model again with trtkit.",
        )
    specs = (*manifest.onnx.inputs, *manifest.onnx.outputs) if manifest else ()
    return report, [spec.name for spec in specs]
