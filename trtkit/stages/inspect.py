"""What a plan file is, from its first bytes, and what is inside, from its manifest."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtkit.arguments import as_path, check_argument
from trtkit.artifacts.files import read_json
from trtkit.artifacts.layers import LayerReport
from trtkit.artifacts.plan import PlanManifest, manifest_path, validation_path
from trtkit.artifacts.plan_header import PlanHeader, read_header
from trtkit.artifacts.validation import ValidationReport
from trtkit.errors import PlanError

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """Everything that can be said about a plan file without loading it.

    Attributes:
        path, bytes: the file.
        header: its first bytes; ``None`` for an ONNX artifact, which has none.
        manifest: what stands beside it; ``None`` if there is none.
        why_no_manifest: a sentence in that case.
        later: the validation that a later run made of this very plan; ``None`` without one.
    """

    path: Path
    bytes: int
    header: PlanHeader | None
    manifest: PlanManifest | None
    why_no_manifest: str | None
    later: ValidationReport | None = None

    @property
    def family_text(self) -> str:
        """Family and version, from the header where there is one."""
        if self.header is not None:
            return f"{self.header.family} {self.header.version or ''}".strip()
        return f"{self.manifest.family} {self.manifest.version}" if self.manifest else "unknown"

    @property
    def truncated(self) -> bool | None:
        """Whether the file is shorter than its header declares; ``None`` where the header does not say."""
        return self.header.truncated if self.header else None

    @property
    def layers(self) -> LayerReport | None:
        """The layers as the builder showed them."""
        return self.manifest.layers if self.manifest else None

    def layer_sums(self) -> list[tuple[tuple[str, str, str], int]]:
        """(kind, input data types, output data types) → number of layers, the most frequent first."""
        if self.layers is None:
            return []

        def types(tensors: tuple[Any, ...]) -> str:
            return ", ".join(sorted({tensor.dtype or "?" for tensor in tensors})) or "–"

        return Counter((x.kind, types(x.inputs), types(x.outputs)) for x in self.layers.layers).most_common()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "header": asdict(self.header) if self.header else None,
            "manifest": self.manifest.to_json() if self.manifest else None,
            "why_no_manifest": self.why_no_manifest,
            "later_validation": self.later.to_json() if self.later else None,
        }


def inspect(plan: Path) -> Inspection:
    """Read header and manifest.

    Raises:
        UsageError: ``plan`` is no path.
        PlanError: the file is missing, is no plan, or does not match its manifest.
    """
    plan = as_path(plan)
    check_argument("inspect", "plan", plan, Path)
    header = None if plan.suffix == ".onnx" and manifest_path(plan).exists() else read_header(plan)
    if header is not None and header.truncated:
        raise PlanError(
            f"{plan.name} is a truncated {header.family} {header.version} plan: "
            f"{header.actual_bytes} of {header.declared_bytes} bytes are there.",
            hint="Copy the file again, or convert the model again.",
        )
    if not manifest_path(plan).exists():
        why = f"none: {manifest_path(plan).name} is not beside it, so only the first bytes speak"
        return Inspection(plan, plan.stat().st_size, header, None, why)
    manifest = PlanManifest.read(plan)
    return Inspection(plan, plan.stat().st_size, header, manifest, None, _later(plan, manifest))


def _later(plan: Path, manifest: PlanManifest) -> ValidationReport | None:
    """The report in ``….validation.json`` if it speaks of this plan and can be read."""
    path = validation_path(plan)
    if not path.exists():
        return None
    with contextlib.suppress(PlanError, KeyError, TypeError, ValueError, AttributeError):
        record = read_json(path)
        if record.get("plan_sha256") == manifest.sha256:
            return ValidationReport.from_json(record["report"])
    return None
