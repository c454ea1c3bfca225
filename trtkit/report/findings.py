"""The first lines of the page: what was counted, and what a reader takes home. Valid runs only."""

from __future__ import annotations

from trtkit.artifacts.study import Study
from trtkit.artifacts.study_cell import Cell
from trtkit.report.cells import at_power_limit
from trtkit.report.figures.latency import PERCENT, within_budget
from trtkit.report.numbers import decibels, images, milliseconds, percent, times
from trtkit.report.view import MOST_DEVICES, View, anchor, fastest, named, narrower, ran_in, unsteady

__all__ = ["counts_of", "findings_of", "reasons_of"]

_MOST = 24
_TOO_SHORT = {"few-samples", "not-confident", "warm-up-cut"}
"""Notes of runs that were not given the time that they needed."""

_SLOWER = 0.97
"""A rate below this share of another is more than a measurement's doubt."""


def counts_of(study: Study) -> list[tuple[int, str]]:
    """How many cells there are of each kind; kinds without any are left out."""
    limits = {cell.spec.id for cell in study.limits}
    verdicts = ["limit" if cell.spec.id in limits else cell.verdict for cell in study.distinct]
    names = {
        "valid": "valid",
        "INVALID": "INVALID",
        "limit": "beyond a limit",
        "failed": "failed",
        "gap": "cannot be had here",
        "planned": "not run yet",
    }
    return [(verdicts.count(kind), name) for kind, name in names.items() if kind in verdicts]


def reasons_of(study: Study) -> list[str]:
    """Why there are no numbers where there are none: a line for each reason, failures first."""
    found: dict[tuple[str, str], list[str]] = {}
    limits = {cell.spec.id for cell in study.limits}
    for status in ("failed", "gap"):
        for cell in study.cells:
            if cell.status == status and cell.spec.id not in limits:
                where = f"{cell.spec.model} {cell.spec.precision.upper()}"
                found.setdefault((status, cell.reason or "no reason is known"), []).append(where)
    lines = []
    for (status, reason), places in found.items():
        names = list(dict.fromkeys(places))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        cells = f"{len(places)} {'cell' if len(places) == 1 else 'cells'}"
        what = {"failed": "failed", "gap": "cannot be had here"}[status]
        lines.append(f"{what}: {', '.join(names[:3])}{more} ({cells}): {' '.join(reason.split())}")
    return lines


def findings_of(view: View) -> list[tuple[str, str]]:
    """Sentences, each with the anchor of the run it is about."""
    found: list[tuple[str, str]] = [*_disturbed(view), *_limited(view), *_other_precision(view)]
    for device, name in view.devices[:MOST_DEVICES]:
        for model in view.models:
            found += [*_of(view, model, device, name), *_does_not_pay(view, model, device, name)]
    return found[:_MOST]


def _disturbed(view: View) -> list[tuple[str, str]]:
    """The first thing to know, where there is reason to know it."""
    measured = [cell for cell in view.study.distinct if cell.run is not None]
    noted = [cell for cell in measured if unsteady(cell)]
    if not noted:
        return []
    ids = [note for cell in noted for note in unsteady(cell)]
    shown = ", ".join(f"{note} {ids.count(note)}" for note in dict.fromkeys(ids))
    text = f"{len(noted)} of {len(measured)} runs were disturbed or unsteady ({shown}): read them with care"
    ways = ["on a quiet machine"] if set(ids) - _TOO_SHORT else []
    ways += ["for longer, with --max-duration"] if set(ids) & _TOO_SHORT else []
    return [(f"{text}, or run again {' or '.join(ways)}. They carry a †.", "#results")]


def _limited(view: View) -> list[tuple[str, str]]:
    """How many runs the card's power decided."""
    measured = [cell for cell in view.study.distinct if cell.run is not None]
    count = sum(at_power_limit(cell) for cell in measured)
    if not count:
        return []
    text = f"{count} of {len(measured)} runs were at the card's power limit, where its clock gives way"
    return [(f"{text}: another limit, or a cooler card, gives another rate.", "#results")]


def _other_precision(view: View) -> list[tuple[str, str]]:
    """Precisions that were asked for and not computed in: their ratios read otherwise then."""
    found: dict[tuple[str, str], list[Cell]] = {}
    measured = [cell for cell in view.study.distinct if cell.run is not None]
    for cell in measured:
        if other := ran_in(cell):
            found.setdefault((cell.spec.precision, other), []).append(cell)
    told = []
    for (asked, other), cells in found.items():
        of = sum(cell.spec.precision == asked for cell in measured)
        text = f"{asked.upper()} was asked for and {other} computed, in {len(cells)} of {of} runs"
        told.append((f"{text}: where {asked.upper()} stands, read {other}.", anchor(cells[0])))
    return told


def _does_not_pay(view: View, model: str, device: str, name: str) -> list[tuple[str, str]]:
    """Precisions that are no faster than the fastest wider one at any batch size: nobody should pick these."""
    best = {p: cell for p in view.precisions if (cell := view.best(model, p, device)) is not None}
    found = []
    for place, narrow in enumerate(best):
        top = fastest([best[p] for p in list(best)[:place]])
        cells = [cell for cell in view.line(model, narrow, device) if cell.valid]
        ratios = [r for cell in cells if top is not None and (r := view.speedup(cell, top.spec.precision)) is not None]
        if top is None or not ratios or max(ratios) * _SLOWER >= 1:
            continue
        if (best[narrow].images_per_s or 0.0) < _SLOWER * (top.images_per_s or 0.0):
            low, high = times(min(ratios)), times(max(ratios))
            span = high if low == high else f"{low} to {high}"
            text = f"{model} on {name}: {named(cells[0])} does not pay: {span} of {named(top)}'s rate"
            found.append((f"{text}, batch by batch.", anchor(cells[0])))
    return found


def _of(view: View, model: str, device: str, name: str) -> list[tuple[str, str]]:
    runs = {p: best for p in view.precisions if (best := view.best(model, p, device)) is not None}
    top = fastest(list(runs.values()))
    if top is None or top.run is None:
        return []
    text = f"{model} on {name}: at most {images(top.images_per_s)} images/s, {named(top)}"
    text += f" at batch {top.spec.batch:,}"
    shares = []
    for base in ("fp32", "tf32"):
        ratio = view.speedup(top, base) if narrower(top.spec.precision, base) else None
        if ratio is not None:
            below = view.base(top, base)
            mark = " †" if below is not None and unsteady(below) else ""
            shares.append(f"{times(ratio)} {base.upper()}{mark} at the same batch")
    if (share := view.share_of_peak(top)) is not None:
        shares.append(f"{percent(share)} of the peak")
    prepared = view.artifacts.get((model, top.spec.precision))
    if prepared is not None and prepared.accuracy is not None and top.spec.precision != "fp32":
        accuracy = prepared.accuracy
        noise = "equal scores" if accuracy.exact else f"{decibels(accuracy.sqnr_db)} signal to noise"
        shares.append(f"{noise} against FP32{' on made-up data' if accuracy.synthetic else ''}")
    dagger = " †" if unsteady(top) else ""
    found = [(f"{text}{dagger} ({', '.join(shares)})." if shares else f"{text}{dagger}.", anchor(top))]
    budget = view.study.plan.latency_budget_ms
    if budget is not None:
        cells = tuple(cell for p in view.precisions for cell in view.line(model, p, device))
        pick = within_budget(cells, budget)
        if pick is None or pick.run is None:
            found.append((f"{model} on {name}: no valid run keeps {milliseconds(budget)} ms.", ""))
        else:
            found.append(
                (
                    f"{model} on {name} within {milliseconds(budget)} ms (p{PERCENT}): "
                    f"{named(pick)} at batch {pick.spec.batch:,}, {images(pick.images_per_s)} "
                    f"images/s, {milliseconds(pick.run.latency_ms(PERCENT))} ms.",
                    anchor(pick),
                )
            )
    return found
