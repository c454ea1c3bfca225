"""A small network with forty samples, and requests to calibrate and convert it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from calibration.source import DataSpec
from tests.graph.qdq_models import inception
from trtkit.pipeline.calibration import CalibrationRequest
from trtkit.pipeline.listener import Silence
from trtkit.pipeline.quantization import Quantization
from trtkit.pipeline.request import ConvertRequest
from trtkit.stages.export import SourceRequest


def write_net(folder: Path) -> Path:
    """``net.onnx`` and forty samples."""
    onnx.save(inception(), folder / "net.onnx")
    np.save(folder / "data.npy", np.random.default_rng(1).standard_normal((40, 3, 16, 16), dtype=np.float32))
    return folder


class Notes(Silence):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def request(folder: Path, output: str, **options: object) -> CalibrationRequest:
    how = Quantization(**{"data": DataSpec(folder / "data.npy"), "batch": 4, **options})  # type: ignore[arg-type]
    return CalibrationRequest(SourceRequest(str(folder / "net.onnx")), how, output=folder / output)


def int8(folder: Path, output: str, how: Quantization | None, source: Path | None = None) -> ConvertRequest:
    return ConvertRequest(
        SourceRequest(str(source or folder / "net.onnx")),
        precision="int8",
        family="onnxruntime",  # quick to "build", and the model is quantized in the same way for every family
        output=folder / output,
        quantization=how,
    )
