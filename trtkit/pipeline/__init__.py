"""The order of the verbs: each function is a whole job, from what the user names to artifacts and a result."""

from __future__ import annotations

from trtkit.pipeline.conversion import convert
from trtkit.pipeline.listener import Listener
from trtkit.pipeline.request import PRECISIONS, ConvertRequest, ConvertResult
from trtkit.pipeline.validation import validate_plan

__all__ = ["PRECISIONS", "ConvertRequest", "ConvertResult", "Listener", "convert", "validate_plan"]
