"""From sample data to thresholds: data sets, preprocessing, streaming statistics, and the methods that choose amax.

    from calibration import DataSpec, load_preprocessing, open_dataset

    dataset = open_dataset(DataSpec("photos"), model.inputs, load_preprocessing("imagenet"))
    calibration, held_out = dataset.split(0.25)

Names are loaded when they are first used: importing this package imports neither NumPy nor Pillow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.dataset import Dataset, open_dataset
    from calibration.preprocess import load_preprocessing
    from calibration.source import Batch, DataSpec
    from calibration.suspicion import suspect

_HOMES = {
    "Batch": "calibration.source",
    "DataSpec": "calibration.source",
    "Dataset": "calibration.dataset",
    "load_preprocessing": "calibration.preprocess",
    "open_dataset": "calibration.dataset",
    "suspect": "calibration.suspicion",
}

__all__ = ["Batch", "DataSpec", "Dataset", "load_preprocessing", "open_dataset", "suspect"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'calibration' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
