"""A model in memory between export and cast: the one noun that is not saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtkit.artifacts.plan import Source

if TYPE_CHECKING:
    import onnx

__all__ = ["ExportedModel"]


@dataclass(frozen=True)
class ExportedModel:
    """A checked and prepared model, ready for the transformations of a precision.

    Attributes:
        model: with its weights.
        source: where it came from; for a definition, its hash is empty until the file is written.
        original: the user's own file, which is the reference; ``None`` for a definition.
        transforms: preparations that changed something.
    """

    model: onnx.ModelProto
    source: Source
    original: Path | None
    transforms: tuple[str, ...]
