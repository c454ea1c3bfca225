"""Studies that are asked for what does not fit together."""

from __future__ import annotations

from tests.bad_inputs.case import BadInput
from trtkit.errors import PlanError, UsageError

__all__ = ["CASES"]

CASES = (
    BadInput(
        "study with weights that are not there",
        "study --models squeezenet1_1 --weights nowhere.npz --devices cpu",
        UsageError,
        "weights file nowhere.npz does not exist",
        "safetensors",
    ),
    BadInput(
        "study with weights of no model",
        "study --models squeezenet1_1,alexnet --weights w.npz --devices cpu",
        UsageError,
        "w.npz names none of the models: squeezenet1_1, alexnet",
        "MODEL=FILE",
    ),
    BadInput(
        "study with an edge of nothing",
        "study --models squeezenet1_1 --batch 1,8 --devices cpu --sweep-within 5",
        UsageError,
        "how closely --batch auto looks",
        "Add auto",
    ),
    BadInput(
        "study with an edge below nothing",
        "study --models squeezenet1_1 --batch 1,auto --devices cpu --sweep-within -5",
        UsageError,
        "-5 is no percentage from 0 to below 100",
        "--sweep-within 5%",
    ),
    BadInput(
        "study against a folder that is not there",
        "study --models squeezenet1_1 --devices cpu --against nowhere",
        PlanError,
        "nowhere is not a folder",
        "study's folder",
    ),
    BadInput("report against itself", "report . --against .", UsageError, "nothing stands against itself", "another"),
)
