"""A plan and its manifest: everything that was known about it when it was built. Written once, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtkit.artifacts.files import json_ready, read_json, sha256_file
from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.precision import PrecisionProof
from trtkit.artifacts.rewrites import RewriteReport
from trtkit.artifacts.validation import ValidationReport
from trtkit.errors import PlanError

__all__ = ["SCHEMA", "PlanManifest", "Source", "manifest_path", "validation_path"]

SCHEMA = 1
"""Version of the manifest's layout; a reader refuses newer ones."""


@dataclass(frozen=True)
class Source:
    """Where the model came from.

    Attributes:
        name: of the model.
        definition: name of the model definition; ``None`` for an ONNX file.
        path: the ONNX file as it was given; ``None`` for a definition.
        sha256: of the ONNX that everything was made from and is validated against.
        seed: of the random weights; ``None`` where the weights are not random.
        weights: file name of the weights that were loaded into a definition.
        weights_sha256: of that file.
        precision: of the numbers in it, ``fp32`` or ``fp16``.
        input_std: standard deviation of a preprocessed input, for drawing synthetic ones.
    """

    name: str
    definition: str | None
    path: str | None
    sha256: str
    seed: int | None
    weights: str | None
    weights_sha256: str | None
    precision: str
    input_std: float


@dataclass(frozen=True)
class PlanManifest:
    """What stands in ``….plan.json``.

    Attributes:
        schema: :data:`SCHEMA`.
        file, sha256, bytes: the plan file's name, hash and size.
        key: hash of everything that decides the plan's content; equal keys let a later run reuse the plan.
        precision: what was asked for: ``fp32``, ``tf32``, ``fp16``.
        family, version: who built it; ``version`` has four parts for TensorRT.
        targets: compute capabilities it was built for.
        device, driver, cuda: the GPU that was present at the build; ``None`` without one.
        source: where the model came from.
        onnx: the ONNX that it was built from.
        options: :class:`trtkit.backends.base.BuildOptions` as JSON, optimization profile included.
        flags: builder flags in force, by enum name.
        warnings: the builder's.
        timings_s: wall time of each stage, in seconds.
        peak_rss_bytes: largest resident set of the build worker.
        layers: what is inside; ``None`` where the family does not show it.
        proof: in which data type each weighted ONNX node runs; ``None`` without ``layers``.
        validation: of this build.
        environment: :class:`trtkit.environment.Environment` as JSON.
        command: the command line that made it.
        created: UTC time, ISO 8601.
        rewrites: what was rewritten for speed, each with its check and its gain; ``None`` where nothing was asked for.
    """

    file: str
    sha256: str
    bytes: int
    key: str
    precision: str
    family: str
    version: str
    targets: tuple[str, ...]
    device: str | None
    driver: str | None
    cuda: str | None
    source: Source
    onnx: OnnxModel
    options: dict[str, Any]
    flags: tuple[str, ...]
    warnings: tuple[str, ...]
    timings_s: dict[str, float]
    peak_rss_bytes: int | None
    layers: LayerReport | None
    proof: PrecisionProof | None
    validation: ValidationReport
    environment: dict[str, Any]
    command: tuple[str, ...]
    created: str
    schema: int = SCHEMA
    rewrites: RewriteReport | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, the short facts first and the long lists last."""
        value = asdict(self)
        value["onnx"] = self.onnx.to_json()
        value["validation"] = self.validation.to_json()
        value["proof"] = self.proof.to_json() if self.proof else None
        value["layers"] = self.layers.to_json() if self.layers else None
        first = {
            name: value.pop(name) for name in ("schema", "file", "sha256", "bytes", "precision", "family", "version")
        }
        last = {name: value.pop(name) for name in ("rewrites", "proof", "validation", "layers")}
        whole: dict[str, Any] = json_ready({**first, **value, **last})
        return whole

    @classmethod
    def from_json(cls, value: Mapping[str, Any], folder: Path) -> PlanManifest:
        """The inverse of :meth:`to_json`; ``folder`` is where the files lie now.

        Raises:
            PlanError: the layout is newer than this trtkit knows, or entries are missing.
        """
        if value.get("schema") != SCHEMA:
            raise PlanError(
                f"The manifest has schema {value.get('schema')}; this trtkit reads schema {SCHEMA}.",
                hint="Update trtkit, or convert the model again.",
            )
        try:
            parts = dict(value)
            for name in ("targets", "flags", "warnings", "command"):
                parts[name] = tuple(parts[name])
            parts["source"] = Source(**parts["source"])
            parts["onnx"] = OnnxModel.from_json(parts["onnx"], folder)
            parts["validation"] = ValidationReport.from_json(parts["validation"])
            parts["proof"] = PrecisionProof.from_json(parts["proof"]) if parts["proof"] else None
            parts["layers"] = LayerReport.from_json(parts["layers"]) if parts["layers"] else None
            parts["rewrites"] = RewriteReport.from_json(parts["rewrites"]) if parts.get("rewrites") else None
            return cls(**parts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                f"The manifest is incomplete or was changed: {error}.", hint="Convert the model again."
            ) from error

    @classmethod
    def read(cls, plan: Path) -> PlanManifest:
        """The manifest beside a plan.

        Raises:
            PlanError: it is missing or unreadable, or does not describe this plan (size or hash differ).
        """
        path = manifest_path(plan)
        if not path.exists():
            raise PlanError(
                f"{plan.name} has no manifest: {path.name} is missing beside it.",
                hint="Copy the manifest together with the plan, or convert the model again.",
            )
        manifest = cls.from_json(read_json(path), plan.parent)
        if not plan.is_file():
            raise PlanError(f"{plan} is not there; only its manifest is.", hint="Copy the plan too, or convert again.")
        if plan.stat().st_size != manifest.bytes or sha256_file(plan) != manifest.sha256:
            raise PlanError(
                f"{plan.name} is not the plan that {path.name} describes: its SHA-256 or size differs.",
                hint="Copy plan and manifest again together, or convert the model again.",
            )
        return manifest


def manifest_path(plan: Path) -> Path:
    """``….plan`` → ``….plan.json``; an ONNX artifact → ``….onnx.json``."""
    return plan.with_name(f"{plan.name}.json")


def validation_path(plan: Path) -> Path:
    """Where a later validation is written: ``….plan`` → ``….validation.json``."""
    return plan.with_name(f"{plan.stem}.validation.json")
