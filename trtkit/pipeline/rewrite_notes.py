"""What is told of rewrites besides their report: those that were left out, and a check that proves little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trtkit.artifacts.rewrites import RewriteReport
from trtkit.stages.rewrite import NO_PLACE

__all__ = ["notes"]


def notes(report: RewriteReport, data: Path | None) -> Iterator[str]:
    """Sentences for the listener.

    Args:
        report: of the check, measurements not yet entered.
        data: the real inputs that were compared, too.
    """
    from trtkit.graph.equality import PROVES_LITTLE

    for item in report.rewrites:
        if not item.kept and item.reason != NO_PLACE:
            yield f"the rewrite {item.name} was left out: {item.reason}"
    limit = max((item.limit for item in report.kept if item.limit is not None), default=0.0)
    if limit > PROVES_LITTLE and report.own_difference is not None:
        text = (
            f"ONNX Runtime's own optimizations change an output of the source by {report.own_difference:.0e} on these "
            f"inputs, so that the rewrites may change it by {limit:.0e}: their check proves little"
        )
        yield text if data is not None else f"{text}; give real inputs with trtkit optimize --data"
