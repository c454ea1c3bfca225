"""Where rewrites run against each other: candidates are written, built and timed on the device at hand, and kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from trtkit import environment
from trtkit.artifacts.bench_settings import BenchSettings
from trtkit.artifacts.device import Device
from trtkit.artifacts.exported import ExportedModel
from trtkit.artifacts.profile import OptimizationProfile
from trtkit.backends.base import BuildOptions, Capabilities
from trtkit.errors import TrtkitError
from trtkit.measurement.contest import Contest, ContestRule
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.rewrite_search import Names, TimeUpError
from trtkit.stages.bench import in_force
from trtkit.stages.build import build
from trtkit.stages.cast import cast
from trtkit.stages.contest import ContestRequest, contest
from trtkit.stages.plan_cache import PlanCache

__all__ = ["MeasuringGround", "Place"]

_RULE = ContestRule()


@dataclass(frozen=True)
class Place:
    """What the measurements are for.

    Attributes:
        can: the family.
        device: where it executes.
        precision: of the artifacts that are timed: ``fp32``, ``tf32`` or ``fp16``.
        profile: the shapes; its optimum is what is timed.
        threads: of a CPU, so many of its processors; ``None`` takes all.
    """

    can: Capabilities
    device: Device
    precision: str
    profile: OptimizationProfile
    threads: int | None = None

    @property
    def device_name(self) -> str:
        """``NVIDIA H200``, or the processor's name."""
        if self.device.kind == "cpu":
            return environment.cpu_name()
        return next((gpu.name for gpu in self.can.gpus if gpu.index == self.device.index), str(self.device))

    @property
    def batch(self) -> int:
        """The optimum batch; of a model without a batch axis its first dimension."""
        if self.profile.batches is not None:
            return self.profile.batches[1]
        return next((ranges.optimum[0] for ranges in self.profile.ranges.values() if ranges.optimum), 1)

    @property
    def settings(self) -> BenchSettings:
        """How it is timed: the computation alone, from one CUDA graph on a GPU."""
        shapes = {name: ranges.optimum for name, ranges in self.profile.ranges.items()}
        mode = "compute-graph" if self.device.kind == "cuda" else "compute"
        tf32 = self.precision == "tf32"
        found = in_force(BenchSettings(mode, self.batch, shapes, tf32=tf32, depth=1, spinning=False), self.device)
        if self.device.kind == "cuda" or self.threads is None:
            return found
        few = found.affinity[: self.threads]
        return replace(found, affinity=few, threads=len(few) or self.threads)

    @property
    def text(self) -> str:
        """For people: ``onnxruntime 1.31.1 on AMD EPYC, fp32, batch 32``."""
        return f"{self.can.family} {self.can.version} on {self.device_name}, {self.precision}, batch {self.batch}"


class MeasuringGround:
    """See :class:`trtkit.pipeline.rewrite_search.Ground`.

    Contests are remembered by the hashes of both graphs (operators, attributes, shapes and types, not the weights),
    family, version, device, precision and shapes: whoever meets them again need not measure.

    Args:
        exported: the model without rewrites.
        place: what is measured for.
        folder: for the candidates; the newest stay there.
        cache: remembers; ``None`` to measure everything anew.
        seconds: the longest that all measurements together may take.
        listener: is told what the workers report.
        clock: seconds, never going back.
        rule: of a contest; its limit is cut to what is left of ``seconds``.
    """

    def __init__(
        self,
        exported: ExportedModel,
        place: Place,
        folder: Path,
        cache: PlanCache | None,
        seconds: float,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        rule: ContestRule = _RULE,
    ) -> None:
        self._exported, self._place, self._folder, self._cache = exported, place, folder, cache
        self._listener, self._clock, self._rule = listener, clock, rule
        self._ends = clock() + seconds
        self._keys: dict[Names, str] = {}
        self._files: dict[str, Path] = {}
        self._known: dict[tuple[str, str], Contest | str] = {}
        self.measured = 0
        self.remembered = 0

    def key(self, names: Names) -> str:
        """See :meth:`trtkit.pipeline.rewrite_search.Ground.key`."""
        from trtkit.graph.rewrites.view import GraphView

        if names not in self._keys:
            model = self._model(names)
            self._keys[names] = GraphView(model).region_hash(model.graph.node)
        return self._keys[names]

    def contest(self, first: Names, second: Names) -> Contest | str:
        """See :meth:`trtkit.pipeline.rewrite_search.Ground.contest`."""
        pair = self.key(first), self.key(second)
        if pair not in self._known:
            kept = self._look_up(pair)
            self.remembered += kept is not None
            found: Contest | str = kept or self._measured(first, second)
            if kept is None and isinstance(found, Contest) and self._cache is not None:
                self._cache.remember(self._label, self._identity(pair), found.to_json(), kind="rewrites")
            self._known[pair] = found
            self._known[pair[::-1]] = found.reversed if isinstance(found, Contest) else found
        return self._known[pair]

    def _look_up(self, pair: tuple[str, str]) -> Contest | None:
        if self._cache is None:
            return None
        for turned in (False, True):
            kept = self._cache.remembered(self._label, self._identity(pair[::-1] if turned else pair), kind="rewrites")
            if kept is not None:
                with contextlib.suppress(KeyError, TypeError, ValueError):  # a file that someone has changed
                    found = Contest.from_json(kept)
                    return found.reversed if turned else found
        return None

    @property
    def _label(self) -> str:
        return f"{self._place.can.label}.{self._place.precision}.b{self._place.batch}"

    def _identity(self, pair: tuple[str, str]) -> dict[str, object]:
        place = self._place
        return {
            "graphs": list(pair),
            "family": [place.can.family, place.can.version],
            "device": [place.device.kind, place.device_name, place.can.driver],
            "precision": place.precision,
            "settings": place.settings.to_json(),
        }

    def _measured(self, first: Names, second: Names) -> Contest | str:
        left = self._ends - self._clock()
        if left <= 0:
            raise TimeUpError
        place = self._place
        try:
            files = [self._artifact(names) for names in (first, second)]
            self._forget(files)
            rule = replace(self._rule, limit_s=max(min(self._rule.limit_s, self._ends - self._clock()), 1.0))
            request = ContestRequest(
                place.can.family,
                files[0],
                files[1],
                place.device,
                place.settings,
                rule,
                self._exported.source.input_std,
            )
            found = contest(request, self._listener.event)
        except TrtkitError as error:  # a candidate that cannot be built or run has lost
            return error.message
        self.measured += 1
        return found

    def _model(self, names: Names) -> onnx.ModelProto:
        from trtkit.graph.rewrites import apply_all

        return apply_all(self._exported.model, names)[0]

    def _artifact(self, names: Names) -> Path:
        """The file that the family executes."""
        key, place = self.key(names), self._place
        if key in self._files:
            return self._files[key]
        label, scratch = key[:12], self._folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        # A reference is not needed here, so none is written.
        candidate = replace(self._exported, model=self._model(names), original=self._folder, loadable=True)
        path = self._folder / f"{label}.onnx"
        made = cast(candidate, path, scratch, precision=place.precision, fp16_io=False, note=lambda text: None)
        if place.can.suffix != ".onnx":
            options = BuildOptions(profile=place.profile, tf32=place.precision == "tf32")
            targets = ("current",) if place.device.kind == "cuda" and "current" in place.can.default_targets else ()
            options = replace(options, compute_capability=place.can.targets_for(place.precision, targets))
            plan = path.with_suffix(place.can.suffix)
            build(made.onnx, plan, place.can, options, self._listener.event)
            path.unlink()
            path = plan
        self._files[key] = path
        return path

    def _forget(self, files: list[Path]) -> None:
        """Remove the candidates that are not in use: those of a large model fill a disk."""
        for key, path in list(self._files.items()):
            if path not in files:
                path.unlink(missing_ok=True)
                del self._files[key]
