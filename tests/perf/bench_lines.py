"""Lines of ``tests.perf.bench_tables``: what one measurement says, what bounds it, and the numbers to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trtkit.artifacts.bench import BenchResult
from trtkit.measurement import peaks

__all__ = ["KNOWN", "Known", "Line", "bounds", "known_of", "line_of", "markdown", "page"]

Key = tuple[str, str, str, str, int]
"""Model, family, precision, mode, batch."""

_BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "fp8": 1, "int8": 1}
_HALF = 0.5


@dataclass(frozen=True)
class Known:
    """A number to beat.

    Attributes:
        words: which graph and how, in the words of its source.
        images_per_s: by batch.
    """

    words: str
    images_per_s: Mapping[int, float]


_BAND_STEM = "graph rewritten by hand: LRN as a banded 1×1 convolution, first convolution as SpaceToDepth + 3×3 or 4×4"
_ALL_THREE = f"{_BAND_STEM}, parallel 1×1 convolutions merged"
_ORT = "CUDA provider, IO binding, no copies, no graph"
KNOWN: dict[tuple[str, str, str], tuple[Known, ...]] = {
    ("alexnet", "tensorrt-rtx", "fp16"): (
        Known(_BAND_STEM, {1: 3392, 64: 87585, 1024: 109402}),
        Known("graph as it is, 224²", {8: 13065}),
    ),
    ("alexnet", "tensorrt-rtx", "tf32"): (
        Known(f"{_BAND_STEM}; called FP32, TF32 in fact", {1: 1843, 64: 48714, 1024: 63676}),
        Known("graph as it is, 224²; called FP32, TF32 in fact", {8: 8465}),
    ),
    ("googlenet", "tensorrt-rtx", "fp16"): (
        Known(_BAND_STEM, {1024: 35144}),
        Known(_ALL_THREE, {1: 2539, 64: 29459}),
        Known("graph as it is", {8: 9005}),
    ),
    ("googlenet", "tensorrt-rtx", "tf32"): (
        Known(f"{_ALL_THREE}; called FP32, TF32 in fact", {1: 1593, 64: 18209, 1024: 19743}),
        Known("graph as it is; called FP32, TF32 in fact", {8: 6393}),
    ),
    ("googlenet", "tensorrt-rtx", "fp8"): (Known("Q/DQ at every convolution", {1: 279, 64: 7185, 1024: 9851}),),
    ("alexnet", "onnxruntime", "fp32"): (Known(f"{_ORT}, TF32 off, 224²", {1: 1782, 8: 6737, 64: 12925, 1024: 16014}),),
    ("alexnet", "onnxruntime", "tf32"): (
        Known(f"{_ORT}, 224²", {1: 1881, 8: 12328, 64: 33893, 1024: 45152}),
        Known("CUDA provider with its own CUDA graph, 224²", {1: 2449}),
    ),
    ("alexnet", "onnxruntime", "fp16"): (Known(f"{_ORT}, 224²", {1: 1972, 8: 14403, 64: 41752, 1024: 56631}),),
    ("googlenet", "onnxruntime", "fp32"): (Known(f"{_ORT}, TF32 off", {1: 472, 8: 2894, 64: 7536, 1024: 9596}),),
    ("googlenet", "onnxruntime", "tf32"): (
        Known(_ORT, {1: 583, 8: 4100, 64: 10910, 1024: 13405}),
        Known("CUDA provider with its own CUDA graph", {1: 1069}),
    ),
    ("googlenet", "onnxruntime", "fp16"): (Known(_ORT, {1: 548, 8: 4604, 64: 12720, 1024: 17052}),),
}
"""Images/s by model, family and precision, measured once on an NVIDIA H100 80GB HBM3 with tensorrt-rtx 1.6.1.120 and
onnxruntime-gpu 1.31.1, before trtkit had rewrites; graphs by hand, one engine for 1/256/2048, computation alone."""


def known_of(model: str, family: str, precision: str, mode: str, batch: int) -> tuple[float, str] | None:
    """The largest of the numbers to beat, and its words; only for ``compute-graph``, where the engine's were taken."""
    if mode != "compute-graph":
        return None
    # On Hopper TensorRT-RTX computes in TF32 whatever it is told.
    names = [precision, "tf32"] if family == "tensorrt-rtx" and precision == "fp32" else [precision]
    entries = next((found for name in names if (found := KNOWN.get((model, family, name)))), ())
    rates = [(known.images_per_s[batch], known.words) for known in entries if batch in known.images_per_s]
    return max(rates, default=None)


@dataclass(frozen=True)
class Line:
    """One measurement, or why there is none.

    Attributes:
        model, family, precision, mode, batch: which.
        images_per_s, compute_ms, enqueue_ms: medians; ``None`` where it was not measured.
        shares: what the time could be bound by → share: see :func:`bounds`.
        watts, sm_mhz: means over the run.
        findings: ids of reasons for INVALID (``valid`` is then false) and of notes.
        problem: why there is no measurement.
        result: everything that ``bench`` wrote, but for the raw samples.
        made: what differs from the environment of the file; empty for lines of its last call.
    """

    model: str
    family: str
    precision: str
    mode: str
    batch: int
    images_per_s: float | None = None
    compute_ms: float | None = None
    enqueue_ms: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    watts: float | None = None
    sm_mhz: float | None = None
    valid: bool = True
    findings: tuple[str, ...] = ()
    problem: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What a later measurement of the same replaces."""
        return self.model, self.family, self.precision, self.mode, self.batch

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, the number to beat among them."""
        known = known_of(*self.key)
        beside = None
        if known is not None and self.images_per_s:
            beside = {"images_per_s": known[0], "words": known[1], "ratio": self.images_per_s / known[0]}
        return {**asdict(self), "findings": list(self.findings), "h100_by_hand": beside}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Line:
        """The inverse."""
        parts = {name: entry for name, entry in value.items() if name != "h100_by_hand"}
        return cls(**{**parts, "findings": tuple(parts["findings"])})


def line_of(result: BenchResult, written_elements: int | None) -> Line:
    """A line from a measurement.

    Args:
        result: of ``bench``.
        written_elements: outputs of convolutions and matrix products per image, in elements.
    """
    figures, conditions, subject = result.timeline.summary(), result.conditions, result.subject
    rate, compute, enqueue = (
        result.throughput_images_per_s,
        (figures["compute"] or {}).get("p50_ms"),
        (figures["enqueue"] or {}).get("p50_ms"),
    )
    shares: dict[str, float] = {}
    if compute and enqueue is not None and result.device.device != "cpu":
        shares["launches"] = enqueue / compute
    if result.fraction_of_peak:
        shares["arithmetic"] = result.fraction_of_peak
    memory = peaks.lookup(result.device.name)
    if memory is not None and rate and written_elements:
        # Each result is written once and read once; an engine that fuses less moves more.
        shares["memory"] = rate * 2 * written_elements * _BYTES.get(subject.precision, 4) / memory.memory_bytes_per_s
    document = {name: value for name, value in result.to_json().items() if name not in ("timeline", "environment")}
    return Line(
        *(subject.model, subject.family, subject.precision, result.settings.mode, result.settings.batch),
        images_per_s=rate,
        compute_ms=compute,
        enqueue_ms=enqueue,
        shares=shares,
        watts=conditions.mean_power_w,
        sm_mhz=_mean(conditions.sm_clock_mhz),
        valid=result.verdict.valid,
        findings=tuple(finding.id for finding in (*result.verdict.reasons, *result.verdict.notes)),
        result=document,
    )


def bounds(line: Line, lines: Sequence[Line]) -> str:
    """What bounds a line, the largest share first, in a few words.

    ``launches``: the host's time to start the work over the time of the work. ``arithmetic``: of the theoretical peak.
    ``memory``: of the memory's bandwidth, if the output of every convolution is written once and read once.
    ``latency``: the time at batch 1 over the time here: what a larger batch would not need to pay again.
    """
    if line.images_per_s is None or line.compute_ms is None:
        return ""
    shares = dict(line.shares)
    one = next((other for other in lines if other.key == (*line.key[:-1], 1)), None)
    if one is not None and one.compute_ms and line.batch > 1:
        shares["latency"] = min(one.compute_ms / line.compute_ms, 1.0)
    text = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
    capped = "; at its power limit" if "power-capped" in line.findings else ""
    high = [name for name, share in shares.items() if share >= _HALF]
    if high:
        return f"{text}{capped}"
    if line.batch == 1 and "launches" in shares:
        return f"a chain of kernels too small for the device ({text}){capped}"
    return f"none above half ({text}){capped}" if shares else f"unknown{capped}"


def markdown(lines: Sequence[Line]) -> str:
    """The lines as a table."""
    rows = [
        "| model | precision | family | mode | batch | images/s | ms | W | SM MHz | what bounds it | H100, by hand "
        "| verdict |",
        "|---|---|---|---|--:|--:|--:|--:|--:|---|--:|---|",
    ]
    for line in lines:
        known = known_of(*line.key)
        beside = ""
        if known is not None:
            beside = f"{known[0]:,.0f}" + (f" ({line.images_per_s / known[0]:.2f} ×)" if line.images_per_s else "")
        words = ", ".join(line.findings) if line.valid else f"**INVALID**: {', '.join(line.findings)}"
        made = ", ".join(f"{name} {value}" for name, value in line.made.items())
        cells = [
            line.model,
            line.precision,
            line.family,
            line.mode,
            str(line.batch),
            _number(line.images_per_s, "–"),
            f"{line.compute_ms:.4g}" if line.compute_ms else "–",
            _number(line.watts),
            _number(line.sm_mhz),
            line.problem or bounds(line, lines),
            beside,
            "; ".join(filter(None, [words, made])),
        ]
        rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(rows)


def page(document: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """The whole file: with what it was made, the table, the ladders and what was left out."""
    about = document["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    parts = [
        "# Images per second, and what bounds them",
        f"{about['gpu'] or about['cpu']}, {about['cores']} cores, Python {about['python']}; {packages}.\n"
        f"Made by `{document['command']}`; everything but the raw samples is in `bench_tables.json`.",
        markdown(lines),
        _LEGEND,
    ]
    if document.get("earlier"):
        calls = "\n".join(f"* `{call['command']}`, {call['ended']}" for call in document["earlier"])
        parts.append(f"Lines that this call did not measure were kept from earlier ones:\n\n{calls}")
    ladders = [f"* {x['what']}: {x['largest'] or 'nothing ran'}; {x['stopped']}" for x in document["ladders"]]
    if ladders:
        parts.append("Largest batch:\n\n" + "\n".join(ladders))
    if document["left_out"]:
        parts.append("**Left out, for the time was up:**\n\n" + "\n".join(f"* {text}" for text in document["left_out"]))
    return "\n\n".join(parts)


_LEGEND = """\
“H100, by hand”: measured once on another GPU, an H100, with graphs rewritten by hand before trtkit had rewrites, and
ONNX Runtime mostly without CUDA graphs; in brackets this run's rate over it. The words of each source stand in
`tests/perf/bench_lines.py` and in the JSON file.
Shares: launches = the host's enqueue over the computation; arithmetic = of the theoretical peak; memory = of the
bandwidth, were the result of every convolution written once and read once; latency = batch 1's time over this one's."""


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float | None, nothing: str = "") -> str:
    return nothing if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
