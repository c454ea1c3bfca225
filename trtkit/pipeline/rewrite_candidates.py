"""Candidates of a search for rewrites as files: written, built one by one or side by side, and removed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx

from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.model import OnnxModel
from trtkit.backends.base import BuildOptions
from trtkit.errors import TrtkitError
from trtkit.measurement.failure import classify
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.rewrite_place import Place
from trtkit.pipeline.rewrite_search import Names
from trtkit.stages.build import build
from trtkit.stages.cast import cast
from trtkit.stages.contest import compile_kernels
from trtkit.worker import Progress
from trtkit.worker.side_by_side import Crew, Job, side_by_side

__all__ = ["Candidates"]

_FOR_WANT_OF_ROOM = ("device_memory", "host_memory", "workspace")
"""Reasons that may be gone when one is made alone."""


class Candidates:
    """The rewritten models of one search.

    Args:
        exported: the model without rewrites.
        place: what they are measured for.
        folder: for the files; those of the last pair and of the last preparation stay there.
        listener: is told what the workers report; of those side by side how many are done.
        width: how many are made at a time; ``None`` for :attr:`Place.width`.
    """

    def __init__(
        self,
        exported: ExportedModel,
        place: Place,
        folder: Path,
        listener: Listener,
        width: int | None = None,
    ) -> None:
        self._exported, self._place, self._folder, self._listener = exported, place, folder, listener
        self.width = place.width if width is None else width
        self._keys: dict[Names, str] = {}
        self._files: dict[str, Path] = {}
        self._prepared: set[str] = set()
        self._lost: dict[str, TrtkitError] = {}
        self._failed: set[str] = set()

    def key(self, names: Names) -> str:
        """See :meth:`trtkit.pipeline.rewrite_search.Ground.key`."""
        from trtkit.graph.rewrites.view import GraphView

        if names not in self._keys:
            model = self._model(names)
            self._keys[names] = GraphView(model).region_hash(model.graph.node)
        return self._keys[names]

    def files(self, first: Names, second: Names) -> tuple[Path, Path]:
        """The files that the family executes; all others go that are not prepared for what comes.

        Raises:
            TrtkitError: one of them cannot be made.
        """
        found = self._made(first), self._made(second)
        self._forget({self.key(first), self.key(second)} | self._prepared)
        return found

    def kernels(self, plan: Path) -> Path | None:
        """Where the just-in-time kernels of a plan are kept, beside it; ``None`` for a family without such."""
        return plan.with_suffix(".kernels") if self._place.has_kernels else None

    def prepare(self, sets: Sequence[Names], left_s: Callable[[], float]) -> None:
        """Make what is missing of these side by side, kernels too; what was prepared before and is not named goes.

        One alone is left to the contest that needs it. What cannot be made is refused by :meth:`files`; what had no
        room beside the others is tried again there. When ``left_s``, the seconds that are left, is at 0, nothing more
        is made.
        """
        wanted = {self.key(names): names for names in sets}
        self._prepared = set(wanted)
        self._forget(self._prepared)
        missing = {key: names for key, names in wanted.items() if key not in self._files and key not in self._lost}
        if self.width < 2 or len(missing) < 2:
            return
        count = len(missing)
        self._listener.stage(f"Preparing {count} graphs")

        def told(done: int) -> None:
            self._listener.event(Progress("Preparing", done, count))

        over = side_by_side(self._jobs(missing), self.width, left_s, told)
        for key in missing:
            path, error = self._path(key).with_suffix(self._place.can.suffix), over.get(key)
            if key in over and error is None:
                self._files[key] = path
                continue
            self._remove(path)
            if error is not None and classify(error) not in _FOR_WANT_OF_ROOM:
                self._lost[key] = error

    def _jobs(self, missing: dict[str, Names]) -> Iterator[tuple[str, Job]]:
        for key, names in missing.items():
            try:
                yield key, partial(self._job, self._written(names), self._path(key))
            except TrtkitError as error:
                self._lost[key] = error

    def _job(self, source: OnnxModel, path: Path, crew: Crew) -> None:
        """In a thread of its own: what it changes is on the disk alone."""
        plan = self._built(source, path, crew)
        kernels = self.kernels(plan)
        if kernels is not None:
            place = self._place
            compile_kernels(place.can.family, plan, kernels, place.device, place.settings, crew.run)

    def _made(self, names: Names) -> Path:
        key = self.key(names)
        if key in self._lost:
            raise self._lost[key]
        if key not in self._files:
            source, path = self._written(names), self._path(key)
            self._files[key] = path if self._place.can.suffix == ".onnx" else self._built(source, path, None)
        return self._files[key]

    def _model(self, names: Names) -> onnx.ModelProto:
        from trtkit.graph.rewrites import apply_all

        return apply_all(self._exported.model, names, failed=self._told)[0]

    def _told(self, name: str, why: str) -> None:
        """Say of a rewrite that it fails, once; its candidates are the graph without it."""
        if name not in self._failed:
            self._failed.add(name)
            self._listener.note(f"the rewrite {name} is left out: {why}")

    def _path(self, key: str) -> Path:
        return self._folder / f"{key[:12]}.onnx"

    def _written(self, names: Names) -> OnnxModel:
        """The rewritten model in the precision that is timed, on the disk."""
        scratch = self._folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        # A reference is not needed here, so none is written.
        candidate = replace(self._exported, model=self._model(names), original=self._folder, loadable=True)
        path, precision = self._path(self.key(names)), self._place.precision
        return cast(candidate, path, scratch, precision=precision, fp16_io=False, note=lambda text: None).onnx

    def _built(self, source: OnnxModel, path: Path, crew: Crew | None) -> Path:
        """The plan in the place of the ONNX file; of a crew the listener hears nothing, since it is in one thread."""
        place = self._place
        options = BuildOptions(profile=place.profile, tf32=place.precision == "tf32")
        targets = ("current",) if place.device.kind == "cuda" and "current" in place.can.default_targets else ()
        options = replace(options, compute_capability=place.can.targets_for(place.precision, targets))
        plan = path.with_suffix(place.can.suffix)
        on_event = (lambda event: None) if crew is not None else self._listener.event
        build(source, plan, place.can, options, on_event, crew.run if crew is not None else None)
        path.unlink()
        return plan

    def _forget(self, keep: set[str]) -> None:
        """Remove the candidates that are not in use: those of a large model fill a disk."""
        for key, path in list(self._files.items()):
            if key not in keep:
                self._remove(path)
                del self._files[key]

    def _remove(self, path: Path) -> None:
        for file in (path, path.with_suffix(".onnx"), self.kernels(path)):
            if file is not None:
                file.unlink(missing_ok=True)
