"""trtkit: from an ONNX model to a checked TensorRT plan.

    from pathlib import Path
    import trtkit

    request = trtkit.ConvertRequest(trtkit.SourceRequest("googlenet"), precision="fp16", output=Path("plans"))
    result = trtkit.convert(request)
    print(result.plan, result.manifest.validation.sentence)

Names are loaded when they are first used: importing trtkit imports no vendor library, no onnx and no NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtkit.errors import (
        BackendUnavailableError,
        BuildError,
        CalibrationError,
        ModelError,
        PlanError,
        RunError,
        TrtkitError,
        UsageError,
    )
    from trtkit.pipeline import ConvertRequest, ConvertResult, Listener, convert, validate_plan
    from trtkit.stages.doctor import examine
    from trtkit.stages.export import SourceRequest
    from trtkit.stages.inspect import inspect

__version__ = "0.1.0"

_HOMES = {
    "BackendUnavailableError": "trtkit.errors",
    "BuildError": "trtkit.errors",
    "CalibrationError": "trtkit.errors",
    "ConvertRequest": "trtkit.pipeline",
    "ConvertResult": "trtkit.pipeline",
    "Listener": "trtkit.pipeline",
    "ModelError": "trtkit.errors",
    "PlanError": "trtkit.errors",
    "RunError": "trtkit.errors",
    "SourceRequest": "trtkit.stages.export",
    "TrtkitError": "trtkit.errors",
    "UsageError": "trtkit.errors",
    "convert": "trtkit.pipeline",
    "examine": "trtkit.stages.doctor",
    "inspect": "trtkit.stages.inspect",
    "validate_plan": "trtkit.pipeline",
}

__all__ = [
    "BackendUnavailableError",
    "BuildError",
    "CalibrationError",
    "ConvertRequest",
    "ConvertResult",
    "Listener",
    "ModelError",
    "PlanError",
    "RunError",
    "SourceRequest",
    "TrtkitError",
    "UsageError",
    "__version__",
    "convert",
    "examine",
    "inspect",
    "validate_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trtkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
