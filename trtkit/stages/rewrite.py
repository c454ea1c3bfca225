"""Model → the same model with a faster graph: rewrites on top of each other, checked against the source.

The result of all is checked first; only if it is wrong is each looked at, and the one that spoils it is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtkit import environment, worker
from trtkit.artifacts.model import OnnxModel, TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.rewrites import AppliedRewrite, RewriteReport, Site
from trtkit.artifacts.samples import SampleCase, SamplePlan
from trtkit.backends.executing import REFERENCE_PROVIDER, Known, read_outputs
from trtkit.worker import Log, Progress

if TYPE_CHECKING:
    import onnx

__all__ = ["NO_PLACE", "RewriteOptions", "rewrite", "rewrite_model"]

NO_PLACE = "the model has no place for it"
"""Why a rewrite was not applied that would have been welcome."""

OnEvent = Callable[[Progress | Log], None]


@dataclass(frozen=True)
class RewriteOptions:
    """Which rewrites, and how their results are checked.

    Attributes:
        names: of the rewrites, in the order in which they are applied.
        asked: what the user wrote (``safe``, ``auto``, names), for the report.
        only: rewrite → names of anchors where it is applied, as in :attr:`RewriteReport.replay`; a rewrite that is
            missing there is applied wherever it fits.
        profile: shapes of the samples; ``None`` takes the model's fixed ones and batches of 1 and 3.
        input_std, seed: of the seeded inputs.
        data: an .npz file with one batch of real inputs, an array for every input; not beside a rewrite that changes
            the inputs.
        preprocessing: the normalisation that ``uint8_nhwc_input`` moves into the graph.
        check: whether results are checked. Only a replay of rewrites that were checked before may leave it out.
        known: keeps the outputs of the source and of the result, for whoever compares the two again.
    """

    names: tuple[str, ...]
    asked: str = "names"
    only: Mapping[str, tuple[str, ...]] | None = None
    profile: OptimizationProfile | None = None
    input_std: float = 1.0
    seed: int = 0
    data: Path | None = None
    preprocessing: Preprocessing | None = None
    check: bool = True
    known: Known | None = None


@dataclass(frozen=True)
class _Candidate:
    """A rewrite applied on top of those before it: its sites, and the file of the result."""

    name: str
    sites: tuple[Site, ...]
    file: Path
    sha256: str = ""


def rewrite(
    model: OnnxModel, path: Path, scratch: Path, options: RewriteOptions, on_event: OnEvent = lambda event: None
) -> tuple[OnnxModel, RewriteReport]:
    """Rewrite a file.

    Args:
        model: prepared, FP32 or FP16.
        path: where the rewritten file goes; nothing is written if no rewrite is kept, and ``model`` is returned.
        scratch: a folder for the files that are compared.
        options: which rewrites.
        on_event: told what the worker reports.

    Raises:
        UsageError: an unknown rewrite, or shapes are needed and not given.
        ModelError: shape inference finds a contradiction.
        RunError: the source does not run in ONNX Runtime.
    """
    from trtkit.graph import io

    loaded = io.load(model.path)
    result, report = rewrite_model(loaded, scratch, options, on_event, precision=model.precision, source=model)
    if not report.kept:
        return model, report
    parents = (*model.parents, model.sha256)
    transforms = (*model.transforms, *report.names)
    precision = model.precision
    made = io.save(result, path, name=model.name, precision=precision, parents=parents, transforms=transforms)
    return made, report


def rewrite_model(
    model: onnx.ModelProto,
    scratch: Path,
    options: RewriteOptions,
    on_event: OnEvent = lambda event: None,
    *,
    precision: str = "fp32",
    source: OnnxModel | None = None,
) -> tuple[onnx.ModelProto, RewriteReport]:
    """Rewrite a model in memory; see :func:`rewrite`.

    Args:
        model: prepared, weights inside; it is not changed.
        scratch: a folder for the files that are compared.
        options: which rewrites.
        on_event: told what the worker reports.
        precision: the numbers inside, ``fp32`` or ``fp16``.
        source: the model's own file; without it one is written to ``scratch``.

    Returns:
        The rewritten model (``model`` itself where no rewrite was kept) and the report.
    """
    from trtkit.graph import io
    from trtkit.graph.rewrites import named

    started = time.perf_counter()
    wanted = [item.name for item in named(options.names)]
    dropped: dict[str, AppliedRewrite] = {}
    failed: dict[str, str] = {}
    each = False  # the last result holds every rewrite, and is right where all of them are
    answer: dict[str, Any] = {"own": None, "cases": [], "where": None, "checks": []}
    while True:
        names = [name for name in wanted if name not in dropped and name not in failed]
        result, candidates = _apply(model, names, scratch, options, each, failed)
        if not candidates or not options.check:
            break
        if source is None:
            source = io.save(model, scratch / "source.onnx", name="source", precision=precision)
        answer = _check(model, source, candidates, options, precision, on_event, each)
        if not each:
            if answer["checks"][0]["reason"] is None:
                answer["checks"] *= len(candidates)
                break
            each = True  # one of them is wrong: look which
            continue
        wrong = next((index for index, item in enumerate(answer["checks"]) if item["reason"] is not None), None)
        if wrong is None:
            break
        bad, verdict = candidates[wrong], answer["checks"][wrong]
        dropped[bad.name] = AppliedRewrite(
            bad.name, bad.sites, verdict["difference"], verdict["limit"], kept=False, reason=verdict["reason"]
        )
    report = RewriteReport(
        options.asked,
        tuple(_entries(wanted, candidates, dropped, failed, answer["checks"])),
        answer["own"],
        tuple(answer["cases"]),
        answer["where"],
        time.perf_counter() - started,
    )
    return (result if candidates else model), report


def _apply(
    model: onnx.ModelProto,
    names: list[str],
    scratch: Path,
    options: RewriteOptions,
    each: bool,
    failed: dict[str, str],
) -> tuple[onnx.ModelProto, list[_Candidate]]:
    """Apply rewrites one on top of the other; the last, or each, that changes something leaves a file.

    One that fails is left out, and ``failed`` gets the reason.
    """
    from trtkit.graph import io
    from trtkit.graph.rewrites import attempt, named

    candidates: list[_Candidate] = []
    for item in named(names, options.preprocessing):
        made = attempt(item, model, (options.only or {}).get(item.name))
        if isinstance(made, str):
            failed[item.name] = made
            continue
        if not made.modified:
            continue
        model = made.model
        file = scratch / f"{len(candidates)}_{item.name}.onnx"
        saved = io.save(model, file, name=item.name, precision="fp32").sha256 if options.check and each else ""
        candidates.append(_Candidate(item.name, made.sites, file, saved))
    if options.check and candidates and not each:
        last = candidates[-1]
        candidates[-1] = replace(last, sha256=io.save(model, last.file, name=last.name, precision="fp32").sha256)
    return model, candidates


def _check(
    model: onnx.ModelProto,
    source: OnnxModel,
    candidates: list[_Candidate],
    options: RewriteOptions,
    precision: str,
    on_event: OnEvent,
    each: bool,
) -> dict[str, Any]:
    """Run the last of the candidates, or each of them, beside the source."""
    from trtkit.graph import io
    from trtkit.graph.outputs import softmax_axes
    from trtkit.graph.rewrites import named

    samples = _samples(io.specs(model)[0], options)
    # The last one holds the rewrites of those before it, the interface that they changed among them.
    images = any(item.changes_interface for item in named([item.name for item in candidates]))
    compared = candidates if each else candidates[-1:]
    last, beside = candidates[-1].file, source.path.stem
    keeps = [last.with_name(f"{beside}.npz"), last.with_suffix(".npz")] if options.known is not None else None
    if images or options.data is not None:
        keeps = None  # those are other inputs than the seeded ones
    answer = worker.run(
        "trtkit.backends.rewrite_jobs:check",
        {
            "source": str(source.path.absolute()),
            "rewritten": [str(item.file.absolute()) for item in compared],
            "samples": samples.to_json(),
            "softmax_axes": softmax_axes(model),
            "precision": precision,
            "data": str(options.data.absolute()) if options.data else None,
            "images": images,
            "preprocessing": options.preprocessing.to_json() if options.preprocessing else None,
            "keep": [str(path.absolute()) for path in keeps] if keeps else None,
        },
        what="the check of the rewritten model",
        on_event=on_event,
    )
    value: dict[str, Any] = answer.value
    if options.known is not None:
        for sha256, path in zip((source.sha256, candidates[-1].sha256), keeps or (), strict=False):
            if path.exists():
                where = f"{environment.cpu_name()}, {REFERENCE_PROVIDER}"
                options.known.keep(sha256, samples, read_outputs(path, where, REFERENCE_PROVIDER))
                path.unlink()
    return value


def _samples(inputs: tuple[TensorSpec, ...], options: RewriteOptions) -> SamplePlan:
    """Small batch sizes; the optimum shapes where there is no batch axis."""
    from trtkit.graph.shapes import resolve_profile

    profile = options.profile or resolve_profile(inputs, None, ())
    cases = [SampleCase("optimum shapes", {name: shapes.optimum for name, shapes in profile.ranges.items()})]
    if profile.batches is not None:
        varying = profile.batch_inputs or ()
        cases = [SampleCase(f"batch {n}", profile.shapes_beyond(n), varying) for n in profile.few_batches]
    return SamplePlan(options.seed, inputs, options.input_std, tuple(cases))


def _entries(
    wanted: list[str],
    candidates: list[_Candidate],
    dropped: Mapping[str, AppliedRewrite],
    failed: Mapping[str, str],
    checks: list[dict[str, Any]],
) -> list[AppliedRewrite]:
    """One entry for every rewrite that was asked for, in order."""
    kept = {item.name: (item, verdict) for item, verdict in zip(candidates, checks, strict=False)}
    unchecked = {item.name: item for item in candidates}
    entries = []
    for name in wanted:
        if name in dropped:
            entries.append(dropped[name])
        elif name in kept:
            item, verdict = kept[name]
            entries.append(AppliedRewrite(name, item.sites, verdict["difference"], verdict["limit"], kept=True))
        elif name in unchecked:
            entries.append(AppliedRewrite(name, unchecked[name].sites, None, None, kept=True))
        else:
            reason = failed.get(name, NO_PLACE)
            entries.append(AppliedRewrite(name, (), None, None, kept=False, reason=reason))
    return entries
