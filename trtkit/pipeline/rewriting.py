"""Between export and precision: the rewrites that were asked for, applied, checked, and told with what they gained."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.calibration_table import CalibrationTable
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.preprocessing import Preprocessing
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.artifacts.rewrites import AppliedRewrite, RewriteReport, Site
from trtkit.backends.base import Capabilities
from trtkit.backends.executing import Known
from trtkit.errors import BackendUnavailableError, CalibrationError, RunError, UsageError
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.rewrite_memory import RewriteMemory, rewrite_once
from trtkit.pipeline.rewrite_notes import notes
from trtkit.stages.rewrite import RewriteOptions

if TYPE_CHECKING:
    from trtkit.graph.rewrites.remembered import Remembered

__all__ = [
    "WORDS",
    "Rewriting",
    "check_asked",
    "check_replayed",
    "named_rewrites",
    "replaying",
    "rewritten",
    "target_of",
]

WORDS = ("none", "safe", "auto")
"""What can be asked for instead of a list of names."""

_FLOAT = ("fp32", "fp16")


@dataclass(frozen=True)
class Rewriting:
    """What is to be done to one model.

    Attributes:
        asked: one of :data:`WORDS`, or names with commas between.
        target: whom the graph is for: a family, perhaps with ``:`` and what it runs on.
        precision: of the artifact.
        names: of the rewrites, where measurements have chosen them; ``None`` follows ``asked``.
        because: how those were chosen, a clause.
        gains: what was measured of each of them (name → entry without sites), beside what the table remembers.
        only: rewrite → anchors, of a replay.
        interface: whether rewrites that change inputs or outputs may be named.
        data: an .npz file with one batch of real inputs, for the check.
    """

    asked: str
    target: str
    precision: str = "fp32"
    names: tuple[str, ...] | None = None
    because: str = ""
    gains: Mapping[str, AppliedRewrite] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] | None = None
    interface: bool = False
    data: Path | None = None


def target_of(can: Capabilities) -> str:
    """Whom a graph is for, as :func:`trtkit.graph.rewrites.safe` reads it: ``onnxruntime:cpu``."""
    if can.suffix == ".onnx":
        return f"{can.family}:{'cuda' if can.gpus and can.device != 'CPU' else 'cpu'}"
    return f"{can.family}:{can.gpus[0].compute_capability}" if can.gpus else can.family


def named_rewrites(asked: str) -> tuple[str, ...] | None:
    """The names in a list, in the order in which they are applied; ``None`` for one of :data:`WORDS`.

    Raises:
        UsageError: a name is unknown, twice there, or stands beside one of the words.
    """
    from trtkit.graph.rewrites import ALL, named

    words = [word.strip() for word in asked.lower().split(",") if word.strip()]
    if len(words) == 1 and words[0] in WORDS:
        return None
    if not words or set(words) & set(WORDS):
        raise UsageError(
            f"--rewrite {asked} is neither one of {', '.join(WORDS)} nor a list of rewrites.",
            hint=f"The rewrites are: {', '.join(ALL)}.",
        )
    chosen = {item.name for item in named(words)}
    return tuple(name for name in ALL if name in chosen)


def check_asked(asked: str) -> None:
    """Refuse what no conversion can honour, before the model is touched.

    Raises:
        UsageError: unknown names, or a rewrite that changes inputs or outputs.
    """
    from trtkit.graph.rewrites import ALL

    for name in named_rewrites(asked) or ():
        if ALL[name].changes_interface:
            raise UsageError(
                f"The rewrite {name} changes the model's inputs, so that the plan could not be compared with its "
                "source on the same inputs.",
                hint=f"Run trtkit optimize MODEL --rewrite {name} -o OTHER.onnx, and convert that file.",
            )


def rewritten(
    exported: ExportedModel,
    how: Rewriting,
    profile: OptimizationProfile | None,
    scratch: Path,
    listener: Listener,
    known: Known | None = None,
    memory: RewriteMemory | None = None,
) -> ExportedModel:
    """Rewrite a model in memory; its source stays the reference.

    Args:
        exported: checked and prepared.
        how: what was asked for.
        profile: the shapes that it will have.
        scratch: a folder; the FP32 file of a definition stays there, as the reference.
        listener: is told what was left out.
        known: keeps what the check computed, for the validation.
        memory: of checks of this source; what it knows is not checked again.

    Returns:
        The model with its report; with no report where nothing was asked for.

    Raises:
        UsageError: an unknown rewrite, or a list of names for a model that is quantized already.
        RunError: the source does not run in ONNX Runtime, and names, or a check on real inputs, were asked for.
    """
    if how.asked == "none" or (how.only is not None and not how.only):
        return exported
    listed = named_rewrites(how.asked) if how.names is None else None
    if exported.source.precision not in _FLOAT:
        if listed is not None:
            raise UsageError(
                f"{exported.source.name} is quantized already, and rewrites come before quantization.",
                hint="Leave --rewrite out, or give the float model that it was made from.",
            )
        return exported
    vetoed: dict[str, AppliedRewrite] = {}
    if how.names is None and listed is None:
        names, vetoed = _safe(exported, how, profile)
    else:
        names = how.names if how.names is not None else listed or ()
    folder = scratch / "rewriting"
    folder.mkdir(parents=True)
    options = RewriteOptions(names, how.asked, how.only, profile, exported.source.input_std, data=how.data, known=known)
    options = replace(options, preprocessing=_pixels(exported) if how.interface else None)
    listener.stage(f"Rewriting {exported.source.name}")
    try:
        model, report = rewrite_once(exported, folder, options, listener.event, memory)
    except (RunError, BackendUnavailableError) as error:
        if listed is not None or how.only is not None or how.data is not None:
            raise
        listener.note(f"the graph is built as it is, since its rewrites cannot be checked: {error.message}")
        return exported
    for text in notes(replace(report, rewrites=(*report.rewrites, *vetoed.values())), how.data):
        listener.note(text)
    report = replace(
        report,
        chosen_because=how.because or ("named" if listed is not None else f"never slower on {how.target}"),
        rewrites=(*_with_gains(report, how, profile), *vetoed.values()),
    )
    if not report.kept:
        shutil.rmtree(folder)
        return replace(exported, rewrites=report)
    return _after(exported, replace(exported, model=model, rewrites=report), folder, scratch)


def _after(before: ExportedModel, after: ExportedModel, folder: Path, scratch: Path) -> ExportedModel:
    """The rewritten model with its reference: the user's own file, or the source as it was written for the check."""
    from trtkit.graph import io

    assert after.rewrites is not None
    transforms = (*before.transforms, *after.rewrites.names)
    if before.original is not None and before.loadable:
        shutil.rmtree(folder)
        return replace(after, transforms=transforms)
    reference = (folder / "source.onnx").replace(scratch / "source.onnx")
    for data in folder.glob("source.onnx.data"):
        data.replace(scratch / data.name)
    shutil.rmtree(folder)
    source = before.source if before.source.sha256 else replace(before.source, sha256=io.sha256_of(reference))
    return replace(after, source=source, original=reference, loadable=True, transforms=transforms)


def replaying(table: CalibrationTable, target: str, precision: str) -> Rewriting:
    """The rewrites that a calibration table was made behind, at the same places."""
    names = tuple(table.rewrites)
    because = "the calibration table was made behind them"
    only = {name: tuple(anchors) for name, anchors in table.rewrites.items()}
    return Rewriting(",".join(names) or "none", target, precision, names, because, only=only)


def check_replayed(table: CalibrationTable, exported: ExportedModel) -> None:
    """Whether all that a table was made behind could be done again.

    Raises:
        CalibrationError: naming what could not.
    """
    done = exported.rewrites.replay if exported.rewrites is not None else {}
    for name, anchors in table.rewrites.items():
        lost = [anchor for anchor in anchors if anchor not in done.get(name, ())]
        if lost:
            found = exported.rewrites.rewrites if exported.rewrites is not None else ()
            why = next((item.reason for item in found if item.name == name and item.reason), "there is no such place")
            raise CalibrationError(
                f"The calibration table of {table.model} was made behind the rewrite {name} at {', '.join(anchors)}, "
                f"which cannot be done again at {', '.join(lost)} of {exported.source.name}: {why}.",
                hint="Calibrate this model itself; with --rewrite none both go without rewrites.",
            )


def _safe(
    exported: ExportedModel, how: Rewriting, profile: OptimizationProfile | None
) -> tuple[tuple[str, ...], dict[str, AppliedRewrite]]:
    """The safe rewrites, and those of them that the table remembers as slower on just these regions."""
    from trtkit.graph.rewrites import apply_all, named, remembered, safe

    names = safe(how.target)
    family = how.target.partition(":")[0]
    doubtful = {entry.rewrite for entry in remembered.entries() if entry.slower and entry.family == family}
    vetoed: dict[str, AppliedRewrite] = {}
    for name in names:
        if name not in doubtful:
            continue
        before = [other for other in names[: names.index(name)] if other not in vetoed]
        sites = named((name,))[0].find(apply_all(exported.model, before, failed=lambda *_: None)[0])
        found = _remembered(name, sites, before, how, profile)
        if found is not None and found.slower:
            reason = f"it was slower, {found.gain:.2f} ×, on {found.text}"
            vetoed[name] = AppliedRewrite(
                name, sites, None, None, kept=False, reason=reason, gain=found.gain, gain_interval=found.interval
            )
    return tuple(name for name in names if name not in vetoed), vetoed


def _remembered(
    name: str,
    sites: Sequence[Site],
    after: Sequence[str],
    how: Rewriting,
    profile: OptimizationProfile | None,
) -> Remembered | None:
    """What the table that ships knows of a rewrite at these places, for this family and precision."""
    from trtkit.graph.rewrites.remembered import find

    batches = profile.batches if profile is not None else None
    return find(name, sites, after, how.target.partition(":")[0], how.precision, batches[1] if batches else None)


def _pixels(exported: ExportedModel) -> Preprocessing | None:
    """The normalisation of a definition's images, for the rewrite that moves it into the graph."""
    import model_defs

    name = exported.source.definition
    return model_defs.get(name).preprocessing if name is not None else None


def _with_gains(
    report: RewriteReport, how: Rewriting, profile: OptimizationProfile | None
) -> tuple[AppliedRewrite, ...]:
    """The entries with their gains: measured for this very graph, or else remembered of such regions."""
    done: list[str] = []
    entries = []
    for item in report.rewrites:
        measured = how.gains.get(item.name)
        if measured is not None and item.sites:
            item = replace(
                item, gain=measured.gain, gain_interval=measured.gain_interval, gain_source=measured.gain_source
            )
        elif item.kept:
            found = _remembered(item.name, item.sites, done, how, profile)
            if found is not None:
                item = replace(item, gain=found.gain, gain_interval=found.interval, gain_source=found.text)
        done += [item.name] if item.kept else []
        entries.append(item)
    tried = {item.name for item in entries}
    return (*entries, *(item for name, item in how.gains.items() if name not in tried))
