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
    from calibration.source import DataSpec
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
    from trtkit.pipeline.bench_exporting import BenchExports
    from trtkit.pipeline.bench_request import BenchmarkRequest, BenchmarkResult
    from trtkit.pipeline.benchmark import bench
    from trtkit.pipeline.calibration import CalibrationRequest, CalibrationResult, calibrate
    from trtkit.pipeline.optimization import OptimizeRequest, OptimizeResult, optimize
    from trtkit.pipeline.quantization import Quantization
    from trtkit.pipeline.study import StudyResult, study
    from trtkit.pipeline.study_request import StudyRequest
    from trtkit.stages.compare import compare
    from trtkit.stages.doctor import examine
    from trtkit.stages.export import SourceRequest
    from trtkit.stages.inspect import inspect

__version__ = "0.1.0"

_HOMES = {
    "BackendUnavailableError": "trtkit.errors",
    "BenchExports": "trtkit.pipeline.bench_exporting",
    "BenchmarkRequest": "trtkit.pipeline.bench_request",
    "BenchmarkResult": "trtkit.pipeline.bench_request",
    "BuildError": "trtkit.errors",
    "CalibrationError": "trtkit.errors",
    "CalibrationRequest": "trtkit.pipeline.calibration",
    "CalibrationResult": "trtkit.pipeline.calibration",
    "ConvertRequest": "trtkit.pipeline",
    "ConvertResult": "trtkit.pipeline",
    "DataSpec": "calibration.source",
    "Listener": "trtkit.pipeline",
    "ModelError": "trtkit.errors",
    "OptimizeRequest": "trtkit.pipeline.optimization",
    "OptimizeResult": "trtkit.pipeline.optimization",
    "PlanError": "trtkit.errors",
    "Quantization": "trtkit.pipeline.quantization",
    "RunError": "trtkit.errors",
    "SourceRequest": "trtkit.stages.export",
    "TrtkitError": "trtkit.errors",
    "UsageError": "trtkit.errors",
    "StudyRequest": "trtkit.pipeline.study_request",
    "StudyResult": "trtkit.pipeline.study",
    "bench": "trtkit.pipeline.benchmark",
    "compare": "trtkit.stages.compare",
    "study": "trtkit.pipeline.study",
    "calibrate": "trtkit.pipeline.calibration",
    "convert": "trtkit.pipeline",
    "examine": "trtkit.stages.doctor",
    "inspect": "trtkit.stages.inspect",
    "optimize": "trtkit.pipeline.optimization",
    "validate_plan": "trtkit.pipeline",
}

__all__ = [
    "BackendUnavailableError",
    "BenchExports",
    "BenchmarkRequest",
    "BenchmarkResult",
    "BuildError",
    "CalibrationError",
    "CalibrationRequest",
    "CalibrationResult",
    "ConvertRequest",
    "ConvertResult",
    "DataSpec",
    "Listener",
    "ModelError",
    "OptimizeRequest",
    "OptimizeResult",
    "PlanError",
    "Quantization",
    "RunError",
    "SourceRequest",
    "StudyRequest",
    "StudyResult",
    "TrtkitError",
    "UsageError",
    "__version__",
    "bench",
    "calibrate",
    "compare",
    "convert",
    "examine",
    "inspect",
    "optimize",
    "study",
    "validate_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trtkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    # For completion: public names are not in the module until they are used, and Any is none of them.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
