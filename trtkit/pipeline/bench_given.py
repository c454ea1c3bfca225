"""A plan that was given: family, precision and shapes are what they are, and whatever contradicts them is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trtkit.artifacts.files import sha256_file
from trtkit.artifacts.plan import PlanManifest, manifest_path
from trtkit.artifacts.plan_header import read_header
from trtkit.artifacts.profile import ShapeRange
from trtkit.errors import UsageError
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_subjects import BatchRange, Prepared, from_plan, said_by_shapes
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.validation import find_reference

__all__ = ["GivenPlan"]


class GivenPlan:
    """One plan, prepared once.

    Args:
        request: what was asked; its source is the plan.
        stack: closes what finding the reference opened.
        listener: is told what is not known of the plan.

    Raises:
        UsageError: options that would need another plan.
        PlanError: the file is no plan, or does not match its manifest.
    """

    def __init__(self, request: BenchmarkRequest, stack: contextlib.ExitStack, listener: Listener) -> None:
        self._request, self._stack, self._listener = request, stack, listener
        self._path = Path(request.source.text)
        self._manifest = PlanManifest.read(self._path) if manifest_path(self._path).exists() else None
        self._family = self._manifest.family if self._manifest else read_header(self._path).family
        self._prepared: Prepared | None = None
        self._refuse()

    @property
    def name(self) -> str:
        """The model's; without a manifest the file's, without its ending."""
        return self._manifest.source.name if self._manifest else self._path.name.removesuffix(self._path.suffix)

    def identity(self) -> dict[str, str]:
        """What decides what is measured."""
        return {"plan": self._manifest.sha256 if self._manifest else sha256_file(self._path)}

    def family(self) -> str:
        """The family that made it."""
        return self._family

    def precisions(self) -> tuple[str, ...]:
        """The one that it was built in; ``unknown`` without a manifest."""
        return (self._manifest.precision if self._manifest else "unknown",)

    def batches(self, target: Target) -> BatchRange:
        """Those of its optimization profile; without a manifest those of ``--shapes``, or any."""
        found, shapes = self.prepare(target, "", (1, 1, 1)), self._request.shapes
        because = said_by_shapes(shapes) if shapes else "the optimization profile of the plan ends there"
        return BatchRange(*found.batches, found.usual, because)

    def prepare(self, target: Target, precision: str, batches: tuple[int, int, int]) -> Prepared:
        """The plan itself, whatever the batch; see :meth:`trtkit.pipeline.bench_supply.Supply.prepare`."""
        if self._prepared is not None:
            return self._prepared
        version = target.can.version or ""
        if self._manifest is not None and self._manifest.version != version:
            self._listener.note(
                f"the plan was built by {self._family} {self._manifest.version}; {version} is installed here"
            )
        found = from_plan(self._path, version, self._reference, self._shapes())
        if found.unchecked:
            self._listener.note(f"the outputs will not be checked: {found.unchecked}")
        self._prepared = found
        return found

    def _reference(self, manifest: PlanManifest) -> Path:
        return find_reference(manifest, None, self._stack)

    def _shapes(self) -> dict[str, ShapeRange]:
        """What ``--shapes`` says of a plan without a manifest, whose inputs nobody here knows."""
        found: dict[str, ShapeRange] = {}
        for text in self._request.shapes:
            name, _, shapes = text.rpartition("=")
            try:
                corners = [tuple(int(size) for size in shape.split("x")) for shape in shapes.split(":")]
            except ValueError:
                corners = []
            if not name or len(corners) not in (1, 3):
                raise UsageError(
                    f"--shapes {text} is not of the form NAME=SHAPE or NAME=MIN:OPT:MAX.", hint="Write x=1x3x224x224."
                )
            if name in found:
                raise UsageError(f"--shapes names the input {name!r} twice.", hint="Give each input one --shapes.")
            found[name] = ShapeRange(*(corners * 3 if len(corners) == 1 else corners))
        return found

    def _refuse(self) -> None:
        """Options that only another plan could honour.

        Raises:
            UsageError: naming the option.
        """
        request, name = self._request, self._path.name
        wanted: list[tuple[bool, str]] = [
            (request.family not in ("auto", self._family), f"--family {request.family}: {name} is of {self._family}"),
            (
                bool(request.precisions) and request.precisions != self.precisions(),
                f"--precision {','.join(request.precisions)}: {name} was built in {self.precisions()[0]}",
            ),
            (request.source.weights is not None, f"--weights: {name} holds its own"),
            (request.settings.get("input_dtype", "float32") != "float32", "--input-dtype: a plan's inputs are fixed"),
            (self._manifest is not None and bool(request.shapes), f"--shapes: the manifest of {name} knows them"),
            (request.rewrite not in (None, "none"), f"--rewrite: {name} is built already"),
            (request.profile != "each", f"--profile: {name} has its own"),
        ]
        for wrong, what in wanted:
            if wrong:
                raise UsageError(f"A plan is benchmarked as it is; {what}.", hint="Leave the option out.")
