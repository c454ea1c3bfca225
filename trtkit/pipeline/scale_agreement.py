"""What ranks must have in common before they measure together, and what one says of another's failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model_defs
import trtkit
from trtkit.errors import RunError, TrtkitError, UsageError, from_wire
from trtkit.ranks import Lost

if TYPE_CHECKING:
    from trtkit.pipeline.scaling import ScalingRequest
    from trtkit.stages.export import SourceRequest

__all__ = ["first_failure", "on_the_wire", "rank_lost", "refuse_differences", "terms", "where"]


def terms(request: ScalingRequest) -> dict[str, Any]:
    """What has to be equal on all ranks, JSON-ready, by the name that a person knows.

    Devices, plans, the source's path and the output folder may differ: machines do.
    """
    bench = request.bench
    return {
        "trtkit": trtkit.__version__,
        "the model": _model(bench.source),
        "--rewrite": bench.rewrite,
        "--data": bench.data.name if bench.data is not None else None,
        "--family": bench.family,
        "--precision": list(bench.precisions),
        "--batch": "auto" if bench.ladder else list(bench.batches),
        "--mode": list(bench.modes),
        "--shapes": list(bench.shapes),
        "--profile": bench.profile,
        "--no-alone": not request.alone,
        "--ranks-per-device": request.ranks_per_device,
        **{f"setting {name}": list(v) if isinstance(v, tuple) else v for name, v in bench.settings.items()},
    }


def _model(source: SourceRequest) -> str | None:
    """What decides the model, wherever its file lies; ``None`` for a plan, of which each kind of GPU has its own."""
    if source.text in model_defs.names() or (source.text.endswith(".onnx") and Path(source.text).is_file()):
        return ", ".join(f"{name} {str(value)[:12]}" for name, value in source.identity().items())
    return None


def refuse_differences(said: Sequence[Mapping[str, Any]], hosts: Sequence[str]) -> None:
    """Every rank calls it with what all ranks said.

    Raises:
        UsageError: the same on every rank, naming the first that differs from rank 0 and in what.
    """
    for rank, own in enumerate(said):
        for name in dict.fromkeys((*said[0], *own)):
            if own.get(name) != said[0].get(name):
                raise UsageError(
                    f"Rank {rank} on {hosts[rank]} was started with {name} {_text(own.get(name))}, and rank 0 with "
                    f"{_text(said[0].get(name))}.",
                    hint="Start every rank with the same trtkit and the same options; devices and plans may differ.",
                )


def on_the_wire(error: Exception | None) -> dict[str, Any] | None:
    """An error as the other ranks learn of it; ``None`` without one."""
    if error is None or isinstance(error, TrtkitError):
        return error.to_wire() if error is not None else None
    return RunError(f"{type(error).__name__}: {error}", hint="Read what that rank wrote to its error output.").to_wire()


def first_failure(said: Sequence[Any], hosts: Sequence[str]) -> TrtkitError | None:
    """The error that ends the run on every rank: the lowest rank's own, or the loss of a rank; ``None`` if all is well.

    Args:
        said: by rank, :class:`~trtkit.ranks.Lost` or ``{"error": on_the_wire(…), "runs": number of measurements}``.
        hosts: by rank.
    """
    wires = {rank: entry["error"] for rank, entry in enumerate(said) if not isinstance(entry, Lost) and entry["error"]}
    if wires:
        rank = min(wires)
        error = from_wire(wires[rank])
        common = len(wires) == len(said) and len({str(wire["message"]) for wire in wires.values()}) == 1
        message = error.message if common or len(said) == 1 else f"{where(rank, hosts)}: {error.message}"
        return type(error)(message, hint=error.hint, log=error.log)
    for rank, entry in enumerate(said):
        if isinstance(entry, Lost):
            return rank_lost(entry, hosts)
        if entry["runs"] != said[0]["runs"]:
            return UsageError(
                f"{where(rank, hosts).capitalize()} would make {entry['runs']} measurements, and rank 0 "
                f"{said[0]['runs']}.",
                hint="Name modes and batches that every rank's device knows, and the same plan's precisions.",
            )
    return None


def rank_lost(lost: Lost, hosts: Sequence[str]) -> RunError:
    """The error for a rank that is gone before anything was measured."""
    return RunError(
        f"{where(lost.rank, hosts).capitalize()} is lost: {lost.why}.", hint="See what it says, and start all again."
    )


def where(rank: int, hosts: Sequence[str]) -> str:
    """``rank 1 on node3``."""
    return f"rank {rank} on {hosts[rank]}" if rank < len(hosts) else f"rank {rank}"


def _text(value: Any) -> str:
    if value is None or value in ([], ""):
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
