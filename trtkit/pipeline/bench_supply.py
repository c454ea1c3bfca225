"""ONNX files and definitions, made ready for a family, a precision and a range of batches; conversions are cached."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model_defs
from trtkit import __version__, environment
from trtkit.artifacts.bench import Subject
from trtkit.artifacts.files import read_json, write_json
from trtkit.artifacts.profile import shape_text
from trtkit.errors import ModelError, PlanError, UsageError
from trtkit.pipeline.bench_facts import known_of, limit_of, model_of, other_floats
from trtkit.pipeline.bench_family import Target
from trtkit.pipeline.bench_request import BenchmarkRequest
from trtkit.pipeline.bench_subjects import BatchRange, Prepared, from_plan, said_by_shapes
from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.request import QUANTIZED, ConvertRequest
from trtkit.pipeline.rewrite_memory import RewriteMemory
from trtkit.stages.export import SourceRequest, export
from trtkit.stages.plan_cache import PlanCache

if TYPE_CHECKING:
    import onnx

__all__ = ["Supply"]

_PIXELS = (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)  # of files, whose preprocessing nobody knows: 0 … 255 becomes 0 … 1


@dataclass(frozen=True)
class _Source:
    """The model in FP32 (or as the user's file has it): the file, its hash, and what is known of it."""

    path: Path
    sha256: str
    name: str
    precision: str
    macs: int | None
    shapes: Mapping[str, tuple[int, ...]]
    batch_inputs: tuple[str, ...]
    batches: tuple[int, int, int] | None  # as --shapes gives them: smallest, usual, largest
    request: SourceRequest
    softmax_axes: Mapping[str, int]
    input_std: float
    other_floats: tuple[str, ...] = ()

    def shapes_at(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {n: (batch, *shape[1:]) if n in self.batch_inputs else shape for n, shape in self.shapes.items()}

    @property
    def fixed(self) -> int | None:
        """The one batch of a model without a dynamic batch axis."""
        if self.batch_inputs:
            return None
        return next((shape[0] for shape in self.shapes.values() if shape), 1)


class Supply:
    """Prepares one source; what it exports and converts is kept in the cache.

    Args:
        request: what was asked.
        cache: where files are kept; a temporary one if nothing shall stay.
        listener: is told what goes on.
    """

    def __init__(self, request: BenchmarkRequest, cache: PlanCache, listener: Listener) -> None:
        self._request, self._cache, self._listener = request, cache, listener
        self._found: _Source | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self._request.source.name

    def identity(self) -> dict[str, Any]:
        """What decides what is measured."""
        return {**self._source().request.identity(), "shapes": list(self._request.shapes), "rewrite": self._rewrite}

    @property
    def _rewrite(self) -> str:
        """A definition is measured as ``convert`` would build it, a file as it is."""
        return self._request.rewrite or ("none" if self._request.source.definition is None else "safe")

    def precisions(self) -> tuple[str, ...]:
        """Those asked for, or the source's own."""
        return self._request.precisions or (self._source().precision,)

    def family(self) -> str:
        """The one asked for."""
        return self._request.family

    def batches(self, target: Target) -> BatchRange:
        """Any, but for a model without a dynamic batch axis, or where ``--shapes`` says which."""
        source = self._source()
        if source.batches is not None:
            low, usual, high = source.batches
            return BatchRange(low, high, usual, said_by_shapes(self._request.shapes))
        fixed = source.fixed
        return BatchRange(fixed or 1, fixed, fixed, "the model has no dynamic batch axis")

    def prepare(self, target: Target, precision: str, batches: tuple[int, int, int]) -> Prepared:
        """The artifact for a device.

        Args:
            target: device and family.
            precision: of :data:`~trtkit.pipeline.request.PRECISIONS`.
            batches: smallest, most used and largest batch of the engine; no matter to ONNX Runtime.

        Raises:
            UsageError: the precision cannot be had so.
            TrtkitError: converting fails.
        """
        source, can = self._source(), target.can
        if precision == "tf32" and target.device.kind == "cpu":
            raise UsageError("There is no TF32 arithmetic on a CPU.", hint="Give --precision fp32, or a GPU.")
        if precision in QUANTIZED and source.precision != precision:
            raise UsageError(
                f"--precision {precision} needs calibration, which bench does not do.",
                hint=f"Run trtkit convert --precision {precision} --data …, then trtkit bench on the result.",
            )
        if can.suffix == ".onnx" and precision in (source.precision, "tf32") and self._rewrite == "none":
            return self._as_it_is(source, target, precision)
        return self._converted(source, target, precision, batches)

    def _as_it_is(self, source: _Source, target: Target, precision: str) -> Prepared:
        known, proof = known_of(source.other_floats, target, precision)
        subject = Subject(
            model=source.name,
            model_sha256=source.sha256,
            file=source.path.name,
            sha256=source.sha256,
            family=target.can.family,
            version=target.can.version or "",
            precision=precision,
            observed=known,
            proof=proof,
            macs_per_image=source.macs,
        )
        fixed = source.fixed
        return Prepared(
            subject,
            source.path,
            source.shapes_at,
            (fixed, fixed) if fixed else (1, None),
            fixed,
            None,
            model_of(source.path),
            source.path,
            limit_of(precision),
            softmax_axes=source.softmax_axes,
            input_std=source.input_std,
        )

    def _converted(self, source: _Source, target: Target, precision: str, batches: tuple[int, int, int]) -> Prepared:
        can = target.can
        corners = [source.shapes_at(batch) for batch in ((1, 32, 128) if can.suffix == ".onnx" else batches)]
        shapes = tuple(
            f"{name}={':'.join(shape_text(corner[name]) for corner in corners)}"
            for name in source.shapes
            if name in source.batch_inputs or self._request.shapes
        )
        identity = {
            "source": source.request.identity(),
            "precision": precision,
            "family": [can.family, can.version],
            "device": can.device,
            "shapes": list(shapes),
            "rewrite": self._rewrite,
        }
        label = f"{source.name}.{precision}.{can.label}"
        as_file = can.suffix == ".onnx" and precision == "tf32"  # a way to multiply the numbers of an fp32 file
        with self._cache.entry(label, identity, self._listener.note) as folder:
            made = convert(
                ConvertRequest(
                    source.request,
                    precision="fp32" if as_file else precision,
                    family=can.family,
                    rewrite=self._rewrite,
                    shapes=shapes,
                    output=folder,
                    force=self._request.force,
                    validate=False,
                    command=self._request.command,
                ),
                self._listener,
                memory=RewriteMemory(self._cache, source.request.identity()),
                can=can,
            )
            prepared = from_plan(made.plan, can.version or "", lambda manifest: source.path, {})
        subject = replace(prepared.subject, model_sha256=source.sha256, macs_per_image=source.macs)
        if can.suffix == ".onnx" and precision in ("fp32", "tf32"):
            known, proof = known_of(source.other_floats, target, precision)
            subject = replace(subject, precision=precision, observed=known, proof=proof)
        return replace(prepared, subject=subject, unchecked="", input_std=source.input_std, trusted=True)

    def _source(self) -> _Source:
        if self._found is None:
            self._found = self._look()
        return self._found

    def _look(self) -> _Source:
        from trtkit.graph import io
        from trtkit.graph.cost import cost
        from trtkit.graph.outputs import softmax_axes
        from trtkit.graph.shapes import resolve_profile

        asked = self._request.source
        uint8 = self._request.settings.get("input_dtype") == "uint8"
        self._listener.stage(f"Looking at {asked.name}")
        if asked.definition is None and not uint8:
            exported = export(asked, for_tensorrt=False)
            path, model, precision = Path(asked.text), exported.model, exported.source.precision
            request = asked
        else:
            path, precision = self._exported(asked, uint8)
            model = io.load(path)
            request = SourceRequest(str(path)) if uint8 else asked
        profile = resolve_profile(io.specs(model)[0], None, self._request.shapes)
        by_shapes = {text.rpartition("=")[0] for text in self._request.shapes} & set(profile.batch_inputs or ())
        return _Source(
            path=path,
            sha256=io.sha256_of(path),
            name=asked.name,
            precision=precision,
            macs=cost(model).macs,
            shapes={name: ranges.optimum for name, ranges in profile.ranges.items()},
            batch_inputs=profile.batch_inputs or (),
            batches=profile.batches if by_shapes else None,
            request=request,
            softmax_axes=softmax_axes(model),
            input_std=model_defs.get(asked.definition).input_std if asked.definition is not None else 1.0,
            other_floats=other_floats(model),
        )

    def _exported(self, asked: SourceRequest, uint8: bool) -> tuple[Path, str]:
        """The FP32 file of a definition, or a file with uint8 inputs, in the cache; and its precision."""
        from trtkit.graph import io
        from trtkit.graph.uint8_input import uint8_input

        identity: dict[str, Any] = {"source": asked.identity(), "uint8": uint8, "version": __version__}
        label = f"{asked.name}.source{'.uint8' if uint8 else ''}"
        with self._cache.entry(label, identity, self._listener.note) as folder:
            stamp = {"code": environment.code_fingerprint()}
            path = folder / f"{asked.name}.onnx"
            with contextlib.suppress(PlanError, ModelError, KeyError):  # not there, or damaged: made anew
                kept = read_json(folder / "made.json")
                if kept["code"] == stamp["code"] and io.sha256_of(path) == kept["sha256"]:
                    return path, str(kept["precision"])
            exported = export(asked, for_tensorrt=False)
            if uint8:
                uint8_input(exported.model, *self._pixels(asked, exported.model))
            precision = exported.source.precision
            saved = io.save(exported.model, path, name=asked.name, precision=precision)
            write_json(folder / "made.json", {**stamp, "sha256": saved.sha256, "precision": precision})
            return path, precision

    @staticmethod
    def _pixels(asked: SourceRequest, model: onnx.ModelProto) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel, in pixel units."""
        if asked.definition is None:
            return _PIXELS
        preprocessing = model_defs.get(asked.definition).preprocessing
        return tuple(preprocessing.mean), tuple(std / preprocessing.scale for std in preprocessing.std)
