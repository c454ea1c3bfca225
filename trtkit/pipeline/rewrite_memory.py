"""Rewrites whose result was checked before on the very same source: they are made again without that check.

An engine for each batch size is a conversion for each, and the check of the rewritten graph does not depend on the
batch: it is made once, by the first of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtkit import environment
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.rewrites import RewriteReport
from trtkit.stages.plan_cache import PlanCache
from trtkit.stages.rewrite import RewriteOptions, rewrite_model
from trtkit.worker import Log, Progress

if TYPE_CHECKING:
    import onnx

__all__ = ["RewriteMemory", "rewrite_once"]

_KIND, _LABEL = "equal", "rewrites"


class RewriteMemory:
    """The reports of one source's checks, in the cache.

    Args:
        cache: where they are kept.
        source: what decides the source; JSON-ready.
    """

    def __init__(self, cache: PlanCache, source: Mapping[str, Any]) -> None:
        self._cache, self._source = cache, dict(source)

    def recall(self, names: Sequence[str]) -> RewriteReport | None:
        """What came of these rewrites before; ``None`` if they were not checked, or by other code."""
        kept = self._cache.remembered(_LABEL, self._identity(names), kind=_KIND)
        if kept is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # a file that someone has changed
                return RewriteReport.from_json(kept)
        return None

    def keep(self, names: Sequence[str], report: RewriteReport) -> None:
        """Remember a check.

        Raises:
            UsageError: the cache cannot be written.
        """
        self._cache.remember(_LABEL, self._identity(names), report.to_json(), kind=_KIND)

    def _identity(self, names: Sequence[str]) -> dict[str, Any]:
        runtime = environment.describe().to_json()["packages"].get("onnxruntime")
        code = environment.code_fingerprint()
        return {"source": self._source, "names": list(names), "code": code, "onnxruntime": runtime}


def rewrite_once(
    exported: ExportedModel,
    scratch: Path,
    options: RewriteOptions,
    on_event: Callable[[Progress | Log], None],
    memory: RewriteMemory | None,
) -> tuple[onnx.ModelProto, RewriteReport]:
    """Rewrite and check, or rewrite as remembered; see :func:`trtkit.stages.rewrite.rewrite_model`.

    Without a file of its own the source lies in ``scratch`` afterwards, as ``source.onnx``.

    Args:
        exported: the source.
        scratch: a folder for the files that are compared.
        options: which rewrites.
        on_event: told what the worker reports.
        memory: of the source; ``None`` to check, whatever was checked before.
    """
    from trtkit.graph import io

    model, precision = exported.model, exported.source.precision
    plain = options.only is None and options.data is None and options.check
    plain = plain and "settle" not in exported.transforms  # whose result depends on the shapes
    earlier = memory.recall(options.names) if memory is not None and plain else None
    if earlier is not None:
        again = replace(options, names=earlier.names, only=earlier.replay, check=False)
        result, made = rewrite_model(model, scratch, again, on_event, precision=precision)
        if made.replay == earlier.replay:
            if exported.original is None or not exported.loadable:
                io.save(model, scratch / "source.onnx", name="source", precision=precision)
            return result, replace(earlier, asked=options.asked, seconds=made.seconds)
    result, report = rewrite_model(model, scratch, options, on_event, precision=precision)
    if memory is not None and plain:
        memory.keep(options.names, report)
    return result, report
