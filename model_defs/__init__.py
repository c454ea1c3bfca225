"""Network definitions in pure ONNX: one network a file, file name = model name; no training framework is needed.

Importing this package imports neither onnx nor NumPy: listing is quick, building pays for what it uses.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from trtkit.errors import UsageError

if TYPE_CHECKING:
    from model_defs.definition import ModelDef

__all__ = ["get", "names"]

_NAMES = ("alexnet", "alexnet_torchvision", "googlenet", "googlenet_torchvision", "resnet50", "squeezenet1_1")


def names() -> tuple[str, ...]:
    """Every definition's name, in alphabetical order."""
    return _NAMES


def get(name: str) -> ModelDef:
    """The definition called ``name``.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _NAMES:
        close = difflib.get_close_matches(name.lower().replace("-", "_"), _NAMES, n=1, cutoff=0.5)
        raise UsageError(
            f"There is no model definition {name!r}. Known are {', '.join(_NAMES)}.",
            hint=f"Did you mean {close[0]}?" if close else "Choose one of these, or give the path of an .onnx file.",
        )
    definition: ModelDef = importlib.import_module(f"model_defs.{name}").DEFINITION
    return definition
