"""A model on its way: in memory after export, and on the disk in its precision, with what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.model import OnnxModel
from trtkit.artifacts.plan import Source

if TYPE_CHECKING:
    import onnx

__all__ = ["CastModel", "ExportedModel"]


@dataclass(frozen=True)
class ExportedModel:
    """A checked and prepared model, ready for the transformations of a precision.

    Attributes:
        model: with its weights.
        source: where it came from; for a definition, its hash is empty until the file is written.
        original: the user's own file, which is the reference; ``None`` for a definition.
        transforms: preparations that changed something.
        loadable: whether ONNX Runtime takes the user's own file; it refuses two nodes of one name.
    """

    model: onnx.ModelProto
    source: Source
    original: Path | None
    transforms: tuple[str, ...]
    loadable: bool = True


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
