"""A model on its way: in memory after export, and on the disk in its precision, with what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.plan import Source
from trtkit.artifacts.rewrites import RewriteReport

if TYPE_CHECKING:
    import onnx

__all__ = ["CastModel", "ExportedModel"]


@dataclass(frozen=True)
class ExportedModel:
    """A checked and prepared model, ready for the transformations of a precision.

    Attributes:
        model: with its weights.
        source: where it came from; for a definition, its hash is empty until the file is written.
        original: the file that is the reference: the user's own, or the source as it was before it was rewritten;
            ``None`` for a definition that was not.
        transforms: preparations and rewrites that changed something.
        loadable: whether ONNX Runtime takes that file; it refuses two nodes of one name.
        rewrites: what was rewritten for speed; ``None`` where nothing was asked for.
    """

    model: onnx.ModelProto
    source: Source
    original: Path | None
    transforms: tuple[str, ...]
    loadable: bool = True
    rewrites: RewriteReport | None = None


@dataclass(frozen=True)
class CastModel:
    """What the plan is built from, and what it is compared with.

    Attributes:
        onnx: the file that the builder is given.
        reference: the file that everything is compared with; the same file where nothing had to be changed.
        source: where the model came from, now with the reference's hash.
        notes: what the manifest should say of the calibration, such as that its samples were synthetic.
        stays_float: nodes that were left float on purpose (name → why), for the proof of precision.
    """

    onnx: OnnxModel
    reference: Path
    source: Source
    stays_float: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
