"""Data → thresholds: statistics, candidate thresholds, their accuracy on samples that were held out, and a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.runs import CalibrateRequest, Runs
from trtkit.artifacts.calibration_report import CalibrationReport, MethodResult
from trtkit.artifacts.files import write_bytes
from trtkit.quant import quant_type
from trtkit.worker import Log, Progress

if TYPE_CHECKING:
    import onnx

    from trtkit.graph.placement import Placement

__all__ = ["CalibrateRequest", "calibrate", "keep_float", "measure"]

_POOR_DB = 10.0  # a tenth of the scores' power is error


def calibrate(
    model: onnx.ModelProto,
    reference: Path,
    placement: Placement,
    request: CalibrateRequest,
    scratch: Path,
    on_event: Callable[[Progress | Log], None],
) -> CalibrationReport:
    """Find thresholds for the tensors that ``placement`` will quantize.

    Args:
        model: the float model; not changed.
        reference: its file.
        placement: what will be quantized.
        request: how.
        scratch: a folder for the instrumented models.
        on_event: takes the workers' progress and log.

    Raises:
        CalibrationError: the data are at fault, or too few.
        RunError: executing the model fails.
    """
    observed, candidate = _write_instrumented(model, placement, request.dtype, scratch)
    run = Runs(request, str(reference.absolute()), str(candidate), on_event)
    plain = tuple(method for method in request.methods if method != "search")
    # The search needs a start: the method that usually comes closest, if none was asked for.
    found = run.collect(observed, placement, plain or ("entropy",))
    amax = {method: _unified(values, placement.shared) for method, values in found["amax"].items()}
    seen, held_out, data = found["seen"], 0, found["description"]
    accuracy: dict[str, Any] = {}
    if found["held_out"]:
        scored = run.score(amax, seen)
        accuracy, seen, held_out, data = (scored[key] for key in ("accuracy", "seen", "held_out", "description"))
    searched = None
    if "search" in request.methods:
        searched = run.improve(amax[_best(amax, accuracy)], placement, seen)
        amax["search"] = searched.pop("amax")
        if held_out:
            accuracy |= run.score({"search": amax["search"]}, seen)["accuracy"]
    kept = [method for method in request.methods if method in amax]
    results = tuple(MethodResult(method, amax[method], accuracy.get(method)) for method in kept)
    chosen = _best({method: amax[method] for method in kept}, accuracy)
    if len(kept) > 1 and not accuracy:
        run.warn(
            f"nothing was held out, so the {len(kept)} methods are not compared, and {chosen} is taken because it was "
            "named last; with --holdout 0.2 the best one is taken"
        )
    reached = next(result.sqnr_db for result in results if result.method == chosen)
    if reached is not None and reached < _POOR_DB and not data["synthetic"]:
        run.warn(
            f"{chosen} reaches {reached:.1f} dB on held-out samples: below {_POOR_DB:.0f} dB the scores are hardly "
            f"those of the float model. Try --method all, {keep_float(model, placement)}, or use fp16"
        )
    return CalibrationReport(
        methods=results,
        chosen=chosen,
        chosen_because=_why(chosen, results),
        search=searched,
        samples=found["samples"],
        held_out=held_out,
        data=data,
        dead=tuple(found["dead"]),
        warnings=tuple(run.warnings),
        where=found["where"],
        timings_s={**run.timings_s, "inference": found["inference_s"], "statistics": found["statistics_s"]},
        peak_rss_bytes=max(run.peaks, default=None),
    )


def keep_float(model: onnx.ModelProto, placement: Placement) -> str:
    """What to keep float first: depthwise convolutions, whose input has one scale for channels of unequal range."""
    taken = {decision.node for decision in placement.decisions if decision.quantized}
    dims = {constant.name: tuple(constant.dims) for constant in model.graph.initializer}
    depthwise = sum(
        node.name in taken
        and dims.get(node.input[1], (0, 0))[1] == 1
        and any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
        for node in model.graph.node
        if node.op_type == "Conv"
    )
    if not depthwise:
        return "keep nodes float with --exclude"
    return f'keep depthwise convolutions ({depthwise}) float with a --recipe FILE of {{"smallest_channels": 2}}'


def measure(
    model: onnx.ModelProto,
    reference: Path,
    placement: Placement,
    request: CalibrateRequest,
    label: str,
    amax: Mapping[str, float],
    scratch: Path,
    on_event: Callable[[Progress | Log], None],
) -> CalibrationReport:
    """How good thresholds from elsewhere are, on all samples of a data set.

    Args:
        model, reference, placement, scratch, on_event: as for :func:`calibrate`.
        request: which data; its methods are not looked at.
        label: what to call these thresholds.
        amax: tensor → threshold.

    Raises:
        CalibrationError: the data are at fault.
        RunError: executing the model fails.
    """
    _, candidate = _write_instrumented(model, placement, request.dtype, scratch)
    run = Runs(request, str(reference.absolute()), str(candidate), on_event)
    scored = run.score({label: dict(amax)}, None, everything=True)
    return CalibrationReport(
        methods=(MethodResult(label, dict(amax), scored["accuracy"].get(label)),),
        chosen=label,
        chosen_because="taken as they are",
        search=None,
        samples=0,
        held_out=scored["held_out"],
        data=scored["description"],
        dead=(),
        warnings=tuple(run.warnings),
        where=scored["where"],
        timings_s=run.timings_s,
        peak_rss_bytes=max(run.peaks, default=None),
    )


def _write_instrumented(model: onnx.ModelProto, placement: Placement, dtype: str, scratch: Path) -> tuple[Path, Path]:
    """The model that shows its inner tensors, and the quantized one whose scales are inputs."""
    from trtkit.graph import io
    from trtkit.graph.observe import observe
    from trtkit.graph.qdq import insert

    observed, candidate = scratch / "observed.onnx", scratch / "candidate.onnx"
    # Not through io.save: inner tensors may have no rank that shape inference can tell, and a runtime needs none.
    write_bytes(observed, observe(model, placement.tensors).SerializeToString())
    neutral = dict.fromkeys(placement.tensors, 1.0)
    quantized = insert(model, placement, neutral, quant_type(dtype), scales_as_inputs=True)
    io.save(quantized, candidate, name="candidate", precision=dtype)
    return observed.absolute(), candidate.absolute()


def _unified(amax: Mapping[str, float], groups: tuple[tuple[str, ...], ...]) -> dict[str, float]:
    """The same thresholds, with one for each group that must share it: the largest of its members."""
    unified = dict(amax)
    for group in groups:
        unified |= dict.fromkeys(group, max(amax[name] for name in group))
    return unified


def _best(amax: Mapping[str, Mapping[str, float]], accuracy: Mapping[str, Mapping[str, Any]]) -> str:
    """The method with the highest SQNR on held-out samples; the last one asked for where nothing was held out."""
    scored = [method for method in amax if accuracy.get(method, {}).get("sqnr_db") is not None]
    return max(scored, key=lambda method: accuracy[method]["sqnr_db"]) if scored else list(amax)[-1]


def _why(chosen: str, results: tuple[MethodResult, ...]) -> str:
    others = [result for result in results if result.method != chosen and result.sqnr_db is not None]
    best = next(result for result in results if result.method == chosen)
    if len(results) == 1:
        return "the only one asked for"
    if best.sqnr_db is None or not others:
        return "nothing was held out to compare the methods on"
    second = max(others, key=lambda result: result.sqnr_db or 0.0)
    gain = best.sqnr_db - (second.sqnr_db or 0.0)
    return f"highest SQNR on held-out samples, {gain:.2f} dB above {second.method}"
